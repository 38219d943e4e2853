"""The delta rules token by token: the oracle."""

from __future__ import annotations

import torch
from torch import Tensor


def gated_delta_rule_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """o [B, T, H, V] and the state [B, H, K, V]; arguments as `gated_delta_rule`, g None for no decay."""
    batch, tokens, heads, width = k.shape
    scale = width**-0.5 if scale is None else scale
    state = k.new_zeros(batch, heads, width, v.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(tokens):
        if g is not None:
            state = g[:, t, :, None, None].exp() * state
        error = v[:, t] - torch.einsum("bhk,bhkv->bhv", k[:, t], state)
        state = state + torch.einsum("bhk,bhv->bhkv", beta[:, t, :, None] * k[:, t], error)
        outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), state


def oja_rule_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """o [B, T, H, V] and the state [B, H, K, V]; arguments as `oja_rule`."""
    batch, tokens, heads, width = k.shape
    scale = width**-0.5 if scale is None else scale
    state = k.new_zeros(batch, heads, width, v.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(tokens):
        if g is not None:
            state = g[:, t, :, None, None].exp() * state
        error = k[:, t] - torch.einsum("bhkv,bhv->bhk", state, v[:, t])
        state = state + torch.einsum("bhk,bhv->bhkv", beta[:, t, :, None] * error, v[:, t])
        outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), state
