"""Joint recall: a value depends on its key and on the context that the key stands in.

Source: HAX (2025), multi-query joint recall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnemos.bench.recall.base import IGNORED, Batch, Ids, RecallTask, Split, check

_BOS, _SEP, _VALUE, _KEY, _CONTEXT = 1, 4, 10, 26, 42
_MOST = 16


@dataclass(frozen=True)
class JointRecall(RecallTask):
    """A table of contexts by keys, shown whole in one order and asked whole in another.

    Raises:
        InvalidInput: more than 16 contexts or keys.
    """

    contexts: int = 5
    keys: int = 5

    def __post_init__(self) -> None:
        fits = 1 <= self.contexts <= _MOST and 1 <= self.keys <= _MOST
        check(not fits, f"{self.contexts} contexts, {self.keys} keys: 1 to {_MOST} of each")

    @property
    def vocab(self) -> int:
        """Special tokens, 16 values, 16 keys, 16 contexts."""
        return _CONTEXT + _MOST

    @property
    def length(self) -> int:
        """BOS, the table, SEP, the table again."""
        return 2 * self.contexts * (2 * self.keys + 1) + 2

    @property
    def chance(self) -> float:
        """One of 16 values."""
        return 1 / _MOST

    def draw(self, n: int, rng: np.random.Generator, split: Split) -> Batch:
        """n sequences."""
        table = rng.integers(0, _MOST, (n, self.contexts, self.keys))
        half = self.length // 2
        first, shown, _ = self._walk(table, rng)
        second, asked, values = self._walk(table, rng)
        bos, sep = (np.full((n, 1), token) for token in (_BOS, _SEP))
        tokens = np.concatenate([bos, first, sep, second], axis=1)
        targets, reach = np.full_like(tokens, IGNORED), np.zeros_like(tokens)
        rows = np.arange(n)[:, None]
        places = half + 1 + asked[:, :, :, 1].reshape(n, -1)
        targets[rows, places] = values.reshape(n, -1) + _VALUE
        # where the context of the table entry stood: before all of its keys
        origin = 1 + shown[:, :, :, 0]
        reach[rows, places] = places - origin.reshape(n, -1)
        return Batch(tokens, targets, reach)

    def _walk(self, table: Ids, rng: np.random.Generator) -> tuple[Ids, Ids, Ids]:
        """Tokens; for each entry of the table, where its context and its key stand; the table."""
        n, block = len(table), 2 * self.keys + 1
        order = np.argsort(rng.random((n, self.contexts)), axis=1)
        inner = np.argsort(rng.random((n, self.contexts, self.keys)), axis=2)
        tokens = np.zeros((n, self.contexts, block), np.int64)
        tokens[:, :, 0] = _CONTEXT + order
        tokens[:, :, 1::2] = _KEY + inner
        rows = np.arange(n)[:, None, None]
        tokens[:, :, 2::2] = _VALUE + table[rows, order[:, :, None], inner]
        places = np.zeros((*table.shape, 2), np.int64)
        begin = np.broadcast_to(np.arange(self.contexts)[None, :, None] * block, inner.shape)
        places[rows, order[:, :, None], inner, 0] = begin
        places[rows, order[:, :, None], inner, 1] = begin + 1 + 2 * np.arange(self.keys)
        return tokens.reshape(n, -1), places, table

    def solver(self, tokens: Ids) -> Ids:
        """Remember the value of each (context, key), answer from it."""
        answers = np.full_like(tokens, IGNORED)
        for row, sequence in enumerate(tokens.tolist()):
            context = -1
            seen: dict[tuple[int, int], int] = {}
            for place, token in enumerate(sequence):
                if token >= _CONTEXT:
                    context = token
                elif token >= _KEY:
                    answers[row, place] = seen.get((context, token), IGNORED)
                    if place + 1 < len(sequence):
                        seen[context, token] = sequence[place + 1]
        return answers
