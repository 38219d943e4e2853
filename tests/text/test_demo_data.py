"""The demo conversation and its questions: well formed, consistent with themselves, and remembered."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from importlib.resources import files
from typing import Any

import pytest

from mnemos.core.clock import iso, parse_time
from mnemos.text.encode.dates import find_dates
from mnemos.text.memory import Memory
from mnemos.text.records import Kind

_DATA = files("mnemos.data")
_TURNS: list[dict[str, Any]] = [
    json.loads(line) for line in _DATA.joinpath("demo.jsonl").read_text(encoding="utf-8").splitlines()
]
_QUESTIONS: list[dict[str, Any]] = json.loads(_DATA.joinpath("demo_questions.json").read_text(encoding="utf-8"))
_BY_REF = {turn["metadata"]["ref"]: turn for turn in _TURNS}
_KINDS = {
    "single-hop", "multi-evidence", "temporal", "update", "who-said", "list", "unanswerable",
}  # fmt: skip
_ANSWERABLE = [question for question in _QUESTIONS if question["answerable"]]
_TEMPORAL = [question for question in _ANSWERABLE if question["kind"] == "temporal"]
_STATED = [q for q in _ANSWERABLE if q["kind"] == "update" and not q["question"].startswith("When")]
"""Updates that rest on a fact, so that they are answered without ranking."""


def _id(question: dict[str, Any]) -> str:
    return f"{question['question']} {question.get('as_of', '')}".strip()


# -- the conversation ----------------------------------------------------------------------


def test_every_turn_has_exactly_the_documented_fields() -> None:
    for turn in _TURNS:
        assert set(turn) == {"text", "speaker", "at", "session", "key", "metadata"}
        assert set(turn["metadata"]) == {"ref"}
        assert turn["text"] == turn["text"].strip() != ""
        assert re.fullmatch(r"2025-\d\d-\d\dT\d\d:\d\d", turn["at"])


def test_it_is_long_enough_and_both_friends_speak() -> None:
    assert len(_TURNS) >= 160
    assert len({turn["session"] for turn in _TURNS}) == 13
    spoken = Counter(turn["speaker"] for turn in _TURNS)
    assert set(spoken) == {"Tamsin", "Emeka"}
    assert min(spoken.values()) > len(_TURNS) * 0.45


def test_keys_texts_and_refs_are_unique() -> None:
    for values in ([t["key"] for t in _TURNS], [t["text"] for t in _TURNS], list(_BY_REF)):
        assert len(values) == len(set(values))
    assert len(_BY_REF) == len(_TURNS)


def test_refs_count_the_turns_of_their_session() -> None:
    seen: Counter[str] = Counter()
    for turn in _TURNS:
        seen[turn["session"]] += 1
        assert turn["metadata"]["ref"] == f"{turn['session']}:{seen[turn['session']]}"


def test_time_rises_within_a_session_and_sessions_follow_each_other() -> None:
    for before, after in itertools.pairwise(_TURNS):
        if before["session"] == after["session"]:
            assert before["at"] < after["at"]
            assert before["speaker"] != after["speaker"]
        else:
            assert before["at"][:10] < after["at"][:10]
            assert int(after["session"][1:]) == int(before["session"][1:]) + 1


# -- the questions -------------------------------------------------------------------------


def test_every_question_has_the_documented_fields() -> None:
    required = {"question", "answer", "evidence", "kind", "answerable"}
    for question in _QUESTIONS:
        assert required <= set(question) <= required | {"as_of"}
        assert question["question"].endswith("?")
        assert question["kind"] in _KINDS


def test_every_kind_is_asked_and_enough_cannot_be_answered() -> None:
    asked = Counter(question["kind"] for question in _QUESTIONS)
    assert set(asked) == _KINDS
    assert min(asked.values()) >= 3
    assert sum(asked.values()) >= 24
    assert asked["unanswerable"] >= 5


def test_only_unanswerable_questions_lack_answer_and_evidence() -> None:
    for question in _QUESTIONS:
        answerable = question["kind"] != "unanswerable"
        assert question["answerable"] is answerable
        assert bool(question["answer"]) is answerable
        assert bool(question["evidence"]) is answerable


def test_unanswerable_questions_name_somebody_of_the_conversation() -> None:
    for question in _QUESTIONS:
        if not question["answerable"]:
            assert re.search(r"Tamsin|Emeka|Odile", question["question"]), question["question"]


def test_no_question_is_asked_twice_for_the_same_moment() -> None:
    asked = [(question["question"], question.get("as_of")) for question in _QUESTIONS]
    assert len(asked) == len(set(asked))


def test_every_evidence_ref_exists() -> None:
    for question in _QUESTIONS:
        assert set(question["evidence"]) <= set(_BY_REF), question["question"]


def test_multi_evidence_questions_need_more_than_one_turn() -> None:
    assert all(len(q["evidence"]) > 1 for q in _QUESTIONS if q["kind"] == "multi-evidence")


@pytest.mark.parametrize("question", [q for q in _ANSWERABLE if q["kind"] != "temporal"], ids=_id)
def test_evidence_holds_every_content_word_of_the_answer(question: dict[str, Any]) -> None:
    turns = [_BY_REF[ref] for ref in question["evidence"]]
    said = _content(" ".join(f"{turn['speaker']} {turn['text']}" for turn in turns))
    wanted = _content(question["answer"])
    assert wanted
    assert wanted <= said


@pytest.mark.parametrize("question", [q for q in _ANSWERABLE if q["kind"] == "who-said"], ids=_id)
def test_who_said_answers_name_the_speaker_of_the_evidence(question: dict[str, Any]) -> None:
    assert {_BY_REF[ref]["speaker"] for ref in question["evidence"]} == {question["answer"]}


@pytest.mark.parametrize("question", _TEMPORAL, ids=_id)
def test_the_date_that_answers_is_what_the_evidence_resolves_to(question: dict[str, Any]) -> None:
    day = date.fromisoformat(question["answer"])
    moment = parse_time(day.isoformat())
    turns = [_BY_REF[ref] for ref in question["evidence"]]
    spans = [span for turn in turns for span in find_dates(turn["text"], parse_time(turn["at"]))]
    assert any(span.start <= moment < span.end for span in spans), [iso(span.start) for span in spans]


def test_questions_about_the_past_lie_between_their_evidence_and_the_change() -> None:
    now = {q["question"]: q for q in _QUESTIONS if q["kind"] == "update" and "as_of" not in q}
    past = [q for q in _QUESTIONS if "as_of" in q]
    assert len(past) >= 4
    for question in past:
        assert question["kind"] == "update"
        assert all(_BY_REF[ref]["at"] < question["as_of"] for ref in question["evidence"])
        if question["question"] in now:
            current = now[question["question"]]
            assert current["answer"] != question["answer"]
            assert all(_BY_REF[ref]["at"] > question["as_of"] for ref in current["evidence"])


# -- remembered ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    with Memory(tmp_path_factory.mktemp("demo") / "demo.mnemos", embedder=None, seed=1) as opened:
        opened.add(_TURNS)
        yield opened


def test_it_loads_whole_and_a_second_load_adds_nothing(memory: Memory) -> None:
    before = memory.stats()["records"]
    assert before["turn"] == len(_TURNS)
    memory.add(_TURNS)
    assert memory.stats()["records"] == before


@pytest.mark.parametrize("question", _STATED, ids=_id)
def test_memory_answers_updates_for_now_and_for_the_past(memory: Memory, question: dict[str, Any]) -> None:
    answer = memory.ask(question["question"], as_of=question.get("as_of"))
    assert answer.found
    assert question["answer"].lower() in answer.text.lower()
    others = {q["answer"] for q in _STATED if q["question"] == question["question"]} - {question["answer"]}
    assert others
    assert not any(other.lower() in answer.text.lower() for other in others)


def test_only_the_current_home_and_workplace_hold_now(memory: Memory) -> None:
    held = {
        (str(fact.data["subject"]), str(fact.data["relation"])): str(fact.data["object"])
        for fact in memory.list(kinds=Kind.FACT, limit=1000)
        if fact.valid_to is None and fact.data["relation"] in {"lives in", "works at"}
    }
    assert held == {
        ("Tamsin", "lives in"): "Porto",
        ("Tamsin", "works at"): "Livraria Andorinha",
        ("Emeka", "lives in"): "Leeds",
        ("Emeka", "works at"): "the Halden Museum",
    }


def _content(text: str) -> set[str]:
    """Words of three letters or more, and numbers, as their first four letters: "swim" for "swimming"."""
    words = re.findall(r"[^\W_]+", text.lower())
    return {word[:4] for word in words if (len(word) > 2 or word.isdigit()) and word not in _SMALL}


_SMALL = {"the", "and", "for", "called", "each"}
