"""Baselines with additive writes: linear attention, RetNet, GLA and Mamba-2.

Structure: a matrix per head. Objective: dot product. Retention: none, a fixed number, a vector or a number of the
token. Rule: one gradient step, S <- decay S + k v^T.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.base import Mixer, Parts
from mnemos.state.mixers.parts import GatedOutput, ShortConv
from mnemos.state.ops.check import accurate
from mnemos.state.ops.linear_attention import linear_attention
from mnemos.state.ops.rotary import rotary


class LinearAttention(Mixer):
    """Attention whose softmax is replaced by features: y = phi(q) S / phi(q) z, phi = elu + 1.

    S sums phi(k) v^T and z sums phi(k), so the output is a weighted mean of the values seen. State and time per token
    O(D^2 / heads).

    Args:
        dim: model width D.
        heads: must divide dim.

    Raises:
        InvalidInput: dim and heads do not fit.

    Source: Katharopoulos et al., Transformers are RNNs, arXiv:2006.16236.
    """

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__(dim, heads=heads)
        self.heads = heads
        self.linear = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def start(self, batch: int, like: Tensor) -> Parts:
        """S and z side by side, [B, H, K, V + 1]."""
        width = self.dim // self.heads
        return {"memory": like.new_zeros(batch, self.heads, width, width + 1, dtype=accurate(like))}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Write and read; a constant channel of the values makes z."""
        q, k, v = self.linear(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        v = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
        o, memory = linear_attention(
            F.elu(q) + 1, F.elu(k) + 1, v, initial_state=parts["memory"], output_final_state=True
        )
        return self.out((o[..., :-1] / (o[..., -1:] + 1e-6)).flatten(2)), {"memory": memory}


class RetNet(Mixer):
    """Retention: every head forgets at a rate of its own, 1 - 2^(-5-h), and turns q and k by position.

    State and time per token O(expand D^2 / heads).

    Args:
        dim: model width D.
        heads: must divide dim, with an even quotient.
        expand: width of the values over that of the keys.

    Raises:
        InvalidInput: dim and heads do not fit.

    Source: Sun et al., Retentive Network, arXiv:2307.08621; RMS norm instead of group norm over a head, which is the
    same up to the mean.
    """

    def __init__(self, dim: int, heads: int = 4, expand: int = 2) -> None:
        super().__init__(dim, heads=heads, expand=expand)
        if dim // heads % 2:
            raise InvalidInput(f"{dim // heads} channels per head cannot be turned in pairs: make dim / heads even")
        self.heads, self.width = heads, dim // heads
        self.linear = nn.Linear(dim, (2 + expand) * dim, bias=False)
        self.out = GatedOutput(dim, heads, expand * self.width)
        decay = [math.log1p(-(2.0 ** (-5 - head))) for head in range(heads)]
        self.register_buffer("log_decay", torch.tensor(decay), persistent=False)
        self.log_decay: Tensor

    def start(self, batch: int, like: Tensor) -> Parts:
        """S [B, H, K, V]."""
        return {
            "memory": like.new_zeros(batch, self.heads, self.width, self.out.norm.weight.numel(), dtype=accurate(like))
        }

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Turn q and k, forget, write, read."""
        q, k, v = self.linear(x).split([self.dim, self.dim, self.linear.out_features - 2 * self.dim], dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in (q, k, v))
        places = torch.arange(tokens, tokens + x.shape[1], device=x.device)
        g = self.log_decay.to(accurate(x)).expand(*x.shape[:2], -1)
        o, memory = linear_attention(
            rotary(q, places), rotary(k, places), v, g, initial_state=parts["memory"], output_final_state=True
        )
        return self.out(o, x), {"memory": memory}


class GLA(Mixer):
    """Gated linear attention: every key channel forgets at a rate of the token.

    log decay = logsigmoid(W_2 W_1 x + b) / 16. State and time per token O(D^2 / (2 heads)).

    Args:
        dim: model width D.
        heads: 2 heads must divide dim: keys have half the width of values.
        rank: of the gate's matrix W_2 W_1.

    Raises:
        InvalidInput: dim and heads do not fit.

    Source: Yang et al., arXiv:2312.06635, section 4.4.
    """

    def __init__(self, dim: int, heads: int = 4, rank: int = 16) -> None:
        super().__init__(dim, heads=heads, rank=rank)
        if dim % (2 * heads):
            raise InvalidInput(f"dim {dim} is no multiple of 2 x heads {heads}, and keys have half the width of values")
        self.heads, self.width = heads, dim // heads // 2
        self.linear = nn.Linear(dim, 2 * dim, bias=False)
        self.gate = nn.Sequential(nn.Linear(dim, rank, bias=False), nn.Linear(rank, dim // 2))
        self.out = GatedOutput(dim, heads, 2 * self.width)

    def start(self, batch: int, like: Tensor) -> Parts:
        """S [B, H, K, V]."""
        return {"memory": like.new_zeros(batch, self.heads, self.width, 2 * self.width, dtype=accurate(like))}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Forget by channel, write, read."""
        q, k, v = self.linear(x).split([self.dim // 2, self.dim // 2, self.dim], dim=-1)
        g = F.logsigmoid(self.gate(x).to(accurate(x))) / 16
        q, k, v, g = (part.unflatten(-1, (self.heads, -1)) for part in (q, k, v, g))
        o, memory = linear_attention(q, k, v, g, initial_state=parts["memory"], output_final_state=True)
        return self.out(o, x), {"memory": memory}


class Mamba2(Mixer):
    """Mamba-2: a state space layer as linear attention, with keys B and queries C shared by all heads.

    h <- exp(-dt exp(A_log)) h + dt B x^T, y = C h + skip x; step dt by head and token. State and time per token
    O(expand D width).

    Args:
        dim: model width D.
        heads: must divide dim.
        width: channels N of B and C, the "state size".
        expand: inner width over D.
        conv: width of the convolution along time.

    Raises:
        InvalidInput: dim and heads do not fit.

    Source: Dao and Gu, Transformers are SSMs, arXiv:2405.21060, section 7 and its published defaults.
    """

    def __init__(self, dim: int, heads: int = 4, width: int = 128, expand: int = 2, conv: int = 4) -> None:
        super().__init__(dim, heads=heads, width=width, expand=expand, conv=conv)
        inner = expand * dim
        self.heads, self.split = heads, [inner, width, width]
        self.linear = nn.Linear(dim, inner + sum(self.split), bias=False)
        self.conv = ShortConv(sum(self.split), conv)
        self.decay = Decay(dim, heads)
        self.skip = nn.Parameter(torch.ones(heads))
        self.norm = nn.RMSNorm(inner, eps=1e-5)
        self.out = nn.Linear(inner, dim, bias=False)

    def start(self, batch: int, like: Tensor) -> Parts:
        """h [B, H, N, V] and the convolution's tail."""
        inner, width, _ = self.split
        memory = like.new_zeros(batch, self.heads, width, inner // self.heads, dtype=accurate(like))
        return {"memory": memory, "tail": self.conv.start(batch, like)}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Convolve, forget, write, read; gate before the norm."""
        gate, mixed = self.linear(x).split([self.split[0], sum(self.split)], dim=-1)
        mixed, tail = self.conv(mixed, parts["tail"])
        v, k, q = mixed.split(self.split, dim=-1)
        v = v.unflatten(-1, (self.heads, -1))
        k, q = (part[:, :, None].expand(-1, -1, self.heads, -1) for part in (k, q))
        g, step = self.decay(x)
        write = (step[..., None] * v).to(v.dtype)
        o, memory = linear_attention(q, k, write, g, 1.0, initial_state=parts["memory"], output_final_state=True)
        o = (o + self.skip[:, None] * v).flatten(2)
        return self.out(self.norm(o * F.silu(gate))), {"memory": memory, "tail": tail}


class Decay(nn.Module):
    """A log decay per head and token, g = -exp(A_log) dt, with the step dt = softplus(W x + bias).

    At the start steps are spread from 0.001 to 0.1 and exp(A_log) from 1 to 16, as Mamba-2 and Gated DeltaNet do it.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, heads, bias=False)
        self.log_rate = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        step = torch.empty(heads).uniform_(math.log(0.001), math.log(0.1)).exp()
        self.bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus of it is the step

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, D] to g and dt, [B, T, H] each, in the state's dtype."""
        dtype = accurate(x)
        step = F.softplus(self.linear(x).to(dtype) + self.bias.to(dtype))
        return -self.log_rate.to(dtype).exp() * step, step
