from __future__ import annotations

from math import comb

import pytest

from mnemos.bench.claims.atlas import SMOKE, run
from mnemos.bench.results import Result
from mnemos.bench.runner import silent


@pytest.fixture(scope="module")
def result() -> Result:
    return run(silent, SMOKE)


def test_the_claim_runs_at_smoke_size_and_finds_the_capacity_of_lifted_keys(result: Result) -> None:
    assert result.claim is not None
    for degree in (1, 2, 3):
        # the constant feature counts too
        assert result.measures[f"pairs held, degree {degree}"] == comb(3 + degree, degree)


def test_one_pass_recalls_better_than_nothing_stored(result: Result) -> None:
    assert all(row["error"] < 1 for row in result.rows if "error" in row)


def test_plain_keys_get_a_state_of_the_same_size(result: Result) -> None:
    sizes = {row["system"]: row["state bytes"] for row in result.rows if "state bytes" in row}
    assert len(sizes) == 3
    assert abs(sizes["OmegaNet, plain keys"] / sizes["OmegaNet"] - 1) < 0.1
