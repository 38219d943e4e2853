"""The forgetting curve and its exceptions (oracles of MemoryBank, 2023), expiry, pins and holds."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnemos import FixedClock, Memory, Policy
from mnemos.core.errors import InvalidInput

_DAY = 86400.0
_strengths = st.floats(0.1, 1000)
_ages = st.floats(0, 1e9)


@given(_strengths, st.integers(0, 50))
def test_retention_starts_at_one(strength: float, uses: int) -> None:
    assert Policy(strength=strength).retention(0, uses) == 1.0


@given(_strengths, _ages, _ages, st.integers(0, 50))
def test_retention_falls_with_age_and_rises_with_strength_and_use(
    strength: float, a: float, b: float, uses: int
) -> None:
    policy = Policy(strength=strength)
    young, old = sorted((a, b))
    assert 1 >= policy.retention(young, uses) >= policy.retention(old, uses) >= 0
    assert policy.retention(old, uses + 1) >= policy.retention(old, uses)
    assert Policy(strength=strength * 2).retention(old, uses) >= policy.retention(old, uses)


@given(_strengths)
def test_half_is_left_after_strength_times_log_two(strength: float) -> None:
    assert Policy(strength=strength).retention(strength * math.log(2) * _DAY, 0) == pytest.approx(0.5)


def test_use_adds_its_gain_to_the_strength() -> None:
    assert Policy(strength=2, gain=3).retention(7 * _DAY, 4) == pytest.approx(math.exp(-7 / (2 + 3 * 4)))


def test_without_a_policy_nothing_fades() -> None:
    assert Policy().retention(1e12, 0) == 1.0


@pytest.mark.parametrize(
    "fields",
    [
        {"strength": 0}, {"strength": -1}, {"strength": math.nan}, {"strength": math.inf},
        {"strength": "5"}, {"ttl": 0},
        {"ttl": -5}, {"threshold": 0}, {"threshold": 1}, {"gain": -1}, {"gain": math.nan}, {"gain": math.inf},
    ],
)  # fmt: skip
def test_a_number_out_of_range_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(fields))):
        Policy(**fields)


def _survivors(every: float, days: int) -> list[str]:
    """Texts left after `days`, with a sweep every `every` days."""
    clock = FixedClock("2025-01-01")
    with (
        tempfile.TemporaryDirectory() as folder,
        Memory(Path(folder) / "m", embedder=None, clock=clock, seed=1) as memory,
    ):
        memory.set_policy(Policy(strength=2, threshold=0.1))
        for day in range(days):
            memory.add(f"day {day}")
            clock.advance(_DAY)
            if (day + 1) % every == 0:
                memory.consolidate()
        memory.consolidate()
        return [r.text for r in memory.list()]


def test_sweeping_often_forgets_no_faster_than_sweeping_once() -> None:
    # R(age) < 0.1 from 2 ln 10 = 4.6 days on, however often one looks
    expected = [f"day {n}" for n in range(6, 10)]
    assert [_survivors(every, 10) for every in (1, 2, 5, 10)] == [expected] * 4


def test_reading_changes_nothing_and_use_in_an_answer_only_what_was_used(memory: Memory, clock: FixedClock) -> None:
    used, idle = memory.add([{"text": "I live in Lisbon.", "speaker": "Ada"}, {"text": "The boat is called Marlin."}])
    memory.search("Marlin boat")
    memory.get(idle)
    memory.list()
    memory.history(idle)
    assert memory._store.uses([used, idle]) == {}
    answer = memory.ask("Where does Ada live?")
    assert used in answer.citations
    assert memory._store.uses([used, idle]) == {used: (1, clock.now())}
    memory.set_policy(Policy(strength=2, gain=5))
    clock.advance(5 * _DAY)
    assert memory.consolidate().faded == 1
    assert [r.id for r in memory.list()] == [used]


def test_fading_is_soft_and_spares_pins_and_holds(memory: Memory, clock: FixedClock) -> None:
    pin, hold, plain = memory.add(["pinned", "held", "I live in Lisbon with Noor."])
    memory.retain(pin, pin=True)
    memory.retain(hold, hold=True)
    memory.set_policy(Policy(strength=1))
    clock.advance(100 * _DAY)
    done = memory.consolidate()
    assert (done.faded, done.expired) == (1, 0)
    assert [r.id for r in memory.list()] == [pin, hold]
    assert memory.list(kinds=["fact", "entity"]) == []
    memory.restore(plain)
    assert [r.id for r in memory.list()] == [pin, hold, plain]


def test_a_policy_belongs_to_its_scope(memory: Memory, clock: FixedClock) -> None:
    memory.add("tea", user="ada")
    memory.add("tea", user="bo")
    memory.set_policy(Policy(ttl=10), user="ada")
    clock.advance(20)
    memory.consolidate(user="ada")
    memory.consolidate(user="bo")
    assert memory.list(user="ada") == []
    assert len(memory.list(user="bo")) == 1


def test_what_expires_leaves_by_the_clock_and_consolidation_lets_it_go(memory: Memory, clock: FixedClock) -> None:
    short, dated, stay = memory.add(["tea at one", "tea at two", "tea at three"])
    memory.retain(short, ttl=60)
    memory.retain(dated, expires_at="2025-06-02")
    assert len(memory.search("tea")) == 3
    clock.advance(61)
    assert {h.id for h in memory.search("tea")} == {dated, stay}
    clock.advance(_DAY)
    assert [r.id for r in memory.list()] == [stay]
    assert [h.id for h in memory.search("tea")] == [stay]
    assert memory.get(short).retracted_at is None
    assert memory.consolidate().expired == 2
    assert memory.get(short).retracted_at is not None


def test_a_held_record_does_not_go_when_it_expires(memory: Memory, clock: FixedClock) -> None:
    id = memory.add("evidence")
    memory.retain(id, ttl=60, hold=True)
    clock.advance(61)
    assert memory.consolidate().expired == 0
    assert memory.get(id).retracted_at is None


@pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf, "soon"])
def test_a_ttl_that_is_no_time_is_refused(memory: Memory, ttl: Any) -> None:
    id = memory.add("tea")
    with pytest.raises(InvalidInput, match="ttl"):
        memory.retain(id, ttl=ttl)
    with pytest.raises(InvalidInput, match="not a time"):
        memory.retain(id, expires_at="soon")


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(["pin", "unpin", "hold", "lift"]), max_size=6))
def test_retain_changes_only_what_it_is_told(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, Memory(Path(folder) / "m", embedder=None, seed=1) as memory:
        id = memory.add("tea")
        pin = hold = False
        for step in steps:
            if step in ("pin", "unpin"):
                pin = step == "pin"
                kept = memory.retain(id, pin=pin).retention
            else:
                hold = step == "hold"
                kept = memory.retain(id, hold=hold).retention
            assert (kept.pin, kept.hold, kept.expires_at) == (pin, hold, None)
