"""A needle in a haystack: as prompts with answers for whatever reads text, and as bytes for models that are trained.

Text: RULER's single, multi-key, multi-value and multi-query needles, and the passkey. Bytes: one needle or more in
repeated sentences, short enough to learn on a CPU. Wording of instructions and lists of words are our own, so that
published scores are a guide and no equal.

Sources: RULER (Hsieh et al., 2024), section 3 and appendix B; passkey: Mohtashami and Jaggi (2023).
"""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from mnemos.bench.recall.base import Ints, RecallTask, Split, check_settings, generator
from mnemos.core.errors import InvalidInput

Haystack = Literal["repeated", "essay", "needles"]
Values = Literal["numbers", "uuids"]
_REPEATED = ("The grass is green.", "The sky is blue.", "The sun is yellow.", "Here we go.", "There and back again.")
_ADJECTIVES = (
    "amber brave brisk calm clever coral crisp daring dusty eager early faint fancy fierce frosty gentle glad golden "
    "grand hazy hollow honest humble icy ivory jolly keen kind lively lucky mellow merry mild misty modest narrow "
    "neat nimble noble odd pale plain polite proud quick quiet rapid rare rosy round rusty sandy sharp shiny silent "
    "silver sleepy slim smooth snowy soft solid spicy steady stormy subtle sunny swift tall tame tender tidy tiny "
    "vast velvet vivid warm wise witty young zesty"
).split()
_NOUNS = (
    "acorn anchor apple arrow badger barn basket beacon bell birch bottle bridge bucket cabin candle canyon castle "
    "cedar cloud clover comet copper crane creek daisy dolphin dune eagle ember falcon feather fern forest fountain "
    "garden glacier hammer harbour hazel heron hill island jacket kettle lantern lark leaf lemon lily lizard maple "
    "marble meadow mirror moth mountain needle oak orchard otter owl pebble pepper pine planet pond poppy quilt "
    "raven reef ribbon river robin saddle shell sparrow spruce stone teapot thistle timber tower tulip valley violet "
    "walnut willow window"
).split()
_DEPTHS = np.round(np.linspace(0, 100, 40)).astype(int)
"""Percents of an essay at which its needles may lie."""


def byte_count(text: str) -> int:
    """Tokens of a model that reads bytes."""
    return len(text.encode())


@dataclass(frozen=True, slots=True)
class Prompt:
    """A context, a question about it, and the strings that answer it."""

    context: str
    question: str
    answers: tuple[str, ...]
    needles: tuple[str, ...]
    """The sentences hidden in the context, those that answer first."""

    @property
    def text(self) -> str:
        """All that a model reads."""
        return f"{self.context}\n{self.question}"


