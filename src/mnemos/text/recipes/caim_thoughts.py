"""The thoughts of CAIM: short dated statements, drawn from turns, and what became of them since.

A thought is written once and never changed. That two say the same, or that one took another's place, is kept beside
them; `Thoughts` works out from the live ones what is current, so that a forgotten session takes its corrections with
it, and what they corrected is current again.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Time
from mnemos.text.encode.analyse import words
from mnemos.text.encode.chunk import sentences
from mnemos.text.encode.date_rules import amount
from mnemos.text.encode.dates import find_dates, format_span, question_window
from mnemos.text.encode.entities import canonical, entities
from mnemos.text.encode.facts import facts
from mnemos.text.recipes.ontology import Floats, Ontology, TagIndex
from mnemos.text.records import DateSpan, Kind, Record
from mnemos.text.store import Trace

SAME = 0.85
"""Cosine from which two thoughts about one subject are about one matter."""
LONGEST = 400
"""Characters of a thought."""
_MOST = 12
"""Thoughts that the twin draws from one record."""
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Thought:
    """One statement."""

    id: str
    text: str
    source: str
    """The record that says it."""
    session: str
    subject: str
    start: Time | None = None
    """[start, end) of the event, or of the day on which it was said."""
    end: Time | None = None
    dated: bool = False
    """Whether it tells of an event on a day of its own: such a one is never out of date."""
    slot: str = ""
    """What holds one value at a time, where that is known: "ada|lives in"."""
    value: str = ""
    tags: tuple[str, ...] = ()


Relation = tuple[str, str, str]
"""("same" | "updates", newer thought, older thought)."""


def thoughts_in(trace: Trace) -> list[Thought]:
    """The thoughts that a trace holds, in the order of its vectors."""
    return [Thought(**{**said, "tags": tuple(said["tags"])}) for said in trace.body["thoughts"]]


def thought_id(session: str, source: str, text: str) -> str:
    """The same for the same words in the same session, so that a session told twice says nothing twice."""
    whole = "\x1f".join((session or source, text)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(whole, digest_size=9).hexdigest()


# -- drawing thoughts from a record, without a language model --------------------------------


def thoughts_of(record: Record) -> list[Thought]:
    """The facts that a record states, and its other sentences that tell of somebody or of a day."""
    at = record.at if record.at is not None else record.recorded_at if record.kind is Kind.TURN else None
    who = record.speaker or "The user"
    text = record.text[: LONGEST * 50]
    stated = facts(text[:4000], record.speaker, at) if record.kind is Kind.TURN else []
    found: dict[str, Thought] = {}
    for start, end in sentences(text):
        if len(found) >= _MOST:
            break
        own = sorted((f for f in stated if start <= f.span[0] < end), key=lambda fact: not fact.single_valued)
        sentence = text[start:end]
        if not own and not _worth(sentence, record, at):
            continue
        said, when = absolute(sentence, at)
        said = said if record.kind is Kind.PASSAGE else third_person(said, who)
        lo, hi = (when.start, when.end) if when else day_of(at)
        made = Thought(
            thought_id(record.session, record.id, said[:LONGEST]), said[:LONGEST], record.id, record.session,
            canonical(who), lo, hi, dated=when is not None and not (own and own[0].single_valued),
        )  # fmt: skip
        if own:
            subject = canonical(who) if own[0].subject == "I" else canonical(own[0].subject)
            slot, value = f"{subject}|{own[0].relation}", canonical(own[0].object)
            if not own[0].single_valued:  # one may like two things
                slot = f"{slot}|{value}"
            made = replace(made, subject=subject, slot=slot, value=value)
        found[made.id] = made
    return list(found.values())


_FIRST = re.compile(r"\b(?:I|I'm|I've|I'll|I'd|[Mm]y|[Ww]e|[Oo]ur)\b")
_SMALL_TALK = re.compile(
    r"\b(?:thanks?|thank you|hello|hi|hey|bye|good (?:morning|night)|how are you|lol|haha)\b", re.I
)


def _worth(sentence: str, record: Record, at: Time | None) -> bool:
    if sentence.rstrip().endswith(("?", "？")) or len(sentence) < 12:
        return False
    if find_dates(sentence, at):
        return True
    names = entities(sentence, record.speaker)
    if record.kind is Kind.PASSAGE:
        return bool(names)
    enough = len(set(words(sentence))) >= 4
    return enough and not _SMALL_TALK.search(sentence) and bool(names or _FIRST.search(sentence))


_PERSONS = (
    (re.compile(r"\bI['’]m\b|\bI am\b"), "{} is"),
    (re.compile(r"\bI['’]ve\b|\bI have\b"), "{} has"),
    (re.compile(r"\bI['’]ll\b"), "{} will"),
    (re.compile(r"\bI['’]d\b"), "{} would"),
    (re.compile(r"\b(?:I|me|myself)\b"), "{}"),
    (re.compile(r"\b[Mm]y\b"), "{}'s"),
    (re.compile(r"\bmine\b"), "{}'s"),
)


def third_person(text: str, who: str) -> str:
    """`text` said about `who` instead of by them."""
    for pattern, form in _PERSONS:
        text = pattern.sub(lambda _, form=form: form.format(who), text)  # type: ignore[misc]
    text = text.replace(" The user", " the user")
    return text if who in text or who.lower() in text.lower() else f"{who}: {text}"


_PREPOSITION = re.compile(
    r"\b(?:on|in|at|since|from|until|till|by|before|after|during|of|around|between|and|to)\s*$", re.I
)
_LEADING = re.compile(r"^(since|until|till|by|before|after|during|from)\s", re.I)


def absolute(sentence: str, at: Time | None) -> tuple[str, DateSpan | None]:
    """`sentence` with every relative date put as a calendar date, and the first date that it tells.

    Without a time of its own nothing relative can be resolved; such a sentence stays as it is, and has no date.
    """
    found = find_dates(sentence, at)
    out: list[str] = []
    cursor = 0
    for span in found:
        begin = sentence.find(span.phrase, cursor)
        if begin < 0:
            continue
        before = sentence[cursor:begin]
        stop = begin + len(span.phrase)
        if not find_dates(span.phrase):
            calendar = format_span(span)
            leading = _LEADING.match(span.phrase)
            if leading:
                calendar = f"{leading[1]} {calendar}"
            elif not _PREPOSITION.search(sentence[:begin]):
                calendar = f"{'on' if calendar[0].isdigit() else 'in'} {calendar}"
            if not out and not before.strip():
                calendar = calendar[0].upper() + calendar[1:]
            out += [before, calendar]
        else:
            out += [before, sentence[begin:stop]]
        cursor = stop
    return "".join([*out, sentence[cursor:]]).strip(), found[0] if found else None


def day_of(at: Time | None) -> tuple[Time | None, Time | None]:
    """[start, end) of the day of `at`."""
    if at is None:
        return None, None
    start = at // _DAY * _DAY
    return start, start + _DAY


# -- time of a question ------------------------------------------------------------------------

_PAST = re.compile(r"\b(?:did|was|were|had|went|been)\b", re.I)
_WEEKS_AGO = re.compile(r"(?P<n>\w+|a couple of|a few)\s+weeks?\s+(?:ago|back)", re.I)


def asked_interval(message: str, now: Time) -> tuple[Time, Time] | None:
    """[start, end) of the time that a message asks about; None where it names none.

    As `question_window`, but a question in the past tense does not look ahead ("What did I do in May?" in March), and
    "two weeks ago" is the week around that day, not the calendar's.
    """
    window = question_window(message, now)
    if window is None:
        return None
    weeks = _WEEKS_AGO.fullmatch(window.phrase)
    if weeks:
        low, high = amount(weeks["n"])
        day = now // _DAY * _DAY
        return day - (7 * high + 3) * _DAY, day - (7 * low - 4) * _DAY
    if window.start > now and _PAST.search(message):
        earlier = question_window(message, now - 183 * _DAY)
        if earlier is not None and earlier.start <= now:
            window = earlier
    return window.start, window.end


# -- review ------------------------------------------------------------------------------------


def review(new: Thought, vector: Floats, others: Sequence[Thought], vectors: Floats) -> list[Relation]:
    """What `new` has to do with `others`: merge what says the same, supersede what is out of date.

    A known slot decides alone. Else two thoughts about one subject whose cosine reaches `SAME` are about one matter;
    they say the same where neither has a word that the other lacks, and otherwise the newer takes the older's place.
    Events on different days never do.

    Args:
        vector: [dim] of `new`.
        vectors: [others, dim].
    """
    cosines = vectors @ vector if len(others) else ()
    found = []
    for other, cosine in zip(others, cosines, strict=True):
        kind = "" if other.id == new.id else _relation(new, other, float(cosine))
        if kind:
            newer, older = (new, other) if _when(new) >= _when(other) else (other, new)
            found.append((kind, newer.id, older.id))
    return found


def _relation(a: Thought, b: Thought, cosine: float) -> str:
    if a.slot or b.slot:
        if a.slot != b.slot:
            return ""
        return "same" if a.value == b.value else "updates"
    if a.subject != b.subject or cosine < SAME or a.dated != b.dated:
        return ""
    if a.dated and (a.start, a.end) != (b.start, b.end):
        return ""
    mine, theirs = set(words(a.text)), set(words(b.text))
    if mine <= theirs or theirs <= mine:
        return "same"
    return "" if a.dated else "updates"


def _when(thought: Thought) -> tuple[float, str, str]:
    # ids of records sort in the order in which they came
    return (thought.start if thought.start is not None else -np.inf, thought.source, thought.id)


# -- the index -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A thought with those that say the same: one row of long-term memory."""

    thought: Thought
    """The newest of them."""
    tags: frozenset[str]
    sources: tuple[str, ...]
    """Records, oldest first."""
    sessions: tuple[str, ...]
    superseded_by: tuple[str, ...]
    """Newer rows that took its place; empty where it is current."""


