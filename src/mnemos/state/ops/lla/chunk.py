"""Local linear attention by tiles of queries, with a hand-written backward: nothing of size T S is kept.

A tile sees its keys at once, so its weights p [R, S] are made once and every iteration of the solver is two matrix
products. Kept for the backward: q, k, v, r.

Backward, g the gradient of o, G_j = g . v_j, G' = sum p G, t_j = (k_j - k') . r, and s_j = p_j (1 - t_j):

    C u = Cov_p(G, k)           the gradient's own probe: a second solve with the same matrix
    a_j = (k_j - k') . u
    dp  = (G - a)(1 - t) + G' t    (up to a constant, which the softmax takes out)
    dv  = s^T g     dq = u + scale (dl k)     dk = scale dl^T q + (p (a - G + G'))^T r - s^T u     dlam = sum u . r

with dl the gradient of the logits. For a given r: u = a = 0, and dr = -Cov_p(G, k). The ridge is on normalised weights,
so the paper's term through lam sum w is in dp already (the published kernels leave it out).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mnemos.state.ops.cg import conjugate_gradient

_ROWS = 64
"""Queries of a tile."""
_KEYS = 64
"""Keys whose outer products are held at once."""
_DIRECT = 48
"""Widest key for which building and factoring C beats iterating to the end (measured on a CPU: equal at 48)."""


def local_linear(
    q: Tensor, k: Tensor, v: Tensor, probe: Tensor | None, lam: Tensor, scale: float, window: int | None
) -> Tensor:
    """o [N, T, V] of q [N, T, K], k [N, S, K], v [N, S, V], lam [N]; probe [N, T, K], or None to solve."""
    o: Tensor = _LocalLinear.apply(q, k, v, probe, lam, scale, window)
    return o


class _LocalLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        probe: Tensor | None,
        lam: Tensor,
        scale: float,
        window: int | None,
    ) -> Tensor:
        o, probes = q.new_empty(*q.shape[:2], v.shape[-1]), torch.empty_like(q) if probe is None else probe
        for rows, keys in _tiles(q.shape[1], k.shape[1], window):
            near = k[:, keys]
            p, mean = _weights(q[:, rows], near, scale, rows, keys, k.shape[1] - q.shape[1], window)
            if probe is None:
                probes[:, rows] = _solve(p, near, mean, lam, mean - q[:, rows])
            o[:, rows] = (p * (1 - _along(probes[:, rows], near, mean))) @ v[:, keys]
        ctx.save_for_backward(q, k, v, probes, lam)
        ctx.solved, ctx.scale, ctx.window = probe is None, scale, window
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, probes, lam = ctx.saved_tensors
        dq, dr, dk, dv, dlam = (torch.zeros_like(x) for x in (q, q, k, v, lam))
        for rows, keys in _tiles(q.shape[1], k.shape[1], ctx.window):
            g, r, near = grads[0][:, rows], probes[:, rows], k[:, keys]
            p, mean = _weights(q[:, rows], near, ctx.scale, rows, keys, k.shape[1] - q.shape[1], ctx.window)
            t = _along(r, near, mean)
            s = p * (1 - t)
            dv[:, keys] += s.mT @ g
            G = g @ v[:, keys].mT
            weighted = p * G
            level = weighted.sum(-1, keepdim=True)
            covariance = weighted @ near - level * mean
            a: Tensor | float = 0.0
            if ctx.solved:
                u = _solve(p, near, mean, lam, covariance)
                a = _along(u, near, mean)
                dlam += (u * r).sum((-1, -2))
                dq[:, rows] += u
                dk[:, keys] -= s.mT @ u
            else:
                dr[:, rows] = -covariance
            dp = (G - a) * (1 - t) + level * t
            dl = ctx.scale * p * (dp - (p * dp).sum(-1, keepdim=True))
            dq[:, rows] += dl @ near
            dk[:, keys] += dl.mT @ q[:, rows] + (p * (a - G + level)).mT @ r
        return dq, dk, dv, None if ctx.solved else dr, dlam if ctx.solved else None, None, None


def _tiles(queries: int, keys: int, window: int | None) -> Iterator[tuple[slice, slice]]:
    """Slices of the queries, and of the keys that they see."""
    before = keys - queries
    for start in range(0, queries, _ROWS):
        stop = min(start + _ROWS, queries)
        first = 0 if window is None else max(0, before + start - window + 1)
        yield slice(start, stop), slice(first, before + stop)


def _weights(
    q: Tensor, k: Tensor, scale: float, rows: slice, keys: slice, before: int, window: int | None
) -> tuple[Tensor, Tensor]:
    """p [N, R, S] and the mean key [N, R, K]."""
    behind = torch.arange(before + rows.start, before + rows.stop, device=q.device)[:, None] - torch.arange(
        keys.start, keys.stop, device=q.device
    )
    hidden = behind < 0 if window is None else (behind < 0) | (behind >= window)
    p = (scale * (q @ k.mT)).masked_fill_(hidden, -torch.inf).softmax(-1)
    return p, p @ k


def _along(direction: Tensor, k: Tensor, mean: Tensor) -> Tensor:
    """(k_j - k') . direction, [N, R, S]."""
    return direction @ k.mT - (direction * mean).sum(-1, keepdim=True)


def _solve(p: Tensor, k: Tensor, mean: Tensor, lam: Tensor, b: Tensor) -> Tensor:
    """C^-1 b, [N, R, K]."""
    ridge = lam[:, None, None]
    if k.shape[-1] <= _DIRECT:
        factor, _ = torch.linalg.cholesky_ex(_covariance(p, k, mean, ridge))
        r: Tensor = torch.cholesky_solve(b[..., None], factor).squeeze(-1)
        return r

    def apply(x: Tensor) -> Tensor:
        # centred twice: sum p k (k . x) - k' (k' . x) would lose the digits of keys that lie close together
        weighted = p * _along(x, k, mean)
        return weighted @ k - weighted.sum(-1, keepdim=True) * mean + ridge * x

    return conjugate_gradient(apply, b, iterations=k.shape[-1])


def _covariance(p: Tensor, k: Tensor, mean: Tensor, ridge: Tensor) -> Tensor:
    """C [N, R, K, K]."""
    centre = mean.mean(1, keepdim=True)  # one for the tile: outer products are then shared by its rows
    k, mean = k - centre, mean - centre
    total = -_outer(mean)
    for start in range(0, k.shape[1], _KEYS):
        part = slice(start, start + _KEYS)
        total = torch.baddbmm(total, p[..., part], _outer(k[:, part]))
    total = total.reshape(*mean.shape, -1)
    total.diagonal(dim1=-2, dim2=-1).add_(ridge)
    return total


def _outer(x: Tensor) -> Tensor:
    return (x[..., :, None] * x[..., None, :]).flatten(-2)
