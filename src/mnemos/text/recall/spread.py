"""How recall walks from seeds to what hangs together with them.

The graph is local to a question: its candidates, joined by `next` along a conversation, by `in`
to their session and by `mentions` to the things they name. Personalised PageRank (Haveliwala,
2002; as used by HippoRAG, 2024) lets relevance flow along it.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from mnemos.text.index.corpus import Corpus

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

DAMPING = 0.5
"""Probability of following an edge (HippoRAG's)."""
_NEXT, _IN, _MENTIONS = 1.0, 0.25, 0.5


def pagerank(
    graph: sparse.csr_array, reset: NDArray[np.float64], *, damping: float = DAMPING, tolerance: float = 1e-8
) -> NDArray[np.float64]:
    """Personalised PageRank: the solution of `x = damping P' x + (1 - damping) r`, where P is `graph`
    with rows normalised and r is `reset` normalised; a node without edges returns its mass to r.

    Args:
        graph: [n, n] non-negative weights.
        reset: [n] non-negative, not all zero.
        damping: probability of following an edge, below 1.
        tolerance: largest change (L1) at which the iteration stops.

    Returns:
        [n], non-negative, summing to 1. Cost: O(edges) a step, log(tolerance)/log(damping) steps.
    """
    reset = reset / reset.sum()
    degree = np.asarray(graph.sum(axis=1)).ravel()
    dangling = degree == 0
    inverse = np.divide(1.0, degree, out=np.zeros_like(degree), where=~dangling)
    shares = graph.data * np.repeat(inverse, np.diff(graph.indptr))
    flow = sparse.csr_array((shares, graph.indices, graph.indptr), shape=graph.shape).T
    rank = reset
    for _ in range(int(np.ceil(np.log(tolerance / 2) / np.log(damping))) if damping > 0 else 1):
        step = damping * (flow @ rank + rank[dangling].sum() * reset) + (1 - damping) * reset
        if np.abs(step - rank).sum() < tolerance:
            return np.asarray(step)
        rank = step
    return np.asarray(rank)


def local_graph(corpus: Corpus, rows: Ints, places: Ints) -> sparse.csr_array:
    """The symmetric graph over candidates (first), their sessions, and the things they mention."""
    n = len(rows)
    ends: list[tuple[Ints, Ints, NDArray[np.float64]]] = []
    beside = np.flatnonzero((np.diff(places) == 1) & (np.diff(corpus.block[places]) == 0))
    ends.append((beside, beside + 1, np.full(len(beside), _NEXT)))
    session = groups(corpus, places)
    sessions = int(session[-1]) + 1
    ends.append((np.arange(n), n + session, np.full(n, _IN)))
    total = n + sessions
    starts, sizes = corpus.mention_starts[rows], np.diff(corpus.mention_starts)[rows]
    if sizes.sum():
        which = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
        things, thing = np.unique(corpus.mention_flat[which], return_inverse=True)
        # a thing that everybody mentions joins nothing in particular
        weight = _MENTIONS / np.bincount(thing)[thing]
        ends.append((np.repeat(np.arange(n), sizes), total + thing, weight))
        total += len(things)
    source, target, weight = (np.concatenate(part) for part in zip(*ends, strict=True))
    both = (np.concatenate([source, target]), np.concatenate([target, source]))
    return sparse.csr_array((np.concatenate([weight, weight]), both), shape=(total, total))


def groups(corpus: Corpus, places: Ints) -> Ints:
    """[n] candidates' sessions as 0, 1, 2, ...; places ascend, so a session's stand together."""
    if not len(places):
        return places
    return np.concatenate([[0], np.cumsum(np.diff(corpus.block[places]) != 0)])


def spread(corpus: Corpus, rows: Ints, places: Ints, scores: Floats) -> Floats:
    """[n, len(NAMES)] what the surroundings of each candidate say, given its own score (log odds)."""
    mass = np.exp(np.clip(scores - scores.max(initial=-np.inf), -40, 0) * 0.5)
    columns = [scores - scores.max(initial=-np.inf), mass]
    for distance in (1, -1, 2, -2):
        columns.append(_beside(mass, places, corpus, distance))
    session = groups(corpus, places)
    columns.append(np.log(np.bincount(session, mass)[session] + 1e-6))
    reset = np.zeros((graph := local_graph(corpus, rows, places)).shape[0])
    reset[: len(rows)] = mass**2
    columns.append(np.log(pagerank(graph, reset, tolerance=1e-4)[: len(rows)] + 1e-6))
    return np.stack(columns, axis=1).astype(np.float32)


NAMES = (
    "score", "mass", "previous", "next", "second previous", "second next", "session", "pagerank",
)  # fmt: skip
"""Columns of `spread`."""


def _beside(values: Floats, places: Ints, corpus: Corpus, distance: int) -> Floats:
    """The value of the turn `distance` before each candidate, in the same session; 0 where none."""
    at = np.searchsorted(places, places - distance)
    at = np.minimum(at, len(places) - 1)
    there = (places[at] == places - distance) & (corpus.block[places[at]] == corpus.block[places])
    return np.where(there, values[at], np.float32(0))
