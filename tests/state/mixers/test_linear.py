from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.base import Mixer
from mnemos.state.mixers.check import check_mixer
from mnemos.state.mixers.linear import GLA, Decay, LinearAttention, Mamba2, RetNet

MIXERS = {
    "linear attention": lambda: LinearAttention(16, 2),
    "retnet": lambda: RetNet(16, 2),
    "retnet, narrow values": lambda: RetNet(16, 4, expand=1),
    "gla": lambda: GLA(16, 2, rank=4),
    "mamba2": lambda: Mamba2(16, 2, width=6),
}


@pytest.mark.parametrize("name", MIXERS)
def test_keeps_the_contract_of_a_mixer(name: str) -> None:
    torch.manual_seed(0)
    check_mixer(MIXERS[name](), constant_state=True)


def test_linear_attention_is_attention_with_the_kernel_of_its_features() -> None:
    torch.manual_seed(0)
    mixer, x = LinearAttention(8, 2).double(), torch.randn(2, 9, 8, dtype=torch.float64)
    q, k, v = mixer.linear(x).unflatten(-1, (3, 2, 4)).unbind(2)
    weights = torch.einsum("bthk,bshk->bhts", F.elu(q) + 1, F.elu(k) + 1).tril()
    o = torch.einsum("bhts,bshv->bthv", weights / weights.sum(-1, keepdim=True), v)
    torch.testing.assert_close(mixer(x)[0], mixer.out(o.flatten(2)), atol=1e-5, rtol=1e-5)


def test_retention_weighs_a_token_by_its_distance_alone() -> None:
    torch.manual_seed(0)
    mixer = RetNet(8, 2)
    torch.testing.assert_close(mixer.log_decay.exp(), torch.tensor([1 - 2**-5, 1 - 2**-6]))
    x = torch.randn(1, 1, 8).expand(1, 5, 8)
    _, early = mixer(x)
    _, late = mixer(x, mixer(torch.zeros(1, 1000, 8))[1])  # zeros write nothing
    now = torch.randn(1, 1, 8)
    torch.testing.assert_close(mixer(now, early)[0], mixer(now, late)[0], atol=1e-4, rtol=1e-4)


def test_mamba2_is_its_state_space_recurrence() -> None:
    torch.manual_seed(0)
    mixer, x = Mamba2(8, 2, width=3).double(), torch.randn(1, 7, 8, dtype=torch.float64)
    gate, mixed = mixer.linear(x).split([16, 22], dim=-1)
    mixed, _ = mixer.conv(mixed, mixer.conv.start(1, x))
    inner, b, c = mixed.split([16, 3, 3], dim=-1)
    step = F.softplus(mixer.decay.linear(x) + mixer.decay.bias)
    h, outputs = torch.zeros(2, 3, 8, dtype=torch.float64), []
    for t in range(7):
        u = inner[0, t].view(2, 8)
        keep = torch.exp(-step[0, t] * mixer.decay.log_rate.exp())
        h = keep[:, None, None] * h + torch.einsum("h,n,hp->hnp", step[0, t], b[0, t], u)
        outputs.append((torch.einsum("n,hnp->hp", c[0, t], h) + mixer.skip[:, None] * u).flatten())
    y = mixer.out(mixer.norm(torch.stack(outputs)[None] * F.silu(gate)))
    torch.testing.assert_close(mixer(x)[0], y)


def test_steps_start_between_a_thousandth_and_a_tenth() -> None:
    torch.manual_seed(0)
    decay = Decay(4, 200)
    g, step = (part.detach() for part in decay(torch.zeros(1, 1, 4)))
    assert 0.00099 < float(step.min()) < 0.002
    assert 0.05 < float(step.max()) < 0.101
    torch.testing.assert_close(g, -decay.log_rate.detach().exp() * step)


@pytest.mark.parametrize(
    "make", [lambda: LinearAttention(10, 4), lambda: RetNet(12, 4), lambda: GLA(12, 4), lambda: Mamba2(10, 4)]
)
def test_widths_that_do_not_divide_are_refused(make: type[Mixer]) -> None:
    with pytest.raises(InvalidInput):
        make()
