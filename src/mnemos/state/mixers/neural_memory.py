"""A memory inside a mixer: its gates are made from the tokens that it stores."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnemos.state.gates import Gates
from mnemos.state.memory import Memory
from mnemos.state.mixers.base import Mixer, Parts
from mnemos.state.mixers.parts import GatedOutput, Projections, keep_biases
from mnemos.state.rule import GradientDescent, Momentum
from mnemos.state.value import State


class NeuralMemory(nn.Module):
    """A `Memory` with one linear gate of x per head for each thing that it lets vary per token.

    keep = sigmoid(w x + b) with the b of `keep_biases`, momentum = sigmoid(w x), step = step_max sigmoid(w x - 2),
    threshold = softplus(w x + b), rate = rate_max sigmoid(w x - 2). With a window c the step of the token j back is
    step_max sigmoid(w x_t + u x_{t-j} + b_j), b_j = -j/4 at first (ATLAS leaves the form open; this one is ours).

    Args:
        dim: D.
        memory: what is written and read.
        step_max: the largest step; above 1 / |k|^2 a squared error's step overshoots.
    """

    def __init__(self, dim: int, memory: Memory, *, step_max: float, rate_max: float = 0.1) -> None:
        super().__init__()
        self.memory, self.step_max, self.rate_max = memory, step_max, rate_max
        rule = memory.rule
        self.window = rule.window if isinstance(rule, GradientDescent | Momentum) else 1
        bias: dict[str, float | Tensor] = {"step": -2.0 if self.window == 1 else 0.0}
        if memory.retention.fades:
            bias["keep"] = keep_biases(memory.heads)
        if isinstance(rule, Momentum):
            bias["momentum"] = 0.0
            if rule.orthogonalise:
                bias["rate"] = -2.0
        if memory.objective.threshold is not None:
            bias["delta"] = math.log(math.expm1(memory.objective.threshold))
        if self.window > 1:
            bias["admit"] = 0.0
            self.age = nn.Parameter(-torch.arange(self.window, dtype=torch.float32).expand(memory.heads, -1) / 4)
        self.names = list(bias)
        self.linear = nn.Linear(dim, memory.heads * len(bias))
        nn.init.normal_(self.linear.weight, std=0.02)
        with torch.no_grad():
            for part, value in zip(self.linear.bias.chunk(len(bias)), bias.values(), strict=True):
                part.copy_(torch.as_tensor(value))

    def start(self, batch: int, like: Tensor) -> State:
        """The state before the first token."""
        parts: dict[str, Tensor | State] = {"memory": self.memory.init(batch, like)}
        if self.window > 1:
            parts["admit"] = like.new_zeros(batch, self.window - 1, self.memory.heads)
        return State("NeuralMemory", 0, parts)

    def read(self, q: Tensor, state: State) -> Tensor:
        """o [B, T, H, V] of q [B, T, H, K]; nothing is written."""
        return self.memory.read(state["memory"], q)

    def forward(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        """Write (k, v) under gates of x [B, T, D], and read each q after its token's write.

        Args:
            x: [B, T, D].
            q: [B, T, H, K].
            k: [B, T, H, K].
            v: [B, T, H, V].
            state: of `start`, or what an earlier call returned.

        Returns:
            o [B, T, H, V] and the state.
        """
        raw = dict(zip(self.names, self.linear(x).chunk(len(self.names), dim=-1), strict=True))
        parts: dict[str, Tensor | State] = {}
        step = raw["step"]
        if self.window > 1:
            admit = torch.cat([state["admit"], raw["admit"]], dim=1)
            parts["admit"] = admit[:, admit.shape[1] - self.window + 1 :]
            # unfold: the last axis runs from the oldest token of the window to the newest
            step = step[..., None] + admit.unfold(1, self.window, 1).flip(-1) + self.age
        o, parts["memory"] = self.memory.scan(
            state["memory"],
            q,
            k,
            v,
            Gates(
                step=self.step_max * step.sigmoid(),
                log_keep=F.logsigmoid(raw["keep"]) if "keep" in raw else None,
                log_momentum=F.logsigmoid(raw["momentum"]) if "momentum" in raw else None,
                rate=self.rate_max * raw["rate"].sigmoid() if "rate" in raw else None,
                delta=F.softplus(raw["delta"]) if "delta" in raw else None,
            ),
        )
        return o, State(state.owner, state.tokens + x.shape[1], parts)


class MemoryMixer(Mixer):
    """A neural memory between projections and a gated output: the block that most test-time memories are.

    q, k, v by linear maps, a short convolution and SiLU, unit q and k, and v of unit mean square if the memory's
    network ends in a LayerNorm; the memory; RMS norm, logistic gate, linear map. The size of the values is ours. Behind
    a SiLU gate, which starts near 0 with either sign, Titans knows a quarter of MQAR when it knows all of it behind
    this one (400 steps).

    Args:
        dim: D.
        memory: its memory has `heads` heads and reads keys of D / heads channels.
        settings: what else tells it apart, `heads` among them.
    """

    def __init__(self, dim: int, memory: NeuralMemory, **settings: object) -> None:
        super().__init__(dim, **settings)
        inner = memory.memory
        self.memory = memory
        self.projections = Projections(
            dim, inner.heads, inner.key_dim, inner.value_dim, unit_values=inner.structure.norm
        )
        self.output = GatedOutput(dim, inner.heads, inner.value_dim, gate="sigmoid")

    def start(self, batch: int, like: Tensor) -> Parts:
        """The convolution's tail and the memory's state."""
        return {"conv": self.projections.start(batch, like), "memory": self.memory.start(batch, like)}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Write and read token by token, in chunks."""
        q, k, v, conv = self.projections(x, parts["conv"])
        o, memory = self.memory(x, q, k, v, parts["memory"])
        return self.output(o, x), {"conv": conv, "memory": memory}
