"""What every recipe is: a way to derive traces from records, and to find records by them.

A recipe never changes a record. It adds *traces* (notes, triples, summaries, thoughts) beside them,
so that one file serves any recipe, and leaving one loses nothing. A record is pending until a live
trace has it as a source: that is the queue, and it survives crashes. A trace is live while all of its
sources are visible, so what is forgotten is forgotten here too.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Clock, Time
from mnemos.core.errors import EndpointError, InvalidInput, MissingExtra, StoreError
from mnemos.core.ids import IdGenerator
from mnemos.text.index.corpus import Corpus
from mnemos.text.index.lexical import saturate
from mnemos.text.llm import LanguageModel
from mnemos.text.recall import query as reading
from mnemos.text.recall.query import Query
from mnemos.text.recall.search import Found, Recall
from mnemos.text.records import KIND_NUMBER, VERBATIM, Filter, Kind, Record, Scope
from mnemos.text.results import Hit
from mnemos.text.store import Store, Trace
from mnemos.text.write import Encoder

log = logging.getLogger(__name__)

_FEW = 256
"""Traces that are indexed in no time: what a packed index may lack."""
Index = TypeVar("Index")
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """What a recipe is wired from."""

    store: Store
    encoder: Encoder
    recall: Recall
    llm: LanguageModel | None
    ids: IdGenerator
    clock: Clock


@dataclass(frozen=True)
class Sought:
    """One question to a recipe, beside the verbatim records that may answer it. Rows are those of `corpus`."""

    text: str
    vector: Floats
    """[dim]"""
    where: Filter
    k: int
    now: Time
    explain: bool
    corpus: Corpus
    row: Mapping[str, int]
    """Record id → row."""
    admitted: NDArray[np.bool_] | None
    """[rows] those that the filter admits; None where all are."""

    @cached_property
    def query(self) -> Query:
        """The question as read: terms, speakers, time window."""
        return reading.read(self.text, self.corpus, self.now, self.vector)

    def admits(self, ids: Iterable[str]) -> bool:
        """Whether every one of the records is there, and admitted."""
        rows = [self.row.get(id, -1) for id in ids]
        return all(r >= 0 and (self.admitted is None or bool(self.admitted[r])) for r in rows)

    def cosines(self) -> Floats:
        """[rows] of the best unit of each record; 0 where it has none."""
        found = np.zeros(len(self.corpus), np.float32)
        vectors = self.corpus.vectors
        if len(vectors):
            found[vectors.owners] = -1.0
            np.maximum.at(found, vectors.owners, vectors.all(self.vector))
        return found

    def lexical(self) -> Floats:
        """[rows] BM25 as a share of the question's idf mass, in [0, 1]."""
        postings = self.corpus.postings
        matches = postings.matches(self.query.terms)
        weight = saturate(matches.counts, postings.lengths[matches.rows], postings.mean_length)
        return np.bincount(matches.rows, matches.share[matches.term] * weight, len(self.corpus)).astype(np.float32)


@dataclass
class _State(Generic[Index]):
    """What is held of one scope."""

    index: Index
    seen: int = 0
    """The latest change of traces that was read."""
    stored: dict[str, Trace] = field(default_factory=dict)
    live: dict[str, Trace] = field(default_factory=dict)
    """What `index` is made of."""
    asleep: dict[str, None] = field(default_factory=dict)
    """Keys of the `stored` that are not live."""
    numbering: int = -1
    """Of the corpus that `row` is of."""
    row: dict[str, int] = field(default_factory=dict)
    bare: set[str] = field(default_factory=set)
    """Keys of the `stored` that were read without bodies and vectors."""
    moved: int = 0
    """Traces that came into `index` or left it since it was packed."""
    pending: list[str] = field(default_factory=list)
    """Ids of visible records of the recipe's kinds that no live trace comes from, in order of adding."""


