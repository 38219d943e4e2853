"""Where the strings of model-made triples stand in their passage: the labels that the extractor learns from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.text.encode.openie_words import WORD, Window

Span = tuple[int, int]
"""First and last word, both included."""
Pair = tuple[Span | None, Span | None, list[int]]
"""Subject and object, None for the title, and the words of the relation."""

ARTICLES = frozenset(("the", "a", "an"))


@dataclass(frozen=True)
class Gold:
    """What stands in one window."""

    entities: set[Span]
    pairs: list[Pair]


def align(window: Window, title: str, full: str, names: Iterable[str], triples: Iterable[Sequence[str]]) -> Gold:
    """The names and triples whose words stand in `window`; the others are left out.

    Articles, punctuation and plurals may differ. Of several places the nearest to one another count; an
    argument that is the title, with or without its parenthesis, is the title wherever else it stands.
    """
    body = window.words[window.title :]
    places, stems = _content(body)
    places = [place + window.title for place in places]
    own = [ids for ids in (_phrase(title), _phrase(full)) if ids]
    entities = {span for name in names for span in _occurrences(_phrase(name), places, stems)}
    pairs: list[Pair] = []
    for subject, relation, object in triples:
        ends: list[list[Span | None]] = []
        for argument in (subject, object):
            wanted = _phrase(argument)
            ends.append([None] if wanted in own else [*_occurrences(wanted, places, stems)])
        options = [(s, o) for s in ends[0] for o in ends[1] if (s or o) and not _overlap(s, o)]
        if options:
            related = set(_phrase(relation))
            s, o = min(options, key=lambda pair: _distance(window, pair[0], pair[1], related))
            pairs.append((s, o, _relation(relation, window, s, o)))
    return Gold(entities, pairs)


def key(text: str) -> str:
    """The form in which two phrases are the same."""
    return " ".join(_phrase(text))


def _overlap(a: Span | None, b: Span | None) -> bool:
    return a is not None and b is not None and a[0] <= b[1] and b[0] <= a[1]


def _distance(window: Window, subject: Span | None, object: Span | None, related: set[str]) -> int:
    at = window.sentence
    if subject is not None and object is not None:
        apart = int(at[object[0]] - at[subject[0]])
        return abs(apart) * 100 + abs(object[0] - subject[0]) + (1000 if apart < 0 else 0)
    here = object or subject
    assert here is not None
    near = range(max(window.title, here[0] - 8), min(len(window.words), here[1] + 5))
    words = {_stem(window.words[k]) for k in near if at[k] == at[here[0]]}
    return here[0] - 40 * len(words & related)


def _relation(relation: str, window: Window, subject: Span | None, object: Span | None) -> list[int]:
    """The words of the sentence that say `relation`: nearest before the object first."""
    anchor = object if object is not None else subject
    assert anchor is not None
    at: NDArray[np.int64] = window.sentence
    pool = {
        k: window.words[k].lower()
        for k in np.flatnonzero(at == at[anchor[0]]).tolist()
        if not _overlap((k, k), object) and not _overlap((k, k), subject)
    }
    found = set()
    for match in WORD.finditer(relation):
        word = match.group().lower()
        if word in ARTICLES or not word[0].isalnum():
            continue
        same = [k for k, other in pool.items() if other == word or _akin(word, other)]
        if same:
            found.add(min(same, key=lambda k: anchor[0] - k if k < anchor[0] else 3 * (k - anchor[0]) + 3))
    return sorted(found)


def _akin(a: str, b: str) -> bool:
    """Forms of one word: "extended", "extending"."""
    common = max(4, min(len(a), len(b)) - 3)
    return len(a) > 3 and len(b) > 3 and a[:common] == b[:common]


def _occurrences(wanted: list[str], places: list[int], stems: list[str]) -> list[Span]:
    n = len(wanted)
    return [
        (places[i], places[i + n - 1])
        for i in range(len(stems) - n + 1 if n else 0)
        if stems[i] == wanted[0] and stems[i : i + n] == wanted
    ]


def _phrase(text: str) -> list[str]:
    return _content([match.group() for match in WORD.finditer(text)])[1]


def _content(words: Sequence[str]) -> tuple[list[int], list[str]]:
    kept = [i for i, word in enumerate(words) if any(map(str.isalnum, word)) and word.lower() not in ARTICLES]
    return kept, [_stem(words[i]) for i in kept]


def _stem(word: str) -> str:
    word = word.lower().replace("’", "'").rstrip(".")
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
