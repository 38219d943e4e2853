"""Derived records: the entities a text names, the facts it states, and which fact holds when.

Facts that share a slot (subject and relation) and hold one value at a time form a chain ordered by
the time from which they hold: each ends where the next begins. A fact told late about an earlier
time takes its place in the middle of the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mnemos.core.clock import Time
from mnemos.text.encode.entities import canonical
from mnemos.text.encode.facts import Fact
from mnemos.text.gate import waits
from mnemos.text.records import Edge, EdgeKind, Kind, Record, Scope
from mnemos.text.store import Store, Write
from mnemos.text.write import Encoder, derive, entity_id, entity_record, fact_slot

_ENOUGH = 32
"""Sources that a fact names: what is said again and again would otherwise be a record that grows with every turn."""


def derived_writes(
    writes: Sequence[Write], scope: Scope, store: Store, encoder: Encoder, ids: Callable[[], str], now: Time,
    stated: Mapping[str, Sequence[Fact]] | None = None,
) -> list[Write]:  # fmt: skip
    """Entities and facts of verbatim `writes`, and the older facts that they close.

    To be called inside `store.writing()`, so that no other writer comes between.

    Args:
        stated: what `derive` found in each record, by id, where that is known already.
    """
    records = [write.record for write in writes]
    told = [(fact, r) for r in records for fact in (derive(r) if stated is None else stated[r.id])]
    changed = _facts(told, scope, store, ids, now)
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
    named = {entity_id(r.scope, name): (r, name) for r in records for name in r.data.get("entities", ())}
    known = store.visible(list(named))
    return [entity_record(record, name, now) for id, (record, name) in named.items() if id not in known]


def _facts(
    stated: Sequence[tuple[Fact, Record]], scope: Scope, store: Store, ids: Callable[[], str], now: Time
) -> dict[str, tuple[Record, str]]:
    """Facts to write by id, new and changed, each with its slot."""
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
    wanted = canonical(fact.object)
    for n, old in enumerate(chain):
        same = canonical(str(old.data.get("object", ""))) == wanted
        if same and (not fact.single_valued or old.holds_at(since)):
            # said again: one more source for it, and a claim that waited is confirmed
            chain[n] = _supported(old, support)
            if old.quarantined and not quarantined:
                chain[n] = replace(chain[n], quarantined=False, valid_from=since)
            return [] if chain[n] is old else _linked(chain, chain[n])
    if fact.single_valued and not quarantined:
        later = min((old for old in _held(chain) if _start(old) > since), key=_start, default=None)
        if later is not None and canonical(str(later.data.get("object", ""))) == wanted:
            # told late: it held earlier than was known
            earlier = replace(_supported(later, support), valid_from=since)
            chain[chain.index(later)] = earlier
            return _linked(chain, earlier)
    fresh = Record(
        id=ids(), kind=Kind.FACT, text=f"{fact.subject} {fact.relation} {fact.object}", scope=record.scope,
        session=record.session, speaker=record.speaker, at=record.at, source=record.source, quarantined=quarantined,
        data={
            "subject": fact.subject, "relation": fact.relation, "object": fact.object,
            "single_valued": fact.single_valued,
        },
        edges=(support,), recorded_at=now, valid_from=since,
    )  # fmt: skip
    chain.append(fresh)
    return _linked(chain, fresh)


def _supported(fact: Record, support: Edge) -> Record:
    """`fact` with one more source, unless it has enough."""
    told = sum(edge.kind is EdgeKind.DERIVED_FROM for edge in fact.edges)
    if told >= _ENOUGH or support in fact.edges:
        return fact
    return replace(fact, edges=(*fact.edges, support))


def relinked(chain: Sequence[Record], fresh: Record | None = None) -> list[Record]:
    """Those facts of one slot that change when it is put in order: each ends where the next begins,
    and supersedes the one before.

    Args:
        fresh: the only one of them that is out of order, if that is known.
    """
    held = sorted(_held(chain), key=_start)
    places = range(len(held))
    if fresh is not None:  # then it and its neighbours are all that can change
        place = next((n for n, fact in enumerate(held) if fact is fresh), -2)
        places = places[max(0, place - 1) : place + 2]
    changed = []
    for n in places:
        fact = held[n]
        end = _start(held[n + 1]) if n + 1 < len(held) else None
        before = [held[n - 1].id] if n else []
        if fact.valid_to != end or [e.to for e in fact.edges if e.kind is EdgeKind.SUPERSEDES] != before:
            edges = [e for e in fact.edges if e.kind is not EdgeKind.SUPERSEDES]
            edges += [Edge(EdgeKind.SUPERSEDES, id) for id in before]
            changed.append(replace(fact, valid_to=end, edges=tuple(edges)))
    return changed


def relinked_around(store: Store, touched: Sequence[Record]) -> list[Write]:
    """Writes that put the chains of `touched` facts in order, as the store has them now."""
    writes = []
    for scope in dict.fromkeys(record.scope for record in touched):
        slots = {slot_of(record) for record in touched if record.scope == scope} - {""}
        for slot, chain in sorted(store.slots(scope, sorted(slots)).items()):
            writes += [Write(record, slot=slot) for record in relinked(chain)]
    return writes


def revived(records: Sequence[Record], store: Store, now: Time) -> list[Write]:
    """Entities that live `records` name and that are hidden or missing."""
    return [Write(entity) for entity in _entities([r for r in records if r.retracted_at is None], store, now)]


def _linked(chain: list[Record], fresh: Record) -> list[Record]:
    changed = {fresh.id: fresh} | {record.id: record for record in relinked(chain, fresh)}
    chain[:] = [changed.get(record.id, record) for record in chain]
    return list(changed.values())


def _held(chain: Sequence[Record]) -> list[Record]:
    return [fact for fact in chain if fact.searchable and fact.data.get("single_valued")]


def _start(record: Record) -> Time:
    return record.valid_from if record.valid_from is not None else float("-inf")
