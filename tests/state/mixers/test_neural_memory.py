from __future__ import annotations

import pytest
import torch

from mnemos.state.mixers.miras import Memora, Moneta, Yaad
from mnemos.state.mixers.neural_memory import MemoryMixer
from mnemos.state.mixers.parts import keep_biases
from mnemos.state.mixers.titans import Titans


def _values(mixer: MemoryMixer, size: float) -> torch.Tensor:
    x = size * torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    return mixer.projections(x, mixer.projections.start(2, x))[2]


@pytest.mark.parametrize("mixer", [Titans, Moneta, Yaad, Memora])
def test_a_network_that_ends_in_a_layernorm_is_asked_for_values_of_its_own_size(mixer: type[MemoryMixer]) -> None:
    torch.manual_seed(0)
    squares = _values(mixer(16, 2), 3.0).square().mean(-1)
    torch.testing.assert_close(squares, torch.ones_like(squares), rtol=1e-2, atol=0.0)


def test_a_matrix_stores_values_of_any_size() -> None:
    torch.manual_seed(0)
    small, large = (_values(Titans(16, 2, memory_depth=1), size).norm() for size in (1.0, 100.0))
    assert large > 10 * small


def test_a_token_that_says_nothing_to_the_gate_leaves_it_half_open() -> None:
    torch.manual_seed(0)
    output = Titans(16, 2).output
    o = torch.randn(1, 3, 2, 8)
    half_open = output.linear(output.norm(o).flatten(-2) / 2)
    torch.testing.assert_close(output(o, torch.zeros(1, 3, 16)), half_open)


@pytest.mark.parametrize("heads", [1, 2, 7])
def test_heads_start_with_horizons_of_their_own_between_a_sentence_and_a_chapter(heads: int) -> None:
    memory = Titans(8 * heads, heads).memory
    at = memory.names.index("keep") * heads
    biases = memory.linear.bias[at : at + heads]
    torch.testing.assert_close(biases, keep_biases(heads))
    horizons = 1 / biases.neg().sigmoid()  # tokens after which 1 / e is left
    assert 50 < horizons.min() <= horizons.max() < 3000
    assert horizons.unique().numel() == heads
