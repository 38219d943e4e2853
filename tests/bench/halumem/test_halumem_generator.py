"""What the made-up users must be, whatever the seed."""

from __future__ import annotations

import re

import pytest

from mnemos.bench.halumem.generator import SIZES, Plan, generate
from mnemos.bench.halumem.schema import INTERFERENCE, User
from mnemos.bench.halumem.world import CHANGES, CHATTER, CLAIMS, REPLIES, TRIVIA, slot_of_value, slots, value_pattern
from mnemos.core.errors import InvalidInput


@pytest.fixture(scope="module")
def users() -> list[User]:
    return generate(SIZES["tiny"], seed=5)


def test_the_seed_fixes_every_word(users: list[User]) -> None:
    assert generate(SIZES["tiny"], seed=5) == users
    assert generate(SIZES["tiny"], seed=6) != users


def test_tiny_has_its_size(users: list[User]) -> None:
    assert [len(user.sessions) for user in users] == [10, 10, 10]
    assert {len(session.turns) for user in users for session in user.sessions} == {12}
    for user in users:
        for session in user.sessions:
            count = {source: sum(p.source == source for p in session.points) for source in ("primary", "interference")}
            assert 4 <= count["primary"] <= 8
            assert 1 <= count[INTERFERENCE] <= 2


def test_all_six_types_are_asked(users: list[User]) -> None:
    kinds = {question.kind for user in users for session in user.sessions for question in session.questions}
    assert len(kinds) == 6


def test_interference_is_never_true(users: list[User]) -> None:
    for user in users:
        points = [point for session in user.sessions for point in session.points]
        true = {point.fact for point in points if point.source != INTERFERENCE and point.fact}
        false = {point.fact for point in points if point.source == INTERFERENCE}
        assert false
        assert not true & false


def test_updates_name_what_they_take_the_place_of(users: list[User]) -> None:
    for user in users:
        latest: dict[tuple[str, str], str] = {}
        for session in user.sessions:
            for point in session.gold:
                if point.fact and not slots()[point.fact.relation].many:
                    key = (point.fact.subject, point.fact.relation)
                    assert point.is_update == (key in latest)
                    assert point.originals == ((latest[key],) if key in latest else ())
                    assert point.content not in point.originals
                    latest[key] = point.content


def test_answers_rest_on_what_was_told_until_then(users: list[User]) -> None:
    for user in users:
        told: dict[tuple[str, str], str] = {}
        for session in user.sessions:
            told |= {(p.fact.subject, p.fact.relation): p.fact.value for p in session.gold if p.fact}
            for question in session.questions:
                assert question.fact is not None
                key = (question.fact.subject, question.fact.relation)
                if question.kind == "Memory Boundary":
                    assert key not in told
                elif question.fact.relation != "event":
                    assert question.fact.value == told[key]


def test_unrelated_sessions_have_nothing_to_remember() -> None:
    user = generate(Plan(users=1, sessions=4, unrelated=3))[0]
    some = [session for session in user.sessions if session.unrelated]
    assert len(some) == 3
    assert not any(session.points or session.questions for session in some)


def test_every_way_to_say_a_slot_has_its_cue_and_no_hint_has() -> None:
    for slot in slots().values():
        cue = re.compile(rf"(?<!\w)(?:{slot.cues})", re.IGNORECASE)
        assert len(slot.said) == 6
        for said in slot.said:
            assert cue.search(said.format(v="", who="", did="ran")), said
        assert not any(cue.search(hint) for hint in slot.hints)


def test_no_value_hides_in_another_slot_or_in_a_template() -> None:
    assert len(slot_of_value()) == sum(len(slot.values) for slot in slots().values())
    frames = [said for slot in slots().values() for said in (*slot.said, *slot.hints)]
    small_talk = [text for pair in TRIVIA for text in pair]
    for text in (*frames, *CHATTER, *REPLIES, *CLAIMS, *CHANGES, *small_talk):
        assert not value_pattern().search(text), text


@pytest.mark.parametrize("wrong", [{"users": 0}, {"turns": 3}, {"phrasings": 7}, {"slots": 21}, {"people": 6}])
def test_impossible_plans_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        Plan(**wrong)
