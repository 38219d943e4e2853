"""The items of MemOS' plaintext memory: windows of messages, what a model made of them, and what took whose place.

A *unit* is what has versions: a message of a window, or a memory that a model extracted. Whether a unit is active is
never stored. It follows from what is there: a unit is archived while something that replaces it can be seen, so that
what is forgotten, or lies after the moment that is asked about, brings back what it had replaced.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Time, iso
from mnemos.text.encode.analyse import STOP_WORDS, words
from mnemos.text.encode.dates import find_dates
from mnemos.text.encode.entities import canonical
from mnemos.text.encode.facts import facts
from mnemos.text.records import Record
from mnemos.text.store import Trace
from mnemos.text.write import cut, fact_slot

Floats = NDArray[np.float32]

WINDOW, OVERLAP = 1024, 200
"""Tokens of a window, and of the end of the one before that it begins with."""
_PER_TOKEN = 4
"""Characters, about."""
_PIECE = 900
"""Characters of a window that get a vector together: about what the encoder reads."""
_NEGATIONS = frozenset({"no", "not", "never", "nobody", "nothing", "none", "cannot"})
_WORTH = 3
"""Content words below which two equal texts ("Thanks a lot!") say nothing that could be redundant."""
_MOSTLY = 0.6
"""Share of a text's words within its facts from which it is nothing but them."""


class Line(NamedTuple):
    """What rules can read of a unit."""

    slots: tuple[tuple[str, str, float], ...] = ()
    """(slot, object, since) of the facts in it that hold one value at a time."""
    whole: bool = False
    """Whether it says little else, so that it can be superseded."""
    same: str = ""
    """Equal for two texts of one speaker that say the same in the same words; empty where that means nothing."""


class Successor(NamedTuple):
    """What took the place of a unit."""

    unit: str
    why: str
    """"conflict" or "duplicate"."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A memory that a model wrote."""

    id: str
    trace: Trace
    memory: str
    key: str
    type: str
    tags: tuple[str, ...]
    turns: tuple[str, ...]
    """Ids of the records that it rests on."""

    @property
    def searched(self) -> str:
        """What words are looked up in."""
        return " ".join([self.memory, self.key, *self.tags])


