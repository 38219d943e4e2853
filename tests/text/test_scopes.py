"""User and agent are hard walls: nothing crosses them, in no call, not even in a score."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnemos import FixedClock, Kind, Memory
from mnemos.core.errors import MnemosError, NotFound

_SCOPES = [
    ("", ""),
    ("ada", ""),
    ("bo", ""),
    ("ada", "coach"),
    ("", "coach"),
    ("a\x1fd", "a"),
    ("ada", "COACH"),
]
_TEXTS = [
    "I live in Lisbon", "I moved to Rome", "My boat is called Marlin", "tea with lemon", "Tea with Lemon",
    "We met Noor in Lisbon on 5 May 2024", "I adopted a cat named Miso",
]  # fmt: skip
_ADDS = st.lists(st.tuples(st.sampled_from(_SCOPES), st.sampled_from(_TEXTS)), min_size=1, max_size=14)


def _memory(folder: str) -> Memory:
    return Memory(Path(folder) / "m.mnemos", embedder=None, clock=FixedClock("2025-06-01"), seed=1)


def _view(memory: Memory, user: str, agent: str) -> list[Any]:
    """Everything that a scope can see, without ids: those differ by how many were made before."""
    who = {"user": user, "agent": agent}
    found = [
        memory.search(q, user=user, agent=agent, explain=True) for q in ("Where does Ada live?", "tea", "Miso the cat")
    ]
    facts = memory.search("lives in", user=user, agent=agent, kinds=["fact", "entity"])
    answer = memory.ask("Where does Ada live?", user=user, agent=agent)
    stats = memory.stats(user=user, agent=agent)
    return [
        [[(h.text, h.score, h.why, dict(h.parts)) for h in hits] for hits in [*found, facts]],
        (
            answer.text,
            answer.confidence,
            answer.found,
            [memory.get(id, **who).text for id in answer.citations],
        ),
        [(r.kind, r.text, r.valid_from, r.valid_to) for r in memory.list(kinds=list(Kind), hidden=True, **who)],
        (stats["records"], stats["hidden"], stats["index_bytes"]),
        len(memory.operations(user=user, agent=agent)),
    ]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(_ADDS)
def test_nothing_of_another_scope_is_seen_by_any_call(adds: list[tuple[tuple[str, str], str]]) -> None:
    with tempfile.TemporaryDirectory() as folder, _memory(folder) as memory:
        owner: dict[str, tuple[str, str]] = {}
        for n, ((user, agent), text) in enumerate(adds):
            owner[memory.add(f"{text} #{n}", user=user, agent=agent, speaker="Ada", session="s")] = (
                user,
                agent,
            )
        operations = {op.id: scope for scope in _SCOPES for op in memory.operations(user=scope[0], agent=scope[1])}
        assert len(operations) == len(adds)
        for user, agent in _SCOPES:
            who = {"user": user, "agent": agent}
            mine = {id for id, scope in owner.items() if scope == (user, agent)}
            records = memory.list(kinds=list(Kind), hidden=True, **who)
            assert {r.id for r in records if r.kind == Kind.TURN} == mine
            assert all((r.scope.user, r.scope.agent) == (user, agent) for r in records)
            seen = memory.search("Lisbon tea Miso Marlin live", 100, kinds=list(Kind), **who)
            assert {h.id for h in seen} <= {r.id for r in records}
            assert {h.id for h in memory.ask("Where does Ada live?", 100, **who).hits} <= mine
            for other in set(owner) - mine:
                for call in (
                    memory.get,
                    memory.history,
                    memory.forget,
                    memory.restore,
                    memory.retain,
                    memory.release,
                ):
                    with pytest.raises(NotFound):
                        call(other, **who)
                with pytest.raises(NotFound):
                    memory.update(other, "mine now", **who)
                with pytest.raises(NotFound):
                    memory.forget(other, hard=True, **who)
            for operation, scope in operations.items():
                if scope != (user, agent):
                    with pytest.raises(NotFound):
                        memory.undo(operation, **who)
        assert sum(size.verbatim for size in memory.scopes()) == len(adds)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(_ADDS, st.sampled_from(_SCOPES))
def test_results_and_scores_of_a_scope_are_bit_identical_with_and_without_others(
    adds: list[tuple[tuple[str, str], str]], mine: tuple[str, str]
) -> None:
    views = []
    for whole in (True, False):
        with tempfile.TemporaryDirectory() as folder, _memory(folder) as memory:
            for (user, agent), text in adds:
                if whole or (user, agent) == mine:
                    memory.add(text, user=user, agent=agent, speaker="Ada", session="s", at="2025-01-01")
            if whole:  # others are also asked, tidied up and forgotten beside
                for user, agent in set(_SCOPES) - {mine}:
                    memory.search("tea", user=user, agent=agent)
                    memory.consolidate(user=user, agent=agent)
                    memory.forget(everything=True, hard=True, user=user, agent=agent)
            views.append(_view(memory, *mine))
    assert views[0] == views[1]


def test_forgetting_everything_of_one_scope_leaves_the_others(memory: Memory) -> None:
    for user in ("ada", "bo"):
        memory.add(["I live in Lisbon", "tea"], user=user, speaker="Ada")
    memory.forget(everything=True, hard=True, user="ada")
    assert memory.list(user="ada", kinds=list(Kind), hidden=True) == []
    assert memory.stats(user="bo")["records"] == {"turn": 2, "fact": 1, "entity": 1}


def test_keys_policies_and_the_loop_guard_are_walled_too(memory: Memory) -> None:
    text = "The harbour opens at seven in the morning."
    a = memory.add(text, user="ada", key="k")
    assert memory.search("When does the harbour open?", user="ada")
    b = memory.add(text, user="bo", key="k", source="assistant")
    assert a != b
    assert memory.get(b, user="bo").text == text


@pytest.mark.parametrize("name", ["user", "agent"])
@pytest.mark.parametrize("value", [5, ["ada"], b"ada"])
def test_a_scope_that_is_no_string_is_refused(memory: Memory, name: str, value: Any) -> None:
    for call in (memory.search, memory.ask, memory.add, memory.get):
        with pytest.raises(MnemosError):
            call("tea", **{name: value})


def test_an_unknown_user_has_an_empty_memory(memory: Memory) -> None:
    memory.add("tea", user="ada")
    assert memory.search("tea", user="nobody") == []
    assert memory.ask("tea?", user="nobody").found is False
    assert memory.list(user="nobody") == []
    assert memory.stats(user="nobody")["records"] == {}