@dataclass(frozen=True, kw_only=True)
class TextNeedle:
    """RULER's needles: sentences of the form "One of the special magic {numbers} for {key} is: {value}."

    A prompt is the largest that leaves `answer_tokens` of `tokens`. Depths: for essays, of 40 even percents without
    replacement; else anywhere. `haystack="needles"` hides them among needles with other keys.
    """

    tokens: int = 4096
    haystack: Haystack = "repeated"
    values: Values = "numbers"
    keys: int = 1
    """Keys with needles."""
    per_key: int = 1
    """Needles, and so values, of each key."""
    asked: int = 1
    """Keys in the question."""
    answer_tokens: int = 128
    count: Callable[[str], int] = byte_count
    """Length of a text; give your tokenizer's."""
    background: str | None = None
    """Text of the essay; None for the reference manual that comes with Python."""

    def __post_init__(self) -> None:
        check_settings(self, answer_tokens=0)
        if self.haystack not in get_args(Haystack) or self.values not in get_args(Values):
            raise InvalidInput(
                f"haystack is {self.haystack!r} and values {self.values!r}: "
                f"one of {', '.join(get_args(Haystack))} and one of {', '.join(get_args(Values))}"
            )
        if self.asked > self.keys:
            raise InvalidInput(f"asked is {self.asked}: at most the {self.keys} keys that there are")
        if self.keys * self.per_key > len(_DEPTHS):
            raise InvalidInput(f"{self.keys * self.per_key} needles: at most {len(_DEPTHS)}, one at each depth")
        if self.background is not None and not self.background.strip():
            raise InvalidInput("background is empty: give a text, or None for the one that comes with Python")

    @property
    def chance(self) -> float:
        """A guessed value; of a UUID, as good as none."""
        return 1 / (9 * 10**6) if self.values == "numbers" else 2.0**-122

    def batch(self, n: int, seed: int, split: Split = "train") -> list[Prompt]:
        """n prompts; the same arguments give the same ones.

        Raises:
            InvalidInput: n below 1, a bad seed or split, or needles and question alone are more than `tokens`.
        """
        rng = generator(n, seed, split)
        return [self._prompt(rng) for _ in range(n)]

    def solver(self, prompts: Sequence[Prompt]) -> list[str]:
        """Outputs by rule: the values of all needle sentences whose key stands in the question."""
        found = []
        for prompt in prompts:
            pairs = re.findall(r"magic \w+ for (\S+) is: (\S+)\.", prompt.context)
            asked = set(re.findall(r"[\w-]+", prompt.question))
            found.append(", ".join(value for key, value in pairs if key in asked))
        return found

    def score(self, outputs: Sequence[str], prompts: Sequence[Prompt]) -> float:
        """Mean share of a prompt's answers that occur in its output, ignoring case, 0..1 (RULER prints it times 100).

        An output that repeats the whole context scores 1, so limit it to `answer_tokens`.

        Raises:
            InvalidInput: not one output for each prompt.
        """
        if len(outputs) != len(prompts) or not prompts:
            raise InvalidInput(f"{len(outputs)} outputs for {len(prompts)} prompts: give one for each")
        return float(np.mean([[a.lower() in out.lower() for a in p.answers].count(True) / len(p.answers)
                              for out, p in zip(outputs, prompts, strict=True)]))  # fmt: skip

    def ceiling(self, window: int, prompts: Sequence[Prompt] | None = None) -> float:
        """Share of answers whose needle lies whole within the last `window` tokens of the text.

        Exact for `prompts`; for None the mean over 64 prompts of the test split.
        """
        prompts = self.batch(64, 0, "test") if prompts is None else prompts
        shares = []
        for prompt in prompts:
            asked = prompt.needles[: len(prompt.answers)]
            near = [self.count(prompt.text[prompt.text.index(needle) :]) <= window for needle in asked]
            shares.append(near.count(True) / len(near))
        return float(np.mean(shares))

    def _prompt(self, rng: np.random.Generator) -> Prompt:
        needles, question, answers = self._ask(rng)
        asked = set(re.findall(r"[\w-]+", question))
        depths = (
            rng.permutation(_DEPTHS)[: len(needles)] / 100 if self.haystack == "essay" else rng.random(len(needles))
        )
        # As many sentences as could fit: growing, so that a larger haystack begins as the smaller one does.
        hay: list[str] = []

        def built(size: int) -> Prompt:
            while len(hay) < size:
                hay.extend(self._hay(rng, len(hay), asked))
            parts = hay[:size]
            for at, needle in sorted(zip((depths * size).astype(int), needles, strict=True), reverse=True):
                parts.insert(int(at), needle)
            return Prompt(self._intro + " ".join(parts), question, answers, tuple(needles))

        def fits(size: int) -> bool:
            return self.count(built(size).text) + self.answer_tokens <= self.tokens

        if not fits(0):
            need = self.count(built(0).text) + self.answer_tokens
            raise InvalidInput(f"tokens is {self.tokens}: needles, question and answer alone take {need}")
        low, high = 0, 1
        while fits(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return built(low)

    @property
    def _intro(self) -> str:
        return f"Special magic {self.values} are hidden in this text. Remember them; you will be asked.\n"

    def _hay(self, rng: np.random.Generator, at: int, asked: set[str]) -> Sequence[str]:
        if self.haystack == "needles":
            key = _key(rng)
            return [] if key in asked else [self._sentence(key, self._value(rng))]
        sentences = _REPEATED if self.haystack == "repeated" else _sentences(self.background)
        return sentences[at % len(sentences) :]

    def _ask(self, rng: np.random.Generator) -> tuple[list[str], str, tuple[str, ...]]:
        keys: list[str] = []
        while len(keys) < self.keys:
            keys += [key for key in [_key(rng)] if key not in keys]
        values = [[self._value(rng) for _ in range(self.per_key)] for _ in keys]
        needles = [self._sentence(key, value) for key, own in zip(keys, values, strict=True) for value in own]
        what = f"{self.values} for {', '.join(keys[: self.asked])}"
        question = f"Which special magic {what} does the text give? The special magic {what}:"
        return needles, question, tuple(value for own in values[: self.asked] for value in own)

    def _sentence(self, key: str, value: str) -> str:
        return f"One of the special magic {self.values} for {key} is: {value}."

    def _value(self, rng: np.random.Generator) -> str:
        if self.values == "uuids":
            return str(uuid.UUID(bytes=rng.bytes(16), version=4))
        return str(rng.integers(10**6, 10**7))


@dataclass(frozen=True, kw_only=True)
class TextPasskey(TextNeedle):
    """One key of five digits in repeated sentences."""

    @property
    def chance(self) -> float:
        """A guessed key."""
        return 1 / (9 * 10**4)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.haystack, self.values, self.keys, self.per_key) != ("repeated", "numbers", 1, 1):
            raise InvalidInput("a passkey is one number in repeated sentences: its settings are tokens and count")

    def solver(self, prompts: Sequence[Prompt]) -> list[str]:
        """The digits of the sentence."""
        return [re.findall(r"pass key is (\d+)", prompt.context)[0] for prompt in prompts]

    @property
    def _intro(self) -> str:
        return "This text hides a pass key. Remember it; you will be asked.\n"

    def _ask(self, rng: np.random.Generator) -> tuple[list[str], str, tuple[str, ...]]:
        value = str(rng.integers(10**4, 10**5))
        return [f"The pass key is {value}. Remember it."], "What is the pass key? The pass key is", (value,)


