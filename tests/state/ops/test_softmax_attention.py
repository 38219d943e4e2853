from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.rotary import rotary
from mnemos.state.ops.softmax_attention import softmax_attention
from mnemos.state.ops.softmax_attention.chunk import _blocks
from mnemos.state.ops.softmax_attention.reference import softmax_attention_reference


def _qkv(batch: int, queries: int, keys: int, dtype=torch.float64, seed: int = 0, heads: int = 2):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(batch, queries, heads, 6), (batch, keys, heads, 6), (batch, keys, heads, 4)]
    return [torch.randn(shape, generator=draw, dtype=dtype).requires_grad_() for shape in shapes]


def _same(ours, theirs, inputs, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(9), dtype=ours.dtype)
    grads = [torch.autograd.grad((y * weight).sum(), inputs) for y in (ours, theirs)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


@settings(deadline=None, max_examples=20)
@given(
    queries=st.integers(1, 100),
    cached=st.integers(0, 20),
    window=st.one_of(st.none(), st.integers(1, 90)),
    prefix=st.integers(0, 3),
    batch=st.integers(1, 2),
)
def test_blocks_equal_the_plain_loop_in_values_and_gradients(queries, cached, window, prefix, batch) -> None:
    inputs = _qkv(batch, queries, prefix + cached + queries, seed=queries)
    ours = softmax_attention(*inputs, window=window, prefix=prefix)
    _same(ours, softmax_attention_reference(*inputs, window=window, prefix=prefix), inputs, 1e-10)


@pytest.mark.parametrize("window", [None, 1, 7])
def test_single_precision_stays_close_to_the_oracle(window) -> None:
    inputs = _qkv(2, 100, 103, dtype=torch.float32)
    exact = softmax_attention_reference(*(x.double() for x in inputs), scale=0.7, window=window, prefix=2)
    ours = softmax_attention(*inputs, scale=0.7, window=window, prefix=2)
    assert (ours - exact).norm() / exact.norm() < 2e-6


@settings(deadline=None, max_examples=10)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    window=st.one_of(st.none(), st.integers(1, 9)),
    prefix=st.integers(0, 2),
)
def test_packed_sequences_see_themselves_and_the_shared_prefix(lengths, window, prefix) -> None:
    total = sum(lengths)
    q, k, v = inputs = _qkv(1, total, prefix + total)
    borders = torch.tensor([0, *lengths]).cumsum(0)
    packed = softmax_attention(q, k, v, window=window, prefix=prefix, cu_seqlens=borders)
    alone = []
    for a, b in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        rows = [torch.cat([x[:, :prefix], x[:, prefix + a : prefix + b]], 1) for x in (k, v)]
        alone.append(softmax_attention_reference(q[:, a:b], *rows, window=window, prefix=prefix))
    _same(packed, torch.cat(alone, 1), inputs, 1e-10)


def test_token_by_token_over_a_cache_equals_whole() -> None:
    q, k, v = _qkv(2, 40, 40)
    whole = softmax_attention(q, k, v, window=5)
    for t in range(40):
        first = max(0, t - 4)  # the last window - 1 keys are all that a cache needs
        step = softmax_attention(q[:, t : t + 1], k[:, first : t + 1], v[:, first : t + 1], window=5)
        torch.testing.assert_close(step, whole[:, t : t + 1])


def test_memory_of_a_window_does_not_grow_with_the_square_of_the_length() -> None:
    elements = []

    class Count(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for x in out if isinstance(out, tuple) else (out,):
                if isinstance(x, torch.Tensor):
                    elements.append(x.untyped_storage().nbytes() // x.element_size())
            return out

    peaks = {}
    for length in (256, 1024):
        q = torch.randn(1, length, 1, 8)
        elements.clear()
        with Count():
            softmax_attention(q, q, q, window=16)
        peaks[length] = max(elements)
    assert peaks[1024] <= 5 * peaks[256]


def test_blocks_do_not_see_the_zeros_that_fill_them_up() -> None:
    q, k, v = (x.transpose(1, 2) for x in _qkv(1, 65, 69))
    none = k[:, :, :0], v[:, :, :0]
    one_by_one = torch.cat(
        [_blocks(q[:, :, t : t + 1], k[:, :, t : t + 5], v[:, :, t : t + 5], none, 1.0, 5) for t in range(65)], 2
    )
    torch.testing.assert_close(_blocks(q, k, v, none, 1.0, 5), one_by_one)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"q": torch.zeros(2, 5, 6)}, "axes"),
        ({"q": torch.zeros(2, 5, 3, 6)}, "do not fit"),
        ({"k": torch.zeros(2, 5, 2, 6).double()}, "one floating-point type"),
        ({"q": torch.zeros(2, 0, 2, 6)}, "empty"),
        ({"q": torch.zeros(2, 6, 2, 6)}, "each query needs its own key"),
        ({"prefix": 1}, "each query needs its own key"),
        ({"window": 0}, "window 0"),
        ({"cu_seqlens": torch.tensor([0, 5])}, "one row"),
    ],
)
def test_bad_input_is_refused_with_a_reason(change, says) -> None:
    good = {"q": torch.zeros(2, 5, 2, 6), "k": torch.zeros(2, 5, 2, 6), "v": torch.zeros(2, 5, 2, 4)}
    with pytest.raises(InvalidInput, match=says):
        softmax_attention(**(good | change))


def test_packing_has_no_cache() -> None:
    q, k, v = _qkv(1, 4, 6)
    with pytest.raises(InvalidInput, match="no cache"):
        softmax_attention(q, k, v, cu_seqlens=torch.tensor([0, 2, 4]))


def test_rotated_products_depend_on_the_distance_alone() -> None:
    draw = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 2, 8, generator=draw, dtype=torch.float64).unbind(0)

    def product(i: int, j: int):
        return (rotary(q, torch.tensor([i])) * rotary(k, torch.tensor([j]))).sum(-1)

    torch.testing.assert_close(product(7, 3), product(100_007, 100_003), atol=1e-9, rtol=0)
    assert (product(7, 3) - product(7, 4)).abs().max() > 1e-2
    torch.testing.assert_close(rotary(q, torch.tensor([0])), q)


def test_rotary_follows_the_llama_layout() -> None:
    x = torch.arange(1.0, 5.0, dtype=torch.float64).reshape(1, 1, 1, 4)
    turned = rotary(x, torch.tensor([[2]]), base=100.0).flatten()
    a, b = torch.tensor([2.0, 0.2], dtype=torch.float64)
    wanted = [
        a.cos() * 1 - a.sin() * 3,
        b.cos() * 2 - b.sin() * 4,
        a.cos() * 3 + a.sin() * 1,
        b.cos() * 4 + b.sin() * 2,
    ]
    torch.testing.assert_close(turned, torch.stack(wanted))


def test_rotary_refuses_odd_widths_and_missing_positions() -> None:
    with pytest.raises(InvalidInput, match="even K"):
        rotary(torch.zeros(1, 2, 1, 3), torch.arange(2))
    with pytest.raises(InvalidInput, match="positions"):
        rotary(torch.zeros(1, 3, 1, 4), torch.arange(2))
