"""Causal softmax attention, whole or in a sliding window, over keys of which some may be cached.

o_t = sum_j p_tj v_j, p_tj = softmax over the visible j of scale q_t . k_j

Axes: B batch, T queries, S keys, H heads, K and V widths of keys and values.
Source: Vaswani et al., Attention Is All You Need (2017); the window with always visible keys: Titans, section 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.pack import check_cu_seqlens, pack, unpack
from mnemos.state.ops.softmax_attention.chunk import full_attention, window_attention
from mnemos.state.ops.whole import whole

__all__ = ["softmax_attention"]


@whole
def softmax_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    window: int | None = None,
    prefix: int = 0,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Attend causally.

    The last query stands at the last key, so S - prefix - T keys lie before the first query: a cache.
    Time O(T S); O(T (window + prefix)) with a window, and memory too.

    Args:
        q: [B, T, H, K].
        k: [B, S, H, K], the `prefix` keys first.
        v: [B, S, H, V].
        scale: factor of q . k; K^-0.5 if None.
        window: a query sees this many of the last keys, its own among them; None sees all.
        prefix: the first keys, that every query sees besides (persistent tokens, attention sinks).
        cu_seqlens: int64 [N+1], borders of N sequences packed into one row: cuts the T queries, and the
            S - prefix = T keys after the prefix, which they all share.

    Returns:
        o [B, T, H, V].

    Raises:
        InvalidInput: shapes or types that do not fit, fewer keys than queries, a window below 1.
    """
    check_attention(q, k, v, window=window, prefix=prefix)
    scale = q.shape[-1] ** -0.5 if scale is None else float(scale)
    if cu_seqlens is not None:
        return _packed(q, k, v, scale, window, prefix, cu_seqlens)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if window is None or k.shape[2] - prefix <= window:
        return full_attention(q, k, v, scale).transpose(1, 2)
    return window_attention(q, k, v, scale, window, prefix).transpose(1, 2)


def check_attention(q: Tensor, k: Tensor, v: Tensor, *, window: int | None = None, prefix: int = 0) -> None:
    """Refuse q, k, v that no causal attention can take.

    Raises:
        InvalidInput: says which value, and what it should be.
    """
    if q.ndim != 4 or k.ndim != 4 or v.ndim != 4:
        raise InvalidInput(f"q, k, v have {q.ndim}, {k.ndim}, {v.ndim} axes: give [B, T, H, K] and [B, S, H, V]")
    (batch, queries, heads, width), (_, keys, _, _) = q.shape, k.shape
    if k.shape != (batch, keys, heads, width) or v.shape[:3] != k.shape[:3]:
        raise InvalidInput(f"k {list(k.shape)} and v {list(v.shape)} do not fit q {list(q.shape)}: same B, H and K")
    if not q.is_floating_point() or q.dtype != k.dtype or q.dtype != v.dtype:
        raise InvalidInput(f"q, k, v are {q.dtype}, {k.dtype}, {v.dtype}: give one floating-point type")
    if 0 in q.shape or 0 in v.shape:
        raise InvalidInput(f"q {list(q.shape)} or v {list(v.shape)} is empty: give at least one token")
    if prefix < 0 or keys - prefix < queries:
        raise InvalidInput(f"{queries} queries and {keys} keys with {prefix} of prefix: each query needs its own key")
    if window is not None and window < 1:
        raise InvalidInput(f"window {window} leaves nothing to see: at least 1, or None for all")


def _packed(
    q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, prefix: int, cu_seqlens: Tensor
) -> Tensor:
    borders = check_cu_seqlens(cu_seqlens, q.shape[1], q.shape[0])
    if k.shape[1] - prefix != q.shape[1]:
        raise InvalidInput(f"{q.shape[1]} packed queries and {k.shape[1] - prefix} keys: no cache with cu_seqlens")
    # zeros fill each sequence up at its end, where causality hides them
    rows = [unpack(x[:, x.shape[1] - q.shape[1] :], borders) for x in (q, k, v)]
    if prefix:
        shared = (x[:, :prefix].expand(rows[0].shape[0], -1, -1, -1) for x in (k, v))
        rows[1:] = [torch.cat(pair, 1) for pair in zip(shared, rows[1:], strict=True)]
    return pack(softmax_attention(*rows, scale=scale, window=window, prefix=prefix), borders)
