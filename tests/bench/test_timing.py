from __future__ import annotations

import pytest

from mnemos.bench.timing import paired, percentiles
from mnemos.core.errors import InvalidInput


@pytest.fixture(autouse=True)
def _no_sweeping(monkeypatch) -> None:
    monkeypatch.setattr("mnemos.bench.timing.gc.collect", lambda: 0)  # slow, and nothing real is timed here


class Work:
    """Callables that take as long as they say, on a clock that only they move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def job(self, name: str, *seconds: float):
        left = list(seconds)

        def run(_: object = None) -> None:
            self.order.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_the_order_is_abba_after_the_warm_up() -> None:
    work = Work()
    paired(work.job("A", 1), work.job("B", 1), repeats=4, warmup=1, timer=work)
    assert "".join(work.order) == "AB" + "ABBAABBA"


def test_the_ratio_is_a_over_b_repeat_by_repeat() -> None:
    work = Work()
    # the machine slows down tenfold half way: each pair still says that a takes twice as long
    out = paired(work.job("A", 2, 2, 20, 20), work.job("B", 1, 1, 10, 10), repeats=4, warmup=0, timer=work)
    assert (out.ratio, out.ratio_low, out.ratio_high) == (2.0, 2.0, 2.0)
    assert (out.a.median, out.a.min, out.a.max) == (11.0, 2.0, 20.0)
    assert out.b.seconds == (1.0, 1.0, 10.0, 10.0)


def test_warm_up_runs_are_not_timed() -> None:
    work = Work()
    out = paired(work.job("A", 99, 1), work.job("B", 99, 1), repeats=3, warmup=1, timer=work)
    assert out.a.max == out.b.max == 1.0


@pytest.mark.parametrize(("repeats", "outside"), [(3, 0), (7, 0), (8, 0), (9, 1), (17, 4)])
def test_the_interval_leaves_out_what_the_sign_test_allows(repeats: int, outside: int) -> None:
    # tabulated 95 % order-statistic intervals of the median: n = 9 → (2, 8), n = 17 → (5, 13)
    work = Work()
    times = [float(n) for n in range(1, repeats + 1)]
    out = paired(work.job("A", *times), work.job("B", 1), repeats=repeats, warmup=0, timer=work)
    assert (out.ratio_low, out.ratio_high) == (1 + outside, repeats - outside)
    assert out.ratio == (repeats + 1) / 2


def test_work_that_takes_no_time_is_refused() -> None:
    work = Work()
    with pytest.raises(InvalidInput, match="no measurable time"):
        paired(work.job("A", 1), work.job("B", 0), timer=work)


@pytest.mark.parametrize(("repeats", "warmup"), [(0, 1), (1, -1)])
def test_runs_that_cannot_be_counted_are_refused(repeats: int, warmup: int) -> None:
    with pytest.raises(InvalidInput, match="at least"):
        paired(lambda: None, lambda: None, repeats=repeats, warmup=warmup)


def test_the_cold_first_call_stands_apart() -> None:
    work = Work()
    out = percentiles(work.job("f", 50, *range(1, 102)), range(102), timer=work)
    assert (out.first, out.p50, out.p95, out.mean, out.calls) == (50.0, 51.0, 96.0, 51.0, 101)


def test_one_call_has_no_percentiles() -> None:
    with pytest.raises(InvalidInput, match="at least two"):
        percentiles(len, ["x"])
