"""A matrix under L2, by gradient steps with or without momentum: a linear recurrence, run exactly in chunks.

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
from mnemos.state.objective import L2, Objective
from mnemos.state.ops.delta_rule import delta_rule, gated_delta_rule
from mnemos.state.ops.gradient_memory import Trace
from mnemos.state.ops.momentum_delta_rule import momentum_delta_rule
from mnemos.state.structure import Matrix, Structure


def is_exact(structure: Structure, objective: Objective, machine: Machine, gates: Filled) -> bool:
    """Whether `delta_scan` gives what the loop gives."""
    plain = machine.chunk == 1 and machine.retention.linear and machine.retention.link is None
    alone = gates.per_head and gates.step.shape[-1] == 1 and not machine.orthogonalise
    return isinstance(structure, Matrix) and isinstance(objective, L2) and plain and alone


def delta_scan(machine: Machine, trace: Trace, q: Tensor, k: Tensor, v: Tensor, gates: Filled) -> tuple[Tensor, Trace]:
    """What `run_loop` does, for the memories that `is_exact` names."""
    before, beta = trace.weights[0], 2 * gates.step[..., 0]
    if trace.momentum is None and not machine.retention.fades:
        o, after = delta_rule(q, k, v, beta, scale=1.0, initial_state=before, output_final_state=True)
        return o, replace(trace, weights=(after,))
    if trace.momentum is None and machine.decay_first:
        o, after = gated_delta_rule(
            q, k, v, gates.log_keep, beta, scale=1.0, initial_state=before, output_final_state=True
        )
        return o, replace(trace, weights=(after,))
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
    return o, replace(trace, weights=(after,), momentum=None if still else (momentum,))
