"""Softmax attention as a mixer, over everything or over the last tokens: what every memory is measured against.

Structure: all key-value pairs, or the last `window` of them. Objective: kernel regression, a weighted mean (MIRAS,
section 4). Retention: none, or the window's edge. Rule: store.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.base import Mixer, Parts
from mnemos.state.ops.rotary import rotary
from mnemos.state.ops.softmax_attention import softmax_attention


class SoftmaxAttention(Mixer):
    """Causal multi-head softmax attention with rotary positions.

    The state holds all keys and values: 2 D numbers per token. A token costs O(tokens before it).

    Args:
        dim: model width D.
        heads: must divide dim, with an even quotient.

    Raises:
        InvalidInput: dim and heads do not fit.
    """

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__(dim, heads=heads)
        self.pairs = Pairs(dim, heads)
        self.out = nn.Linear(dim, dim, bias=False)

    def start(self, batch: int, like: Tensor) -> Parts:
        """No keys yet."""
        return self.pairs.start(batch, like)

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Attend over the cached keys and those of x."""
        q, k, v, after = self.pairs(x, parts, tokens)
        return self.out(softmax_attention(q, k, v).flatten(2)), after


class SlidingWindowAttention(Mixer):
    """`SoftmaxAttention` in which a token sees the last `window` tokens, itself among them.

    The state holds window - 1 keys and values once that many tokens have passed. A token costs O(window).

    Raises:
        InvalidInput: dim and heads do not fit, or the window is below 1.
    """

    def __init__(self, dim: int, heads: int = 4, window: int = 64) -> None:
        super().__init__(dim, heads=heads, window=window)
        self.window = window
        self.pairs = Pairs(dim, heads, window)
        self.out = nn.Linear(dim, dim, bias=False)

    def start(self, batch: int, like: Tensor) -> Parts:
        """No keys yet."""
        return self.pairs.start(batch, like)

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Attend over the cached tail and the keys of x."""
        q, k, v, after = self.pairs(x, parts, tokens)
        return self.out(softmax_attention(q, k, v, window=self.window).flatten(2)), after


class Pairs(nn.Module):
    """q of the new tokens, k and v of all that they may see, and the cache after them.

    Args:
        window: how many keys a query sees; None keeps all.
        unit: q and k of unit variance per channel (RMS norm without weights), before their positions.
    """

    def __init__(self, dim: int, heads: int, window: int | None = None, *, unit: bool = False) -> None:
        super().__init__()
        if dim // heads % 2:
            raise InvalidInput(f"{dim // heads} channels per head cannot be turned in pairs: make dim / heads even")
        if window is not None and window < 1:
            raise InvalidInput(f"window {window} leaves nothing to see: at least 1")
        self.heads, self.window, self.unit = heads, window, unit
        self.split = (dim, dim, dim)
        self.linear = nn.Linear(dim, 3 * dim, bias=False)

    def start(self, batch: int, like: Tensor) -> dict[str, Tensor]:
        """k, v [B, 0, H, D / H]."""
        none = like.new_zeros(batch, 0, self.heads, self.linear.in_features // self.heads)
        return {"k": none, "v": none}

    def forward(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """x [B, T, D] to q [B, T, H, K], k and v [B, S, H, K], and the parts of the state."""
        q, k, v = self.linear(x).reshape(*x.shape[:2], 3, self.heads, -1).unbind(2)
        if self.unit:
            q, k = (nn.functional.rms_norm(one, one.shape[-1:]) for one in (q, k))
        places = torch.arange(tokens, tokens + x.shape[1], device=x.device)
        q, new = rotary(q, places), {"k": rotary(k, places), "v": v}
        whole = {name: torch.cat([parts[name].to(one.dtype), one], 1) for name, one in new.items()}
        return q, whole["k"], whole["v"], {name: self._tail(one) for name, one in whole.items()}

    def _tail(self, x: Tensor) -> Tensor:
        if self.window is None or x.shape[1] < self.window:
            return x
        return x[:, x.shape[1] - self.window + 1 :].clone()  # a view would keep the whole sequence alive
