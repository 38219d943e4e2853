"""Timing that a busy machine does not fool: two callables in turn, in one process.

A ratio of two times measured minutes apart compares two states of the machine. Here each repeat runs
both, in the order A B, B A, A B, ..., so that drift and warm caches fall on either side alike, and the
ratio is taken within each repeat.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mnemos.core.errors import InvalidInput

T = TypeVar("T")
Timer = Callable[[], float]
"""Monotonic seconds."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of each repeat, in order."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def min(self) -> float:
        return min(self.seconds)

    @property
    def max(self) -> float:
        return max(self.seconds)


@dataclass(frozen=True, slots=True)
class Paired:
    """Two timings, repeat by repeat, and the median of their ratio a / b: above 1, a is slower.

    `ratio_low` and `ratio_high` are order statistics that hold the true median with 95 % confidence
    whatever the distribution, or all that was seen where there are too few repeats for that (below 6).
    """

    a: Timing
    b: Timing
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds per call. The first call, which finds everything cold, stands apart from the rest."""

    first: float
    p50: float
    p95: float
    mean: float
    calls: int
    """How many calls the percentiles are of."""


def paired(
    a: Callable[[], object],
    b: Callable[[], object],
    *,
    repeats: int = 7,
    warmup: int = 1,
    timer: Timer = time.perf_counter,
) -> Paired:
    """Time `a` against `b`.

    Args:
        repeats: timed runs of each; 6 are the fewest for a 95 % interval.
        warmup: untimed runs of each, before.
        timer: where seconds come from.

    Raises:
        InvalidInput: no repeats, a negative warm-up, or a callable too fast for the timer.
    """
    if repeats < 1 or warmup < 0:
        raise InvalidInput(f"repeats = {repeats}, warmup = {warmup}: at least 1 and 0")
    for _ in range(warmup):
        a()
        b()
    times: dict[bool, list[float]] = {True: [], False: []}
    for repeat in range(repeats):
        a_first = repeat % 2 == 0
        for is_a in (a_first, not a_first):
            times[is_a].append(_timed(a if is_a else b, timer))
    if min(times[False]) <= 0 or min(times[True]) <= 0:
        raise InvalidInput("a run took no measurable time: repeat the work inside the callable")
    ratios = sorted(x / y for x, y in zip(times[True], times[False], strict=True))
    outside = _outside(repeats)
    return Paired(
        Timing(tuple(times[True])),
        Timing(tuple(times[False])),
        statistics.median(ratios),
        ratios[outside],
        ratios[-1 - outside],
    )


def percentiles(fn: Callable[[T], object], inputs: Iterable[T], *, timer: Timer = time.perf_counter) -> Latency:
    """Latency of `fn` over `inputs`, one call each.

    Raises:
        InvalidInput: fewer than two inputs (the first is kept apart).
    """
    seconds = []
    for one in inputs:
        start = timer()
        fn(one)
        seconds.append(timer() - start)
    if len(seconds) < 2:
        raise InvalidInput(f"{len(seconds)} inputs: the first call is kept apart, so give at least two")
    warm = np.array(seconds[1:])
    p50, p95 = np.quantile(warm, [0.5, 0.95])
    return Latency(seconds[0], float(p50), float(p95), float(warm.mean()), len(warm))


def _timed(run: Callable[[], object], timer: Timer) -> float:
    gc.collect()  # what the other side left behind must not be swept on this side's time
    start = timer()
    run()
    return timer() - start


def _outside(n: int) -> int:
    """How many of n sorted values to leave out at each end so that the rest holds the median at 95 %.

    The median lies below the r-th smallest value with probability P(Binomial(n, 1/2) < r).
    """
    tail, outside = 0.0, -1
    for below in range(n // 2):
        tail += math.comb(n, below) / 2**n
        if 2 * tail > 1 - CONFIDENCE:
            break
        outside = below
    return max(0, outside)
