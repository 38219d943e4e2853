"""Few tokens: where chunks do not pay, token by token.

On a CPU, and wherever gradients are asked for, in torch: chunks of one token, [N = T, G, 1, ...]. On a GPU without
gradients in one launch of a Triton kernel, if Triton is there (`pip install 'mnemos[kernels]'`).
Axes: T tokens, G = B H, K and V widths of keys and values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

_LONGEST = 64
"""Tokens up to which the kernel is taken; beyond, chunks use the GPU's matrix units. A guess, not measured."""


def fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    scale: float,
    state: Tensor | None,
    borders: Tensor | None,
) -> tuple[Tensor, Tensor] | None:
    """What `delta_rule.kernel.recurrent` returns, or None where chunks must do it.

    The kernel is for CUDA tensors, no gradients, at most 64 tokens per sequence, and Triton installed.
    """
    if not _launches(q) or _wants_gradient(q, k, v, g, beta, state):
        return None
    if (q.shape[1] if borders is None else int(borders.diff().max())) > _LONGEST:
        return None
    from mnemos.state.ops.delta_rule.kernel import recurrent

    return recurrent(q, k, v, g, beta, scale, state, borders)


def delta_states(k: Tensor, v: Tensor, beta: Tensor | None, g: Tensor | None, start: Tensor) -> Iterator[Tensor]:
    """S [G, K, V] after each token, valid until the next one is asked for; decay before the error.

    All [T, G, 1, ...]; start [G, K, V]; beta None writes v itself, g None keeps all, g may be one number per key
    channel.
    """
    keep = None if g is None else (g[..., None] if g.ndim == 3 else g.mT).exp()
    erase, target = (None, v) if beta is None else (k * beta[..., None], v * beta[..., None])
    fresh = _wants_gradient(k, v, beta, g, start)
    mul, baddbmm, _ = _FRESH if fresh else _IN_PLACE
    state = start if fresh else start.clone()
    for t in range(len(k)):
        state = state if keep is None else mul(state, keep[t])
        u = target[t] if erase is None else torch.baddbmm(target[t], erase[t], state, alpha=-1)
        state = baddbmm(state, k[t].mT, u)
        yield state


def read(q: Tensor, states: Iterable[Tensor], scale: float) -> tuple[Tensor, Tensor]:
    """o [T, G, 1, V], and the last of the states; q [T, G, 1, K]."""
    outputs = []
    for query, state in zip(q, states, strict=True):
        outputs.append(torch.bmm(query, state))
    return torch.stack(outputs) * scale, state


def momentum_delta_steps(
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
    """As `momentum_delta_chunks` where C = 1: o [T, G, 1, V], and S over M [G, 2K, V]."""
    keep, share, live = log_keep.exp()[..., None], log_momentum.exp()[..., None], live[..., None]
    erase, target = k * eta[..., None], v * eta[..., None]
    fresh = _wants_gradient(k, v, log_keep, log_momentum, eta, start)
    mul, baddbmm, addcmul = _FRESH if fresh else _IN_PLACE
    state, momentum = (start if fresh else start.clone()).split(k.shape[-1], dim=1)
    outputs = []
    for t in range(len(q)):
        if decay_first:
            state = mul(state, keep[t])
        u = torch.baddbmm(target[t], erase[t], state, alpha=-1)
        if not decay_first:
            state = mul(state, keep[t])
        momentum = baddbmm(mul(momentum, share[t]), k[t].mT, u)
        state = addcmul(state, live[t], momentum)
        outputs.append(torch.bmm(q[t], state))
    return torch.stack(outputs) * scale, torch.cat([state, momentum], dim=1)


_FRESH = torch.Tensor.mul, torch.Tensor.baddbmm, torch.Tensor.addcmul
_IN_PLACE = torch.Tensor.mul_, torch.Tensor.baddbmm_, torch.Tensor.addcmul_
"""Without gradients: a new large state costs more than the sums in it."""


def _wants_gradient(*operands: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in operands)


def _launches(q: Tensor) -> bool:
    return q.is_cuda and _has_triton()


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