@dataclass
class Items:
    """The items of one scope."""

    traces: dict[str, Trace] = field(default_factory=dict)
    sessions: dict[str, dict[str, Trace]] = field(default_factory=dict)
    """Windows by session and key."""
    units: dict[str, Unit] = field(default_factory=dict)
    lines: dict[str, dict[str, Line]] = field(default_factory=dict)
    """By unit and trace: overlapping windows share messages."""
    slots: dict[str, list[tuple[float, str, str]]] = field(default_factory=dict)
    """(since, unit, object) of what was said of a slot, in order."""
    said: dict[str, list[str]] = field(default_factory=dict)
    """Units that say the same, in order of adding."""
    fused: dict[str, set[str]] = field(default_factory=dict)
    """Keys of the fusions that a unit went into."""

    def change(self, added: Iterable[Trace], removed: Iterable[Trace]) -> None:
        """Take `removed` out and `added` in."""
        for trace in removed:
            if self.traces.get(trace.key) is trace:
                self._forget(trace)
        for trace in added:
            if old := self.traces.get(trace.key):
                self._forget(old)
            self._learn(trace)
        self.__dict__.pop("windows", None)
        self.__dict__.pop("memories", None)

    @cached_property
    def windows(self) -> tuple[list[Trace], Floats, NDArray[np.int64]]:
        """Fast items in order, the vectors of their pieces [m, dim], and whose each is [m]."""
        fast = [t for t in sorted(self.traces.values(), key=lambda t: t.key) if is_fast(t) and t.vectors is not None]
        sizes = [len(t.vectors) for t in fast if t.vectors is not None]
        return fast, _stacked(fast), np.repeat(np.arange(len(fast)), sizes)

    @cached_property
    def memories(self) -> tuple[list[Unit], Floats]:
        """What a model wrote, in order, and its vectors [n, dim]."""
        made = [t for t in sorted(self.traces.values(), key=lambda t: t.key) if t.body.get("items")]
        return [self.units[one["id"]] for t in made for one in t.body["items"]], _stacked(made)

    def last(self, session: str) -> Trace | None:
        """The latest window of a session."""
        return max(self.sessions.get(session, {}).values(), key=lambda t: t.sources[-1], default=None)

    def successor(self, unit: str, seen: Seen) -> Successor | None:
        """What can be seen and has taken the place of `unit`; None while it is active."""
        for key in sorted(self.fused.get(unit, ())):
            fusion = self.traces[key]
            if all(map(seen, fusion.sources)):
                return Successor(fusion.body["items"][0]["id"], str(fusion.body["update_type"]))
        line = next(iter(self.lines.get(unit, {}).values()), Line())
        for other in reversed(self.said.get(line.same, ()) if line.same else ()):
            if other > unit and self.visible(other, seen):
                return Successor(other, "duplicate")
        found = [self._later(*slot, unit, seen) for slot in line.slots] if line.whole else []
        later = [one for one in found if one is not None]
        if not found or len(later) < len(found):
            return None
        return next((one for one in later if one.why == "conflict"), later[0])

    def visible(self, unit: str, seen: Seen) -> bool:
        """Whether every record that `unit` rests on can be seen."""
        return all(map(seen, self.units[unit].turns if unit in self.units else (unit,)))

    def _later(self, slot: str, object: str, since: float, unit: str, seen: Seen) -> Successor | None:
        for when, other, thing in reversed(self.slots.get(slot, ())):
            if (when, other) <= (since, unit):
                return None
            if self.visible(other, seen):
                return Successor(other, "duplicate" if thing == object else "conflict")
        return None

    def _learn(self, trace: Trace) -> None:
        self.traces[trace.key] = trace
        if "session" in trace.body:
            self.sessions.setdefault(trace.body["session"], {})[trace.key] = trace
        for unit in trace.body.get("merged", ()):
            self.fused.setdefault(unit, set()).add(trace.key)
        for unit in units_of(trace):
            self.units[unit.id] = unit
        for id, line in lines_of(trace).items():
            known = self.lines.setdefault(id, {})
            known[trace.key] = line
            if len(known) == 1:
                for slot, thing, since in line.slots:
                    insort(self.slots.setdefault(slot, []), (since, id, thing))
                if line.same:
                    insort(self.said.setdefault(line.same, []), id)

    def _forget(self, trace: Trace) -> None:
        del self.traces[trace.key]
        if "session" in trace.body:
            windows = self.sessions[trace.body["session"]]
            del windows[trace.key]
            if not windows:
                del self.sessions[trace.body["session"]]
        for unit in trace.body.get("merged", ()):
            self.fused[unit].remove(trace.key)
            if not self.fused[unit]:
                del self.fused[unit]
        for unit in units_of(trace):
            del self.units[unit.id]
        for id, line in lines_of(trace).items():
            del self.lines[id][trace.key]
            if not self.lines[id]:
                del self.lines[id]
                for slot, thing, since in line.slots:
                    _taken(self.slots, slot, (since, id, thing))
                if line.same:
                    _taken(self.said, line.same, id)


class Seen:
    """Which records a question may see: `seen(id)`."""

    def __init__(self, row: Mapping[str, int], admitted: NDArray[np.bool_] | None) -> None:
        self._row, self._admitted = row, admitted

    def __call__(self, id: str) -> bool:
        row = self._row.get(id, -1)
        return row >= 0 and (self._admitted is None or bool(self._admitted[row]))


def is_fast(trace: Trace) -> bool:
    """Whether it is a window as it was said."""
    return "lines" in trace.body


