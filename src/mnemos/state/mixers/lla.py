"""Local linear attention as a mixer: attention that fits a line around each query instead of a mean.

Paper: Local Linear Attention (arXiv:2510.01450). With probe "learned" it is its successor Parallax, which needs no
solver: the probe r is a projection of the token. The four choices are those of `mnemos.state.ops.lla`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnemos.core.catalogue import system
from mnemos.core.errors import InvalidInput
from mnemos.core.spec import Spec
from mnemos.state.mixers.attention import Pairs
from mnemos.state.mixers.base import Mixer, Parts
from mnemos.state.ops.lla import lla
from mnemos.state.ops.rotary import rotary

_RIDGE = 0.1
"""Ridge at the start, on keys of unit variance."""


@system(
    "local_linear_attention",
    title="Local Linear Attention",
    paper="arXiv:2510.01450",
    year=2025,
    wing="state",
    choices=Spec(
        structure="all key-value pairs, or those of a window",
        objective="squared error weighted by exp(q·k), with intercept and slope",
        retention="none, or the window's edge",
        rule="closed form per query",
    ),
    claim="On a sequence of linear segments, local linear attention predicts the next value better than softmax "
    "attention, which is better than one ridge regression on all pairs; the longer the segments, the more so.",
)
class LocalLinearAttention(Mixer):
    """Causal local linear attention with rotary positions, q and k of unit variance, and a learned ridge per head.

    The state holds keys and values, as that of attention does. A token costs O(keys it sees), times the solver's
    iterations if the probe is solved for.

    Args:
        dim: model width D.
        heads: must divide dim, with an even quotient.
        window: a token sees the last `window` tokens, itself among them; None sees all.
        probe: "solve" finds each query's best line; "learned" projects it from the token (Parallax) and starts at
            zero, as softmax attention.

    Raises:
        InvalidInput: dim and heads do not fit, a window below 1, or an unknown probe.
    """

    def __init__(
        self, dim: int, heads: int = 4, window: int | None = None, probe: Literal["solve", "learned"] = "solve"
    ) -> None:
        super().__init__(dim, heads=heads, window=window, probe=probe)
        if probe not in ("solve", "learned"):
            raise InvalidInput(f'probe {probe!r}: "solve" or "learned"')
        self.heads, self.window = heads, window
        self.pairs = Pairs(dim, heads, window, unit=True)
        self.out = nn.Linear(dim, dim, bias=False)
        if probe == "solve":
            self.ridge = nn.Parameter(torch.full((heads,), math.log(math.expm1(_RIDGE))))
            self.probe = None
        else:
            self.register_parameter("ridge", None)
            self.probe = nn.Linear(dim, dim, bias=False)
            nn.init.zeros_(self.probe.weight)

    def start(self, batch: int, like: Tensor) -> Parts:
        """No keys yet."""
        return self.pairs.start(batch, like)

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Attend over the cached keys and those of x."""
        q, k, v, after = self.pairs(x, parts, tokens)
        if self.probe is None:
            o = lla(q, k, v, lam=F.softplus(self.ridge), window=self.window)
        else:
            places = torch.arange(tokens, tokens + x.shape[1], device=x.device)
            r = rotary(self.probe(x).reshape(q.shape), places)
            o = lla(q, k, v, probe=r, window=self.window)
        return self.out(o.flatten(2)), after
