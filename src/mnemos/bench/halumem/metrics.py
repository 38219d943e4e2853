"""HaluMem's figures from judgements, with denominators that do not shrink.

"All" counts every gold point, every gold update and every question. "Valid" leaves out those for which
the system returned nothing, as the published code does, which flatters a system that returns little: it
is shown beside, and nothing is ranked by it. A figure without cases is None, not 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mnemos.bench.halumem.judges import VERDICTS, Verdict
from mnemos.bench.halumem.schema import Fact, Point, Question

Stage = Literal["extraction", "updating", "retrieval", "answering"]
STAGES: tuple[Stage, ...] = ("extraction", "updating", "retrieval", "answering")
Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Covered:
    """A point, how far the session's new memories cover it, and whether there were any."""

    point: Point
    score: int
    returned: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A new memory: how much of it is so, and whether it is about a gold point."""

    text: str
    score: int
    in_gold: bool


@dataclass(frozen=True, slots=True)
class Updated:
    """An updated point and what became of it."""

    point: Point
    verdict: Verdict
    returned: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """A question, its verdict, and where the first error lies if it is wrong."""

    user: str
    question: Question
    answer: str
    verdict: Verdict
    stage: Stage | None
    fact: Fact | None


@dataclass
class Outcome:
    """Every judgement on one system, in order."""

    gold: list[Covered] = field(default_factory=list)
    interference: list[Covered] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    updates: list[Updated] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)
    add_seconds: float = 0.0
    retrieve_seconds: float = 0.0
    answer_seconds: float = 0.0

    def figures(self) -> Figures:
        """Extraction, updating, answering, costs."""
        return {
            **extraction(self), **updating(self.updates), **answering(self.answers),
            "memories": float(len(self.kept)), "words": float(sum(len(one.text.split()) for one in self.kept)),
            "add s": self.add_seconds, "retrieve s": self.retrieve_seconds, "answer s": self.answer_seconds,
        }  # fmt: skip


def extraction(outcome: Outcome) -> Figures:
    """Recall, weighted recall, target precision, accuracy, false-memory resistance, F1; recall over valid points."""
    gold, kept = outcome.gold, outcome.kept
    recall = _mean(one.score == 2 for one in gold)
    precision = _mean(one.score / 2 for one in kept if one.in_gold)
    weight = math.fsum(one.point.importance for one in gold)
    weighted = math.fsum(one.point.importance * one.score / 2 for one in gold)
    return {
        "recall": recall,
        "weighted recall": weighted / weight if weight else None,
        "target precision": precision,
        "accuracy": _mean(one.score / 2 for one in kept),
        "FMR": _mean(one.score == 0 for one in outcome.interference),
        # a recall by points and a precision by half points: not to be set beside other F1s
        "F1": None if recall is None or precision is None else _harmonic(recall, precision),
        "recall (valid)": _mean(one.score == 2 for one in gold if one.returned),
    }


def updating(updates: Sequence[Updated]) -> Figures:
    """Shares of the four verdicts over all gold updates; and over those for which something was returned."""
    valid = [one for one in updates if one.returned]
    return {
        **{f"update {verdict}": _share(updates, verdict) for verdict in VERDICTS},
        **{f"update {verdict} (valid)": _share(valid, verdict) for verdict in VERDICTS},
    }


def answering(answers: Sequence[Answered]) -> Figures:
    """Shares of the verdicts over all questions, of correct ones by type and by memory type, and over valid ones."""
    kinds = sorted({one.question.kind for one in answers})
    memory = sorted({kind for one in answers for _, kind in one.question.evidence})

    def correct(of: Callable[[Answered], bool]) -> float | None:
        return _mean(one.verdict == "correct" for one in answers if of(one))

    return {
        **{f"QA {verdict}": _share(answers, verdict) for verdict in VERDICTS[:3]},
        "QA correct (valid)": correct(lambda one: bool(one.answer.strip())),
        **{f"QA correct, {kind}": correct(lambda one, k=kind: one.question.kind == k) for kind in kinds},  # type: ignore[misc]
        **{
            f"QA correct, {kind}": correct(lambda one, k=kind: k in {name for _, name in one.question.evidence})  # type: ignore[misc]
            for kind in memory
        },
    }


def attribution(answers: Iterable[Answered]) -> dict[Stage, int]:
    """Wrong answers by the stage of the first error."""
    wrong = [one.stage for one in answers if one.verdict != "correct"]
    return {stage: wrong.count(stage) for stage in STAGES}


def _share(judged: Sequence[Updated] | Sequence[Answered], verdict: Verdict) -> float | None:
    return _mean(one.verdict == verdict for one in judged)


def _mean(values: Iterable[float]) -> float | None:
    """The mean, whatever the order; None of nothing."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else None


def _harmonic(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0
