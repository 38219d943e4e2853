from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.cg import conjugate_gradient


def _systems(rows: int, size: int, seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    root = torch.randn(rows, size, size, generator=draw, dtype=torch.float64)
    a = root @ root.mT / size + 0.1 * torch.eye(size, dtype=torch.float64)
    return a, torch.randn(rows, size, generator=draw, dtype=torch.float64)


def _times(a):
    return lambda x: (a @ x[..., None]).squeeze(-1)


@settings(deadline=None, max_examples=20)
@given(rows=st.integers(1, 5), size=st.integers(1, 12), jacobi=st.booleans(), seed=st.integers(0, 99))
def test_every_row_is_solved_with_its_own_matrix(rows, size, jacobi, seed) -> None:
    a, b = _systems(rows, size, seed)
    diagonal = a.diagonal(dim1=-2, dim2=-1) if jacobi else None
    x = conjugate_gradient(_times(a), b, iterations=3 * size, diagonal=diagonal)
    torch.testing.assert_close(x, torch.linalg.solve(a, b), atol=1e-9, rtol=1e-9)


def test_rows_stop_each_at_their_own_time() -> None:
    a, b = _systems(3, 8)
    a[0] = 2 * torch.eye(8)  # one iteration solves it, and more must not spoil it
    b[1] = 0
    products = []

    def apply(x):
        products.append(x)
        return _times(a)(x)

    x = conjugate_gradient(apply, b, iterations=50)
    torch.testing.assert_close(x[0], b[0] / 2)
    assert not x[1].any()
    torch.testing.assert_close(x[2], torch.linalg.solve(a[2], b[2]), atol=1e-9, rtol=1e-9)
    assert not any(x[0].any() for x in products[1:])
    assert len(products) < 20  # all done: no need for the 50


def test_a_broken_row_leaves_the_others_right_and_itself_finite() -> None:
    a, b = _systems(3, 5)
    a[0] = -a[0]
    a[1, 0, 0] = torch.nan
    x = conjugate_gradient(_times(a), b, iterations=20)
    assert x[:2].isfinite().all()
    torch.testing.assert_close(x[2], torch.linalg.solve(a[2], b[2]), atol=1e-9, rtol=1e-9)


def test_the_diagonal_helps_where_scales_differ() -> None:
    a, b = _systems(4, 20)
    scales = torch.logspace(-3, 3, 20, dtype=torch.float64)
    a = scales[:, None] * a * scales
    exact = torch.linalg.solve(a, b)

    def wrong(diagonal):
        x = conjugate_gradient(_times(a), b, iterations=20, diagonal=diagonal)
        return ((x - exact).norm() / exact.norm()).item()

    assert wrong(a.diagonal(dim1=-2, dim2=-1)) < 1e-3 * wrong(None)


def test_a_looser_tolerance_stops_earlier() -> None:
    a, b = _systems(4, 30)
    counts = []
    for tol in (1e-2, 1e-12):
        seen = []
        x = conjugate_gradient(lambda x, seen=seen: seen.append(0) or _times(a)(x), b, iterations=90, tol=tol)
        assert (b - _times(a)(x)).norm() <= 2 * tol * b.norm() + 1e-11
        counts.append(len(seen))
    assert counts[0] < counts[1]


def test_gradients_go_through_rows_that_are_done() -> None:
    a, b = _systems(2, 4)
    b[0] = 0
    a, b = a.requires_grad_(), b.requires_grad_()
    grads = torch.autograd.grad(conjugate_gradient(_times(a), b, iterations=12).sum(), (a, b))
    assert all(grad.isfinite().all() for grad in grads)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 1"):
        conjugate_gradient(lambda x: x, torch.ones(2), iterations=0)
    with pytest.raises(InvalidInput, match="floating-point"):
        conjugate_gradient(lambda x: x, torch.ones(2, dtype=torch.int64))
