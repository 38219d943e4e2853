"""Three ways to join a memory with attention: as its context, as its gate, as the layer below it.

Axes: B batch, T tokens, D model width, H heads, d = D / H, C tokens of a segment, P persistent vectors.
Source: Titans, 2025 (arXiv 2501.00663), section 4.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.attention import Pairs, SlidingWindowAttention
from mnemos.state.mixers.base import Mixer, Parts
from mnemos.state.mixers.neural_memory import NeuralMemory
from mnemos.state.mixers.parts import ShortConv, l2norm, unit_square
from mnemos.state.ops.rotary import rotary
from mnemos.state.ops.softmax_attention import softmax_attention
from mnemos.state.value import State


class MemoryAsContext(Mixer):
    """MAC: a segment attends over persistent vectors, what the memory recalls for it, and itself; then it is written.

    Per segment X of C tokens: r = M(W_Q X; the memory before the segment); a = attention(P, r, X) at X's places;
    X + a is written into the memory; y = a * gate(M(a; the memory after the token)).

    What is written is what a residual connection around the attention gives ("in all blocks" the paper has them). With
    a alone, which at first is a mean of all that a token sees, Titans did not learn MQAR in 1,000 steps.

    A recalled r_t is made from x_t, so that a token sees r and X up to its own place only, and reads the memory as it
    stands after its own write. The paper's equations show each token its whole segment through r, and the memory after
    it: `mode="paper"` keeps that for encoders, and takes whole segments only.

    Args:
        dim: D.
        memory: the long-term memory; heads of d = D / H channels.
        segment: C.
        persistent: P, learned vectors in front of every segment.
        mode: "causal" for language models.
        settings: what else tells it apart, `heads` among them.

    Raises:
        InvalidInput: an odd d, segment below 1, or persistent below 0.
    """

    def __init__(
        self,
        dim: int,
        memory: NeuralMemory,
        *,
        segment: int,
        persistent: int,
        mode: Literal["causal", "paper"] = "causal",
        **settings: object,
    ) -> None:
        super().__init__(dim, segment=segment, persistent=persistent, mode=mode, **settings)
        self.heads = memory.memory.heads
        if dim // self.heads % 2 or segment < 1 or persistent < 0 or mode not in ("causal", "paper"):
            raise InvalidInput(
                f"dim / heads {dim // self.heads} (even), segment {segment} (at least 1), persistent {persistent} "
                f"(at least 0), mode {mode!r} (causal or paper): one of them does not fit"
            )
        self.segment, self.mode, self.memory = segment, mode, memory
        self.persistent = _vectors(persistent, dim)
        self.ask = nn.Linear(dim, dim, bias=False)
        self.ask_conv = ShortConv(dim)
        self.store = nn.Linear(dim, 2 * dim, bias=False)
        self.store_conv = ShortConv(2 * dim)
        self.attend = nn.Linear(dim, 3 * dim, bias=False)
        self.recalled = nn.Linear(dim, 2 * dim, bias=False)
        self.norm = nn.RMSNorm(dim)
        self.gate = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim, bias=False)

    def start(self, batch: int, like: Tensor) -> Parts:
        """Empty memory, and no token of the current segment."""
        memory = self.memory.start(batch, like)
        none = like.new_zeros(batch, 0, self.heads, self.dim // self.heads)
        return {
            "memory": memory,
            "before": memory,
            "ask": self.ask_conv.start(batch, like),
            "store": self.store_conv.start(batch, like),
            **dict.fromkeys(("k", "v", "recalled_k", "recalled_v"), none),
        }

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Segment after segment; the first and the last may be incomplete."""
        if self.mode == "paper" and (tokens % self.segment or x.shape[1] % self.segment):
            raise InvalidInput(f"mode 'paper' takes whole segments of {self.segment} tokens, not {x.shape[1]}")
        outputs = []
        for piece in _segments(x, tokens, self.segment):
            y, parts = self._part(piece, parts, tokens % self.segment)
            outputs.append(y)
            tokens += piece.shape[1]
        return torch.cat(outputs, dim=1), parts

    def _part(self, x: Tensor, parts: Parts, place: int) -> tuple[Tensor, Parts]:
        """Tokens of one segment, which begin at `place` in it."""
        asked, ask = self.ask_conv(self.ask(x), parts["ask"])
        recall = self.memory.read(l2norm(self._split(asked)), parts["before"]).flatten(2)
        a, cache = self._attention(x, recall, parts, place)
        written = x + a
        stored, store = self.store_conv(self.store(written), parts["store"])
        k, v = (self._split(one) for one in stored.chunk(2, dim=-1))
        v = unit_square(v) if self.memory.memory.structure.norm else v
        q = l2norm(self._split(a))
        o, memory = self.memory(written, q, l2norm(k), v, parts["memory"])
        if self.mode == "paper":
            o = self.memory.read(q, memory)
        y = self.out(a * self.gate(self.norm(o.flatten(2))).sigmoid())
        after: dict[str, Tensor | State] = {"memory": memory, "before": parts["before"], "ask": ask, "store": store}
        if place + x.shape[1] == self.segment:
            return y, after | {"before": memory} | {name: one[:, :0] for name, one in cache.items()}
        return y, after | cache

    def _attention(self, x: Tensor, recall: Tensor, parts: Parts, place: int) -> tuple[Tensor, dict[str, Tensor]]:
        """a [B, t, D], and keys and values of the segment so far."""
        q, k, v = (self._split(one) for one in self.attend(x).chunk(3, dim=-1))
        rk, rv = (self._split(one) for one in self.recalled(recall).chunk(2, dim=-1))
        _, pk, pv = (
            self._split(one)[None].expand(len(x), -1, -1, -1) for one in self.attend(self.persistent.to(x)).chunk(3, -1)
        )
        places = torch.arange(place, place + x.shape[1], device=x.device)
        q, k, rk = (rotary(one, places) for one in (q, k, rk))
        cache = {
            name: torch.cat([parts[name], one], dim=1)
            for name, one in {"k": k, "v": v, "recalled_k": rk, "recalled_v": rv}.items()
        }
        keys = torch.cat([pk, cache["recalled_k"], cache["k"]], dim=1).transpose(1, 2)
        values = torch.cat([pv, cache["recalled_v"], cache["v"]], dim=1).transpose(1, 2)
        seen = self._seen(places, cache["k"].shape[1])
        o = F.scaled_dot_product_attention(q.transpose(1, 2), keys, values, attn_mask=seen)
        return o.transpose(1, 2).flatten(2), cache

    def _seen(self, places: Tensor, keys: int) -> Tensor:
        """[t, P + 2 keys]: persistent, recalled and own keys that each query sees."""
        past = torch.arange(keys, device=places.device) <= places[:, None]
        recalled = past if self.mode == "causal" else torch.ones_like(past)
        always = past.new_ones(len(places), len(self.persistent))
        return torch.cat([always, recalled, past], dim=1)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, self.dim // self.heads)


