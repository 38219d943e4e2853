from __future__ import annotations

import torch

from mnemos.bench.claims.local_linear_attention import SMOKE, _errors, piecewise_linear, run
from mnemos.bench.runner import silent


def test_the_claim_runs_at_smoke_size_with_the_order_it_expects() -> None:
    result = run(silent, SMOKE)
    assert result.claim is not None
    error = {row["system"]: row["error"] for row in result.rows if row["part"] == "error"}
    assert error["LLA"] < error["softmax"] < error["Mesa"]


def test_a_segment_is_one_linear_map_and_the_next_one_another() -> None:
    k, v = piecewise_linear(2, 40, 4, 20, seed=3)
    first = torch.linalg.lstsq(k[:, :20], v[:, :20]).solution
    torch.testing.assert_close(k[:, :20] @ first, v[:, :20], atol=1e-4, rtol=1e-4)
    assert (k[:, 20:] @ first - v[:, 20:]).abs().mean() > 0.1
    torch.testing.assert_close(k.norm(dim=-1), torch.ones(2, 40))


def test_no_method_sees_the_value_it_predicts() -> None:
    k, v = piecewise_linear(1, 30, 4, 15, seed=0)
    changed = v.clone()
    changed[:, 20] += 1
    for name in ("LLA", "softmax", "Mesa"):
        settings = {"scale": 4.0, "ridge": 0.1}
        before, after = (_errors(name, settings, k, values) for values in (v, changed))
        guess = torch.tensor([before[0, 20], after[0, 20]])
        torch.testing.assert_close(before[:, :20], after[:, :20])
        assert guess.diff().abs() > 1e-3
        assert (before[:, 21:] != after[:, 21:]).any()


def test_ridge_regression_solves_a_sequence_without_switches() -> None:
    k, v = piecewise_linear(2, 40, 4, 40, seed=1)
    assert _errors("Mesa", {"ridge": 1e-6}, k, v)[:, 10:].max() < 1e-6
