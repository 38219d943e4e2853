"""Consolidation: what a memory does with its records when nobody waits for an answer.

Embed what has no vector, merge duplicates, sum up finished sessions, age by policy. Each step is
one transaction and one operation, so a search beside it sees the state before or after, and `undo`
takes it back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mnemos.core.clock import Time, iso
from mnemos.text.encode import analyse
from mnemos.text.encode.analyse import text_hash
from mnemos.text.encode.keywords import keywords
from mnemos.text.forget import retracting
from mnemos.text.records import (
    VERBATIM,
    Edge,
    EdgeKind,
    Filter,
    Kind,
    Operation,
    OperationKind,
    Record,
    Scope,
)
from mnemos.text.retention import Policy
from mnemos.text.store import Store, Write
from mnemos.text.write import Encoder

NEAR = 0.9
"""Jaccard overlap of terms from which two texts of one speaker are near-duplicates."""
_LONG_ENOUGH = 6
"""Content terms below which a near-duplicate ("Thanks, see you!") proves nothing."""
_EMBED_BATCH = 256

Log = Callable[..., Operation]


@dataclass(frozen=True, slots=True)
class Consolidated:
    """What a consolidation did; the operations can be undone one by one."""

    embedded: int
    merged: int
    sessions: int
    faded: int
    expired: int
    operations: tuple[str, ...]


def run(
    store: Store, encoder: Encoder, scope: Scope, now: Time, operation: Log, ids: Callable[[], str],
    progress: Callable[[str], None],
) -> Consolidated:  # fmt: skip
    """All steps in order, for one scope."""
    done: list[str] = []

    def commit(kind: OperationKind, writes: Sequence[Write], step: str) -> None:
        if writes:
            op = operation(kind, step=step)
            store.commit(op, writes)
            done.append(op.id)

    progress("embedding")
    embedded = _embed(store, encoder)
    progress("merging duplicates")
    with store.writing():
        merged = _merge(store, scope, now)
        commit(OperationKind.MERGE, merged, "merge")
    progress("summing up sessions")
    with store.writing():
        sessions = _sessions(store, encoder, scope, now, ids)
        commit(OperationKind.CONSOLIDATE, sessions, "sessions")
    progress("ageing")
    with store.writing():
        faded, expired = _age(store, scope, now)
        commit(
            OperationKind.FORGET,
            retracting(store, [*faded, *expired], now) if faded or expired else [],
            "age",
        )
    return Consolidated(embedded, len(merged) // 2, len(sessions), len(faded), len(expired), tuple(done))


def _embed(store: Store, encoder: Encoder) -> int:
    total = 0
    while encoder.embedder and (records := store.stale(encoder.model, _EMBED_BATCH)):
        analyses = encoder.analyse(records, store)
        store.put_vectors(encoder.model, [(r.id, a.units) for r, a in zip(records, analyses, strict=True)])
        total += len(records)
    return total


def _merge(store: Store, scope: Scope, now: Time) -> list[Write]:
    """Retract later copies; the earliest keeps a `same-as` edge to each. Pairs (kept, copy)."""
    groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in store.find(Filter(scope), now):
        # the same words in another session are another event, told again; within one they are a copy
        groups[str(record.kind), record.speaker, record.session].append(record)
    kept: dict[str, Record] = {}
    copies: list[tuple[str, Record]] = []
    for members in groups.values():
        for record, original in _duplicates(members):
            if record.retention.hold:
                continue
            kept.setdefault(original.id, original)
            edge = Edge(EdgeKind.SAME_AS, record.id)
            kept[original.id] = replace(kept[original.id], edges=(*kept[original.id].edges, edge))
            copies.append((original.id, replace(record, retracted_at=now)))
    writes = []
    for id, copy in copies:
        writes += [Write(kept[id]), Write(copy)]
    return writes


def _duplicates(members: Sequence[Record]) -> list[tuple[Record, Record]]:
    """(copy, earliest) pairs: equal texts, or near-equal ones said at the same time."""
    found: list[tuple[Record, Record]] = []
    exact: dict[bytes, Record] = {}
    bags: list[tuple[frozenset[int], Record]] = []
    postings: dict[int, list[int]] = defaultdict(list)
    for record in members:
        original = exact.setdefault(text_hash(record.text), record)
        if original is not record:
            found.append((record, original))
            continue
        bag = frozenset(analyse.terms(record.text).tolist())
        near = _near(bag, record, bags, postings)
        if near is not None:
            found.append((record, near))
        elif len(bag) >= _LONG_ENOUGH:
            for term in bag:
                postings[term].append(len(bags))
            bags.append((bag, record))
    return found


def _near(
    bag: frozenset[int],
    record: Record,
    bags: list[tuple[frozenset[int], Record]],
    postings: dict[int, list[int]],
) -> Record | None:
    if len(bag) < _LONG_ENOUGH:
        return None
    # two sets with overlap above NEAR share one of any ceil((1 - NEAR) n) + 1 terms: look at those only
    probes = sorted(bag, key=lambda t: len(postings.get(t, ())))[: int(np.ceil((1 - NEAR) * len(bag))) + 1]
    for n in sorted({n for term in probes for n in postings.get(term, ())}):
        other, original = bags[n]
        if len(bag & other) >= NEAR * len(bag | other) and analyse.numbers(record.text) == analyse.numbers(
            original.text
        ):
            return original
    return None


def _sessions(store: Store, encoder: Encoder, scope: Scope, now: Time, ids: Callable[[], str]) -> list[Write]:
    """One record per session: who, when, how much, what about. Made again where the session grew."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in store.find(Filter(scope), now):
        if record.session:
            groups[record.session].append(record)
    known = {r.session: r for r in store.find(Filter(scope, kinds=(Kind.SESSION,)), now)}
    fresh = []
    for session, members in groups.items():
        text = digest(members)
        old = known.get(session)
        if old is not None and old.text == text:
            continue
        times = [r.at for r in members if r.at is not None]
        fresh.append(Record(
            id=old.id if old else ids(), kind=Kind.SESSION, text=text, scope=scope, session=session,
            at=min(times, default=None), recorded_at=now, source="memory",
            edges=tuple(Edge(EdgeKind.DERIVED_FROM, r.id) for r in members),
        ))  # fmt: skip
    analyses = encoder.analyse(fresh, store)
    return [Write(record, analysis) for record, analysis in zip(fresh, analyses, strict=True)]


