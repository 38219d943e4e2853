"""The recall tasks of MAD: in context, noisy, fuzzy, memorised, and selective copying.

Special tokens are the highest ids; of the rest, the lower half are keys and the upper half values. The recall tasks
train on every next token and are judged where an answer can be known. Scores are means over answer classes, as the
published ones are; here over the classes that are asked. MAD's compression task is not among them: it reads one vector
through a decoder of its own, and has no next token to predict.

Source: Mechanistic design and scaling of hybrid architectures (Poli et al., 2024), section 3 and appendix B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnemos.bench.recall.base import (
    Ints,
    RecallTask,
    Split,
    after_last,
    check_settings,
    draw_distinct,
    occurrences,
)
from mnemos.core.errors import InvalidInput

_FACTS = 12345
"""Seed of the one map that memorisation is about."""


@dataclass(frozen=True, kw_only=True)
class InContextRecall(RecallTask):
    """Key-value pairs of a map drawn for each sequence; asked wherever a key comes again.

    With `noise`, that share of the pairs is two random tokens of a vocabulary of their own. The last pair always
    repeats a key. With `single`, only that one is asked, behind a copy token (the highest id).
    """

    macro: ClassVar[bool] = True
    dense: ClassVar[bool] = True
    specials: ClassVar[int] = 1
    """Ids at the top that are no keys or values in the `single` form."""

    vocab: int = 16
    length: int = 128
    noise: float = 0.0
    noise_vocab: int = 0
    single: bool = False

    def __post_init__(self) -> None:
        check_settings(self, noise=0, noise_vocab=0, length=4)
        if self.length % 2:
            raise InvalidInput(f"length is {self.length}: even, for pairs")
        if self.noise >= 1 or (self.noise and not self.noise_vocab):
            raise InvalidInput(f"noise is {self.noise}: below 1, and with a noise_vocab of its own above 0")
        if self._usable < 2:
            raise InvalidInput(f"vocab is {self.vocab}: no key and value are left beside noise and special tokens")

    @property
    def _usable(self) -> int:
        return self.vocab - self.noise_vocab - self.specials * self.single

    @property
    def chance(self) -> float:
        """One value of all."""
        return 1 / (self._usable - self._usable // 2)

    def solver(self, tokens: Ints) -> Ints:
        """What last followed the same token."""
        return after_last(tokens)

    def _draw(self, rng: np.random.Generator, n: int, split: Split) -> tuple[Ints, Ints, Ints]:
        body, kinds, rows = self.length // 2 - 1, self._usable // 2, np.arange(n)
        values = rng.integers(kinds, self._usable, (n, kinds))
        keys = rng.integers(0, kinds, (n, body))
        noisy = rng.random((n, body)) < self.noise
        noisy[rows, rng.integers(0, body, n)] = False
        known = np.zeros((n, kinds), bool)
        known[np.nonzero(~noisy)[0], keys[~noisy]] = True
        asked = np.where(known, rng.random((n, kinds)), -1.0).argmax(1)

        tokens = np.full((n, self.length), self.vocab - 1)
        pairs = tokens[:, :-2].reshape(n, body, 2)
        pairs[:] = np.stack([keys, np.take_along_axis(values, keys, 1)], 2)
        if self.noise:
            pairs[noisy] = rng.integers(self._usable, self._usable + self.noise_vocab, (int(noisy.sum()), 2))
        tokens[:, :-2] = pairs.reshape(n, -1)
        tokens[:, -2 + self.single] = asked
        if not self.single:
            tokens[:, -1] = values[rows, asked]

        at = np.append(2 * np.arange(body), self.length - 2 + self.single)
        ids = np.concatenate([np.where(noisy, -1 - np.arange(body), keys), asked[:, None]], 1)
        before = occurrences(ids)[1]
        answers, reach = np.zeros_like(tokens), np.zeros_like(tokens)
        answers[:, at] = np.take_along_axis(values, np.maximum(ids, 0), 1)
        reach[:, at] = np.where(before >= 0, at - 2 * before, 0)
        if self.single:
            reach[:, :-1] = 0
        return tokens, answers, reach


@dataclass(frozen=True, kw_only=True)
class FuzzyRecall(RecallTask):
    """Keys and values are motifs of 1 to `motif` distinct tokens; in test all keys are of full length.

    Padded on the left with the highest id. Asked is every token of the value of a key seen before.
    """

    macro: ClassVar[bool] = True
    dense: ClassVar[bool] = True

    vocab: int = 16
    length: int = 128
    motif: int = 3

    def __post_init__(self) -> None:
        check_settings(self)
        if self._kinds < self.motif:
            raise InvalidInput(f"vocab is {self.vocab}: motifs of {self.motif} distinct keys need {2 * self.motif + 1}")
        if self.length < 4 * self.motif:
            raise InvalidInput(f"length is {self.length}: two pairs of motifs need {4 * self.motif}")

    @property
    def _kinds(self) -> int:
        return (self.vocab - 1) // 2

    @property
    def chance(self) -> float:
        """One value token of all."""
        return 1 / (self.vocab - 1 - self._kinds)

    def solver(self, tokens: Ints) -> Ints:
        """A dict of key motifs; the key is taken to end at each of its tokens."""
        found = np.zeros_like(tokens)
        for row, sequence in enumerate(tokens.tolist()):
            table: dict[tuple[int, ...], list[int]] = {}
            key, value = (), []  # type: tuple[int, ...], list[int]
            for at, token in enumerate(sequence):
                if token == self.vocab - 1:
                    continue
                if token >= self._kinds:
                    value.append(token)
                elif value:
                    table[key] = value
                    key, value = (token,), []
                else:
                    key += (token,)
                known = table.get(key, [])
                found[row, at] = known[len(value)] if len(known) > len(value) else 0
        return found

    def _draw(self, rng: np.random.Generator, n: int, split: Split) -> tuple[Ints, Ints, Ints]:
        widest, kinds, rows = self.motif, self._kinds, np.arange(n)
        most = self.length // (2 if split == "train" else widest + 1) + 1
        key_size = rng.integers(1, widest + 1, (n, most)) if split == "train" else np.full((n, most), widest)
        value_size = rng.integers(1, widest + 1, (n, most))
        keys = draw_distinct(rng, n * most, widest, np.ones(kinds)).reshape(n, most, widest)
        values = draw_distinct(rng, n * most, widest, np.ones(self.vocab - 1 - kinds)).reshape(n, most, widest) + kinds
        step = np.arange(widest)
        ids = (np.where(step < key_size[..., None], keys + 1, 0) * (kinds + 1) ** step).sum(2)

        # The first pair of a key says its value. After as many pairs as leave room comes one of them again.
        first = occurrences(ids)[0]
        value_size, values = np.take_along_axis(value_size, first, 1), np.take_along_axis(values, first[..., None], 1)
        end = np.cumsum(key_size + value_size, 1)
        kept = (end + 2 * widest <= self.length + 1).sum(1)
        again = rng.integers(0, kept)
        for array in (ids, key_size, value_size, keys, values):
            array[rows, kept] = array[rows, again]
        start = np.cumsum(key_size + value_size, 1) - key_size - value_size
        start += (self.length + 1 - start[rows, kept] - key_size[rows, kept] - value_size[rows, kept])[:, None]

        # One position more than the length: the last token is only ever a target.
        tokens = np.full((n, self.length + 1), self.vocab - 1)
        answers, reach = np.zeros_like(tokens), np.zeros_like(tokens)
        there = (np.arange(most) <= kept[:, None])[..., None]
        before = occurrences(ids)[1]
        since = np.where(before >= 0, np.take_along_axis(start, before, 1), -1)
        for motif, size, begin in ((keys, key_size, start), (values, value_size, start + key_size)):
            row, pair, piece = np.nonzero(there & (step < size[..., None]))
            at = begin[row, pair] + piece
            tokens[row, at] = motif[row, pair, piece]
            if motif is values:
                answers[row, at - 1] = motif[row, pair, piece]
                reach[row, at - 1] = np.where(before[row, pair] >= 0, at - 1 - since[row, pair], 0)
        return tokens[:, :-1], answers[:, :-1], reach[:, :-1]


@dataclass(frozen=True, kw_only=True)
class Memorisation(RecallTask):
    """One fixed map from keys to values for all data of this size: it measures weights, not context.

    A key, then the insert token (the highest id), where the key's value is asked; train and test ask the same facts.
    """

    macro: ClassVar[bool] = True

    vocab: int = 256
    length: int = 32

    def __post_init__(self) -> None:
        check_settings(self, vocab=3)
        if self.length % 2:
            raise InvalidInput(f"length is {self.length}: even, a key and the insert token")

    @property
    def chance(self) -> float:
        """One fact of all."""
        return 1 / ((self.vocab - 1) // 2)

    @property
    def facts(self) -> Ints:
        """The value of each key, [(vocab - 1) // 2]."""
        kinds = (self.vocab - 1) // 2
        return kinds + np.random.default_rng(_FACTS).permutation(self.vocab - 1 - kinds)[:kinds]

    def solver(self, tokens: Ints) -> Ints:
        """Looks the facts up: no context holds them."""
        found = np.zeros_like(tokens)
        found[:, 1::2] = self.facts[tokens[:, ::2]]
        return found

    def _draw(self, rng: np.random.Generator, n: int, split: Split) -> tuple[Ints, Ints, Ints]:
        facts = self.facts
        tokens = np.full((n, self.length), self.vocab - 1)
        tokens[:, ::2] = rng.integers(0, len(facts), (n, self.length // 2))
        answers, reach = np.zeros_like(tokens), np.zeros_like(tokens)
        answers[:, 1::2] = facts[tokens[:, ::2]]
        reach[:, 1::2] = 1
        return tokens, answers, reach


@dataclass(frozen=True, kw_only=True)
class SelectiveCopying(RecallTask):
    """Tokens among blanks, a copy token (the highest id), and as many blanks, at which they are asked in order.

    Each blank lies before a random token, none between the last token and the copy token.
    """

    macro: ClassVar[bool] = True

    vocab: int = 16
    length: int = 256
    copied: int = 16

    def __post_init__(self) -> None:
        check_settings(self, vocab=3)
        if self.length < 2 * self.copied + 1:
            raise InvalidInput(f"length is {self.length}: {self.copied} copied tokens need {2 * self.copied + 1}")

    @property
    def chance(self) -> float:
        """One token of all that are copied."""
        return 1 / (self.vocab - 2)

    def solver(self, tokens: Ints) -> Ints:
        """The tokens before the copy token that are not blank."""
        found = np.zeros_like(tokens)
        kept = tokens[:, : -self.copied - 1]
        found[:, -self.copied :] = kept[kept < self.vocab - 2].reshape(len(tokens), self.copied)
        return found

    def _draw(self, rng: np.random.Generator, n: int, split: Split) -> tuple[Ints, Ints, Ints]:
        content = rng.integers(0, self.vocab - 2, (n, self.copied))
        blanks = self.length - 2 * self.copied - 1
        gaps = rng.integers(0, self.copied, (n, blanks)) + self.copied * np.arange(n)[:, None]
        before = np.cumsum(np.bincount(gaps.ravel(), minlength=n * self.copied).reshape(n, self.copied), 1)
        at = before + np.arange(self.copied)
        tokens = np.full((n, self.length), self.vocab - 2)
        tokens[:, -self.copied - 1] = self.vocab - 1
        np.put_along_axis(tokens, at, content, 1)
        answers, reach = np.zeros_like(tokens), np.zeros_like(tokens)
        answers[:, -self.copied :] = content
        reach[:, -self.copied :] = np.arange(self.length - self.copied, self.length) - at
        return tokens, answers, reach
