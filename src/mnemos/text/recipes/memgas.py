"""MemGAS: every session at several granularities, associated by similarity, weighted per question by certainty.

Source: MemGAS, Towards Multi-Granularity Memory Association and Selection for Long-Term Conversational Agents, 2025.
Structure: four nodes per session (whole text, turns, summary, keywords) in an association graph. Objective: cosine;
what is accepted by a mixture of two normal distributions (`association`) is linked. Retention: none. Rule: a model's
summary and keywords per session, or extracts; edges to earlier sessions only.

Recall ranks sessions, then gives their turns:

1. Each unit scores every session: its nodes but the keywords' by cosine, its best turn by cosine, its words by BM25.
   (A list of keywords is searched better by words than by its vector.) Scores are z-scored per unit, since raw cosines
   of different granularities are not comparable, and weighted by `router.route`.
2. The best `SEEDS` nodes seed personalised PageRank on the graph (the best turn counts for the node of turns, words
   for that of keywords). A session's score is its nodes' mass; sessions without mass follow by their weighted scores.
3. Turns of the best sessions, at least `SESSIONS` and as many as hold k turns, ordered by the session's weighted score
   plus the turn's own, the mean of its z-scored cosine and words.
4. Where there is a model it strikes what does not help.

Long sessions are embedded in pieces that are pooled: an encoder that cuts them off would make whole sessions look bad.
"""

from __future__ import annotations

import logging
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mnemos.core.catalogue import system
from mnemos.core.clock import Time
from mnemos.core.errors import EndpointError
from mnemos.core.spec import Spec
from mnemos.text.encode.keywords import keywords
from mnemos.text.graph import Graph, push
from mnemos.text.index.lexical import saturate
from mnemos.text.prompts.memgas import REPLY_TOKENS, Kept, Said, SessionUnits, filter_messages, unit_messages
from mnemos.text.recipes.association import accepted
from mnemos.text.recipes.base import Floats, Recipe, Sought
from mnemos.text.recipes.days import main_sentences
from mnemos.text.recipes.router import calibrated, route
from mnemos.text.records import Kind, Record, Scope
from mnemos.text.results import Hit
from mnemos.text.store import Trace
from mnemos.text.write import cut

log = logging.getLogger(__name__)

NODES = ("session", "turns", "summary", "keywords")
"""The nodes of a session, in order."""
UNITS = ("session", "turns", "summary", "best turn", "words")
"""What the router weighs."""
_COUNTS_FOR = (0, 1, 2, 1, 3)
"""The node that each unit seeds."""
CANDIDATES = 20
"""Most similar earlier nodes that the mixture sees."""
SEEDS = 15
DAMPING = 0.1
"""Probability of following an edge."""
SESSIONS = 10
"""Sessions whose turns are looked at, at least."""
_KEYWORDS = 15
_SENTENCES = 14
"""Of an extract: about what the encoder reads."""
_BATCH = 64
"""Sessions that are durable before the next ones are made; `_ASKED` of them where a model is asked."""
_ASKED = 8
_BLOCK = 64
_LONGEST = 3000
_LIKE = "like"


@dataclass
class Sessions:
    """The sessions of one scope, and how they hang together."""

    order: list[tuple[str, str]] = field(default_factory=list)
    """(first record, key) in the order of adding; every array over sessions is in it."""
    traces: dict[str, Trace] = field(default_factory=dict)
    pooled: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """[4, dim] by key: the nodes' vectors."""
    graph: Graph = field(default_factory=Graph)
    dense: Floats | None = None
    """[3, S, dim] of those that questions are compared with; made when needed."""
    slots: NDArray[np.int64] | None = None
    """[4 S] where the nodes are in the graph, session by session; made when needed."""
    owners: tuple[Mapping[str, int], NDArray[np.int64]] | None = None
    """[rows] the session of each record, -1 for none, and the rows it is of."""

    @property
    def keys(self) -> list[str]:
        """The sessions, in order."""
        return [key for _, key in self.order]


