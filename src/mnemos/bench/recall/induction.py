"""Induction heads and associative recall: one question at the end.

Training targets are the next tokens everywhere; only the end is judged.
Sources: H3 (Dao et al., 2022), table 1 and its generators; Mamba (Gu and Dao, 2023), section 4.1, for the size of
induction heads: train at length 256, test at others with the same settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnemos.bench.recall.base import Ints, RecallTask, Split, check_settings
from mnemos.bench.recall.mad import InContextRecall
from mnemos.core.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class InductionHeads(RecallTask):
    """Random tokens with one trigger (the highest id) somewhere; after a second one at the end, what followed it."""

    dense: ClassVar[bool] = True

    vocab: int = 16
    length: int = 256
    copied: int = 1
    """Tokens after the trigger that are to be repeated."""

    def __post_init__(self) -> None:
        check_settings(self, vocab=2)
        if self.length < 2 * self.copied + 1:
            raise InvalidInput(f"length is {self.length}: {self.copied} repeated tokens need {2 * self.copied + 1}")

    @property
    def chance(self) -> float:
        """One token of all but the trigger."""
        return 1 / (self.vocab - 1)

    def solver(self, tokens: Ints) -> Ints:
        """The tokens behind the first trigger."""
        found = np.zeros_like(tokens)
        behind = (tokens == self.vocab - 1).argmax(1)[:, None] + 1 + np.arange(self.copied)
        found[:, -self.copied :] = np.take_along_axis(tokens, behind, 1)
        return found

    def _draw(self, rng: np.random.Generator, n: int, split: Split) -> tuple[Ints, Ints, Ints]:
        body = self.length - self.copied
        tokens = rng.integers(0, self.vocab - 1, (n, self.length))
        trigger = rng.integers(0, body - self.copied, (n, 1))
        np.put_along_axis(tokens, trigger, self.vocab - 1, 1)
        content = np.take_along_axis(tokens, trigger + 1 + np.arange(self.copied), 1)
        tokens[:, body] = self.vocab - 1
        tokens[:, body + 1 :] = content[:, :-1]
        answers, reach = np.zeros_like(tokens), np.zeros_like(tokens)
        answers[:, body:] = content
        reach[:, body:] = np.arange(body, self.length) - trigger
        return tokens, answers, reach


@dataclass(frozen=True, kw_only=True)
class AssociativeRecall(InContextRecall):
    """Pairs of a map drawn for each sequence; copy token, a key that occurred, and its value is asked once.

    The vocabulary holds the copy token (highest id) and a no-op (the next) that is never drawn. 20 pairs by default:
    40 tokens before the copy token.
    """

    macro: ClassVar[bool] = False
    specials: ClassVar[int] = 2

    vocab: int = 20
    length: int = 42
    single: bool = True
