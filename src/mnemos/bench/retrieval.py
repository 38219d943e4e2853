"""Evidence retrieval: does a system find the passages that hold the answer?

Needs no language model and no judge, so its numbers can be reproduced exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from mnemos.bench.metrics import hit_at, recall_at, reciprocal_rank
from mnemos.core.errors import InvalidInput

Question = tuple[str, Collection[str], str | int]
"""What is asked, the ids of its evidence, and the group it counts in (a category)."""
ALL = "all"
"""The group of all questions."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One question's scores, by measure; `values` is empty where it has no evidence to find."""

    question: str
    group: str
    values: dict[str, float]


def evaluate_retrieval(
    retrieve: Callable[[str], Sequence[str]], questions: Iterable[Question], ks: Sequence[int] = (5, 10, 20)
) -> dict[str, dict[str, float]]:
    """Mean scores by group, and under "all" over all questions: `summarise(score_questions(...))`.

    Raises:
        InvalidInput: as `score_questions` and `summarise`.
    """
    return summarise(score_questions(retrieve, questions, ks))


def score_questions(
    retrieve: Callable[[str], Sequence[str]], questions: Iterable[Question], ks: Sequence[int] = (5, 10, 20)
) -> list[Scored]:
    """Each question's `recall@k` and `hit@k` for every k, and `mrr` within the first max(ks) ids.

    A question without evidence is asked nothing and has no values; LoCoMo's own script counts it as
    found, which flatters every system alike.

    Args:
        retrieve: question → ids, best first; called once per question, in order.
        questions: see `Question`; consumed one at a time, so a generator can show progress.
        ks: cut-offs, each at least 1.

    Raises:
        InvalidInput: no cut-off or one below 1, or a group named "all".
    """
    if not ks or min(ks) < 1:
        raise InvalidInput(f"ks = {tuple(ks)}: give at least one cut-off, each at least 1")
    scored = []
    for question, gold, group in questions:
        if str(group) == ALL:
            raise InvalidInput(f"the group {ALL!r} stands for all questions: name this one otherwise")
        values = {}
        if gold:
            found = list(retrieve(question))[: max(ks)]
            values = {f"recall@{k}": recall_at(found, gold, k) for k in ks}
            values |= {f"hit@{k}": hit_at(found, gold, k) for k in ks}
            values["mrr"] = reciprocal_rank(found, gold)
        scored.append(Scored(question, str(group), values))
    return scored


def summarise(scored: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """Means by group, groups in order, "all" last; each with `questions` (how many were scored).

    "all" also has `skipped`: how many had no evidence.

    Raises:
        InvalidInput: no question has evidence.
    """
    counted = [one for one in scored if one.values]
    if not counted:
        raise InvalidInput(f"none of the {len(scored)} questions has evidence: there is nothing to score")
    groups = {name: [s for s in counted if s.group == name] for name in sorted({s.group for s in counted})}
    out = {name: _means(members) for name, members in groups.items()}
    out[ALL] = _means(counted) | {"skipped": float(len(scored) - len(counted))}
    return out


def _means(scored: Sequence[Scored]) -> dict[str, float]:
    means = {name: sum(s.values[name] for s in scored) / len(scored) for name in scored[0].values}
    return means | {"questions": float(len(scored))}
