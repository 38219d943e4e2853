"""Cross-entropy over a vocabulary without ever holding the logits of all tokens."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.state.ops.whole import whole

IGNORED = -100


@whole
def chunked_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int = 2048) -> Tensor:
    """Sum over tokens of -log softmax(W h)[target], in float32; targets of -100 count nothing.

    The gradients are made while a chunk's logits are at hand, so that nothing is computed twice. Holds
    chunk x V logits, and one gradient of W's size more than the plain loss.

    Args:
        hidden: [N, D].
        weight: [V, D].
        targets: int64 [N].
        chunk: tokens at a time.
    """
    loss: Tensor = _Chunked.apply(hidden, weight, targets, chunk)
    return loss


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> Tensor:
        want_hidden, want_weight = ctx.needs_input_grad[:2]
        exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        total = torch.zeros((), dtype=exact, device=hidden.device)
        d_hidden = torch.empty_like(hidden) if want_hidden else None
        d_weight = torch.zeros_like(weight, dtype=exact) if want_weight else None
        for start in range(0, hidden.shape[0], chunk):
            h, target = hidden[start : start + chunk], targets[start : start + chunk]
            logits = F.linear(h, weight)
            low = logits.dtype
            logs = torch.log_softmax(logits.to(exact), dim=-1)
            total += F.nll_loss(logs, target, ignore_index=IGNORED, reduction="sum")
            if d_hidden is None and d_weight is None:
                continue
            live = target != IGNORED
            slope = logs.exp_()
            slope[torch.arange(len(target), device=target.device), target.clamp(min=0)] -= 1
            slope = (slope * live[:, None]).to(low)
            if d_hidden is not None:
                d_hidden[start : start + chunk] = slope @ weight.to(low)
            if d_weight is not None:
                d_weight += slope.mT @ h.to(low)
        ctx.save_for_backward(d_hidden, None if d_weight is None else d_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_weight = ctx.saved_tensors
        scale = grads[0]
        return (
            None if d_hidden is None else d_hidden * scale.to(d_hidden.dtype),
            None if d_weight is None else d_weight * scale.to(d_weight.dtype),
            None,
            None,
        )


__all__ = ["IGNORED", "chunked_cross_entropy"]
