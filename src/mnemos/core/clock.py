"""Time, injected.

Nothing in mnemos asks the operating system for the time except `SystemClock`. Times are UTC
seconds since the epoch as `float`; text form is ISO 8601.
"""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime
from typing import Protocol

from mnemos.core.errors import InvalidInput

Time = float
"""UTC seconds since 1970-01-01T00:00:00."""

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Clock(Protocol):
    """Anything that tells the time."""

    def now(self) -> Time:
        """UTC seconds since the epoch."""
        ...


class SystemClock:
    """The operating system's clock."""

    def now(self) -> Time:
        return time.time()


class FixedClock:
    """A clock that stands still until told to `advance`; for tests and reproducible runs."""

    def __init__(self, now: Time | str) -> None:
        self._now = parse_time(now) if isinstance(now, str) else now

    def now(self) -> Time:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`."""
        self._now += seconds


def parse_time(value: str | float | datetime) -> Time:
    """UTC seconds from ISO 8601 text, epoch seconds or a `datetime` (naive ones are UTC).

    Raises:
        InvalidInput: not a time, not finite, or outside the years 1 to 9999.
    """
    try:
        if isinstance(value, bool):
            raise ValueError("a bool is no time")
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, str):
            if not _ISO_DATE.match(value.strip()):
                raise ValueError("not ISO 8601")
            moment = datetime.fromisoformat(value.strip())
        else:
            seconds = float(value)
            if not math.isfinite(seconds):
                raise ValueError("not finite")
            datetime.fromtimestamp(seconds, UTC)  # only to check the range
            return seconds
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError, OSError) as why:
        raise InvalidInput(
            f"{value!r} is not a time ({why}): give ISO 8601 such as '2023-05-08T13:56', "
            "epoch seconds, or a datetime between the years 1 and 9999"
        ) from None


def to_datetime(at: Time) -> datetime:
    """The aware UTC `datetime` of epoch seconds."""
    return datetime.fromtimestamp(at, UTC)


def iso(at: Time) -> str:
    """ISO 8601 in UTC, seconds shown only where they matter: '2023-05-08T13:56'."""
    moment = to_datetime(at).replace(tzinfo=None)
    if moment.microsecond:
        return moment.isoformat()
    return moment.isoformat(timespec="seconds" if moment.second else "minutes")
