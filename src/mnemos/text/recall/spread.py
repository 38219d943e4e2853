"""How recall walks from seeds to what hangs together with them.

The graph is local to a question: its candidates, joined by `next` along a conversation, by `in`
to their session and by `mentions` to the things they name. Personalised PageRank (Haveliwala,
2002; as used by HippoRAG, 2024) lets relevance flow along it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.text.index.corpus import Corpus
from mnemos.text.recall.seed import Signals

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

DAMPING = 0.5
"""Probability of following an edge (HippoRAG's)."""
_TOLERANCE = 4e-3
"""Finer ones change no ranking that anybody would notice: recall stays to the fourth digit."""
_NEXT, _IN, _MENTIONS = 1.0, 0.25, 0.5
_FIRST = np.array([True])


@dataclass(frozen=True, slots=True)
class Graph:
    """An undirected graph over nodes 0 to `size` - 1; every edge is listed once."""

    size: int
    one: Ints
    """[edges] an end of each edge."""
    other: Ints
    """[edges] its other end."""
    weight: NDArray[np.float64]
    """[edges] positive."""


def pagerank(
    graph: Graph, reset: NDArray[np.float64], *, damping: float = DAMPING, tolerance: float = 1e-8
) -> NDArray[np.float64]:
    """Personalised PageRank: the solution of `x = damping P' x + (1 - damping) r`, where P is `graph`
    with rows normalised and r is `reset` normalised; a node without edges returns its mass to r.

    Args:
        graph: n nodes.
        reset: [n] non-negative, not all zero.
        damping: probability of following an edge, below 1.
        tolerance: what is left of the first error.

    Returns:
        [n], non-negative, summing to 1. Cost: O(edges) a step. An undirected walk has real eigenvalues,
        so Chebyshev's iteration (Golub & Varga, 1961) applies and needs half the steps of the power method.
    """
    source, target = np.concatenate([graph.one, graph.other]), np.concatenate([graph.other, graph.one])
    share = np.concatenate([graph.weight, graph.weight])
    share *= damping / np.bincount(source, share, graph.size)[source]

    def step(rank: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(target, share * rank[source], graph.size) + reset

    rate = damping / (1 + math.sqrt(1 - damping**2))  # by which a step shrinks the error
    before, rank, omega = reset, step(reset), 2.0
    for _ in range(math.ceil(math.log(tolerance / 2) / math.log(rate)) - 1 if rate > 0 else 0):
        omega = 1 / (1 - omega * damping**2 / 4)
        before, rank = rank, before + omega * (step(rank) - before)
    # to normalise is what it comes to that nodes without edges give their mass back
    rank = np.maximum(rank, 0)
    return np.asarray(rank / rank.sum())


def local_graph(corpus: Corpus, signals: Signals) -> Graph:
    """The graph over candidates (first), their sessions, and the things they mention."""
    rows, session = signals.rows, signals.session
    n, size = len(rows), len(rows) + int(session[-1]) + 1
    follows = np.flatnonzero(corpus.after[rows[:-1]] == rows[1:])
    starts = corpus.mention_starts[rows]
    mentioned = corpus.mention_starts[rows + 1] - starts
    behind = mentioned.cumsum()
    owner = np.arange(n).repeat(mentioned)
    named = corpus.mention_flat[(starts - behind + mentioned)[owner] + np.arange(len(owner))]
    # what np.unique does, in half its time
    things = np.sort(named)
    things = things[np.concatenate([_FIRST, things[1:] != things[:-1]])[: len(things)]]
    thing = np.searchsorted(things, named)
    # a thing that everybody mentions joins nothing in particular
    shared = _MENTIONS / np.bincount(thing)[thing]
    return Graph(
        size + len(things),
        np.concatenate([follows, np.arange(n), owner]),
        np.concatenate([follows + 1, n + session, size + thing]),
        np.concatenate([np.full(len(follows), _NEXT), np.full(n, _IN), shared]),
    )


def spread(corpus: Corpus, signals: Signals, scores: Floats) -> Floats:
    """[n, len(NAMES)] what the surroundings of each candidate say, given its own score (log odds)."""
    below = scores - scores.max()
    mass = np.exp(np.maximum(below, -40) * np.float32(0.5))
    everywhere = np.zeros(len(corpus) + 1, np.float32)  # the last is what `NOBODY` has
    everywhere[signals.rows] = mass
    before, after = corpus.before[signals.rows], corpus.after[signals.rows]
    graph = local_graph(corpus, signals)
    reset = np.zeros(graph.size)
    reset[: len(mass)] = mass**2
    columns = [
        below,
        mass,
        everywhere[before],
        everywhere[after],
        everywhere[corpus.before[before]],
        everywhere[corpus.after[after]],
        np.log(np.bincount(signals.session, mass)[signals.session] + 1e-6),
        np.log(pagerank(graph, reset, tolerance=_TOLERANCE)[: len(mass)] + 1e-6),
    ]
    return np.concatenate(columns, dtype=np.float32).reshape(len(columns), -1).T


NAMES = (
    "score", "mass", "previous", "next", "second previous", "second next", "session", "pagerank",
)  # fmt: skip
"""Columns of `spread`."""
