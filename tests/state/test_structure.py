from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.structure import MLP, GatedMLP, Matrix, Network, Pairs, Vector, random_weights

K = V = 4
STRUCTURES: list[Network] = [Matrix(), Vector(), MLP(), MLP(depth=1), MLP(depth=3, expansion=2), GatedMLP()]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def predict(structure: Network, weights: list[Tensor], x: Tensor, gain: Tensor | None = None) -> Tensor:
    return structure.forward(lambda number, h: h @ weights[number], x, gain)


def matrices(structure: Network) -> list[Tensor]:
    return [draw(2, 3, *shape) for shape in structure.shapes(K, V)]


@pytest.mark.parametrize("structure", STRUCTURES, ids=str)
def test_every_matrix_is_used_once_and_the_prediction_is_as_wide_as_a_value(structure: Network) -> None:
    called = []

    def linear(number: int, h: Tensor) -> Tensor:
        called.append((number, h.shape[-1]))
        return h @ draw(h.shape[-1], structure.shapes(K, V)[number][1])

    assert structure.forward(linear, draw(2, 3, 5, K)).shape == (2, 3, 5, V)
    assert sorted(called) == [(number, i) for number, (i, _) in enumerate(structure.shapes(K, V))]


def test_a_matrix_multiplies_and_a_vector_answers_every_key_alike() -> None:
    x = draw(2, 3, 5, K)
    w = draw(2, 3, K, V)
    torch.testing.assert_close(predict(Matrix(), [w], x), x @ w)
    slot = draw(2, 3, 1, V)
    torch.testing.assert_close(predict(Vector(), [slot], x), slot.expand(2, 3, 5, V))


def test_the_networks_are_those_of_their_papers() -> None:
    x, gain = draw(2, 3, 5, K), draw(3, 1, V)
    a, b = matrices(MLP())
    inner = F.layer_norm(F.gelu(x @ a) @ b, (V,))
    torch.testing.assert_close(predict(MLP(), [a, b], x, gain), x + gain * inner)
    torch.testing.assert_close(predict(MLP(residual=False, norm=False), [a, b], x), F.gelu(x @ a) @ b)
    w = draw(2, 3, K, V)
    torch.testing.assert_close(predict(MLP(depth=1), [w], x), x + F.layer_norm(x @ w, (V,)))
    a, b, c = matrices(GatedMLP())
    torch.testing.assert_close(predict(GatedMLP(), [a, b, c], x), x + (F.gelu(x @ a) * (x @ b)) @ c)


def test_widths_follow_depth_and_expansion() -> None:
    assert MLP(depth=3, expansion=2, residual=False).shapes(4, 6) == [(4, 8), (8, 8), (8, 6)]
    assert GatedMLP(expansion=3, residual=False).shapes(2, 5) == [(2, 6), (2, 6), (6, 5)]
    assert Pairs().shapes(4, 4) == []


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(InvalidInput, match="keys of width 4 to values of width 6: make them equal"):
        MLP().shapes(4, 6)
    with pytest.raises(InvalidInput, match="depth = 0"):
        MLP(depth=0)
    with pytest.raises(InvalidInput, match=r"expansion = 1\.5"):
        GatedMLP(expansion=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("structure", [MLP(), MLP(depth=3), GatedMLP()], ids=str)
@pytest.mark.parametrize("width", [4, 256])
def test_unit_keys_of_any_width_give_hidden_units_of_unit_variance(structure: MLP | GatedMLP, width: int) -> None:
    torch.manual_seed(0)
    weights = random_weights(structure, 8, width, width)
    keys = F.normalize(torch.randn(64, width), dim=-1)
    for weight in weights[: structure.lifting]:
        torch.testing.assert_close((keys @ weight).std(), torch.tensor(1.0), rtol=0.15, atol=0.0)
    for weight in weights[structure.lifting :]:
        torch.testing.assert_close(weight.std(), torch.tensor(weight.shape[1] ** -0.5), rtol=0.15, atol=0.0)
