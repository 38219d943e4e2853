from __future__ import annotations

from math import comb

import pytest
import torch

from mnemos.core.errors import InvalidInput
from mnemos.state.features import Polynomial


@pytest.mark.parametrize(("width", "degree"), [(3, 1), (4, 2), (3, 4), (8, 3)])
def test_products_of_features_are_the_polynomial_of_products(width: int, degree: int) -> None:
    torch.manual_seed(0)
    phi = Polynomial(width, degree).double()
    with torch.no_grad():
        phi.roots.copy_(torch.rand(degree + 1))
    q, k = torch.randn(2, 5, width, dtype=torch.float64).unbind(0)
    product = (q * k).sum(-1)
    wanted = sum(phi.roots[i] ** 2 * product**i for i in range(degree + 1))
    torch.testing.assert_close((phi(q) * phi(k)).sum(-1), wanted, atol=1e-12, rtol=1e-12)
    assert phi(q).shape[-1] == comb(width + degree, degree)


def test_first_order_alone_is_the_identity() -> None:
    phi = Polynomial(4, 2).double()
    with torch.no_grad():
        phi.roots.copy_(torch.tensor([0.0, 1.0, 0.0]))
    x = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(phi(x)[:, 1:5], x)
    assert phi(x)[:, [0, *range(5, 15)]].abs().max() == 0


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_a_matrix_stores_as_many_pairs_as_there_are_features_and_no_more(degree: int) -> None:
    torch.manual_seed(0)
    phi = Polynomial(8, degree).double()

    def residual(pairs: int) -> float:
        keys = phi(torch.randn(pairs, 8, dtype=torch.float64)).detach()
        values = torch.randn(pairs, 4, dtype=torch.float64)
        weights = torch.linalg.lstsq(keys, values, driver="gelsd").solution
        return ((keys @ weights - values).norm() / values.norm()).item()

    assert residual(phi.features) < 1e-9
    assert residual(phi.features + 5) > 0.05


def test_the_exponential_is_approached_as_the_degree_grows() -> None:
    torch.manual_seed(0)
    q, k = torch.nn.functional.normalize(torch.randn(2, 50, 4, dtype=torch.float64), dim=-1).unbind(0)
    wrong = [
        ((Polynomial(4, p)(q) * Polynomial(4, p)(k)).sum(-1) - (q * k).sum(-1).exp()).abs().max() for p in (2, 4, 6)
    ]
    assert wrong[0] > 10 * wrong[1] > 100 * wrong[2]


def test_an_empty_polynomial_is_refused() -> None:
    with pytest.raises(InvalidInput, match="degree 0"):
        Polynomial(4, 0)
