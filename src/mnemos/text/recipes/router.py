"""Which unit to trust for a question: the one whose scores say most clearly where the answer is.

Source: MemGAS (2025), section on entropy-based routing. A unit (whole sessions, turns, summaries, ...) scores every
session; its softmax has an entropy, and the lower that is, the more weight the unit gets. The entropy is taken as a
share of its largest value, ln S. In nats, as in the published code, it exceeds 1 for every unit as soon as there are
a handful of sessions; then numerator and denominator turn negative together, and the least certain unit gets most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import InvalidInput

Floats = NDArray[np.float64]

TEMPERATURE = 0.5
"""For z-scores; raw cosines want 0.1 to 0.2."""


def calibrated(scores: NDArray[np.floating]) -> Floats:
    """[G, S] z-scores of each unit's scores: units with different spreads become comparable, and what is no cosine
    (BM25) can join. A unit that tells no session from another gets zeros."""
    values = np.asarray(scores, np.float64)
    centred = values - values.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    return np.asarray(np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 1e-9), np.float64)


def entropies(scores: NDArray[np.floating], temperature: float = TEMPERATURE) -> Floats:
    """[G] entropy of each unit's softmax as a share of ln S, in [0, 1]; 1 where there is one session only.

    Raises:
        InvalidInput: no sessions, or a temperature that is not above 0.
    """
    values = np.asarray(scores, np.float64)
    if values.ndim != 2 or not values.shape[1] or not temperature > 0:
        raise InvalidInput(f"scores {values.shape} at temperature {temperature}: give [units, sessions], above 0")
    if values.shape[1] == 1:
        return np.ones(len(values))
    odds = (values - values.max(axis=1, keepdims=True)) / temperature
    share = np.exp(odds)
    share /= share.sum(axis=1, keepdims=True)
    nats = -(share * np.log(np.maximum(share, np.finfo(np.float64).tiny))).sum(axis=1)
    return np.asarray(np.clip(nats / np.log(values.shape[1]), 0, 1), np.float64)


def route(scores: NDArray[np.floating], temperature: float = TEMPERATURE) -> Floats:
    """[G] weights of the units, at least 0, summing to 1; equal where none is certain of anything.

    Args:
        scores: [G, S] of each unit for each session.
        temperature: of the softmax, above 0.

    Raises:
        InvalidInput: as `entropies`.
    """
    certain = 1 - entropies(scores, temperature)
    total = certain.sum()
    return np.asarray(certain / total if total > 1e-12 else np.full(len(certain), 1 / len(certain)), np.float64)
