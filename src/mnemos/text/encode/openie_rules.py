"""Entities and triples by rules alone: what a machine without the sentence encoder extracts.

Names (`mnemos.text.encode.entities`), years and numbers of a sentence; each is the object of a triple whose
subject is the sentence's first name, or what the text is about where the sentence opens with a pronoun or
a description, and whose relation is the words before the object.
"""

from __future__ import annotations

import re

from mnemos.text.encode.chunk import sentences
from mnemos.text.encode.entities import canonical, entities

Triple = tuple[str, str, str]

RELATION_WORDS = 8
"""A relation is at most so many words: the last ones before its object."""


def rule_triples(text: str, topic: str) -> tuple[list[str], list[Triple]]:
    """The names in `text`, and its triples.

    Args:
        text: a passage.
        topic: what it is about: the subject of sentences that name none.
    """
    names = entities(text)
    found: dict[str, str] = {canonical(name): name for name in names}
    if topic:
        found.setdefault(canonical(topic), topic)
    triples: list[Triple] = []
    known = _matcher(names)
    for start, end in sentences(text):
        triples += _triples(text[start:end], topic or (names[0] if names else ""), known)
    for _, _, what in triples:
        found.setdefault(canonical(what), what)
    return [name for key, name in found.items() if key], triples


_NUMBER = re.compile(
    r"\b(?:(?:\d{1,2} )?(?:January|February|March|April|May|June|July|August|September|October|November|December)"
    r"(?: \d{1,2})?,? )?\d[\d,.]{0,15}\b(?<![,.])"
)
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_ARTICLES = frozenset("a an the its his her their".split())


def _matcher(names: list[str]) -> re.Pattern[str] | None:
    """Finds any of `names`, longest first; the spaces in a name match any whitespace."""
    ordered = sorted(names, key=len, reverse=True)[:500]
    if not ordered:
        return None
    return re.compile("|".join(r"(?<!\w)" + r"\s+".join(map(re.escape, n.split())) + r"(?!\w)" for n in ordered))


def _triples(sentence: str, topic: str, names: re.Pattern[str] | None) -> list[Triple]:
    spans = [m.span() for m in names.finditer(sentence)] if names else []
    taken = list(spans)
    spans += [m.span() for m in _NUMBER.finditer(sentence) if all(m.end() <= a or b <= m.start() for a, b in taken)]
    spans.sort()
    subject = topic
    if spans and spans[0][0] <= 4:  # "Berlin ...", "The Rhine ..."
        subject = " ".join(sentence[slice(*spans[0])].split())
    out: list[Triple] = []
    before = 0
    for start, end in spans:
        what = " ".join(sentence[start:end].split())
        words = _WORD.findall(sentence[max(before, start - 300) : start])
        relation = " ".join(w for w in words[-RELATION_WORDS:] if w.lower() not in _ARTICLES)
        if subject and canonical(what) != canonical(subject):
            out.append((subject, relation or (out[-1][1] if out else "is"), what))
        before = end
    return out
