"""Softmax attention, query by query: the oracle."""

from __future__ import annotations

import torch
from torch import Tensor


def softmax_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None, window: int | None = None, prefix: int = 0
) -> Tensor:
    """As `softmax_attention`, without cu_seqlens."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    before, outputs = k.shape[1] - q.shape[1], []
    for t in range(q.shape[1]):
        place = before + t
        first = prefix if window is None else max(prefix, place + 1 - window)
        keys, values = (torch.cat([x[:, :prefix], x[:, first : place + 1]], 1) for x in (k, v))
        weights = (scale * torch.einsum("bhk,bshk->bhs", q[:, t], keys)).softmax(-1)
        outputs.append(torch.einsum("bhs,bshv->bhv", weights, values))
    return torch.stack(outputs, 1)
