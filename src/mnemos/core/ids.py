"""Sortable, time-ordered identifiers.

26 characters of Crockford base 32 as in the ULID specification: 48 bits of milliseconds, then 80
bits that are random at the start of each millisecond and counted up within it, so that ids made by
one generator always sort in the order in which they were made.
"""

from __future__ import annotations

import random
import threading

from mnemos.core.clock import Clock, SystemClock

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [one + other for one in _ALPHABET for other in _ALPHABET]
_RANDOM_BITS = 80


class IdGenerator:
    """Makes ids; safe to share between threads.

    Args:
        clock: where the time half comes from.
        seed: fixes the random half, for reproducible runs; the system's entropy otherwise.
    """

    def __init__(self, clock: Clock | None = None, seed: int | None = None) -> None:
        self._clock = clock or SystemClock()
        self._random = random.Random(seed) if seed is not None else random.SystemRandom()
        self._lock = threading.Lock()
        self._last = 0

    def __call__(self) -> str:
        """The next id."""
        with self._lock:
            millis = max(0, int(self._clock.now() * 1000)) & ((1 << 48) - 1)
            # a clock that stands still or steps back must not break the order
            fresh = millis << _RANDOM_BITS | self._random.getrandbits(_RANDOM_BITS - 1)
            if millis <= self._last >> _RANDOM_BITS:
                fresh = self._last + 1 + self._random.getrandbits(32)
            self._last = fresh
            return _encode(fresh)


def _encode(value: int) -> str:
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])
