"""What is stored: records, the edges between them, and the operations that changed them.

Verbatim text (turns, passages, notes) is what somebody said or wrote, and is kept as it came.
Everything derived from it (entities, facts, summaries, sessions) points back by `derived-from` or
`mentions` edges. Time has two axes (Snodgrass, 1999): `valid_from`/`valid_to` say when something
held in the world, `recorded_at`/`retracted_at` when this memory knew it. A changed fact is closed
and superseded, never overwritten, so that a question about the past has its answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from mnemos.core.clock import Time
from mnemos.core.errors import InvalidInput


class Kind(StrEnum):
    """What a record is."""

    TURN = "turn"
    """One utterance of a conversation."""
    PASSAGE = "passage"
    """A stretch of a document."""
    NOTE = "note"
    """Free text that belongs to no conversation."""
    SESSION = "session"
    """A conversation as a whole: who, when, what about."""
    ENTITY = "entity"
    """A person, place or thing that verbatim text mentions."""
    FACT = "fact"
    """Subject, relation, object, with the time in which it held."""
    SUMMARY = "summary"
    """Text that stands for many records."""


VERBATIM = (Kind.TURN, Kind.PASSAGE, Kind.NOTE)
"""Kinds that hold what was said; the default of `search` and `list`."""
KIND_NUMBER = {kind: number for number, kind in enumerate(Kind)}
"""What a kind is in a column of the index."""


class EdgeKind(StrEnum):
    """How two records hang together. `next` and `in` follow from session and order."""

    NEXT = "next"
    IN = "in"
    MENTIONS = "mentions"
    SAME_AS = "same-as"
    LINKS = "links"
    SUPERSEDES = "supersedes"
    DERIVED_FROM = "derived-from"


@dataclass(frozen=True, slots=True)
class Scope:
    """The wall around a memory: one user's records with one agent. Empty means unnamed."""

    user: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """A typed edge from the record that holds it to `to`."""

    kind: EdgeKind
    to: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class DateSpan:
    """A date expression of a text, resolved to the half-open interval [start, end)."""

    phrase: str
    start: Time
    end: Time


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a record is kept, where it differs from its scope's policy.

    `hold` (a legal hold) forbids forgetting and changing; `pin` exempts from decay.
    """

    expires_at: Time | None = None
    pin: bool = False
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One memory."""

    id: str
    kind: Kind
    text: str
    scope: Scope = Scope()
    session: str = ""
    speaker: str = ""
    at: Time | None = None
    """When it was said or written, if known."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The user's own JSON; never read by mnemos."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What extraction found: `entities`, `dates`; `subject`, `relation`, `object` of a fact."""
    edges: tuple[Edge, ...] = ()
    source: str = "user"
    """Who vouches for it: user, assistant, tool, import, memory."""
    quarantined: bool = False
    """Kept, but not recalled until released."""
    retention: Retention = Retention()
    recorded_at: Time = 0.0
    retracted_at: Time | None = None
    valid_from: Time | None = None
    valid_to: Time | None = None

    @property
    def searchable(self) -> bool:
        """Whether recall may return it at all."""
        return self.retracted_at is None and not self.quarantined

    def holds_at(self, moment: Time) -> bool:
        """Whether it was true, or had been said, at `moment`."""
        start = self.valid_from if self.valid_from is not None else self.at
        return (start is None or start <= moment) and (self.valid_to is None or moment < self.valid_to)


_PLAIN = {
    f.name: f.default for f in fields(Record)
    if f.name in ("session", "speaker", "at", "source", "quarantined", "retracted_at", "valid_from", "valid_to")
}  # fmt: skip
"""Fields that JSON holds as they are, with the defaults that it leaves out."""
_KINDS = {str(kind): kind for kind in Kind}
_EDGE_KINDS = {str(kind): kind for kind in EdgeKind}
_NO_RETENTION = Retention()
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def to_dict(record: Record) -> dict[str, Any]:
    """`record` as plain JSON data; defaults are left out."""
    out: dict[str, Any] = {"id": record.id, "kind": str(record.kind), "text": record.text}
    if record.scope.user:
        out["user"] = record.scope.user
    if record.scope.agent:
        out["agent"] = record.scope.agent
    for name, default in _PLAIN.items():
        value = getattr(record, name)
        if value != default:
            out[name] = value
    out["recorded_at"] = record.recorded_at
    if record.metadata:
        out["metadata"] = dict(record.metadata)
    if record.data:
        out["data"] = dict(record.data)
    if record.edges:
        out["edges"] = [[str(e.kind), e.to, e.weight] for e in record.edges]
    if record.retention != Retention():
        out["retention"] = {
            "expires_at": record.retention.expires_at,
            "pin": record.retention.pin,
            "hold": record.retention.hold,
        }
    return out


def from_dict(data: Mapping[str, Any]) -> Record:
    """The record of `to_dict`'s data.

    Raises:
        InvalidInput: a field is missing or of the wrong kind.
    """
    try:
        return Record(
            id=str(data["id"]),
            kind=_KINDS[data["kind"]],
            text=str(data["text"]),
            scope=Scope(data.get("user", ""), data.get("agent", "")),
            metadata=data.get("metadata", {}),
            data=data.get("data", {}),
            edges=tuple([Edge(_EDGE_KINDS[k], to, w) for k, to, w in data.get("edges", ())]),
            retention=Retention(**data["retention"]) if "retention" in data else _NO_RETENTION,
            recorded_at=data["recorded_at"],
            **{name: data[name] for name in _PLAIN.keys() & data.keys()},
        )
    except (KeyError, TypeError, ValueError) as why:
        raise InvalidInput(f"not a record ({type(why).__name__}: {why}): {str(dict(data))[:200]}") from None


def dumps(data: Any) -> str:
    """Compact JSON that keeps every script readable."""
    return _COMPACT.encode(data)


class OperationKind(StrEnum):
    """What was done. Everything but `erase` can be undone."""

    ADD = "add"
    UPDATE = "update"
    FORGET = "forget"
    RESTORE = "restore"
    ERASE = "erase"
    MERGE = "merge"
    SUPERSEDE = "supersede"
    CONSOLIDATE = "consolidate"
    RETAIN = "retain"
    RELEASE = "release"
    IMPORT = "import"
    UNDO = "undo"


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry of the log: what was done, when, and to how many records."""

    id: str
    kind: OperationKind
    at: Time
    scope: Scope = Scope()
    note: Mapping[str, Any] = field(default_factory=dict)
    """Why, in data: the operation undone, the filter that chose, the records merged."""


@dataclass(frozen=True, slots=True)
class Version:
    """A record as one operation left it; `record` is None where a hard forget erased it."""

    operation: Operation
    record: Record | None


@dataclass(frozen=True, slots=True)
class Item:
    """What `add` takes: one memory to be written.

    Raises:
        InvalidInput: from `Memory.add`, for an empty text, a wrong type or an unreadable time.
    """

    text: str
    speaker: str = ""
    at: Time | None = None
    session: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = Kind.TURN
    source: str = "user"
    key: str = ""
    """Idempotency key: a second `add` with it returns the first one's id."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records a call may touch. Scope is a hard wall; the rest narrows within it."""

    scope: Scope = Scope()
    session: str | None = None
    speaker: str | None = None
    since: Time | None = None
    """`at` not before."""
    until: Time | None = None
    """`at` before."""
    kinds: tuple[Kind, ...] = VERBATIM
    as_of: Time | None = None
    """What held at this moment; now where None."""
