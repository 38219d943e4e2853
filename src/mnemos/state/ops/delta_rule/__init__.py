"""The delta rule: a write corrects what the key already recalls. Plain, with decay, and with roles swapped (Oja).

delta   S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T
gated   the same on e^{g_t} S_{t-1}
"""

from __future__ import annotations

import torch
from torch import Tensor

from mnemos.state.ops.check import accurate, check_operands
from mnemos.state.ops.chunks import by_sequence, cut, join, size_of
from mnemos.state.ops.delta_rule.chunk import delta_chunks

__all__ = ["delta_rule", "gated_delta_rule"]

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
    """`gated_delta_rule` without decay."""
    return _run(q, k, v, None, beta, scale, initial_state, output_final_state, cu_seqlens)


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
    """Decay, correct, read: S <- e^g S, then S <- S + beta k (v - S^T k)^T, then o = scale S^T q.
    """
    return _run(q, k, v, g, beta, scale, initial_state, output_final_state, cu_seqlens)


def _run(q, k, v, g, beta, scale, initial_state, output_final_state, cu_seqlens):
    decays = {} if g is None else {"g": g}
    borders = check_operands(q, k, v, decays=decays, gates={"beta": beta}, states=(initial_state,), cu_seqlens=cu_seqlens)
    scale = q.shape[-1] ** -0.5 if scale is None else float(scale)
    exact = accurate(q)

    def run(*tensors):
        batch, tokens, heads, width = tensors[0].shape
        q, k, v, g, beta = (None if x is None else cut(x.to(exact), size_of(tokens)) for x in tensors)
        start = k.new_zeros(batch * heads, width, v.shape[-1]) if initial_state is None else initial_state.to(exact).flatten(0, 1)
        o, state = delta_chunks(q, k, v, beta, g, start, scale)
        return join(o, batch, tokens), state.unflatten(0, (batch, heads))
    o, state = by_sequence(run, (q, k, v, g, beta), borders)
    return o.to(v.dtype), state if output_final_state else None
