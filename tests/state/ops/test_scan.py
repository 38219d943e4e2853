from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.scan import linear_scan, linear_scan_reference


def problem(shape: list[int], dim: int, narrow: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    b = torch.randn(shape, generator=draw, dtype=torch.float64)
    a = torch.rand([1 if axis == narrow and axis != dim else n for axis, n in enumerate(shape)], generator=draw)
    return a.double(), b, torch.randn(b.select(dim, 0).shape, generator=draw, dtype=torch.float64)


@settings(deadline=None, max_examples=30)
@given(
    tokens=st.sampled_from([1, 2, 8, 9, 10, 35, 100, 130]),
    dim=st.integers(-2, 2),
    narrow=st.integers(0, 2),
    begun=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_equals_the_loop_in_values_and_gradients(tokens: int, dim: int, narrow: int, begun: bool, seed: int) -> None:
    shape = [2, 3, 2]
    shape[dim] = tokens
    a, b, initial = problem(shape, dim % 3, narrow, seed)
    leaves = [x.requires_grad_() for x in ((a, b, initial) if begun else (a, b))]
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours, exact = (run(*leaves, dim=dim) for run in (linear_scan, linear_scan_reference))
    torch.testing.assert_close(ours, exact, atol=1e-12, rtol=1e-12)
    grads = [torch.autograd.grad((x * weight).sum(), leaves) for x in (ours, exact)]
    torch.testing.assert_close(*grads, atol=1e-11, rtol=1e-11)


def test_wide_steps_run_token_by_token_with_the_same_result() -> None:
    a, b, initial = problem([12, 200, 100], 0, 0, 3)
    torch.testing.assert_close(linear_scan(a, b, initial, dim=0), linear_scan_reference(a, b, initial, dim=0))


def test_a_factor_of_zero_forgets_all() -> None:
    b = torch.randn(1, 20, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(linear_scan(torch.zeros_like(b), b), b)


@pytest.mark.parametrize(
    ("a", "b", "initial", "says"),
    [
        (torch.ones(1, 4, 2), torch.ones(1, 5, 2), None, "does not fit"),
        (torch.ones(4, 2), torch.ones(1, 4, 2), None, "does not fit"),
        (torch.ones(1, 1, 2), torch.ones(1, 5, 2), None, "does not fit"),
        (torch.ones(1, 0, 2), torch.ones(1, 0, 2), None, "no tokens"),
        (torch.ones(1, 4, 2).double(), torch.ones(1, 4, 2), None, "one floating-point type"),
        (torch.ones(1, 4, 2), torch.ones(1, 4, 2), torch.ones(1, 3), "initial"),
    ],
)
def test_bad_input_is_refused(a: Tensor, b: Tensor, initial: Tensor | None, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        linear_scan(a, b, initial)
