"""The delta rule with momentum and decay, token by token: the oracle."""

from __future__ import annotations

import torch
from torch import Tensor


def momentum_delta_rule_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_keep: Tensor,
    log_momentum: Tensor,
    eta: Tensor,
    *,
    decay_first: bool = False,
    scale: float = 1.0,
    initial_state: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """o [B, T, H, V] and (S, M), [B, H, K, V] each; arguments as `momentum_delta_rule`."""
    batch, tokens, heads, width = k.shape
    empty = k.new_zeros(batch, heads, width, v.shape[-1])
    state, momentum = (empty, empty) if initial_state is None else initial_state
    outputs = []
    for t in range(tokens):
        kept = log_keep[:, t, :, None, None].exp() * state
        error = v[:, t] - torch.einsum("bhk,bhkv->bhv", k[:, t], kept if decay_first else state)
        write = torch.einsum("bhk,bhv->bhkv", eta[:, t, :, None] * k[:, t], error)
        momentum = log_momentum[:, t, :, None, None].exp() * momentum + write
        state = kept + momentum
        outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), (state, momentum)
