"""Derived records: the entities a text names, the facts it states, and which fact holds when.

Facts that share a slot (subject and relation) and hold one value at a time form a chain ordered by
the time from which they hold: each ends where the next begins. A fact told late about an earlier
time takes its place in the middle of the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mnemos.core.clock import Time
from mnemos.text.encode.entities import canonical
from mnemos.text.encode.facts import Fact
from mnemos.text.gate import waits
from mnemos.text.records import Edge, EdgeKind, Kind, Record, Scope
from mnemos.text.store import Store, Write
from mnemos.text.write import Encoder, derive, entity_records, fact_slot


def derived_writes(
    writes: Sequence[Write], scope: Scope, store: Store, encoder: Encoder, ids: Callable[[], str], now: Time
) -> list[Write]:
    """Entities and facts of verbatim `writes`, and the older facts that they close.

    To be called inside `store.writing()`, so that no other writer comes between.
    """
    records = [write.record for write in writes]
    changed = _facts(records, scope, store, ids, now)
    slots = {id: slot for id, (_, slot) in changed.items()}
    changes = [record for record, _ in changed.values()] + _entities(records, store, now)
    analyses = encoder.analyse(changes, None)
    return [
        Write(record, analysis, slot=slots.get(record.id, ""))
        for record, analysis in zip(changes, analyses, strict=True)
    ]


def slot_of(record: Record) -> str:
    """The slot of a fact record; empty for other kinds."""
    if record.kind is not Kind.FACT:
        return ""
    return fact_slot(str(record.data.get("subject", "")), str(record.data.get("relation", "")))


def _entities(records: Sequence[Record], store: Store, now: Time) -> list[Record]:
    named = {entity.id: entity for record in records for entity in entity_records(record, now)}
    known = store.get(list(named))
    return [entity for id, entity in named.items() if id not in known or known[id].retracted_at is not None]


def _facts(
    records: Sequence[Record], scope: Scope, store: Store, ids: Callable[[], str], now: Time
) -> dict[str, tuple[Record, str]]:
    """Facts to write by id, new and changed, each with its slot."""
    stated = [(fact, record) for record in records for fact in derive(record)]
    slots = {fact_slot(fact.subject, fact.relation) for fact, _ in stated}
    chains = store.slots(scope, sorted(slots))
    changed: dict[str, tuple[Record, str]] = {}
    for fact, record in stated:
        slot = fact_slot(fact.subject, fact.relation)
        chain = chains.setdefault(slot, [])
        fresh = _insert(fact, record, chain, ids, now)
        changed.update((one.id, (one, slot)) for one in fresh)
    return changed


def _insert(fact: Fact, record: Record, chain: list[Record], ids: Callable[[], str], now: Time) -> list[Record]:
    """Put a fact into its chain; returns the records that are new or changed."""
    support = Edge(EdgeKind.DERIVED_FROM, record.id)
    since = fact.valid_from if fact.valid_from is not None else now
    quarantined = record.quarantined or waits(fact, record)
    for n, old in enumerate(chain):
        same = canonical(str(old.data.get("object", ""))) == canonical(fact.object)
        if same and (not fact.single_valued or old.holds_at(since)):
            # said again: one more source for it, and a claim that waited is confirmed
            chain[n] = replace(
                old, edges=tuple(dict.fromkeys((*old.edges, support))), quarantined=old.quarantined and quarantined
            )
            return [chain[n]]
    fresh = Record(
        id=ids(), kind=Kind.FACT, text=f"{fact.subject} {fact.relation} {fact.object}", scope=record.scope,
        session=record.session, speaker=record.speaker, at=record.at, source=record.source, quarantined=quarantined,
        data={
            "subject": fact.subject, "relation": fact.relation, "object": fact.object,
            "single_valued": fact.single_valued,
        },
        edges=(support,), recorded_at=now, valid_from=since,
    )  # fmt: skip
    if not fact.single_valued or quarantined:
        chain.append(fresh)
        return [fresh]
    held = [old for old in chain if not old.quarantined and old.data.get("single_valued")]
    earlier = [old for old in held if _start(old) <= since]
    later = [old for old in held if _start(old) > since]
    changes = []
    if later:
        fresh = replace(fresh, valid_to=min(map(_start, later)))
    if earlier:
        previous = max(earlier, key=_start)
        closed = replace(previous, valid_to=since)
        chain[chain.index(previous)] = closed
        changes.append(closed)
        fresh = replace(fresh, edges=(*fresh.edges, Edge(EdgeKind.SUPERSEDES, previous.id)))
    chain.append(fresh)
    return [fresh, *changes]


def _start(record: Record) -> Time:
    return record.valid_from if record.valid_from is not None else float("-inf")
