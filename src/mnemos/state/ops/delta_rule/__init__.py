"""The delta rule: a write corrects what its key already recalls. Plain, with decay, and with roles swapped (Oja).

delta   S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T           DeltaNet, Rescorla-Wagner
gated   the same on exp(g_t) S_{t-1}                                 Gated DeltaNet
Oja     S_t = exp(g_t) S_{t-1} + beta_t (k_t - exp(g_t) S_{t-1} v_t) v_t^T
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from mnemos.state.ops.check import check_operands
from mnemos.state.ops.chunks import by_chunks
from mnemos.state.ops.delta_rule.chunk import delta_chunks, oja_chunks
from mnemos.state.ops.steps import fused
from mnemos.state.ops.whole import whole

__all__ = ["delta_rule", "gated_delta_rule", "oja_rule"]


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """`gated_delta_rule` without decay.

    Source: Yang et al., Parallelizing Linear Transformers with the Delta Rule, arXiv:2406.06484.
    """
    return _run(delta_chunks, q, k, v, None, beta, scale, initial_state, output_final_state, cu_seqlens)


def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Decay, correct, read: S <- exp(g) S, then S <- S + beta k (v - S^T k)^T, then o = scale S^T q.

    Stable on a repeated key for 0 <= beta |k|^2 < 2; beta |k|^2 = 1 replaces what the key recalled.

    Args:
        q: [B, T, H, K].
        k: [B, T, H, K].
        v: [B, T, H, V].
        g: [B, T, H] log decay <= 0; -inf forgets all.
        beta: [B, T, H] share of the error that is written.
        scale: factor of what is read; K^-0.5 if None.
        initial_state: S [B, H, K, V]; [N, H, K, V] with cu_seqlens. None starts empty.
        output_final_state: whether to return S after the last token.
        cu_seqlens: int64 [N+1], borders of N sequences packed into one row (B = 1).

    Returns:
        o [B, T, H, V], and S in float32 (float64 for float64 input) or None.

    Raises:
        InvalidInput: shapes or types that do not fit, half precision on the CPU, and on the CPU NaN or a log decay
            above 0.

    Cost: time O(T (C + K) (K + V)) per head with chunks of C tokens; training keeps O(T / C) states.
    Source: Yang et al., Gated Delta Networks, arXiv:2412.06464.
    """
    return _run(delta_chunks, q, k, v, g, beta, scale, initial_state, output_final_state, cu_seqlens)


def oja_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Erase along the value, not the key: S <- exp(g) S, then S <- S + beta (k - S v) v^T, then o = scale S^T q.

    Its state stays bounded for 0 <= beta |v|^2 < 2. Arguments, results and cost as `gated_delta_rule`; g None is no
    decay.

    Source: Oja's rule with clamped outputs; flash-linear-attention has it with one decay per value channel.
    """
    return _run(oja_chunks, q, k, v, g, beta, scale, initial_state, output_final_state, cu_seqlens)


@whole
def _run(
    chunks: Callable[..., tuple[Tensor, Tensor]],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor,
    scale: float | None,
    initial_state: Tensor | None,
    output_final_state: bool,
    cu_seqlens: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    decays, gates = {} if g is None else {"g": g}, {"beta": beta}
    borders = check_operands(q, k, v, decays=decays, gates=gates, states=(initial_state,), cu_seqlens=cu_seqlens)
    scale = q.shape[-1] ** -0.5 if scale is None else float(scale)
    one_launch = fused(q, k, v, g, beta, scale, initial_state, borders) if chunks is delta_chunks else None
    o, state = one_launch or by_chunks(partial(chunks, scale=scale), q, k, v, [beta, g], initial_state, borders)
    return o, state if output_final_state else None
