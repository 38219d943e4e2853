from __future__ import annotations

import pytest
import torch

from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.attention import SlidingWindowAttention, SoftmaxAttention
from mnemos.state.mixers.check import check_mixer


@pytest.mark.parametrize(
    "make",
    [
        lambda: SoftmaxAttention(16, heads=2),
        lambda: SlidingWindowAttention(16, heads=2, window=5),
        lambda: SlidingWindowAttention(16, heads=1, window=2),
        lambda: SlidingWindowAttention(16, heads=4, window=100),
    ],
    ids=["all", "window", "window of two", "window beyond the sequence"],
)
def test_the_laws_of_mixers_hold(make) -> None:
    torch.manual_seed(0)
    check_mixer(make())


def test_a_window_that_holds_everything_is_softmax_attention() -> None:
    torch.manual_seed(0)
    window, whole = SlidingWindowAttention(16, heads=2, window=9), SoftmaxAttention(16, heads=2)
    whole.load_state_dict(window.state_dict())
    x = torch.randn(2, 9, 16)
    torch.testing.assert_close(window(x)[0], whole(x)[0])


def test_the_state_of_a_window_stops_growing_and_holds_no_hidden_storage() -> None:
    torch.manual_seed(0)
    mixer, state, sizes = SlidingWindowAttention(16, heads=2, window=6), None, []
    with torch.no_grad():
        for _ in range(12):
            _, state = mixer(torch.randn(1, 1, 16), state)
            sizes.append(state.nbytes())
        _, long = mixer(torch.randn(1, 500, 16))
    assert sizes[4:] == [2 * 5 * 16 * 4] * 8
    assert sum(x.untyped_storage().nbytes() for x in long.tensors()) == sizes[-1]


def test_a_window_of_one_sees_itself_and_keeps_nothing() -> None:
    torch.manual_seed(0)
    mixer, x = SlidingWindowAttention(16, heads=2, window=1), torch.randn(2, 5, 16)
    y, state = mixer(x)
    torch.testing.assert_close(y, mixer.out(mixer.pairs.linear(x)[..., 32:]))
    assert state.nbytes() == 0


def test_positions_matter_and_only_their_differences_do() -> None:
    torch.manual_seed(0)
    mixer, x = SoftmaxAttention(16, heads=2), torch.randn(1, 4, 16)
    turned = mixer(x[:, [1, 0, 2, 3]])[0]
    assert not torch.allclose(turned[:, 3], mixer(x)[0][:, 3], atol=1e-4)
    _, parts = mixer.mix(x, mixer.start(1, x), 1000)
    late, _ = mixer.mix(x, mixer.start(1, x), 1000)
    torch.testing.assert_close(late, mixer(x)[0], atol=1e-5, rtol=1e-5)
    assert parts["k"].shape == (1, 4, 2, 8)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(InvalidInput, match="even"):
        SoftmaxAttention(9, heads=3)
    with pytest.raises(InvalidInput, match="multiple of heads"):
        SoftmaxAttention(16, heads=3)
    with pytest.raises(InvalidInput, match="window 0"):
        SlidingWindowAttention(16, heads=2, window=0)
