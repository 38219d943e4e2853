"""Memories whose features are all powers of the key: phi(q) . phi(k) = exp(scale q . k), so they live in kernel space.

S_t = alpha_t S_{t-1} + sum_{n<c} beta_{t,n} phi(k_{t-n}) e_{t,n}^T,   y_t = phi(q_t) S_t,   alpha = exp(g)
e_{t,n} = v_{t-n} - phi(k_{t-n}) S_{t-1}   corrected: Dot, the delta rule, and with c > 1 the Omega rule
e_{t,n} = v_{t-n}                          Hebbian: DeepTransformers; c = 1, beta = alpha = 1 is unnormalised softmax

S has infinitely many rows and is never made: S_t = sum_i phi(k_i) u_i^T keeps one u_i [V] per token.
Source: ATLAS, arXiv:2505.23735, section 5; the kernel form is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.kernel_delta.chunk import KernelState, kernel_chunks
from mnemos.state.ops.pack import check_cu_seqlens, pack, unpack
from mnemos.state.ops.whole import whole

__all__ = ["KernelState", "kernel_delta"]


@whole
def kernel_delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    g: Tensor | None = None,
    scale: float = 1.0,
    correct: bool = True,
    normalize: bool = False,
    initial_state: KernelState | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor, KernelState | None]:
    """Write and read, causally; a token is read after it is written.

    Corrected writes need keys of bounded length: beyond beta exp(scale |k|^2) = 2 (summed over the window) they
    diverge, so give unit keys. Time O(T S c (K + V)), memory O(T S c), S all tokens so far.

    Args:
        q, k: [B, T, H, K].
        v: [B, T, H, V].
        beta: step, [B, T, H]; or [B, T, H, c] for a window: the token's own, then those of one, two, ... tokens back.
        g: [B, T, H], log decay <= 0; None keeps everything.
        scale: of q . k and k . k in the exponent.
        correct: write what is missing, not the value itself.
        normalize: divide y_t by sum_{i<=t} exp(scale q_t . k_i); with Hebbian steps of 1 this is softmax attention.
        initial_state: what an earlier call returned; None starts empty.
        output_final_state: return the state after the last token.
        cu_seqlens: int64 [N+1], borders of N sequences packed into one row; without states.

    Returns:
        o [B, T, H, V], log_scale [B, T, H] and the state or None: y = o exp(log_scale), which may be too large for
        the type where scale |q| |k| is large; log_scale is 0 if normalised. A norm over V makes o as good as y.

    Raises:
        InvalidInput: shapes that do not fit, or a state together with cu_seqlens.
    """
    if beta.ndim == q.ndim - 1:
        beta = beta[..., None]
    _check(q, k, v, beta, g, initial_state)
    if cu_seqlens is not None:
        if initial_state is not None or output_final_state:
            raise InvalidInput("packed sequences grow states of different lengths: give no state with cu_seqlens")
        borders = check_cu_seqlens(cu_seqlens, q.shape[1], q.shape[0])
        q, k, v, beta = (unpack(x, borders) for x in (q, k, v, beta))
        g = None if g is None else unpack(g, borders)
        o, log_scale, _ = _run(q, k, v, beta, g, scale, correct, normalize, None)
        return pack(o, borders), pack(log_scale, borders), None
    o, log_scale, state = _run(q, k, v, beta, g, scale, correct, normalize, initial_state)
    return o, log_scale, state if output_final_state else None


def _run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    scale: float,
    correct: bool,
    normalize: bool,
    state: KernelState | None,
) -> tuple[Tensor, Tensor, KernelState]:
    exact = torch.float64 if q.dtype == torch.float64 else torch.float32

    def heads_first(x: Tensor) -> Tensor:
        return x.to(exact).transpose(1, 2)

    if state is None:
        state = KernelState(*(x[:, :0] for x in (k, v, v)))
    past = KernelState(*(heads_first(x) for x in state))
    decay = None if g is None else heads_first(g)
    with torch.autocast(q.device.type, enabled=False):
        q_, k_, v_, beta_ = (heads_first(x) for x in (q, k, v, beta))
        o, log_scale, after = kernel_chunks(q_, k_, v_, beta_, decay, past, scale, correct, normalize)
    return o.transpose(1, 2).to(q.dtype), log_scale.transpose(1, 2), KernelState(*(x.transpose(1, 2) for x in after))


def _check(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, state: KernelState | None) -> None:
    if q.ndim != 4 or k.shape != q.shape or v.ndim != 4 or v.shape[:3] != q.shape[:3]:
        raise InvalidInput(
            f"q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}: give [B, T, H, K] twice and [B, T, H, V]"
        )
    if 0 in q.shape or 0 in v.shape or not q.is_floating_point():
        raise InvalidInput(f"q {list(q.shape)}, {q.dtype}: give at least one token of floating-point features")
    if beta.ndim != 4 or beta.shape[:3] != q.shape[:3] or not beta.shape[3]:
        raise InvalidInput(f"beta {list(beta.shape)} does not fit q {list(q.shape)}: give [B, T, H] or [B, T, H, c]")
    if g is not None and g.shape != q.shape[:3]:
        raise InvalidInput(f"g {list(g.shape)} does not fit q {list(q.shape)}: give [B, T, H]")
    if state is not None:
        (batch, _, heads, width), tail = q.shape, min(state.k.shape[1], beta.shape[3] - 1)
        wanted = (batch, state.k.shape[1], heads, width), (*state.k.shape[:3], v.shape[3])
        if (state.k.shape, state.u.shape) != wanted or state.v.shape != (batch, tail, heads, v.shape[3]):
            raise InvalidInput(
                f"the state's k {list(state.k.shape)}, u {list(state.u.shape)} and v {list(state.v.shape)} do not fit "
                f"q {list(q.shape)} and a window of {beta.shape[3]}: pass the state that the last call returned"
            )
