"""Which of several candidates are worth showing together: exact, by likeness, or by maximal marginal relevance.

Source: MemOS (arXiv 2507.03724) and its code, search path; MMR is Carbonell and Goldstein's (1998), here with a
penalty that grows beyond all bounds where two candidates are nearly the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mnemos.text.encode.analyse import text_hash, words

Floats = NDArray[np.float32]
Dedup = Literal["exact", "sim", "mmr"]

ALIKE = 0.92
"""Cosine, and share of common words, from which two are the same."""
CLOSE = 0.9
"""Cosine above which the penalty of MMR grows exponentially."""
WEIGHT = 0.8
"""Of relevance; the rest is that of diversity."""
AHEAD = 3
"""Candidates per place."""
_SEEDS = 2


def deduplicate(
    texts: Sequence[str], vectors: Floats, scores: Floats, k: int, how: Dedup = "exact", weight: float = WEIGHT
) -> list[int]:
    """At most `k` places of candidates, most relevant first.

    Args:
        texts: [n] of the candidates.
        vectors: [n, dim] of unit length, or zero where there is none.
        scores: [n] relevance.
        how: "exact" leaves out texts that equal a better one up to case and spaces; "sim" also what is `ALIKE` to a
            better one; "mmr" chooses from the `AHEAD` * k best, at first the two best, then whatever maximises
            weight * relevance - (1 - weight) * penalty.
        weight: of relevance in "mmr"; 1 is plain ranking of different texts.
    """
    order = _distinct(texts, np.argsort(-scores, kind="stable").tolist())
    if how == "exact":
        return order[:k]
    if how == "sim":
        return _unlike(order, vectors, k)
    chosen = _mmr(order[: AHEAD * k], texts, vectors, scores, k, weight)
    return sorted(chosen, key=order.index)


def penalty(cosine: float) -> float:
    """Of a candidate whose nearest chosen one is at `cosine`."""
    return cosine * float(np.exp(10 * (cosine - CLOSE))) if cosine > CLOSE else cosine


def _distinct(texts: Sequence[str], order: Sequence[int]) -> list[int]:
    first: dict[bytes, int] = {}
    for n in order:
        first.setdefault(text_hash(texts[n]), n)
    return list(first.values())


def _unlike(order: Sequence[int], vectors: Floats, k: int) -> list[int]:
    kept: list[int] = []
    for n in order:
        if len(kept) == k:
            break
        if not kept or float((vectors[kept] @ vectors[n]).max()) < ALIKE:
            kept.append(n)
    return kept


def _mmr(
    order: Sequence[int], texts: Sequence[str], vectors: Floats, scores: Floats, k: int, weight: float
) -> list[int]:
    said = {n: Counter(words(texts[n])) for n in order}
    chosen: list[int] = []
    left = list(order)
    nearest = dict.fromkeys(left, 0.0)
    while left and len(chosen) < k:
        if len(chosen) < _SEEDS:
            best = left[0]
        else:
            best = max(left, key=lambda n: weight * float(scores[n]) - (1 - weight) * penalty(nearest[n]))
        left.remove(best)
        if any(_common(said[best], said[n]) > ALIKE for n in chosen):
            continue
        chosen.append(best)
        for n, cosine in zip(left, vectors[left] @ vectors[best], strict=True):
            nearest[n] = max(nearest[n], float(cosine))
    return chosen


def _common(a: Counter[str], b: Counter[str]) -> float:
    """Dice's coefficient of two bags of words."""
    size = a.total() + b.total()
    return 2 * (a & b).total() / size if size else 1.0
