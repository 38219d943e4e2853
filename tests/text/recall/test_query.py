"""How a question is put to the embedder: as those whom it names would say it."""

from __future__ import annotations

import pytest

from mnemos.text.recall.query import as_told


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("When did Ada adopt Pickle?", "When did I adopt Pickle?"),
        ("What is Ada's dog called?", "What is my dog called?"),
        ("What is Ada’s dog called?", "What is my dog called?"),
        ("Where did Ada Lovelace meet Emeka?", "Where did I meet I?"),
        ("where did ada go?", "where did I go?"),
        ("Will Bob ask Ada?", "Will Bob ask I?"),
        ("What will Adam do about ada in Ada?", "What will Adam do about ada in I?"),
    ],
)
def test_those_who_speak_in_this_memory_are_the_first_person(question: str, told: str) -> None:
    assert as_told(question, ["Ada Lovelace", "Emeka", ""]) == told


@pytest.mark.parametrize("speakers", [[], [""], ["user", "Assistant"], ["Zoë"]])
def test_a_question_that_names_no_speaker_stays_as_it_is(speakers: list[str]) -> None:
    question = "What did the Assistant tell the user about I I and Ada's my-my?"
    assert as_told(question, speakers) == question
