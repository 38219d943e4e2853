"""The linear recurrence x_t = a_t x_{t-1} + b_t, element by element, in O(T) work and 2 sqrt(T) steps.

The sequence is cut into sqrt(T) blocks. All blocks run side by side from 0; then the block ends are one sequence of
the same kind, and each block adds what came before it. Where one token alone is work enough, it runs token by token.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.whole import whole

_BUSY = 1 << 14
"""Elements of one step that keep a machine busy."""


@whole
def linear_scan(a: Tensor, b: Tensor, initial: Tensor | None = None, dim: int = 1) -> Tensor:
    """All x_t of x_t = a_t x_{t-1} + b_t.

    Args:
        a: [..., T, ...], broadcasts to b; 0 forgets all.
        b: [..., T, ...].
        initial: x_0, of b's shape without `dim`; None is 0.
        dim: the axis of time.

    Returns:
        x, of b's shape. Differentiable once, in a, b and initial.

    Raises:
        InvalidInput: shapes or types that do not fit, or no tokens.

    Cost: O(T) time; training keeps a and x.
    """
    _check(a, b, initial, dim)
    dim %= b.ndim
    start = b.new_zeros(b.shape[:dim] + b.shape[dim + 1 :]) if initial is None else initial
    x: Tensor = _Scan.apply(a.movedim(dim, 0), b.movedim(dim, 0), start)
    return x.movedim(0, dim)


def linear_scan_reference(a: Tensor, b: Tensor, initial: Tensor | None = None, dim: int = 1) -> Tensor:
    """`linear_scan` step by step: the oracle."""
    x = torch.zeros_like(b.select(dim, 0)) if initial is None else initial
    outputs = []
    for a_t, b_t in zip(a.expand_as(b).unbind(dim), b.unbind(dim), strict=True):
        x = a_t * x + b_t
        outputs.append(x)
    return torch.stack(outputs, dim)


class _Scan(torch.autograd.Function):
    """Time first. The gradient runs the same recurrence backwards: dx_t = grad_t + a_{t+1} dx_{t+1}."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, start: Tensor) -> Tensor:
        x = _scan(a, b, start)
        ctx.save_for_backward(a, x, start)
        return x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, x, start = ctx.saved_tensors
        later = torch.cat([a[1:], torch.ones_like(a[:1])]).flip(0)
        dx = _scan(later, grad.flip(0), torch.zeros_like(start)).flip(0)
        before = torch.cat([start[None], x[:-1]])
        return (dx * before).sum_to_size(a.shape), dx, (a[0] * dx[0]).sum_to_size(start.shape)


def _scan(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    steps = len(b)
    if steps <= 8 or b[0].numel() >= _BUSY:
        x = torch.empty_like(b)
        for t in range(steps):
            torch.addcmul(b[t], a[t], x[t - 1] if t else start, out=x[t])
        return x
    size = math.isqrt(steps)
    count = -(-steps // size)
    fill = [0, 0] * (b.ndim - 1) + [0, count * size - steps]
    a, b = (F.pad(y, fill).unflatten(0, (count, size)) for y in (a, b))
    x, kept = torch.empty_like(b), torch.empty_like(a)
    x[:, 0], kept[:, 0] = b[:, 0], a[:, 0]
    for t in range(1, size):
        torch.mul(kept[:, t - 1], a[:, t], out=kept[:, t])
        torch.addcmul(b[:, t], a[:, t], x[:, t - 1], out=x[:, t])
    before = torch.cat([start[None], _scan(kept[:-1, -1], x[:-1, -1], start)])
    return x.addcmul_(kept, before[:, None]).flatten(0, 1)[:steps]


def _check(a: Tensor, b: Tensor, initial: Tensor | None, dim: int) -> None:
    if not -b.ndim <= dim < b.ndim or not b.numel():
        raise InvalidInput(f"b of shape {list(b.shape)} has no tokens along axis {dim}: give [..., T, ...]")
    fits = a.ndim == b.ndim and all(m in (1, n) for m, n in zip(a.shape, b.shape, strict=True))
    if not fits or a.shape[dim] != b.shape[dim]:
        raise InvalidInput(f"a {list(a.shape)} does not fit b {list(b.shape)}: the same, or 1 on axes other than {dim}")
    if not b.is_floating_point() or a.dtype != b.dtype:
        raise InvalidInput(f"a, b are {a.dtype}, {b.dtype}: give one floating-point type")
    want = b.select(dim, 0).shape
    if initial is not None and (initial.shape != want or initial.dtype != b.dtype):
        raise InvalidInput(f"initial is {initial.dtype} {list(initial.shape)}: give {b.dtype} {list(want)}")
