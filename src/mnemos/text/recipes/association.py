"""Which of the nearest older nodes a new one belongs with: those of the higher of two bells.

Source: MemGAS (2025), section on memory association. The similarities of a node's nearest candidates are taken for
a mixture of two normal distributions, and the members of the higher one are accepted. Both share one width, as in
the paper's analysis: a narrow bell above a wide one would else give up what lies beyond it, and what is accepted
would not be what is most similar. With means m1 > m0, width s and equal shares the boundary is (m0 + m1) / 2, and
the rate of wrong associations Phi(-(m1 - m0) / 2s).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST = 4
"""Candidates below which two bells cannot be told apart."""
ALIKE = 0.5
"""Similarity that is accepted where there are too few candidates, or all are equal."""
_ROUNDS = 200
_SPREAD = 1e-6


def accepted(similarities: Floats, valid: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """[n, m] which candidates of each of n nodes are associated with it.

    The same numbers give the same answer; of two candidates of a node the more similar one is accepted first.

    Args:
        similarities: [n, m] of each node with its candidates.
        valid: [n, m] which of them are there; all, if None.
    """
    values = np.asarray(similarities, np.float64)
    there = np.ones(values.shape, bool) if valid is None else valid
    if not values.size:
        return np.zeros(values.shape, bool)
    low = np.where(there, values, np.inf).min(axis=1, keepdims=True)
    high = np.where(there, values, -np.inf).max(axis=1, keepdims=True)
    plain = (there.sum(axis=1, keepdims=True) < FEWEST) | ~(high - low > _SPREAD)
    found = there & (values >= ALIKE)
    rows = ~plain[:, 0]
    if rows.any():
        found[rows] = there[rows] & (_upper(values[rows], there[rows]) > 0.5)
    return found


def _upper(values: Floats, there: NDArray[np.bool_]) -> Floats:
    """[n, m] probability of the higher component, by expectation maximisation from a split at the middle."""
    weight = there.astype(np.float64)
    count = weight.sum(axis=1, keepdims=True)
    values = np.where(there, values, 0.0)
    low = np.where(there, values, np.inf).min(axis=1, keepdims=True)
    high = np.where(there, values, -np.inf).max(axis=1, keepdims=True)
    above = weight * (values > (low + high) / 2)
    for _ in range(_ROUNDS):
        mass = np.clip(above.sum(axis=1, keepdims=True), 1e-9, count - 1e-9)
        upper = (above * values).sum(axis=1, keepdims=True) / mass
        lower = ((weight - above) * values).sum(axis=1, keepdims=True) / (count - mass)
        spread = (above * (values - upper) ** 2 + (weight - above) * (values - lower) ** 2).sum(axis=1, keepdims=True)
        variance = np.maximum(spread / count, _SPREAD**2)
        odds = (upper - lower) * (values - (upper + lower) / 2) / variance + np.log(mass / (count - mass))
        before: Floats = above
        above = np.asarray(weight / (1 + np.exp(-np.clip(odds, -50, 50))), np.float64)
        if np.abs(above - before).max() < 1e-9:
            break
    return np.asarray(above, np.float64)
