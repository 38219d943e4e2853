"""Mixture of memories: a router sends each token to a few of several matrix memories; the others stay as they are.

For the memories m among the top k of s_t = softmax(W_r x_t), with g_{t,m} = s_{t,m} / (sum of the chosen),

    S^m <- host rule(S^m; k^m_t, v^m_t, gates^m_t),  o_t = sum_m g_{t,m} q_t^T S^m K^{-1/2} + o_t of the shared memory.

Each memory has projections of its own for k, v and gates; q is projected once. What a memory sees is a sequence of its
own: short convolutions run over its tokens only, its decay counts its tokens only. So the chosen (token, memory) pairs,
sorted by memory, sequence and time, are one packed row of groups: one projection per memory, one call of the host's
operator. The shared memory is one more that every token goes to with weight 1.

Structure: M matrices per head, and a shared one. Objective and rule: the host's. Retention: the host's gate, and
"not chosen = frozen".

Axes: B sequences, T tokens, D model width, H heads, K = V = D / H, M memories, k choices, N = k T B pairs, G groups.
Source: MoM: Linear Sequence Modeling with Mixture-of-Memories, arXiv:2502.13685; the balance loss is Switch's.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnemos.core.catalogue import system
from mnemos.core.errors import InvalidInput
from mnemos.core.spec import Spec
from mnemos.state.mixers.base import Mixer, Parts
from mnemos.state.mixers.parts import GatedOutput, ShortConv, l2norm
from mnemos.state.ops.check import accurate
from mnemos.state.ops.delta_rule import delta_rule, gated_delta_rule
from mnemos.state.ops.linear_attention import linear_attention
from mnemos.state.value import State

Host = Literal["gated-delta", "delta", "linear", "retnet", "gla"]
"""Rules that a memory can be written by."""


class Route(NamedTuple):
    """Where tokens go."""

    chosen: Tensor
    """[N, k] int64, the likeliest memory first."""
    weight: Tensor
    """[N, k], sums to 1."""
    probability: Tensor
    """[N, M]."""


@system(
    "mixture_of_memories",
    title="Mixture of Memories (MoM)",
    paper="arXiv:2502.13685",
    year=2025,
    wing="state",
    choices=Spec(
        structure="several matrices per head, chosen by a router, and a shared one",
        objective="that of the host rule: squared error or dot product",
        retention="the host's gate; a memory that is not chosen is frozen",
        rule="the host's update of the top-k memories",
    ),
    claim="Several states behind a router recall more pairs than one state of the same total size on widened keys",
)
class MixtureOfMemories(Mixer):
    """A layer of M memories, of which each token writes and reads `topk`, and a shared one.

    Args:
        dim: D.
        heads: H, must divide D.
        memories: M.
        topk: k of them per token. With 1 the weight is always 1, and only the balance loss trains the router.
        shared: whether one more memory takes every token.
        host: the rule they are written by. "linear" adds, "retnet" adds to what fades at a fixed rate, "gla" at a rate
            per channel of the token; "delta" corrects, "gated-delta" fades and corrects.
        conv: width of the convolutions along time.

    Raises:
        InvalidInput: an unknown host, a topk that M memories do not have, or dim and heads that do not fit.

    Cost: time per token O((k + 1) D^2 / H) beside the projections, whatever M is; state (M + 1) D^2 / H.

    Projections start as those of the other mixers do. With the reference's, which are a third as large, MoM knew .12
    of MQAR after 1,000 steps; with these .76 to 1.00, by seed and rate.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 4,
        memories: int = 4,
        topk: int = 2,
        shared: bool = True,
        host: Host = "gated-delta",
        conv: int = 4,
    ) -> None:
        super().__init__(dim, heads=heads, memories=memories, topk=topk, shared=shared, host=host, conv=conv)
        if host not in get_args(Host):
            raise InvalidInput(f"no host {host!r}: there are {', '.join(get_args(Host))}")
        if not 1 <= topk <= memories:
            raise InvalidInput(f"topk {topk} of {memories} memories: give 1 to {memories}")
        self.heads, self.memories, self.topk, self.shared = heads, memories, topk, shared
        self.rule = HostRule(dim, heads, host)
        self.router = nn.Linear(dim, memories, bias=False)
        self.query = nn.Linear(dim, dim, bias=False)
        self.own = nn.ModuleList(
            nn.Linear(dim, 2 * dim + self.rule.features, bias=False) for _ in range(memories + shared)
        )
        self.conv = ShortConv(3 * dim, conv)
        self.out = GatedOutput(dim, heads, dim // heads)
        self._last: Route | None = None

    def start(self, batch: int, like: Tensor) -> Parts:
        """Matrices [B, M, H, K, V], tails of the convolution [B, M, width - 1, 3 D]; the shared memory's come last."""
        width, count = self.dim // self.heads, len(self.own)
        tails = self.conv.start(batch * count, like).unflatten(0, (batch, count))
        return {"memory": like.new_zeros(batch, count, self.heads, width, width, dtype=accurate(like)), "tail": tails}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Route, write, read."""
        batch, length = x.shape[:2]
        y, after = self._mix(x.flatten(0, 1), x.new_full((batch,), length, dtype=torch.long), parts)
        return y.view_as(x), after

    def auxiliary(self) -> Tensor | None:
        """The balance loss of the last call in training: `topk` where all memories are used alike, M at worst.

        None before any, or if the last call was not in training. The model weighs it (0.01 in the paper).
        """
        if self._last is None:
            return None
        return balance(self._last)

    def route(self, x: Tensor) -> Route:
        """The memories of each token x [N, D]; in the state's precision. Of equals, the first wins."""
        logits = F.linear(x.to(accurate(x)), self.router.weight.to(accurate(x)))
        # by logits, as probabilities that round to 0 would be ties; stably, as ties must fall alike in any batch
        best, chosen = logits.sort(dim=-1, descending=True, stable=True)
        return Route(chosen[:, : self.topk], best[:, : self.topk].softmax(-1), logits.softmax(-1))

    def _packed(self, x: Tensor, state: State | None, borders: Tensor) -> tuple[Tensor, State]:
        """Natively, all sequences in one go; states as the base class has them."""
        owner, lengths = f"packed {self.signature}", borders.diff()
        before = [self.init_state(1, x)] * len(lengths) if state is None else self._rows(state, owner, len(lengths))
        parts = {name: torch.cat([row[name] for row in before]) for name in ("memory", "tail")}
        y, after = self._mix(x[0], lengths, parts)
        rows = {
            str(n): State(self.signature, row.tokens + int(length), {name: x[n : n + 1] for name, x in after.items()})
            for n, (row, length) in enumerate(zip(before, lengths, strict=True))
        }
        return y[None], State(owner, int(borders[-1]), rows)

    def _rows(self, state: State, owner: str, count: int) -> list[State]:
        state.check(owner, 1)
        if len(state) != count:
            raise InvalidInput(f"the state holds {len(state)} sequences and cu_seqlens cuts {count}: same number")
        for row in state.values():
            row.check(self.signature, 1)
        return list(state.values())

    def _mix(self, x: Tensor, lengths: Tensor, parts: Parts) -> tuple[Tensor, dict[str, Tensor]]:
        """x [N, D], sequences of these lengths one after the other."""
        route = self.route(x)
        self._last = route if self.training else None
        row = torch.arange(len(lengths), device=x.device).repeat_interleave(lengths.to(x.device))
        q = self.query(x)
        o, after = self._groups(x, q, route.chosen, row, parts)
        o = (route.weight[..., None, None] * o).sum(1)
        if self.shared:
            everyone = torch.full_like(route.chosen[:, :1], self.memories)
            extra, after = self._groups(x, q, everyone, row, after)
            o = o + extra[:, 0]
        y: Tensor = self.out(o, x)
        return y, after

    def _groups(
        self, x: Tensor, q: Tensor, chosen: Tensor, row: Tensor, parts: Parts
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What each token reads of each memory chosen for it, [N, k, H, V], and the parts after all of them.

        The pairs of a token and a memory are sorted by memory, then by sequence; the sort is stable, which leaves each
        group in the order of time. Only groups with tokens are there.
        """
        rows, k = len(parts["memory"]), chosen.shape[1]
        group = (chosen * rows + row[:, None]).flatten()
        order = group.argsort(stable=True)
        token = order // k
        touched, sizes = group[order].unique_consecutive(return_counts=True)
        place = touched % rows, touched // rows  # of each group, in the state
        borders = F.pad(sizes.cumsum(0), (1, 0))

        counts = torch.bincount(chosen.flatten(), minlength=len(self.own)).tolist()
        own = torch.cat([linear(part) for linear, part in zip(self.own, x[token].split(counts), strict=True)])
        kv, raw = own.split([2 * self.dim, self.rule.features], dim=-1)
        mixed, tails = by_group(self.conv, torch.cat([q[token], kv], dim=-1), parts["tail"][place], borders)
        o, states = self.rule(*self.split(mixed[None]), self.rule.gates(raw[None]), parts["memory"][place], borders)
        after = {
            "memory": parts["memory"].index_put(place, states),
            "tail": parts["tail"].index_put(place, tails.to(parts["tail"].dtype)),
        }
        return o[0][order.argsort()].unflatten(0, (-1, k)), after

    def split(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k of unit length and v, [B, T, H, K], of what the convolution made [B, T, 3 D]."""
        q, k, v = mixed.unflatten(-1, (3, self.heads, -1)).unbind(2)
        return l2norm(q), l2norm(k), v

    def __getstate__(self) -> dict[str, Any]:
        # what the last call in training left is part of a graph, which cannot be copied
        return {**self.__dict__, "_last": None}


MoM = MixtureOfMemories
"""Its short name."""


class HostRule(nn.Module):
    """The rule by which all memories are written, with the parameters that they share.

    Args:
        dim: D.
        heads: H.
        host: see `MixtureOfMemories`.
    """

    def __init__(self, dim: int, heads: int, host: Host) -> None:
        super().__init__()
        self.host, self.heads = host, heads
        self.features = {"gated-delta": 2 * heads, "delta": heads, "linear": 0, "retnet": 0, "gla": 16}[host]
        """Channels of a memory's own projection that gates are made of."""
        if host == "gated-delta":
            self.log_rate = nn.Parameter(torch.empty(heads).uniform_(0, 16).clamp(min=1e-4).log())
            step = torch.empty(heads).uniform_(math.log(0.001), math.log(0.1)).exp()
            self.bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus of it is the step
        elif host == "retnet":
            decay = [math.log1p(-(2.0 ** (-5 - head))) for head in range(heads)]
            self.register_buffer("log_decay", torch.tensor(decay), persistent=False)
            self.log_decay: Tensor
        elif host == "gla":
            self.widen = nn.Linear(self.features, dim)  # the second factor of the gate's matrix

    def gates(self, raw: Tensor) -> dict[str, Tensor]:
        """Gates by the operator's names of raw [B, T, features], in the state's precision: g is a log decay."""
        raw = raw.to(accurate(raw))
        if self.host == "gated-delta":
            beta, step = raw.chunk(2, dim=-1)
            step = F.softplus(step + self.bias.to(step.dtype))
            return {"g": -self.log_rate.to(step.dtype).exp() * step, "beta": beta.sigmoid()}
        if self.host == "delta":
            return {"beta": raw.sigmoid()}
        if self.host == "retnet":
            return {"g": self.log_decay.to(raw.dtype).expand(*raw.shape[:2], -1)}
        if self.host == "gla":
            g = F.linear(raw, self.widen.weight.to(raw.dtype), self.widen.bias.to(raw.dtype))
            return {"g": F.logsigmoid(g).unflatten(-1, (self.heads, -1)) / 16}
        return {}

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, gates: dict[str, Tensor], state: Tensor, cu_seqlens: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Write and read: o [B, T, H, V] and the states after the last tokens."""
        ops: dict[str, Any] = {"gated-delta": gated_delta_rule, "delta": delta_rule}
        op = ops.get(self.host, linear_attention)
        o, after = op(q, k, v, **gates, initial_state=state, output_final_state=True, cu_seqlens=cu_seqlens)
        return o, after


def balance(route: Route) -> Tensor:
    """Switch's loss: M sum_{c,m} f_{c,m} P_m.

    f_{c,m} is the share of tokens whose c-th choice is m, P_m the mean probability of m: k where all are used alike.
    """
    memories = route.probability.shape[-1]
    used = F.one_hot(route.chosen, memories).to(route.probability.dtype).mean(0).sum(0)
    return memories * (used * route.probability.mean(0)).sum()


def mask_form(mixer: MixtureOfMemories, x: Tensor) -> Tensor:
    """What `mixer(x)` gives, by a run of every memory over all tokens: the oracle. Takes M / k times the work.

    Tokens that are not a memory's own have k = 0, beta = 0 and log decay 0 there: nothing is written or forgotten.

    Args:
        mixer: any.
        x: [B, T, D].
    """
    batch, tokens, dim = x.shape
    route = mixer.route(x.flatten(0, 1))
    shape = (batch, tokens, len(mixer.own))
    weight = x.new_zeros(batch * tokens, shape[-1]).scatter(1, route.chosen, route.weight.to(x.dtype)).view(shape)
    live = torch.zeros_like(weight, dtype=torch.bool).flatten(0, 1).scatter(1, route.chosen, True).view(shape)
    if mixer.shared:
        weight[..., -1], live[..., -1] = 1, True
    total = torch.zeros(batch, tokens, mixer.heads, dim // mixer.heads, dtype=x.dtype, device=x.device)
    for m, linear in enumerate(mixer.own):
        kv, raw = linear(x).split([2 * dim, mixer.rule.features], dim=-1)
        into = torch.cat([mixer.query(x), kv], dim=-1)
        mixed = torch.zeros_like(into)
        for row, here in enumerate(live[..., m]):  # the convolution sees the memory's own tokens
            if here.any():
                mixed[row, here] = mixer.conv(into[None, row, here], mixer.conv.start(1, x))[0][0]
        q, k, v = mixer.split(mixed)
        gates = {
            name: gate * live[..., m].view(batch, tokens, *[1] * (gate.ndim - 2))
            for name, gate in mixer.rule.gates(raw).items()
        }
        empty = mixer.init_state(batch, x)["memory"][:, m]
        total = total + weight[..., m, None, None] * mixer.rule(q, k, v, gates, empty, None)[0]
    y: Tensor = mixer.out(total, x)
    return y


def by_group(conv: ShortConv, x: Tensor, tails: Tensor, borders: Tensor) -> tuple[Tensor, Tensor]:
    """`conv` over groups packed into one row, each after its own tail, none across a border.

    Args:
        conv: of width W.
        x: [N, C].
        tails: [G, W - 1, C].
        borders: int64 [G + 1].

    Returns:
        y [N, C] and the tails after [G, W - 1, C].
    """
    reach, sizes = conv.width - 1, borders.diff()
    group = torch.arange(len(sizes), device=x.device).repeat_interleave(sizes)
    # every group with its tail in front of it, so that what a window reaches back to is never another group
    place = torch.arange(len(x), device=x.device) + reach * (group + 1)
    offset = torch.arange(reach, device=x.device)
    head = (borders[:-1] + reach * torch.arange(len(sizes), device=x.device))[:, None] + offset
    row = x.new_empty(len(x) + head.numel(), x.shape[1])
    row = row.index_copy(0, place, x).index_copy(0, head.flatten(), tails.to(x.dtype).flatten(0, 1))
    y, _ = conv(row[None, reach:], row[None, :reach])
    last = (borders[1:] + reach * torch.arange(len(sizes), device=x.device))[:, None] + offset
    return y[0, place - reach], row[last]
