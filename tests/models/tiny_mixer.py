"""The smallest mixer that keeps the law: a running mean of values, and a state that knows its position."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnemos.models import MnemosForCausalLM
from mnemos.state.mixers.base import Mixer, Parts

Build = Callable[..., MnemosForCausalLM]
"""Makes a small model with these settings of its config."""
HOME = ("tiny_mixer:RunningMean", {})


class RunningMean(Mixer):
    """y_t = W_o (mean of W_v x_1..t), and an auxiliary loss that asks for small values."""

    def __init__(self, dim: int, heads: int = 1, *, scale: float = 1.0) -> None:
        super().__init__(dim, heads=heads, scale=scale)
        self.scale = scale
        self.value = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.register_buffer("ones", torch.full((1,), 1.0), persistent=False)  # a constant a meta device would lose
        self._auxiliary: Tensor | None = None

    def start(self, batch: int, like: Tensor) -> Parts:
        return {"sum": like.new_zeros(batch, self.dim)}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        v = self.value(x) * self.scale * self.ones
        self._auxiliary = v.square().mean()
        total = parts["sum"][:, None] + v.cumsum(1)
        count = torch.arange(tokens + 1, tokens + x.shape[1] + 1, device=x.device)[None, :, None]
        return self.out(torch.tanh(total / count)), {"sum": total[:, -1]}

    def auxiliary(self) -> Tensor | None:
        return self._auxiliary
