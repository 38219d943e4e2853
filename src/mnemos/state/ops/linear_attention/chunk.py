"""Linear attention by chunks: inside a chunk masked attention, between chunks a state.

With D_{ti} = prod_{l=i+1..t} decay_l, a number or one number per key channel,

    O = (D_{t0} * Q) S_0 + P V,  P_{ti} = q_t . (D_{ti} * k_i),  S_C = D_{C0} * S_0 + sum_i (D_{Ci} * k_i) v_i^T.

Source: Yang et al., Gated Linear Attention, arXiv:2312.06635, section 4; the halving scheme for P is ours.
Axes: N chunks, G = B H, C tokens of a chunk (a power of two), K and V widths of keys and values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mnemos.state.ops.chunks import bmm, walk
from mnemos.state.ops.decay import chunk_weights
from mnemos.state.ops.steps import delta_states, read


def linear_chunks(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, start: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """o [N, G, C, V] and S [G, K, V] after the last chunk; all [N, G, C, ...], start [G, K, V]."""
    if q.shape[2] == 1:
        return read(q, delta_states(k, v, None, g, start), scale)
    carry, reads, write = None, q, k
    if g is None:
        shares = bmm(q, k.mT).tril()
    elif g.ndim == 3:  # a number per token
        weights = chunk_weights(g)
        shares = bmm(q, k.mT) * weights.gamma
        carry, reads, write = weights.keep[..., -1:], q * weights.keep[..., None], k * weights.gamma[..., -1, :, None]
    else:
        shares, into, onward = DecayedShares.apply(q, k, g)
        carry, reads, write = into[:, :, -1], q * into, k * onward
    u, before, after = walk(v, None, write, carry, start)
    return bmm(shares, u, bmm(reads, before), scale), after


class DecayedShares(torch.autograd.Function):
    """P [N, G, C, C] of q, k and one log decay per channel, g, all [N, G, C, K]; and D_{t0} and D_{Ci}, [N, G, C, K].

    A product of decays from i to t is split where i and t part, in a tree of halves over the chunk: with m the border,
    D_{ti} = D_{tm} D_{mi}, two factors of at most 1, which grow by products from one level of the tree to the next. No
    sum of logarithms is ever subtracted or turned round, so that decays of any strength neither overflow nor lose
    digits. Time O(C log C K + C^2 K), memory O(C (C + K)).

    Its own backward repeats the factors instead of keeping log C of them, and takes dg from dq and dk: as D_{ti}
    multiplies q_t and divides k_i, dg_l = sum_{t>=l} (q_t dq_t - k_t dk_t).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = q.shape[2]
        shares = q.new_zeros(*q.shape[:3], size)
        torch.sum(q * k, -1, out=shares.diagonal(dim1=2, dim2=3))
        late, early = q.flatten(0, 1), k.flatten(0, 1)
        into, onward = g.flatten(0, 1).exp(), torch.ones_like(early)
        for half in _halves(size):
            read, write = _reads_and_writes(late, early, into, onward, half)
            _corner(shares, half).copy_(torch.bmm(read, write.mT).view(-1, size // half // 2, half, half))
            _join(into, onward, half)
        ctx.save_for_backward(q, k, g)
        return shares, into.view(g.shape), onward.view(g.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, d_into: Tensor, d_onward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, g = (x.flatten(0, 1) for x in ctx.saved_tensors)
        dq, dk = torch.zeros_like(q), torch.zeros_like(k)
        into, onward = g.exp(), torch.ones_like(k)
        for half in _halves(q.shape[1]):
            read, write = _reads_and_writes(q, k, into, onward, half)
            corner = _corner(grad, half).reshape(-1, half, half)
            times = torch.bmm if half > 1 else torch.mul  # many products of a number and a row
            for whole, part, decay, side in (
                (dq, times(corner, write), into, 1),
                (dk, times(corner.mT, read), onward, 0),
            ):
                factor = _split(decay, half)[:, :, side]
                _split(whole, half)[:, :, side].addcmul_(part.view(factor.shape), factor)
            _join(into, onward, half)
        from_later = (q * dq).addcmul_(k, dk, value=-1).addcmul_(d_into.flatten(0, 1), into)
        dg = from_later.flip(1).cumsum(1).flip(1)
        dg[:, 1:] += (d_onward.flatten(0, 1) * onward)[:, :-1].cumsum(1)
        own = grad.flatten(0, 1).diagonal(dim1=1, dim2=2)[..., None]  # has no decay, so it comes after dg
        shape = ctx.saved_tensors[0].shape
        return dq.addcmul_(own, k).view(shape), dk.addcmul_(own, q).view(shape), dg.view(shape)


def _halves(size: int) -> list[int]:
    return [1 << level for level in range(size.bit_length() - 1)]


def _split(x: Tensor, half: int) -> Tensor:
    """[M, C, K] to [M, C / 2h, 2, h, K], a view."""
    return x.view(len(x), -1, 2, half, x.shape[-1])


def _corner(shares: Tensor, half: int) -> Tensor:
    """The blocks of [N, G, C, C] whose row is in the second and column in the first half: [M, C / 2h, h, h], a view."""
    size = shares.shape[-1]
    blocks = shares.view(-1, size // half // 2, 2, half, size // half // 2, 2, half)
    return blocks[:, :, 1, :, :, 0].diagonal(dim1=1, dim2=3).movedim(3, 1)


def _reads_and_writes(q: Tensor, k: Tensor, into: Tensor, onward: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Reads D_{tm} q_t and writes D_{mi} k_i about the borders m between halves, [M C / 2h, h, K]."""
    read = _split(q, half)[:, :, 1] * _split(into, half)[:, :, 1]
    write = _split(k, half)[:, :, 0] * _split(onward, half)[:, :, 0]
    return read.flatten(0, 1), write.flatten(0, 1)


def _join(into: Tensor, onward: Tensor, half: int) -> None:
    """From the decays since the start, and up to the end, of each block of `half` tokens to those of two blocks."""
    (first, second), early = _split(into, half).unbind(2), _split(onward, half)[:, :, 0]
    early *= second[:, :, -1:]
    second *= first[:, :, -1:]
