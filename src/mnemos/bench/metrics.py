"""Scores of the bench: answers, rankings, separations, and how sure a mean is.

Pure functions; every score is higher-is-better and lies in [0, 1] unless it says otherwise.

Sources: the LoCoMo answer score is that of Maharana et al. (arXiv:2402.17753), file
`task_eval/evaluation.py` of snap-research/locomo; the retrieval scores are those of LongMemEval (Wu et
al., arXiv:2410.10813), with NDCG after Järvelin and Kekäläinen (2002); the bootstrap is Efron's (1979).
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import snowballstemmer
from numpy.typing import ArrayLike, NDArray

from mnemos.core.errors import InvalidInput

REFUSALS = ("no information available", "not mentioned")
"""What an answer must contain to count as declined (LoCoMo category 5)."""
CONFIDENCE = 0.95
"""Of every interval that the bench reports."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the|and)\b")


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation and the words a, an, the, and; single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def token_f1(prediction: str, gold: str) -> float:
    """Harmonic mean of precision and recall over the multisets of stemmed words; 0 if either is empty.

    Stems are Porter's of 1980. The published script takes NLTK's variant, which differs on a few words
    ("try"/"tries", "enjoy", "dying"), so single answers can score differently there.
    """
    stemmer = snowballstemmer.stemmer("porter")
    predicted = Counter(stemmer.stemWords(normalise(prediction).split()))
    wanted = Counter(stemmer.stemWords(normalise(gold).split()))
    same = (predicted & wanted).total()
    return 2 * same / (predicted.total() + wanted.total()) if same else 0.0


def locomo_score(prediction: str, gold: str | int | float | None, category: int) -> float:
    """LoCoMo's official answer score.

    Args:
        prediction: what the system answered.
        gold: the reference answer; numbers are read as text. Category 5 does not look at it.
        category: 1 multi-hop (parts between commas; mean over gold parts of the best F1 over
            predicted parts), 2 temporal and 4 single-hop (F1), 3 open-domain (F1 against the gold up
            to its first semicolon), 5 adversarial (1 if the answer declines, else 0).

    Raises:
        InvalidInput: another category, or no gold answer where one is needed.
    """
    if category == 5:
        return float(any(refusal in prediction.lower() for refusal in REFUSALS))
    if gold is None:
        raise InvalidInput(f"a question of category {category} needs a gold answer, and it is None")
    wanted = str(gold)
    if category == 1:
        parts = prediction.split(",")
        return _mean([max(token_f1(part, piece) for part in parts) for piece in wanted.split(",")])
    if category == 3:
        return token_f1(prediction, wanted.split(";")[0])
    if category in (2, 4):
        return token_f1(prediction, wanted)
    raise InvalidInput(f"{category!r} is no LoCoMo category: they are numbered 1 to 5")


def recall_at(retrieved: Sequence[str], gold: Collection[str], k: int) -> float:
    """|gold ∩ first k| / |gold|.

    Args:
        retrieved: ids, best first.
        gold: the ids that should be found.
        k: how many of `retrieved` count, at least 1.

    Raises:
        InvalidInput: k below 1, or no gold at all (leave such a question out of the mean).
    """
    wanted = _checked(gold, k)
    return len(wanted & set(retrieved[:k])) / len(wanted)


def hit_at(retrieved: Sequence[str], gold: Collection[str], k: int) -> float:
    """1 if any gold id is among the first k, else 0 (LongMemEval's `recall_any`). Raises as `recall_at`."""
    return float(recall_at(retrieved, gold, k) > 0)


def recall_all_at(retrieved: Sequence[str], gold: Collection[str], k: int) -> float:
    """1 if every gold id is among the first k, else 0. Raises as `recall_at`."""
    return float(_checked(gold, k) <= set(retrieved[:k]))


def reciprocal_rank(retrieved: Sequence[str], gold: Collection[str]) -> float:
    """1 / rank of the first gold id, 0 where there is none. Raises as `recall_at`."""
    wanted = _checked(gold, 1)
    return next((1 / rank for rank, item in enumerate(retrieved, 1) if item in wanted), 0.0)


