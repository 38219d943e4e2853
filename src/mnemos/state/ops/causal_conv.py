"""Causal depthwise convolution with SiLU after it, y_t = SiLU(sum_i w_i x_{t+i}), on the CPU.

Sums of shifted rows, block after block of tokens that stays in cache, in the layout of the linear map before it:
about a third of the time of a depthwise `conv1d`, which on a CPU moves channels to the front and back.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mnemos.state.ops.whole import whole

BLOCK = 128
"""Tokens whose channels, some hundreds, fit a cache of the second level."""


@whole
def causal_conv(padded: Tensor, weight: Tensor) -> Tensor:
    """padded [B, width-1+T, D] and weight [D, width] to y [B, T, D]. Differentiable once."""
    y: Tensor = _CausalConv.apply(padded, weight)
    return y


class _CausalConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, padded: Tensor, weight: Tensor) -> Tensor:
        taps = weight.t().contiguous()
        tokens = padded.shape[1] - len(taps) + 1
        total = padded.new_empty(padded.shape[0], tokens, padded.shape[2])
        y = torch.empty_like(total)
        for row, first in product(range(len(y)), range(0, tokens, BLOCK)):
            last = min(first + BLOCK, tokens)
            block = torch.mul(padded[row, first:last], taps[0], out=total[row, first:last])
            for i in range(1, len(taps)):
                block.addcmul_(padded[row, first + i : last + i], taps[i])
            torch.ops.aten.silu.out(block, out=y[row, first:last])
        ctx.save_for_backward(padded, taps, total)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        padded, taps, total = ctx.saved_tensors
        d_padded, d_taps = torch.zeros_like(padded), torch.zeros_like(taps)
        tokens = total.shape[1]
        for row, first in product(range(len(total)), range(0, tokens, BLOCK)):
            last = min(first + BLOCK, tokens)
            d_block = torch.ops.aten.silu_backward(grad[row, first:last], total[row, first:last])
            for i in range(len(taps)):
                d_padded[row, first + i : last + i].addcmul_(d_block, taps[i])
                d_taps[i] += (d_block * padded[row, first + i : last + i]).sum(0)
        return d_padded, d_taps.t()
