"""The chunk form of a network with two matrices, differentiated by hand: the hot path of Titans.

The same numbers as `chunk`, with every product of matrices written out, forward and backward. What is narrow (the
network's end and the loss) is left to autograd. Names, with W and M the two halves of a state:

    z = k W_1,  h = gelu(z),  u = h W_2,  e = d loss / d u,  s = e W_2^T,  d = s gelu'(z)      slopes of all keys
    y = [a q | b q] [W_1; M_1] + P d,  f = gelu(y),  f [W_2 | M_2] and f h^T                    reads of all queries

Axes: n chunks, N rows of batch times heads, C tokens of a chunk, K and V widths of keys and values, I hidden width.
Source: Titans, section 3.2, and the chain rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, bmm
from torch.autograd.function import once_differentiable

from mnemos.state.ops.decay import chunk_weights
from mnemos.state.ops.gradient_memory.tokens import Tokens
from mnemos.state.ops.gradient_memory.trace import Gradient, Linear, Trace

Finish = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(u [B, H, T, V], x [B, H, T, K], gain [H, 1, V] or None) to the prediction [B, H, T, V]."""
gelu_backward = torch.ops.aten.gelu_backward


@dataclass(frozen=True)
class TwoMatrices:
    """A `Forward` known to be finish(gelu(x W_1) W_2, x, gain)."""

    finish: Finish
    gain: Tensor | None = None

    def __call__(self, linear: Linear, x: Tensor) -> Tensor:
        """The network, whatever its matrices are."""
        return self.finish(linear(1, F.gelu(linear(0, x))), x, self.gain)


def fits(trace: Trace, tokens: Tokens) -> bool:
    """Whether `mlp_chunks` takes them: with a momentum, without a window."""
    return trace.momentum is not None and tokens.log_momentum is not None and tokens.step.shape[-1] == 1


def mlp_chunks(
    network: TwoMatrices, gradient: Gradient, trace: Trace, tokens: Tokens, size: int
) -> tuple[Tensor, Trace]:
    """Full chunks, from a chunk's start on: o [B, H, T, V] and the state. Cost: as `gradient_memory`."""
    assert trace.momentum
    assert tokens.log_momentum is not None
    batch, _, heads, _ = tokens.k.shape
    q, k, v = (_by_chunk(x, size) for x in (tokens.q, tokens.k, tokens.v))
    keep, momentum, step = (_by_chunk(x, size) for x in (tokens.log_keep, tokens.log_momentum, tokens.step[..., 0]))
    chunk = chunk_weights(keep, momentum)
    assert chunk.push is not None
    assert chunk.momentum is not None
    assert chunk.momentum_keep is not None
    past = chunk.gamma * -step[..., None, :]
    old = torch.stack([chunk.keep, chunk.push], dim=-1)
    new = torch.stack([past[..., -1, :], chunk.momentum[..., -1, :] * -step], dim=-1)
    last = chunk.momentum_keep[..., -1]
    carry = torch.stack([old[..., -1, :], torch.stack([torch.zeros_like(last), last], dim=-1)], dim=-2)
    first = torch.cat([trace.weights[0], trace.momentum[0]], dim=-2).flatten(0, 1)
    second = torch.cat([trace.weights[1].mT, trace.momentum[1].mT], dim=-2).flatten(0, 1)
    slope = partial(_slope, network.finish, gradient, heads)
    training = torch.is_grad_enabled()
    u, first, second = _Chunks.apply(slope, training, q, k, v, network.gain, past, old, new, carry, first, second)
    u = u.unflatten(1, (batch, heads)).permute(1, 2, 0, 3, 4).flatten(2, 3)
    w1, m1 = first.unflatten(0, (batch, heads)).chunk(2, dim=-2)
    w2, m2 = second.mT.contiguous().unflatten(0, (batch, heads)).chunk(2, dim=-1)
    o = network.finish(u, tokens.q.transpose(1, 2), network.gain)
    return o, Trace((w1, w2), (w1, w2), (m1, m2), trace.keys, trace.values)


