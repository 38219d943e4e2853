"""Tasks of mechanistic design: in-context, noisy and fuzzy recall, memorisation, selective copying.

In training every position asks for its next token; in tests only the probes are asked.
Source: Mechanistic Design and Scaling of Hybrid Architectures (Poli et al., 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnemos.bench.recall.base import IGNORED, Batch, Ids, RecallTask, Split, check, last_seen, next_token


class MacroScored(RecallTask):
    """Scored by the mean over answer classes, so that a frequent answer weighs no more than a rare one."""

    def score(self, predictions: Ids, batch: Batch) -> float:
        """Mean over the classes asked for of the share answered right."""
        asked = batch.targets != IGNORED
        truth, said = batch.targets[asked], predictions[asked]
        return float(np.mean([(said[truth == c] == c).mean() for c in np.unique(truth)]))


@dataclass(frozen=True)
class InContextRecall(MacroScored):
    """Pairs of a map that is new in each sequence; a key that comes again asks for its value.

    Raises:
        InvalidInput: an odd length, too small a vocabulary, or a share of noise outside [0, 1).
    """

    size: int = 16
    tokens: int = 128
    noise: float = 0.0
    """Share of pairs replaced by two tokens of a vocabulary of their own (noisy recall)."""
    noise_size: int = 16

    def __post_init__(self) -> None:
        check(self.size < 4 or self.tokens < 6 or self.tokens % 2 == 1, "size starts at 4, tokens at 6 and is even")
        check(not 0 <= self.noise < 1, f"noise {self.noise} is a share of pairs: 0 up to 1")

    @property
    def vocab(self) -> int:
        """Keys, values and noise."""
        return self.size + (self.noise_size if self.noise else 0)

    @property
    def length(self) -> int:
        """L."""
        return self.tokens

    @property
    def chance(self) -> float:
        """One of the values."""
        return 1 / (self.size - self.size // 2)

    def draw(self, n: int, rng: np.random.Generator, split: Split) -> Batch:
        """n sequences of L / 2 pairs, the last of which always asks for something seen."""
        half, pairs = self.size // 2, self.tokens // 2
        mapping = rng.integers(half, self.size, (n, half))
        keys = rng.integers(0, half, (n, pairs))
        rows = np.arange(n)
        noisy = rng.random((n, pairs)) < self.noise
        kept = rng.integers(0, pairs - 1, n)
        noisy[rows, kept] = False
        noisy[:, -1] = False
        real = np.argmax(rng.random((n, pairs - 1)) * ~noisy[:, :-1], axis=1)
        keys[:, -1] = keys[rows, real]
        values = np.take_along_axis(mapping, keys, axis=1)
        other = rng.integers(self.size, self.size + self.noise_size, (n, pairs, 2))
        tokens = np.where(noisy[:, :, None], other, np.stack([keys, values], axis=2)).reshape(n, -1)
        asked = np.full_like(tokens, -1)
        asked[:, ::2] = np.where(noisy, -1, keys)
        seen = last_seen(asked, tokens, step=2)
        known = seen >= 0
        answer = np.where(known, np.roll(tokens, -1, axis=1), IGNORED)
        reach = np.where(known, np.arange(self.tokens) - seen, 0)
        return Batch(tokens, next_token(tokens) if split == "train" else answer, reach)

    def solver(self, tokens: Ids) -> Ids:
        """What followed the key when it came last."""
        asked = np.where(tokens < self.size // 2, tokens, -1)
        asked[:, 1::2] = -1
        seen = last_seen(asked, tokens, step=2)
        return np.where(seen >= 0, np.take_along_axis(tokens, (seen + 1).clip(0), axis=1), IGNORED)


@dataclass(frozen=True)
class FuzzyRecall(MacroScored):
    """Keys and values are motifs of several tokens; in training of one to `motif`, in tests of `motif` throughout.

    Raises:
        InvalidInput: a vocabulary that has too few distinct tokens for a motif, or too short a sequence.
    """

    size: int = 16
    """The last token fills the sequence up on the left."""
    tokens: int = 128
    motif: int = 3

    def __post_init__(self) -> None:
        check(
            self.motif < 1 or self.size < 2 * self.motif + 2,
            f"motifs of {self.motif} need more than {self.size} tokens",
        )
        check(
            self.tokens < 4 * self.motif, f"{self.tokens} tokens hold no repeated pair of motifs: take {4 * self.motif}"
        )

    @property
    def vocab(self) -> int:
        """Keys, values and the filling."""
        return self.size

    @property
    def length(self) -> int:
        """L."""
        return self.tokens

    @property
    def chance(self) -> float:
        """One of the tokens of values."""
        half = (self.size - 1) // 2
        return 1 / (self.size - 1 - half)

    def draw(self, n: int, rng: np.random.Generator, split: Split) -> Batch:
        """n sequences; the last pair repeats an earlier one."""
        made = [self._one(rng, split) for _ in range(n)]
        tokens, answers, reach = (np.stack(part) for part in zip(*made, strict=True))
        return Batch(tokens, next_token(tokens) if split == "train" else answers, reach)

    def _one(self, rng: np.random.Generator, split: Split) -> tuple[Ids, Ids, Ids]:
        half = (self.size - 1) // 2
        mapping: dict[tuple[int, ...], tuple[int, ...]] = {}
        pairs: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        room = self.tokens
        pool = [self._motif(rng, split, 0, half) for _ in range(max(2, self.tokens // (8 * self.motif)))]
        while room >= 2 * self.motif:
            key = pool[int(rng.integers(len(pool)))]
            if room < 4 * self.motif and pairs:
                key = pairs[int(rng.integers(len(pairs)))][0]
            value = mapping.setdefault(key, self._motif(rng, split, half, self.size - 1))
            pairs.append((key, value))
            room -= len(key) + len(value)
        tokens = np.full(self.tokens, self.size - 1)
        answers, reach = np.full(self.tokens, IGNORED), np.zeros(self.tokens, np.int64)
        place = room
        last: dict[tuple[int, ...], int] = {}
        for key, value in pairs:
            tokens[place : place + len(key) + len(value)] = key + value
            if key in last:
                ask = slice(place + len(key) - 1, place + len(key) + len(value) - 1)
                answers[ask] = value
                reach[ask] = np.arange(ask.start, ask.stop) - last[key]
            last[key] = place
            place += len(key) + len(value)
        return tokens, answers, reach

    def _motif(self, rng: np.random.Generator, split: Split, low: int, high: int) -> tuple[int, ...]:
        size = self.motif if split == "test" else int(rng.integers(1, self.motif + 1))
        return tuple((low + rng.permutation(high - low)[:size]).tolist())

    def solver(self, tokens: Ids) -> Ids:
        """Split the sequence into runs of key and value tokens, and repeat the value of a key that is complete."""
        half, answers = (self.size - 1) // 2, np.full_like(tokens, IGNORED)
        for row, sequence in enumerate(tokens.tolist()):
            seen: dict[tuple[int, ...], list[int]] = {}
            key: tuple[int, ...] = ()
            value: list[int] | None = None
            for place, token in enumerate(sequence):
                if token == self.size - 1:
                    continue
                if token < half:
                    key = (*key, token) if value is None else (token,)
                    value = None
                    answers[row, place] = seen.get(key, [IGNORED])[0]
                else:
                    value = [] if value is None else value
                    value.append(token)
                    known = seen.get(key, [])
                    answers[row, place] = known[len(value)] if len(known) > len(value) else IGNORED
                    if len(value) >= len(known):
                        seen[key] = list(value)
        return answers


@dataclass(frozen=True)
class Memorisation(MacroScored):
    """One map for the whole data set: it measures what the weights keep, not the context.

    Raises:
        InvalidInput: too small a vocabulary, or an odd length.
    """

    size: int = 256
    """The last token stands where the value is asked."""
    tokens: int = 32
    map_seed: int = 12345

    def __post_init__(self) -> None:
        check(self.size < 5 or self.tokens < 2 or self.tokens % 2 == 1, "size starts at 5, tokens at 2 and is even")

    @property
    def vocab(self) -> int:
        """Keys, values and the place to answer."""
        return self.size

    @property
    def length(self) -> int:
        """L."""
        return self.tokens

    @property
    def chance(self) -> float:
        """One of the values."""
        return 1 / (self.size - 1 - (self.size - 1) // 2)

    def mapping(self) -> Ids:
        """The value of each key."""
        half = (self.size - 1) // 2
        return np.random.default_rng(self.map_seed).integers(half, self.size - 1, half)

    def draw(self, n: int, rng: np.random.Generator, split: Split) -> Batch:
        """n sequences of key and gap; training and test ask the same facts."""
        tokens = np.full((n, self.tokens), self.size - 1)
        tokens[:, ::2] = rng.integers(0, (self.size - 1) // 2, (n, self.tokens // 2))
        targets, reach = np.full_like(tokens, IGNORED), np.zeros_like(tokens)
        targets[:, 1::2] = self.mapping()[tokens[:, ::2]]
        reach[:, 1::2] = 1
        return Batch(tokens, targets, reach)

    def solver(self, tokens: Ids) -> Ids:
        """Look the key before the gap up in the map."""
        answers = np.full_like(tokens, IGNORED)
        answers[:, 1::2] = self.mapping()[tokens[:, ::2].clip(0, (self.size - 1) // 2 - 1)]
        return answers


@dataclass(frozen=True)
class SelectiveCopying(RecallTask):
    """Tokens between blanks at random places, a copy token, then as many blanks: repeat the tokens in order.

    Raises:
        InvalidInput: more tokens to copy than fit before the copy token.
    """

    size: int = 16
    """The last token starts the copy, the one before it is the blank."""
    tokens: int = 256
    copies: int = 16

    def __post_init__(self) -> None:
        check(self.size < 4 or self.copies < 1, "size starts at 4, copies at 1")
        check(self.tokens < 2 * self.copies + 1, f"{self.copies} copies need {2 * self.copies + 1} tokens or more")

    @property
    def vocab(self) -> int:
        """Symbols, blank and copy token."""
        return self.size

    @property
    def length(self) -> int:
        """L."""
        return self.tokens

    @property
    def chance(self) -> float:
        """One of the symbols."""
        return 1 / (self.size - 2)

    def draw(self, n: int, rng: np.random.Generator, split: Split) -> Batch:
        """n sequences; no blank stands between the last symbol and the copy token, as in the reference."""
        room = self.tokens - self.copies - 1
        tokens = np.full((n, self.tokens), self.size - 2)
        tokens[:, room] = self.size - 1
        places = np.sort(np.argsort(rng.random((n, room - 1)), axis=1)[:, : self.copies - 1], axis=1)
        places = np.concatenate([places, np.full((n, 1), room - 1)], axis=1)
        symbols = rng.integers(0, self.size - 2, (n, self.copies))
        tokens[np.arange(n)[:, None], places] = symbols
        targets, reach = np.full_like(tokens, IGNORED), np.zeros_like(tokens)
        targets[:, room + 1 :] = symbols
        reach[:, room + 1 :] = np.arange(room + 1, self.tokens) - places
        return Batch(tokens, targets, reach)

    def solver(self, tokens: Ids) -> Ids:
        """Collect what is no blank before the copy token."""
        room = self.tokens - self.copies - 1
        order = np.argsort(tokens[:, :room] == self.size - 2, axis=1, kind="stable")[:, : self.copies]
        answers = np.full_like(tokens, IGNORED)
        answers[:, room + 1 :] = np.take_along_axis(tokens[:, :room], order, axis=1)
        return answers