class Recipe(ABC, Generic[Index]):
    """One way to remember: what is derived from records, and how records are found by it.

    Raises:
        MissingExtra: there is no embedder; recipes compare meanings.
    """

    name: ClassVar[str]
    kinds: tuple[Kind, ...] = VERBATIM
    """Kinds of records that traces are derived from."""

    def __init__(self, parts: Parts) -> None:
        if parts.encoder.embedder is None:
            raise MissingExtra(f"the recipe {self.name!r}", "local")
        self.parts = parts
        self._states: dict[Scope, _State[Index]] = {}
        self._lock = threading.RLock()

    # -- what a recipe defines -------------------------------------------------------------

    @abstractmethod
    def empty(self) -> Index:
        """The index of no traces."""

    @abstractmethod
    def change(self, index: Index, added: Sequence[Trace], removed: Sequence[Trace]) -> None:
        """Bring `index` up to date; in any order and any portions it must come to the same."""

    @abstractmethod
    def derive(self, scope: Scope, records: Sequence[Record], index: Index) -> Iterator[Sequence[Trace]]:
        """Traces of pending records, in batches: each is durable, and part of `index`, before the next is made.

        Every record must become a source of at least one trace; an empty body will do.

        Raises:
            EndpointError: the model failed; what was not yielded stays pending.
        """

    def texts(self, trace: Trace) -> Sequence[str]:
        """The strings that `trace.vectors` embed, in order; they are embedded where a trace comes without
        vectors, and again when the memory changes its embedder."""
        return ()

    @abstractmethod
    def seek(self, sought: Sought, index: Index) -> list[Hit]:
        """At most `sought.k` hits, best first."""

    def pack(self, index: Index) -> bytes | None:
        """`index` without its vectors, for a quick start; None where it is made quickly anyhow."""
        return None

    def unpack(self, body: bytes, vectors: Iterable[tuple[str, NDArray[np.float16]]]) -> Index | None:
        """The index that `pack` packed.

        Args:
            vectors: those of each trace by its key, the latest first.

        Returns:
            None where it is in another form than this library's.
        """
        return None

    def tidy(self, scope: Scope, index: Index, now: Time) -> Iterator[Sequence[Trace]]:
        """Traces to replace when the memory consolidates."""
        yield from ()

    # -- what Memory calls -----------------------------------------------------------------

    def absorb(self, scope: Scope, progress: Callable[[int], None] | None = None) -> int:
        """Derive what is pending; returns how many records still are, because the model failed."""
        with self._lock:
            _, state = self._synced(scope)
            if foreign := [key for key in state.asleep if self._foreign(state.stored[key])]:
                whole = self.parts.store.traces_at(scope, self.name, foreign)
                self._keep(scope, iter([[replace(t, vectors=None, model="") for t in whole.values()]]), None)
            if state.pending:
                known = self.parts.store.get(state.pending)
                records = [known[id] for id in state.pending if id in known]
                try:
                    self._keep(scope, self.derive(scope, records, state.index), progress)
                except EndpointError as why:
                    _, state = self._synced(scope)
                    log.warning("%d records wait for the model (%s): consolidate() goes on", len(state.pending), why)
            self._packed(scope, state)
            return len(state.pending)

    def consolidate(self, scope: Scope, now: Time) -> int:
        """`absorb`, then tidy up; returns how many records are still pending."""
        with self._lock:
            left = self.absorb(scope)
            try:
                self._keep(scope, self.tidy(scope, self._synced(scope)[1].index, now), None)
            except EndpointError as why:
                log.warning("the recipe %s was not tidied up (%s): consolidate() tries again", self.name, why)
            return left

    def search(self, text: str, where: Filter, k: int, now: Time, explain: bool) -> list[Hit]:
        """The hits of `seek`. Records that came since are derived first, where that takes no model's time."""
        vector = self.parts.encoder.embed_query(text)
        assert vector is not None
        with self._lock:
            if self.parts.llm is None and self._synced(where.scope)[1].pending:
                self.absorb(where.scope)
            with self.parts.store.reading():
                corpus, state = self._synced(where.scope)
                if not len(corpus):
                    return []
                admitted = corpus.mask(where, now)
                sought = Sought(text, vector, where, k, now, explain, corpus, state.row, admitted)
                hits = self.seek(sought, state.index)[:k]
            self._packed(where.scope, state)
            return hits

    def found(self, text: str, where: Filter, k: int, now: Time) -> Found:
        """The hits of `search`, beside how the library's own recall reads the question and how sure it is."""
        recall = self.parts.recall
        own = recall.search(text, recall.embedded(text, where.scope), where, k, now)
        return replace(own, hits=self.search(text, where, k, now, explain=False))

    @contextmanager
    def keeping(self, scope: Scope) -> Iterator[None]:
        """Within this a packed index goes with what is erased, and is packed again without that in the end."""
        kept = self.name in self.parts.store.packed(scope)
        if kept:
            self.index(scope)  # to build it anew afterwards would take far longer
        yield
        if kept:
            with self._lock:
                self._packed(scope, self._synced(scope)[1])

    def pending(self, scope: Scope) -> int:
        """How many records wait to be derived."""
        with self._lock:
            return len(self._synced(scope)[1].pending)

    def index(self, scope: Scope) -> Index:
        """The index of a scope, caught up with the store."""
        with self._lock:
            return self._synced(scope)[1].index

    # -- what a recipe inherits ------------------------------------------------------------

    def embed(self, texts: Sequence[str]) -> Floats:
        """[n, dim] vectors of unit length."""
        embedder = self.parts.encoder.embedder
        assert embedder is not None
        return embedder.embed(list(texts))

    def hits(
        self, sought: Sought, rows: Ints | Sequence[int], scores: Floats | Sequence[float],
        why: Sequence[tuple[str, ...]], parts: Sequence[Mapping[str, float]] | None = None,
    ) -> list[Hit]:  # fmt: skip
        """The records at `rows` as hits, in that order."""
        versions = sought.corpus.version[np.asarray(rows, np.int64)].tolist()
        bodies = self.parts.store.bodies(versions)
        told = parts if parts is not None and sought.explain else [{}] * len(versions)
        return [
            Hit(
                body["id"], body["text"], float(score), Kind(body["kind"]), body.get("speaker", ""), body.get("at"),
                body.get("session", ""), body.get("metadata", {}), tuple(reason), part,
            )
            for body, score, reason, part in zip((bodies[v] for v in versions), scores, why, told, strict=True)
        ]  # fmt: skip

    def derived_hit(
        self, sought: Sought, trace: Trace, text: str, score: float, why: tuple[str, ...],
        parts: Mapping[str, float] | None = None, sources: Sequence[str] = (),
    ) -> Hit:  # fmt: skip
        """`text`, which stands for `sources` (all of the trace's if none are given), under its newest source's id."""
        newest = max(sought.row[id] for id in sources or trace.sources)
        (hit,) = self.hits(sought, [newest], [score], [why], [parts or {}])
        return replace(hit, text=text, kind=Kind.SUMMARY)

    def _foreign(self, trace: Trace) -> bool:
        """Whether its vectors are another embedder's."""
        return trace.model not in ("", self.parts.encoder.model)

    # -- keeping up ------------------------------------------------------------------------

    def _keep(self, scope: Scope, batches: Iterator[Sequence[Trace]], progress: Callable[[int], None] | None) -> None:
        done = 0
        for batch in batches:
            self.parts.store.put_traces(scope, self.name, self._embedded(batch))
            self._synced(scope)
            done += len(batch)
            if progress:
                progress(done)

    def _embedded(self, traces: Sequence[Trace]) -> list[Trace]:
        """`traces` with the vectors that they lack; each string is embedded once."""
        wanted = {n: self.texts(t) for n, t in enumerate(traces) if t.vectors is None}
        strings = list(dict.fromkeys(text for texts in wanted.values() for text in texts))
        if not strings:
            return list(traces)
        vectors = self.embed(strings).astype(np.float16)
        place = {text: n for n, text in enumerate(strings)}
        return [
            replace(t, vectors=vectors[[place[text] for text in wanted[n]]], model=self.parts.encoder.model)
            if wanted.get(n) else t
            for n, t in enumerate(traces)
        ]  # fmt: skip

    def _synced(self, scope: Scope) -> tuple[Corpus, _State[Index]]:
        store = self.parts.store
        with store.reading():
            state = self._states.get(scope)
            if state is None:
                state = self._states[scope] = self._opened(scope)
            corpus = self.parts.recall.corpus(scope)
            seen, fresh, dropped = store.traces(scope, self.name, state.seen)
        for key in dropped:
            state.stored.pop(key, None)
        state.stored.update((trace.key, trace) for trace in fresh)
        state.bare.difference_update(dropped, (trace.key for trace in fresh))
        state.seen = max([seen, state.seen])
        known = len(state.row) if state.numbering == corpus.numbering else 0
        if known and not (fresh or dropped or len(corpus) > known):
            return corpus, state
        if known:
            state.row.update(zip(corpus.ids[known:], range(known, len(corpus)), strict=True))
            keys = {**dict.fromkeys(dropped), **dict.fromkeys(trace.key for trace in fresh), **state.asleep}
        else:
            state.numbering, state.row = corpus.numbering, {id: row for row, id in enumerate(corpus.ids)}
            state.asleep = {}
            keys = dict.fromkeys([*state.stored, *state.live])
        new, died = self._settle(scope, state, keys)
        if died and self.name not in store.packed(scope):
            state.moved += len(state.live) + _FEW  # what was erased took the packed index along
        if died or not known:
            known, new, state.pending = 0, list(state.live), []
        asked = np.isin(corpus.kind[known:], [KIND_NUMBER[kind] for kind in self.kinds])
        came = [corpus.ids[known + n] for n in np.flatnonzero(asked).tolist()]
        covered = {id for key in new for id in state.live[key].sources}
        state.pending = [id for id in (*state.pending, *came) if id not in covered]
        return corpus, state

    def _opened(self, scope: Scope) -> _State[Index]:
        """A state of nothing, or what was packed."""
        store = self.parts.store
        packed = store.snapshot(scope, self.name)
        if packed is None or packed.model != self.parts.encoder.model:
            return _State(self.empty())
        try:
            index = self.unpack(packed.body, store.trace_vectors(scope, self.name, packed.seq))
        except StoreError:
            raise
        except Exception as why:  # whatever is wrong with a copy, it is made again
            log.warning("the packed index of %s cannot be read (%r): it is made again", self.name, why)
            index = None
        if index is None:
            return _State(self.empty())
        known, live = store.bare_traces(scope, self.name, packed.seq), dict[str, Trace]()
        stored = {key: trace for key, (_, trace) in known.items()}
        for key, seq in packed.traces.items():
            now, trace = known.get(key, (0, Trace(key, (), {})))
            # one that changed since is another, and `_settle` puts it in the place of this one
            live[key] = trace if now == seq else replace(trace, sources=())
        return _State(index, packed.seq, stored, live, bare=set(stored))

    def _packed(self, scope: Scope, state: _State[Index]) -> None:
        """Keep the index packed once a good part of it has changed."""
        if state.moved < max(_FEW, len(state.live) // 20):
            return
        body = self.pack(state.index)
        if body is not None:
            # a file that is busy, full or only read, or cannot hold as much, has the rest all the same
            with suppress(StoreError, InvalidInput):
                self.parts.store.put_snapshot(scope, self.name, state.seen, self.parts.encoder.model, state.live, body)
        state.moved = 0

    def _settle(self, scope: Scope, state: _State[Index], keys: Iterable[str]) -> tuple[list[str], int]:
        """Tell the index what of `keys` came to life and what died; returns the former, and how many of the latter."""
        new, removed = list[str](), list[Trace]()
        for key in keys:
            trace, old = state.stored.get(key), state.live.get(key)
            lives = trace is not None and self._lives(trace, state.row)
            if trace is None or lives:
                state.asleep.pop(key, None)
            else:
                state.asleep[key] = None
            if old is not None and not (lives and old is trace):
                removed.append(state.live.pop(key))
            if lives and old is not trace:
                new.append(key)
        if bare := [key for key in new if key in state.bare]:
            whole = self.parts.store.traces_at(scope, self.name, bare)
            state.stored |= whole
            state.bare -= whole.keys()
        state.live.update((key, state.stored[key]) for key in new)
        if new or removed:
            self.change(state.index, [state.live[key] for key in new], removed)
            state.moved += len(new) + len(removed)
        return new, len(removed)

    def _lives(self, trace: Trace, row: Mapping[str, int]) -> bool:
        return bool(trace.sources) and all(id in row for id in trace.sources) and not self._foreign(trace)
