from __future__ import annotations

import math
from itertools import combinations_with_replacement

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.parts import l2norm
from mnemos.state.ops.kernel_delta import kernel_delta
from mnemos.state.ops.kernel_delta.reference import kernel_delta_reference
from mnemos.state.ops.softmax_attention.reference import softmax_attention_reference


def _inputs(tokens: int, window: int | None = None, batch: int = 2, seed: int = 0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    q, k = (l2norm(torch.randn(batch, tokens, 2, 4, generator=draw, dtype=dtype)) for _ in range(2))
    v = torch.randn(batch, tokens, 2, 3, generator=draw, dtype=dtype)
    gates = (batch, tokens, 2) if window is None else (batch, tokens, 2, window)
    beta = 0.6 * torch.rand(gates, generator=draw, dtype=dtype) / (window or 1)
    g = -torch.rand(batch, tokens, 2, generator=draw, dtype=dtype)
    return [x.requires_grad_() for x in (q, k, v, beta, g)]


def _whole(result):
    return result[0] * result[1][..., None].exp()


@settings(deadline=None, max_examples=25)
@given(
    tokens=st.integers(1, 40),
    window=st.one_of(st.none(), st.integers(1, 70)),
    correct=st.booleans(),
    normalize=st.booleans(),
    decays=st.booleans(),
)
def test_chunks_equal_the_definition_in_values_and_gradients(tokens, window, correct, normalize, decays) -> None:
    q, k, v, beta, g = _inputs(tokens, window, seed=tokens)
    options = {"g": g if decays else None, "correct": correct, "normalize": normalize, "scale": 0.8}
    inputs = [q, k, v, beta, g] if decays else [q, k, v, beta]
    ours, theirs = _whole(kernel_delta(q, k, v, beta, **options)), kernel_delta_reference(q, k, v, beta, **options)
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(9), dtype=ours.dtype)
    for a, b in zip(*(torch.autograd.grad((y * weight).sum(), inputs) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("window", [None, 5])
def test_several_chunks_equal_the_definition_in_single_precision(window) -> None:
    inputs = _inputs(150, window, batch=1)
    q, k, v, beta, g = (x.float() for x in inputs)
    exact = kernel_delta_reference(*inputs[:4], g=inputs[4])
    assert (_whole(kernel_delta(q, k, v, beta, g=g)) - exact).norm() / exact.norm() < 2e-5


@settings(deadline=None, max_examples=15)
@given(
    cuts=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    window=st.one_of(st.none(), st.integers(1, 6)),
    correct=st.booleans(),
    normalize=st.booleans(),
)
def test_pieces_equal_the_whole(cuts, window, correct, normalize) -> None:
    total, start, state, pieces = sum(cuts), 0, None, []
    inputs = _inputs(total, window)
    options = {"correct": correct, "normalize": normalize, "output_final_state": True}
    for size in cuts:
        q, k, v, beta, g = (x[:, start : start + size] for x in inputs)
        o, log_scale, state = kernel_delta(q, k, v, beta, g=g, initial_state=state, **options)
        pieces.append((o, log_scale))
        start += size
    whole = kernel_delta(*inputs[:4], g=inputs[4], **options)
    for part in (0, 1):
        torch.testing.assert_close(torch.cat([piece[part] for piece in pieces], 1), whole[part])
    for a, b in zip(state, whole[2], strict=True):
        torch.testing.assert_close(a, b)


def _powers(x: torch.Tensor, degree: int) -> torch.Tensor:
    """phi with phi(a) . phi(b) = sum_{i <= degree} (a . b)^i / i!, one column per monomial."""
    columns = []
    for i in range(degree + 1):
        for chosen in combinations_with_replacement(range(x.shape[-1]), i):
            same = math.prod(math.factorial(chosen.count(c)) for c in set(chosen))
            columns.append(x[..., list(chosen)].prod(-1) / math.sqrt(same))
    return torch.stack(columns, -1)


@pytest.mark.parametrize("window", [1, 3])
def test_the_kernel_form_is_the_omega_rule_on_explicit_features(window) -> None:
    q, k, v, beta, g = (x.detach() for x in _inputs(12, window, batch=1))
    read, write = _powers(q, 10), _powers(k, 10)
    s, outputs = torch.zeros(1, 2, read.shape[-1], 3, dtype=torch.float64), []
    for t in range(12):
        step = torch.zeros_like(s)
        for n in range(min(window, t + 1)):
            f = write[:, t - n]
            wrong = torch.einsum("bhd,bhdv->bhv", f, s)
            step = step + beta[:, t, :, n, None, None] * f[..., None] * (v[:, t - n] - wrong)[..., None, :]
        s = g[:, t].exp()[..., None, None] * s + step
        outputs.append(torch.einsum("bhd,bhdv->bhv", read[:, t], s))
    ours = _whole(kernel_delta(q, k, v, beta, g=g))
    torch.testing.assert_close(ours, torch.stack(outputs, 1), atol=1e-7, rtol=1e-7)


def test_hebbian_steps_of_one_are_unnormalised_softmax_attention() -> None:
    q, k, v, _, _ = _inputs(9)
    ones = torch.ones(2, 9, 2, dtype=torch.float64)
    direct = torch.einsum("bthk,bshk->bhts", q, k).exp().tril() @ v.transpose(1, 2)
    torch.testing.assert_close(_whole(kernel_delta(q, k, v, ones, correct=False)).transpose(1, 2), direct)
    soft, log_scale, _ = kernel_delta(q, k, v, ones, scale=0.5, correct=False, normalize=True)
    torch.testing.assert_close(soft, softmax_attention_reference(q, k, v, scale=0.5))
    assert not log_scale.any()


def test_a_full_step_stores_the_pair_exactly() -> None:
    _, k, v, _, _ = _inputs(20)
    beta = (-k.square().sum(-1)).exp()  # 1 / kappa(k, k)
    read = _whole(kernel_delta(k, k, v, beta))
    torch.testing.assert_close(read, v)  # the pair just written is right, however many came before


def test_large_products_keep_their_scale_apart_and_do_not_overflow() -> None:
    q, k, v, beta, _ = (x.float() for x in _inputs(6))
    o, log_scale, _ = kernel_delta(20 * q, 20 * k, v, beta, correct=False)
    small, small_scale, _ = kernel_delta(20 * q.double(), 20 * k.double(), v.double(), beta.double(), correct=False)
    assert log_scale.max() > 100  # e^100 is beyond float32
    assert o.isfinite().all()
    torch.testing.assert_close(o.double(), small, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(log_scale.double(), small_scale.double(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("correct", [True, False])
def test_a_gate_of_zero_hides_a_token_and_the_future_is_never_seen(correct) -> None:
    q, k, v, beta, g = (x.detach().clone() for x in _inputs(10, 3))
    for n in range(3):
        beta[:, 4 + n, :, n] = 0  # all gates of token 4
    before = kernel_delta(q, k, v, beta, g=g, correct=correct)[0]
    changed = v.clone()
    changed[:, 4] += 1
    torch.testing.assert_close(kernel_delta(q, k, changed, beta, g=g, correct=correct)[0], before)
    changed[:, 7] += 1
    torch.testing.assert_close(kernel_delta(q, k, changed, beta, g=g, correct=correct)[0][:, :7], before[:, :7])


@pytest.mark.parametrize("window", [None, 3])
def test_packed_sequences_are_alone(window) -> None:
    inputs = _inputs(11, window, batch=1)
    packed = _whole(kernel_delta(*inputs[:4], g=inputs[4], cu_seqlens=torch.tensor([0, 4, 5, 11])))
    for a, b in ((0, 4), (4, 5), (5, 11)):
        q, k, v, beta, g = (x[:, a:b] for x in inputs)
        torch.testing.assert_close(packed[:, a:b], kernel_delta_reference(q, k, v, beta, g=g))


def test_bad_input_is_refused_with_a_reason() -> None:
    q, k, v, beta, g = _inputs(4)
    state = kernel_delta(q, k, v, beta, output_final_state=True)[2]
    for change, says in [
        ({"k": k[:, :3]}, "give"),
        ({"q": q[:, :0], "k": k[:, :0], "v": v[:, :0]}, "at least one token"),
        ({"beta": beta[:, :3]}, "beta"),
        ({"g": g[..., None]}, "does not fit"),
        ({"beta": beta[..., None].expand(-1, -1, -1, 3), "initial_state": state}, "window of 3"),
        ({"initial_state": state._replace(u=state.u[:1])}, "the last call returned"),
        ({"cu_seqlens": torch.tensor([0, 4]), "output_final_state": True}, "no state"),
    ]:
        with pytest.raises(InvalidInput, match=says):
            kernel_delta(**({"q": q, "k": k, "v": v, "beta": beta} | change))
