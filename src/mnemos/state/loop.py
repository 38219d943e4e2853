"""The machine as it is defined: one token after the other, for every combination of parts. The oracle of the rest.

    g_t = grad of loss(M(k_t; W), v_t)      at the last weights, the decayed ones, or those of the chunk's start
    A_t = retention.advance(A_{t-1}, write_t),  W_t = link(A_t),  o_t = M(q_t; W_t)

Axes: B batch, H heads, T tokens, K and V widths of keys and values, I and O in and out of one matrix, c window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mnemos.state.gates import Filled
from mnemos.state.ops.gradient_memory import Forward, Gradient, Linear, Trace
from mnemos.state.ops.newton_schulz import newton_schulz
from mnemos.state.retention import Retention


class Machine(NamedTuple):
    """The parts of a memory, as the loop uses them."""

    forward: Forward
    gradient: Gradient
    retention: Retention
    chunk: int
    decay_first: bool
    orthogonalise: int
    """Iterations of Newton-Schulz on the momentum; 0 for none."""

    @property
    def frozen(self) -> bool:
        """Whether a link's factor is that of the chunk's start, which keeps reads inside the chunk linear."""
        link = self.retention.link
        return link is not None and link.scale is not None and self.chunk > 1 and not self.orthogonalise


def run_loop(
    machine: Machine, trace: Trace, q: Tensor | None, k: Tensor, v: Tensor, gates: Filled
) -> tuple[Tensor | None, Trace]:
    """Write k, v token by token, and read each q after its write.

    Args:
        machine: the memory's parts.
        trace: the state before the first token.
        q: [B, T, H, K], or None to write only.
        k: [B, T, H, K].
        v: [B, T, H, V], and whatever more the gradient takes from it.
        gates: of these tokens.

    Returns:
        o [B, T, H, V] or None, and the state after the last token.

    Cost: T times a forward and a backward pass of the network on c tokens.
    """
    outputs = []
    for t in range(k.shape[1]):
        one = slice(t, t + 1)
        trace = _write(machine, trace, k[:, one].transpose(1, 2), v[:, one].transpose(1, 2), gates.cut(t, t + 1))
        if q is not None:
            weights = read_weights(machine, trace)
            outputs.append(machine.forward(applied(weights), q[:, one].transpose(1, 2)).transpose(1, 2))
        if trace.phase == machine.chunk:
            trace = trace.at_boundary()
    return torch.cat(outputs, dim=1) if outputs else None, trace


def read_weights(machine: Machine, trace: Trace) -> list[Tensor]:
    """The weights W [B, H, I, O] that a read sees now."""
    link = machine.retention.link
    if machine.frozen and link is not None and link.scale is not None:
        return [link.scale(a) * w for a, w in zip(trace.anchor, trace.weights, strict=True)]
    return [machine.retention.weights(w) for w in trace.weights]


def applied(weights: Sequence[Tensor]) -> Linear:
    """`linear` of a structure's forward: h times matrix number l."""
    return lambda number, h: h @ weights[number]


def _write(machine: Machine, trace: Trace, k: Tensor, v: Tensor, gates: Filled) -> Trace:
    """One token: k [B, H, 1, K], v [B, H, 1, V]."""
    window = gates.step.shape[-1] if gates.step.ndim == 4 else 1
    keys, values = (torch.cat(pair, dim=2)[:, :, -window:] for pair in ((trace.keys, k), (trace.values, v)))
    keep = _per_weight(gates.log_keep[:, 0].exp())
    at = [machine.retention.weights(keep * a if machine.decay_first else a) for a in trace.anchor]
    writes, size = _descent(machine, at, keys, values, gates)
    if gates.erase is not None:
        key, strength = gates.erase[0][:, 0, :, :, None], _per_weight(gates.erase[1][:, 0])
        writes[0] = writes[0] - strength * key * (key.mT @ at[0])
    momentum = trace.momentum
    if momentum is not None:
        kept = _per_weight(gates.log_momentum[:, 0].exp())
        momentum = tuple(kept * m + write for m, write in zip(momentum, writes, strict=True))
        writes = list(momentum)
    if machine.orthogonalise:
        size = _per_weight(gates.rate[:, 0])
        writes = [size * newton_schulz(write, machine.orthogonalise) for write in writes]
    states = (machine.retention.advance(a, w, keep, size) for a, w in zip(trace.weights, writes, strict=True))
    tail = slice(max(0, keys.shape[2] - window + 1), None)
    return Trace(trace.anchor, tuple(states), momentum, keys[:, :, tail], values[:, :, tail], phase=trace.phase + 1)


def _descent(
    machine: Machine, weights: Sequence[Tensor], keys: Tensor, values: Tensor, gates: Filled
) -> tuple[list[Tensor], Tensor]:
    """-sum_j step_j grad_j at each matrix, and the sum of the steps."""
    if gates.step.ndim == 4:
        step = gates.step[:, 0, :, : keys.shape[2]].flip(-1)[..., None]  # [..., j] belongs to the j-th last key
        return [-slope for slope in _slopes(machine, weights, keys, values, step)], step.sum(-2, keepdim=True)
    size = _per_weight(gates.step[:, 0])
    return [-size * slope for slope in _slopes(machine, weights, keys, values, torch.ones_like(keys[..., :1]))], size


def _slopes(
    machine: Machine, weights: Sequence[Tensor], keys: Tensor, values: Tensor, step: Tensor
) -> Sequence[Tensor]:
    """The sum of the window's gradients at each matrix, weighed by step [B, H, c, 1]."""
    training = torch.is_grad_enabled()
    with torch.enable_grad():
        if not training:
            keys, values, weights = keys.detach(), values.detach(), [w.detach() for w in weights]
        # a view of its own: keys and values may depend on these weights too, and that path is not the memory's
        leaves = [w.view_as(w) if w.requires_grad else w.detach().requires_grad_() for w in weights]
        prediction = machine.forward(applied(leaves), keys)
        error = step * machine.gradient(prediction, values)
        return torch.autograd.grad(prediction, leaves, error, create_graph=training)


def _per_weight(gate: Tensor) -> Tensor:
    """[B, H], [B, H, I] or [B, H, I, O] made to broadcast against a matrix [B, H, I, O]."""
    return gate.reshape(*gate.shape, *[1] * (4 - gate.ndim))
