from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.state.ops.decay import chunk_weights, decay_matrix


@settings(deadline=None, max_examples=20)
@given(size=st.integers(1, 9), seed=st.integers(0, 1000))
def test_the_chunk_weights_unroll_the_recurrence(size: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    alpha, mu = torch.rand(2, 3, size, generator=draw, dtype=torch.float64).unbind(0)
    writes = torch.randn(3, size, generator=draw, dtype=torch.float64)
    start, moving = torch.randn(2, 3, generator=draw, dtype=torch.float64).unbind(0)
    chunk = chunk_weights(alpha.log(), mu.log())
    weight, momentum = start, moving
    for t in range(size):
        momentum = mu[:, t] * momentum + writes[:, t]
        weight = alpha[:, t] * weight + momentum
        got = chunk.keep[:, t] * start + chunk.push[:, t] * moving + (chunk.gamma[:, t] * writes).sum(-1)
        pushed = chunk.momentum_keep[:, t] * moving + (chunk.momentum[:, t] * writes).sum(-1)
        torch.testing.assert_close(got, weight, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(pushed, momentum, atol=1e-12, rtol=1e-12)


def test_tokens_that_only_fill_up_change_neither_memory_nor_momentum() -> None:
    alpha, mu = torch.tensor([0.9, 0.8, 1.0, 1.0]).double(), torch.tensor([0.5, 0.7, 1.0, 1.0]).double()
    full = chunk_weights(alpha.log(), mu.log(), torch.tensor([1.0, 1.0, 0.0, 0.0]).double())
    short = chunk_weights(alpha[:2].log(), mu[:2].log())
    torch.testing.assert_close(full.gamma[3, :2], short.gamma[1])
    torch.testing.assert_close(full.momentum[3, :2], short.momentum[1])
    assert full.push[3] == pytest.approx(short.push[1].item())


def test_a_decay_of_zero_forgets_exactly_and_without_nan() -> None:
    log_decay = torch.tensor([0.0, -torch.inf, -0.5]).double()
    matrix = decay_matrix(log_decay)
    assert matrix[1, 0] == 0
    assert matrix[2, 0] == 0
    assert matrix[1, 1] == 1
    assert matrix[2, 1] == pytest.approx(0.6065306597)


def test_long_products_of_tiny_decays_keep_full_precision_in_float32() -> None:
    log_decay = torch.full((64,), -30.0)
    log_decay[40] = -0.25
    assert decay_matrix(log_decay)[40, 39] == pytest.approx(torch.tensor(-0.25).exp().item(), rel=1e-6)