class Thoughts:
    """The live thoughts of a scope.

    Args:
        embed: for the seeds of the ontology.
    """

    def __init__(self, embed: Callable[[Sequence[str]], Floats]) -> None:
        self.ontology = Ontology(embed)
        self._held: dict[str, dict[str, tuple[Thought, NDArray[np.float16]]]] = {}
        self._told: dict[str, list[Relation]] = {}
        self.covered: Counter[str] = Counter()
        """How many live traces each record is a source of."""

    def put(self, trace: Trace) -> None:
        """Hold what a trace says."""
        self.covered.update(trace.sources)
        self._told[trace.key] = [(kind, newer, older) for kind, newer, older in trace.body["review"]]
        for n, thought in enumerate(thoughts_in(trace)):
            if trace.vectors is not None and n < len(trace.vectors):
                self._held.setdefault(thought.id, {})[trace.key] = thought, trace.vectors[n]
                self.ontology.add(thought.tags, trace.vectors[n])
        self._stale()

    def drop(self, trace: Trace) -> None:
        """Let go what a trace said."""
        self.covered.subtract(trace.sources)
        del self._told[trace.key]
        for thought in thoughts_in(trace):
            held = self._held.get(thought.id, {})
            if trace.key in held:
                kept, vector = held.pop(trace.key)
                self.ontology.remove(kept.tags, vector)
                if not held:
                    del self._held[thought.id]
        self._stale()

    def _stale(self) -> None:
        for name in ("every", "rows", "table", "tagged", "naming"):
            self.__dict__.pop(name, None)

    @cached_property
    def every(self) -> tuple[list[Thought], Floats]:
        """Every live thought, one of each id, in the order of ids; and [thoughts, dim]."""
        ids = sorted(self._held)
        return [self._held[id][min(self._held[id])][0] for id in ids], self._stacked(ids)

    @cached_property
    def rows(self) -> dict[str, Row]:
        """Every row, superseded ones included, by the id of its thought."""
        thoughts = {thought.id: thought for thought in self.every[0]}
        told = sorted(
            {r for relations in self._told.values() for r in relations if r[1] in thoughts and r[2] in thoughts}
        )
        group = {id: id for id in thoughts}
        for kind, a, b in told:
            if kind == "same":
                first, second = sorted((_root(group, a), _root(group, b)))
                group[second] = first
        members: dict[str, list[Thought]] = {}
        for id, thought in thoughts.items():
            members.setdefault(_root(group, id), []).append(thought)
        for same in members.values():
            same.sort(key=_when)
        newer: dict[str, set[str]] = {}
        for kind, a, b in told:
            first, second = _root(group, a), _root(group, b)
            # a value that came back is newer than what once took its place
            if kind == "updates" and first != second and _when(thoughts[a]) > _when(members[second][-1]):
                newer.setdefault(second, set()).add(members[first][-1].id)
        made = (self._row(same, newer.get(root, set())) for root, same in members.items())
        return {row.thought.id: row for row in made}

    def _row(self, same: list[Thought], newer: set[str]) -> Row:
        copies = [one for thought in same for one, _ in self._held[thought.id].values()]
        return Row(
            same[-1], frozenset(tag for one in copies for tag in one.tags),
            tuple(dict.fromkeys(one.source for one in copies)),
            tuple(dict.fromkeys(one.session for one in copies)),
            tuple(sorted(newer)),
        )  # fmt: skip

    @cached_property
    def table(self) -> tuple[list[Row], Floats]:
        """Every row in the order of ids, and [rows, dim]."""
        rows = sorted(self.rows.values(), key=lambda row: row.thought.id)
        return rows, self._stacked([row.thought.id for row in rows])

    @cached_property
    def tagged(self) -> TagIndex[str]:
        """Rows by tag."""
        index: TagIndex[str] = TagIndex()
        for id, row in self.rows.items():
            index.put(id, row.tags)
        return index

    @cached_property
    def naming(self) -> dict[str, set[str]]:
        """Canonical name → tags of the rows whose text holds it."""
        found: dict[str, set[str]] = {}
        for row in self.rows.values():
            for name in entities(row.thought.text, row.thought.subject):
                found.setdefault(canonical(name), set()).update(row.tags)
        return found

    def _stacked(self, ids: Sequence[str]) -> Floats:
        if not ids:
            return np.empty((0, 0), np.float32)
        return np.stack([self._held[id][min(self._held[id])][1] for id in ids]).astype(np.float32)


def _root(group: dict[str, str], id: str) -> str:
    while group[id] != id:
        id = group[id]
    return id
