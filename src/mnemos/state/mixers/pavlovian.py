"""Linear attention as conditioning: keys are cues, values outcomes, queries probes, and a rule of plasticity writes.

S_t = rule(S_{t-1}, k_t, v_t; rate_t),  o_t = S_t^T q_t,  rate_t = sigmoid(w x_t) per head

Rules whose steps are linear in S run as matrix products over chunks of tokens: Hebb's family by linear attention, the
delta family by the delta rule, Oja's by the delta rule with keys and values in exchanged roles. BCM and covariance have
thresholds and means that do not depend on S; they come first, and what is left is Hebb. The rest goes token by token.

Structure: a matrix per head, with what its rule needs beside it. Objective: dot product, or prediction error.
Retention: none, a share kept per head, or a homeostatic norm. Rule: one plasticity step per pair.

Axes: B batch, T tokens, D model width, H heads, K = V = D / H.
Source: arXiv 2508.08289 (the view; its list of rules is not known to us); rules as in `mnemos.state.plasticity`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mnemos.core.catalogue import system
from mnemos.core.errors import InvalidInput
from mnemos.core.spec import Spec
from mnemos.state.mixers.base import Mixer, Parts
from mnemos.state.mixers.parts import GatedOutput, Projections, l2norm
from mnemos.state.ops.check import accurate
from mnemos.state.ops.delta_rule import delta_rule, gated_delta_rule, oja_rule
from mnemos.state.ops.linear_attention import linear_attention
from mnemos.state.ops.momentum_delta_rule import momentum_delta_rule
from mnemos.state.ops.scan import linear_scan
from mnemos.state.plasticity import (
    BCM,
    RULES,
    AntiHebb,
    Covariance,
    Delta,
    GatedDelta,
    Hebb,
    HebbDecay,
    Implicit,
    Momentum,
    NormalisedDelta,
    Oja,
    OjaByOutput,
    Rule,
    Trace,
    respond,
)


class Tokens(NamedTuple):
    """What a rule learns from, and is asked."""

    q: Tensor
    """[B, T, H, K]."""
    k: Tensor
    """[B, T, H, K]."""
    v: Tensor
    """[B, T, H, V]."""
    rate: Tensor
    """[B, T, H]."""


@system(
    "pavlovian_attention",
    title="Pavlovian attention",
    paper="arXiv:2508.08289",
    year=2025,
    wing="state",
    choices=Spec(
        structure="a matrix per head",
        objective="dot product (Hebb) or prediction error (Rescorla-Wagner)",
        retention="none, trace decay, or homeostatic normalisation",
        rule="one plasticity step per pair, of fifteen kinds",
    ),
    claim="Random keys of width d hold 0.235 d pairs at a mean cosine of 0.9, exponentially fewer after several layers",
)
class PavlovianAttention(Mixer):
    """A layer whose memory is written by a local rule of plasticity.

    Keys have unit length, except under "nlms" and "implicit", which are made for keys of any length; values have unit
    length under "oja" and "oja-output", which are stable for those alone. Heads of rules that fade keep 1 - 2^(-5-h).

    Args:
        dim: D.
        heads: H, must divide D.
        rule: a name in `mnemos.state.plasticity.RULES`.
        conv: width of the convolutions along time.

    Raises:
        InvalidInput: an unknown rule, or dim and heads that do not fit.

    Cost: time and state per token O(D^2 / H). "rls", "mackintosh", "pearce-hall" and "oja-output" run token by token.
    """

    def __init__(self, dim: int, heads: int = 4, rule: str = "delta", conv: int = 4) -> None:
        super().__init__(dim, heads=heads, rule=rule, conv=conv)
        if rule not in RULES:
            raise InvalidInput(f"no rule {rule!r}: there are {', '.join(RULES)}")
        self.rule = RULES[rule]()
        width = dim // heads
        self.inputs = Projections(dim, heads, width, width, conv=conv, unit=rule not in ("nlms", "implicit"))
        self.rate = nn.Linear(dim, heads, bias=False)
        self.out = GatedOutput(dim, heads, width)
        decay = [math.log1p(-(2.0 ** (-5 - head))) for head in range(heads)]
        self.register_buffer("log_keep", torch.tensor(decay), persistent=False)
        self.log_keep: Tensor

    def start(self, batch: int, like: Tensor) -> Parts:
        """The rule's empty trace, and the convolution's tail."""
        width = (batch, self.inputs.heads, self.inputs.key_dim)
        empty = like.new_zeros(width, dtype=accurate(like))
        return {**self.rule.start(empty, empty), "tail": self.inputs.start(batch, like)}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Learn and respond."""
        q, k, v, tail = self.inputs(x, parts["tail"])
        q, k, v = (part.to(accurate(x)) for part in (q, k, v))
        if isinstance(self.rule, Oja | OjaByOutput):
            v = l2norm(v)
        rate = self.rate(x).to(accurate(x)).sigmoid()
        before = {name: part for name, part in parts.items() if name != "tail"}
        o, trace = learn(self.rule, before, Tokens(q, k, v, rate), self.log_keep)
        return self.out(o, x), {**trace, "tail": tail}


