"""Few tokens on a GPU: the recurrence itself, all tokens and heads in one launch, states in registers.

    S <- exp(g_t) S,    u = beta_t (v_t - S^T k_t),    S <- S + k_t u^T,    o_t = scale S^T q_t

Without beta u is v_t: linear attention. Columns of S never meet, so one program takes a block of them, of one head of
one sequence; it reads that part of the state once and writes it once, whatever T is. Forward only.

Checked against the plain recurrence in Triton's interpreter, and compiled for sm_75 to sm_90 (no registers spill). Not
measured: its time on any GPU. The sizes of blocks (32 numbers of the state per thread) and the longest sequence that
`ops.steps` sends here are guesses.
Source: the layout is that of `fused_recurrent` in flash-linear-attention.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mnemos.state.ops.check import accurate

_COLUMNS = 8
_PER_WARP = 32 * 32
"""Numbers of the state that one warp holds: 32 threads with 32 registers each."""


def recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    scale: float,
    state: Tensor | None,
    borders: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """o [B, T, H, V] in the dtype of v, and the state after the last token.

    Args:
        q, k, v: [B, T, H, K], [B, T, H, K], [B, T, H, V].
        g: log decay [B, T, H] or [B, T, H, K]; None for 1.
        beta: [B, T, H]; None writes v itself and not its error.
        scale: factor of what is read; a new value compiles the kernel anew, so that float64 gets all its digits.
        state: [N, H, K, V], None for 0; N = B without borders. It is not changed.
        borders: int64 [N+1] of packed sequences (B = 1), or None.

    Cost: O(T K V) per head in one launch, and no memory but the results.
    """
    _, tokens, heads, width = q.shape
    sequences = len(q) if borders is None else len(borders) - 1
    operands = [None if x is None else x.contiguous() for x in (q, k, v, g, beta, state)]
    o = torch.empty_like(v, memory_format=torch.contiguous_format)
    after = q.new_empty(sequences, heads, width, v.shape[-1], dtype=accurate(q))
    rows, columns = triton.next_power_of_2(width), min(_COLUMNS, triton.next_power_of_2(v.shape[-1]))
    grid = (sequences * heads, triton.cdiv(v.shape[-1], columns))  # the first axis alone may pass 65535
    with torch.cuda.device_of(q):  # Triton launches on the current device, which need not be that of q
        _recurrent[grid](
            *operands,
            o,
            after,
            borders,
            tokens,
            heads,
            SCALE=scale,
            K=width,
            V=v.shape[-1],
            ROWS=rows,
            COLUMNS=columns,
            PER_CHANNEL=g is not None and g.ndim == 4,
            num_warps=min(max(rows * columns // _PER_WARP, 1), 16),
            enable_fp_fusion=True,  # said, since versions of Triton differ in what they assume
        )
    return o, after


@triton.jit
def _recurrent(  # type: ignore[no-untyped-def]  # Triton reads annotations, and has none for pointers
    q,
    k,
    v,
    g,
    beta,
    start,
    o,
    after,
    borders,
    tokens,
    heads,
    SCALE: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PER_CHANNEL: tl.constexpr,
):
    which = tl.program_id(0).to(tl.int64)
    sequence, head = which // heads, which % heads
    if borders is None:
        first, end = sequence * tokens, (sequence + 1) * tokens
    else:
        first, end = tl.load(borders + sequence), tl.load(borders + sequence + 1)
    row, column = tl.arange(0, ROWS), tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    in_k, in_v = row < K, column < V
    cells = which * K * V + row[:, None] * V + column[None, :]
    inside = in_k[:, None] & in_v[None, :]
    exact = after.dtype.element_ty
    state = tl.zeros([ROWS, COLUMNS], exact)
    if start is not None:
        state += tl.load(start + cells, mask=inside, other=0.0).to(exact)
    for t in range(first, end):
        at = t * heads + head
        query = tl.load(q + at * K + row, mask=in_k, other=0.0).to(exact)
        key = tl.load(k + at * K + row, mask=in_k, other=0.0).to(exact)
        write = tl.load(v + at * V + column, mask=in_v, other=0.0).to(exact)
        if g is not None:
            if PER_CHANNEL:
                state *= tl.exp(tl.load(g + at * K + row, mask=in_k, other=0.0).to(exact))[:, None]
            else:
                state *= tl.exp(tl.load(g + at).to(exact))
        if beta is not None:
            write = tl.load(beta + at).to(exact) * (write - tl.sum(state * key[:, None], axis=0))
        state += key[:, None] * write[None, :]
        read = tl.sum(state * query[:, None], axis=0) * SCALE
        tl.store(o + at * V + column, read.to(o.dtype.element_ty), mask=in_v)
    tl.store(after + cells, state, mask=inside)
