"""What every recall task shares: batches, seeds, the score, the ceiling of a window.

Axes: n sequences, L positions. The target at position t is what comes after it, so models are not shifted again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import InvalidInput

Split = Literal["train", "test"]
Ints = NDArray[np.int64]
UNSCORED = -100
"""Target of a position without one, as cross-entropy functions know it."""
SEEDS = 2**31
"""Seeds of training are below it; test draws from seed + SEEDS, so that the two never meet."""
_CONV = 3
"""Width of the causal convolution in front of the mixer: a token is seen together with the two before it."""
_SAMPLE = 2**19
"""Tokens of the test sample that stands for the expectation of a ceiling."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences and what is asked in them.

    `targets` is what a model is trained on, -100 where nothing; `mask` is where it is judged. They differ only in the
    training batches of tasks that train on every token.
    """

    tokens: Ints
    """[n, L] token ids."""
    targets: Ints
    """[n, L] the token after each position, -100 where there is no target."""
    meta: dict[str, Ints]
    """`reach` [n, L]: how many positions back lies the oldest token that the answer needs; 0 where nothing is asked."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """[n, L] the positions that count in the score."""
        return self.meta["reach"] > 0


class RecallTask(ABC):
    """A generator of sequences with a known answer at known places.

    Subclasses are frozen dataclasses of their settings, which are checked when they are made: InvalidInput.
    """

    macro: ClassVar[bool] = False
    """Whether the score is the mean over answer classes (MAD) instead of over sequences."""
    dense: ClassVar[bool] = False
    """Whether training targets are the next token everywhere, predictable or not."""

    @property
    @abstractmethod
    def vocab(self) -> int:
        """Token ids, and so targets, are below it."""

    @property
    @abstractmethod
    def length(self) -> int:
        """L."""

    @property
    @abstractmethod
    def chance(self) -> float:
        """Expected score of always giving the same answer, the best one."""

    @abstractmethod
    def solver(self, tokens: Ints) -> Ints:
        """Predictions [n, L] by rule: right wherever the score looks, each from tokens up to its own position."""

    @abstractmethod
    def _draw(self, rng: np.random.Generator, n: int, split: Split) -> tuple[Ints, Ints, Ints]:
        """Tokens, answers (any value where none is asked) and reach, [n, L] each."""

    def batch(self, n: int, seed: int, split: Split = "train") -> Batch:
        """n sequences; the same arguments give the same bytes.

        Raises:
            InvalidInput: n below 1, seed outside 0..2^31-1, or an unknown split.
        """
        tokens, answers, reach = self._draw(generator(n, seed, split), n, split)
        targets = np.where(reach > 0, answers, UNSCORED)
        if self.dense and split == "train":
            targets[:, :-1] = tokens[:, 1:]
        return Batch(tokens, targets, {"reach": reach})

    def score(self, predictions: NDArray[Any], batch: Batch) -> float:
        """Share of right answers among those asked, 0..1: the mean over sequences, or over answer classes if `macro`.

        Args:
            predictions: token ids [n, L]; what they say elsewhere does not matter.

        Raises:
            InvalidInput: another shape than the batch's.
        """
        if np.shape(predictions) != batch.targets.shape:
            raise InvalidInput(
                f"predictions are {np.shape(predictions)} and targets {batch.targets.shape}: "
                "give one token id for each position, the argmax of its logits"
            )
        return self._share(np.asarray(predictions) == batch.targets, batch)

    def ceiling(self, window: int, batch: Batch | None = None) -> float:
        """Share of the score that one layer with a causal window can know, behind a convolution of width 3.

        A query counts if every token that its answer needs is in the window, or in the convolution at its far end:
        reach <= window + 1. In MQAR reaches are even, so for even windows this is reach <= window. Guesses on the
        other queries come on top.

        Args:
            window: tokens, the query's own included.
            batch: of which the share is exact; None for the mean of a fixed test sample (error below 0.01).

        Raises:
            InvalidInput: a window below 1.
        """
        if not _whole(window) or window < 1:
            raise InvalidInput(f"window is {window!r}: 1 or more tokens, the query's own included")
        if batch is None:
            batch = self.batch(int(np.clip(_SAMPLE // self.length, 8, 4096)), 0, "test")
        return self._share(batch.meta["reach"] <= window + _CONV - 2, batch)

    def _share(self, right: NDArray[np.bool_], batch: Batch) -> float:
        mask = batch.mask
        if not self.macro:
            return float(((right & mask).sum(1) / mask.sum(1)).mean())
        asked = np.bincount(batch.targets[mask], minlength=self.vocab)
        found = np.bincount(batch.targets[mask & right], minlength=self.vocab)
        return float((found[asked > 0] / asked[asked > 0]).mean())


def generator(n: int, seed: int, split: Split) -> np.random.Generator:
    """The random numbers of a batch of n. Raises: InvalidInput: as `RecallTask.batch` says."""
    if not _whole(n) or n < 1:
        raise InvalidInput(f"n is {n!r}: a batch has one sequence or more")
    if not _whole(seed) or not 0 <= seed < SEEDS:
        raise InvalidInput(f"seed is {seed!r}: a whole number from 0 to 2^31 - 1; the test split has its own range")
    if split not in get_args(Split):
        raise InvalidInput(f"split is {split!r}: 'train' or 'test'")
    return np.random.default_rng(int(seed) + SEEDS * (split == "test"))


def check_settings(task: Any, **least: float) -> None:
    """Types and least values of a task's numbers (1 unless given). Raises: InvalidInput, naming the setting."""
    for field in fields(task):
        value, low = getattr(task, field.name), least.get(field.name, 1)
        if field.type == "int" and not (_whole(value) and value >= low):
            raise InvalidInput(f"{field.name} is {value!r}: a whole number of at least {low}")
        if field.type == "float" and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InvalidInput(f"{field.name} is {value!r}: a number")
        if field.type == "float" and not low <= value < math.inf:
            raise InvalidInput(f"{field.name} is {value!r}: at least {low}, and finite")
        if field.type == "bool" and not isinstance(value, bool):
            raise InvalidInput(f"{field.name} is {value!r}: True or False")


