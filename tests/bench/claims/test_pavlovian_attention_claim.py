from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mnemos.bench.claims.pavlovian_attention import SMOKE, _draw, run
from mnemos.bench.runner import silent


def test_the_claim_runs_at_smoke_size_and_finds_the_slope_and_the_chain() -> None:
    result = run(silent, SMOKE)
    assert result.claim is not None
    assert result.measures["slope of pairs in d"] == pytest.approx(0.9**-2 - 1, abs=0.05)
    assert result.measures["chain, largest share off theory"] < 0.1
    assert {row["part"] for row in result.rows} == {"capacity", "cosine", "chain", "rules"}


def test_enough_passes_and_the_pseudo_inverse_recall_what_is_not_overloaded() -> None:
    rows = {(row["pairs"], row["system"]): row for row in run(silent, SMOKE).rows if row["part"] == "rules"}
    assert rows[8, "pseudo-inverse"]["cosine"] == pytest.approx(1)
    assert rows[8, "delta, 5 passes"]["cosine"] > 0.95 > rows[8, "delta"]["cosine"]


def test_one_pass_of_the_delta_rule_wins_on_keys_with_something_in_common_and_loses_on_too_many() -> None:
    size = replace(SMOKE, rules_width=32, rules=((32, 0.0), (8, 0.5)), seeds=16)
    rows = {(row["pairs"], row["system"]): row["cosine"] for row in run(silent, size).rows if row["part"] == "rules"}
    assert rows[32, "delta"] < rows[32, "Hebb"]
    assert rows[8, "delta"] > rows[8, "Hebb"]


def test_keys_have_unit_length_and_the_wanted_share_in_common() -> None:
    k, _ = _draw(SMOKE, 200, 400, 0.5)
    torch.testing.assert_close(k.norm(dim=-1), torch.ones(4, 200, dtype=k.dtype))
    assert (k[:, 0] * k[:, 1]).sum(-1).mean().item() == pytest.approx(0.5, abs=0.05)
