"""Induction heads and associative recall: one question at the end.

Source: H3 (Fu et al., 2022) and Mamba (Gu and Dao, 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnemos.bench.recall.base import IGNORED, Batch, Ids, RecallTask, Split, check, last_seen


@dataclass(frozen=True)
class Induction(RecallTask):
    """Random tokens with one trigger among them; the trigger comes again at the end: what followed it?

    Raises:
        InvalidInput: too small a vocabulary or too short a sequence.
    """

    size: int = 16
    """The last token is the trigger."""
    tokens: int = 256

    def __post_init__(self) -> None:
        check(self.size < 3 or self.tokens < 3, "size and tokens start at 3")

    @property
    def vocab(self) -> int:
        """Symbols and trigger."""
        return self.size

    @property
    def length(self) -> int:
        """L."""
        return self.tokens

    @property
    def chance(self) -> float:
        """One of the symbols."""
        return 1 / (self.size - 1)

    def draw(self, n: int, rng: np.random.Generator, split: Split) -> Batch:
        """n sequences."""
        tokens = rng.integers(0, self.size - 1, (n, self.tokens))
        rows, place = np.arange(n), rng.integers(0, self.tokens - 2, n)
        tokens[rows, place] = self.size - 1
        tokens[:, -1] = self.size - 1
        targets, reach = np.full_like(tokens, IGNORED), np.zeros_like(tokens)
        targets[:, -1] = tokens[rows, place + 1]
        reach[:, -1] = self.tokens - 1 - place
        return Batch(tokens, targets, reach)

    def solver(self, tokens: Ids) -> Ids:
        """What followed the first trigger."""
        place = (tokens == self.size - 1).argmax(1)
        answers = np.full_like(tokens, IGNORED)
        answers[:, -1] = tokens[np.arange(len(tokens)), place + 1]
        return answers


@dataclass(frozen=True)
class AssociativeRecall(RecallTask):
    """Pairs of a map that is new in each sequence, a copy token, and one of the keys: its value?

    Raises:
        InvalidInput: too small a vocabulary, or an odd length.
    """

    size: int = 20
    """The last token announces the question; the one before it is never used, as in the reference."""
    tokens: int = 40

    def __post_init__(self) -> None:
        check(self.size < 6 or self.tokens < 4 or self.tokens % 2 == 1, "size starts at 6, tokens at 4 and is even")

    @property
    def vocab(self) -> int:
        """Keys, values and two special tokens."""
        return self.size

    @property
    def length(self) -> int:
        """L."""
        return self.tokens

    @property
    def chance(self) -> float:
        """One of the values."""
        half = (self.size - 2) // 2
        return 1 / (self.size - 2 - half)

    def draw(self, n: int, rng: np.random.Generator, split: Split) -> Batch:
        """n sequences; the key asked has occurred."""
        half, pairs = (self.size - 2) // 2, self.tokens // 2 - 1
        mapping = rng.integers(half, self.size - 2, (n, half))
        keys = rng.integers(0, half, (n, pairs))
        rows, asked = np.arange(n), rng.integers(0, pairs, n)
        values = np.take_along_axis(mapping, keys, axis=1)
        end = np.stack([np.full(n, self.size - 1), keys[rows, asked]], axis=1)
        tokens = np.concatenate([np.stack([keys, values], axis=2).reshape(n, -1), end], axis=1)
        targets, reach = np.full_like(tokens, IGNORED), np.zeros_like(tokens)
        targets[:, -1] = values[rows, asked]
        reach[:, -1] = self.tokens - 1 - self._last(tokens)
        return Batch(tokens, targets, reach)

    def solver(self, tokens: Ids) -> Ids:
        """What followed the key when it came last."""
        answers = np.full_like(tokens, IGNORED)
        answers[:, -1] = tokens[np.arange(len(tokens)), self._last(tokens) + 1]
        return answers

    def _last(self, tokens: Ids) -> Ids:
        asked = np.full_like(tokens, -1)
        asked[:, -1] = tokens[:, -1]
        return last_seen(asked, tokens, step=2)[:, -1]