@dataclass(frozen=True, kw_only=True)
class Needle(RecallTask):
    """Bytes of repeated sentences with a needle for each of `keys` keys; at the end one key, and its digits are asked.

    The sentences are cut at the front, so that all sequences have the same length. The score is the share of digits.
    """

    length: int = 256
    digits: int = 4
    keys: int = 1

    def __post_init__(self) -> None:
        check_settings(self)
        longest = max(map(len, _ADJECTIVES)) + max(map(len, _NOUNS)) + 1
        needle, question = self._words("k" * longest, "0" * self.digits)
        need = self.keys * len(needle) + len(question) + self.digits - 1
        if self.length < need:
            raise InvalidInput(f"length is {self.length}: needles and question alone take up to {need} bytes")

    @property
    def vocab(self) -> int:
        """Bytes."""
        return 256

    @property
    def chance(self) -> float:
        """One digit of ten."""
        return 0.1

    def solver(self, tokens: Ints) -> Ints:
        """The digits of the sentence with the key of the question."""
        found = np.zeros_like(tokens)
        for row, sequence in enumerate(tokens.astype(np.uint8)):
            text = sequence[: len(sequence) - self.digits + 1].tobytes().decode("ascii")
            found[row, -self.digits :] = list(self._found(text).encode())
        return found

    def _draw(self, rng: np.random.Generator, n: int, split: Split) -> tuple[Ints, Ints, Ints]:
        hay = " ".join(_REPEATED) + " "
        hay *= self.length // len(hay) + 1
        ends = np.array([match.end() for match in re.finditer(r"\. ", hay)])
        rows: list[str] = []
        answers = np.zeros((n, self.length), np.int64)
        reach = np.zeros_like(answers)
        for row in range(n):
            keys: list[str] = []
            while len(keys) < self.keys:
                keys += [key for key in [_key(rng)] if key not in keys]
            values = ["".join(map(str, rng.integers(0, 10, self.digits))) for _ in keys]
            words = [self._words(key, value) for key, value in zip(keys, values, strict=True)]
            spare = self.length - sum(len(needle) for needle, _ in words) - len(words[0][1]) - self.digits + 1
            cuts = np.append(len(hay) - spare, ends[ends > len(hay) - spare])  # where a needle may go
            parts, last = [], len(hay) - spare
            for cut, which in zip(np.sort(rng.choice(cuts, self.keys)), rng.permutation(self.keys), strict=True):
                parts += [hay[last:cut], words[which][0]]
                last = int(cut)
            text = "".join([*parts, hay[last:], words[0][1], values[0][:-1]])
            rows.append(text)
            answers[row, -self.digits :] = list(values[0].encode())
            # Among several needles the key is needed too: its last byte is the one before the end of the lead.
            digit = text.index(words[0][0]) + words[0][0].index(values[0] + ".")
            oldest = digit + np.arange(self.digits) if self.keys == 1 else digit - len(self._lead) - 1
            reach[row, -self.digits :] = np.arange(self.length - self.digits, self.length) - oldest
        tokens = np.frombuffer("".join(rows).encode("ascii"), np.uint8).reshape(n, self.length).astype(np.int64)
        return tokens, answers, reach

    _lead: ClassVar[str] = " is: "

    def _words(self, key: str, value: str) -> tuple[str, str]:
        """The needle's sentence with a space behind, and the question up to its answer."""
        what = f"special magic number for {key}"
        return f"The {what}{self._lead}{value}. ", f"What is the {what}? It is: "

    def _found(self, text: str) -> str:
        asked = text[text.rindex("What is the special magic number for ") :].split("?")[0].split()[-1]
        return str(re.findall(rf"The special magic number for {asked} is: (\d+)\.", text)[0])


@dataclass(frozen=True, kw_only=True)
class Passkey(Needle):
    """The same with a pass key in place of keys and numbers."""

    digits: int = 5

    _lead: ClassVar[str] = "is "

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keys != 1:
            raise InvalidInput(f"keys is {self.keys}: there is one pass key")

    def _words(self, key: str, value: str) -> tuple[str, str]:
        return f"The pass key is {value}. Remember it. ", "What is the pass key? It is "

    def _found(self, text: str) -> str:
        return str(re.findall(r"The pass key is (\d+)\.", text)[0])


def _key(rng: np.random.Generator) -> str:
    return f"{_ADJECTIVES[rng.integers(len(_ADJECTIVES))]}-{_NOUNS[rng.integers(len(_NOUNS))]}"


@functools.lru_cache(maxsize=8)
def _sentences(background: str | None) -> tuple[str, ...]:
    if background is None:
        from pydoc_data.topics import topics  # half a megabyte, wanted by essays only

        background = " ".join(topics[name] for name in sorted(topics))
    return tuple(re.split(r"(?<=[.!?]) ", " ".join(background.split())))
