"""Parts that most mixers share: short convolution, q/k/v projections, gated output.

Axes: B batch, T time, D model width, H heads, K and V widths of keys and values per head.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnemos.state.ops.causal_conv import causal_conv


def l2norm(x: Tensor, eps: float = 1e-6) -> Tensor:
    """x scaled to unit length along its last axis; zero stays zero."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + eps)


def unit_square(x: Tensor) -> Tensor:
    """x scaled to a mean square of 1 along its last axis, the size of what a LayerNorm gives out."""
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


def keep_biases(heads: int) -> Tensor:
    """[H] biases of keep gates, 4 + 4 (h + 1/2) / H: heads that start by forgetting within some 60 to 3,000 tokens.

    A head that keeps sigmoid(4) = 0.982 per token, where all could start, has a tenth of a write left after 130
    tokens: from there no needle was learned. That heads begin with rates of their own is RetNet's and Mamba-2's habit.
    """
    return 4 + 4 * (torch.arange(heads) + 0.5) / heads


class ShortConv(nn.Module):
    """Causal depthwise convolution along time, SiLU after it, with its tail as state.

    y_t = SiLU(sum_i w_i x_{t-width+1+i}).
    """

    def __init__(self, channels: int, width: int = 4) -> None:
        super().__init__()
        self.channels, self.width = channels, width
        self.weight = nn.Parameter(torch.empty(channels, width))
        nn.init.uniform_(self.weight, -(width**-0.5), width**-0.5)

    def start(self, batch: int, like: Tensor) -> Tensor:
        """The tail before the first token: zeros [B, width-1, channels]."""
        return like.new_zeros(batch, self.width - 1, self.channels)

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, channels] after the last width-1 inputs `tail`; returns y and the new tail."""
        padded = torch.cat([tail.to(x.dtype), x], dim=1)
        if x.device.type == "cpu":
            y = causal_conv(padded, self.weight)
        else:
            y = F.silu(F.conv1d(padded.mT, self.weight[:, None], groups=self.channels).mT)
        return y, padded[:, padded.shape[1] - self.width + 1 :]


class Projections(nn.Module):
    """q, k, v of H heads from x: linear, short convolution, SiLU, unit length for q and k.

    One matrix and one convolution make all three; the parts can still be told apart by `split`.

    Args:
        dim: D.
        heads: H.
        key_dim: K.
        value_dim: V.
        conv: width of the convolution along time.
        unit: whether q and k get unit length.
        unit_values: whether v gets a mean square of 1, the size of what a network that ends in a LayerNorm can say.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        key_dim: int,
        value_dim: int,
        *,
        conv: int = 4,
        unit: bool = True,
        unit_values: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.key_dim, self.value_dim = heads, key_dim, value_dim
        self.unit, self.unit_values = unit, unit_values
        self.split = (heads * key_dim, heads * key_dim, heads * value_dim)
        self.linear = nn.Linear(dim, sum(self.split), bias=False)
        self.conv = ShortConv(sum(self.split), conv)

    def start(self, batch: int, like: Tensor) -> Tensor:
        """The convolution's empty tail."""
        return self.conv.start(batch, like)

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x [B, T, D] to q, k [B, T, H, K], v [B, T, H, V] and the new tail."""
        mixed, tail = self.conv(self.linear(x), tail)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in mixed.split(self.split, dim=-1))
        v = unit_square(v) if self.unit_values else v
        return (l2norm(q), l2norm(k), v, tail) if self.unit else (q, k, v, tail)


class GatedOutput(nn.Module):
    """Heads back to the model's width: RMS norm per head, times a gate of x, then linear: y = W_o (norm(o) * g(W_g x)).

    Args:
        dim: D.
        heads: H.
        value_dim: V.
        gate: g. "silu" is that of Mamba-2, GDN and MoM, "sigmoid" that of MIRAS: half open at first, where SiLU is near
            0 with either sign, so that a memory is heard before the gate has learned.
        eps: of the norm.
    """

    def __init__(
        self, dim: int, heads: int, value_dim: int, *, gate: Literal["silu", "sigmoid"] = "silu", eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.squash = F.silu if gate == "silu" else torch.sigmoid
        self.norm = nn.RMSNorm(value_dim, eps=eps)
        self.gate = nn.Linear(dim, heads * value_dim, bias=False)
        self.linear = nn.Linear(heads * value_dim, dim, bias=False)

    def forward(self, o: Tensor, x: Tensor) -> Tensor:
        """o [B, T, H, V] and the block's input x [B, T, D] to y [B, T, D]."""
        y: Tensor = self.linear(self.norm(o.to(x.dtype)).flatten(-2) * self.squash(self.gate(x)))
        return y
