from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.check import check_mixer
from mnemos.state.mixers.delta import DeltaNet, GatedDeltaNet

MIXERS = {
    "deltanet": lambda: DeltaNet(16, 2),
    "gated deltanet": lambda: GatedDeltaNet(16, 2),
    "gated deltanet, narrow values, wide convolution": lambda: GatedDeltaNet(16, 4, expand=1, conv=6),
}


@pytest.mark.parametrize("name", MIXERS)
def test_keeps_the_contract_of_a_mixer(name: str) -> None:
    torch.manual_seed(0)
    check_mixer(MIXERS[name](), constant_state=True)


def test_a_longer_sequence_than_a_chunk_keeps_it_too() -> None:
    torch.manual_seed(0)
    check_mixer(GatedDeltaNet(8, 1), tokens=70)


def test_gated_deltanet_is_its_recurrence() -> None:
    torch.manual_seed(0)
    mixer, x = GatedDeltaNet(8, 2, expand=1).double(), torch.randn(1, 7, 8, dtype=torch.float64)
    q, k, v, _ = mixer.inputs(x, mixer.inputs.start(1, x))
    beta = mixer.beta(x).sigmoid()
    keep = torch.exp(-mixer.decay.log_rate.exp() * F.softplus(mixer.decay.linear(x) + mixer.decay.bias))
    state, outputs = torch.zeros(2, 4, 4, dtype=torch.float64), []
    for t in range(7):
        state = keep[0, t, :, None, None] * state
        error = v[0, t] - torch.einsum("hk,hkv->hv", k[0, t], state)
        state = state + torch.einsum("h,hk,hv->hkv", beta[0, t], k[0, t], error)
        outputs.append(torch.einsum("hk,hkv->hv", q[0, t], state) / 2)
    torch.testing.assert_close(mixer(x)[0], mixer.out(torch.stack(outputs)[None], x))


def test_keys_have_unit_length_whatever_the_input_is() -> None:
    torch.manual_seed(0)
    mixer, x = DeltaNet(16, 2), 100 * torch.randn(1, 5, 16)
    _, k, _, _ = mixer.inputs(x, mixer.inputs.start(1, x))
    torch.testing.assert_close(k.norm(dim=-1), torch.ones(1, 5, 2))


def test_outputs_do_not_blow_up_on_one_token_repeated() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 16).expand(1, 500, 16)
    for mixer in (DeltaNet(16, 2), GatedDeltaNet(16, 2)):
        _, state = mixer(x)
        assert float(state["memory"].detach().abs().max()) < 10


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(InvalidInput, match="heads 3"):
        DeltaNet(16, 3)


def test_a_state_of_one_does_not_fit_the_other() -> None:
    _, state = DeltaNet(16, 2)(torch.randn(1, 3, 16))
    with pytest.raises(InvalidInput, match="belongs to DeltaNet"):
        GatedDeltaNet(16, 2)(torch.randn(1, 3, 16), state)
