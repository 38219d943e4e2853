"""The two memories that no gradient writes: exact least squares, and the pairs themselves.

Axes: B batch, H heads, T tokens, S pairs kept, K and V widths of keys and values.
Source: Mesa layer (von Oswald et al., 2023; with a decay, MesaNet 2025); softmax attention as MIRAS, table 1, reads it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.gates import Filled
from mnemos.state.ops.softmax_attention import softmax_attention
from mnemos.state.rule import NonParametric


def solve_scan(
    gram: Tensor, cross: Tensor, q: Tensor | None, k: Tensor, v: Tensor, gates: Filled, ridge: float, prior: Tensor
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Add each pair to the normal equations, and read each q from their solution.

    Args:
        gram: [B, H, K, K], sum s k k^T so far.
        cross: [B, H, K, V], sum s k v^T so far.
        q: [B, T, H, K], or None to write only.
        k: [B, T, H, K].
        v: [B, T, H, V].
        gates: of these tokens.
        ridge: weight of |W - prior|^2.
        prior: [H, K, V].

    Returns:
        o [B, T, H, V] or None, gram, cross.

    Cost: O(K^3) per read, O(K (K + V)) per write.
    """
    outputs = []
    for t in range(k.shape[1]):
        key, keep = k[:, t, :, :, None], gates.log_keep[:, t, :, None, None].exp()
        weighed = gates.step[:, t, :, :, None] * key
        gram, cross = keep * gram + weighed @ key.mT, keep * cross + weighed @ v[:, t, :, None]
        if q is not None:
            outputs.append(solve_read(gram, cross, q[:, t : t + 1], ridge, prior))
    return torch.cat(outputs, dim=1) if outputs else None, gram, cross


def solve_read(gram: Tensor, cross: Tensor, q: Tensor, ridge: float, prior: Tensor) -> Tensor:
    """q [B, T, H, K] from the solution of (gram + ridge) W = cross + ridge prior: o [B, T, H, V]."""
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor = torch.linalg.cholesky(gram + ridge * eye)
    return (torch.cholesky_solve(q.permute(0, 2, 3, 1), factor).mT @ (cross + ridge * prior)).transpose(1, 2)


def attend_scan(
    rule: NonParametric, keys: Tensor, values: Tensor, q: Tensor | None, k: Tensor, v: Tensor
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Add the pairs, and read each q from those up to its own.

    Args:
        rule: scale and window.
        keys: [B, S, H, K] so far.
        values: [B, S, H, V] so far.
        q: [B, T, H, K], or None to write only.
        k: [B, T, H, K].
        v: [B, T, H, V].

    Returns:
        o [B, T, H, V] or None, and the keys and values kept.
    """
    keys, values = torch.cat([keys, k], dim=1), torch.cat([values, v], dim=1)
    o = None if q is None else softmax_attention(q, keys, values, scale=rule.scale, window=rule.window)
    if rule.window is not None:
        keys, values = keys[:, -rule.window :], values[:, -rule.window :]
    return o, keys, values


def attend_read(rule: NonParametric, keys: Tensor, values: Tensor, q: Tensor) -> Tensor:
    """o [B, T, H, V]: every q [B, T, H, K] reads all pairs kept.

    Raises:
        InvalidInput: nothing has been written.
    """
    if not keys.shape[1]:
        raise InvalidInput("nothing has been written: a mean over no pairs does not exist; write first")
    q, keys, values = (x.transpose(1, 2) for x in (q, keys, values))
    return F.scaled_dot_product_attention(q, keys, values, scale=rule.scale).transpose(1, 2)