def digest(members: Sequence[Record]) -> str:
    """A session in one line: when, who, how many turns, which topics."""
    times = [r.at for r in members if r.at is not None]
    speakers = list(dict.fromkeys(r.speaker for r in members if r.speaker))
    parts = [iso(min(times))] if times else []
    if speakers:
        parts.append(" and ".join(speakers))
    parts.append(f"{len(members)} {'records' if len(members) != 1 else 'record'}")
    topics = keywords([r.text for r in members])
    return ", ".join(parts) + (": " + ", ".join(topics) if topics else "")


def _age(store: Store, scope: Scope, now: Time) -> tuple[list[Record], list[Record]]:
    """Records that have faded by the scope's policy, and records that have expired."""
    live = list(store.find(Filter(scope, kinds=VERBATIM), now))
    policy = Policy.load(store, scope)
    faded = policy.fading(live, store.uses([r.id for r in live]), now) if policy != Policy() else []
    hidden = store.find(Filter(scope, kinds=VERBATIM), now, hidden=True)
    expired = [
        r for r in hidden
        if r.retracted_at is None and not r.retention.hold
        and r.retention.expires_at is not None and r.retention.expires_at <= now
    ]  # fmt: skip
    return faded, expired


__all__ = ["NEAR", "Consolidated", "digest", "run"]
