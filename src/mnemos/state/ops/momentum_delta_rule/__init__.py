"""The delta rule with momentum and decay: Titans' linear memory, exact for any chunk size.

e_t = v_t - S_{t-1}^T k_t,  M_t = mu_t M_{t-1} + eta_t k_t e_t^T,  S_t = alpha_t S_{t-1} + M_t,  o_t = scale S_t^T q_t

The loss is |S^T k - v|^2 / 2; for Titans' own, without the half, eta is twice its theta.
Source: Titans, arXiv:2501.00663, section 3.1; the exact chunk form is ours (see `ops.decay`).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.check import check_operands
from mnemos.state.ops.chunks import by_chunks
from mnemos.state.ops.delta_rule.chunk import momentum_delta_chunks
from mnemos.state.ops.whole import whole

__all__ = ["momentum_delta_rule"]


@whole
def momentum_delta_rule(
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
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Write with momentum, read after each write.

    On a repeated key the memory is stable for eta |k|^2 < (1 + alpha)(1 + mu). With mu = 0 (log -inf) this is the
    delta rule, and with `decay_first` the gated delta rule: take those, they cost half.

    Args:
        q: [B, T, H, K].
        k: [B, T, H, K].
        v: [B, T, H, V].
        log_keep: [B, T, H] log alpha <= 0; -inf forgets all.
        log_momentum: [B, T, H] log mu <= 0; -inf forgets all.
        eta: [B, T, H] step.
        decay_first: take the error at alpha_t S_{t-1}, as the gated delta rule does, not at S_{t-1}.
        scale: factor of what is read.
        initial_state: (S, M), [B, H, K, V] each; [N, H, K, V] with cu_seqlens. None starts empty.
        output_final_state: whether to return (S, M) after the last token.
        cu_seqlens: int64 [N+1], borders of N sequences packed into one row (B = 1).

    Returns:
        o [B, T, H, V], and (S, M) in float32 (float64 for float64 input) or None.

    Raises:
        InvalidInput: shapes or types that do not fit, half precision on the CPU, and on the CPU NaN or a log decay
            above 0.

    Cost: time O(T (C + K) (K + V)) per head with chunks of C tokens; training keeps O(T / C) states.
    """
    states = (None, None) if initial_state is None else initial_state
    if not isinstance(states, tuple) or len(states) != 2:
        raise InvalidInput("initial_state: give the pair (S, M) that an earlier call returned")
    decays = {"log_keep": log_keep, "log_momentum": log_momentum}
    borders = check_operands(q, k, v, decays=decays, gates={"eta": eta}, states=states, cu_seqlens=cu_seqlens)
    run = partial(momentum_delta_chunks, decay_first=decay_first, scale=float(scale))
    gates = [log_keep, log_momentum, eta, torch.ones_like(eta)]  # the last is 0 where a token only fills up
    both = None if initial_state is None else torch.cat(initial_state, dim=2)
    o, after = by_chunks(run, q, k, v, gates, both, borders, matrices=2)
    state, momentum = after.split(q.shape[-1], dim=2)
    return o, (state, momentum) if output_final_state else None
