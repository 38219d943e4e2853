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

from mnemos.state.ops.chunks import bmm, walk
from mnemos.state.ops.decay import Chunk, chunk_weights
from mnemos.state.ops.steps import delta_states, momentum_delta_steps, read

_LEAF = 16
"""A triangular inverse of this size is quicker by substitution than from its halves."""


def delta_chunks(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, start: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """The (gated) delta rule: o [N, G, C, V] and S [G, K, V] after the last chunk.

    All [N, G, C, ...]; start [G, K, V].
    """
    if q.shape[2] == 1:
        return read(q, delta_states(k, v, beta, g, start), scale)
    weights = None if g is None else chunk_weights(g)
    u, before, after = _corrected(k, v, beta, weights, start)
    seen = bmm(_kept(q, weights), before)
    return bmm(_shares(q, k, weights), u, seen, scale), after


def oja_chunks(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, start: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """As `delta_chunks`: S^T follows the delta rule with keys and values swapped, S = sum_i u_i v_i^T."""
    if q.shape[2] == 1:
        return read(q, (state.mT for state in delta_states(v, k, beta, g, start.mT)), scale)
    weights = None if g is None else chunk_weights(g)
    u, before, after = _corrected(v, k, beta, weights, start.mT)
    seen = bmm(_kept(q, weights), before.mT)
    return bmm(_shares(q, u, weights), v, seen, scale), after.mT


def _corrected(
    k: Tensor, v: Tensor, beta: Tensor, weights: Chunk | None, start: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Corrections U, states before each chunk, state after the last; decay before the error."""
    strict = k.new_ones(k.shape[2], k.shape[2]) if weights is None else weights.gamma
    solver = solve(k, beta, strict.tril(-1))
    target = bmm(solver, v)
    if weights is None:
        return walk(target, bmm(solver, k), k, None, start)
    erase = bmm(solver * weights.keep[..., None, :], k)
    write = k * weights.gamma[..., -1, :, None]
    return walk(target, erase, write, weights.keep[..., -1:], start)


def _kept(q: Tensor, weights: Chunk | None) -> Tensor:
    return q if weights is None else q * weights.keep[..., None]


def _shares(q: Tensor, k: Tensor, weights: Chunk | None) -> Tensor:
    return bmm(q, k.mT).tril() if weights is None else bmm(q, k.mT) * weights.gamma


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
    if q.shape[2] == 1:
        operands = q, k, v, log_keep, log_momentum, eta, live, start
        return momentum_delta_steps(*operands, decay_first=decay_first, scale=scale)
    weights = chunk_weights(log_keep, log_momentum, live)
    assert weights.push is not None
    assert weights.momentum is not None
    assert weights.momentum_keep is not None
    gamma, keep, push = _as_errors_see(weights.gamma, weights.keep, weights.push)
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
    u, before, after = walk(target, erase, write, carry.unflatten(-1, (2, 2)), start)
    look = torch.stack([weights.keep, weights.push], dim=-1)[..., None] * q[..., None, :]
    seen = bmm(look.flatten(3), before)
    return bmm(bmm(q, k.mT) * weights.gamma, u, seen, scale), after


def solve(k: Tensor, step: Tensor, gamma: Tensor) -> Tensor:
    """(I + diag(step) (gamma * K K^T))^-1 diag(step), [N, G, C, C]; gamma is strictly lower triangular."""
    system = bmm(k, k.mT) * gamma * step[..., None]
    inverse: Tensor = UnitLowerInverse.apply(system)
    return inverse * step[..., None, :]


def _as_errors_see(gamma: Tensor, keep: Tensor, push: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gamma, a, b one token earlier: what the error of token t meets is W_{t-1}."""
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
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        inverse: Tensor = ctx.saved_tensors[0]
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