def windows_of(
    records: Sequence[Record], begun: Sequence[Record] = (), before: Sequence[Record] = (), window: int = WINDOW
) -> Iterator[tuple[Record | None, list[Record]]]:
    """Windows of whole messages of one session: (its first new record, None for the one that goes on; its records).

    Args:
        begun: records of the window that goes on.
        before: records of the one before the first new window, if none goes on.
        window: tokens of one.
    """
    current, first = list(begun), None
    past = list(before or begun)
    for record in records:
        if not current or _tokens(current) + _tokens([record]) > window:
            if current and (first is not None or len(current) > len(begun)):
                yield first, current
            current = [*_tail(current or past, record, window), record]
            first = record
        else:
            current.append(record)
    if current and (first is not None or len(current) > len(begun)):
        yield first, current


def window_texts(records: Sequence[Record]) -> list[str]:
    """A fast item as text, "speaker: [day]: words" line by line, in pieces of whole lines where it is long."""
    pieces: list[str] = []
    for line in map(line_text, records):
        if pieces and len(pieces[-1]) + len(line) < _PIECE:
            pieces[-1] += f"\n{line}"
        else:
            pieces += cut(line)
    return pieces


def line_text(record: Record) -> str:
    """One message of a fast item."""
    when = "" if record.at is None else f"[{iso(record.at)[:10]}]"
    return ": ".join(filter(None, [record.speaker, when, record.text]))


def read_line(text: str, speaker: str = "", at: Time | None = None, recorded: Time = 0.0) -> Line:
    """What the rules read of a unit."""
    stated = facts(text, speaker, at)
    single = [fact for fact in stated if fact.single_valued]
    begins = {fact.span[0] for fact in single}
    inside = sum(len(words(text[fact.span[0] : fact.span[1]])) for fact in {f.span: f for f in single}.values())
    spoken = words(text)
    whole = all(f.single_valued or f.span[0] in begins for f in stated) and inside >= _MOSTLY * len(spoken)
    told = recorded if at is None else at
    slots = {
        (fact_slot(f.subject, f.relation), canonical(f.object), told if f.valid_from is None else f.valid_from)
        for f in single
    }
    return Line(tuple(sorted(slots)), bool(single) and whole, _same(text, speaker, spoken, at))


def lines_of(trace: Trace) -> dict[str, Line]:
    """What the rules read of its units, by unit."""
    told: dict[str, Any] = dict(trace.body.get("lines", {}))
    told |= {one["id"]: one["line"] for one in trace.body.get("items", ())}
    return {id: Line(tuple((s, o, float(t)) for s, o, t in slots), whole, same)
            for id, (slots, whole, same) in told.items()}  # fmt: skip


def units_of(trace: Trace) -> list[Unit]:
    """What a model wrote in it."""
    return [
        Unit(
            one["id"], trace, one["memory"], one["key"], one["memory_type"], tuple(one["tags"]),
            tuple(one["turns"]),
        )
        for one in trace.body.get("items", ())
    ]  # fmt: skip


def _same(text: str, speaker: str, spoken: Sequence[str], at: Time | None) -> str:
    content = [w for w in spoken if w not in STOP_WORDS or w in _NEGATIONS or w.endswith(("n't", "n’t"))]
    if len(content) < _WORTH or "?" in text:
        return ""
    days = [f"{span.start:.0f}-{span.end:.0f}" for span in find_dates(text, at)]  # yesterday is another day tomorrow
    return "\x1f".join([canonical(speaker), *content, *days])


def _tokens(records: Iterable[Record]) -> int:
    return sum(len(record.text) // _PER_TOKEN + 1 for record in records)


def _tail(records: Sequence[Record], then: Record, window: int) -> list[Record]:
    """The last of `records`, as many as overlap, and leave room for `then`."""
    room = min(OVERLAP, window - _tokens([then]))
    count = 0
    while count < len(records) and _tokens(records[len(records) - count - 1 :]) <= room:
        count += 1
    return list(records[len(records) - count :])


def _stacked(traces: Sequence[Trace]) -> Floats:
    found = [t.vectors for t in traces if t.vectors is not None and len(t.vectors)]
    return np.concatenate(found).astype(np.float32) if found else np.empty((0, 0), np.float32)


def _taken(table: dict[str, list[Any]], key: str, entry: Any) -> None:
    table[key].remove(entry)
    if not table[key]:
        del table[key]
