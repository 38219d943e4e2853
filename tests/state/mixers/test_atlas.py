from __future__ import annotations

import pytest
import torch

from mnemos.state.mixers.atlas import SWLA, Atlas, DeepTransformer, Dot, OmegaNet
from mnemos.state.mixers.base import Mixer
from mnemos.state.mixers.check import check_mixer
from mnemos.state.mixers.parts import l2norm
from mnemos.state.ops.newton_schulz import newton_schulz

MIXERS = {
    "omeganet": lambda: OmegaNet(8, 2, window=3, width=2, chunk=4),
    "omeganet, window wider than its chunk": lambda: OmegaNet(8, 2, window=6, degree=1, chunk=4),
    "atlas": lambda: Atlas(8, 2, window=3, width=2, chunk=4),
    "atlas++": lambda: Atlas(8, 2, window=2, degree=1, chunk=4, gated=True),
    "swla": lambda: SWLA(8, 2, window=3),
    "swla, lifted": lambda: SWLA(8, 2, window=3, degree=2, width=2),
    "dot": lambda: Dot(8, 2),
    "dot, window": lambda: Dot(8, 2, window=3),
    "deep transformer": lambda: DeepTransformer(8, 2),
}
GROWING = {"dot", "dot, window", "deep transformer"}


@pytest.mark.parametrize("name", MIXERS)
def test_keeps_the_contract_of_a_mixer(name: str) -> None:
    torch.manual_seed(0)
    check_mixer(MIXERS[name](), tokens=11)


@pytest.mark.parametrize("name", sorted(MIXERS.keys() - GROWING))
def test_the_state_stops_growing(name: str) -> None:
    torch.manual_seed(0)
    mixer: Mixer = MIXERS[name]()
    x = torch.randn(1, 40, 8)
    with torch.no_grad():
        _, early = mixer(x[:, :20])
        _, late = mixer(x[:, 20:], early)
    assert late.nbytes() == early.nbytes()


def test_a_token_that_no_window_admits_leaves_the_output_alone() -> None:
    torch.manual_seed(1)
    mixer = OmegaNet(8, 2, window=3, width=2, chunk=4).double()
    inside = mixer.memory
    x, q, k, v = torch.randn(1, 9, 8).double(), *(l2norm(torch.randn(3, 1, 9, 2, 4).double())).unbind(0)
    f = mixer.lift(k)
    with torch.no_grad():
        inside.linear.weight.zero_()
        inside.linear.bias.zero_()
        inside.linear.weight[inside.names.index("admit") * 2 :, 0] = -1e4  # shut where x's first channel is 1
        x[..., 0] = 0
        x[:, 5, 0] = 1
        start = inside.start(1, x)
        before, _ = inside(x, mixer.lift(q), f, v, start)
        v[:, 5] += 100
        after, _ = inside(x, mixer.lift(q), f, v, start)
    torch.testing.assert_close(after, before, atol=1e-12, rtol=0)


def test_the_write_of_atlas_has_singular_values_near_one() -> None:
    torch.manual_seed(2)
    for shape in ((15, 15), (15, 4)):
        values = torch.linalg.svdvals(newton_schulz(torch.randn(*shape, dtype=torch.float64)))
        assert values.min() > 0.65
        assert values.max() < 1.25


def test_deep_transformer_without_decay_is_softmax_attention_up_to_its_norm() -> None:
    torch.manual_seed(3)
    mixer = DeepTransformer(8, 2).double()
    with torch.no_grad():
        mixer.gates.weight.zero_()
        mixer.gates.bias.fill_(torch.inf)  # keeps and writes everything
    mixer.output.norm.eps = 0.0
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    q, k, v, _ = mixer.projections(x, mixer.projections.start(2, x))
    scores = torch.einsum("bthk,bshk->bhts", q, k).masked_fill(torch.ones(7, 7).triu(1).bool(), -torch.inf)
    o = torch.einsum("bhts,bshv->bthv", scores.exp(), v)
    torch.testing.assert_close(mixer(x)[0], mixer.output(o, x), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", ["omeganet", "atlas", "atlas++"])
def test_the_memory_stays_finite_where_every_gate_is_open_and_values_are_large(name: str) -> None:
    torch.manual_seed(4)
    mixer = MIXERS[name]()
    with torch.no_grad():
        mixer.memory.linear.bias.fill_(20.0)
        y, state = mixer(30 * torch.randn(1, 400, 8))
    assert y.isfinite().all()
    assert all(tensor.isfinite().all() for tensor in state.tensors())
