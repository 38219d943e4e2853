"""Conjugate gradients for many small symmetric systems at once, known by their products only.

Source: Hestenes and Stiefel (1952); batched with rows that stop each at their own time as in Local Linear Attention,
arXiv:2510.01450.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput


def conjugate_gradient(
    apply: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    iterations: int = 32,
    tol: float | None = None,
    diagonal: Tensor | None = None,
) -> Tensor:
    """Solve A x = b for each row of b, where every row may have an A of its own.

    A row stops when its residual is small, or when A does not curve upwards along its direction (a row that is not
    finite, or an A that is not positive definite): it then keeps the x it has. Cost: one `apply` per iteration.

    Args:
        apply: x [..., N] to A x [..., N]; each A symmetric and positive definite.
        b: [..., N].
        iterations: at most so many; N of them suffice in exact arithmetic.
        tol: a row is done at |b - A x| <= tol |b|; ten times the precision of the type if None.
        diagonal: [..., N], the diagonal of A: Jacobi preconditioning, for an A whose scales differ.

    Returns:
        x [..., N].

    Raises:
        InvalidInput: iterations is below 1, or b is no floating-point tensor.
    """
    if iterations < 1 or not b.is_floating_point():
        raise InvalidInput(f"iterations = {iterations}, b is {b.dtype}: at least 1, and floating-point numbers")
    tol = 10 * torch.finfo(b.dtype).eps if tol is None else tol
    x, residual = torch.zeros_like(b), b
    small = _dot(b, b) * tol**2
    step = residual if diagonal is None else residual / diagonal
    direction, rho = step, _dot(residual, step)
    live = _dot(b, b) > small
    for _ in range(iterations):
        product = apply(direction)
        curvature = _dot(direction, product)
        live = live & (curvature > 0) & curvature.isfinite()
        if not bool(live.any()):
            break
        length = torch.where(live, rho / torch.where(live, curvature, 1), 0)
        # a dead row's direction may hold anything: 0 * nan is not 0
        x = torch.where(live, x + length * direction, x)
        residual = torch.where(live, residual - length * product, residual)
        step = residual if diagonal is None else residual / diagonal
        before, rho = rho, _dot(residual, step)
        direction = torch.where(live, step + rho / torch.where(live, before, 1) * direction, 0)
        live = live & (_dot(residual, residual) > small)
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)
