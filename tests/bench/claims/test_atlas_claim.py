from __future__ import annotations

from math import comb

from mnemos.bench.claims.atlas import SMOKE, run
from mnemos.bench.runner import silent


def test_the_claim_runs_at_smoke_size_and_finds_the_capacity_of_lifted_keys() -> None:
    result = run(silent, SMOKE)
    assert result.claim is not None
    for degree in (1, 2, 3):
        # the constant feature counts too
        assert result.measures[f"pairs held, degree {degree}"] == comb(3 + degree, degree)


def test_one_pass_recalls_better_than_nothing_stored() -> None:
    assert all(row["error"] < 1 for row in run(silent, SMOKE).rows)
