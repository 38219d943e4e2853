"""The chunk form: all gradients of a chunk in one pass over its keys, all its reads in one pass over its queries.

Inside a chunk every gradient is taken at the chunk's first weights, where each matrix's gradient for token i is the
outer product of its input x_i and the loss's derivative delta_i behind it. With G, a, b of the chunk algebra
(`ops.decay`, times the window's band), the weights of token t are

    W_t = a_t W_0 + b_t M_0 - sum_i G_{ti} x_i delta_i^T,

and a query is read without building them: h W_t = a_t h W_0 + b_t h M_0 - sum_i G_{ti} (h x_i) delta_i.

Source: Titans, section 3.2; the window is the Omega rule of ATLAS, section 3; the link is MIRAS, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.gradient_memory.mlp import TwoMatrices, fits, mlp_chunks
from mnemos.state.ops.gradient_memory.tokens import Piece, Tokens
from mnemos.state.ops.gradient_memory.trace import Forward, Gradient, Linear, Link, Trace, banded, start
from mnemos.state.ops.pack import check_cu_seqlens
from mnemos.state.ops.whole import whole


class Network(NamedTuple):
    """The parts of a gradient memory that no token changes."""

    forward: Forward
    gradient: Gradient
    link: Link | None
    transform: Callable[[Tensor], Tensor] | None


@whole
def gradient_memory(
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
    chunk_size: int = 64,
    initial_state: Trace | list[Trace] | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Trace | list[Trace] | None]:
    """Write each (k, v) into a network's weights, and read q after it.

    M_t = mu_t M_{t-1} - sum_j step_{t,j} grad(t-j),  A_t = alpha_t A_{t-1} + M_t,  o_t = forward(link(A_t), q_t),
    with gradients taken at the first weights of the chunk that t is in.

    Args:
        q: [B, T, H, K].
        k: [B, T, H, K].
        v: [B, T, H, V].
        log_keep: [B, T, H] log alpha.
        step: [B, T, H], or [B, T, H, c] with a window: step[..., j] weighs the gradient of the token j back.
        weights: W_0 per matrix, [H, I, O] or [B, H, I, O]; with a link, the state A_0 that it turns into W_0.
        forward: the network.
        gradient: derivative of the loss at the prediction.
        log_momentum: [B, T, H] log mu; None for M_t without a past.
        link: None for W = A.
        transform: what is done to M_t before it is added, e.g. orthogonalisation (ATLAS); with `rate`.
        rate: [B, T, H], weight of transform(M_t) in A_t.
        chunk_size: a property of the model, not of the computation: other chunks are another memory.
        initial_state: what an earlier call returned; its phase goes on.
        output_final_state: whether to return the state; a list with one state per sequence for cu_seqlens.
        cu_seqlens: [N+1] borders of sequences packed into one row.

    Returns:
        o [B, T, H, V] and the state or None.

    Raises:
        InvalidInput: shapes that do not fit, or a transform without momentum or rate.

    Cost: time O(T (C + I) O) per head and matrix, memory for training O(T (C + I + O) + T / C * I O). A link without
    a scale, or a transform, builds each token's weights: memory O(T I O).
    """
    _check(q, k, v, log_keep, step, log_momentum, transform, rate, chunk_size)
    network = Network(forward, gradient, link, transform)
    tokens = Tokens(q, k, v, log_keep, step if step.ndim == 4 else step[..., None], log_momentum, rate)
    fresh = start(weights, k, v, log_momentum is not None)
    if cu_seqlens is not None:
        borders = check_cu_seqlens(cu_seqlens, q.shape[1], q.shape[0]).tolist()
        sequences = [tokens.cut(first, last) for first, last in pairwise(borders)]
        begun = initial_state if isinstance(initial_state, list) else [fresh] * len(sequences)
        if len(begun) != len(sequences):
            raise InvalidInput(f"{len(begun)} initial states for {len(sequences)} packed sequences: give one for each")
        results = [_run(network, trace, chunk_size, one) for trace, one in zip(begun, sequences, strict=True)]
        states = [trace for _, trace in results]
        return torch.cat([o for o, _ in results], dim=1), states if output_final_state else None
    begin = initial_state if isinstance(initial_state, Trace) else fresh
    o, trace = _run(network, begin, chunk_size, tokens)
    return o, trace if output_final_state else None


def _run(network: Network, trace: Trace, chunk_size: int, tokens: Tokens) -> tuple[Tensor, Trace]:
    """Chunk after chunk; full ones of a known network in the form made for it."""
    total, outputs = tokens.q.shape[1], []
    begin = min(-trace.phase % chunk_size, total)
    end = total - (total - begin) % chunk_size
    known = network.forward
    if not isinstance(known, TwoMatrices) or network.link or network.transform or not fits(trace, tokens):
        begin = end = total
    if begin:
        o, trace = _run_any(network, trace, chunk_size, tokens.cut(0, begin))
        outputs.append(o)
    if begin < end:
        with torch.autocast(tokens.q.device.type, enabled=False):
            o, trace = mlp_chunks(cast(TwoMatrices, known), network.gradient, trace, tokens.cut(begin, end), chunk_size)
        outputs.append(o)
    if end < total:
        o, trace = _run_any(network, trace, chunk_size, tokens.cut(end, total))
        outputs.append(o)
    return (torch.cat(outputs, dim=2) if len(outputs) > 1 else outputs[0]).transpose(1, 2), trace


def _run_any(network: Network, trace: Trace, chunk_size: int, tokens: Tokens) -> tuple[Tensor, Trace]:
    """Chunk after chunk, of any network."""
    outputs = []
    for piece in tokens.chunks(chunk_size - trace.phase, chunk_size):
        o, trace = _chunk(network, trace, piece)
        outputs.append(o)
        if trace.phase == chunk_size:
            trace = trace.at_boundary()
    return torch.cat(outputs, dim=2), trace


def _chunk(network: Network, trace: Trace, piece: Piece) -> tuple[Tensor, Trace]:
    """At most one chunk, from the trace's phase on."""
    keys, values = torch.cat([trace.keys, piece.k], dim=2), torch.cat([trace.values, piece.v], dim=2)
    anchor = trace.anchor if network.link is None else tuple(network.link.apply(a) for a in trace.anchor)
    inputs, slopes = _gradients(network, anchor, keys, values)
    write = _add if network.transform is None else _add_transformed
    linear, weights, momentum = write(network, trace, piece, inputs, slopes)
    o = network.forward(linear, piece.q)
    kept = min(piece.step.shape[-1] - 1, keys.shape[2])
    tail = slice(keys.shape[2] - kept, None)
    phase = trace.phase + piece.q.shape[2]
    return o, Trace(trace.anchor, weights, momentum, keys[:, :, tail], values[:, :, tail], phase)


