"""A matrix under L2 or the dot product, by plain gradient steps: a linear recurrence, run exactly in chunks.

L2's gradient is twice the error, so that a step of eta is a delta rule of strength 2 eta.

Axes: B batch, H heads, T tokens, K and V widths of keys and values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from mnemos.state.gates import Filled
from mnemos.state.loop import Machine
from mnemos.state.objective import L2, Dot, Objective
from mnemos.state.ops.delta_rule import delta_rule, gated_delta_rule
from mnemos.state.ops.gradient_memory import Trace
from mnemos.state.ops.linear_attention import linear_attention
from mnemos.state.ops.momentum_delta_rule import momentum_delta_rule
from mnemos.state.structure import Matrix, Structure


def is_exact(structure: Structure, objective: Objective, machine: Machine, trace: Trace, gates: Filled) -> bool:
    """Whether `exact_scan` gives what the loop gives."""
    retention = machine.retention
    plain = machine.chunk == 1 and not machine.orthogonalise and retention.linear and retention.link is None
    if not (isinstance(structure, Matrix) and plain and gates.erase is None):
        return False
    if gates.step.ndim != 4 or gates.step.shape[-1] != 1:
        return False
    if isinstance(objective, Dot):
        per_key = gates.log_keep.ndim == 3 or gates.log_keep.shape[-1] == 1
        return per_key and trace.momentum is None
    return isinstance(objective, L2) and gates.log_keep.ndim == 3


def exact_scan(
    objective: Objective, machine: Machine, trace: Trace, q: Tensor, k: Tensor, v: Tensor, gates: Filled
) -> tuple[Tensor, Trace]:
    """What `run_loop` does, for the memories that `is_exact` names."""
    if isinstance(objective, Dot):
        return _hebbian(machine, trace, q, k, gates.step * v, gates.log_keep)
    before, beta = trace.weights[0], 2 * gates.step[..., 0]
    if trace.momentum is None and not machine.retention.fades:
        o, state = delta_rule(q, k, v, beta, scale=1.0, initial_state=before, output_final_state=True)
        return o, _with_weights(trace, state)
    if trace.momentum is None and machine.decay_first:
        o, state = gated_delta_rule(
            q, k, v, gates.log_keep, beta, scale=1.0, initial_state=before, output_final_state=True
        )
        return o, _with_weights(trace, state)
    # the error at the undecayed memory is the momentum rule's: a momentum of which nothing stays is none
    still = trace.momentum is None
    o, states = momentum_delta_rule(
        q,
        k,
        v,
        gates.log_keep,
        torch.full_like(beta, -torch.inf) if still else gates.log_momentum,
        beta,
        decay_first=machine.decay_first,
        initial_state=(before, torch.zeros_like(before) if trace.momentum is None else trace.momentum[0]),
        output_final_state=True,
    )
    after, momentum = cast(tuple[Tensor, Tensor], states)
    return o, replace(_with_weights(trace, after), momentum=None if still else (momentum,))


def _hebbian(machine: Machine, trace: Trace, q: Tensor, k: Tensor, v: Tensor, log_keep: Tensor) -> tuple[Tensor, Trace]:
    g = log_keep[..., 0].expand_as(k) if log_keep.ndim == 5 else log_keep
    o, state = linear_attention(
        q,
        k,
        v,
        g if machine.retention.fades else None,
        scale=1.0,
        initial_state=trace.weights[0],
        output_final_state=True,
    )
    return o, _with_weights(trace, state)


def _with_weights(trace: Trace, state: Tensor | None) -> Trace:
    weights = (cast(Tensor, state),)
    return replace(trace, anchor=weights, weights=weights)
