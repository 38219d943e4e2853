"""`check_mixer` finds what is wrong with a mixer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.base import Mixer, Parts
from mnemos.state.mixers.check import check_mixer


class Sum(Mixer):
    """y_t = W sum of the tokens so far: a mixer that keeps the contract."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__(dim)
        self.linear = nn.Linear(dim, dim, bias=False)

    def start(self, batch: int, like: Tensor) -> Parts:
        return {"sum": like.new_zeros(batch, self.dim)}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        total = parts["sum"][:, None] + x.cumsum(1)
        return self.linear(total), {"sum": total[:, -1]}


class Forgetful(Sum):
    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        return super().mix(x, self.start(len(x), x), tokens)


class Oracle(Sum):
    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        y, parts = super().mix(x, parts, tokens)
        return (y + 1e-3 * x[:, -1:], parts) if x.shape[1] > 30 else (y, parts)


class Gossip(Sum):
    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        return super().mix(x + 0.1 * x.mean(0, keepdim=True), parts, tokens)


class Lost(Sum):
    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        y, parts = super().mix(x, parts, tokens)
        return y + tokens, parts


class Scribbler(Sum):
    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        parts["sum"].add_(x.sum(1))
        total = parts["sum"][:, None] - x.sum(1, keepdim=True) + x.cumsum(1)
        return self.linear(total), parts


class Idle(Sum):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(3))


class Detached(Sum):
    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        y, after = super().mix(x, parts, tokens)
        return y, {"sum": after["sum"].detach()}


class Hoarder(Sum):
    def start(self, batch: int, like: Tensor) -> Parts:
        return {"all": like.new_zeros(batch, 0, self.dim)}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        seen = torch.cat([parts["all"], x], 1)
        return self.linear(seen.cumsum(1)[:, -x.shape[1] :]), {"all": seen}


class Careless(Sum):
    def _check(self, x: Tensor) -> None:
        pass


def test_a_good_mixer_passes() -> None:
    check_mixer(Sum(), constant_state=True)
    check_mixer(Hoarder())


@pytest.mark.parametrize(
    ("mixer", "says"),
    [
        (Forgetful, "pieces"),
        (Oracle, "pieces|before token"),
        (Gossip, "row 0 alone"),
        (Lost, "pieces"),
        (Scribbler, "handed in|reordered|pieces"),
        (Idle, "unused takes no part"),
        (Detached, "back through the state"),
    ],
)
def test_each_broken_law_is_named(mixer: type[Sum], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_mixer(mixer())


def test_a_growing_state_is_found_where_it_may_not_grow() -> None:
    with pytest.raises(AssertionError, match="bytes"):
        check_mixer(Hoarder(), constant_state=True)


def test_a_mixer_that_takes_anything_is_found() -> None:
    with pytest.raises(AssertionError, match="must raise InvalidInput"):
        check_mixer(Careless())


def test_too_little_input_to_check_with_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 4 and 2"):
        check_mixer(Sum(), tokens=3)
