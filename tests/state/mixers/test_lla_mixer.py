from __future__ import annotations

import pytest
import torch

from mnemos.core import get_system
from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.attention import Pairs
from mnemos.state.mixers.check import check_mixer
from mnemos.state.mixers.lla import LocalLinearAttention
from mnemos.state.ops.softmax_attention import softmax_attention


@pytest.mark.parametrize("probe", ["solve", "learned"])
@pytest.mark.parametrize("window", [None, 5])
def test_the_laws_of_mixers_hold(probe, window) -> None:
    torch.manual_seed(0)
    mixer = LocalLinearAttention(16, heads=2, window=window, probe=probe)
    if mixer.probe is not None:
        torch.nn.init.normal_(mixer.probe.weight, std=0.1)
    check_mixer(mixer)


def test_the_laws_hold_where_the_solver_iterates() -> None:
    # in float32 the first rows, with fewer keys than channels, carry about |q| |k| / ridge roundings
    torch.manual_seed(0)
    mixer, x, state, pieces = LocalLinearAttention(64, heads=1).double(), torch.randn(1, 20, 64).double(), None, []
    for piece in x.split([1, 7, 1, 11], 1):
        y, state = mixer(piece, state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), mixer(x)[0], atol=1e-9, rtol=1e-9)


def test_a_learned_probe_starts_as_softmax_attention() -> None:
    torch.manual_seed(0)
    mixer, x = LocalLinearAttention(16, heads=2, probe="learned"), torch.randn(2, 9, 16)
    q, k, v, _ = mixer.pairs(x, mixer.start(2, x), 0)
    torch.testing.assert_close(mixer(x)[0], mixer.out(softmax_attention(q, k, v).flatten(2)))


def test_keys_have_unit_variance_and_the_ridge_starts_at_a_tenth() -> None:
    torch.manual_seed(0)
    pairs = Pairs(16, 2, unit=True)
    _, k, _, _ = pairs(3 * torch.randn(1, 5, 16), pairs.start(1, torch.zeros(1)), 7)
    torch.testing.assert_close(k.square().mean(-1), torch.ones(1, 5, 2), atol=1e-4, rtol=1e-4)
    ridge = torch.nn.functional.softplus(LocalLinearAttention(16, heads=2).ridge)
    torch.testing.assert_close(ridge, torch.full((2,), 0.1))


def test_a_window_keeps_the_state_at_constant_size() -> None:
    torch.manual_seed(0)
    mixer, state = LocalLinearAttention(16, heads=2, window=4), None
    sizes = []
    for _ in range(8):
        _, state = mixer(torch.randn(1, 1, 16), state)
        sizes.append(state.nbytes())
    assert set(sizes[2:]) == {2 * 3 * 16 * 4}


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(InvalidInput, match="probe 'guess'"):
        LocalLinearAttention(16, heads=2, probe="guess")
    with pytest.raises(InvalidInput, match="window 0"):
        LocalLinearAttention(16, heads=2, window=0)


def test_it_is_in_the_catalogue() -> None:
    row = get_system("local_linear_attention")
    assert row.target == "mnemos.state.mixers.lla:LocalLinearAttention"
    assert row.claim is not None
