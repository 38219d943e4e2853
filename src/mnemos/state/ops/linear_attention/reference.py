"""Linear attention token by token: the oracle."""

from __future__ import annotations

import torch
from torch import Tensor


def linear_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """o [B, T, H, V] and the state [B, H, K, V]; arguments as `linear_attention`."""
    batch, tokens, heads, width = k.shape
    scale = width**-0.5 if scale is None else scale
    state = k.new_zeros(batch, heads, width, v.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(tokens):
        if g is not None:
            decay = g[:, t].exp()
            state = (decay[..., None, None] if g.ndim == 3 else decay[..., None]) * state
        state = state + torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), state
