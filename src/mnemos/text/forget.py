"""Forgetting, and taking it back.

Soft: records are retracted, with what was derived from them alone. Hard: they are erased from every
place that held them, and every file is then searched for their texts. Both give a receipt.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mnemos.core.clock import Time
from mnemos.core.errors import HeldError, InvalidInput
from mnemos.text.facts import derived_writes, relinked, relinked_around, revived, slot_of
from mnemos.text.records import (
    VERBATIM,
    Edge,
    EdgeKind,
    Filter,
    Kind,
    Operation,
    OperationKind,
    Record,
    dumps,
)
from mnemos.text.store import Receipt, Store, Write

if TYPE_CHECKING:
    from mnemos.text.recall.search import Recall
    from mnemos.text.write import Encoder

_PROOF = 12
"""Characters from which a text is specific enough to be searched for, byte for byte."""


def hide(store: Store, records: Sequence[Record], operation: Operation) -> Receipt:
    """Retract `records` and what only they support; those under a legal hold stay."""
    chosen, held = _unheld(records)
    chosen = [record for record in chosen if record.retracted_at is None]
    receipt = Receipt(operation.id, hard=False, ids=[r.id for r in chosen], held=held)
    with store.writing():
        writes = retracting(store, chosen, operation.at)
        if writes:
            store.commit(operation, writes)
    gone = [w.record.id for w in writes if w.record.retracted_at is not None]
    receipt.derived = [id for id in gone if id not in set(receipt.ids)]
    receipt.removed = {"recall": len(gone)}
    return receipt


def retracting(store: Store, records: Sequence[Record], now: Time) -> list[Write]:
    """Writes that hide `records`, their earlier versions, and what nothing else supports."""
    versions = [r for r in _versions(store, records, [EdgeKind.SUPERSEDES]) if r.retracted_at is None]
    going = {r.id: r for r in (*records, *versions)}
    return [Write(replace(r, retracted_at=now)) for r in going.values()] + without_support(store, list(going), now)


def restore(store: Store, record: Record, operation: Operation) -> None:
    """Bring back a retracted record, and what went with it."""
    with store.writing():
        versions = _versions(store, [record], [EdgeKind.SUPERSEDES])
        others = (*versions, *_derived(store, [record.id, *(v.id for v in versions)]))
        back = {r.id: replace(r, retracted_at=None) for r in (record, *others) if r.retracted_at == record.retracted_at}
        store.commit(operation, [Write(r) for r in back.values()])
        _settle(store, list(back.values()), operation)


def without_support(store: Store, ids: Sequence[str], now: Time) -> list[Write]:
    """Derived records as they are once the records `ids` are gone: retracted where nothing else
    supports them; a chain of facts closes over the gap."""
    lost = [record for record in _orphans(store, set(ids)) if record.retracted_at is None]
    gone = {record.id for record in lost} | set(ids)
    writes = [Write(replace(record, retracted_at=now)) for record in lost]
    facts = [r for r in (*lost, *store.get(ids).values()) if r.kind is Kind.FACT]
    for scope in dict.fromkeys(fact.scope for fact in facts):
        slots = {slot_of(fact) for fact in facts if fact.scope == scope}
        for chain in store.slots(scope, sorted(slots)).values():
            writes += [Write(record) for record in relinked([fact for fact in chain if fact.id not in gone])]
    return writes


def erase(
    store: Store,
    records: Sequence[Record],
    operation: Operation,
    recall: Recall,
    encoder: Encoder,
    ids: Callable[[], str],
    keeping: AbstractContextManager[None],
) -> Receipt:
    """Remove `records`, every earlier version and merged copy of them, and what was derived from
    them, from every file. Facts that somebody else states too are derived anew from there.

    Args:
        keeping: within which it happens; what this writes in the end is searched for them too.

    Raises:
        HeldError: all of them are under a legal hold.
    """
    chosen, held = _unheld(records)
    if held and not chosen:
        raise HeldError(f"{', '.join(held[:3])}: under a legal hold; lift it with retain(id, hold=False) first")
    receipt = Receipt(operation.id, hard=True, ids=[r.id for r in chosen], held=held)
    with keeping, store.writing():
        versions = [
            v for v in _versions(store, chosen, [EdgeKind.SUPERSEDES, EdgeKind.SAME_AS]) if not v.retention.hold
        ]
        going = {r.id for r in (*chosen, *versions)}
        lost = _orphans(store, going) + _old_sessions(store, chosen, going)
        shared = [r for r in _derived(store, sorted(going)) if r.kind is Kind.FACT and not r.retention.hold]
        gone = going | {r.id for r in (*lost, *shared)}
        witnesses = store.get(
            [e.to for r in shared for e in r.edges if e.kind is EdgeKind.DERIVED_FROM and e.to not in gone]
        )
        pointing = [a for a, _, _ in store.incoming(sorted(gone), list(EdgeKind)) if a not in gone]
        traces = _traces(store, [*chosen, *versions, *lost, *shared])
        receipt.derived = list(dict.fromkeys(r.id for r in lost if r.id not in going))
        receipt.removed = store.erase(operation, sorted(gone))
        store.commit(operation, [Write(_forgetting_edges(r, gone)) for r in store.get(pointing).values()])
        store.commit(operation, relinked_around(store, [*chosen, *lost, *shared]))
        again = [Write(r) for r in witnesses.values() if r.retracted_at is None]
        store.commit(operation, derived_writes(again, operation.scope, store, encoder, ids, operation.at))
    receipt.removed["index"] = recall.drop_index_files()
    receipt.ids += [r.id for r in versions if r.id not in set(receipt.ids)]
    store.purge()
    receipt.verified = not any(not store.in_log(trace) for trace in _found(traces, store.files()))
    return receipt


def version_before(record: Record, id: str, now: Time) -> Record:
    """The version of `record` that an update at `now` leaves behind, under an id of its own."""
    return replace(
        record, id=id, valid_to=now, edges=tuple(e for e in record.edges if e.kind is not EdgeKind.SUPERSEDES)
    )


def superseding(record: Record, before: Record, now: Time) -> Record:
    """`record` as the successor of `before`."""
    edges = tuple(e for e in record.edges if e.kind is not EdgeKind.SUPERSEDES)
    return replace(record, valid_from=now, edges=(*edges, Edge(EdgeKind.SUPERSEDES, before.id)))


def undo(store: Store, done: Operation, ids: Iterable[str], undoing: Operation, encoder: Encoder) -> None:
    """Give every record that `done` changed its state from before; new ones are retracted.

    Raises:
        InvalidInput: `done` was a hard forget, or something changed its records since.
    """
    if done.kind is OperationKind.ERASE:
        raise InvalidInput(f"{done.id} was a hard forget: what it removed is nowhere any more")
    states: list[Record] = []
    named: list[Record] = []
    with store.writing():
        for id in dict.fromkeys(ids):
            versions = store.history(id)
            now = versions[-1].record
            if now is None:
                raise InvalidInput(f"{id} was erased since: {done.id} cannot be undone")
            before = [v.record for v in versions if v.operation.id != done.id and v.record is not None]
            entity = now.kind is Kind.ENTITY
            if versions[-1].operation.id != done.id:
                if entity:  # lives as long as something names it, whoever named it first
                    continue
                later = versions[-1].operation
                raise InvalidInput(f"{id} was changed since by {later.id} ({later.kind}): undo that first")
            if before or not entity:
                states.append(before[-1] if before else replace(now, retracted_at=undoing.at))
            else:
                named.append(now)
        analyses = encoder.analyse(states, store)
        store.commit(undoing, [Write(state, analysis) for state, analysis in zip(states, analyses, strict=True)])
        store.commit(undoing, without_support(store, [r.id for r in states if r.retracted_at is not None], undoing.at))
        nameless = _unsupported(store, [r for r in named if r.retracted_at is None], set())
        store.commit(undoing, [Write(replace(r, retracted_at=undoing.at)) for r in nameless])
        _settle(store, states, undoing)


def _settle(store: Store, records: Sequence[Record], operation: Operation) -> None:
    """After records came back: entities they name live, chains they belong to are in order."""
    store.commit(operation, [*revived(records, store, operation.at), *relinked_around(store, records)])


def _old_sessions(store: Store, records: Sequence[Record], going: set[str]) -> list[Record]:
    """Summaries of the sessions of `records`, whose earlier versions may have quoted them."""
    found = {
        one.id: one
        for scope, session in dict.fromkeys((r.scope, r.session) for r in records if r.session)
        for one in store.find(Filter(scope, session=session, kinds=(Kind.SESSION, Kind.SUMMARY)), 0.0, hidden=True)
    }
    return [one for id, one in found.items() if id not in going and not one.retention.hold]


def _unheld(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    return [r for r in records if not r.retention.hold], [r.id for r in records if r.retention.hold]


def _derived(store: Store, ids: Sequence[str]) -> list[Record]:
    """Records that rest on `ids`: facts, sessions and summaries by an edge of theirs, entities by a mention."""
    sources = [a for a, kind, _ in store.incoming(ids, [EdgeKind.DERIVED_FROM]) if kind is EdgeKind.DERIVED_FROM]
    named = [e.to for r in store.get(ids).values() for e in r.edges if e.kind is EdgeKind.MENTIONS]
    return list(store.get([*sources, *named]).values())


def _orphans(store: Store, going: set[str]) -> list[Record]:
    """Derived records that nothing supports once `going` are gone."""
    return _unsupported(store, _derived(store, sorted(going)), going)


def _unsupported(store: Store, records: Sequence[Record], going: set[str]) -> list[Record]:
    lost = []
    for record in records:
        if record.id in going or record.retention.hold:
            continue
        if record.kind is Kind.ENTITY:
            support = [a for a, _, _ in store.incoming([record.id], [EdgeKind.MENTIONS])]
        else:
            support = [e.to for e in record.edges if e.kind is EdgeKind.DERIVED_FROM]
        rest = store.get([id for id in support if id not in going]).values()
        if record.kind in (Kind.SESSION, Kind.SUMMARY) or not any(r.retracted_at is None for r in rest):
            # a summary quotes what it sums up, so it goes with any part of it
            lost.append(record)
    return lost


def _versions(store: Store, records: Sequence[Record], kinds: Sequence[EdgeKind]) -> list[Record]:
    """Records that stand behind others: earlier versions of updated ones, copies merged into them."""
    found: dict[str, Record] = {}
    queue = [r for r in records if r.kind in VERBATIM]
    while queue:
        bodies = [version.record for r in queue for version in store.history(r.id)]
        behind = [e.to for record in bodies if record is not None for e in record.edges if e.kind in kinds]
        queue = [r for id, r in store.get(behind).items() if id not in found]
        found.update((r.id, r) for r in queue)
    return list(found.values())


def _forgetting_edges(record: Record, gone: set[str]) -> Record:
    return replace(record, edges=tuple(e for e in record.edges if e.to not in gone))


def _traces(store: Store, records: Sequence[Record]) -> list[bytes]:
    """Byte strings that must not be found afterwards: every version of every text and field, as JSON holds it."""
    bodies = [version.record for record in records for version in store.history(record.id)]
    texts = {
        text
        for body in bodies
        if body is not None
        for text in (body.text, body.session, body.speaker, *_strings(body.metadata))
        if len(text) >= _PROOF
    }
    return [dumps(text)[1:-1].encode()[:400] for text in sorted(texts)]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def _found(traces: Sequence[bytes], files: Sequence[str]) -> list[bytes]:
    found = []
    for name in files:
        if Path(name).stat().st_size:
            with Path(name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                found += [trace for trace in traces if data.find(trace) >= 0]
    return found