def learn(rule: Rule, trace: Trace, tokens: Tokens, log_keep: Tensor) -> tuple[Tensor, Trace]:
    """o [B, T, H, V], each read after its token's write, and the trace after all of them.

    Args:
        rule: its rate and keep are replaced by those given.
        trace: of this rule, [B, H, ...].
        tokens: in the trace's dtype.
        log_keep: [H], for rules that fade.
    """
    q, k, v, rate = tokens
    keep = log_keep.to(rate.dtype).expand_as(rate)
    how: dict[str, Any] = {"scale": 1.0, "initial_state": trace["memory"], "output_final_state": True}
    memory: Any
    both: Any
    after: Trace = {}
    match rule:
        case Hebb():
            o, memory = linear_attention(q, k, rate[..., None] * v, **how)
        case AntiHebb():
            o, memory = linear_attention(q, k, -rate[..., None] * v, **how)
        case HebbDecay():
            o, memory = linear_attention(q, k, rate[..., None] * v, keep, **how)
        case Delta():
            o, memory = delta_rule(q, k, v, rate, **how)
        case NormalisedDelta():
            o, memory = delta_rule(q, k, v, rate / (rule.floor + k.square().sum(-1)), **how)
        case Implicit():
            o, memory = delta_rule(q, k, v, rate / (1 + rate * k.square().sum(-1)), **how)
        case GatedDelta():
            o, memory = gated_delta_rule(q, k, v, keep, rate, **how)
        case Oja():
            o, memory = oja_rule(q, k, v, rate, **how)
        case Momentum():
            push = torch.full_like(rate, rule.momentum).log()
            how["initial_state"] = trace["memory"], trace["momentum"]
            o, both = momentum_delta_rule(q, k, v, keep, push, rate, **how)
            memory, after = both[0], {"momentum": both[1]}
        case BCM():
            post, after = _above_threshold(rule, trace, v)
            o, memory = linear_attention(q, k, rate[..., None] * post, **how)
        case Covariance():
            cue, outcome, after = _deviations(trace, k, v)
            o, memory = linear_attention(q, cue, rate[..., None] * outcome, **how)
        case _:
            return _by_token(rule, trace, tokens)
    return o, {"memory": memory, **after}


def _by_token(rule: Rule, trace: Trace, tokens: Tokens) -> tuple[Tensor, Trace]:
    outputs = []
    for q, k, v, rate in zip(*(part.unbind(1) for part in tokens), strict=True):
        trace = rule.step(trace, k, v, rate)
        outputs.append(respond(trace, q))
    return torch.stack(outputs, dim=1), trace


def _above_threshold(rule: BCM, trace: Trace, v: Tensor) -> tuple[Tensor, Trace]:
    """v (v - theta), theta as it was before the token, [B, T, H, V]; and the last theta."""
    share = v.new_full((1, v.shape[1], 1, 1), 1 - 1 / rule.tau)
    theta = linear_scan(share, v.square() / rule.tau, trace["threshold"])
    return v * (v - _before(trace["threshold"], theta)), {"threshold": theta[:, -1]}


def _deviations(trace: Trace, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Trace]:
    """k less its mean before the token, v less its mean after it; and the last means."""
    pairs = trace["pairs"][:, None] + torch.arange(1, k.shape[1] + 1, device=k.device)[None, :, None, None]
    cue, outcome = (
        (trace["pairs"][:, None] * trace[name][:, None] + x.cumsum(1)) / pairs
        for name, x in (("cue", k), ("outcome", v))
    )
    after = {"cue": cue[:, -1], "outcome": outcome[:, -1], "pairs": pairs[:, -1]}
    return k - _before(trace["cue"], cue), v - outcome, after


def _before(first: Tensor, x: Tensor) -> Tensor:
    """x [B, T, ...] one token later, beginning with `first` [B, ...]."""
    return torch.cat([first[:, None], x[:, :-1]], dim=1)
