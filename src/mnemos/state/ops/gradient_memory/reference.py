"""The recurrence as it stands: one token after the other, weights of every token in full. The oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mnemos.state.ops.gradient_memory.trace import Forward, Gradient, Linear, Link


def gradient_memory_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_keep: Tensor,
    step: Tensor,
    *,
    weights: Sequence[Tensor],
    forward: Forward,
    gradient: Gradient,
    log_momentum: Tensor | None = None,
    link: Link | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
    rate: Tensor | None = None,
    chunk_size: int = 1,
) -> Tensor:
    """o [B, T, H, V]; arguments as `gradient_memory`, without state and packing."""
    batch, tokens, _heads, _ = k.shape
    step = step[..., None] if step.ndim == 3 else step
    state = [w.to(k.dtype).expand(batch, *w.shape[-3:]) for w in weights]
    moving = [torch.zeros_like(w) for w in state]
    outputs = []
    for t in range(tokens):
        if t % chunk_size == 0:
            anchor = [link.apply(w) for w in state] if link else state
            factors = [link.scale(w) for w in state] if link and link.scale else None
        total = [torch.zeros_like(w) for w in state]
        for j in range(min(step.shape[-1], t + 1)):
            slopes = _slopes(anchor, forward, gradient, k[:, t - j, :, None], v[:, t - j, :, None])
            total = [s + step[:, t, :, j, None, None] * slope for s, slope in zip(total, slopes, strict=True)]
        mu = 0.0 if log_momentum is None else log_momentum[:, t, :, None, None].exp()
        moving = [mu * m - s for m, s in zip(moving, total, strict=True)]
        write = moving
        if transform is not None and rate is not None:
            write = [rate[:, t, :, None, None] * transform(m) for m in moving]
        state = [log_keep[:, t, :, None, None].exp() * w + u for w, u in zip(state, write, strict=True)]
        read = state
        if factors is not None:
            read = [factor * w for factor, w in zip(factors, state, strict=True)]
        elif link:
            read = [link.apply(w) for w in state]
        outputs.append(forward(_through(read), q[:, t, :, None])[:, :, 0])
    return torch.stack(outputs, dim=1)


def _slopes(weights: Sequence[Tensor], forward: Forward, gradient: Gradient, k: Tensor, v: Tensor) -> list[Tensor]:
    """The loss's gradient at each matrix, for one token per row."""
    with torch.enable_grad():
        # a view of its own: keys and values may depend on these weights too, and that path is not the memory's
        leaves = [w.view_as(w) if w.requires_grad else w.detach().requires_grad_() for w in weights]
        prediction = forward(_through(leaves), k)
        return list(torch.autograd.grad(prediction, leaves, gradient(prediction, v), create_graph=True))


def _through(weights: Sequence[Tensor]) -> Linear:
    return lambda number, h: h @ weights[number]
