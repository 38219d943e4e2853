from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.check import check_mixer
from mnemos.state.mixers.titans import Titans, TitansMAC, TitansMAG, TitansMAL
from mnemos.state.ops.rotary import rotary

MIXERS = {
    "deep": lambda: Titans(8, 2, chunk=4),
    "matrix": lambda: Titans(8, 2, memory_depth=1),
    "context": lambda: TitansMAC(16, 2, segment=4, persistent=3),
    "context, matrix": lambda: TitansMAC(8, 2, memory_depth=1, segment=4),
    "gate": lambda: TitansMAG(8, 2, chunk=4, window=5, persistent=2),
    "layer": lambda: TitansMAL(8, 2, chunk=4, window=5, persistent=2),
    "layer without persistent vectors": lambda: TitansMAL(8, 2, chunk=4, window=5, persistent=0),
}


@pytest.mark.parametrize("name", MIXERS)
def test_keeps_the_contract_of_a_mixer(name: str) -> None:
    torch.manual_seed(0)
    check_mixer(MIXERS[name](), tokens=11)


@pytest.mark.parametrize("name", MIXERS)
def test_the_state_stops_growing(name: str) -> None:
    torch.manual_seed(0)
    mixer = MIXERS[name]()
    x = torch.randn(1, 40, mixer.dim)
    with torch.no_grad():
        _, early = mixer(x[:, :20])
        _, late = mixer(x[:, 20:], early)
    assert late.nbytes() == early.nbytes()


def test_without_recall_prefix_and_gate_context_is_attention_within_the_segment() -> None:
    torch.manual_seed(1)
    mixer = TitansMAC(8, 2, segment=4, persistent=0).double()
    with torch.no_grad():
        mixer.gate.weight.zero_()
        mixer.gate.bias.fill_(torch.inf)  # sigmoid(inf) = 1
    seen = mixer._seen
    mixer._seen = (
        lambda places, keys: torch.cat(  # the recalled half hidden
            [torch.zeros_like(seen(places, keys)[:, :keys]), seen(places, keys)[:, keys:]], dim=1
        )
    )
    x = torch.randn(2, 10, 8, dtype=torch.float64)
    y, _ = mixer(x)

    q, k, v = (one.reshape(2, 10, 2, 4) for one in mixer.attend(x).chunk(3, -1))
    places = torch.arange(10) % 4
    q, k = rotary(q, places), rotary(k, places)
    block = torch.arange(10) // 4
    mask = (block[:, None] == block) & (torch.arange(10)[:, None] >= torch.arange(10))
    o = F.scaled_dot_product_attention(*(one.transpose(1, 2) for one in (q, k, v)), attn_mask=mask)
    torch.testing.assert_close(y, mixer.out(o.transpose(1, 2).flatten(2)), atol=1e-10, rtol=1e-10)


def test_a_context_is_written_from_its_input_beside_what_its_attention_gives() -> None:
    torch.manual_seed(6)
    mixer = TitansMAC(8, 2, segment=4)
    with torch.no_grad():
        mixer.attend.weight.zero_()
        mixer.recalled.weight.zero_()
        one, other = (mixer(torch.randn(1, 4, 8))[1]["memory"]["memory"]["weights0"] for _ in range(2))
    assert not torch.equal(one, other)


def test_the_papers_context_shows_a_token_its_whole_segment_and_the_causal_one_does_not() -> None:
    def change(mode: str) -> Tensor:
        torch.manual_seed(2)
        mixer = TitansMAC(8, 2, segment=4)
        mixer.mode = mode
        x = torch.randn(1, 8, 8)
        before = mixer(x)[0]
        x[:, 7] += 1
        return (mixer(x)[0] - before)[0].abs().amax(-1)

    assert change("causal")[:7].max() == 0
    paper = change("paper")
    assert paper[:4].max() == 0
    assert (paper[4:7] > 0).all()


def test_the_papers_context_takes_whole_segments_only() -> None:
    mixer = TitansMAC(8, 2, segment=4)
    mixer.mode = "paper"
    with pytest.raises(InvalidInput, match="whole segments of 4"):
        mixer(torch.randn(1, 6, 8))


@pytest.mark.parametrize("depth", [1, 2])
def test_with_a_zero_step_the_memory_never_changes(depth: int) -> None:
    torch.manual_seed(3)
    mixer = Titans(8, 2, memory_depth=depth, chunk=4)
    mixer.memory.step_max = 0.0
    with torch.no_grad():
        mixer.memory.linear.bias[2:4] = 40.0  # keeps everything: sigmoid rounds to 1
        for weight in mixer.memory.memory.weights:
            weight.normal_()
        _, state = mixer(torch.randn(2, 9, 8))
    for number, first in enumerate(mixer.memory.memory.weights):
        last = state["memory"]["memory"][f"weights{number}"]
        torch.testing.assert_close(last, first.expand_as(last))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no positive multiple"):
        Titans(10, 4)


def test_a_context_needs_an_even_width_per_head() -> None:
    with pytest.raises(InvalidInput, match="even"):
        TitansMAC(6, 2)


def test_a_layer_whose_memory_is_silent_is_attention_over_its_input() -> None:
    torch.manual_seed(4)
    mixer = TitansMAL(8, 2, chunk=4, window=3, persistent=0)
    with torch.no_grad():
        mixer.memory.output.linear.weight.zero_()
    x = torch.randn(2, 9, 8)
    torch.testing.assert_close(mixer(x)[0], mixer.attention(mixer.norm(x))[0])
