"""MemoryBank: a dated log of exchanges, a summary of each day, and a portrait of the person.

Source: Zhong et al., MemoryBank: Enhancing Large Language Models with Long-Term Memory, 2023, section 2; the code
is zhongwanjun/MemoryBank-SiliconFriend. Structure: exchanges, day summaries and portraits per user, with a dense
index. Objective: cosine of question and unit. Retention: the forgetting curve, `mnemos.text.retention`. Rule: append;
sum up at the end of a day.

Where we differ, on purpose: units are keyed by record ids, not by user, date and number joined by underscores; a
day's summary lives and dies with the records it was made from, and is made again from those that are left; only
what an answer cites is strengthened (`retention.note_use`), since strengthening whatever is found lets popular
records crowd out the rest; a question that names a date looks at that date first.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.core.catalogue import system
from mnemos.core.clock import Time, to_datetime
from mnemos.core.spec import Spec
from mnemos.text.index.vectors import Vectors
from mnemos.text.prompts.memorybank import Said
from mnemos.text.recipes.base import Recipe, Sought
from mnemos.text.recipes.days import DayConsolidator, Notes
from mnemos.text.records import Filter, Kind, Record, Scope
from mnemos.text.results import Hit
from mnemos.text.store import Trace
from mnemos.text.write import cut

CHUNK = 200
"""Characters up to which a block is filled with what was said around its hits."""
TOP = 6
"""Units that blocks are made of."""
_BATCH = 512
_PERSON = "person"
_DAY = "day/"


class Block(NamedTuple):
    """What was recalled of one date."""

    date: str
    """YYYY-MM-DD"""
    ids: tuple[str, ...]
    """Records, in the order of telling."""
    summary: str
    """The day's summary, where that was recalled; else empty."""
    score: float
    """Of its best unit."""


class _Unit(NamedTuple):
    last: str
    """Id of its last record; ids sort in the order of adding."""
    key: str
    open: bool
    """Whether an answer may still join it."""
    speaker: str


@dataclass
class Bank:
    """Everything of one scope: units with their vectors, by date."""

    units: list[Trace] = field(default_factory=list)
    vectors: Vectors = field(
        default_factory=lambda: Vectors(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 0), np.float16))
    )
    """Owners are places in `units`."""
    told: dict[tuple[str, str], list[_Unit]] = field(default_factory=dict)
    """Exchanges by (date, session), in the order of telling."""
    dates: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """(first record, key) of a date's exchanges, in the order of telling."""
    exchanges: dict[str, Trace] = field(default_factory=dict)
    days: dict[str, Trace] = field(default_factory=dict)
    """Summaries by date."""
    person: Trace | None = None

    def records(self, date: str) -> tuple[str, ...]:
        """Ids of the records of `date`, in the order of telling."""
        told = (self.exchanges[key].sources for _, key in self.dates.get(date, ()))
        return tuple(dict.fromkeys(id for sources in told for id in sources))