def dcg(gains: Sequence[float]) -> float:
    """Σ gain_i / log2(i + 1) over ranks i from 1; not bounded by 1."""
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def dcg_legacy(gains: Sequence[float]) -> float:
    """gain_1 + Σ_{i≥2} gain_i / log2(i), as in the published LongMemEval code: rank 2 is not discounted.

    Only for comparison with numbers that were made with it.
    """
    return math.fsum(gain / max(1.0, math.log2(rank)) for rank, gain in enumerate(gains, 1))


def ndcg_at(
    retrieved: Sequence[str],
    gold: Collection[str],
    k: int,
    *,
    dcg: Callable[[Sequence[float]], float] = dcg,
) -> float:
    """DCG of the first k over that of the best order; gold ids gain 1, and an id counts once.

    Args:
        dcg: the discount; `dcg_legacy` reproduces LongMemEval's published figures.

    Raises:
        InvalidInput: as `recall_at`.
    """
    wanted = _checked(gold, k)
    left = set(wanted)
    gains = []
    for item in retrieved[:k]:
        gains.append(float(item in left))
        left.discard(item)
    return dcg(gains) / dcg([1.0] * min(len(wanted), k))


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counting half (Mann and Whitney, 1947).

    Exact: ranks are counted in integers. O(n log n).

    Args:
        scores: [n] numbers, infinities allowed.
        labels: [n], true for the positives.

    Raises:
        InvalidInput: different lengths, a score that is NaN, or only one class.
    """
    values = np.asarray(scores, np.float64)
    positive = np.asarray(labels, bool)
    if values.ndim != 1 or values.shape != positive.shape:
        raise InvalidInput(f"scores {values.shape} and labels {positive.shape} must be lists of one length")
    if np.isnan(values).any():
        raise InvalidInput("a score is NaN, which has no rank: leave it out or give it a value")
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        raise InvalidInput(f"{positives} positives and {negatives} negatives: AUROC needs both")
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(counts) - counts + 1)[where]  # twice the mean rank of each tied group
    return (int(doubled[positive].sum()) - positives * (positives + 1)) / (2 * positives * negatives)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % percentile bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference(Interval):
    """Mean of a − b over pairs, its interval, and how often chance would give a mean as far from 0.

    `p` is two-sided, and never below 1 / (n + 1).
    """

    p: float


def bootstrap_ci(values: ArrayLike, seed: int, n: int = 1000) -> Interval:
    """Mean of `values` and its interval from `n` resamples.

    Raises:
        InvalidInput: no values, a value that is not finite, or n below 1.
    """
    sample = _sample(values, n)
    low, high = _quantiles(_resampled(sample, seed, n))
    return Interval(float(sample.mean()), low, high)


def paired_bootstrap(a: ArrayLike, b: ArrayLike, seed: int, n: int = 1000) -> Difference:
    """Whether `a` is better than `b` on the same questions, in the same order.

    Raises:
        InvalidInput: different lengths, or as `bootstrap_ci`.
    """
    first, second = _sample(a, n), _sample(b, n)
    if first.shape != second.shape:
        raise InvalidInput(f"{len(first)} and {len(second)} values are no pairs: score the same questions")
    means = _resampled(first - second, seed, n)
    low, high = _quantiles(means)
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Difference(float((first - second).mean()), low, high, min(1.0, 2 * (tail + 1) / (n + 1)))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _checked(gold: Collection[str], k: int) -> set[str]:
    if k < 1:
        raise InvalidInput(f"k = {k} looks at nothing: it must be at least 1")
    if isinstance(gold, str):
        raise InvalidInput(f"gold is the text {gold!r}: give a list of ids, [{gold!r}]")
    if not gold:
        raise InvalidInput("no gold ids: the score is undefined, leave this question out of the mean")
    return set(gold)


def _sample(values: ArrayLike, n: int) -> NDArray[np.float64]:
    sample = np.asarray(values, np.float64)
    if n < 1:
        raise InvalidInput(f"n = {n} resamples give no interval: take 1000")
    if sample.ndim != 1 or not sample.size or not np.isfinite(sample).all():
        raise InvalidInput(f"values of shape {sample.shape} must be a list of finite numbers, at least one")
    return sample


def _resampled(sample: NDArray[np.float64], seed: int, n: int) -> NDArray[np.float64]:
    # one resample at a time: n × len(sample) indices at once would not fit for long lists
    random = np.random.default_rng(seed)
    return np.array([sample[random.integers(0, sample.size, sample.size)].mean() for _ in range(n)])


def _quantiles(means: NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