def _by_chunk(x: Tensor, size: int) -> Tensor:
    """[B, T, H, ...] to [n, N, C, ...]."""
    batch, tokens, heads, *rest = x.shape
    cut = x.reshape(batch, tokens // size, size, heads, *rest).transpose(2, 3).transpose(0, 1)
    return cut.reshape(tokens // size, batch * heads, size, *rest)


def _slope(
    finish: Finish, gradient: Gradient, heads: int, u: Tensor, k: Tensor, v: Tensor, gain: Tensor | None
) -> Tensor:
    """e [N, C, V]; differentiable where gradients are on."""
    training = torch.is_grad_enabled()
    with torch.enable_grad():
        u = u if u.requires_grad else u.detach().requires_grad_()
        by_head = [x.unflatten(0, (-1, heads)) for x in (u, k, v)]
        prediction = finish(by_head[0], by_head[1], gain)
        error = gradient(prediction, by_head[2])
        return torch.autograd.grad(prediction, u, error, create_graph=training)[0]


class _Chunks(torch.autograd.Function):
    """Chunk after chunk.

    Inputs: slope, training, q, k, v [n, N, C, *], gain, past [n, N, C, C] = P, old [n, N, C, 2]: weights a, b of W and
    M at the chunk's start in each token's W, new [n, N, C, 2]: weights of each write in W and M at the chunk's end,
    carry [n, N, 2, 2]: from W and M at its start to those at its end, first [N, 2K, I] = [W_1; M_1],
    second [N, 2V, I] = [W_2 | M_2]^T.

    Outputs: what `finish` takes for each query [n, N, C, V], first and second after the last chunk.
    """

    @staticmethod
    def forward(
        ctx: Any,
        slope: Callable[..., Tensor],
        training: bool,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        gain: Tensor | None,
        past: Tensor,
        old: Tensor,
        new: Tensor,
        carry: Tensor,
        first: Tensor,
        second: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        out = q.new_empty(*q.shape[:3], second.shape[1] // 2)
        one = q.new_ones(*q.shape[1:3], first.shape[2])
        saved: list[Tensor] = []
        for i in range(len(q)):
            w1, w2 = first[:, : k.shape[3]], second[:, : out.shape[3]]
            z = bmm(k[i], w1)
            h, curve = F.gelu(z), gelu_backward(one, z)
            u = bmm(h, w2.mT)
            e = slope(u, k[i], v[i], gain)
            s = bmm(e, w2)
            if training:
                # gelu'' = (2 - z^2) times the normal density
                square = z.mul_(z)
                bend = torch.mul(square, -0.5).sub_(0.5 * math.log(2 * math.pi)).exp_()
                bend.mul_(s).mul_(square.neg_().add_(2))
            d = s.mul_(curve)
            match = bmm(q[i], k[i].mT)
            y = bmm(_spread(old[i], q[i]), first).baddbmm_(past[i] * match, d)
            f = F.gelu(y)
            read, match_f = bmm(f, second.mT), bmm(f, h.mT)
            torch.baddbmm(_gather(old[i], read), past[i] * match_f, e, out=out[i])
            if training:
                saved += (first, second, h, curve, bend, d, y, f, u, e, match, match_f, read)
            first = _carried(carry[i], first).baddbmm_(_spread(new[i], k[i]).mT, d)
            second = _carried(carry[i], second).baddbmm_(_spread(new[i], e).mT, h)
        ctx.save_for_backward(q, k, v, gain, past, old, new, carry, *saved)
        ctx.slope = slope
        ctx.set_materialize_grads(False)
        return out, first, second

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor | None, *d_last: Tensor | None) -> Any:
        q, k, v, gain, past, old, new, carry, *saved = ctx.saved_tensors
        d_out = torch.zeros_like(v[..., : saved[8].shape[-1]]) if d_out is None else d_out.contiguous()
        # only who uses the last state pays for its way back
        d_first, d_second = d_last
        if d_first is not None or d_second is not None:
            ends = [torch.zeros_like(y) if x is None else x for x, y in zip(d_last, saved[:2], strict=True)]
            d_first, d_second = (x.contiguous() for x in ends)
        grads = [torch.zeros_like(x) for x in (q, k, v, past, old, new, carry)]
        d_gain = None if gain is None else torch.zeros_like(gain)
        for i in reversed(range(len(q))):
            dq, dk, dv, d_past, d_old, d_new, d_carry = (x[i] for x in grads)
            first, second, h, curve, bend, d, y, f, u, e, match, match_f, read = saved[13 * i : 13 * i + 13]
            w1, w2, du = first[:, : k.shape[3]], second[:, : e.shape[2]], d_out[i]
            # the reads
            d_read, dp = _spread(old[i], du), bmm(du, e.mT)
            d_match = dp * past[i]
            d_old += _products(read, du)
            d_past.addcmul_(dp, match_f)
            dy = gelu_backward(bmm(d_read, second).baddbmm_(d_match, h), y)
            to_second, dh, de = bmm(d_read.mT, f), bmm(d_match.mT, f), bmm((past[i] * match_f).mT, du)
            d_left, dp = bmm(dy, first.mT), bmm(dy, d.mT)
            to_first, dd = bmm(_spread(old[i], q[i]).mT, dy), bmm((past[i] * match).mT, dy)
            d_old += _products(d_left, q[i])
            d_past.addcmul_(dp, match)
            d_match = dp.mul_(past[i])
            torch.baddbmm(_gather(old[i], d_left), d_match, k[i], out=dq)
            torch.bmm(d_match.mT, q[i], out=dk)
            # the writes
            if d_first is not None and d_second is not None:
                written, written_e = bmm(d, d_first.mT), bmm(h, d_second.mT)
                dd.baddbmm_(_spread(new[i], k[i]), d_first)
                dh.baddbmm_(_spread(new[i], e), d_second)
                dk += _gather(new[i], written)
                de += _gather(new[i], written_e)
                d_new += _products(written, k[i]) + _products(written_e, e)
                for state, before, after in ((first, to_first, d_first), (second, to_second, d_second)):
                    _halves(before).baddbmm_(carry[i].mT, _halves(after))
                    d_carry.baddbmm_(_halves(after), _halves(state).mT)
            d_first, d_second = to_first, to_second
            # the slopes
            ds = dd * curve
            de.baddbmm_(ds, w2.mT)
            with torch.enable_grad():
                leaves = [x.detach().requires_grad_() for x in (u, k[i], v[i], gain) if x is not None]
                again = ctx.slope(*leaves, *[None] * (gain is None))
                du, *rest = torch.autograd.grad(again, leaves, de, allow_unused=True, materialize_grads=True)
            dk += rest[0]
            dv += rest[1]
            if d_gain is not None:
                d_gain += rest[2]
            dh.baddbmm_(du, w2)
            d_second[:, : e.shape[2]] += bmm(e.mT, ds).baddbmm_(du.mT, h)
            dz = dd.mul_(bend).addcmul_(dh, curve)
            dk.baddbmm_(dz, w1.mT)
            d_first[:, : k.shape[3]] += bmm(k[i].mT, dz)
        return None, None, *grads[:3], d_gain, *grads[3:], d_first, d_second


def _spread(gates: Tensor, x: Tensor) -> Tensor:
    """[N, C, 2] and [N, C, X] to [N, C, 2X]: x under the one gate, beside x under the other."""
    return (gates[..., None] * x[..., None, :]).flatten(-2)


def _gather(gates: Tensor, x: Tensor) -> Tensor:
    """[N, C, 2] and [N, C, 2X] to [N, C, X]: the one half under the one gate, plus the other under the other."""
    one, other = x.chunk(2, dim=-1)
    return (gates[..., :1] * one).addcmul_(gates[..., 1:], other)


def _products(x: Tensor, y: Tensor) -> Tensor:
    """[N, C, 2X] and [N, C, X] to [N, C, 2]: both halves times y."""
    return (x.view(*y.shape[:2], 2, -1) * y[..., None, :]).sum(-1)


def _halves(state: Tensor) -> Tensor:
    """[N, 2X, I] to [N, 2, X I]."""
    return state.view(len(state), 2, -1)


def _carried(carry: Tensor, state: Tensor) -> Tensor:
    return bmm(carry, _halves(state)).view_as(state)
