"""Consolidation: duplicates within a session, sessions summed up; undoable, and idle the second time."""

from __future__ import annotations

import threading
from pathlib import Path

from mnemos import FixedClock, Kind, Memory

_LONG = "The ferry to the island leaves at {} in the morning from the old harbour behind the fish market"


def test_exact_and_near_duplicates_merge_within_a_session_and_undo_brings_them_back(memory: Memory) -> None:
    where = {"speaker": "Ada", "session": "s"}
    ids = memory.add([
        {"text": "Thanks, see you!", **where},
        {"text": "thanks,  see you!", **where},
        {"text": _LONG.format("seven"), **where},
        {"text": _LONG.format("seven") + ".", **where},
        {"text": "Thanks, see you soon!", **where},
        {"text": "Thanks, see you!", "speaker": "Bo", "session": "s"},
        {"text": "Thanks, see you!", "speaker": "Ada", "session": "t"},
    ])  # fmt: skip
    done = memory.consolidate()
    assert done.merged == 2
    assert [r.id for r in memory.list()] == [ids[n] for n in (0, 2, 4, 5, 6)]
    same = {e.to for id in (ids[0], ids[2]) for e in memory.get(id).edges if e.kind == "same-as"}
    assert same == {ids[1], ids[3]}
    assert memory.get(ids[3]).text == _LONG.format("seven") + "."
    for operation in reversed(done.operations):
        memory.undo(operation)
    assert [r.id for r in memory.list()] == ids
    assert memory.list(kinds="session") == []


def test_near_texts_whose_numbers_differ_are_not_the_same(memory: Memory) -> None:
    memory.add([{"text": _LONG.format(n), "speaker": "Ada", "session": "s"} for n in ("7", "8", "7:30")])
    assert memory.consolidate().merged == 0
    assert len(memory.list()) == 3


def test_a_copy_under_a_legal_hold_stays(memory: Memory) -> None:
    ids = memory.add(["tea with lemon", "tea with lemon"])
    memory.retain(ids[1], hold=True)
    assert memory.consolidate().merged == 0
    assert len(memory.list()) == 2


def test_a_session_is_summed_up_and_again_when_it_grew(memory: Memory) -> None:
    memory.add([
        {"text": "The garden needs new tulips", "speaker": "Ada", "session": "s", "at": "2024-05-01T10:00"},
        {"text": "I will buy tulips for the garden", "speaker": "Bo", "session": "s", "at": "2024-05-01T10:01"},
    ])  # fmt: skip
    assert memory.consolidate().sessions == 1
    (first,) = memory.list(kinds="session")
    assert first.text.startswith("2024-05-01T10:00, Ada and Bo, 2 records")
    assert "tulips" in first.text
    assert {e.to for e in first.edges} == {r.id for r in memory.list()}
    memory.add("Done!", speaker="Bo", session="s")
    memory.consolidate()
    (second,) = memory.list(kinds="session")
    assert second.id == first.id
    assert "3 records" in second.text


def test_a_second_run_changes_nothing(memory: Memory) -> None:
    memory.add([{"text": t, "speaker": "Ada", "session": "s"} for t in ("tea", "Tea", "I live in Lisbon", "harbour")])
    memory.consolidate()
    records, operations = memory.list(kinds=list(Kind), hidden=True), memory.operations()
    done = memory.consolidate()
    assert (done.merged, done.sessions, done.faded, done.expired, done.operations) == (0, 0, 0, 0, ())
    assert (memory.list(kinds=list(Kind), hidden=True), memory.operations()) == (records, operations)


def test_steps_are_reported_in_order(memory: Memory) -> None:
    steps: list[str] = []
    memory.consolidate(progress=steps.append)
    assert steps == ["embedding", "merging duplicates", "summing up sessions", "ageing"]


def test_a_search_beside_consolidation_sees_the_state_before_or_after_never_between(tmp_path: Path) -> None:
    with Memory(tmp_path / "m", embedder=None, clock=FixedClock("2025-06-01"), seed=1) as memory:
        memory.add([{"text": f"harbour note {n % 40}", "speaker": "Ada", "session": "s"} for n in range(120)])
        stop, seen, failures = threading.Event(), set(), []

        def look() -> None:
            try:
                while True:
                    seen.add(len(memory.search("harbour note", 1000)))
                    if stop.is_set():
                        return
            except Exception as why:
                failures.append(why)

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        memory.consolidate()
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert seen <= {120, 40}
        assert len(memory.search("harbour note", 1000)) == 40
