"""How sure recall is that memory holds what a question asks for.

A logistic model over what recall saw (`mnemos.bench.ranker` fits it): a question whose words this memory never
heard, or whose best matches were said by somebody else than it asks about, is probably not answered here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.text.recall.model import FEATURES, weights
from mnemos.text.recall.query import Query
from mnemos.text.recall.rank import Ranked
from mnemos.text.recall.seed import Signals

CONFIDENCE = (
    "best", "best words", "best coverage", "best talk", "best meaning z", "unheard", "others say it better", "gap",
    "asks when, dated",
)  # fmt: skip
"""Features of the confidence model."""
_NEAR = 0.6
"""Cosine from which a text means what the question means, whatever its words."""


def confidence(query: Query, signals: Signals, ranked: Ranked) -> float:
    """Estimated probability, in [0, 1], that what `query` asks for is among the candidates."""
    if not len(ranked.scores):
        return 0.0
    values = confidence_features(query, signals, ranked)
    (logit,) = weights()[f"{signals.kind}-confidence"](values[None])
    # the model knows long memories only; in a short one even the best match may share nothing with
    # the question: no word that was ever heard, none like one, nor its meaning
    unheard = 1 - float(signals.matches.share @ signals.heard)
    near = float(ranked.first[:, FEATURES.index("meaning")].max())
    strange = unheard * (1 - min(1.0, max(0.0, near) / _NEAR))
    return float(1 / (1 + np.exp(-np.clip(logit, -30, 30)))) * (1 - strange)


def confidence_features(query: Query, signals: Signals, ranked: Ranked) -> NDArray[np.float32]:
    """[len(CONFIDENCE)]"""
    order = np.argsort(-ranked.scores, kind="stable")
    own = dict(zip(FEATURES, ranked.first.T, strict=True))
    best = {name: float(column[order[:3]].max()) for name, column in own.items()}
    matches = signals.matches
    heard = np.bincount(matches.term, minlength=len(matches.terms)) > 0
    unheard = 1 - float(matches.share[heard].sum())
    others = 0.0
    if query.speakers:
        # the question names somebody: would somebody else's words fit better?
        theirs = own["speaker"] == 1
        fit = own["coverage"] + own["meaning"]
        others = float(fit[~theirs].max(initial=0.0) - fit[theirs].max(initial=0.0))
    top = ranked.scores[order]
    values = [
        float(top[0]), best["words"], best["coverage"], best["talk 2"], best["meaning z"], unheard,
        others, float(top[0] - top[min(4, len(top) - 1)]), best["when dated"],
    ]  # fmt: skip
    return np.array(values, np.float32)
