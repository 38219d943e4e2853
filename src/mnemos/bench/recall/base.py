"""What every recall task gives: tokens, targets, a solver, a ceiling, chance and a score. Needs numpy only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import InvalidInput

Ids = NDArray[np.int64]
Split = Literal["train", "test"]
IGNORED = -100
"""Target of a position that is not scored, as torch's cross-entropy has it."""
_TEST = 2**31
"""Seeds below are for training, from here on for tests."""


class Batch(NamedTuple):
    """Sequences of one task; all int64 [n, L]."""

    tokens: Ids
    targets: Ids
    """What to answer at each position, already shifted; `IGNORED` where nothing is asked."""
    reach: Ids
    """How many tokens back the farthest token lies that the answer needs; 0 where nothing is asked."""


@dataclass(frozen=True)
class RecallTask(ABC):
    """A generator of sequences with questions whose answers stand earlier in the sequence."""

    @property
    @abstractmethod
    def vocab(self) -> int:
        """Number of token ids."""

    @property
    @abstractmethod
    def length(self) -> int:
        """L, tokens in a sequence."""

    @property
    @abstractmethod
    def chance(self) -> float:
        """Score of the best answer that does not look at the sequence."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator, split: Split) -> Batch:
        """n sequences from `rng`."""

    @abstractmethod
    def solver(self, tokens: Ids) -> Ids:
        """Answers [n, L] by rule, each from tokens up to its own position; right wherever something is asked."""

    def batch(self, n: int, seed: int, split: Split | str = "train") -> Batch:
        """n sequences; the same seed gives the same bytes, and no training seed meets a test seed.

        Raises:
            InvalidInput: n below 1, a seed outside 0 to 2^31 - 1, or an unknown split.
        """
        if n < 1 or not 0 <= seed < _TEST:
            raise InvalidInput(f"n {n}, seed {seed}: at least one sequence, and a seed from 0 to 2^31 - 1")
        if split == "train":
            return self.draw(n, np.random.default_rng(seed), "train")
        if split == "test":
            return self.draw(n, np.random.default_rng(_TEST + seed), "test")
        raise InvalidInput(f"split {split!r}: train or test")

    def score(self, predictions: Ids, batch: Batch) -> float:
        """Mean over sequences of the share of their questions that are answered right."""
        asked = batch.targets != IGNORED
        right = (predictions == batch.targets) & asked
        return float((right.sum(1) / asked.sum(1).clip(1))[asked.any(1)].mean())

    def ceiling(self, window: int, sequences: int = 2048) -> float:
        """Expected score of a perfect reader that sees `window` tokens back, estimated on test sequences.

        A question counts if everything it needs is in reach; the rest is answered by chance at best, which is left out.
        """
        batch = self.batch(sequences, 0, "test")
        return self.score(np.where(batch.reach <= window, batch.targets, IGNORED - 1), batch)


def next_token(tokens: Ids) -> Ids:
    """Targets of plain language modelling: every position asks for the next token, the last one for nothing."""
    return np.concatenate([tokens[:, 1:], np.full((len(tokens), 1), IGNORED)], axis=1)


def last_seen(asked: Ids, tokens: Ids, *, step: int = 1) -> Ids:
    """For each row and each position of `asked` (ids or -1), the last position before it that holds that id, or -1.

    Args:
        asked: [n, L].
        tokens: [n, L].
        step: only positions that are multiples of it are looked at.
    """
    n, length = tokens.shape
    found = np.full((n, length), -1)
    last = np.full((n, int(max(tokens.max(), asked.max())) + 1), -1)
    rows = np.arange(n)
    for t in range(length):
        wanted = asked[:, t]
        found[:, t] = np.where(wanted >= 0, last[rows, wanted.clip(0)], -1)
        if t % step == 0:
            last[rows, tokens[:, t]] = t
    return found


def check(wrong: bool, why: str) -> None:
    """Refuse settings.

    Raises:
        InvalidInput: with `why`.
    """
    if wrong:
        raise InvalidInput(why)
