from __future__ import annotations

import math

import pytest
import torch

from mnemos.core.errors import InvalidInput
from mnemos.learn import isotropy


def test_the_identity_is_flat() -> None:
    flat = isotropy(torch.eye(8, dtype=torch.float64), k=2)
    assert float(flat.entropy) == pytest.approx(1)
    assert float(flat.effective_rank) == pytest.approx(8)
    assert float(flat.top_energy) == pytest.approx(2 / 8)
    assert float(flat.quartile_ratio) == pytest.approx(1)
    assert float(flat.energy_quartile_ratio) == pytest.approx(1)
    assert float(flat.least_to_largest) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rank_one_is_all_in_one_direction(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    one = isotropy(torch.outer(*(torch.randn(n, generator=draw, dtype=dtype) for n in (6, 9))))
    assert float(one.entropy) == pytest.approx(0, abs=1e-6)
    assert float(one.effective_rank) == pytest.approx(1, abs=1e-6)
    assert float(one.top_energy) == pytest.approx(1)
    assert float(one.quartile_ratio) == math.inf
    assert float(one.least_to_largest) == 0


def test_a_known_spectrum_gives_the_formulas_values() -> None:
    sigma = torch.tensor([4.0, 2.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    q = sigma.square() / sigma.square().sum()
    entropy = -(q * q.log()).sum()
    w = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)).double())[0] @ sigma.diag()
    found = isotropy(w, k=2)
    assert float(found.entropy) == pytest.approx(float(entropy) / math.log(5))
    assert float(found.effective_rank) == pytest.approx(math.exp(entropy))
    assert float(found.top_energy) == pytest.approx(20 / 26)
    assert float(found.quartile_ratio) == pytest.approx(2)
    assert float(found.energy_quartile_ratio) == pytest.approx(4)
    assert float(found.least_to_largest) == pytest.approx(0.25)


def test_neither_scale_nor_rotation_nor_transposing_matters() -> None:
    draw = torch.Generator().manual_seed(2)
    w = torch.randn(4, 7, generator=draw, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=draw, dtype=torch.float64))[0]
    expected = isotropy(w)
    for other in (1e-30 * w, turn @ w, w.mT):
        assert float(isotropy(other).entropy) == pytest.approx(float(expected.entropy))
        assert float(isotropy(other).quartile_ratio) == pytest.approx(float(expected.quartile_ratio))


def test_a_batch_is_its_matrices_one_by_one() -> None:
    w = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = isotropy(w).effective_rank
    assert found.shape == (2, 3)
    assert float(found[1, 2]) == pytest.approx(float(isotropy(w[1, 2]).effective_rank))


def test_a_vector_as_matrix_is_flat() -> None:
    assert float(isotropy(torch.ones(1, 4)).entropy) == 1


@pytest.mark.parametrize(
    ("w", "k"),
    [(torch.zeros(3, 3), 1), (torch.ones(3), 1), (torch.eye(2, dtype=torch.long), 1), (torch.eye(2), 0),
     (torch.full((2, 2), torch.nan), 1), (torch.ones(0, 3), 1)],
)  # fmt: skip
def test_what_has_no_spectrum_is_refused(w: torch.Tensor, k: int) -> None:
    with pytest.raises(InvalidInput):
        isotropy(w, k)
