"""Multi-query associative recall: pairs first, then some of the keys again, far and near.

Source: Zoology (Arora et al., 2023), with its power-law gaps between pair and question.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnemos.bench.recall.base import IGNORED, Batch, Ids, RecallTask, Split, check


@dataclass(frozen=True)
class MQAR(RecallTask):
    """k_1 v_1 ... k_n v_n, then each key once more in one of the two-token slots that follow; its value is asked there.

    Raises:
        InvalidInput: pairs that do not fit the length or the vocabulary.
    """

    size: int = 128
    """V. Keys are 1 to V/2 - 1, values V/2 to V - 1."""
    tokens: int = 64
    """L."""
    pairs: int = 8
    passes: int = 1
    """How often the pairs are shown."""
    power: float = 0.01
    """Slot i is drawn with weight i^(power - 1): small powers ask soon after the pairs, 1 asks anywhere."""
    filler: bool = False
    """Random tokens between the questions, instead of zeros."""

    def __post_init__(self) -> None:
        check(self.size < 4 or self.size % 2 == 1, f"a vocabulary of {self.size}: give an even number of at least 4")
        check(min(self.pairs, self.passes) < 1 or self.power <= 0, "pairs and passes start at 1, power above 0")
        check(
            self.pairs > self.size // 2 - 1,
            f"{self.pairs} pairs need as many keys: take a vocabulary above {self.size}",
        )
        need = 2 * self.pairs * self.passes + 2 * self.pairs
        check(self.tokens % 2 == 1 or self.tokens < need, f"{self.tokens} tokens: {need} or more are needed, even")

    @property
    def vocab(self) -> int:
        """V."""
        return self.size

    @property
    def length(self) -> int:
        """L."""
        return self.tokens

    @property
    def chance(self) -> float:
        """One of V / 2 values."""
        return 2 / self.size

    def draw(self, n: int, rng: np.random.Generator, split: Split) -> Batch:
        """n sequences."""
        half, context = self.size // 2, 2 * self.pairs * self.passes
        keys = 1 + np.argsort(rng.random((n, half - 1)), axis=1)[:, : self.pairs]
        values = half + np.argsort(rng.random((n, half)), axis=1)[:, : self.pairs]
        slots = (self.tokens - context) // 2
        weight = (self.power - 1) * np.log(np.arange(1, slots + 1))
        # the largest of weight + Gumbel noise: draws without replacement
        chosen = np.argsort(-(weight + rng.gumbel(size=(n, slots))), axis=1)[:, : self.pairs]
        tokens = rng.integers(0, self.size, (n, self.tokens)) if self.filler else np.zeros((n, self.tokens), np.int64)
        pairs = np.stack([keys, values], axis=2).reshape(n, -1)
        tokens[:, :context] = np.tile(pairs, self.passes)
        rows, places = np.arange(n)[:, None], context + 2 * chosen
        tokens[rows, places] = keys
        targets, reach = np.full_like(tokens, IGNORED), np.zeros_like(tokens)
        targets[rows, places] = values
        reach[rows, places] = places - (context - 2 * self.pairs + 2 * np.arange(self.pairs))
        return Batch(tokens, targets, reach)

    def solver(self, tokens: Ids) -> Ids:
        """The value beside the key in the pairs."""
        shown = 2 * self.pairs
        same = tokens[:, :, None] == tokens[:, None, 0:shown:2]
        beside = np.take_along_axis(tokens[:, 1:shown:2], same.argmax(2), axis=1)
        return np.where(same.any(2), beside, IGNORED)