@system(
    "memorybank",
    title="MemoryBank (SiliconFriend)",
    paper="arXiv:2305.10250",
    year=2023,
    wing="text",
    choices=Spec(
        structure="exchanges, day summaries and portraits of one user, with a dense index",
        objective="cosine of the question and a unit",
        retention="a forgetting curve with a strength per record, reset and strengthened by use",
        rule="append at the end of a turn, sum up at the end of a day",
    ),
    claim="evicting the lowest retention first keeps more of what is asked for than LRU, FIFO and chance",
)
class MemoryBank(Recipe[Bank]):
    """Recall by date blocks, from exchanges and day summaries."""

    name = "memorybank"

    def empty(self) -> Bank:
        return Bank()

    # -- writing ---------------------------------------------------------------------------

    def derive(self, scope: Scope, records: Sequence[Record], index: Bank) -> Iterator[Sequence[Trace]]:
        """Exchanges of the records, then the days that are over: those before the newest."""
        for start in range(0, len(records), _BATCH):
            yield _exchanges(records[start : start + _BATCH], index)
        touched = {date_of(record) for record in records}
        before = max((date for date in index.dates if date < min(touched)), default=None)
        newest = max(index.dates)
        over = touched | ({before} if before else set())
        yield from self._sum_up(sorted(over - {newest}), index)

    def tidy(self, scope: Scope, index: Bank, now: Time) -> Iterator[Sequence[Trace]]:
        """Days that have no summary, an old one, or one by rules where there is a model now; then the portrait."""
        yield from self._sum_up(sorted(index.dates), index, again=self.parts.llm is not None)
        days = [(date, _notes(index.days[date])) for date in sorted(index.days)]
        sources = tuple(id for date, _ in days for id in index.days[date].sources)
        known, llm = index.person, self.parts.llm
        if sources and (known is None or known.sources != sources or (llm is not None and known.by == "local")):
            yield [_trace(_PERSON, sources, DayConsolidator(llm).digest(days))]

    def _sum_up(self, dates: Sequence[str], index: Bank, again: bool = False) -> Iterator[Sequence[Trace]]:
        consolidator = DayConsolidator(self.parts.llm)
        for date in dates:
            sources, known = index.records(date), index.days.get(date)
            if known is not None and known.sources == sources and not (again and known.by == "local"):
                continue
            found = self.parts.store.get(sources)
            records = [found[id] for id in sources if id in found]
            own = [_said(record) for record in records if record.source != "assistant"]
            notes = consolidator.day(date, [_said(record) for record in records], own)
            yield [_trace(f"{_DAY}{date}", sources, notes)]

    def texts(self, trace: Trace) -> Sequence[str]:
        if trace.key == _PERSON:
            return ()
        date = trace.key.removeprefix(_DAY)
        if trace.key.startswith(_DAY):
            return cut(f"Summary of {date}:\n{trace.body['events']}")
        records = self.parts.store.get(trace.sources)
        lines = [": ".join(filter(None, _said(records[id]))) for id in trace.sources if id in records]
        return cut("\n".join([f"Said on {trace.body['date']}:", *lines]))

    def change(self, index: Bank, added: Sequence[Trace], removed: Sequence[Trace]) -> None:
        for trace in removed:
            _forget(index, trace)
        for trace in added:
            _learn(index, trace)
        gone = {id(trace) for trace in removed}
        stay = np.array([id(trace) not in gone for trace in index.units], bool)
        if not stay.all():
            place = np.cumsum(stay) - 1
            kept = stay[index.vectors.owners]
            index.vectors.keep(kept, place[index.vectors.owners[kept]])
            index.units = [trace for trace, keep in zip(index.units, stay, strict=True) if keep]
        fresh = [trace for trace in added if trace.vectors is not None]
        if fresh:
            sizes = [len(trace.vectors) for trace in fresh if trace.vectors is not None]
            owners = np.repeat(np.arange(len(index.units), len(index.units) + len(fresh)), sizes)
            keys = np.arange(len(owners)) + (int(index.vectors.keys[-1]) + 1 if len(index.vectors) else 0)
            index.vectors.extend(owners, keys, np.concatenate([t.vectors for t in fresh if t.vectors is not None]))
            index.units += fresh

    # -- reading ---------------------------------------------------------------------------

    def seek(self, sought: Sought, index: Bank) -> list[Hit]:
        """Records of the best units first, the one nearest to the question first within its exchange; after the
        last unit's, what was said around them. A recalled summary is a hit of its own."""
        if not index.units:
            return []
        hits: list[Hit] = []
        taken: set[str] = set()
        units: list[tuple[Trace, float]] = []
        cosines = sought.cosines()
        for trace, score, dated in self._ranked(sought, index):
            units.append((trace, score))
            why = (f"{'the date asked for, ' if dated else ''}{_named(trace)}",)
            parts = {"cosine": score, "date asked for": float(dated)}
            if trace.key.startswith(_DAY):
                hits.append(self.derived_hit(sought, trace, str(trace.body["events"]), score, why, parts))
            else:
                rows = [sought.row[id] for id in trace.sources if id not in taken]
                rows.sort(key=lambda row: -cosines[row])
                hits += self.hits(sought, rows, [score] * len(rows), [why] * len(rows), [parts] * len(rows))
                taken |= set(trace.sources)
            if len(hits) >= sought.k:
                break
        return hits[: sought.k]

    def blocks(self, scope: Scope, text: str, top: int = TOP, chunk: int = CHUNK, by_date: bool = True) -> list[Block]:
        """What a companion is shown for `text`: the `top` best units as blocks, one per date, in the order of dates,
        each filled with what was said around its hits, nearest first, as long as it has at most `chunk` characters.

        Args:
            by_date: whether a date that `text` names is looked at first.
        """
        now, found = self.parts.clock.now(), dict[str, list[tuple[Trace, float]]]()
        with self._lock, self.parts.store.reading():
            corpus, state = self._synced(scope)
            index = state.index
            if not index.units:
                return []
            where = Filter(scope)
            sought = Sought(
                text, self.embed([text])[0], where, top, now, False, corpus, state.row, corpus.mask(where, now)
            )
            for trace, score, _ in islice(self._ranked(sought, index, by_date), top):
                found.setdefault(_date(trace), []).append((trace, score))
            return [_block(index, date, units, chunk) for date, units in sorted(found.items())]

    def person(self, scope: Scope) -> Notes | None:
        """The digest of events and the portrait over all days; None before the first consolidation."""
        trace = self.index(scope).person
        return None if trace is None else _notes(trace)

    def _ranked(self, sought: Sought, index: Bank, by_date: bool = True) -> Iterator[tuple[Trace, float, bool]]:
        """(unit, score, whether it is of the time asked for) of admitted units, best first."""
        scores = np.full(len(index.units), -1, np.float32)
        np.maximum.at(scores, index.vectors.owners, index.vectors.all(sought.vector))
        dated = _asked_for(sought, index) if by_date else np.zeros(len(index.units), bool)
        for n in np.lexsort((-scores, ~dated)).tolist():
            if sought.admits(index.units[n].sources):
                yield index.units[n], float(np.clip(scores[n], 0, 1)), bool(dated[n])


