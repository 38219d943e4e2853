from __future__ import annotations

import pytest
import torch

from mnemos.bench.claims.titans import FULL, SMOKE, TASKS, VARIANTS, run, streams, titans_layer
from mnemos.bench.runner import silent


def test_the_claim_runs_at_smoke_size_and_compares_all_variants() -> None:
    result = run(silent, SMOKE)
    assert {row["system"] for row in result.rows} == set(VARIANTS)
    assert result.claim is not None
    assert all(value > 0 for name, value in result.measures.items() if name.startswith("error"))
    assert {f"{task}, {name}" for task in TASKS for name in VARIANTS} <= set(result.measures)


def test_a_layer_has_the_gates_of_its_variant() -> None:
    gates = {name: titans_layer(8, 2, *parts).memory.names for name, parts in VARIANTS.items()}
    assert gates == {
        "neither": ["step"],
        "momentum": ["step", "momentum"],
        "decay": ["step", "keep"],
        "both": ["step", "keep", "momentum"],
    }


def test_the_streams_switch_as_often_as_said_and_have_values_of_unit_variance() -> None:
    keys, values, flag = streams(FULL, 64, 0)
    assert keys.square().sum(-1).mean().item() == pytest.approx(8, rel=1e-5)
    assert values.var().item() == pytest.approx(1.01, abs=0.1)
    assert flag.mean().item() == pytest.approx(1 / 48, rel=0.25)


def test_training_and_test_streams_differ() -> None:
    assert not torch.equal(streams(SMOKE, 2, 0)[0], streams(SMOKE, 2, 2**31)[0])
