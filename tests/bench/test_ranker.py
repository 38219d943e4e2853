"""Questions that another conversation was asked: what confidence learns its negatives from."""

from __future__ import annotations

from mnemos.bench.ranker import ELSEWHERE, asked_elsewhere
from mnemos.text.importers.locomo import Conversation, Question


def _conversation(name: str, *speakers: str, adversarial: bool = False) -> Conversation:
    category = 5 if adversarial else 4
    questions = tuple(Question(f"What did {who} paint?", "a lake", None, category, ("D1:1",)) for who in speakers)
    return Conversation(name, speakers, (), questions, ())


def test_they_are_put_to_the_speakers_of_the_conversation_and_have_no_evidence_there() -> None:
    here, there = asked_elsewhere([_conversation("one", "Ada", "Emeka"), _conversation("two", "Tim", "Joanna")], 9)
    assert sorted(q.question for q in here) == ["What did Ada paint?", "What did Emeka paint?"]
    assert sorted(q.question for q in there) == ["What did Joanna paint?", "What did Tim paint?"]
    assert all(q.category == ELSEWHERE and not q.evidence for q in (*here, *there))


def test_questions_without_an_answer_anywhere_are_not_taken() -> None:
    assert asked_elsewhere([_conversation("one", "Ada"), _conversation("two", "Tim", adversarial=True)], 9)[0] == []


def test_a_name_that_both_conversations_know_is_replaced_once() -> None:
    here, _ = asked_elsewhere([_conversation("one", "John", "Maria"), _conversation("two", "Tim", "John")], 9)
    assert sorted(q.question for q in here) == ["What did John paint?", "What did Maria paint?"]
