"""Undo: every operation but a hard forget can be taken back, exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mnemos import FixedClock, Kind, Memory, Policy
from mnemos.core.errors import InvalidInput, NotFound

_QUERIES = ["Where does Ada live?", "tea with lemon", "Miso the cat", "Noor", "the harbour opens"]


def _fill(memory: Memory) -> dict[str, str]:
    long = "The harbour opens at seven in the morning and the ferry leaves shortly afterwards, says the notice."
    rows: dict[str, dict[str, Any]] = {
        "lisbon": {"text": "I live in Lisbon with Noor.", "speaker": "Ada", "at": "2020-01-01", "session": "s"},
        "rome": {"text": "I moved to Rome.", "speaker": "Ada", "at": "2021-01-01", "session": "s"},
        "tea": {"text": "tea with lemon", "speaker": "Bo", "session": "t"},
        "copy": {"text": "Tea with  lemon", "speaker": "Bo", "session": "t"},
        "long": {"text": long, "speaker": "Bo", "session": "t"},
        "near": {"text": long + " Hello!", "speaker": "Bo", "session": "t"},
        "claim": {
            "text": "Ada is a doctor. Ada lives in Oslo.",
            "speaker": "helper",
            "source": "assistant",
            "at": "2022-01-01",
        },
    }
    return dict(zip(rows, memory.add(list(rows.values())), strict=True))


def _state(memory: Memory) -> list[Any]:
    hits = [memory.search(q, 20, explain=True, **f) for q in _QUERIES for f in ({}, {"as_of": "2020-06-01"})]
    derived = memory.search("Ada lives in Lisbon Rome", 20, kinds=["fact", "entity", "session"])
    return [
        [(h.id, h.text, h.score, h.why, dict(h.parts)) for h in found] for found in [*hits, derived]
    ] + [
        [
            (r.id, r.text, r.edges, r.valid_from, r.valid_to, r.retention, dict(r.metadata))
            for r in memory.list(kinds=list(Kind))
        ]
    ]  # fmt: skip


def _claim(memory: Memory) -> str:
    return next(r.id for r in memory.list(kinds="fact", hidden=True) if r.quarantined)


_CHANGES: dict[str, Callable[[Memory, dict[str, str]], Any]] = {
    "add": lambda m, ids: m.add("I moved to Oslo, and tea with Noor was good.", speaker="Ada", at="2022-01-01"),
    "update": lambda m, ids: m.update(ids["lisbon"], "I live in Porto with Bo."),
    "update-metadata": lambda m, ids: m.update(ids["tea"], metadata={"a": 1}),
    "update-at": lambda m, ids: m.update(ids["rome"], at="2019-01-01"),
    "forget": lambda m, ids: m.forget([ids["rome"], ids["tea"]]),
    "forget-all": lambda m, ids: m.forget(everything=True),
    "consolidate": lambda m, ids: m.consolidate(),
    "retain": lambda m, ids: m.retain(ids["tea"], pin=True, ttl=5000),
    "release": lambda m, ids: m.release(_claim(m)),
}


@pytest.mark.parametrize("name", list(_CHANGES))
def test_undo_restores_the_earlier_state_exactly_and_undo_of_it_the_later_one(
    memory: Memory, clock: FixedClock, name: str
) -> None:
    ids = _fill(memory)
    clock.advance(60)
    before, known = _state(memory), {op.id for op in memory.operations()}
    _CHANGES[name](memory, ids)
    after = _state(memory)
    assert after != before
    done = [op.id for op in memory.operations() if op.id not in known]
    clock.advance(60)
    undone = [memory.undo(operation) for operation in done]
    assert {u.kind for u in undone} == {"undo"}
    assert {u.note["undone"] for u in undone} == set(done)
    assert _state(memory) == before
    clock.advance(60)
    for operation in reversed(undone):
        memory.undo(operation.id)
    assert _state(memory) == after
    assert memory.check() == []


def test_undo_of_ageing_brings_the_faded_back(memory: Memory, clock: FixedClock) -> None:
    _fill(memory)
    memory.consolidate()
    before = _state(memory)
    memory.set_policy(Policy(ttl=100))
    clock.advance(200)
    done = memory.consolidate()
    assert done.faded == 5
    assert memory.list() == []
    memory.undo(done.operations[-1])
    assert _state(memory) == before


def test_undo_is_refused_after_a_later_change_and_says_which(memory: Memory) -> None:
    id = memory.add("tea")
    (added,) = memory.operations()
    memory.update(id, "green tea")
    updated = memory.operations()[0]
    with pytest.raises(InvalidInput, match=updated.id):
        memory.undo(added.id)
    memory.undo(updated.id)
    with pytest.raises(InvalidInput, match="undo that first"):
        memory.undo(updated.id)
    assert memory.get(id).text == "tea"


def test_a_hard_forget_cannot_be_undone_nor_what_it_erased(memory: Memory) -> None:
    id = memory.add("tea")
    added = memory.operations()[0]
    memory.forget(id, hard=True)
    erased = memory.operations()[0]
    with pytest.raises(InvalidInput, match="hard forget"):
        memory.undo(erased.id)
    with pytest.raises(InvalidInput, match="erased"):
        memory.undo(added.id)


def test_undoing_an_add_keeps_the_entity_that_another_record_names(memory: Memory) -> None:
    memory.add("I met Noor in Lisbon", speaker="Ada")
    first = memory.operations()[0]
    memory.add("I called Noor again", speaker="Ada")
    second = memory.operations()[0]
    memory.undo(first.id)
    assert "Noor" in {r.text for r in memory.list(kinds="entity")}
    assert "Lisbon" not in {r.text for r in memory.list(kinds="entity")}
    memory.undo(second.id)
    assert memory.list(kinds="entity") == []


def test_undo_of_a_forget_puts_the_fact_back_into_its_chain(memory: Memory) -> None:
    old = memory.add("I live in Lisbon.", speaker="Ada", at="2020-01-01")
    memory.forget(old)
    forgotten = memory.operations()[0]
    memory.add("I moved to Rome.", speaker="Ada", at="2021-01-01")
    memory.undo(forgotten.id)
    assert [r.text for r in memory.list(kinds="fact")] == ["Ada lives in Rome"]


def test_an_unknown_operation_is_not_found(memory: Memory) -> None:
    with pytest.raises(NotFound):
        memory.undo("01NOSUCH")
