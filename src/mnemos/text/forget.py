"""Forgetting, and taking it back.

Soft: records are retracted, with what was derived from them alone. Hard: they are erased from every
place that held them, and every file is then searched for their texts. Both give a receipt.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mnemos.core.clock import Time
from mnemos.core.errors import HeldError, InvalidInput
from mnemos.text.records import Edge, EdgeKind, Kind, Operation, OperationKind, Record, dumps
from mnemos.text.store import Receipt, Store, Write

if TYPE_CHECKING:
    from mnemos.text.recall.search import Recall
    from mnemos.text.write import Encoder

_SUPPORT = (EdgeKind.DERIVED_FROM, EdgeKind.MENTIONS)
_PROOF = 12
"""Characters from which a text is specific enough to be searched for, byte for byte."""


def hide(store: Store, records: Sequence[Record], operation: Operation) -> Receipt:
    """Retract `records` and what only they support; those under a legal hold stay."""
    chosen, held = _unheld(records)
    chosen = [record for record in chosen if record.retracted_at is None]
    receipt = Receipt(operation.id, hard=False, ids=[r.id for r in chosen], held=held)
    with store.writing():
        lost = without_support(store, receipt.ids, operation.at)
        receipt.derived = [w.record.id for w in lost if w.record.retracted_at is not None]
        writes = [Write(replace(record, retracted_at=operation.at)) for record in chosen] + lost
        if writes:
            store.commit(operation, writes)
    receipt.removed = {"recall": len(chosen) + len(receipt.derived)}
    return receipt


def restore(store: Store, record: Record, operation: Operation) -> None:
    """Bring back a retracted record, and the derived ones that went with it."""
    with store.writing():
        back = [record, *(r for r in _derived(store, [record.id]) if r.retracted_at == record.retracted_at)]
        store.commit(operation, [Write(replace(r, retracted_at=None)) for r in back])


def without_support(store: Store, ids: Sequence[str], now: Time) -> list[Write]:
    """Derived records as they are once the records `ids` are gone: retracted where nothing else
    supports them; a chain of facts closes over the gap."""
    going = set(ids)
    lost = _orphans(store, going)
    writes = [Write(replace(record, retracted_at=now)) for record in lost]
    gone = {record.id: record for record in lost}
    for record in lost:
        for successor in _successors(store, record.id):
            if successor.id not in gone:
                edges = tuple(e for e in successor.edges if e.to != record.id)
                writes.append(Write(replace(successor, edges=edges)))
        for edge in record.edges:
            if edge.kind is EdgeKind.SUPERSEDES and edge.to not in gone:
                # what it had closed holds again, until whatever closed it in turn
                reopened = store.get([edge.to]).get(edge.to)
                if reopened is not None and reopened.valid_to == record.valid_from:
                    writes.append(Write(replace(reopened, valid_to=record.valid_to)))
    return writes


def erase(store: Store, records: Sequence[Record], operation: Operation, recall: Recall) -> Receipt:
    """Remove `records`, every earlier version of them and what only they support, from every file.

    Raises:
        HeldError: all of them are under a legal hold.
    """
    chosen, held = _unheld(records)
    if held and not chosen:
        raise HeldError(f"{', '.join(held[:3])}: under a legal hold; lift it with retain(id, hold=False) first")
    receipt = Receipt(operation.id, hard=True, ids=[r.id for r in chosen], held=held)
    with store.writing():
        versions = _versions(store, chosen)
        going = {r.id for r in (*chosen, *versions)}
        lost = _orphans(store, going)
        keep = without_support(store, list(going), operation.at)
        mended = [w for w in keep if w.record.id not in {r.id for r in lost}]
        receipt.derived = [r.id for r in lost]
        traces = _traces(store, [*chosen, *versions, *lost])
        if mended:
            mending = replace(operation, id=f"{operation.id}-mend", kind=OperationKind.SUPERSEDE)
            store.commit(mending, [Write(_forgetting_edges(w.record, going | {r.id for r in lost})) for w in mended])
        receipt.removed = store.erase(operation, [*going, *receipt.derived])
    receipt.removed["index"] = recall.drop_index_files()
    receipt.ids += [r.id for r in versions]
    store.purge()
    receipt.verified = not _found(traces, store.files())
    return receipt


def version_before(record: Record, id: str, now: Time) -> Record:
    """The version of `record` that an update at `now` leaves behind, under an id of its own."""
    return replace(record, id=id, valid_to=now, edges=tuple(e for e in record.edges if e.kind is not EdgeKind.SUPERSEDES))


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
    writes = []
    with store.writing():
        for id in dict.fromkeys(ids):
            versions = store.history(id)
            if versions[-1].operation.id != done.id:
                later = versions[-1].operation
                raise InvalidInput(f"{id} was changed since by {later.id} ({later.kind}): undo that first")
            before = [v.record for v in versions if v.operation.id != done.id and v.record is not None]
            now = versions[-1].record
            if now is None:
                raise InvalidInput(f"{id} was erased since: {done.id} cannot be undone")
            state = before[-1] if before else replace(now, retracted_at=undoing.at)
            (analysis,) = encoder.analyse([state], store)
            writes.append(Write(state, analysis))
        store.commit(undoing, writes)


def _unheld(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    return [r for r in records if not r.retention.hold], [r.id for r in records if r.retention.hold]


def _derived(store: Store, ids: Sequence[str]) -> list[Record]:
    """Records that rest on `ids`: facts, sessions and summaries by an edge of theirs, entities by a mention."""
    sources = [a for a, kind, _ in store.incoming(ids, [EdgeKind.DERIVED_FROM]) if kind is EdgeKind.DERIVED_FROM]
    named = [e.to for r in store.get(ids).values() for e in r.edges if e.kind is EdgeKind.MENTIONS]
    return list(store.get([*sources, *named]).values())


def _orphans(store: Store, going: set[str]) -> list[Record]:
    """Derived records that nothing supports once `going` are gone."""
    lost = []
    for record in _derived(store, sorted(going)):
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


def _successors(store: Store, id: str) -> list[Record]:
    return list(store.get([a for a, _, _ in store.incoming([id], [EdgeKind.SUPERSEDES])]).values())


def _versions(store: Store, records: Sequence[Record]) -> list[Record]:
    """Earlier versions of updated records, which are records of their own."""
    found: dict[str, Record] = {}
    queue = [r for r in records if r.kind is not Kind.FACT]
    while queue:
        olds = [e.to for r in queue for e in r.edges if e.kind is EdgeKind.SUPERSEDES]
        for version in [v for r in queue for v in store.history(r.id)]:
            olds += [e.to for e in (version.record.edges if version.record else ()) if e.kind is EdgeKind.SUPERSEDES]
        queue = [r for id, r in store.get(olds).items() if id not in found]
        found.update((r.id, r) for r in queue)
    return list(found.values())


def _forgetting_edges(record: Record, gone: set[str]) -> Record:
    return replace(record, edges=tuple(e for e in record.edges if e.to not in gone))


def _traces(store: Store, records: Sequence[Record]) -> list[bytes]:
    """Byte strings that must not be found afterwards: every version of every text, as JSON holds it.

    A text that another record of the store holds too is no trace of these.
    """
    versions = [version.record for record in records for version in store.history(record.id)]
    texts = {version.text for version in versions if version is not None and len(version.text) >= _PROOF}
    gone = {record.id for record in records}
    return [dumps(text)[1:-1].encode()[:400] for text in sorted(texts) if not store.holds_text(text, gone)]


def _found(traces: Sequence[bytes], files: Sequence[str]) -> list[bytes]:
    found = []
    for name in files:
        if Path(name).stat().st_size:
            with Path(name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                found += [trace for trace in traces if data.find(trace) >= 0]
    return found
