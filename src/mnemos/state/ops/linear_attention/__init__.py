"""Linear attention: a matrix of key-value products, with or without decay.

S_t = decay_t S_{t-1} + k_t v_t^T,  o_t = scale S_t^T q_t.  Decay 1: linear attention. A number: RetNet, Mamba-2. One
number per key channel: GLA, HGRN2.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from mnemos.state.ops.check import check_operands
from mnemos.state.ops.chunks import by_chunks
from mnemos.state.ops.linear_attention.chunk import linear_chunks
from mnemos.state.ops.steps import fused
from mnemos.state.ops.whole import whole

__all__ = ["linear_attention"]


@whole
def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Decay, write, read.

    Args:
        q: [B, T, H, K].
        k: [B, T, H, K].
        v: [B, T, H, V].
        g: log decay <= 0, [B, T, H] or per key channel [B, T, H, K]; -inf forgets all. None keeps all.
        scale: factor of what is read; K^-0.5 if None.
        initial_state: S [B, H, K, V]; [N, H, K, V] with cu_seqlens. None starts empty.
        output_final_state: whether to return S after the last token.
        cu_seqlens: int64 [N+1], borders of N sequences packed into one row (B = 1).

    Returns:
        o [B, T, H, V], and S in float32 (float64 for float64 input) or None.

    Raises:
        InvalidInput: shapes or types that do not fit, half precision on the CPU, and on the CPU NaN or a log decay
            above 0.

    Cost: time O(T (C K + C V + K V)) per head with chunks of C tokens; training keeps O(T / C) states.
    """
    decays = {} if g is None else {"g": g}
    borders = check_operands(q, k, v, decays=decays, per_channel=True, states=(initial_state,), cu_seqlens=cu_seqlens)
    scale = q.shape[-1] ** -0.5 if scale is None else float(scale)
    one_launch = fused(q, k, v, g, None, scale, initial_state, borders)
    o, state = one_launch or by_chunks(partial(linear_chunks, scale=scale), q, k, v, [g], initial_state, borders)
    return o, state if output_final_state else None
