from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.lla import chunk, lla
from mnemos.state.ops.lla.reference import centred_probe, centred_weights, lla_reference, paper_weights, visible
from mnemos.state.ops.softmax_attention.reference import softmax_attention_reference


def _qkv(batch: int = 2, queries: int = 9, keys: int | None = None, width: int = 5, dtype=torch.float64, seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    keys = queries if keys is None else keys
    shapes = [(batch, queries, 2, width), (batch, keys, 2, width), (batch, keys, 2, 3)]
    return [torch.randn(shape, generator=draw, dtype=dtype).requires_grad_() for shape in shapes]


def _dense(tokens: int = 12, width: int = 4, seed: int = 0):
    """w [2, T, T], q, k [2, T, K] of softmax weights, without their normalisation."""
    draw = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 2, tokens, width, generator=draw, dtype=torch.float64).unbind(0)
    return (q @ k.mT / 2).exp() * visible(tokens, tokens), q, k


def _gradients_agree(ours, theirs, inputs, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(9), dtype=ours.dtype)
    for a, b in zip(*(torch.autograd.grad((y * weight).sum(), inputs) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("lam", [1e-2, 0.1, 1.0, 10.0])
def test_the_paper_and_the_centred_form_are_one_estimator(lam: float) -> None:
    w, q, k = _dense()
    centred = centred_weights(w, k, centred_probe(w, q, k, lam))
    torch.testing.assert_close(paper_weights(w, q, k, lam), centred, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(centred.sum(-1), torch.ones(2, 12, dtype=torch.float64))
    assert lam > 1 or (centred < -1e-3).any()  # no convex mean


def test_the_scale_of_the_weights_does_not_matter() -> None:
    w, q, k = _dense()
    for form in (paper_weights, lambda w, q, k, lam: centred_weights(w, k, centred_probe(w, q, k, lam))):
        torch.testing.assert_close(form(1e6 * w, q, k, 0.1), form(w, q, k, 0.1))


def test_with_gaussian_weights_a_shift_of_all_keys_and_queries_changes_nothing() -> None:
    _, q, k = _dense()
    w = (-0.5 * torch.cdist(q, k).square()).exp() * visible(12, 12)
    shift = torch.tensor([3.0, -2.0, 5.0, 1.0], dtype=torch.float64)
    moved = centred_weights(w, k + shift, centred_probe(w, q + shift, k + shift, 0.1))
    torch.testing.assert_close(moved, centred_weights(w, k, centred_probe(w, q, k, 0.1)))


@settings(deadline=None, max_examples=25)
@given(
    queries=st.integers(1, 12),
    cached=st.integers(0, 5),
    window=st.one_of(st.none(), st.integers(1, 8)),
    given_probe=st.booleans(),
    rows=st.integers(1, 7),
    direct=st.booleans(),
    batch=st.integers(1, 2),
)
def test_tiles_equal_the_oracle_in_values_and_every_gradient(
    queries, cached, window, given_probe, rows, direct, batch
) -> None:
    q, k, v = _qkv(batch, queries, queries + cached, seed=queries)
    lam = torch.tensor([0.2, 0.7], dtype=torch.float64, requires_grad=True)
    r = (0.3 * torch.randn(q.shape, generator=torch.Generator().manual_seed(1), dtype=q.dtype)).requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk, "_ROWS", rows)
        patch.setattr(chunk, "_KEYS", 4)
        patch.setattr(chunk, "_DIRECT", 48 if direct else 0)
        if given_probe:
            ours, theirs = lla(q, k, v, probe=r, window=window), lla_reference(q, k, v, probe=r, window=window)
            _gradients_agree(ours, theirs, [q, k, v, r], 1e-9)
        else:
            ours, theirs = (op(q, k, v, lam=lam, window=window) for op in (lla, lla_reference))
            _gradients_agree(ours, theirs, [q, k, v, lam], 1e-9)


def test_gradients_agree_with_finite_differences_including_the_ridge() -> None:
    q, k, v = _qkv(1, 4, width=2)
    lam = torch.tensor([0.3, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, k, v, lam: lla(q, k, v, lam=lam, scale=0.8), (q, k, v, lam))


@pytest.mark.parametrize("width", [8, 64])
def test_single_precision_stays_close_to_the_oracle(width: int) -> None:
    q, k, v = _qkv(1, 100, width=width)
    exact = lla_reference(q, k, v, lam=0.1)
    ours = lla(q.float(), k.float(), v.float(), lam=0.1)
    assert ours.dtype == torch.float32
    assert (ours - exact).norm() / exact.norm() < 2e-5


def test_iterating_and_solving_agree() -> None:
    q, k, v = _qkv(1, 70, width=50)
    iterated = lla(q, k, v, lam=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk, "_DIRECT", 50)
        torch.testing.assert_close(iterated, lla(q, k, v, lam=0.5), atol=1e-9, rtol=1e-9)


def test_a_huge_ridge_is_softmax_attention_and_so_is_a_probe_of_zero() -> None:
    q, k, v = _qkv()
    soft = softmax_attention_reference(q, k, v)
    torch.testing.assert_close(lla(q, k, v, lam=1e9), soft, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(lla(q, k, v, probe=torch.zeros_like(q)), soft)


def test_scale_zero_is_ridge_regression_with_intercept_on_all_pairs() -> None:
    q, k, v = (x.detach() for x in _qkv(1, 30, width=4))
    ours = lla(q, k, v, scale=0.0, lam=0.05)
    for t in (0, 3, 29):
        for h in range(2):
            x = torch.cat([k[0, : t + 1, h], torch.ones(t + 1, 1, dtype=torch.float64)], 1)
            penalty = 0.05 * (t + 1) * torch.diag(torch.tensor([1.0, 1, 1, 1, 0], dtype=torch.float64))
            slope = torch.linalg.solve(x.T @ x + penalty, x.T @ v[0, : t + 1, h])
            fit = torch.cat([q[0, t, h], torch.ones(1, dtype=torch.float64)]) @ slope
            torch.testing.assert_close(ours[0, t, h], fit, atol=1e-12, rtol=1e-12)


def test_an_affine_map_is_reproduced_once_there_are_enough_keys() -> None:
    q, k, _ = (x.detach() for x in _qkv(1, 60, width=16))
    draw = torch.Generator().manual_seed(5)
    slope, level = torch.randn(16, 3, generator=draw, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    ours = lla(q, k, k @ slope + level, lam=1e-10)
    torch.testing.assert_close(ours[:, 40:], (q @ slope + level)[:, 40:], atol=1e-7, rtol=1e-7)
    assert (ours - q @ slope - level)[:, :10].abs().max() > 0.1  # fewer than 17 keys cannot know it


def test_the_probe_of_the_solver_given_from_outside_is_the_same() -> None:
    q, k, v = _qkv()
    heads_first = [x.transpose(1, 2) for x in (q, k)]
    w = (heads_first[0] @ heads_first[1].mT * q.shape[-1] ** -0.5).exp() * visible(9, 9)
    r = centred_probe(w, *heads_first, 0.1).transpose(1, 2)
    torch.testing.assert_close(lla(q, k, v, probe=r), lla(q, k, v, lam=0.1))


def test_one_key_gives_its_value_and_equal_keys_stay_finite() -> None:
    q, k, v = (x.detach() for x in _qkv(dtype=torch.float32))
    torch.testing.assert_close(lla(q, k, v)[:, 0], v[:, 0])
    same = k[:, :1].expand_as(k).contiguous().requires_grad_()
    o = lla(q, same, v)
    torch.testing.assert_close(o[:, -1], v.mean(1))
    assert torch.autograd.grad(o.square().sum(), same)[0].isfinite().all()


def test_close_keys_far_from_the_origin_keep_their_digits() -> None:
    q, k, v = (x.detach() for x in _qkv(1, 40, width=4))
    exact = lla_reference(q + 50, k + 50, v, lam=0.1, scale=0.01)
    single = [x.float() for x in (q + 50, k + 50, v)]
    for direct in (0, 48):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunk, "_DIRECT", direct)
            ours = lla(*single, lam=0.1, scale=0.01)
        assert (ours - exact).norm() / exact.norm() < 1e-3


def test_no_query_sees_a_later_key_or_one_before_its_window() -> None:
    q, k, v = (x.detach() for x in _qkv(1, 12))
    before = lla(q, k, v, window=4)
    k[:, 6], v[:, 6] = 3.0, 3.0
    after = lla(q, k, v, window=4)
    changed = (after != before).any(-1).any(-1)[0]
    torch.testing.assert_close(after[:, :6], before[:, :6])
    torch.testing.assert_close(after[:, 10:], before[:, 10:])
    assert changed[6:10].all()


def test_decoding_from_a_cache_equals_the_whole() -> None:
    q, k, v = _qkv(2, 10)
    whole = lla(q, k, v)
    for t in range(10):
        torch.testing.assert_close(lla(q[:, t : t + 1], k[:, : t + 1], v[:, : t + 1]), whole[:, t : t + 1])


@pytest.mark.parametrize("given_probe", [False, True])
def test_packed_sequences_are_alone(given_probe: bool) -> None:
    q, k, v = _qkv(1, 11)
    r = 0.2 * q if given_probe else "solve"
    packed = lla(q, k, v, probe=r, cu_seqlens=torch.tensor([0, 4, 5, 11]))
    for a, b in ((0, 4), (4, 5), (5, 11)):
        alone = lla_reference(q[:, a:b], k[:, a:b], v[:, a:b], probe=0.2 * q[:, a:b] if given_probe else None)
        torch.testing.assert_close(packed[:, a:b], alone)


def test_nothing_of_the_size_of_the_weights_is_kept_for_the_backward() -> None:
    q, k, v = _qkv(1, 200)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):
        lla(q, k, v)
    assert max(saved) <= 200 * 2 * 5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"q": torch.zeros(2, 5, 6)}, "axes"),
        ({"lam": 0.0}, "above 0"),
        ({"lam": float("nan")}, "above 0"),
        ({"lam": torch.ones(3)}, "2 heads"),
        ({"probe": "guess"}, "solve"),
        ({"probe": torch.zeros(2, 5, 2, 3)}, "one per query"),
        ({"window": 0}, "window 0"),
        ({"cu_seqlens": torch.tensor([0, 5])}, "one row"),
    ],
)
def test_bad_input_is_refused_with_a_reason(change, says) -> None:
    good = {"q": torch.zeros(2, 5, 2, 6), "k": torch.zeros(2, 5, 2, 6), "v": torch.zeros(2, 5, 2, 4)}
    with pytest.raises(InvalidInput, match=says):
        lla(**(good | change))
