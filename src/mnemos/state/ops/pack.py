"""Sequences of different lengths in one row: [1, T, ...] with the borders in `cu_seqlens`.

cu_seqlens = [0, 3, 7] says: the first sequence is tokens 0 to 2, the second tokens 3 to 6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput


def check_cu_seqlens(cu_seqlens: Tensor, tokens: int, batch: int = 1) -> Tensor:
    """`cu_seqlens` as int64 [N+1], if it cuts one row of `tokens` tokens into non-empty pieces.

    Raises:
        InvalidInput: more than one row, wrong rank or type, or borders that do not rise from 0 to `tokens`.
    """
    if batch != 1:
        raise InvalidInput(
            f"cu_seqlens packs all sequences into one row, and the batch has {batch}: reshape to [1, T, ...]"
        )
    if cu_seqlens.ndim != 1 or cu_seqlens.numel() < 2 or cu_seqlens.is_floating_point():
        raise InvalidInput(f"cu_seqlens has shape {list(cu_seqlens.shape)}, {cu_seqlens.dtype}: give integers [N+1]")
    borders = cu_seqlens.long()
    if borders[0] != 0 or borders[-1] != tokens or bool((borders.diff() <= 0).any()):
        raise InvalidInput(f"cu_seqlens {borders.tolist()[:8]} must rise from 0 to the {tokens} tokens, step by step")
    return borders


def unpack(x: Tensor, cu_seqlens: Tensor) -> Tensor:
    """[1, T, ...] to [N, longest, ...], zeros after each sequence's end."""
    index, live = _places(cu_seqlens)
    return x[0][index] * live.reshape(*live.shape, *[1] * (x.ndim - 2))


def pack(x: Tensor, cu_seqlens: Tensor) -> Tensor:
    """[N, longest, ...] back to [1, T, ...]: the inverse of `unpack`."""
    _, live = _places(cu_seqlens)
    return x[live][None]


def _places(cu_seqlens: Tensor) -> tuple[Tensor, Tensor]:
    start, length = cu_seqlens[:-1, None], cu_seqlens.diff()[:, None]
    offset = torch.arange(int(length.max()), device=cu_seqlens.device)[None]
    live = offset < length
    return torch.where(live, start + offset, 0), live