def _gradients(
    network: Network, weights: Sequence[Tensor], keys: Tensor, values: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs x [B, H, t, I] and derivatives delta [B, H, t, O] of each matrix, for all keys at once."""
    inputs: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}

    def linear(number: int, h: Tensor) -> Tensor:
        inputs[number], outputs[number] = h, h @ weights[number]
        if not outputs[number].requires_grad:
            outputs[number].requires_grad_()
        return outputs[number]

    training = torch.is_grad_enabled()
    with torch.enable_grad():
        if not training:
            keys, values, weights = keys.detach(), values.detach(), [w.detach() for w in weights]
        prediction = network.forward(linear, keys)
        order = range(len(weights))
        error = network.gradient(prediction, values)
        slopes = torch.autograd.grad(
            prediction, [outputs[number] for number in order], error, create_graph=training, retain_graph=training
        )
    return [inputs[number] for number in order], list(slopes)


Written = tuple[Linear, tuple[Tensor, ...], tuple[Tensor, ...] | None]
"""How a query meets each token's matrices; the matrices and the momentum after the last token."""


def _add(network: Network, trace: Trace, piece: Piece, inputs: Sequence[Tensor], slopes: Sequence[Tensor]) -> Written:
    """Gradients add up as they are."""
    chunk, link = piece.chunk, network.link
    band = banded(piece.step, trace.keys.shape[2])
    past = -chunk.gamma @ band
    keep, push = chunk.keep[..., None], None if chunk.push is None else chunk.push[..., None]
    factors = [link.scale(a) for a in trace.anchor] if link and link.scale else None

    def in_place(number: int, h: Tensor) -> Tensor:
        out = (past * (h @ inputs[number].mT)) @ slopes[number]
        out = torch.addcmul(out, keep, h @ trace.weights[number])
        if push is not None and trace.momentum is not None:
            out = torch.addcmul(out, push, h @ trace.momentum[number])
        return out if factors is None else factors[number] * out

    def built(number: int, h: Tensor) -> Tensor:
        states = _mix(past, inputs[number], slopes[number]) + keep[..., None] * trace.weights[number][:, :, None]
        if push is not None and trace.momentum is not None:
            states = states + push[..., None] * trace.momentum[number][:, :, None]
        return (h[..., None, :] @ link.apply(states)).squeeze(-2) if link else h

    weights, momentum = [], []
    for number, (x, slope) in enumerate(zip(inputs, slopes, strict=True)):
        after = torch.addcmul(x.mT @ (past[:, :, -1, :, None] * slope), keep[:, :, -1:], trace.weights[number])
        if push is not None and trace.momentum and chunk.momentum is not None and chunk.momentum_keep is not None:
            after = torch.addcmul(after, push[:, :, -1:], trace.momentum[number])
            moved = x.mT @ ((chunk.momentum[:, :, -1:] @ -band).mT * slope)
            momentum.append(torch.addcmul(moved, chunk.momentum_keep[:, :, -1, None, None], trace.momentum[number]))
        weights.append(after)
    linear = in_place if link is None or link.scale else built
    return linear, tuple(weights), tuple(momentum) or None


def _add_transformed(
    network: Network, trace: Trace, piece: Piece, inputs: Sequence[Tensor], slopes: Sequence[Tensor]
) -> Written:
    """Each token's momentum is built and transformed before it is added."""
    chunk = piece.chunk
    assert network.transform
    assert trace.momentum
    assert piece.rate is not None
    assert piece.across is not None
    assert chunk.momentum is not None
    assert chunk.momentum_keep is not None
    band = banded(piece.step, trace.keys.shape[2])
    across = piece.across * piece.rate[..., None, :]
    states, momentum = [], []
    for number, (x, slope) in enumerate(zip(inputs, slopes, strict=True)):
        moved = chunk.momentum_keep[..., None, None] * trace.momentum[number][:, :, None]
        moved = moved - _mix(chunk.momentum @ band, x, slope)
        added = (across @ network.transform(moved).flatten(-2)).view_as(moved)
        states.append(added + chunk.keep[..., None, None] * trace.weights[number][:, :, None])
        momentum.append(moved[:, :, -1])

    def linear(number: int, h: Tensor) -> Tensor:
        read = states[number] if network.link is None else network.link.apply(states[number])
        return (h[..., None, :] @ read).squeeze(-2)

    return linear, tuple(s[:, :, -1] for s in states), tuple(momentum)


def _mix(share: Tensor, x: Tensor, slope: Tensor) -> Tensor:
    """sum_i share[..., t, i] x_i slope_i^T, a matrix for each token: [B, H, t, I, O]."""
    writes = x[..., :, None] * slope[..., None, :]
    return (share @ writes.flatten(-2)).view(*share.shape[:-1], *writes.shape[-2:])


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_keep: Tensor,
    step: Tensor,
    log_momentum: Tensor | None,
    transform: Callable[[Tensor], Tensor] | None,
    rate: Tensor | None,
    chunk_size: int,
) -> None:
    if q.ndim != 4 or k.shape != q.shape or v.shape[:3] != k.shape[:3] or 0 in q.shape:
        raise InvalidInput(
            f"q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}: give [B, T, H, K], the same, [B, T, H, V]"
        )
    for name, gate in (("log_keep", log_keep), ("step", step), ("log_momentum", log_momentum), ("rate", rate)):
        if gate is not None and gate.shape[:3] != k.shape[:3]:
            raise InvalidInput(
                f"{name} has shape {list(gate.shape)}: it needs {list(k.shape[:3])}, one per token and head"
            )
    if q.device.type == "cpu" and q.dtype in (torch.float16, torch.bfloat16):
        raise InvalidInput(f"q is {q.dtype} on the CPU, where half precision is slow and inexact: use float32")
    if chunk_size < 1:
        raise InvalidInput(f"chunk_size {chunk_size}: at least one token")
    if transform is not None and (log_momentum is None or rate is None):
        raise InvalidInput("a transform works on the momentum: give log_momentum and rate with it")
