"""From similar cases to a decision: votes, their fusion with a base model, sets of a stated coverage, an account.

Source: BRAINS (2025), case retrieval and case fusion; vote, stacking and conformal sets are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Time
from mnemos.text.recipes.brains.schema import Value
from mnemos.text.recipes.brains.space import Floats, Ints, Logistic, fit_logistic

NOTICE = "Not a medical device: for research on decision support. The listed cases are the evidence, no rationale is."


@dataclass(frozen=True, slots=True)
class Case:
    """One past case."""

    id: str
    profile: Mapping[str, Value]
    outcome: str
    subject: str = ""
    at: Time | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A past case beside the one that is asked about."""

    case: Case
    similarity: float
    """Cosine, in [-1, 1]."""
    weight: float
    """Its share of the decision; the shares sum to 1."""
    differences: tuple[tuple[str, float], ...]
    """The three columns that differ most, as (column, how many deviations the query lies above the case)."""


@dataclass(frozen=True, slots=True)
class Visit:
    """An earlier case of the same subject."""

    case: Case
    years: float
    """How long before."""
    change: Mapping[str, float]
    """Of each measured column from then to now, per year."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a fusion sees of one query: raw numbers with missing ones filled in, and K similar cases."""

    query: Floats
    """[d]"""
    cases: Floats
    """[K, d]"""
    outcomes: Ints
    """[K]"""
    similarities: Floats
    """[K]"""
    base: Floats
    """[classes] of the base model, which sees no case."""


class Fusion(Protocol):
    """Makes probabilities of evidence."""

    def __call__(self, evidence: Evidence) -> tuple[Floats, Floats]:
        """([classes] probabilities, [K] shares of the cases)."""
        ...


def vote(evidence: Evidence) -> tuple[Floats, Floats]:
    """Each case votes with exp(-δ / mean δ), δ = 1 - cosine; the base model where there is no case."""
    if not len(evidence.outcomes):
        return evidence.base, np.empty(0)
    weights = shares(evidence.similarities)
    return np.asarray(np.bincount(evidence.outcomes, weights, len(evidence.base)), np.float64), weights


def shares(similarities: Floats) -> Floats:
    """[..., K] weights of a vote, summing to 1."""
    far = np.maximum(1 - similarities, 0)
    weights = np.exp(-far / np.maximum(far.mean(-1, keepdims=True), 1e-12))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


@dataclass(frozen=True, slots=True)
class Stacking:
    """A logistic model over the base model's log-probabilities and the vote."""

    model: Logistic

    @classmethod
    def fit(cls, base: Floats, votes: Floats, outcomes: Ints) -> Stacking:
        """Of [n, classes] probabilities of records that neither the base nor the vote had seen."""
        return cls(fit_logistic(_stacked(base, votes), outcomes, base.shape[1]))

    def __call__(self, evidence: Evidence) -> tuple[Floats, Floats]:
        votes, weights = vote(evidence)
        return np.asarray(self.model(_stacked(evidence.base[None], votes[None]))[0]), weights


def _stacked(base: Floats, votes: Floats) -> Floats:
    return np.concatenate([np.log(np.clip(base, 1e-6, 1)), votes], axis=1)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the vote does on cases of the base itself, each without its subject."""

    misfit: Floats
    """[n] 1 - probability of the true outcome, ascending."""
    support: Floats
    """[n] mean similarity of the neighbours, ascending."""
    distance: Floats
    """[n] from the nearest neighbour, ascending."""

    def threshold(self, alpha: float) -> float:
        """The misfit up to which an outcome stays in a set that misses the truth with probability `alpha`."""
        rank = math.ceil((len(self.misfit) + 1) * (1 - alpha))
        return float(self.misfit[rank - 1]) if rank <= len(self.misfit) else math.inf

    def known(self, support: float, distance: float) -> bool:
        """Whether a query lies among the cases: nearer, and more like them, than all but 1 in 100 of themselves."""
        n = len(self.support)
        return n > 0 and support >= self.support[n // 100] and distance <= self.distance[n - 1 - n // 100]


@dataclass(frozen=True, slots=True)
class Decision:
    """What similar cases say, with the cases."""

    label: str | None
    """None where nothing similar is known."""
    probabilities: Mapping[str, float]
    base: Mapping[str, float]
    """Of the base model, which sees no case."""
    among: tuple[str, ...]
    """The conformal set of the vote: misses the true outcome with probability α at most, if cases are exchangeable."""
    neighbours: tuple[Neighbour, ...]
    support: float
    """Mean similarity of the neighbours."""
    disagreement: float
    """Entropy of the neighbours' outcomes over its greatest value, in [0, 1]."""
    history: tuple[Visit, ...] = ()
    """Earlier visits of the same subject, which never count as neighbours."""
    schema: str = ""
    """Version of the schema."""
    notice: str = field(default=NOTICE, init=False)

    @property
    def abstains(self) -> bool:
        """Whether nothing similar is known."""
        return self.label is None

    def as_dict(self) -> dict[str, Any]:
        """The account of the decision as plain JSON data."""
        return {
            "label": self.label,
            "probabilities": {name: round(value, 4) for name, value in self.probabilities.items()},
            "base": {name: round(value, 4) for name, value in self.base.items()},
            "among": list(self.among),
            "support": round(self.support, 4),
            "disagreement": round(self.disagreement, 4),
            "cases": [
                {
                    "id": one.case.id, "outcome": one.case.outcome, "similarity": round(one.similarity, 4),
                    "weight": round(one.weight, 4), "differences": [[c, round(d, 2)] for c, d in one.differences],
                }
                for one in self.neighbours
            ],
            "earlier": [
                {"id": one.case.id, "years": round(one.years, 2), "change": dict(one.change)} for one in self.history
            ],
            "schema": self.schema,
            "notice": self.notice,
        }  # fmt: skip


def entropy(outcomes: Ints, classes: int) -> float:
    """Of the outcomes, over log(classes); 0 for none."""
    if not len(outcomes):
        return 0.0
    p = np.bincount(outcomes, minlength=classes) / len(outcomes)
    p = p[p > 0]
    return abs(float(-(p * np.log(p)).sum() / math.log(classes)))


Mask = NDArray[np.bool_]