@system(
    "memgas",
    title="MemGAS",
    paper="MemGAS, 2025",
    year=2025,
    wing="text",
    choices=Spec(
        structure="four nodes per session (text, turns, summary, keywords) in an association graph",
        objective="cosine, calibrated per unit; associations by a mixture of two normal distributions",
        retention="none",
        rule="a summary and keywords per session; edges to earlier sessions",
    ),
    claim="several granularities find more than the best of them; weights by entropy more than equal ones",
)
class MemGAS(Recipe[Sessions]):
    """Recall by sessions at several granularities."""

    name = "memgas"

    def empty(self) -> Sessions:
        return Sessions()

    # -- writing ---------------------------------------------------------------------------

    def derive(self, scope: Scope, records: Sequence[Record], index: Sessions) -> Iterator[Sequence[Trace]]:
        """The sessions of the records, made anew where they grow. A session that is still the last one gets its
        units by extraction; the model sums it up when the next has begun, or at `consolidate`."""
        grown: dict[str, list[str]] = {}
        for record in records:
            grown.setdefault(_key(record), []).append(record.id)
        latest = max(index.traces, key=lambda key: index.traces[key].sources[-1], default=None)
        last = _key(records[-1])
        todo = list(grown)
        if self.parts.llm and latest and latest not in grown and index.traces[latest].by == "local":
            todo.append(latest)  # it was going on until now
        size = _ASKED if self.parts.llm else _BATCH
        for start in range(0, len(todo), size):
            batch = {key: grown.get(key, []) for key in todo[start : start + size]}
            yield from self._made(batch, index, going_on=last if records[-1].session else "")

    def tidy(self, scope: Scope, index: Sessions, now: Time) -> Iterator[Sequence[Trace]]:
        """What was extracted is summed up, where there is a model now."""
        todo = [key for key in index.keys if self.parts.llm and index.traces[key].by == "local"]
        for start in range(0, len(todo), _ASKED):
            yield from self._made({key: [] for key in todo[start : start + _ASKED]}, index, going_on="")

    def _made(self, grown: Mapping[str, Sequence[str]], index: Sessions, going_on: str) -> Iterator[Sequence[Trace]]:
        """Traces of sessions that grow by these records; those that the model could make before its error."""
        members = {key: self._members(key, new, index) for key, new in grown.items()}
        llm = self.parts.llm
        asked = [key for key in members if llm and key != going_on]
        calls = [partial(self._summed_up, members[key]) for key in asked]
        units = dict(zip(asked, llm.map(calls) if llm else (), strict=True))
        failed = [why for why in units.values() if isinstance(why, EndpointError)]
        made = []
        for key, records in members.items():
            found = units.get(key)
            if not isinstance(found, EndpointError):
                by = llm.model if llm and found else "local"
                made.append(self._trace(key, records, found or extracted(_said(records)), by, index))
        if made:
            yield made
        if failed:
            raise failed[0]

    def _members(self, key: str, new: Sequence[str], index: Sessions) -> list[Record]:
        known = index.traces[key].sources if key in index.traces else ()
        found = self.parts.store.get(sorted({*known, *new}))
        return [found[id] for id in sorted(found)]

    def _summed_up(self, records: Sequence[Record]) -> SessionUnits:
        llm = self.parts.llm
        assert llm is not None
        found = llm.structured(unit_messages(_said(records)), SessionUnits, max_tokens=REPLY_TOKENS)
        plain = extracted(_said(records))  # for what it left out
        words = [" ".join(word.split())[:80] for word in found.keywords if word.strip()]
        summary = found.summary.strip()[:_LONGEST]
        return SessionUnits(summary=summary or plain.summary, keywords=words[:_KEYWORDS] or plain.keywords)

    def _trace(self, key: str, records: Sequence[Record], units: SessionUnits, by: str, index: Sessions) -> Trace:
        """The trace of a session; what an earlier one embedded is not embedded again."""
        pieces, pairs = _texts(records)
        body = {"summary": units.summary, "keywords": units.keywords, "pieces": len(pieces), "pairs": len(pairs)}
        trace = Trace(key, tuple(record.id for record in records), body, by)
        old = index.traces.get(key)
        if old is None or old.vectors is None:
            return trace
        known = dict(zip(self.texts(old), old.vectors, strict=False))
        texts = self.texts(trace)
        missing = list(dict.fromkeys(text for text in texts if text not in known))
        if missing:
            known.update(zip(missing, self.embed(missing).astype(np.float16), strict=True))
        vectors = np.array([known[text] for text in texts], np.float16)
        return Trace(key, trace.sources, body, by, vectors, self.parts.encoder.model)

    def texts(self, trace: Trace) -> Sequence[str]:
        """Pieces of the whole, pairs of turns, summary, keywords."""
        records = self.parts.store.get(trace.sources)
        pieces, pairs = _texts([records[id] for id in trace.sources if id in records])
        return [*pieces, *pairs, str(trace.body["summary"]), ", ".join(trace.body["keywords"])]

    def change(self, index: Sessions, added: Sequence[Trace], removed: Sequence[Trace]) -> None:
        first = len(index.order)
        for trace in removed:
            if index.traces.get(trace.key) is trace:
                del index.traces[trace.key], index.pooled[trace.key]
                place = bisect_left(index.order, (trace.sources[0], trace.key))
                del index.order[place]
                index.graph.remove_source(trace.key)
                first = min(first, place)
        for trace in added:
            if trace.vectors is not None:
                index.traces[trace.key] = trace
                index.pooled[trace.key] = _pooled(trace)
                entry = (trace.sources[0], trace.key)
                first = min(first, bisect_left(index.order, entry))
                insort(index.order, entry)
        index.dense = index.slots = index.owners = None
        _associate(index, first)

    # -- reading ---------------------------------------------------------------------------

    def seek(self, sought: Sought, index: Sessions) -> list[Hit]:
        """Turns of the best sessions; see the module's text."""
        if not index.order or not len(sought.corpus):
            return []
        owners = self.owners(sought, index)
        allowed = owners >= 0 if sought.admitted is None else (owners >= 0) & sought.admitted
        if not allowed.any():
            return []
        scores = units(sought, index, owners, allowed)
        weights, total, mass = ranked(index, scores)
        rows = _turns(owners, allowed, np.lexsort((-total, -mass)), sought.k)
        own = calibrated(np.stack([sought.cosines()[allowed], sought.lexical()[allowed]])).mean(axis=0)
        place = np.cumsum(allowed) - 1
        value = total[owners[rows]] + own[place[rows]]
        best = np.argsort(-value, kind="stable")[: sought.k]
        return self._filtered(sought, self._hits(sought, index, rows[best], value[best], owners, weights, scores, mass))

    def _hits(
        self, sought: Sought, index: Sessions, rows: NDArray[np.int64], value: NDArray[np.float64],
        owners: NDArray[np.int64], weights: NDArray[np.float64], scores: NDArray[np.float64], mass: NDArray[np.float64],
    ) -> list[Hit]:  # fmt: skip
        why, parts = [], []
        share = weights[:, None] * calibrated(scores)
        for session in owners[rows].tolist():
            most = np.argsort(-share[:, session], kind="stable")[:2]
            named = " and ".join(f"{UNITS[n]} (weight {weights[n]:.2f})" for n in most.tolist())
            why.append((f"its session stands out by {named}",))
            found = {unit: round(float(share[n, session]), 4) for n, unit in enumerate(UNITS)}
            parts.append(found | {"graph": round(float(mass[session]), 4)})
        return self.hits(sought, rows, (1 / (1 + np.exp(-value))).tolist(), why, parts)

    def _filtered(self, sought: Sought, hits: list[Hit]) -> list[Hit]:
        """`hits` without those that the model strikes; all of them where it fails, or would keep none."""
        if self.parts.llm is None or len(hits) < 2:
            return hits
        told = [f"{hit.speaker}: {hit.text}" if hit.speaker else hit.text for hit in hits]
        try:
            kept = self.parts.llm.structured(filter_messages(sought.text, told), Kept, max_tokens=REPLY_TOKENS).keep
        except EndpointError as why:
            log.warning("hits were not filtered: %s", why)
            return hits
        return [hits[n - 1] for n in sorted(set(kept)) if 1 <= n <= len(hits)] or hits

    def owners(self, sought: Sought, index: Sessions) -> NDArray[np.int64]:
        """[rows] the session of each record, by place; -1 for none."""
        if index.owners is None or index.owners[0] is not sought.row:
            owners = np.full(len(sought.corpus), -1, np.int64)
            for number, key in enumerate(index.keys):
                owners[[sought.row[id] for id in index.traces[key].sources]] = number
            index.owners = (sought.row, owners)
        return index.owners[1]