class MemoryAsGate(Mixer):
    """MAG: sliding-window attention whose output is gated by a memory; y = W_o (n_1(attention) * sigmoid(n_2(memory))).

    Both read persistent vectors before the first token; the attention sees them from everywhere.

    Args:
        memory: any mixer of width D.
        heads: of the attention.
        window: tokens that the attention sees, the current one among them.
        persistent: P.
    """

    def __init__(self, memory: Mixer, *, heads: int, window: int, persistent: int) -> None:
        super().__init__(memory.dim, heads=heads, window=window, persistent=persistent, memory=memory.signature)
        self.memory, self.window = memory, window
        self.persistent = _vectors(persistent, self.dim)
        self.pairs = Pairs(self.dim, heads, window)
        self.norms = nn.ModuleList(nn.RMSNorm(self.dim) for _ in range(2))
        self.out = nn.Linear(self.dim, self.dim, bias=False)

    def start(self, batch: int, like: Tensor) -> Parts:
        """The memory after the persistent vectors, and no keys."""
        memory = _after(self.memory, self.persistent, batch, like)[1]
        return {"memory": memory, "attention": State("attention", 0, self.pairs.start(batch, like))}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Both branches over x."""
        q, k, v, pairs = self.pairs(x, parts["attention"], tokens)
        _, pk, pv = self.pairs.linear(self.persistent.to(x)).reshape(1, len(self.persistent), 3, *k.shape[2:]).unbind(2)
        k, v = (torch.cat([sink.expand(len(x), -1, -1, -1), one], 1) for sink, one in ((pk, k), (pv, v)))
        attended = softmax_attention(q, k, v, window=self.window, prefix=len(self.persistent)).flatten(2)
        remembered, memory = self.memory(x, parts["memory"])
        y = self.norms[0](attended) * self.norms[1](remembered).sigmoid()
        return self.out(y), {"memory": memory, "attention": State("attention", 0, pairs)}


class MemoryAsLayer(Mixer):
    """MAL: sliding-window attention over h = x + memory(x); the paper's weakest composition by its own verdict.

    y = memory(x) + attention(norm(h)), so that x + y is h + attention(norm(h)): "in all blocks" the paper has residual
    connections. With an attention that sees the memory's output alone, Titans did not learn MQAR in 1,000 steps.

    Args:
        memory: any mixer of width D.
        heads: of the attention.
        window: tokens that the attention sees, the current one among them.
        persistent: P, learned vectors before the first token.
    """

    def __init__(self, memory: Mixer, *, heads: int, window: int, persistent: int) -> None:
        super().__init__(memory.dim, heads=heads, window=window, persistent=persistent, memory=memory.signature)
        self.memory = memory
        self.persistent = _vectors(persistent, self.dim)
        self.norm = nn.RMSNorm(self.dim)
        self.attention = SlidingWindowAttention(self.dim, heads, window)

    def start(self, batch: int, like: Tensor) -> Parts:
        """Memory and attention after the persistent vectors."""
        y, memory = _after(self.memory, self.persistent, batch, like)
        attention = self.attention.init_state(batch, like)
        if y.shape[1]:
            _, attention = self.attention(self.norm(self.persistent.to(y) + y), attention)
        return {"memory": memory, "attention": attention}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """The memory over x, then the attention over it."""
        remembered, memory = self.memory(x, parts["memory"])
        attended, attention = self.attention(self.norm(x + remembered), parts["attention"])
        return remembered + attended, {"memory": memory, "attention": attention}


def _vectors(count: int, dim: int) -> Tensor:
    """Learned [count, dim]; nothing to learn where count is 0."""
    return nn.Parameter(torch.randn(count, dim) * dim**-0.5) if count else torch.zeros(0, dim)


def _segments(x: Tensor, tokens: int, size: int) -> tuple[Tensor, ...]:
    """x cut where a segment ends, given that `tokens` tokens went before."""
    first = min(size - tokens % size, x.shape[1])
    rest = x.shape[1] - first
    sizes = [first, *[size] * (rest // size), *([rest % size] if rest % size else [])]
    return torch.split(x, sizes, dim=1)


def _after(memory: Mixer, vectors: Tensor, batch: int, like: Tensor) -> tuple[Tensor, State]:
    """The memory's output [B, P, D] and state once it has read the persistent vectors [P, D]."""
    x = vectors.to(like.device, like.dtype).expand(batch, -1, -1)
    state = memory.init_state(batch, like)
    return memory(x, state) if len(vectors) else (x, state)
