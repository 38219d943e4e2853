"""The nearest semi-orthogonal matrix: X = UΣVᵀ becomes UVᵀ, roughly and fast, or exactly.

Newton-Schulz applies an odd polynomial to the singular values and leaves the singular vectors alone:
f(σ) = aσ + bσ³ + cσ⁵, five times. Coefficients: Keller Jordan, "Muon" (2024), MIT.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput

MUON = (3.4445, -4.7750, 2.0315)
"""Steep at zero, and so fast: five steps bring all from 0.002 of the norm upwards to 0.68 ... 1.21, not to 1."""
CONVERGENT = (2.0, -1.5, 0.5)
"""Converges to 1, where its slope is 0; needs more steps for small singular values."""


def newton_schulz(
    x: Tensor, steps: int = 5, coefficients: tuple[float, float, float] = MUON, eps: float = 1e-7
) -> Tensor:
    """Push the singular values of each matrix towards 1.

    Differentiable; zero stays zero; the scale of x does not matter where its norm is far above `eps`.
    Cost: per step 2·m²n + m³ multiply-adds, m the smaller side.

    Args:
        x: [..., m, n], a batch of matrices. Half precision is computed in float32 on a CPU.
        steps: how often the polynomial is applied.
        coefficients: (a, b, c) of aσ + bσ³ + cσ⁵; `MUON` or `CONVERGENT`.
        eps: added to the Frobenius norm, by which x is divided first.

    Raises:
        InvalidInput: x is no floating-point matrix, or steps is below 1.
    """
    _check(x)
    if steps < 1:
        raise InvalidInput(f"steps = {steps} leaves the singular values as they are: take 5")
    if x.device.type == "cpu" and x.dtype in (torch.float16, torch.bfloat16):
        return newton_schulz(x.float(), steps, coefficients, eps).to(x.dtype)
    a, b, c = coefficients
    tall = x.shape[-2] > x.shape[-1]  # the Gram matrix of the smaller side is cheaper
    y: Tensor = x.mT if tall else x
    y = y / (torch.linalg.matrix_norm(y, keepdim=True) + eps)
    for _ in range(steps):
        gram = y @ y.mT
        y = a * y + (b * gram + c * gram @ gram) @ y
    return y.mT if tall else y


def orthogonalise(x: Tensor) -> Tensor:
    """UVᵀ of each matrix, exactly, on its support: directions that x does not have get nothing.

    Args:
        x: [..., m, n]; singular values below max(m, n)·eps of the largest count as zero.

    Raises:
        InvalidInput: x is no floating-point matrix, or holds NaN or infinity.
    """
    _check(x)
    if not bool(torch.isfinite(x).all()):
        raise InvalidInput("x holds NaN or infinity, and has no singular values: look at the gradient first")
    full = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    u, sigma, vt = torch.linalg.svd(full, full_matrices=False)
    least = sigma.amax(-1, keepdim=True) * max(x.shape[-2:]) * torch.finfo(sigma.dtype).eps
    exact: Tensor = (u * (sigma > least).unsqueeze(-2)) @ vt
    return exact.to(x.dtype)


def _check(x: Tensor) -> None:
    if x.ndim < 2 or 0 in x.shape[-2:]:
        raise InvalidInput(f"x has shape {list(x.shape)}: give matrices, [..., m, n]")
    if not x.is_floating_point():
        raise InvalidInput(f"x is {x.dtype}: give floating-point matrices")
