"""Error-correcting writes by chunks: one triangular system per chunk, solved for all chunks at once.

A memory Z of R matrices on top of each other (R = 1: S; R = 2: S over its momentum M) is linear in the corrections U
of a chunk, and the corrections are linear in Z_0. With keys K, values V, steps eta and the chunk algebra of `ops.decay`
(Gamma, a, b; a bar for "as the error of token t sees it", one token earlier)

    (I + diag(eta) (Gamma_bar * K K^T)) U = diag(eta) (V - diag(a_bar) K S_0 - diag(b_bar) K M_0)
    U = target - erase Z_0,    Z_C = carry Z_0 + write^T U,    O = diag(a) Q S_0 + diag(b) Q M_0 + (Gamma * Q K^T) U.

`target`, `erase`, `write`, `carry` need no Z, so that two products per chunk are all that goes one after the other.
Source: Yang et al., arXiv:2406.06484 and arXiv:2412.06464 (R = 1, the WY form); R = 2 is ours.
Axes: N chunks, G = B H, C tokens of a chunk, K and V widths.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mnemos.state.ops.chunks import bmm
from mnemos.state.ops.decay import Chunk, chunk_weights

_LEAF = 16
"""A triangular inverse of this size is quicker by substitution than from its halves."""


def delta_chunks(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, start: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """The (gated) delta rule, decay before the error: o [N, G, C, V] and S [G, K, V] after the last chunk.

    All [N, G, C, ...]; start [G, K, V].
    """
    weights = None if g is None else chunk_weights(g)
    strict = k.new_ones(k.shape[2], k.shape[2]).tril(-1) if weights is None else weights.gamma.tril(-1)
    keep = None if weights is None else weights.keep
    solver = solve(k, beta, strict)
    target = bmm(solver, v)
    erase = bmm(solver if keep is None else solver * keep[..., None, :], k)
    write, carry = k, None
    if weights is not None:
        write, carry = k * weights.gamma[..., -1, :, None], weights.keep[..., -1]
    u, before, after = Walk.apply(target, erase, write, carry, start)
    share = bmm(q, k.mT)
    share = share.tril() if weights is None else share * weights.gamma
    seen = bmm(q if keep is None else q * keep[..., None], before)
    return scale * bmm(share, u, seen), after


def momentum_delta_chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_keep: Tensor,
    log_momentum: Tensor,
    eta: Tensor,
    live: Tensor,
    start: Tensor,
    *,
    decay_first: bool,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """The same with momentum: o [N, G, C, V], and S over M [G, 2K, V].

    All [N, G, C, ...]; live [N, G, C] is 0 at tokens that only fill up; start [G, 2K, V].
    """
    weights = chunk_weights(log_keep, log_momentum, live)
    gamma, keep, push = _as_errors_see(weights)
    if decay_first:
        alpha = log_keep.exp()
        gamma, keep, push = alpha[..., None] * gamma, alpha * keep, alpha * push
    solver = solve(k, eta, gamma)
    target = bmm(solver, v)
    both = torch.cat([solver * keep[..., None, :], solver * push[..., None, :]], dim=2)
    erase = bmm(both, k).unflatten(2, (2, -1)).movedim(2, 3).flatten(3)
    last = torch.stack([weights.gamma[..., -1, :], weights.momentum[..., -1, :]], dim=-1)
    write = (last[..., None] * k[..., None, :]).flatten(3)
    zero = torch.zeros_like(weights.keep[..., -1])
    carry = torch.stack([weights.keep[..., -1], weights.push[..., -1], zero, weights.momentum_keep[..., -1]], dim=-1)
    u, before, after = Walk.apply(target, erase, write, carry.unflatten(-1, (2, 2)), start)
    look = torch.stack([weights.keep, weights.push], dim=-1)[..., None] * q[..., None, :]
    seen = bmm(look.flatten(3), before)
    return scale * bmm(bmm(q, k.mT) * weights.gamma, u, seen), after


def solve(k: Tensor, step: Tensor, gamma: Tensor) -> Tensor:
    """(I + diag(step) (gamma * K K^T))^-1 diag(step), [N, G, C, C]; gamma is strictly lower triangular."""
    system = bmm(k, k.mT) * gamma * step[..., None]
    return UnitLowerInverse.apply(system) * step[..., None, :]


def _as_errors_see(weights: Chunk) -> tuple[Tensor, Tensor, Tensor]:
    """Gamma, a, b one token earlier: what the error of token t meets is W_{t-1}."""
    gamma, keep, push = weights.gamma, weights.keep, weights.push
    return (
        torch.cat([torch.zeros_like(gamma[..., :1, :]), gamma[..., :-1, :]], dim=-2),
        torch.cat([torch.ones_like(keep[..., :1]), keep[..., :-1]], dim=-1),
        torch.cat([torch.zeros_like(push[..., :1]), push[..., :-1]], dim=-1),
    )


class UnitLowerInverse(torch.autograd.Function):
    """(I + L)^-1 for strictly lower triangular L [..., C, C].

    Its own backward: -X^T dX X^T takes two products, where that of a triangular solve solves again.
    """

    @staticmethod
    def forward(ctx: Any, lower: Tensor) -> Tensor:
        inverse = torch.zeros_like(lower)
        _invert(lower.flatten(0, -3), inverse.flatten(0, -3))
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (inverse,) = ctx.saved_tensors
        return -(inverse.mT @ grad @ inverse.mT).tril(-1)


def _invert(lower: Tensor, out: Tensor) -> None:
    """Halves first: the inverse of [[A, 0], [B, D]] is [[A^-1, 0], [-D^-1 B A^-1, D^-1]]."""
    size = lower.shape[-1]
    if size <= _LEAF:
        identity = torch.eye(size, dtype=lower.dtype, device=lower.device)
        out.copy_(torch.linalg.solve_triangular(lower, identity, upper=False, unitriangular=True))
        return
    half = size // 2
    first, second = slice(None, half), slice(half, None)
    _invert(lower[..., first, first], out[..., first, first])
    _invert(lower[..., second, second], out[..., second, second])
    out[..., second, first] = -(out[..., second, second] @ lower[..., second, first] @ out[..., first, first])


class Walk(torch.autograd.Function):
    """From chunk to chunk: U_n = target_n - erase_n Z_n, Z_{n+1} = carry_n Z_n + write_n^T U_n.

    Args:
        target [N, G, C, V], erase [N, G, C, RK], write [N, G, C, RK],
        carry: [N, G] for R = 1, [N, G, R, R] (acts on the R matrices in Z), or None for 1,
        start: Z_0 [G, RK, V].

    Returns:
        U [N, G, C, V], Z before each chunk [N, G, RK, V], and Z after the last one [G, RK, V].

    Its own backward: a slice of a tensor per chunk would cost autograd a whole gradient per chunk.
    """

    @staticmethod
    def forward(
        ctx: Any, target: Tensor, erase: Tensor, write: Tensor, carry: Tensor | None, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        u = torch.empty_like(target)
        before = start.new_empty(target.shape[0], *start.shape)
        state = start
        for n in range(target.shape[0]):
            before[n] = state
            torch.baddbmm(target[n], erase[n], state, alpha=-1, out=u[n])
            state = torch.baddbmm(_carried(state, carry, n), write[n].mT, u[n])
        ctx.save_for_backward(erase, write, carry, u, before)
        return u, before, state

    @staticmethod
    def backward(ctx: Any, grad_u: Tensor, grad_before: Tensor, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        erase, write, carry, u, before = ctx.saved_tensors
        du, after = torch.empty_like(grad_u), torch.empty_like(before)
        for n in reversed(range(len(u))):
            after[n] = grad
            torch.baddbmm(grad_u[n], write[n], grad, out=du[n])
            grad = torch.baddbmm(grad_before[n] + _carried(grad, carry, n, back=True), erase[n].mT, du[n], alpha=-1)
        dcarry = None
        if carry is not None and carry.ndim == 2:
            dcarry = (after * before).sum((-2, -1))
        elif carry is not None:
            pair = (z.unflatten(2, (carry.shape[-1], -1)).flatten(3) for z in (after, before))
            dcarry = bmm(next(pair), next(pair).mT)
        return du, -bmm(du, before.mT), bmm(u, after.mT), dcarry, grad


def _carried(state: Tensor, carry: Tensor | None, n: int, back: bool = False) -> Tensor:
    if carry is None:
        return state
    if carry.ndim == 2:
        return carry[n, :, None, None] * state
    matrix = carry[n].mT if back else carry[n]
    return (matrix @ state.unflatten(1, (matrix.shape[-1], -1)).flatten(2)).view_as(state)
