"""What a case looks like: named columns with units and ranges, and the outcomes that are told apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mnemos.core.errors import InvalidInput

Value = float | str | None
"""A number, a category, or None where it is missing."""
Profile = Mapping[str, Value]
"""By column."""


@dataclass(frozen=True, slots=True)
class Numeric:
    """A measured column.

    Raises:
        InvalidInput: a range that holds nothing.
    """

    name: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    """What lies outside [low, high] is a mistake, and is refused."""
    rises: bool = False
    """It never falls from one visit of a subject to the next, as age does."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InvalidInput(f"the range of {self.name!r} is [{self.low}, {self.high}]: low must be below high")

    def read(self, value: Any) -> float:
        """`value` as a number.

        Raises:
            InvalidInput: no number, or out of range.
        """
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise InvalidInput(f"{self.name} is {value!r}: give a number{self.unit and f' in {self.unit}'}, or None")
        if not self.low <= number <= self.high:
            raise InvalidInput(
                f"{self.name} is {number:g}{self.unit and f' {self.unit}'}, outside {self.low:g} to {self.high:g}: "
                "check value and unit"
            )
        return number


@dataclass(frozen=True, slots=True)
class Categorical:
    """A column with a few named values.

    Raises:
        InvalidInput: fewer than two values, or one twice.
    """

    name: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2 or len(set(self.values)) < len(self.values):
            raise InvalidInput(f"{self.name!r} has the values {self.values}: give at least two different ones")

    def read(self, value: Any) -> str:
        """`value`, if it is one of the column's.

        Raises:
            InvalidInput: it is not.
        """
        if value not in self.values:
            raise InvalidInput(f"{self.name} is {value!r}: one of {', '.join(self.values)}, or None")
        return str(value)


@dataclass(frozen=True, slots=True)
class Product:
    """A law that holds in every record: the product of two columns is a constant, as far as they were rounded."""

    left: str
    right: str
    value: float
    tolerance: float = 0.01


@dataclass(frozen=True, slots=True)
class Schema:
    """Columns and outcomes of a case base.

    What names the case (ids, visit numbers), or is known only in hindsight, or already says the outcome, is no
    column: leave it out.

    Raises:
        InvalidInput: no column, a name twice, fewer than two outcomes, or a law about columns that are not there.
    """

    columns: tuple[Numeric | Categorical, ...]
    outcomes: tuple[str, ...]
    """In order of severity, where they have one."""
    version: str = "1"
    laws: tuple[Product, ...] = ()

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if not names or len(set(names)) < len(names) or not all(names):
            raise InvalidInput(f"the columns are {names}: give at least one, each with a name of its own")
        if len(self.outcomes) < 2 or len(set(self.outcomes)) < len(self.outcomes):
            raise InvalidInput(f"the outcomes are {self.outcomes}: give at least two different ones")
        numeric = {column.name for column in self.columns if isinstance(column, Numeric)}
        if strange := {side for law in self.laws for side in (law.left, law.right)} - numeric:
            raise InvalidInput(f"a law is about {sorted(strange)[0]!r}, which is no numeric column")

    def read(self, profile: Profile) -> dict[str, Value]:
        """A full profile: every column in order, None where it is missing (None, NaN, or not given).

        Raises:
            InvalidInput: no mapping, an unknown column, or a value that the column refuses.
        """
        if not isinstance(profile, Mapping):
            raise InvalidInput(f"a profile is a mapping of columns to values, and this is {type(profile).__name__}")
        names = [column.name for column in self.columns]
        if strange := [name for name in profile if name not in names]:
            raise InvalidInput(f"no column {strange[0]!r}: there are {', '.join(names)}")
        return {
            column.name: None if _missing(value := profile.get(column.name)) else column.read(value)
            for column in self.columns
        }

    def outcome(self, outcome: Any) -> str:
        """`outcome`, if it is one of ours. Raises InvalidInput."""
        if outcome not in self.outcomes:
            raise InvalidInput(f"the outcome is {outcome!r}: one of {', '.join(self.outcomes)}")
        return str(outcome)

    def violations(self, visits: Sequence[tuple[str, Profile]]) -> list[str]:
        """What is wrong with a table of (subject, profile), visits of a subject in order; empty where nothing is.

        A value that cannot be read, a law that does not hold, a column that should rise and falls.
        """
        found: list[str] = []
        last: dict[tuple[str, str], float] = {}
        for number, (subject, raw) in enumerate(visits):
            try:
                profile = self.read(raw)
            except InvalidInput as why:
                found.append(f"row {number} ({subject}): {why}")
                continue
            for law in self.laws:
                left, right = profile[law.left], profile[law.right]
                if isinstance(left, float) and isinstance(right, float):
                    off = left * right / law.value - 1
                    if abs(off) > law.tolerance:
                        found.append(
                            f"row {number} ({subject}): {law.left} x {law.right} is {off:+.1%} off {law.value:g}"
                        )
            for column in self.columns:
                value = profile[column.name]
                if isinstance(column, Numeric) and column.rises and isinstance(value, float):
                    if value < last.get((subject, column.name), -math.inf):
                        found.append(f"row {number} ({subject}): {column.name} falls to {value:g} between visits")
                    last[subject, column.name] = value
        return found

    def text(self, profile: Profile) -> str:
        """A profile in words, for a language model: 'Age 76 years, MMSE 27, sex F'. What is missing is left out."""
        read = self.read(profile)
        parts = []
        for column in self.columns:
            value = read[column.name]
            if isinstance(value, float):
                unit = column.unit if isinstance(column, Numeric) else ""
                parts.append(f"{column.name} {value:g}{unit and ' ' + unit}")
            elif value is not None:
                parts.append(f"{column.name} {value}")
        return ", ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data; what two equal schemas agree in."""
        columns = [
            {"kind": type(column).__name__, **{k: _plain(v) for k, v in asdict(column).items()}}
            for column in self.columns
        ]
        laws = [asdict(law) for law in self.laws]
        return {"columns": columns, "outcomes": list(self.outcomes), "version": self.version, "laws": laws}


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, float) and math.isinf(value) else value