def date_of(record: Record) -> str:
    """The day, in UTC, on which a record was said, or written down where that is not known."""
    return to_datetime(record.recorded_at if record.at is None else record.at).date().isoformat()


def _exchanges(records: Sequence[Record], index: Bank) -> list[Trace]:
    """One unit per turn and the answer to it: the next turn of the session, by somebody else, on the same day."""
    made: dict[str, Trace] = {}
    latest: dict[tuple[str, str], _Unit] = {}
    for record in records:
        group = (date_of(record), record.session)
        known = index.told.get(group, [])
        place = bisect_left(known, record.id, key=lambda unit: unit.last)
        before = [*known[max(0, place - 1) : place], *([latest[group]] if group in latest else [])]
        last = max((unit for unit in before if unit.last < record.id), default=None)
        turn = record.kind is Kind.TURN
        if turn and last is not None and last.open and last.speaker != record.speaker:
            first = made.get(last.key) or index.exchanges[last.key]
            trace = _exchange(last.key, (*first.sources, record.id), record, False, first)
        else:
            trace = _exchange(record.id, (record.id,), record, turn, None)
        made[trace.key] = trace
        latest[group] = _unit(trace)
    return list(made.values())


def _exchange(key: str, sources: tuple[str, ...], record: Record, open: bool, first: Trace | None) -> Trace:
    chars = len(record.text) + (int(first.body["chars"]) if first else 0)
    body = {"date": date_of(record), "session": record.session, "speaker": record.speaker, "chars": chars}
    return Trace(key, sources, body | ({"open": True} if open else {}))


def _unit(trace: Trace) -> _Unit:
    return _Unit(trace.sources[-1], trace.key, bool(trace.body.get("open")), str(trace.body["speaker"]))


def _trace(key: str, sources: tuple[str, ...], notes: Notes) -> Trace:
    return Trace(key, sources, {"events": notes.events, "portrait": notes.portrait}, notes.by)


def _notes(trace: Trace) -> Notes:
    return Notes(str(trace.body["events"]), str(trace.body["portrait"]), trace.by)


def _said(record: Record) -> Said:
    return record.speaker, record.text


def _date(trace: Trace) -> str:
    """Its day; empty for the portrait."""
    return trace.key.removeprefix(_DAY) if trace.key.startswith(_DAY) else str(trace.body.get("date", ""))


def _named(trace: Trace) -> str:
    what = "summary of" if trace.key.startswith(_DAY) else "said on"
    return f"{what} {_date(trace)}"


def _learn(index: Bank, trace: Trace) -> None:
    if trace.key == _PERSON:
        index.person = trace
    elif trace.key.startswith(_DAY):
        index.days[_date(trace)] = trace
    else:
        index.exchanges[trace.key] = trace
        insort(index.told.setdefault((_date(trace), str(trace.body["session"])), []), _unit(trace))
        insort(index.dates.setdefault(_date(trace), []), (trace.sources[0], trace.key))


def _forget(index: Bank, trace: Trace) -> None:
    if index.person is trace:
        index.person = None
    elif index.days.get(date := _date(trace)) is trace:
        del index.days[date]
    elif index.exchanges.get(trace.key) is trace:
        del index.exchanges[trace.key]
        group = (date, str(trace.body["session"]))
        index.told[group].remove(_unit(trace))
        index.dates[date].remove((trace.sources[0], trace.key))
        if not index.told[group]:
            del index.told[group]
        if not index.dates[date]:
            del index.dates[date]


def _asked_for(sought: Sought, index: Bank) -> NDArray[np.bool_]:
    """[units] whether each is of the time that the question names."""
    window = sought.query.window
    if window is None:
        return np.zeros(len(index.units), bool)
    first = to_datetime(window.start).date().isoformat()
    last = to_datetime(window.end - 1).date().isoformat()
    return np.array([first <= _date(trace) <= last for trace in index.units], bool)


def _block(index: Bank, date: str, units: Sequence[tuple[Trace, float]], chunk: int) -> Block:
    keys = _expanded(index, date, [t.key for t, _ in units if not t.key.startswith(_DAY)], chunk)
    ids = dict.fromkeys(id for key in keys for id in index.exchanges[key].sources)
    summary = next((str(t.body["events"]) for t, _ in units if t.key.startswith(_DAY)), "")
    return Block(date, tuple(ids), summary, max(score for _, score in units))


def _expanded(index: Bank, date: str, keys: Sequence[str], chunk: int) -> list[str]:
    """`keys` of one date and their neighbours, the next before the one before, in the order of telling."""
    told = [key for _, key in index.dates.get(date, ())]
    place = {key: n for n, key in enumerate(told)}
    chosen = {place[key] for key in keys}
    size = sum(int(index.exchanges[key].body["chars"]) for key in keys)
    for step in range(1, len(told) if chosen else 0):
        for n in [p + way for p in sorted(chosen & {place[key] for key in keys}) for way in (step, -step)]:
            if not 0 <= n < len(told) or n in chosen:
                continue
            size += int(index.exchanges[told[n]].body["chars"])
            if size > chunk:
                return [told[n] for n in sorted(chosen)]
            chosen.add(n)
    return [told[n] for n in sorted(chosen)]