def draw_distinct(rng: np.random.Generator, n: int, count: int, weights: NDArray[np.floating[Any]]) -> Ints:
    """n ordered draws [n, count] without replacement of indices of `weights`, each draw proportional to what is left.

    Exponential arrival times with these rates come in exactly that order.
    """
    times = rng.standard_exponential((n, len(weights)), dtype=np.float32) / weights.astype(np.float32)
    if count < len(weights):
        first = np.argpartition(times, count - 1, axis=1)[:, :count]
    else:
        first = np.broadcast_to(np.arange(count), (n, count))
    return np.take_along_axis(first, np.argsort(np.take_along_axis(times, first, 1), axis=1), 1).astype(np.int64)


def occurrences(ids: Ints) -> tuple[Ints, Ints]:
    """Of each id in [n, M]: the index of its first occurrence in its row, and of the one before (-1 if none)."""
    n, m = ids.shape
    order = np.argsort(ids, axis=1, kind="stable")
    ranked = np.take_along_axis(ids, order, 1)
    again = np.zeros((n, m), bool)
    again[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    start = np.maximum.accumulate(np.where(again, 0, np.arange(m)), axis=1)
    first, before = np.empty((n, m), np.int64), np.empty((n, m), np.int64)
    np.put_along_axis(first, order, np.take_along_axis(order, start, 1), 1)
    np.put_along_axis(before, order, np.where(again, np.roll(order, 1, axis=1), -1), 1)
    return first, before


def after_last(tokens: Ints) -> Ints:
    """Of each token in [n, L]: what followed its last earlier occurrence, 0 if it is new."""
    before = occurrences(tokens)[1]
    return np.where(before >= 0, np.take_along_axis(tokens, before + 1, 1), 0)


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
