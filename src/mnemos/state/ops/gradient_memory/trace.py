"""What a gradient memory is made of, and what it carries from one call to the next.

Axes: B batch, H heads, T tokens, K and V widths of keys and values, I and O in and out of one matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from mnemos.core.errors import InvalidInput

Linear = Callable[[int, Tensor], Tensor]
"""(number of the matrix, h [B, H, T, I]) to h times that matrix [B, H, T, O]."""
Forward = Callable[[Linear, Tensor], Tensor]
"""(linear, x [B, H, T, K]) to the network's prediction [B, H, T, V]: the network, whatever its matrices are."""
Gradient = Callable[[Tensor, Tensor], Tensor]
"""(prediction, value) to the loss's derivative at the prediction, all [B, H, T, V]."""


@dataclass(frozen=True)
class Link:
    """Turns the state that is linear in the writes into the weights that are read: W = apply(A) (MIRAS, retention)."""

    apply: Callable[[Tensor], Tensor]
    """A [..., I, O] to W [..., I, O]."""
    scale: Callable[[Tensor], Tensor] | None = None
    """Where `apply(A)` is A times a factor: that factor [..., 1, 1]. The factor is then taken once per chunk, which
    keeps reads inside the chunk linear; None where the link has no such form and each token's weights are built."""


@dataclass(frozen=True)
class Trace:
    """The state: weights at the start of the chunk, where gradients are taken, and after the last token."""

    anchor: tuple[Tensor, ...]
    """[B, H, I, O] per matrix: the linear state at the start of the current chunk."""
    weights: tuple[Tensor, ...]
    """[B, H, I, O] per matrix: the linear state after the last token."""
    momentum: tuple[Tensor, ...] | None
    """[B, H, I, O] per matrix; None without momentum."""
    keys: Tensor
    """[B, H, m, K]: the last tokens of the window, m <= window - 1."""
    values: Tensor
    """[B, H, m, V]."""
    phase: int = 0
    """Tokens since the start of the chunk; at a full chunk the anchor has moved on and the phase is 0."""

    def at_boundary(self) -> Trace:
        """The same state, with a new chunk starting at it."""
        return replace(self, anchor=self.weights, phase=0)


def start(weights: Sequence[Tensor], k: Tensor, v: Tensor, momentum: bool) -> Trace:
    """The state before the first token of k, v [B, T, H, *]; weights are [H, I, O] or [B, H, I, O]."""
    batch, _, heads, _ = k.shape
    if any(w.shape[-3] != heads for w in weights):
        raise InvalidInput(f"weights of {weights[0].shape[-3]} heads and keys of {heads}: both need the same number")
    full = tuple(w.to(k.dtype).expand(batch, *w.shape[-3:]) for w in weights)
    still = tuple(w.new_zeros(w.shape) for w in full) if momentum else None
    return Trace(
        full, full, still, k.new_zeros(batch, heads, 0, k.shape[-1]), v.new_zeros(batch, heads, 0, v.shape[-1])
    )


def banded(step: Tensor, before: int) -> Tensor:
    """Weights of the gradients of past tokens in each token's write.

    Args:
        step: [B, H, T, c]: step[..., t, j] is the weight, at token t, of the gradient of token t-j.
        before: m, tokens of the window that come before these T.

    Returns:
        [B, H, T, m+T]: column m+i belongs to token i, columns below m to the tokens before.
    """
    *batch, steps, window = step.shape
    # token t writes into columns t .. t+c-1 of a matrix that is c-1-m columns too wide on the left
    wide = step.new_zeros(*batch, steps, steps + window - 1)
    columns = [window - 1 - j for j in range(window)]
    for j, first in enumerate(columns):
        wide.diagonal(first, -2, -1).copy_(step[..., j])
    return wide[..., window - 1 - before :]
