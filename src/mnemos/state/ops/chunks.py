"""What linear memories share: tokens to chunks and back, and the walk from chunk to chunk.

A chunk-wise operator does all it can for all chunks at once, [N, G, C, ...]; what is left is a walk over N states.
Axes: N chunks, G = B H, C tokens of a chunk, K and V widths of keys and values, R matrices of a state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.state.ops.check import accurate
from mnemos.state.ops.pack import pack, unpack

_FEW = 4


def by_chunks(
    chunks: Callable[..., tuple[Tensor, Tensor]],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: Sequence[Tensor | None],
    state: Tensor | None,
    borders: Tensor | None,
    matrices: int = 1,
) -> tuple[Tensor, Tensor]:
    """Run a chunk-wise operator on tokens; packed sequences go side by side, as rows of a batch.

    Args:
        chunks: (q, k, v, *gates, start), [N, G, C, ...] and start [G, RK, V], to o [N, G, C, V] and [G, RK, V].
            Tokens that only fill up are 0 in all of them, and must change nothing.
        q, k, v, gates: [B, T, H, ...]; a gate may be None.
        state: [B, H, RK, V], or [N, H, RK, V] with borders; None starts from 0.
        borders: int64 [N+1] of packed sequences (B = 1), or None.
        matrices: R.

    Returns:
        o [B, T, H, V] in the dtype of v, and the state after the last token.
    """
    dtype = accurate(q)
    rows = [None if x is None else x.to(dtype) for x in (q, k, v, *gates)]
    if borders is not None:
        rows = [None if x is None else unpack(x, borders) for x in rows]
    batch, tokens, heads, width = (
        q.shape if borders is None else (len(borders) - 1, int(borders.diff().max()), *q.shape[2:])
    )
    size = size_of(tokens, width)
    if state is None:
        state = q.new_zeros(batch, heads, matrices * width, v.shape[-1], dtype=dtype)
    cuts = [None if x is None else cut(x, size) for x in rows]
    with torch.autocast(q.device.type, enabled=False):  # it would take states to half precision
        o, after = chunks(*cuts, state.to(dtype).flatten(0, 1))
    o = join(o, batch, tokens)
    if borders is not None:
        o = pack(o, borders)
    return o.to(v.dtype), after.unflatten(0, (batch, heads))


def size_of(tokens: int, width: int) -> int:
    """Tokens of a chunk, for heads of that width. The result does not depend on it, time and memory do.

    A wider head has larger states, of which training keeps one per chunk. Up to four tokens go one by one, as in
    `ops.steps`: on a CPU in about half the time of one chunk. From eight on, chunks are as fast for large states.
    """
    if tokens <= _FEW:
        return 1
    return min(32 if width <= 64 else 64, 1 << (tokens - 1).bit_length())


def cut(x: Tensor, size: int) -> Tensor:
    """[B, T, H, ...] to [N, B H, C, ...], zeros after the last token."""
    if size == 1:
        return x.transpose(0, 1).flatten(1, 2).unsqueeze(2).contiguous()  # decoding: half the time of what follows
    count = -(-x.shape[1] // size)
    if fill := count * size - x.shape[1]:
        x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, fill))
    chunks: Tensor = x.unflatten(1, (count, size)).movedim(0, 1).transpose(2, 3).flatten(1, 2)
    return chunks.contiguous()


def join(x: Tensor, batch: int, tokens: int) -> Tensor:
    """[N, B H, C, ...] back to [B, T, H, ...]: the inverse of `cut`."""
    whole: Tensor = x.unflatten(1, (batch, -1)).transpose(2, 3).movedim(1, 0).flatten(1, 2)
    return whole[:, :tokens]


def bmm(a: Tensor, b: Tensor, plus: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """scale (plus + a @ b) of [N, G, ...] as one flat batch: one kernel, no broadcasting."""
    shape = (*a.shape[:2], a.shape[-2], b.shape[-1])
    flat = a.flatten(0, 1), b.flatten(0, 1)
    if plus is None:
        return torch.bmm(*flat).view(shape)
    return torch.baddbmm(plus.flatten(0, 1), *flat, beta=scale, alpha=scale).view(shape)


def walk(
    target: Tensor, erase: Tensor | None, write: Tensor, carry: Tensor | None, start: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """From chunk to chunk: U_n = target_n - erase_n Z_n, Z_{n+1} = carry_n Z_n + write_n^T U_n.

    Args:
        target: [N, G, C, V].
        erase: [N, G, C, RK], or None for 0: then U is `target`.
        write: [N, G, C, RK].
        carry: [N, G, 1] or [N, G, RK] multiplies rows of Z, [N, G, R, R] mixes its R matrices, None is 1.
        start: Z_0 [G, RK, V].

    Returns:
        U [N, G, C, V], Z before each chunk [N, G, RK, V], and Z after the last one [G, RK, V].
    """
    result: tuple[Tensor, Tensor, Tensor] = _Walk.apply(target, erase, write, carry, start)
    return result


class _Walk(torch.autograd.Function):
    """Its own backward: a slice of a tensor per chunk would cost autograd a whole gradient per chunk."""

    @staticmethod
    def forward(
        ctx: Any, target: Tensor, erase: Tensor | None, write: Tensor, carry: Tensor | None, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        u = target if erase is None else torch.empty_like(target)
        before = start.new_empty(target.shape[0], *start.shape)
        state = start
        for n in range(target.shape[0]):
            before[n] = state
            if erase is not None:
                torch.baddbmm(target[n], erase[n], state, alpha=-1, out=u[n])
            state = torch.baddbmm(_carried(state, carry, n), write[n].mT, u[n])
        ctx.save_for_backward(erase, write, carry, u, before)
        return u.view_as(u), before, state

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_u: Tensor, grad_before: Tensor, grad: Tensor) -> tuple[Tensor | None, ...]:
        erase, write, carry, u, before = ctx.saved_tensors
        du, after = torch.empty_like(grad_u), torch.empty_like(before)
        for n in reversed(range(len(u))):
            after[n] = grad
            torch.baddbmm(grad_u[n], write[n], grad, out=du[n])
            grad = grad_before[n] + _carried(grad, carry, n, back=True)
            if erase is not None:
                grad = grad.baddbmm_(erase[n].mT, du[n], alpha=-1)
        derase = None if erase is None else -bmm(du, before.mT)
        return du, derase, bmm(u, after.mT), _carry_gradient(carry, before, after), grad


def _carried(state: Tensor, carry: Tensor | None, n: int, back: bool = False) -> Tensor:
    if carry is None:
        return state
    if carry.ndim == 3:
        return carry[n, ..., None] * state
    matrix = carry[n].mT if back else carry[n]
    mixed: Tensor = matrix @ state.unflatten(1, (matrix.shape[-1], -1)).flatten(2)
    return mixed.view_as(state)


def _carry_gradient(carry: Tensor | None, before: Tensor, after: Tensor) -> Tensor | None:
    if carry is None:
        return None
    if carry.ndim == 3:
        return (after * before).sum(-1).sum_to_size(carry.shape)
    after, before = (z.unflatten(2, (carry.shape[-1], -1)).flatten(3) for z in (after, before))
    return bmm(after, before.mT)
