"""Derived records: the entities a text names, the facts it states, and which fact holds when.

Facts that share a slot (subject and relation) and hold one value at a time form a chain ordered by
the time from which they hold: each ends where the next begins. A fact told late about an earlier
time takes its place in the middle of the chain.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mnemos.core.clock import Time
from mnemos.text.encode.entities import canonical
from mnemos.text.encode.facts import Fact
from mnemos.text.gate import waits
from mnemos.text.records import Edge, EdgeKind, Kind, Record, Scope
from mnemos.text.store import Store, Write
from mnemos.text.write import Encoder, derive, entity_id, entity_record, fact_slot

_KEPT = 2048
"""Chains that are kept."""
_ENOUGH = 32
"""Sources that a fact names: what is said again and again would otherwise be a record that grows with every turn."""


def derived_writes(
    writes: Sequence[Write], scope: Scope, store: Store, encoder: Encoder, ids: Callable[[], str], now: Time,
    stated: Mapping[str, Sequence[Fact]] | None = None, chains: Chains | None = None,
) -> list[Write]:  # fmt: skip
    """Entities and facts of verbatim `writes`, and the older facts that they close.

    To be called inside `store.writing()`, so that no other writer comes between.

    Args:
        stated: what `derive` found in each record, by id, where that is known already.
        chains: those of earlier writes, so that they need not be read again; call their `keep` after the commit.
    """
    records = [write.record for write in writes]
    told = [(fact, r) for r in records for fact in (derive(r) if stated is None else stated[r.id])]
    changed = _facts(told, scope, store, chains or Chains(), ids, now)
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
    stated: Sequence[tuple[Fact, Record]], scope: Scope, store: Store, known: Chains, ids: Callable[[], str], now: Time
) -> dict[str, tuple[Record, str]]:
    """Facts to write by id, new and changed, each with its slot."""
    slots = [fact_slot(fact.subject, fact.relation) for fact, _ in stated]
    chains = known.of(scope, sorted(set(slots)), store)
    changed: dict[str, tuple[Record, str]] = {}
    for (fact, record), slot in zip(stated, slots, strict=True):
        changed.update((one.id, (one, slot)) for one in _insert(fact, record, chains[slot], ids, now))
    return changed


class Chains:
    """The chains of a store, kept between writes as long as nobody else wrote: whoever adds slice after slice would
    read the same ones again and again. Not for several threads at once."""

    def __init__(self) -> None:
        self._chains: dict[tuple[Scope, str], _Chain] = {}
        self._seen: tuple[int, int] | None = None
        """What the store's `latest` was when these chains were the store's."""

    def of(self, scope: Scope, slots: Sequence[str], store: Store) -> dict[str, _Chain]:
        """The chains of these slots, to be changed by the caller; within `store.writing()`."""
        if store.latest() != self._seen or len(self._chains) > _KEPT:
            self._chains.clear()
        self._seen = None  # what is changed now is the store's only when the transaction is through
        missing = [slot for slot in slots if (scope, slot) not in self._chains]
        for slot, facts in store.slots(scope, missing).items():
            self._chains[scope, slot] = _Chain(facts)
        return {slot: self._chains.setdefault((scope, slot), _Chain(())) for slot in slots}

    def keep(self, latest: tuple[int, int]) -> None:
        """The transaction is through; `latest` is the store's as it was at its end."""
        self._seen = latest