def units(
    sought: Sought, index: Sessions, owners: NDArray[np.int64], allowed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """[5, S] what each of `UNITS` says of each session.

    Args:
        owners: [rows] the session of each record.
        allowed: [rows] records that may be found; a session without one gets the lowest score of its unit.
    """
    if index.dense is None:
        index.dense = np.stack([index.pooled[key][:3] for key in index.keys], axis=1).astype(np.float32)
    scores = np.empty((len(UNITS), len(index.order)))
    scores[:3] = index.dense @ sought.vector
    scores[3] = -1.0
    np.maximum.at(scores[3], owners[allowed], sought.cosines()[allowed])
    scores[4] = _words(sought, owners, len(index.order))
    shut = np.bincount(owners[allowed], minlength=len(index.order)) == 0
    if shut.any():
        scores[:, shut] = scores[:, ~shut].min(axis=1, keepdims=True)
    return scores


def ranked(
    index: Sessions, scores: NDArray[np.float64], damping: float = DAMPING
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(weights of the units [G], weighted score [S], mass of PageRank [S]) of sessions."""
    calm = calibrated(scores)
    weights = route(calm)
    weighted = weights[:, None] * calm
    nodes = np.zeros((len(NODES), scores.shape[1]))
    np.add.at(nodes, list(_COUNTS_FOR), weighted)
    return weights, weighted.sum(axis=0), spread(index, nodes, damping)


def spread(
    index: Sessions, nodes: NDArray[np.float64], damping: float = DAMPING, seeds: int = SEEDS
) -> NDArray[np.float64]:
    """[S] the mass of each session after PageRank from the best `seeds` of its nodes.

    Args:
        nodes: [4, S] what each node seeds; only what is above 0 counts.
    """
    flat = nodes.T.ravel()  # by session, then node
    best = np.argsort(-flat, kind="stable")[:seeds]
    best = best[flat[best] > 0]
    if not len(best):
        return np.zeros(nodes.shape[1])
    if index.slots is None:
        index.slots = index.graph.slots(_node(key, n) for key in index.keys for n in range(len(NODES)))
    reset = np.zeros(index.graph.size)
    reset[index.slots[best]] = flat[best]
    mass = push(index.graph, reset, damping=damping)[index.slots]
    return np.asarray(mass.reshape(-1, len(NODES)).sum(axis=1), np.float64)


def extracted(said: Sequence[Said]) -> SessionUnits:
    """Summary and keywords of a session without a model: its main sentences, its keywords."""
    texts = [text for _, text in said]
    start = " ".join(" ".join(texts).split())[:200]
    return SessionUnits(
        summary=main_sentences(said, _SENTENCES) or start, keywords=keywords(texts, _KEYWORDS) or [start[:80]]
    )


def _key(record: Record) -> str:
    """The session of a record; one of no session is a session of its own."""
    return f"session/{record.session}" if record.session else record.id


def _said(records: Sequence[Record]) -> list[Said]:
    return [(record.speaker, record.text) for record in records]


def _texts(records: Sequence[Record]) -> tuple[list[str], list[str]]:
    """(pieces of the whole session, pairs of turns)."""
    lines = [f"{record.speaker}: {record.text}" if record.speaker else record.text for record in records]
    pairs: list[str] = []
    open = ""
    for record, line in zip(records, lines, strict=True):
        if open and record.speaker != open and record.kind is Kind.TURN:
            pairs[-1] += f"\n{line}"
            open = ""
        else:
            pairs.append(line)
            open = record.speaker if record.kind is Kind.TURN else ""
    return cut("\n".join(lines)), pairs


def _pooled(trace: Trace) -> NDArray[np.float64]:
    """[4, dim] unit vectors of a session's nodes."""
    assert trace.vectors is not None
    wide = trace.vectors.astype(np.float64)
    a, b = int(trace.body["pieces"]), int(trace.body["pieces"]) + int(trace.body["pairs"])
    nodes = np.stack([wide[:a].mean(axis=0), wide[a:b].mean(axis=0), wide[-2], wide[-1]])
    return np.asarray(nodes / np.maximum(np.linalg.norm(nodes, axis=1, keepdims=True), 1e-9), np.float64)


def _node(key: str, number: int) -> str:
    return f"{key}\x1f{number}"


def _associate(index: Sessions, first: int) -> None:
    """Links of the sessions from place `first` on to earlier ones; those before it keep theirs."""
    keys = index.keys
    for key in keys[first:]:
        index.graph.remove_source(key)
        for number in range(len(NODES)):
            index.graph.add_node(_node(key, number), key)
    if first >= len(keys) or len(keys) < 2:
        return
    names = [_node(key, number) for key in keys for number in range(len(NODES))]
    matrix = np.concatenate([index.pooled[key] for key in keys])
    session = np.arange(len(keys)).repeat(len(NODES))
    for start in range(first, len(keys), _BLOCK):
        stop = min(start + _BLOCK, len(keys))
        rows = np.arange(start * len(NODES), stop * len(NODES))
        # rounded, so that how the products were blocked cannot decide between equals
        alike = np.round(matrix[rows] @ matrix[: stop * len(NODES)].T, 6)
        chosen, near = _nearest(np.where(session[None, : stop * len(NODES)] < session[rows, None], alike, -np.inf))
        linked = accepted(np.where(np.isfinite(near), near, 0.0), np.isfinite(near))
        for key_place in range(start, stop):
            part = slice((key_place - start) * len(NODES), (key_place - start + 1) * len(NODES))
            one, place = np.nonzero(linked[part])
            ends = chosen[part][one, place]
            index.graph.add_edges(
                _LIKE,
                [names[rows[part][n]] for n in one.tolist()],
                [names[n] for n in ends.tolist()],
                source=keys[key_place],
            )


def _nearest(alike: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(places [n, m], similarities [n, m]) of the `CANDIDATES` most similar nodes; of equal ones the earlier."""
    m = min(CANDIDATES, alike.shape[1])
    limit = -np.partition(-alike, m - 1, axis=1)[:, m - 1 : m]
    above, level = alike > limit, alike == limit
    chosen = above | (level & (np.cumsum(level, axis=1) <= m - above.sum(axis=1, keepdims=True)))
    places = np.nonzero(chosen)[1].reshape(len(alike), m)
    return places, np.take_along_axis(alike, places, axis=1)


def _words(sought: Sought, owners: NDArray[np.int64], sessions: int) -> NDArray[np.float64]:
    """[S] BM25 of whole sessions."""
    postings = sought.corpus.postings
    found = postings.matches(sought.query.terms)
    inside = owners[found.rows] >= 0
    counts = np.zeros((len(found.terms), sessions), np.float32)
    np.add.at(counts, (found.term[inside], owners[found.rows[inside]]), found.counts[inside])
    lengths = np.bincount(owners[owners >= 0], postings.lengths[owners >= 0], sessions).astype(np.float32)
    there = (counts > 0).sum(axis=1)
    idf = np.log1p((sessions - there + 0.5) / (there + 0.5))
    return np.asarray(idf @ saturate(counts, lengths[None], max(1.0, float(lengths.mean()))), np.float64)


def _turns(owners: NDArray[np.int64], allowed: NDArray[np.bool_], best: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Rows of the best sessions: at least `SESSIONS`, and as many as hold k turns."""
    sizes = np.bincount(owners[allowed], minlength=len(best))[best]
    enough = int(np.searchsorted(np.cumsum(sizes), k)) + 1
    chosen = np.zeros(len(best), bool)
    chosen[best[: max(SESSIONS, enough)]] = True
    return np.flatnonzero(allowed & chosen[np.maximum(owners, 0)])


__all__ = ["MemGAS", "Sessions", "extracted", "ranked", "spread", "units"]
