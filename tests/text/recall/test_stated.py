"""Facts that a question asks for or rests on: whose they are, which hold, and that search brings what states them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnemos import FixedClock, Memory
from mnemos.text.recall import seed

MOVES = [
    {"text": "I live in Oslo.", "speaker": "Ada", "at": "2024-01-05", "session": "1"},
    {"text": "I relocated from Oslo to Ghent.", "speaker": "Ada", "at": "2024-03-05", "session": "2"},
]
NOISE = [
    {"text": text, "speaker": "Bob", "at": "2024-04-01", "session": f"{n}"}
    for n in range(20)
    for text in ("Where does Ada live, do you know?", "Ada would love to live where it is warm, Ada says.")
]


@pytest.fixture(params=[None, "auto"], ids=["words", "vectors"])
def memory(tmp_path: Path, request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    with Memory(tmp_path / "m", embedder=request.param, clock=FixedClock("2024-06-01"), seed=1) as opened:
        yield opened


@pytest.mark.parametrize("everything", [seed.EVERYTHING, 4])
def test_what_states_the_present_fact_comes_first_among_much_talk_of_it(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, everything: int
) -> None:
    monkeypatch.setattr(seed, "EVERYTHING", everything)
    monkeypatch.setattr(seed, "_SEEDS", 2)
    memory.add([*MOVES, *NOISE])
    hit = memory.search("Where does Ada live?", 3, explain=True)[0]
    assert (hit.text, hit.parts["states the fact"]) == (MOVES[1]["text"], 6.0)
    assert hit.why[0] == "fact: Ada lives in Ghent, read from this"


def test_what_held_at_an_earlier_moment_comes_first_for_that_moment(memory: Memory) -> None:
    memory.add([*MOVES, *NOISE])
    assert memory.search("Where does Ada live?", 3, as_of="2024-02-01")[0].text == MOVES[0]["text"]


def test_filters_hold_for_facts_too(memory: Memory) -> None:
    memory.add([*MOVES, *NOISE])
    assert memory.ask("Where does Ada live?", until="2024-02-01").text not in ("Ghent", "Oslo")
    assert memory.ask("Where does Ada live?", session="2").text == "Ghent"
    assert memory.ask("Where does Ada live?", speaker="ADA").text == "Ghent"
    assert memory.ask("Where does Ada live?", speaker="Bob").text != "Ghent"
    assert memory.ask("Where does Ada live?", since="2024-03-06").text != "Ghent"


def test_another_users_fact_is_no_fact_here(memory: Memory) -> None:
    memory.add(MOVES, user="one")
    memory.add(NOISE, user="two")
    assert "Ghent" not in memory.ask("Where does Ada live?", user="two").text
    assert not any("Ghent" in why for hit in memory.search("Where does Ada live?", user="two") for why in hit.why)


@pytest.mark.parametrize("speaker", ["user", ""])
def test_a_fact_of_the_asker_is_none_of_those_near_them(memory: Memory, speaker: str) -> None:
    said = [
        "I'm 32, so my thirties have begun.",
        "My sister is 29 years old.",
        "My mum lives in Rome.",
        "I live in Oslo.",
    ]
    memory.add([{"text": text, "speaker": speaker, "at": "2024-01-05"} for text in said])
    answers = {
        "How old am I?": "32",
        "How old is my sister?": "29",
        "Where does my mother live?": "Rome",
        "Where do I live?": "Oslo",
    }
    assert {question: memory.ask(question).text for question in answers} == answers
    for question in ("How old is my brother?", "Where does my sister live?", "Where does Ann live?"):
        assert memory.ask(question).text not in answers.values()


def test_one_speaker_is_the_asker_and_a_first_name_is_enough(memory: Memory) -> None:
    memory.add("I live in Oslo. My sister lives in Rome.", speaker="Ada Lovelace", session="1")
    assert memory.ask("Where do I live?").text == "Oslo"
    assert memory.ask("Where does Ada live?").text == "Oslo"
    assert memory.ask("Where does Ada's sister live?").text == "Rome"
    memory.add("I live in Lima.", speaker="Ada Byron", session="2")
    assert memory.search("Where do I live?", explain=True)[0].parts.get("states the fact") is None
    assert memory.search("Where does Ada live?", explain=True)[0].parts.get("states the fact") is None
    assert memory.ask("Where does Ada Byron live?").text == "Lima"


def test_who_has_a_name_is_found_by_what_they_are_to_the_asker(memory: Memory) -> None:
    memory.add([{"text": text, "speaker": "user"} for text in ("My sister's name is Tina.", "Tina is 29 years old.")])
    assert memory.ask("How old is my sister?").text == "29"
    assert memory.ask("Who is my sister?").text == "Tina"


def test_a_question_that_only_rests_on_a_fact_is_not_answered_with_it(memory: Memory) -> None:
    memory.add([{"text": "I'm 32, so my thirties have begun.", "speaker": "user", "session": "a"}])
    memory.add([{"text": f"Rachel gets married, and it is {n} years.", "session": str(n)} for n in range(30)])
    question = "How many years will I be when Rachel gets married?"
    assert memory.search(question, 3)[0].text.startswith("I'm 32")
    assert memory.ask(question).text != "32"


def test_of_many_statements_of_one_fact_the_latest_three_are_brought_forward(memory: Memory) -> None:
    ids = [memory.add("I live in Oslo.", speaker="Ada", session=str(n), at=f"2024-01-{n + 1:02}") for n in range(9)]
    hits = memory.search("Where does Ada live?", 9, explain=True)
    assert {hit.id for hit in hits if "states the fact" in hit.parts} == set(ids[-3:])


def test_an_expired_or_forgotten_fact_is_not_given(memory: Memory) -> None:
    first = memory.add("I live in Oslo.", speaker="Ada", at="2024-01-05")
    memory.forget(first)
    assert memory.ask("Where does Ada live?").text != "Oslo"
    memory.add("I live in Ghent.", speaker="Ada", at="2024-01-06")
    (fact,) = memory.list(kinds="fact")
    memory.retain(fact.id, expires_at="2024-02-01")
    assert memory.ask("Where does Ada live?").text != "Ghent"
