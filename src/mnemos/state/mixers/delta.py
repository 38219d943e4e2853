"""Baselines that correct what they recall: DeltaNet and Gated DeltaNet.

Structure: a matrix per head. Objective: squared error. Retention: none, or a number of the token. Rule: one gradient
step, S <- decay S, then S <- S + beta k (v - S^T k)^T.
"""

from __future__ import annotations

from torch import Tensor, nn

from mnemos.state.mixers.base import Mixer, Parts
from mnemos.state.mixers.linear import Decay
from mnemos.state.mixers.parts import GatedOutput, Projections
from mnemos.state.ops.check import accurate
from mnemos.state.ops.delta_rule import delta_rule, gated_delta_rule


class DeltaNet(Mixer):
    """The delta rule on unit keys, beta = sigmoid(W x). State and time per token O(D^2 / heads).

    Args:
        dim: model width D.
        heads: must divide dim.
        conv: width of the convolutions along time.

    Raises:
        InvalidInput: dim and heads do not fit.

    Source: Yang et al., arXiv:2406.06484; SiLU features, short convolutions and an RMS norm per head as there.
    """

    def __init__(self, dim: int, heads: int = 4, conv: int = 4) -> None:
        super().__init__(dim, heads=heads, conv=conv)
        width = dim // heads
        self.inputs = Projections(dim, heads, width, width, conv=conv)
        self.beta = nn.Linear(dim, heads, bias=False)
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.out = nn.Linear(dim, dim, bias=False)

    def start(self, batch: int, like: Tensor) -> Parts:
        """S [B, H, K, V] and the convolutions' tail."""
        return _start(self.inputs, batch, like)

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Correct and read."""
        q, k, v, tail = self.inputs(x, parts["tail"])
        beta = self.beta(x).to(accurate(x)).sigmoid()
        o, memory = delta_rule(q, k, v, beta, initial_state=parts["memory"], output_final_state=True)
        return self.out(self.norm(o).flatten(2)), {"memory": memory, "tail": tail}


class GatedDeltaNet(Mixer):
    """The delta rule after a decay of the token, with a gated output. State and time per token O(expand D^2 / heads).

    Args:
        dim: model width D.
        heads: must divide dim.
        expand: width of the values over that of the keys.
        conv: width of the convolutions along time.

    Raises:
        InvalidInput: dim and heads do not fit.

    Source: Yang et al., arXiv:2412.06464; decay and steps as in Mamba-2.
    """

    def __init__(self, dim: int, heads: int = 4, expand: int = 2, conv: int = 4) -> None:
        super().__init__(dim, heads=heads, expand=expand, conv=conv)
        width = dim // heads
        self.inputs = Projections(dim, heads, width, expand * width, conv=conv)
        self.beta = nn.Linear(dim, heads, bias=False)
        self.decay = Decay(dim, heads)
        self.out = GatedOutput(dim, heads, expand * width)

    def start(self, batch: int, like: Tensor) -> Parts:
        """S [B, H, K, V] and the convolutions' tail."""
        return _start(self.inputs, batch, like)

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Forget, correct and read."""
        q, k, v, tail = self.inputs(x, parts["tail"])
        beta = self.beta(x).to(accurate(x)).sigmoid()
        g, _ = self.decay(x)
        o, memory = gated_delta_rule(q, k, v, g, beta, initial_state=parts["memory"], output_final_state=True)
        return self.out(o, x), {"memory": memory, "tail": tail}


def _start(inputs: Projections, batch: int, like: Tensor) -> Parts:
    memory = like.new_zeros(batch, inputs.heads, inputs.key_dim, inputs.value_dim, dtype=accurate(like))
    return {"memory": memory, "tail": inputs.start(batch, like)}
