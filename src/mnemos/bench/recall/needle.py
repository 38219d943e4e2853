"""Needles in a haystack: as prompts for memories that read text, and as bytes for models that are trained.

Source: RULER (Hsieh et al., 2024), NIAH tasks; the passkey is Mohtashami and Jaggi's (2023).
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pydoc_data.topics import topics
from typing import Literal, get_args

import numpy as np

from mnemos.bench.recall.base import IGNORED, Batch, Ids, RecallTask, Split, check

Kind = Literal[
    "single-1", "single-2", "single-3", "multikey-1", "multikey-2", "multikey-3", "multivalue", "multiquery", "passkey"
]
_NOISE = (
    "The grass is green.", "The sky is blue.", "The sun is yellow.", "Here we go.", "There and back again."
)  # fmt: skip
_ADJECTIVES = "amber brisk calm dusty eager faint gentle hollow ivory jolly keen lively mellow noble odd plain".split()
_NOUNS = "anchor bridge canyon dolphin ember forest garden harbour island jacket kettle lantern meadow needle".split()
_ANSWER = 128
"""Tokens left for the answer."""


@dataclass(frozen=True, slots=True)
class Needle:
    """A long text, a question about it, and every string that the answer has to hold."""

    text: str
    question: str
    answers: tuple[str, ...]

    def score(self, reply: str) -> float:
        """Share of the answers that occur in the reply, whatever their case."""
        return sum(answer.lower() in reply.lower() for answer in self.answers) / len(self.answers)


def needle(kind: Kind, size: int, seed: int, count: Callable[[str], int] = lambda text: len(text.split())) -> Needle:
    """One haystack with its needles.

    Args:
        kind: as RULER names its tasks; passkey besides.
        size: tokens of text, question and an answer of 128.
        seed: of keys, values and places.
        count: tokens of a text; words by default.

    Raises:
        InvalidInput: an unknown kind, or a size that cannot hold the needles.
    """
    check(kind not in get_args(Kind), f"no needle {kind!r}: one of {', '.join(get_args(Kind))}")
    draw = random.Random(seed)
    needles, question, answers = _needles(kind, draw)
    low, high = 0, max(1, size)
    while low < high:  # the largest haystack that fits
        middle = (low + high + 1) // 2
        text = _haystack(kind, middle, needles, random.Random(f"hay {seed}"))
        low, high = (middle, high) if count(text) + count(question) + _ANSWER <= size else (low, middle - 1)
    text = _haystack(kind, low, needles, random.Random(f"hay {seed}"))
    fits = count(text) + count(question) + _ANSWER <= size
    check(not fits, f"{size} tokens cannot hold {len(needles)} needles, a question and an answer of {_ANSWER}")
    return Needle(text, question, answers)


def _needles(kind: Kind, draw: random.Random) -> tuple[list[str], str, tuple[str, ...]]:
    if kind == "passkey":
        key = f"{draw.randrange(10_000, 100_000)}"
        return [f"The pass key is {key}. Remember it. {key} is the pass key."], "What is the pass key?", (key,)
    names = [f"{a}-{n}" for a in _ADJECTIVES for n in _NOUNS]
    keys = draw.sample(names, 4)
    hexadecimal = kind in ("single-3", "multikey-3")
    what = "uuid" if hexadecimal else "number"
    values = [_value(hexadecimal, draw) for _ in keys]
    shown = [f"One of the special magic {what}s for {k} is: {v}." for k, v in zip(keys, values, strict=True)]
    if kind == "multivalue":
        shown = [f"One of the special magic numbers for {keys[0]} is: {v}." for v in values]
        return shown, f"What are all the special magic numbers for {keys[0]}?", tuple(values)
    if kind == "multiquery":
        return shown, f"What are all the special magic numbers for {', '.join(keys)}?", tuple(values)
    count = 4 if kind == "multikey-1" else 1
    return shown[:count], f"What is the special magic {what} for {keys[0]}?", (values[0],)


def _haystack(kind: Kind, sentences: int, needles: list[str], draw: random.Random) -> str:
    """`sentences` of background with the needles among them, at evenly spaced depths for essays, else anywhere."""
    if kind in ("multikey-2", "multikey-3"):
        names = [f"{n}-{a}" for a in _ADJECTIVES for n in _NOUNS]  # the other way round: never the key that is asked
        hexadecimal = kind == "multikey-3"
        what = "uuid" if hexadecimal else "number"
        background = [
            f"One of the special magic {what}s for {draw.choice(names)}-{i} is: {_value(hexadecimal, draw)}."
            for i in range(sentences)
        ]
    elif kind in ("single-1", "passkey"):
        background = list(islice(cycle(_NOISE), sentences))
    else:
        background = list(islice(cycle(_essay()), sentences))
    essay = kind not in ("single-1", "passkey", "multikey-2", "multikey-3")
    depths = draw.sample(range(40), len(needles)) if essay else []
    places = [d * len(background) // 39 for d in depths] or [draw.randrange(len(background) + 1) for _ in needles]
    for place, text in sorted(zip(places, needles, strict=True), reverse=True):
        background.insert(place, text)
    return " ".join(background)


def _essay() -> list[str]:
    """Sentences of the Python documentation that comes with Python."""
    words = " ".join(
        topics[name]
        for name in ("assignment", "booleans", "calls", "class", "exceptions", "import", "objects", "typesseq")
    ).split()
    return [part.strip() + "." for part in " ".join(words).split(". ") if part.strip()]


def _value(hexadecimal: bool, draw: random.Random) -> str:
    return str(uuid.UUID(int=draw.getrandbits(128), version=4)) if hexadecimal else str(draw.randrange(10**6, 10**7))


@dataclass(frozen=True)
class ByteNeedle(RecallTask):
    """Bytes: one sentence holds a number, the rest is repeated; the number is asked at the end, digit by digit.

    Raises:
        InvalidInput: too short for the sentence, the question and one sentence of background.
    """

    tokens: int = 256
    digits: int = 4

    def __post_init__(self) -> None:
        need = 2 * len(self._asked) + 2 * self.digits + 2
        check(self.digits < 1 or self.tokens < need, f"{self.tokens} tokens: {need} or more, and a digit at least")

    @property
    def _asked(self) -> bytes:
        return b"the number is "

    @property
    def vocab(self) -> int:
        """Bytes."""
        return 256

    @property
    def length(self) -> int:
        """L."""
        return self.tokens

    @property
    def chance(self) -> float:
        """One of ten digits."""
        return 0.1

    def draw(self, n: int, rng: np.random.Generator, split: Split) -> Batch:
        """n sequences: background, needle, background, question and all digits but the last."""
        ask = np.frombuffer(self._asked, np.uint8).astype(np.int64)
        noise = np.frombuffer((" ".join(_NOISE) + " ").encode(), np.uint8).astype(np.int64)
        end = len(ask) + self.digits - 1
        tokens = np.tile(noise, self.tokens // len(noise) + 1)[: self.tokens][None].repeat(n, axis=0)
        numbers = rng.integers(ord("0"), ord("9") + 1, (n, self.digits))
        block = np.concatenate([ask[None].repeat(n, 0), numbers, np.full((n, 2), [ord("."), ord(" ")])], axis=1)
        places = rng.integers(0, self.tokens - end - block.shape[1] + 1, n)
        rows = np.arange(n)[:, None]
        tokens[rows, places[:, None] + np.arange(block.shape[1])] = block
        tokens[:, -end:] = block[:, :end]
        targets, reach = np.full_like(tokens, IGNORED), np.zeros_like(tokens)
        targets[:, -self.digits :] = numbers
        asked = np.arange(self.tokens - self.digits, self.tokens)
        reach[:, -self.digits :] = asked - (places[:, None] + len(ask))
        return Batch(tokens, targets, reach)

    def solver(self, tokens: Ids) -> Ids:
        """Find the sentence, copy its digits."""
        answers = np.full_like(tokens, IGNORED)
        for row, sequence in enumerate(tokens):
            start = bytes(sequence.astype(np.uint8)).index(self._asked) + len(self._asked)
            answers[row, -self.digits :] = sequence[start : start + self.digits]
        return answers
