from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.core import FixedClock, SystemClock, iso, parse_time
from mnemos.core.errors import InvalidInput


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1970-01-01", 0.0),
        (" 1970-01-01T00:01 ", 60.0),
        ("1970-01-01T01:00+01:00", 0.0),
        ("1969-12-31T23:59:59Z", -1.0),
        (12, 12.0),
        (datetime(1970, 1, 2), 86400.0),  # noqa: DTZ001 - a naive time is UTC
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0.0),
    ],
)
def test_text_numbers_and_datetimes_mean_utc_seconds(value: Any, seconds: float) -> None:
    assert parse_time(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "yesterday",
        "2025-13-01",
        "2025-02-30",
        "2025",
        "20250101",
        True,
        None,
        [],
        float("nan"),
        float("inf"),
        1e18,
        -1e18,
        10**400,
    ],
)
def test_what_is_no_time_is_refused_with_the_value_and_the_form_to_use(value: Any) -> None:
    with pytest.raises(InvalidInput, match="is not a time") as caught:
        parse_time(value)
    assert "2023-05-08T13:56" in str(caught.value)


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))  # noqa: DTZ001
def test_iso_text_reads_back_as_the_same_moment(moment: datetime) -> None:
    seconds = parse_time(moment)
    assert abs(parse_time(iso(seconds)) - seconds) < 1e-3


def test_iso_shows_seconds_only_where_they_matter() -> None:
    assert iso(parse_time("2023-05-08T13:56")) == "2023-05-08T13:56"
    assert iso(parse_time("2023-05-08T13:56:07")) == "2023-05-08T13:56:07"


def test_a_fixed_clock_moves_only_when_told() -> None:
    clock = FixedClock("2025-01-01")
    before = clock.now()
    assert clock.now() == before
    clock.advance(5)
    assert clock.now() == before + 5


def test_the_system_clock_never_tells_a_time_before_this_was_written() -> None:
    assert SystemClock().now() > parse_time("2025-01-01")
