"""The parts of MemoryBank's claim at toy size."""

from __future__ import annotations

from pathlib import Path

from mnemos.bench.claims.memorybank import SMOKE, Size, hit_rate, policies, run, stream


def test_the_stream_is_of_its_seed_and_asks_only_for_what_was_there() -> None:
    days = stream(SMOKE, 1)
    assert days == stream(SMOKE, 1)
    assert days != stream(SMOKE, 2)
    known: set[str] = set()
    for fresh, asked in days:
        known |= {record.id for record in fresh}
        assert set(asked) <= known


def test_keeping_everything_answers_everything_and_keeping_nothing_only_todays() -> None:
    assert hit_rate(SMOKE, 0, lambda held, used, now: []) == 1.0
    assert hit_rate(SMOKE, 0, lambda held, used, now: held) < 0.6


def test_on_a_short_stream_the_curve_is_ahead_of_the_order_of_arrival_and_of_its_own_inverse() -> None:
    rate = policies(Size(days=60, seeds=(0,)), 0)
    assert rate["lowest R first"] > rate["LRU"] > rate["FIFO"]
    assert rate["inverted"] < rate["FIFO"]


def test_without_a_copy_of_the_bank_the_stream_alone_cannot_carry_the_claim(tmp_path: Path) -> None:
    result = run(lambda *_: None, SMOKE, tmp_path)
    assert result.claim is not None
    assert result.claim.verdict != "holds"
    assert "no copy" in result.config["data"]
