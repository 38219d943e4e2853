from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput
from mnemos.state.conditioning import (
    capacity,
    chain_success,
    coherence,
    decayed_interference,
    fidelity,
    heads_needed,
    interference,
)


def test_capacity_is_the_cards_for_one_read() -> None:
    assert capacity(1000, 0.9) == pytest.approx(1 + 0.2346 * 1000, abs=0.1)
    assert capacity(64, 0.5**0.5) == pytest.approx(65)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 512), st.floats(0.05, 1), st.integers(1, 16), st.integers(1, 12))
def test_capacity_and_fidelity_invert_each_other(d_k: int, cosine: float, heads: int, layers: int) -> None:
    pairs = capacity(d_k, cosine, heads, layers)
    assert fidelity(pairs, d_k, heads, layers) == pytest.approx(cosine, rel=1e-12)
    assert capacity(d_k, fidelity(pairs, d_k, heads, layers), heads, layers) == pytest.approx(pairs, rel=1e-9)


def test_depth_costs_exponentially_and_heads_help_linearly() -> None:
    assert [round(fidelity(32, 128, 1, n), 3) for n in (1, 2, 4, 8)] == [0.897, 0.805, 0.648, 0.42]
    assert [round(fidelity(32, 128, 4, n), 3) for n in (1, 2, 4, 8)] == [0.971, 0.943, 0.889, 0.79]
    assert capacity(64, 0.8, heads=4) - 1 == pytest.approx(4 * (capacity(64, 0.8) - 1))


def test_interference_is_the_noise_of_given_keys() -> None:
    torch.manual_seed(0)
    keys = F.normalize(torch.randn(6, 4, dtype=torch.float64) + 0.5, dim=-1)
    values = torch.linalg.qr(torch.randn(9, 6, dtype=torch.float64)).Q.T  # orthonormal: noise is then no average
    read = keys @ (keys.T @ values)
    noise = (read - values).square().sum(-1)
    torch.testing.assert_close(interference(keys), noise)


def test_interference_weighs_noise_by_the_signal_of_keys_of_any_length() -> None:
    torch.manual_seed(0)
    keys = torch.randn(6, 4, dtype=torch.float64)
    values = torch.linalg.qr(torch.randn(9, 6, dtype=torch.float64)).Q.T
    signal = keys.square().sum(-1, keepdim=True) * values
    noise = (keys @ (keys.T @ values) - signal).square().sum(-1)
    torch.testing.assert_close(interference(keys), noise / signal.square().sum(-1))


def test_random_keys_interfere_as_the_formula_says_and_correlated_ones_by_a_constant() -> None:
    torch.manual_seed(0)
    keys = F.normalize(torch.randn(64, 32, 128), dim=-1)
    assert interference(keys).mean().item() == pytest.approx(31 / 128, rel=0.02)
    common = F.normalize(torch.randn(64), dim=-1)
    shared = F.normalize(0.5**0.5 * F.normalize(torch.randn(16, 64), dim=-1) + 0.5**0.5 * common, dim=-1)
    assert interference(shared).mean().item() > 10 * 15 / 64


def test_no_read_is_worse_than_coherence_allows() -> None:
    torch.manual_seed(0)
    keys = F.normalize(torch.randn(5, 8, 32), dim=-1)
    values = F.normalize(torch.randn(5, 8, 16), dim=-1)
    error = (keys @ (keys.mT @ values) - values).norm(dim=-1).amax(-1)
    assert bool((error <= 7 * coherence(keys)).all())
    torch.testing.assert_close(coherence(torch.eye(4)), torch.tensor(0.0))


def test_orthonormal_keys_do_not_interfere() -> None:
    torch.testing.assert_close(interference(torch.eye(5)[:3]), torch.zeros(3))


@pytest.mark.parametrize(("age", "pairs"), [(0, 7), (3, 7), (6, 7)])
def test_a_decaying_trace_has_the_noise_of_its_geometric_sum(age: int, pairs: int) -> None:
    keep = 0.9
    plain = sum(keep ** (2 * a) for a in range(pairs) if a != age) / (16 * keep ** (2 * age))
    assert decayed_interference(16, keep, age, pairs) == pytest.approx(plain)


def test_the_newest_pair_has_bounded_noise_however_many_went_before() -> None:
    assert decayed_interference(32, 0.95) == pytest.approx(0.95**2 / ((1 - 0.95**2) * 32))
    assert decayed_interference(32, 0.95, pairs=2000) == pytest.approx(decayed_interference(32, 0.95))
    assert decayed_interference(32, 1.0, pairs=9) == pytest.approx(8 / 32)


def test_a_chain_of_votes_succeeds_as_counted_by_hand() -> None:
    assert chain_success(0.1, 3, 2) == pytest.approx((1 - (3 * 0.01 * 0.9 + 0.001)) ** 2)
    assert chain_success(0.1, 2, 1) == pytest.approx(1 - (0.01 + 2 * 0.1 * 0.9))  # a tie fails
    assert chain_success(0.1, 1, 5) == pytest.approx(0.9**5)


def test_the_heads_needed_are_the_fewest_and_grow_as_a_logarithm() -> None:
    needed = heads_needed(0.2, 0.99, layers=8)
    assert chain_success(0.2, needed, 8) >= 0.99
    assert all(chain_success(0.2, fewer, 8) < 0.99 for fewer in range(1, needed))
    by_depth = [heads_needed(0.2, 0.99, layers=10**n) for n in (1, 2, 3, 4)]
    steps = [later - earlier for earlier, later in itertools.pairwise(by_depth)]
    assert max(steps) - min(steps) <= 4
    assert heads_needed(0.0, 0.99) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: capacity(0, 0.9),
        lambda: capacity(8, 0.0),
        lambda: capacity(8, 1.1),
        lambda: capacity(8, 0.9, heads=0),
        lambda: fidelity(math.nan, 8),
        lambda: fidelity(0.5, 8),
        lambda: interference(torch.ones(3)),
        lambda: interference(torch.ones(3, 3, dtype=torch.long)),
        lambda: coherence(torch.ones(1, 3)),
        lambda: decayed_interference(8, 1.0),
        lambda: decayed_interference(8, 0.9, age=4, pairs=4),
        lambda: decayed_interference(8, 0.0),
        lambda: chain_success(1.5),
        lambda: heads_needed(0.5, 0.9),
        lambda: heads_needed(0.1, 1.0),
    ],
)
def test_what_cannot_be_is_refused(wrong) -> None:
    with pytest.raises(InvalidInput):
        wrong()
