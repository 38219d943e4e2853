"""Personalised PageRank (Haveliwala, 2002) over a `Graph`: where a walk is, that keeps returning to its seeds.

`push` works around the seeds (Andersen, Chung & Lang, 2006): it leaves what is below its tolerance
where it lies, so that its cost follows the answer and not the graph. `power` works on the whole graph
and is as exact as asked.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import InvalidInput
from mnemos.text.graph.graph import Graph

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAMPING = 0.5
"""Probability of following an edge (HippoRAG's)."""
_WHOLE = 8
"""A gathered edge costs about this many times one of a whole-graph product."""


def push(
    graph: Graph,
    reset: Floats,
    *,
    damping: float = DAMPING,
    tolerance: float = 2e-5,
    kinds: Collection[str] | None = None,
) -> Floats:
    """The x with `x = damping P' x + (1 - damping) r`: P is the graph with rows normalised, r is `reset` normalised.
    A node without edges returns its mass to r.

    Args:
        graph: undirected.
        reset: [size], by slot, non-negative, not all 0; sparse or dense.
        damping: probability of following an edge, below 1.
        tolerance: no score is off by more than this times its node's strength over the mean strength,
            as far as rounding lets it.
        kinds: edges to walk along; all, if None.

    Returns:
        [size], non-negative, summing to 1.

    Raises:
        InvalidInput: reset, damping or tolerance cannot be used.

    Every round settles a share of the mass that waits at each node above its limit and sends the rest
    on; few such nodes are gathered row by row, many are done as one product over the whole graph. What
    waits in the end stays where it is: at most `limit` times the strength of each node. In an undirected graph
    strength(u) x_u(v) = strength(v) x_v(u), which gives the stated bound.
    """
    strength = graph.strength(kinds)
    score, rest = _begin(graph, reset, strength, damping, tolerance)
    limit = tolerance * int(np.count_nonzero(strength)) / (float(strength.sum()) or 1.0)

    def waiting(nodes: Ints) -> Ints:
        return nodes[rest[nodes] > np.maximum(limit * strength[nodes], np.finfo(np.float64).eps)]

    last = np.empty(graph.size, np.int64)
    front = waiting(np.flatnonzero(rest))
    while len(front):
        if _WHOLE * int(graph.lengths(front).sum()) > graph.entries:
            score += (1 - damping) * rest
            rest = np.asarray(graph.matrix(kinds) @ (rest * _along(strength, damping)))
            front = waiting(np.flatnonzero(rest))
            continue
        mass = rest[front]
        score[front] += (1 - damping) * mass
        rest[front] = 0
        owner, to, weight = graph.rows(front, kinds)
        np.add.at(rest, to, (damping * mass / strength[front])[owner] * weight)
        to = waiting(to)
        last[to] = np.arange(len(to))  # each node once: where it was written last
        front = to[last[to] == np.arange(len(to))]
    return score + rest


def power(
    graph: Graph,
    reset: Floats,
    *,
    damping: float = DAMPING,
    tolerance: float = 1e-8,
    kinds: Collection[str] | None = None,
) -> Floats:
    """As `push`, by iteration over the whole graph: no more than `tolerance` off in the sum of all errors.

    An undirected walk has real eigenvalues, so Chebyshev's iteration (Golub & Varga, 1961) applies and
    needs half the steps of the power method.
    """
    strength = graph.strength(kinds)
    alone, start = _begin(graph, reset, strength, damping, tolerance)
    matrix, along, stay = graph.matrix(kinds), _along(strength, damping), (1 - damping) * start

    def step(rank: Floats) -> Floats:
        return np.asarray(matrix @ (rank * along)) + stay

    before, rank, omega = start, step(start), 2.0
    # the plain method's steps are enough; they end the loop where rounding hides the tolerance
    for _ in range(math.ceil(math.log(tolerance / 4) / math.log(damping)) if damping else 0):
        following = step(rank)
        # a step shrinks the error by damping at least: this is how far off `rank` can be
        if np.abs(following - rank).sum() <= (1 - damping) * tolerance:
            break
        omega = 1 / (1 - omega * damping**2 / 4)
        before, rank = rank, before + omega * (following - before)
    return np.maximum(alone + rank, 0)


def _begin(graph: Graph, reset: Floats, strength: Floats, damping: float, tolerance: float) -> tuple[Floats, Floats]:
    """What stays at nodes without edges, and what starts to walk: together 1.

    Mass never enters a node without edges but from r, so its score is known beforehand: it keeps
    1 - damping of what it gets, and the rest falls on all of r.
    """
    reset = np.asarray(reset, np.float64)
    if reset.shape != (graph.size,):
        raise InvalidInput(f"reset has shape {reset.shape}: give one number for each of {graph.size} slots")
    if not 0 <= damping < 1:
        raise InvalidInput(f"damping is {damping!r}: give a probability from 0 to below 1")
    if not 0 < tolerance < 1:
        raise InvalidInput(f"tolerance is {tolerance!r}: give a number between 0 and 1")
    at = np.flatnonzero(reset)
    given = reset[at]
    total = float(given.sum())
    if not (math.isfinite(total) and total > 0 and given.min() >= 0):
        raise InvalidInput("reset must be finite and non-negative, and not all 0: give some node a weight")
    if not graph.standing[at].all():
        raise InvalidInput("reset gives weight to a slot that no node has: take slots from `graph.slots`")
    given = given / total
    joined = strength[at] > 0
    share = 1 - damping * float(given[~joined].sum())
    alone, walks = np.zeros(graph.size), np.zeros(graph.size)
    alone[at[~joined]] = given[~joined] * (1 - damping) / share
    walks[at[joined]] = given[joined] / share
    return alone, walks


def _along(strength: Floats, damping: float) -> Floats:
    """[size] how much of the mass at a node follows each unit of weight."""
    return np.divide(damping, strength, out=np.zeros_like(strength), where=strength > 0)
