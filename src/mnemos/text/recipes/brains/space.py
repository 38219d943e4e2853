"""Profiles as vectors: missing values filled and marked, numbers standardised, categories spread.

Every statistic is that of the case base in force. With those of another site every query that lies off its mean
would find its neighbours among the few cases that happen to lie its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mnemos.text.recipes.brains.schema import Numeric, Profile, Schema

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def raw(schema: Schema, profiles: Sequence[Profile]) -> Floats:
    """[n, d] profiles in numbers: a measured column as it is, NaN where it is missing, and whether it is; a category as
    one 0 or 1 for each value, all 0 where it is missing."""
    columns: list[list[float]] = []
    for column in schema.columns:
        values = [profile[column.name] for profile in profiles]
        if isinstance(column, Numeric):
            columns.append([np.nan if value is None else float(value) for value in values])
            columns.append([float(value is None) for value in values])
        else:
            columns += [[float(value == one) for value in values] for one in column.values]
    return np.array(columns, np.float64).T.reshape(len(profiles), len(columns))


def names(schema: Schema) -> list[str]:
    """What each of the d numbers is about."""
    found = []
    for column in schema.columns:
        if isinstance(column, Numeric):
            found += [column.name, f"{column.name} missing"]
        else:
            found += [f"{column.name} {value}" for value in column.values]
    return found


@dataclass(frozen=True, slots=True)
class Scale:
    """Medians, means and deviations of a case base, [d] each; what is 0 or 1 is centred, and keeps its size."""

    median: Floats
    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, schema: Schema, rows: Floats) -> Scale:
        """Of raw rows [n, d], at least one."""
        known = ~np.isnan(rows)
        median = np.array([np.median(column[is_known]) if is_known.any() else 0.0
                           for column, is_known in zip(rows.T, known.T, strict=True)])  # fmt: skip
        filled = np.where(known, rows, median)
        deviation = filled.std(0)
        # a spread that is rounding of the mean is none
        constant = deviation <= 1e-9 * np.maximum(np.abs(filled).max(0), 1e-300)
        return cls(median, filled.mean(0), np.where(constant | ~_measured(schema), 1.0, deviation))

    def filled(self, rows: Floats) -> Floats:
        """[n, d] with the median where a value is missing."""
        return np.where(np.isnan(rows), self.median, rows)

    def __call__(self, rows: Floats) -> Floats:
        """[n, d] in deviations from the mean."""
        return np.asarray((self.filled(rows) - self.mean) / self.deviation)


def _measured(schema: Schema) -> NDArray[np.bool_]:
    found: list[bool] = []
    for column in schema.columns:
        found += [True, False] if isinstance(column, Numeric) else [False] * len(column.values)
    return np.array(found)


def unit(rows: Floats) -> Floats:
    """Rows at length 1; a row of zeros stays."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))


@dataclass(frozen=True, slots=True)
class Logistic:
    """Softmax regression: the base model, and the source of the columns' weights."""

    weights: Floats
    """[d + 1, classes], the last row is the bias."""

    def __call__(self, x: Floats) -> Floats:
        """[n, classes] probabilities."""
        return softmax(x @ self.weights[:-1] + self.weights[-1])

    def importance(self) -> Floats:
        """[d] mean |coefficient| over the classes, 1 on average."""
        size = np.abs(self.weights[:-1] - self.weights[:-1].mean(1, keepdims=True)).mean(1)
        return np.asarray(size / size.mean() if size.any() else np.ones_like(size))


def fit_logistic(x: Floats, y: Ints, classes: int, l2: float = 1.0) -> Logistic:
    """Softmax regression by L-BFGS.

    Args:
        x: [n, d] standardised.
        y: [n] in [0, classes).
        l2: of the coefficients, not of the bias.
    """
    z, gold = np.c_[x, np.ones(len(x))], np.eye(classes)[y]

    def loss(flat: Floats) -> tuple[float, Any]:
        w = flat.reshape(-1, classes)
        logits = z @ w
        top = logits.max(1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(1))
        value = (log_sum - (logits * gold).sum(1)).sum() + 0.5 * l2 * (w[:-1] ** 2).sum()
        gradient = z.T @ (softmax(logits) - gold)
        gradient[:-1] += l2 * w[:-1]
        return float(value), gradient.ravel()

    found = minimize(loss, np.zeros(z.shape[1] * classes), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return Logistic(np.asarray(found.x).reshape(-1, classes))


def softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))
