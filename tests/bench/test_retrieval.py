from __future__ import annotations

import pytest

from mnemos.bench.retrieval import evaluate_retrieval, score_questions, summarise
from mnemos.core.errors import InvalidInput

ANSWERS = {"q1": ["a", "b", "c"], "q2": ["x", "y", "b"], "q3": ["z"]}
QUESTIONS = [("q1", ["a", "c"], 1), ("q2", ["b"], 1), ("q3", ["a"], "late"), ("q4", [], 1)]


def test_means_by_group_and_over_all_by_hand() -> None:
    out = evaluate_retrieval(ANSWERS.__getitem__, QUESTIONS, ks=(1, 3))
    assert out["1"] == {
        "recall@1": 0.25, "recall@3": 1.0, "hit@1": 0.5, "hit@3": 1.0,
        "mrr": pytest.approx((1 + 1 / 3) / 2), "questions": 2.0,
    }  # fmt: skip
    assert out["late"]["recall@3"] == 0.0
    assert out["all"]["recall@3"] == pytest.approx(2 / 3)
    assert (out["all"]["questions"], out["all"]["skipped"]) == (3.0, 1.0)
    assert list(out) == ["1", "late", "all"]


def test_a_question_without_evidence_is_not_asked() -> None:
    asked: list[str] = []
    score_questions(lambda q: asked.append(q) or ANSWERS[q], QUESTIONS)
    assert asked == ["q1", "q2", "q3"]


def test_the_reciprocal_rank_looks_no_deeper_than_the_largest_k() -> None:
    (scored,) = score_questions(lambda _: ["x", "y", "a"], [("q", ["a"], 1)], ks=(1, 2))
    assert scored.values["mrr"] == 0.0


def test_questions_are_taken_one_at_a_time() -> None:
    seen: list[str] = []

    def stream():
        for q in QUESTIONS[:3]:
            seen.append(f"give {q[0]}")
            yield q

    score_questions(lambda q: seen.append(f"ask {q}") or ANSWERS[q], stream())
    assert seen[:4] == ["give q1", "ask q1", "give q2", "ask q2"]


@pytest.mark.parametrize("ks", [(), (0, 5)])
def test_cut_offs_that_look_at_nothing_are_refused(ks: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="cut-off"):
        evaluate_retrieval(ANSWERS.__getitem__, QUESTIONS, ks)


def test_a_group_may_not_take_the_name_of_the_whole() -> None:
    with pytest.raises(InvalidInput, match="all questions"):
        score_questions(ANSWERS.__getitem__, [("q1", ["a"], "all")])


def test_nothing_to_score_is_said_rather_than_divided_by() -> None:
    with pytest.raises(InvalidInput, match="nothing to score"):
        summarise(score_questions(ANSWERS.__getitem__, [("q1", [], 1)]))
