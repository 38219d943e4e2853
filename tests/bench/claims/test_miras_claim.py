from __future__ import annotations

import torch

from mnemos.bench.claims.miras import BIASES, FULL, SMOKE, run, stream
from mnemos.bench.runner import silent


def test_the_claim_runs_at_smoke_size_with_every_bias_with_and_without_outliers() -> None:
    result = run(silent, SMOKE)
    assert {(row["system"], row["outliers"]) for row in result.rows} == {(n, o) for n in BIASES for o in (0.0, 0.1)}
    assert result.claim is not None


def test_outliers_hit_a_tenth_of_the_values_and_nothing_else() -> None:
    keys, values, truth = stream(FULL, 0.1, 3)
    off = (values - keys @ truth).norm(dim=-1)
    hit = off > 2
    assert 0.06 < hit.double().mean() < 0.14
    assert off[~hit].max() < 0.5
    torch.testing.assert_close(keys.norm(dim=-1), torch.ones(FULL.tokens).double())
