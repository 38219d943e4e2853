from __future__ import annotations

import numpy as np
import pytest

from mnemos.bench.claims.brains_retrieval import FULL, SMOKE, run, site
from mnemos.bench.runner import silent
from mnemos.text.recipes.brains.oasis import OASIS


def test_the_claim_runs_at_smoke_size_with_every_part() -> None:
    result = run(silent, SMOKE)
    assert {row["split"] for row in result.rows} == {"by subject", "by visit", "another site"}
    assert {row["system"] for row in result.rows if row["split"] == "by subject"} == {
        "majority", "1 nearest", "logistic", "vote of 15", "stacking", "fusion",
    }  # fmt: skip
    assert result.claim is not None


def test_the_generator_is_shaped_like_the_table() -> None:
    cases = site(np.random.default_rng(0), 150)
    subjects = {case.subject for case in cases}
    assert len(subjects) == 150
    assert len(cases) == pytest.approx(307, abs=25)
    assert OASIS.violations([(case.subject, case.profile) for case in cases]) == []
    ill = {case.subject for case in cases if case.outcome == "impaired"}
    assert len(ill) == 78  # 64 demented, 14 converting
    missing = np.mean([case.profile["SES"] is None for case in cases])
    assert 0.02 < missing < 0.09
    assert len(site(np.random.default_rng(0), 150, visits=0.5)) == pytest.approx(373, abs=25)


def test_another_site_lies_off_in_two_columns_alone() -> None:
    here, there = (site(np.random.default_rng(4), 100, mmse=m, nwbv=v) for m, v in ((0.0, 0.0), (-3.0, 0.03)))
    for one, two in zip(here, there, strict=True):
        assert {name for name in one.profile if one.profile[name] != two.profile[name]} <= {"MMSE", "nWBV"}
        assert float(two.profile["nWBV"] or 0) - float(one.profile["nWBV"] or 0) == pytest.approx(0.03)
    assert len(FULL.seeds) == 5
