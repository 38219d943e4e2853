"""Multi-query associative recall: a list of key-value pairs, then every key again, at distances of a power law.

Source: Zoology (Arora et al., 2023), section 3 and appendix; its published figures have power 0.01 and no filler.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnemos.bench.recall.base import Ints, RecallTask, Split, check_settings, draw_distinct
from mnemos.core.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class MQAR(RecallTask):
    """k1 v1 .. kn vn, then queries among empty tokens (0); the answer is asked at the query and never shown.

    Keys are distinct ids of 1..vocab/2-1, values distinct ids of vocab/2..vocab-1. Queries take slots of two tokens,
    drawn without replacement with p(i) proportional to i^(power - 1). Always answering with one value scores chance;
    answering with any value of the context scores 1 / pairs.
    """

    vocab: int = 128
    length: int = 64
    pairs: int = 8
    passes: int = 1
    """Times the list of pairs is given."""
    power: float = 0.01
    """1 is uniform; towards 0, queries crowd behind the list."""
    filler: bool = False
    """Empty tokens are random ids instead of 0. They may look like keys or values; only queries are scored."""

    def __post_init__(self) -> None:
        check_settings(self, power=1e-6)
        least = 2 * self.pairs * (self.passes + 1)
        if self.length % 2 or self.length < least:
            raise InvalidInput(
                f"length is {self.length}: {self.pairs} pairs in {self.passes} passes need an even number of at least "
                f"{least} tokens; raise length or lower pairs"
            )
        if self.vocab <= self.length:
            raise InvalidInput(f"vocab is {self.vocab}: more than length, {self.length}")

    @property
    def chance(self) -> float:
        """The share of one value: 2 / vocab."""
        return 1 / (self.vocab - self.vocab // 2)

    @property
    def context(self) -> int:
        """Tokens of the list of pairs."""
        return 2 * self.pairs * self.passes

    def solver(self, tokens: Ints) -> Ints:
        """A table of the context's pairs, asked for every later token."""
        table = np.zeros((len(tokens), self.vocab), np.int64)
        np.put_along_axis(table, tokens[:, : 2 * self.pairs : 2], tokens[:, 1 : 2 * self.pairs : 2], 1)
        found = np.take_along_axis(table, tokens, 1)
        found[:, : self.context] = 0
        return found

    def _draw(self, rng: np.random.Generator, n: int, split: Split) -> tuple[Ints, Ints, Ints]:
        half, slots = self.vocab // 2, (self.length - self.context) // 2
        keys = 1 + draw_distinct(rng, n, self.pairs, np.ones(half - 1))
        values = half + draw_distinct(rng, n, self.pairs, np.ones(self.vocab - half))
        chosen = draw_distinct(rng, n, self.pairs, np.arange(1, slots + 1) ** (self.power - 1))
        at = self.context + 2 * chosen
        tokens = np.zeros((n, self.length), np.int64)
        if self.filler:
            tokens[:, self.context :] = rng.integers(0, self.vocab, (n, self.length - self.context))
        tokens[:, : self.context] = np.tile(np.stack([keys, values], 2).reshape(n, -1), self.passes)
        np.put_along_axis(tokens, at, keys, 1)
        answers, reach = np.zeros_like(tokens), np.zeros_like(tokens)
        np.put_along_axis(answers, at, values, 1)
        shown = 2 * self.pairs * (self.passes - 1) + 2 * np.arange(self.pairs)
        np.put_along_axis(reach, at, at - shown, 1)
        return tokens, answers, reach
