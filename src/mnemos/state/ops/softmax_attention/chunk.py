"""Softmax attention by blocks, heads first: q [B, H, T, K], k [B, H, S, K], v [B, H, S, V].

A window of W is walked in blocks of C queries, each of which sees C + W - 1 keys: all blocks have one mask, and
run as one batch. The first queries, whose window reaches back before the first key, see all keys up to their own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 64
"""Fewer queries than this in a block make the matrix products too small."""


def full_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Every query sees all keys up to its own; the last query stands at the last key."""
    queries, keys = q.shape[2], k.shape[2]
    if queries == keys:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    seen = None
    if queries > 1:
        seen = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale)


def window_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int, prefix: int) -> Tensor:
    """Every query sees the first `prefix` keys, and the `window` last of those up to its own."""
    queries, cached = q.shape[2], k.shape[2] - prefix - q.shape[2]
    head = min(queries, max(0, window - 1 - cached))
    parts = []
    if head:
        seen = prefix + cached + head
        parts.append(full_attention(q[:, :, :head], k[:, :, :seen], v[:, :, :seen], scale))
    if head < queries:
        sinks = k[:, :, :prefix], v[:, :, :prefix]
        first = prefix + cached + head - (window - 1)
        parts.append(_blocks(q[:, :, head:], k[:, :, first:], v[:, :, first:], sinks, scale, window))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def _blocks(q: Tensor, k: Tensor, v: Tensor, sinks: tuple[Tensor, Tensor], scale: float, window: int) -> Tensor:
    """T queries over T + window - 1 keys, so that every window is full."""
    batch, heads, queries, _ = q.shape
    size = min(queries, max(window, _BLOCK))
    count = -(-queries // size)
    fill = count * size - queries  # at the end, where causality hides it

    def spans(x: Tensor, sink: Tensor) -> Tensor:
        cut = F.pad(x, (0, 0, 0, fill)).unfold(2, size + window - 1, size).mT  # [B, H, N, C + W - 1, K]
        if sink.shape[2]:
            cut = torch.cat([sink[:, :, None].expand(-1, -1, count, -1, -1), cut], 3)
        return cut.flatten(1, 2)

    rows = F.pad(q, (0, 0, 0, fill)).reshape(batch, heads * count, size, -1)
    ahead = torch.ones(size, size + window - 1, dtype=torch.bool, device=q.device)
    seen = F.pad(ahead.triu() & ahead.tril(window - 1), (sinks[0].shape[2], 0), value=True)
    o = F.scaled_dot_product_attention(rows, spans(k, sinks[0]), spans(v, sinks[1]), attn_mask=seen, scale=scale)
    return o.reshape(batch, heads, count * size, -1)[:, :, :queries]
