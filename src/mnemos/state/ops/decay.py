"""The chunk algebra: how much of what was written at token i is left at token t.

A memory W that keeps a share alpha_t of itself, fed by a momentum M that keeps a share mu_t,

    M_t = mu_t M_{t-1} + U_t,    W_t = alpha_t W_{t-1} + M_t,

is linear in its writes U, so inside a chunk of C tokens that starts at (W_0, M_0)

    W_t = a_t W_0 + b_t M_0 + sum_{i<=t} Gamma_{ti} U_i,    M_t = m_t M_0 + sum_{i<=t} N_{ti} U_i

with A_{tj} = prod_{l=j+1..t} alpha_l, N_{ji} = prod_{l=i+1..j} mu_l, Gamma = A N. Titans, ATLAS, the MIRAS models and
the delta rules differ only in what U is. A window of past tokens, as in ATLAS, multiplies Gamma by a banded matrix.

Source: Titans, section 3.2 and appendix C, in closed form. All decays are given as logarithms, [..., C].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def decay_matrix(log_decay: Tensor) -> Tensor:
    """[..., C] to [..., C, C]: D_{ti} = prod_{l=i+1..t} decay_l for i <= t, else 0.

    Products of decays, no difference of sums of logarithms: exact for decays near 0, and 0 itself
    (log -inf) is allowed.
    """
    size = log_decay.shape[-1]
    full = 1 << (size - 1).bit_length()
    matrix: Tensor = DecayMatrix.apply(F.pad(log_decay, (0, full - size)))
    return matrix[..., :size, :size]


class DecayMatrix(torch.autograd.Function):
    """`decay_matrix` where C is a power of two.

    In a tree of halves over the chunk: where s begins the second half, D_{ti} = (D_{ts} decay_s) D_{s-1,i}, all known
    from the halves. Backward: as D_{ti} contains decay_l for i < l <= t, its gradient in log decay_l is
    sum_{t>=l} sum_i - sum_{i>=l} sum_t of dD * D.
    """

    @staticmethod
    def forward(ctx: Any, log_decay: Tensor) -> Tensor:
        size = log_decay.shape[-1]
        decay = log_decay.exp().contiguous()
        matrix = torch.eye(size, dtype=decay.dtype, device=decay.device).repeat(*decay.shape[:-1], 1, 1)
        half = 1
        while half < size:
            pairs = size // half // 2
            blocks = matrix.view(-1, pairs, 2, half, pairs, 2, half).diagonal(dim1=1, dim2=4)
            into = blocks[:, 1, :, 1, 0] * decay.view(-1, pairs, 2, half)[:, None, :, 1, 0]
            torch.mul(into[:, :, None], blocks[:, 0, None, -1, 0], out=blocks[:, 1, :, 0])
            half *= 2
        ctx.save_for_backward(matrix)
        return matrix

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        matrix: Tensor = ctx.saved_tensors[0]
        share = (grad * matrix).tril(-1)
        return (share.sum(-1) - share.sum(-2)).flip(-1).cumsum(-1).flip(-1)


class Chunk(NamedTuple):
    """The weights of a chunk: see the module's equations."""

    gamma: Tensor
    """[..., C, C]: weight of write i in W_t."""
    keep: Tensor
    """[..., C]: a_t, weight of W_0 in W_t."""
    push: Tensor | None
    """[..., C]: b_t, weight of M_0 in W_t; None without momentum."""
    momentum: Tensor | None
    """[..., C, C]: N, weight of write i in M_t; None without momentum."""
    momentum_keep: Tensor | None
    """[..., C]: m_t, weight of M_0 in M_t; None without momentum."""


def chunk_weights(log_keep: Tensor, log_momentum: Tensor | None = None, live: Tensor | None = None) -> Chunk:
    """The weights of one chunk.

    Args:
        log_keep: [..., C] log alpha.
        log_momentum: [..., C] log mu; None for a memory without momentum (M_t = U_t).
        live: [..., C], 0 where a token only fills the chunk up: W_t = W_{t-1} there, whatever M is (such a token
            must come with alpha = mu = 1 and U = 0). None where all tokens are real.
    """
    across = decay_matrix(log_keep)
    keep = log_keep.cumsum(-1).exp()
    if log_momentum is None:
        return Chunk(across, keep, None, None, None)
    if live is not None:
        across = across * live[..., None, :]
    momentum = decay_matrix(log_momentum)
    momentum_keep = log_momentum.cumsum(-1).exp()
    push = (across @ momentum_keep[..., None]).squeeze(-1)
    return Chunk(across @ momentum, keep, push, momentum, momentum_keep)
