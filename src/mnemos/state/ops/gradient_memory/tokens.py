"""The tokens of a call, cut into chunks that share their algebra."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from mnemos.state.ops.decay import Chunk, chunk_weights, decay_matrix


class Piece(NamedTuple):
    """One chunk's tokens, [B, H, t, ...]."""

    q: Tensor
    k: Tensor
    v: Tensor
    step: Tensor
    rate: Tensor | None
    chunk: Chunk
    across: Tensor | None
    """A of the chunk algebra, with a rate only."""


@dataclass(frozen=True)
class Tokens:
    """Arguments of `gradient_memory` that have one entry per token, [B, T, H, ...]."""

    q: Tensor
    k: Tensor
    v: Tensor
    log_keep: Tensor
    step: Tensor
    log_momentum: Tensor | None
    rate: Tensor | None

    def cut(self, first: int, last: int) -> Tokens:
        """Those from `first` on, before `last`."""
        return Tokens(*[None if x is None else x[:, first:last] for x in vars(self).values()])  # type: ignore[arg-type]

    def chunks(self, first: int, size: int) -> Iterator[Piece]:
        """Pieces of `size` tokens, after a first one of at most `first`; the last may be shorter."""
        total = self.q.shape[1]
        borders = [0, *range(first, total, size), total]
        full = [(a, b) for a, b in pairwise(borders) if b - a == size]
        if full and full[0][0]:
            yield from self.cut(0, full[0][0])._pieces(1)
        if full:
            yield from self.cut(full[0][0], full[-1][1])._pieces(len(full))
        rest = self.cut(full[-1][1] if full else 0, total)
        # without a full chunk between them there may be two short ones
        for a, b in pairwise(borders) if not full else [(0, rest.q.shape[1])]:
            if b > a:
                yield from rest.cut(a, b)._pieces(1)

    def _pieces(self, number: int) -> Iterator[Piece]:
        """All tokens in `number` equal pieces, with the algebra of all of them computed at once."""

        def cut(x: Tensor | None) -> list[Tensor] | list[None]:
            if x is None:
                return [None] * number
            return list(x.transpose(1, 2).contiguous().unflatten(2, (number, -1)).unbind(2))

        def together(log_decay: Tensor) -> Tensor:
            by_head = log_decay.transpose(1, 2)
            return by_head.reshape(*by_head.shape[:2], number, -1)

        log_keep = together(self.log_keep)
        chunk = chunk_weights(log_keep, None if self.log_momentum is None else together(self.log_momentum))
        across = [None] * number if self.rate is None else decay_matrix(log_keep).unbind(2)
        chunks = [[None] * number if x is None else x.unbind(2) for x in chunk]
        tokens = map(cut, (self.q, self.k, self.v, self.step, self.rate))
        for *parts, weights, a in zip(*tokens, zip(*chunks, strict=True), across, strict=True):
            yield Piece(*parts, Chunk(*weights), a)  # type: ignore[call-arg]
