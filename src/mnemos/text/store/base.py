"""What a store must do, in terms that any transactional database can implement.

The log is the truth: one row per record and operation, holding the record as the operation left
it. Everything else (current records, edges, analysis, vectors, idempotency keys) is materialised
from it in the same transaction, so that `rebuild` can make it again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Time
from mnemos.text.records import EdgeKind, Filter, Kind, Operation, Record, Scope, Version


@dataclass(frozen=True, slots=True)
class Unit:
    """A stretch of a record's text with a vector of its own."""

    hash: bytes
    """16 bytes that identify the embedded text."""
    vector: NDArray[np.float16]
    """[dim], unit length."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the index needs of a text, so that opening a store reads no text at all."""

    terms: NDArray[np.uint32]
    """Hashed stems in order, with repetitions."""
    traits: int = 0
    """Bits of `encode.analyse.Trait`."""
    mentions: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    """Hashed canonical names of the things it mentions."""
    model: str = ""
    """The embedder of `units`; empty where there was none."""
    units: tuple[Unit, ...] = ()


@dataclass(frozen=True, slots=True)
class Write:
    """A record as it shall be from now on. `analysis` is None where the text did not change."""

    record: Record
    analysis: Analysis | None = None
    key: str = ""
    """Idempotency key to remember for it."""
    slot: str = ""
    """What a later fact would have to share to supersede this one."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a recipe derived from records: beside them, never instead of them."""

    key: str
    """Unique within a scope and a recipe; a later trace takes the place of an earlier one."""
    sources: tuple[str, ...]
    """Ids of the records it was made from, at least one."""
    body: Mapping[str, Any]
    """JSON, in a form of the recipe's own."""
    by: str = "local"
    """Who made it: "local", or the language model's name."""
    vectors: NDArray[np.float16] | None = None
    """[m, dim] of unit length, in an order of the recipe's own."""
    model: str = ""
    """The embedder of `vectors`."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A recipe's index, made of traces as they were once."""

    seq: int
    """The latest change of traces that is in it."""
    model: str
    """The embedder of their vectors."""
    traces: Mapping[str, int]
    """Keys of the traces that it is made of, with their change numbers."""
    body: bytes
    """In a form of the recipe's own."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the index holds of n records, column by column, in order of `version`."""

    version: Sequence[int] = ()
    """Log number of the record as it is now."""
    seq: Sequence[int] = ()
    id: Sequence[str] = ()
    kind: Sequence[str] = ()
    session: Sequence[str] = ()
    speaker: Sequence[str] = ()
    at: Sequence[Time | None] = ()
    valid_from: Sequence[Time | None] = ()
    valid_to: Sequence[Time | None] = ()
    expires_at: Sequence[Time | None] = ()
    traits: Sequence[int] = ()
    terms: Sequence[bytes] = ()
    mentions: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class ScopeSize:
    """How much one scope holds."""

    scope: Scope
    records: int
    verbatim: int


@dataclass(slots=True)
class Receipt:
    """What a `forget` removed, and where."""

    operation: str
    hard: bool
    ids: list[str] = field(default_factory=list)
    derived: list[str] = field(default_factory=list)
    """Facts, entities and sessions that went because nothing supports them any more."""
    removed: dict[str, int] = field(default_factory=dict)
    """Rows by place: records, log, edges, vectors, terms, keys, index."""
    held: list[str] = field(default_factory=list)
    """Ids that a legal hold kept."""
    verified: bool = False
    """Hard only: the texts were searched for in every file afterwards, and not found."""


