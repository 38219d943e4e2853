"""A question, read once for all signals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Time
from mnemos.text.encode.analyse import name_hash, term_words, words
from mnemos.text.encode.dates import question_window, wants_time
from mnemos.text.encode.entities import canonical, entities
from mnemos.text.index.corpus import Corpus
from mnemos.text.records import DateSpan

_FIRST_PERSON = frozenset({"i", "me", "my", "mine", "myself"})
ROLES = ("user", "human")
"""What chat exports call the person whose memory this is."""
PARTS = (*ROLES, "assistant", "system", "tool", "ai")
"""Speakers that are no names."""
_NAMEABLE = re.compile(r"([^\W_]{2,})(['’]s\b)?")
_TWICE = re.compile(r"\bI (?=(?:I|my)\b)")
"""What a first name leaves before a last name."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a question asks for, in the terms of one corpus."""

    text: str
    terms: dict[int, str]
    """Content words by hashed stem; the speakers' names are left out where others remain."""
    speakers: tuple[int, ...]
    """Codes of the speakers it names; empty where it names none, or everybody."""
    window: DateSpan | None
    """The time it names itself."""
    wants_time: bool
    vector: NDArray[np.float32] | None
    stated: Mapping[int, str]
    """Rows that state a fact which the question rests on, with that fact."""

    def mentions(self) -> frozenset[int]:
        """Hashed names of the things it mentions."""
        return frozenset(name_hash(canonical(name)) for name in entities(self.text))


def read(
    text: str,
    corpus: Corpus,
    now: Time,
    vector: NDArray[np.float32] | None = None,
    stated: Mapping[str, str] | None = None,
) -> Query:
    """Read `text` against `corpus`.

    Args:
        vector: its embedding, if there is an embedder.
        stated: facts that it rests on, by the id of a record that states them.
    """
    said = words(text)
    spoken = set(said)
    named = [
        code
        for code, name in enumerate(corpus.speakers.names)
        if name and (not spoken.isdisjoint(_name_words(name)) or (name.casefold() in ROLES and spoken & _FIRST_PERSON))
    ]
    everybody = len(named) == sum(1 for name in corpus.speakers.names if name)
    terms = term_words(said)
    names = {w for code in named for w in _name_words(corpus.speakers.names[code])}
    topic = {term: word for term, word in terms.items() if word not in names}
    return Query(
        text=text,
        terms=topic or terms,
        speakers=() if everybody else tuple(named),
        window=question_window(text, now),
        wants_time=wants_time(text),
        vector=vector,
        stated={row: stated[id] for row, id in enumerate(corpus.ids) if id in stated} if stated else {},
    )


def as_told(text: str, speakers: Iterable[str]) -> str:
    """A question as those of the `speakers` whom it names would put it: "Ada's dog" becomes "my dog", "Ada" "I".

    People tell of themselves in the first person, so this is what a turn that answers sounds like.
    """
    names = {word for name in speakers if name.casefold() not in PARTS for word in _name_words(name)}
    uncased = text.islower()

    def told(match: re.Match[str]) -> str:
        word, owns = match.groups()
        if word.casefold() not in names or not (uncased or word[0].isupper()):
            return match.group()
        return "my" if owns else "I"

    retold = _NAMEABLE.sub(told, text) if names else text
    return _TWICE.sub("", retold) if retold != text else text


@lru_cache(maxsize=10_000)
def _name_words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W_]{2,}", name.casefold()))
