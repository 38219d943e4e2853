"""How evenly a matrix uses its directions: the spectrum of a memory, in a few numbers.

Source: Muon Outperforms Adam in Tail-End Associative Memory Learning (arXiv:2509.26030), spectral metrics.
A balanced memory is flat: every direction, and with it every fact, has the same weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Isotropy:
    """Spectrum metrics of matrices [..., m, n], each of shape [...]; q_i = σ_i² / Σσ², n = min(m, n)."""

    entropy: Tensor
    """-Σ q log q / log n: 1 for a flat spectrum, 0 for rank one. 1 where n = 1."""
    effective_rank: Tensor
    """exp(-Σ q log q): from 1 to n."""
    top_energy: Tensor
    """Sum of the k largest q: k/n for a flat spectrum, 1 for rank k."""
    quartile_ratio: Tensor
    """Third quartile of σ over the first: 1 for a flat spectrum, infinite where a quarter of σ is zero."""
    energy_quartile_ratio: Tensor
    """The same of σ², the eigenvalues of WWᵀ."""
    least_to_largest: Tensor
    """σ_min / σ_max; of an update, how evenly it treats the directions."""


def isotropy(w: Tensor, k: int = 10) -> Isotropy:
    """The spectrum metrics of each matrix.

    Args:
        w: [..., m, n]. Singular values below max(m, n)·eps of the largest count as zero.
        k: how many of the largest directions `top_energy` counts; all where k > min(m, n).

    Raises:
        InvalidInput: w is no matrix of finite floats, one of its matrices is zero, or k is below 1.
    """
    if w.ndim < 2 or not w.is_floating_point() or 0 in w.shape:
        raise InvalidInput(f"w is {w.dtype} of shape {list(w.shape)}: give floating-point matrices, [..., m, n]")
    if k < 1:
        raise InvalidInput(f"k = {k} counts no direction: it must be at least 1")
    if not bool(torch.isfinite(w).all()):
        raise InvalidInput("w holds NaN or infinity, and has no spectrum")
    full = w.detach().float() if w.dtype in (torch.float16, torch.bfloat16) else w.detach()
    sigma = torch.linalg.svdvals(full)  # [..., n], descending
    largest = sigma[..., :1]
    if bool((largest == 0).any()):
        raise InvalidInput("a matrix of w is zero and has no spectrum: write something first")
    sigma = sigma / largest
    sigma = sigma * (sigma > max(w.shape[-2:]) * torch.finfo(sigma.dtype).eps)
    q = sigma.square() / sigma.square().sum(-1, keepdim=True)
    entropy = -torch.special.xlogy(q, q).sum(-1)
    n = sigma.shape[-1]
    return Isotropy(
        entropy=entropy / torch.tensor(float(n)).log().item() if n > 1 else torch.ones_like(entropy),
        effective_rank=entropy.exp(),
        top_energy=q[..., :k].sum(-1),
        quartile_ratio=_quartiles(sigma),
        energy_quartile_ratio=_quartiles(sigma.square()),
        least_to_largest=sigma[..., -1],
    )


def _quartiles(values: Tensor) -> Tensor:
    first, third = values.quantile(torch.tensor([0.25, 0.75], dtype=values.dtype, device=values.device), dim=-1)
    return torch.where(first > 0, third / first, torch.inf)