class Store(Protocol):
    """A durable home for one memory; see the module's text."""

    def commit(self, operation: Operation, writes: Sequence[Write], erased: Sequence[str] = ()) -> None:
        """Append `operation` and its records, all or nothing, durable on return. Called again for
        the same operation, inside one `writing()`, it adds to it.

        Args:
            erased: records that the operation had, and that a hard forget took from the log.
        """
        ...

    def writing(self) -> AbstractContextManager[object]:
        """One transaction for every commit and read inside: all or nothing, durable on exit."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """One consistent view for every read inside, unchanged by other writers."""
        ...

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """The current records of those ids that exist, retracted ones included."""
        ...

    def visible(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids whose record is there and neither retracted nor in quarantine."""
        ...

    def bodies(self, versions: Sequence[int]) -> dict[int, dict[str, Any]]:
        """By log number, the records as those entries left them, as data: what a hit is made of."""
        ...

    def find(
        self, where: Filter, now: Time, *, limit: int | None = None, after: str = "", hidden: bool = False
    ) -> Iterator[Record]:
        """Records in the order in which they were added, after the id `after`; `hidden` adds
        retracted, quarantined and expired ones."""
        ...

    def latest(self) -> tuple[int, int]:
        """(the log's last number, how often vectors were attached): both grow with every such
        change by any process."""
        ...

    def mark(self, number: int) -> str:
        """The operation that wrote log number `number`; empty where there is none."""
        ...

    def changed(self, scope: Scope, kinds: Sequence[Kind], since: int) -> tuple[Columns, list[str]]:
        """Of `scope`, what changed after log number `since`: rows to index, ids to drop (of any
        kind: hidden or erased)."""
        ...

    def vectors(self, scope: Scope, model: str, since: int) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """(record version [n], vectors [n, dim]) of what changed after `since`, by version."""
        ...

    def cached(self, model: str, hashes: Sequence[bytes]) -> dict[bytes, NDArray[np.float16]]:
        """Vectors already made by `model`, by hash."""
        ...

    def stale(self, model: str, limit: int) -> list[Record]:
        """Searchable records that have no vector by `model`."""
        ...

    def put_vectors(self, model: str, units: Iterable[tuple[str, Sequence[Unit]]]) -> None:
        """Attach units to records by id, without touching the log."""
        ...

    def keys(self, scope: Scope, keys: Sequence[str]) -> dict[str, str]:
        """Record ids by idempotency key."""
        ...

    def slots(self, scope: Scope, slots: Sequence[str]) -> dict[str, list[Record]]:
        """Unretracted facts by slot."""
        ...

    def incoming(self, ids: Sequence[str], kinds: Sequence[EdgeKind]) -> list[tuple[str, EdgeKind, str]]:
        """Edges (from, kind, to) that end in one of `ids`, whichever record holds them."""
        ...

    def history(self, id: str) -> list[Version]:
        """The record as each operation left it, oldest first."""
        ...

    def operation(self, id: str) -> tuple[Operation, list[str]]:
        """An operation and the records it changed. Raises NotFound."""
        ...

    def operations(self, scope: Scope | None, limit: int) -> list[Operation]:
        """The newest operations first."""
        ...

    def log(self) -> Iterator[tuple[Operation, list[dict[str, Any]], dict[str, str]]]:
        """Every operation in order, with its records as data and their keys: what export writes."""
        ...

    def erase(self, operation: Operation, ids: Sequence[str]) -> dict[str, int]:
        """Remove records from everywhere, log included; `purge` then clears the files. Returns the
        rows removed by place."""
        ...

    def purge(self) -> None:
        """Make sure that no erased byte is left in any file; after the transaction of `erase`."""
        ...

    def in_log(self, piece: bytes) -> bool:
        """Whether a record that is still there, of any scope, holds `piece` of UTF-8 JSON."""
        ...

    def put_traces(self, scope: Scope, recipe: str, traces: Sequence[Trace], gone: Sequence[str] = ()) -> None:
        """Keep `traces`, each in the place of the one that had its key, and drop the keys `gone`; all or nothing."""
        ...

    def traces(self, scope: Scope, recipe: str, since: int = 0) -> tuple[int, list[Trace], list[str]]:
        """(latest change number, traces that changed after `since` in the order of change, keys dropped since)."""
        ...

    def traces_at(self, scope: Scope, recipe: str, keys: Sequence[str]) -> dict[str, Trace]:
        """The traces of these keys, of those that are there."""
        ...

    def bare_traces(self, scope: Scope, recipe: str, until: int) -> dict[str, tuple[int, Trace]]:
        """Change number and trace by key, up to change `until`, without bodies and vectors."""
        ...

    def trace_vectors(self, scope: Scope, recipe: str, until: int) -> Iterator[tuple[str, NDArray[np.float16]]]:
        """(key, vectors [m, dim]) of those traces up to change `until` that have any, the latest first."""
        ...

    def drop_traces(self, ids: Sequence[str]) -> int:
        """Drop what any recipe made of the records `ids`. Returns how many traces went."""
        ...

    def put_snapshot(self, scope: Scope, recipe: str, seq: int, model: str, keys: Collection[str], body: bytes) -> None:
        """Keep a `Snapshot` in the place of an earlier one, unless traces have changed since `seq`: what was erased
        meanwhile must not come back."""
        ...

    def snapshot(self, scope: Scope, recipe: str) -> Snapshot | None:
        """The one that was kept, until something is erased from the scope."""
        ...

    def packed(self, scope: Scope) -> set[str]:
        """The recipes that have a `Snapshot` in this scope."""
        ...

    def all_traces(self) -> Iterator[tuple[Scope, str, Trace]]:
        """Every trace with its scope and recipe, in the order of change."""
        ...

    def touch(self, ids: Sequence[str], at: Time) -> None:
        """Count a use of each record at `at`."""
        ...

    def uses(self, ids: Sequence[str]) -> dict[str, tuple[int, Time]]:
        """(how often, when last) of the records that were ever used."""
        ...

    def counts(self, scope: Scope, now: Time) -> tuple[dict[str, int], int]:
        """(visible records by kind, hidden ones) of `scope` at `now`."""
        ...

    def scopes(self) -> list[ScopeSize]:
        """Every scope that holds something."""
        ...

    def setting(self, name: str, value: str | None = None) -> str | None:
        """Read a setting of the store, or write it."""
        ...

    def settings(self) -> list[tuple[str, str]]:
        """Every setting that belongs to the memory, not to this file."""
        ...

    def all_vectors(self) -> Iterator[tuple[str, str, bytes, NDArray[np.float16]]]:
        """(model, record id, hash, vector) of every unit, in order."""
        ...

    def files(self) -> list[str]:
        """Every file that belongs to the store."""
        ...

    def check(self) -> list[str]:
        """What is wrong with the store; empty when it is sound."""
        ...

    def rebuild(self, analyse: Callable[[Record], Write]) -> int:
        """Make everything but the log again from the log, with `analyse` for what is computed
        from a text. Returns the number of records."""
        ...

    def close(self) -> None:
        """Release the files."""
        ...
