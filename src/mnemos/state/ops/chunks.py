"""From tokens to chunks and back, once per call: [B, T, H, ...] <-> [N, G, C, ...], G = B H.

Chunks come first, so that the walk over them takes contiguous slices and the work inside them is one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.state.ops.pack import pack, unpack


CHUNK = 64
"""Tokens of a chunk. Results do not depend on it, times do."""


def size_of(tokens: int) -> int:
    """Chunk size for so many tokens: few tokens are one chunk of just their size."""
    return min(CHUNK, tokens)


def cut(x: Tensor, size: int) -> Tensor:
    """[B, T, H, ...] to [N, B H, C, ...], zeros after the last token."""
    count = -(-x.shape[1] // size)
    if fill := count * size - x.shape[1]:
        x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, fill))
    return x.unflatten(1, (count, size)).movedim(0, 1).transpose(2, 3).flatten(1, 2).contiguous()


def join(x: Tensor, batch: int, tokens: int) -> Tensor:
    """[N, B H, C, ...] back to [B, T, H, ...]: the inverse of `cut`."""
    return x.unflatten(1, (batch, -1)).transpose(2, 3).movedim(1, 0).flatten(1, 2)[:, :tokens]


def by_sequence(
    run: Callable[..., tuple[Tensor, ...]], tensors: Sequence[Tensor | None], borders: Tensor | None
) -> tuple[Tensor, ...]:
    """`run(*tensors)`, or with borders the same for packed sequences, side by side as rows of a batch.

    Args:
        run: takes tensors [B, T, ...], returns o [B, T, ...] and states.
        borders: int64 [N+1], or None.
    """
    if borders is None:
        return run(*tensors)
    o, *states = run(*(None if x is None else unpack(x, borders) for x in tensors))
    return (pack(o, borders), *states)


def bmm(a: Tensor, b: Tensor, plus: Tensor | None = None, alpha: float = 1.0) -> Tensor:
    """plus + alpha a @ b of [N, G, ...] as one flat batch: one kernel, no broadcasting."""
    shape = (*a.shape[:2], a.shape[-2], b.shape[-1])
    flat = a.flatten(0, 1), b.flatten(0, 1)
    if plus is not None:
        return torch.baddbmm(plus.flatten(0, 1), *flat, alpha=alpha).view(shape)
    return torch.bmm(*flat).view(shape)
