"""OASIS-2, the longitudinal table of the Open Access Series of Imaging Studies: its schema, and a loader.

The data are bound to the terms of the OASIS project and are not part of this package. Group is derived from CDR, so
CDR is no column; nor are ids, visit numbers, delays, or handedness (everybody's is the same). "Converted" is known
only in hindsight: those rows count as what they were on the day, by their CDR.
"""

from __future__ import annotations

import csv
from pathlib import Path

from mnemos.core.errors import InvalidInput
from mnemos.text.recipes.brains.decide import Case
from mnemos.text.recipes.brains.schema import Categorical, Numeric, Product, Profile, Schema

_YEAR_ZERO = 946_684_800.0
"""Delays are counted from the first visit, whose date the table does not tell; it is set to the year 2000."""
_DAY = 86400.0
_SEX = {"M": "male", "F": "female"}

OASIS = Schema(
    columns=(
        Numeric("age", "years", 18, 120, rises=True),
        Categorical("sex", ("female", "male")),
        Numeric("education", "years", 0, 40),
        Numeric("SES", "", 1, 5),
        Numeric("MMSE", "points", 0, 30),
        Numeric("eTIV", "cm3", 500, 3000),
        Numeric("nWBV", "", 0.3, 1),
        Numeric("ASF", "", 0.3, 3),
    ),
    outcomes=("unimpaired", "impaired"),
    version="oasis-2",
    laws=(Product("eTIV", "ASF", 1755, 0.01),),
)
"""Demography, one cognitive score and three volumes; impaired is a CDR above 0."""

_COLUMNS = {
    "age": "Age",
    "education": "EDUC",
    "SES": "SES",
    "MMSE": "MMSE",
    "eTIV": "eTIV",
    "nWBV": "nWBV",
    "ASF": "ASF",
}
_NEEDED = ("Subject ID", "MRI ID", "Visit", "MR Delay", "M/F", "CDR", *_COLUMNS.values())


def load_oasis(path: str | Path) -> tuple[list[Case], list[str]]:
    """The cases of the table at `path` (CSV), and what is wrong with it.

    Rows that cannot be read are among what is wrong, and not among the cases.

    Raises:
        InvalidInput: no such file, or a column is missing.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            table = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as why:
        raise InvalidInput(f"{path} cannot be read ({why}): give the longitudinal table as CSV") from None
    lacking = [name for name in _NEEDED if not table or name not in table[0]]
    if lacking:
        raise InvalidInput(f"{path} has no column {lacking[0]!r}: is it the longitudinal table of OASIS-2?")
    table.sort(key=lambda row: (row["Subject ID"] or "", row["Visit"] or ""))
    visits: list[tuple[str, Profile]] = []
    cases: list[Case] = []
    wrong: list[str] = []
    for row in table:
        profile = {name: row[column] or None for name, column in _COLUMNS.items()}
        profile["sex"] = _SEX.get(row["M/F"] or "", row["M/F"] or None)
        subject = row["Subject ID"] or ""
        visits.append((subject, profile))
        try:
            at = _YEAR_ZERO + _DAY * float(row["MR Delay"] or 0)
            outcome = OASIS.outcomes[float(row["CDR"]) > 0]
            cases.append(Case(row["MRI ID"] or "", OASIS.read(profile), outcome, subject, at, "oasis-2"))
        except ValueError as why:  # InvalidInput is one
            if not isinstance(why, InvalidInput):
                wrong.append(f"row {len(visits) - 1} ({subject}): {why}")
    return cases, OASIS.violations(visits) + wrong
