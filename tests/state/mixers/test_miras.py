from __future__ import annotations

import pytest
import torch

from mnemos.state.mixers.base import Mixer
from mnemos.state.mixers.check import check_mixer
from mnemos.state.mixers.miras import Memora, Moneta, Yaad


@pytest.mark.parametrize("mixer", [Moneta, Yaad, Memora])
def test_keeps_the_contract_of_a_mixer(mixer: type[Mixer]) -> None:
    torch.manual_seed(0)
    check_mixer(mixer(8, 2, chunk=4), tokens=11)


def test_memoras_weights_stay_positive_and_sum_to_one_per_unit() -> None:
    torch.manual_seed(0)
    mixer = Memora(8, 2, chunk=4)
    with torch.no_grad():
        _, state = mixer(100 * torch.randn(2, 30, 8))
    for number in range(2):
        weights = mixer.memory.memory.retention.weights(state["memory"]["memory"][f"weights{number}"])
        assert weights.min() >= 0
        torch.testing.assert_close(weights.sum(-2), torch.ones_like(weights.sum(-2)))


def test_monetas_weights_shrink_when_its_state_grows() -> None:
    torch.manual_seed(0)
    retention = Moneta(8, 2).memory.memory.retention
    state = retention.start(torch.randn(2, 4, 16))
    torch.testing.assert_close(retention.weights(10 * state), retention.weights(state) / 10)


def test_yaad_moves_no_further_for_a_huge_error_than_for_a_large_one() -> None:
    torch.manual_seed(0)
    mixer = Yaad(8, 2, chunk=4).double()
    memory = mixer.memory.memory
    k = torch.nn.functional.normalize(torch.randn(1, 1, 2, 4).double(), dim=-1)
    with torch.no_grad():
        start = memory.init(1)
        moved = [
            (memory.write(start, k, size * torch.ones_like(k))["weights1"] - start["weights1"]).norm()
            for size in (100.0, 10_000.0)
        ]
    torch.testing.assert_close(*moved)
