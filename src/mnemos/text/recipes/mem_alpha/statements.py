"""Candidate statements: what a write policy decides about when no language model does the reading.

Every sentence of a chunk is one candidate. What a policy may look at is read off its words: a date, the first
person, filler, what it is a statement about. The subject matter is its `key`: two statements with one key are
about the same thing, and the later one takes the earlier one's place ("Dana's budget is 42", "... is now 57").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from mnemos.core.clock import Time, iso
from mnemos.text.encode.analyse import STOP_WORDS
from mnemos.text.encode.chunk import sentences
from mnemos.text.encode.dates import find_dates
from mnemos.text.encode.entities import canonical
from mnemos.text.encode.facts import facts


@dataclass(frozen=True, slots=True)
class Part:
    """One record of a chunk."""

    text: str
    speaker: str = ""
    at: Time | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a policy is shown in one go: at most 2,048 tokens of history."""

    id: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """All of it, one part a line."""
        return "\n".join(f"{part.speaker}: {part.text}" if part.speaker else part.text for part in self.parts)


@dataclass(frozen=True, slots=True)
class Statement:
    """One candidate, and what its words tell."""

    text: str
    """With its speaker in front, so that it can stand alone."""
    event: str
    """The same with its day in front: what an episodic entry holds."""
    key: str
    """What it is about; empty where that cannot be told."""
    dated: bool
    """It says when."""
    personal: bool
    """It speaks of the speaker."""
    noise: float
    """Share of words that carry no topic, in [0, 1]; 1 for questions."""
    length: int
    """Words."""


def statements(chunk: Chunk) -> Iterator[tuple[Part, Statement]]:
    """The candidates of a chunk in order, each with the part that it comes from."""
    for part in chunk.parts:
        for start, end in sentences(part.text):
            if (text := part.text[start:end].strip()) and len(text) <= _LONGEST:
                yield part, statement(text, part.speaker, part.at)


@lru_cache(maxsize=50_000)
def statement(text: str, speaker: str = "", at: Time | None = None) -> Statement:
    """`text`, one sentence that `speaker` said at `at`."""
    found = _WORD.findall(text.lower().replace("’", "'"))
    telling = sum(1 for word in found if word not in STOP_WORDS and word not in _FILLER)
    dates = find_dates(text, at)
    said = f"{speaker}: {text}" if speaker else text
    when = dates[0].start if dates else at
    day = "" if when is None else iso(when)[:10]
    return Statement(
        text=said,
        event=f"{day}: {said}" if day and not said.startswith(day) else said,
        key=_key(text, speaker),
        dated=bool(dates),
        personal=any(word.split("'")[0] in _FIRST for word in found),
        noise=1.0 if not found or "?" in text[-3:] else 1 - telling / len(found),
        length=len(found),
    )


@lru_cache(maxsize=50_000)
def key_of(content: str) -> str:
    """The key of an entry, or of a line of the core; as `Statement.key` of what it was made from."""
    _, speaker, text = _PREFIX.fullmatch(content).groups("")  # type: ignore[union-attr]
    return _key(text, speaker)


@lru_cache(maxsize=50_000)
def _key(text: str, speaker: str) -> str:
    if len(text) > _LONGEST:
        return ""
    for fact in facts(text, speaker):
        if fact.single_valued:
            return f"{canonical(fact.subject)}|{fact.relation}"
    match = _ABOUT.match(text.replace("’", "'"))
    if match is None or (first := match[1].split()[0].lower()) in _NOBODY:
        return ""
    about = canonical(match[1])
    return f"{canonical(speaker)}|{about}" if first in _FIRST else about


_LONGEST = 2000
"""Characters; a longer sentence is a table or a listing."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_PREFIX = re.compile(r"(?:(\d{4}-\d\d-\d\d): )?(?:([^:\n]{1,40}): )?(.*)", re.DOTALL)
_ABOUT = re.compile(r"((?:[\w'-]+ ){1,5}?)(?:is|are|was|were)\b(?! (?:there|here)\b)")
_FIRST = frozenset("i my me mine we our us".split())
_NOBODY = frozenset(
    """i we it this that these those there here he she they you who what which where when why how if as so and but
    or not one all some everything something nothing everyone someone""".split()
)
_FILLER = frozenset(
    """yeah yes yep hey hi hello wow thanks thank thx please sorry ok okay oh ah hm hmm haha lol omg btw great good
    nice cool awesome amazing glad sounds sound really actually definitely absolutely totally super pretty thing
    things stuff well right sure maybe guess anyway bye see soon later talk care wait
    what's that's it's there's let's i'm you're we're they're""".split()
)
