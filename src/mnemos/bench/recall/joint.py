"""Multi-query joint recall: a table of contexts and keys, asked again in another order.

A value is known only from its context and its key together, so that a key alone has as many values as contexts.
Source: HAX (2025), the generator of its synthetic task.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.bench.recall.base import Ints, RecallTask, Split, check_settings
from mnemos.core.errors import InvalidInput

_START, _PAD, _BETWEEN = 1, 3, 4
_VALUE, _KEY, _CONTEXT = 10, 26, 42
"""First ids of values, keys and contexts; 16 of each at most."""


@dataclass(frozen=True, kw_only=True)
class JointRecall(RecallTask):
    """Start; every context with its keys and their values; separator; the same in a new order. Padded at the end.

    Asked is the value after each key of the second half. Each sequence has its own numbers of contexts and keys,
    uniform in their ranges. A hash of the table says which split it belongs to, so that none is in two.
    """

    contexts: tuple[int, int] = (3, 4)
    """Fewest and most contexts."""
    keys: tuple[int, int] = (3, 4)
    """Fewest and most keys in each context."""
    values: int = 8

    def __post_init__(self) -> None:
        check_settings(self)
        for name in ("contexts", "keys"):
            bounds = getattr(self, name)
            if not (
                isinstance(bounds, tuple)
                and len(bounds) == 2
                and all(type(bound) is int for bound in bounds)
                and 1 <= bounds[0] <= bounds[1] <= 16
            ):
                raise InvalidInput(f"{name} is {bounds!r}: (fewest, most) with 1 <= fewest <= most <= 16")
        if not 2 <= self.values <= 16:
            raise InvalidInput(f"values is {self.values}: 2 to 16 of them")
        if self.values ** (self.contexts[0] * self.keys[0]) < 256:
            raise InvalidInput("the smallest table has fewer than 256 fillings: too few for two splits; raise values")

    @property
    def vocab(self) -> int:
        """58, whatever the settings: ids keep their meaning."""
        return _CONTEXT + 16

    @property
    def length(self) -> int:
        """Of the largest table."""
        return 2 * self.contexts[1] * (2 * self.keys[1] + 1) + 2

    @property
    def chance(self) -> float:
        """One value of all."""
        return 1 / self.values

    def solver(self, tokens: Ints) -> Ints:
        """A dict of (context, key) from the first half."""
        found = np.zeros_like(tokens)
        for row, sequence in enumerate(tokens.tolist()):
            table: dict[tuple[int, int], int] = {}
            context = key = 0
            for at, token in enumerate(sequence):
                if token >= _CONTEXT:
                    context = token
                elif token >= _KEY:
                    key = token
                    found[row, at] = table.get((context, key), 0)
                elif token >= _VALUE:
                    table.setdefault((context, key), token)
        return found

    def _draw(self, rng: np.random.Generator, n: int, split: Split) -> tuple[Ints, Ints, Ints]:
        contexts = rng.integers(self.contexts[0], self.contexts[1] + 1, n)
        keys = rng.integers(self.keys[0], self.keys[1] + 1, n)
        table = self._tables(rng, contexts, keys, split)
        marks = np.ones((n, 1), np.int64)
        shown, shown_ok, order = _half(rng, table, contexts, keys)
        asked, asked_ok, asked_order = _half(rng, table, contexts, keys)
        tokens = np.concatenate([_START * marks, shown, _BETWEEN * marks, asked], 1)
        there = np.concatenate([marks > 0, shown_ok, marks > 0, asked_ok], 1)

        # Where each token lies once the gaps of smaller tables are closed, and each context in the first half.
        place = np.cumsum(there, 1) - 1
        block = 1 + 2 * self.keys[1]
        home = np.empty_like(order)
        np.put_along_axis(home, order, place[:, 1 : 1 + shown.shape[1] : block], 1)
        query = np.zeros(tokens.shape, bool)
        query[:, 2 + shown.shape[1] :] = asked_ok & (asked >= _KEY) & (asked < _CONTEXT)
        source = np.zeros_like(tokens)
        source[:, 2 + shown.shape[1] :] = np.repeat(np.take_along_axis(home, asked_order, 1), block, 1)
        reach = np.where(query, place - source, 0)

        left = np.argsort(~there, axis=1, kind="stable")
        tokens, reach = (np.take_along_axis(x, left, 1) for x in (np.where(there, tokens, _PAD), reach))
        return tokens, np.roll(tokens, -1, axis=1), reach

    def _tables(self, rng: np.random.Generator, contexts: Ints, keys: Ints, split: Split) -> NDArray[np.uint8]:
        """Values [n, most contexts, most keys], 0 outside each table's size; redrawn until they belong to the split."""
        size = (self.contexts[1], self.keys[1])
        within = (np.arange(size[0]) < contexts[:, None])[:, :, None] & (np.arange(size[1]) < keys[:, None])[:, None]
        table, wrong = np.zeros((len(keys), *size), np.uint8), np.arange(len(keys))
        while len(wrong):
            table[wrong] = rng.integers(0, self.values, (len(wrong), *size), np.uint8) * within[wrong]
            wrong = np.array(
                [r for r in wrong if _is_test(table[r, : contexts[r], : keys[r]]) != (split == "test")], int
            )
        return table


def _is_test(table: NDArray[np.uint8]) -> bool:
    return bool(hashlib.blake2b(bytes(table.shape) + table.tobytes(), digest_size=1).digest()[0] & 1)


def _half(
    rng: np.random.Generator, table: NDArray[np.uint8], contexts: Ints, keys: Ints
) -> tuple[Ints, NDArray[np.bool_], Ints]:
    """Tokens [n, C (1 + 2 K)] of the table in a random order, which of them exist, and the contexts' order [n, C]."""
    n, most, wide = table.shape
    order = np.argsort(rng.random((n, most)) + (np.arange(most) >= contexts[:, None]), axis=1)
    within = np.argsort(rng.random((n, most, wide)) + (np.arange(wide) >= keys[:, None])[:, None], axis=2)
    tokens = np.empty((n, most, 1 + 2 * wide), np.int64)
    tokens[:, :, 0] = _CONTEXT + order
    tokens[:, :, 1::2] = _KEY + within
    tokens[:, :, 2::2] = _VALUE + np.take_along_axis(np.take_along_axis(table, order[:, :, None], 1), within, 2)
    there = (np.arange(most) < contexts[:, None])[:, :, None] & (np.arange(1 + 2 * wide) <= 2 * keys[:, None])[:, None]
    return tokens.reshape(n, -1), there.reshape(n, -1), order
