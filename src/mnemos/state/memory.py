"""The MIRAS machine: a sequence memory from four choices.

    mem = Memory(structure=MLP(depth=2), objective=Huber(), retention=Decay(0.99), rule=Momentum(), heads=2, key_dim=16)
    state = mem.init(batch)
    state = mem.write(state, k, v, Gates(step=step))
    out = mem.read(state, q)

Axes: B batch, T tokens, H heads, K and V widths of keys and values, I and O in and out of one matrix.
Source: It's All Connected (MIRAS), 2025, arXiv 2504.13173.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput
from mnemos.state.closed import attend_read, attend_scan, solve_read, solve_scan
from mnemos.state.exact import exact_scan, is_exact
from mnemos.state.gates import Filled, Gates
from mnemos.state.loop import Machine, applied, read_weights, run_loop
from mnemos.state.objective import Dot, Objective
from mnemos.state.ops.gradient_memory import Link, Trace, gradient_memory
from mnemos.state.ops.newton_schulz import newton_schulz
from mnemos.state.ops.whole import whole
from mnemos.state.retention import Decay, NoRetention, Retention, SoftThreshold
from mnemos.state.rule import (
    ClosedForm,
    GradientDescent,
    Implicit,
    Momentum,
    MultiStep,
    NonParametric,
    Rule,
    check_choices,
)
from mnemos.state.structure import MLP, Matrix, Network, Structure, Vector, random_weights
from mnemos.state.value import State


class Memory(nn.Module):
    """A differentiable memory: structure x objective x retention x rule.

    Its parameters are the first weights W_0, per head, and the gain of the structure's LayerNorm. What is written
    lives in the state, which goes in and comes out.

    Args:
        structure: what holds the trace.
        objective: what counts as a good match.
        retention: what is given up over time.
        rule: how a write changes the trace.
        heads: H.
        key_dim: K.
        value_dim: V; K if None.
        chunk: gradients are taken at the weights of each chunk's first token, which lets a whole chunk be written at
            once. 1 takes them at the last token's weights. A property of the memory: other chunks, other function.

    Raises:
        InvalidInput: choices that contradict one another; says why and what to take instead.

    Cost: a matrix with `Dot` or `L2` runs in O(T (64 + K) V) matrix products. With chunk > 1 so does any network that
    has a dual state. The rest goes token by token: T forward and backward passes of the network.
    """

    def __init__(
        self,
        structure: Structure,
        objective: Objective,
        retention: Retention,
        rule: Rule,
        *,
        heads: int = 1,
        key_dim: int = 64,
        value_dim: int | None = None,
        chunk: int = 1,
    ) -> None:
        super().__init__()
        check_choices(structure, objective, retention, rule, chunk)
        self.structure, self.objective, self.retention, self.rule = structure, objective, retention, rule
        self.heads, self.key_dim, self.value_dim, self.chunk = heads, key_dim, value_dim or key_dim, chunk
        if min(heads, key_dim, self.value_dim) < 1:
            raise InvalidInput(f"heads {heads}, key_dim {key_dim}, value_dim {value_dim}: each is at least 1")
        self.signature = (
            f"Memory({structure}, {objective}, {retention}, {rule}, "
            f"heads={heads}, key_dim={key_dim}, value_dim={self.value_dim}, chunk={chunk})"
        )
        """Tells memories apart that cannot read each other's state."""
        self._window = rule.window if isinstance(rule, GradientDescent | Momentum) else 1
        self._steps = rule.steps if isinstance(rule, MultiStep) else 1
        still = isinstance(structure, Matrix | Vector) and isinstance(retention, NoRetention | Decay | SoftThreshold)
        weights = random_weights(structure, heads, key_dim, self.value_dim)
        self.weights = nn.ParameterList(torch.zeros_like(w) if still else w for w in weights)
        """W_0 [H, I, O] per matrix, before the retention's link. Zero where nothing needs to break a symmetry."""
        self.gain = nn.Parameter(torch.ones(heads, self.value_dim)) if structure.norm else None

    def init(self, batch: int, like: Tensor | None = None) -> State:
        """The state before the first token, for `batch` sequences; device and dtype of `like`, or of the parameters."""
        first = next(iter(self.weights), torch.empty(0)) if like is None else like
        dtype = _state_dtype(first)
        if isinstance(self.rule, NonParametric):
            shapes = {"keys": (0, self.heads, self.key_dim), "values": (0, self.heads, self.value_dim)}
            return self._state(
                0, {n: torch.zeros(batch, *s, dtype=dtype, device=first.device) for n, s in shapes.items()}
            )
        raw = [w.to(first.device, dtype).expand(batch, *w.shape) for w in self.weights]
        if isinstance(self.rule, ClosedForm):
            square = raw[0].new_zeros(batch, self.heads, self.key_dim, self.key_dim)
            return self._state(0, {"gram": square, "cross": torch.zeros_like(raw[0])})
        weights = tuple(self.retention.start(w) for w in raw)
        momentum = tuple(torch.zeros_like(w) for w in weights) if isinstance(self.rule, Momentum) else None
        return self._state(0, self._parts(Trace(weights, weights, momentum, *self._empty_window(weights[0]))))

    def write(self, state: State, k: Tensor, v: Tensor, gates: Gates | None = None) -> State:
        """Write T pairs, one after the other.

        Args:
            state: of `init`, or what an earlier call returned.
            k: [B, T, H, K].
            v: [B, T, H, V].
            gates: what differs per token; None for the constants of the parts.

        Raises:
            InvalidInput: shapes, types or gates that do not fit; a state of another memory or batch.
        """
        return self._scan(state, None, k, v, gates)[1]

    def read(self, state: State, q: Tensor) -> Tensor:
        """o [B, T, H, V]: every q [B, T, H, K] reads the state as it is. Nothing is written.

        Raises:
            InvalidInput: a q that does not fit; a state of another memory or batch; no pairs to average.
        """
        self._check(state, q=q)
        dtype = _state_dtype(q)
        state, x = state.to(dtype), q.to(dtype)
        if isinstance(self.rule, NonParametric):
            o = attend_read(self.rule, state["keys"], state["values"], x)
        elif isinstance(self.rule, ClosedForm):
            o = solve_read(state["gram"], state["cross"], x, self.rule.ridge, self.weights[0].to(dtype))
        else:
            machine = self._machine()
            weights = read_weights(machine, self._trace(state))
            o = machine.forward(applied(weights), x.transpose(1, 2)).transpose(1, 2)
        return o.to(q.dtype)

    def scan(self, state: State, q: Tensor, k: Tensor, v: Tensor, gates: Gates | None = None) -> tuple[Tensor, State]:
        """Write T pairs and read q_t after the write of (k_t, v_t): what a mixer does. Arguments as `write`.

        Returns:
            o [B, T, H, V] and the state.
        """
        o, state = self._scan(state, q, k, v, gates)
        return o.to(q.dtype), state

    @whole
    def _scan(self, state: State, q: Tensor | None, k: Tensor, v: Tensor, gates: Gates | None) -> tuple[Any, State]:
        self._check(state, q=q, k=k, v=v)
        gates = Gates() if gates is None else gates
        steps = self._steps
        tokens = k.shape[1] // steps
        gates.check(k.shape[0], tokens, self.heads, steps=steps)
        self._check_gates(gates)
        dtype = _state_dtype(k)
        state = state.to(dtype)
        q, k, v = None if q is None else q.to(dtype), k.to(dtype), v.to(dtype)
        if isinstance(self.rule, NonParametric):
            o, *kept = attend_scan(self.rule, state["keys"], state["values"], q, k, v)
            parts = dict(zip(("keys", "values"), kept, strict=True))
        elif isinstance(self.rule, ClosedForm):
            prior = self.weights[0].to(dtype)
            o, *kept = solve_scan(state["gram"], state["cross"], q, k, v, self._fill(gates, k), self.rule.ridge, prior)
            parts = dict(zip(("gram", "cross"), kept, strict=True))
        else:
            if q is not None and steps > 1:
                q = q.repeat_interleave(steps, 1)
            o, trace = self._descend(self._trace(state), q, k, self._with_delta(v, gates), self._fill(gates, k))
            o, parts = None if o is None else o[:, steps - 1 :: steps], self._parts(trace)
        return o, self._state(state.tokens + tokens, parts)

    def _descend(
        self, trace: Trace, q: Tensor | None, k: Tensor, v: Tensor, gates: Filled
    ) -> tuple[Tensor | None, Trace]:
        """By gradients: in chunks where that is the same, else token by token."""
        machine = self._machine()
        if is_exact(self.structure, self.objective, machine, trace, gates):
            return exact_scan(self.objective, machine, trace, k if q is None else q, k, v, gates)
        # a dot product's gradient is the same at all weights, so that any chunk gives the same memory
        free = isinstance(self.objective, Dot) and isinstance(self.structure, Matrix | Vector)
        chunk = FREE_CHUNK if free and self.chunk == 1 else self.chunk
        if chunk == 1 or not gates.per_head or not self.retention.linear:
            return run_loop(machine, trace, q, k, v, gates)
        link = self.retention.link
        o, after = gradient_memory(
            k if q is None else q,
            k,
            v,
            gates.log_keep,
            gates.step,
            weights=trace.anchor,
            forward=machine.forward,
            gradient=machine.gradient,
            log_momentum=None if trace.momentum is None else gates.log_momentum,
            link=link if link is None or machine.frozen else Link(link.apply),
            transform=partial(newton_schulz, steps=machine.orthogonalise) if machine.orthogonalise else None,
            rate=gates.rate if machine.orthogonalise else None,
            chunk_size=chunk,
            initial_state=trace,
            output_final_state=True,
        )
        return o, cast(Trace, after)

    def _machine(self) -> Machine:
        structure, gain = cast(Network, self.structure), None if self.gain is None else self.gain[:, None]
        known = structure.two_matrices(gain) if isinstance(structure, MLP) else None
        return Machine(
            known or partial(structure.forward, gain=gain),
            self.objective.gradient if self.objective.threshold is None else self._gradient,
            self.retention,
            self.chunk,
            isinstance(self.rule, MultiStep | Implicit) or getattr(self.rule, "decay_first", False),
            self.rule.iterations if isinstance(self.rule, Momentum) and self.rule.orthogonalise else 0,
        )

    def _gradient(self, prediction: Tensor, v: Tensor) -> Tensor:
        return self.objective.gradient(prediction, v[..., :-1], v[..., -1:])

    def _with_delta(self, v: Tensor, gates: Gates) -> Tensor:
        """v, with the objective's threshold as one more channel, so that it stays with its token inside a window."""
        if self.objective.threshold is None:
            return v
        delta = v.new_full(v.shape[:3], self.objective.threshold) if gates.delta is None else gates.delta.to(v.dtype)
        return torch.cat([v, delta[..., None]], dim=-1)

    def _fill(self, gates: Gates, k: Tensor) -> Filled:
        steps = self._steps

        def full(gate: Tensor | None, value: float, tokens: int) -> Tensor:
            shape = (k.shape[0], tokens, self.heads)
            return k.new_full((1, 1, 1), value).expand(shape) if gate is None else gate.to(k.dtype)

        tokens = k.shape[1] // steps
        keep = full(gates.log_keep, _log(self.retention.keep), tokens)
        keep = keep[..., None] if keep.ndim == 4 else keep
        if steps > 1:  # a token decays once, before the first of its steps
            still = torch.zeros_like(keep)[:, :, None].repeat_interleave(steps - 1, 2)
            keep = torch.cat([keep[:, :, None], still], dim=2).flatten(1, 2)
        step = full(gates.step, getattr(self.rule, "step", 0.0), k.shape[1])
        if isinstance(self.rule, Implicit):
            step = step / (1 + step * k.square().sum(-1)) / 2
        if step.ndim == 3:
            step = step[..., None].expand(*step.shape, self._window)
        momentum = full(gates.log_momentum, _log(getattr(self.rule, "momentum", 0.0)), k.shape[1])
        rate = full(gates.rate, getattr(self.rule, "rate", 0.0), k.shape[1])
        erase = None
        if gates.erase is not None and gates.erase_step is not None:
            erase = (gates.erase.to(k.dtype), gates.erase_step.to(k.dtype))
        return Filled(keep, step, momentum, rate, erase)

    def _state(self, tokens: int, parts: dict[str, Any]) -> State:
        return State(self.signature, tokens, parts)

    def _parts(self, trace: Trace) -> dict[str, Any]:
        groups = {"weights": trace.weights, "momentum": trace.momentum or ()}
        if self.chunk > 1:
            groups["anchor"] = trace.anchor
        parts = {f"{name}{n}": x for name, group in groups.items() for n, x in enumerate(group)}
        if self._window > 1:  # filled up from the left, so that the state has one size from the start
            missing = self._window - 1 - trace.keys.shape[2]
            parts["keys"], parts["values"] = (F.pad(x, (0, 0, missing, 0)) for x in (trace.keys, trace.values))
        return parts

    def _trace(self, state: State) -> Trace:
        def group(name: str) -> tuple[Tensor, ...]:
            return tuple(state[f"{name}{n}"] for n in range(len(self.weights)))

        weights = group("weights")
        missing = max(0, self._window - 1 - state.tokens)
        if self._window > 1:
            keys, values = state["keys"][:, :, missing:], state["values"][:, :, missing:]
        else:
            keys, values = self._empty_window(weights[0])
        return Trace(
            group("anchor") if self.chunk > 1 else weights,
            weights,
            group("momentum") if isinstance(self.rule, Momentum) else None,
            keys,
            values,
            state.tokens % self.chunk,
        )

    def _empty_window(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        shape = (weights.shape[0], self.heads, 0)
        extra = 0 if self.objective.threshold is None else 1
        return weights.new_zeros(*shape, self.key_dim), weights.new_zeros(*shape, self.value_dim + extra)

    def _check(self, state: State, **tensors: Tensor | None) -> None:
        given = {name: x for name, x in tensors.items() if x is not None}
        steps = self._steps
        dtypes = {x.dtype for x in given.values()}
        for name, x in given.items():
            width = self.value_dim if name == "v" else self.key_dim
            if x.ndim != 4 or x.shape[2:] != (self.heads, width):
                raise InvalidInput(
                    f"{name} has shape {list(x.shape)}: this memory takes [B, T, {self.heads}, {width}] "
                    "(heads, key_dim and value_dim are arguments of Memory)"
                )
            if 0 in x.shape:
                raise InvalidInput(f"{name} of shape {list(x.shape)} holds no tokens: give at least one")
            if not x.is_floating_point() or len(dtypes) > 1:
                raise InvalidInput(
                    f"{', '.join(given)} are of {sorted(map(str, dtypes))}: give one floating-point type"
                )
            if x.device.type == "cpu" and x.dtype in (torch.float16, torch.bfloat16):
                raise InvalidInput(f"{name} is {x.dtype} on the CPU, where half precision is slow and inexact: float32")
        if "k" in given:
            k, v, q = given["k"], given["v"], given.get("q")
            if k.shape[:2] != v.shape[:2] or k.shape[1] % steps:
                raise InvalidInput(
                    f"k {list(k.shape)} and v {list(v.shape)}: the same B and T, and T a multiple of {steps}"
                )
            if q is not None and (q.shape[0], q.shape[1] * steps) != k.shape[:2]:
                raise InvalidInput(f"q {list(q.shape)} and k {list(k.shape)}: one q per token, {steps} k for each")
        state.check(self.signature, next(iter(given.values())).shape[0])

    def _check_gates(self, gates: Gates) -> None:
        rule, window = self.rule, self._window
        gradient = isinstance(rule, GradientDescent | Momentum)
        per_weight = isinstance(self.structure, Matrix) and self.chunk == 1
        keep_axes = 3 if gates.log_keep is None else gates.log_keep.ndim
        step_axes = 3 if gates.step is None else gates.step.ndim
        given = window if gates.step is None or step_axes != 4 else gates.step.shape[-1]
        for wrong, why in (
            (gates.given() and isinstance(rule, NonParametric), "pairs are kept as they are: give no gates"),
            (
                gates.log_keep is not None and not self.retention.fades,
                f"log_keep needs a retention that decays, not {self.retention}: take Decay()",
            ),
            (
                gates.delta is not None and self.objective.threshold is None,
                f"delta is a threshold, and {self.objective} has none: take Huber()",
            ),
            (
                gates.log_momentum is not None and not isinstance(rule, Momentum),
                f"log_momentum needs Momentum(), not {rule}",
            ),
            (
                gates.rate is not None and not getattr(rule, "orthogonalise", False),
                "rate weighs an orthogonalised momentum: take Momentum(orthogonalise=True), or give step",
            ),
            (
                keep_axes > 3 and (not per_weight or isinstance(rule, ClosedForm)),
                "log_keep per channel needs a Matrix that gradients write at chunk=1: give [B, T, H]",
            ),
            (
                step_axes > 4 and not (per_weight and gradient and window == 1),
                "step per weight needs a Matrix, chunk=1, and no window: give [B, T, H]",
            ),
            (given != window, f"step has {given} entries per token and the rule a window of {window}"),
            (
                gates.erase is not None and not (per_weight and gradient and window == 1),
                "erase needs a Matrix that GradientDescent or Momentum writes at chunk=1, without a window",
            ),
        ):
            if wrong:
                raise InvalidInput(f"gates: {why}")


FREE_CHUNK = 64
"""Tokens per chunk where the chunk changes nothing but speed."""


def _log(share: float) -> float:
    return math.log(share) if share > 0 else -math.inf


def _state_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
