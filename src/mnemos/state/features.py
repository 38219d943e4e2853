"""Feature maps: a key lifted into a wider space, where more pairs are linearly independent.

Axes: [..., d] in, [..., D] out.
Source: ATLAS, 2025 (arXiv 2505.23735), section 3.1: a matrix stores at most as many pairs as its keys have channels.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb, factorial, prod

import torch
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.whole import whole


class Polynomial(nn.Module):
    """All monomials of degree 0 to p, weighed so that phi(q) . phi(k) = sum_i a_i (q . k)^i exactly.

    D = binom(d + p, p) columns instead of d^p: each symmetric monomial once, times sqrt(i! / prod m_j!), m_j the power
    of channel j. The Taylor weights a_i are learned (by their roots: a_i = r_i^2) and start at 1 / i!, where the sum is
    the start of exp(q . k).

    Args:
        width: d.
        degree: p; 1 with a = (0, 1) is the identity.

    Raises:
        InvalidInput: a width or degree below 1.

    Cost: p D multiplications per vector.
    """

    factors: Tensor
    order: Tensor
    symmetry: Tensor

    def __init__(self, width: int, degree: int) -> None:
        super().__init__()
        if width < 1 or degree < 1:
            raise InvalidInput(f"width {width}, degree {degree}: both are at least 1")
        self.width, self.degree, self.features = width, degree, comb(width + degree, degree)
        powers = [chosen for i in range(degree + 1) for chosen in combinations_with_replacement(range(width), i)]
        # channel `width` is a constant 1, which fills every monomial up to p factors
        factors = torch.tensor([[*chosen, *[width] * (degree - len(chosen))] for chosen in powers])
        self.register_buffer("factors", factors, persistent=False)
        self.register_buffer("order", torch.tensor([len(chosen) for chosen in powers]), persistent=False)
        multinomial = [factorial(len(c)) / prod(factorial(c.count(j)) for j in set(c)) for c in powers]
        self.register_buffer("symmetry", torch.tensor(multinomial, dtype=torch.float64).sqrt(), persistent=False)
        self.roots = nn.Parameter(torch.tensor([factorial(i) ** -0.5 for i in range(degree + 1)]))

    @whole  # compiled by torch 2.13 for a CPU, the gradient of the indexing overruns a buffer
    def forward(self, x: Tensor) -> Tensor:
        """phi(x) [..., D] of x [..., d]."""
        one = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)
        monomials = one[..., self.factors[:, 0]]
        for i in range(1, self.degree):
            monomials = monomials * one[..., self.factors[:, i]]
        return monomials * self.roots.to(x.dtype)[self.order] * self.symmetry.to(x.dtype)