class _Chain:
    """The facts of one slot, by object, and in the order in which those of one value at a time hold."""

    def __init__(self, facts: Sequence[Record]) -> None:
        self.facts: list[Record] = []
        self.of: dict[str, list[int]] = {}
        """Numbers of the facts with an object, by its canonical form."""
        self.order: list[tuple[Time, int]] = []
        """Start and number of those that hold one at a time."""
        for fact in facts:
            self.add(fact)

    def add(self, fact: Record) -> int:
        """Its number."""
        number = len(self.facts)
        self.facts.append(fact)
        self.of.setdefault(canonical(str(fact.data.get("object", ""))), []).append(number)
        if _held(fact):
            insort(self.order, (_start(fact), number))
        return number

    def put(self, number: int, fact: Record) -> list[Record]:
        """Replace a fact; returns it and its neighbours in the order, as far as they change by it."""
        old = self.facts[number]
        if _held(old):
            self.order.remove((_start(old), number))
        self.facts[number] = fact
        if _held(fact):
            insort(self.order, (_start(fact), number))
        return self.linked(number)

    def linked(self, number: int) -> list[Record]:
        """A fact, and its neighbours in the order, as far as it changes them."""
        fact, order = self.facts[number], self.order
        if not _held(fact):
            return [fact]
        place = bisect_left(order, (_start(fact), number))
        changed = {number: fact}
        for near in range(max(0, place - 1), min(len(order), place + 2)):
            before, this, after = (order[n][1] if 0 <= n < len(order) else -1 for n in (near - 1, near, near + 1))
            placed = _placed(
                self.facts[this], self.facts[before] if near else None, self.facts[after] if after >= 0 else None
            )
            if placed is not self.facts[this]:
                changed[this] = placed
        for n, one in changed.items():
            self.facts[n] = one
        return list(changed.values())


def _insert(fact: Fact, record: Record, chain: _Chain, ids: Callable[[], str], now: Time) -> list[Record]:
    """Put a fact into its chain; returns the records that are new or changed."""
    support = Edge(EdgeKind.DERIVED_FROM, record.id)
    since = fact.valid_from if fact.valid_from is not None else now
    quarantined = record.quarantined or waits(fact, record)
    wanted = canonical(fact.object)
    for n in chain.of.get(wanted, ()):
        old = chain.facts[n]
        if not fact.single_valued or old.holds_at(since):
            # said again: one more source for it, and a claim that waited is confirmed
            told = _supported(old, support)
            if old.quarantined and not quarantined:
                told = replace(told, quarantined=False, valid_from=since)
            return [] if told is old else chain.put(n, told)
    if fact.single_valued and not quarantined:
        later = bisect_right(chain.order, (since, len(chain.facts)))
        if later < len(chain.order) and (n := chain.order[later][1]) in chain.of.get(wanted, ()):
            # told late: it held earlier than was known
            return chain.put(n, replace(_supported(chain.facts[n], support), valid_from=since))
    fresh = Record(
        id=ids(), kind=Kind.FACT, text=f"{fact.subject} {fact.relation} {fact.object}", scope=record.scope,
        session=record.session, speaker=record.speaker, at=record.at, source=record.source, quarantined=quarantined,
        data={
            "subject": fact.subject, "relation": fact.relation, "object": fact.object,
            "single_valued": fact.single_valued,
        },
        edges=(support,), recorded_at=now, valid_from=since,
    )  # fmt: skip
    return chain.linked(chain.add(fresh))


def _supported(fact: Record, support: Edge) -> Record:
    """`fact` with one more source, unless it has enough."""
    told = sum(edge.kind is EdgeKind.DERIVED_FROM for edge in fact.edges)
    if told >= _ENOUGH or support in fact.edges:
        return fact
    return replace(fact, edges=(*fact.edges, support))


def relinked(chain: Sequence[Record]) -> list[Record]:
    """Those facts of one slot that change when it is put in order: each ends where the next begins,
    and supersedes the one before."""
    held = sorted(filter(_held, chain), key=_start)
    beside = zip((None, *held), held, (*held[1:], None), strict=False)
    return [placed for before, fact, after in beside if (placed := _placed(fact, before, after)) is not fact]


def _placed(fact: Record, before: Record | None, after: Record | None) -> Record:
    """`fact` between its neighbours; itself where it is there already."""
    end, superseded = _start(after) if after else None, [before.id] if before else []
    if fact.valid_to == end and [e.to for e in fact.edges if e.kind is EdgeKind.SUPERSEDES] == superseded:
        return fact
    edges = [e for e in fact.edges if e.kind is not EdgeKind.SUPERSEDES]
    return replace(fact, valid_to=end, edges=(*edges, *(Edge(EdgeKind.SUPERSEDES, id) for id in superseded)))


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


def _held(fact: Record) -> bool:
    """Whether it is one of those that hold one at a time."""
    return fact.searchable and bool(fact.data.get("single_valued"))


def _start(record: Record) -> Time:
    return record.valid_from if record.valid_from is not None else float("-inf")
