"""CAIM's memory controller: does a message need long-term memory at all?

A miss is invisible afterwards and costs more than a needless look, so the twin's threshold is set for a recall of at
least 0.95. The twin is a logistic model on twelve surface features of the message and the running session; its
weights are fitted by `fit` on synthetic messages (`mnemos.bench.claims.caim`, seed 100).

Source: CAIM, 2025, module 1. The paper asks a language model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import EndpointError, InvalidInput
from mnemos.text.encode.analyse import STOP_WORDS, words
from mnemos.text.encode.dates import find_dates
from mnemos.text.encode.entities import canonical, entities
from mnemos.text.llm import LanguageModel
from mnemos.text.prompts.caim import Consult, Message, chat_messages, gate_messages
from mnemos.text.recipes.ontology import Floats
from mnemos.text.results import Hit

Doubles = NDArray[np.float64]

FEATURES = (
    "best cosine with a turn of the session",
    "share of its words that the session holds",
    "a name that the session holds",
    "a name that the session does not hold",
    "a question",
    "a question word first",
    "past tense",
    "a word of remembering",
    "a time",
    "my or our",
    "small talk",
    "words, log",
)
RECALL = 0.95
"""Share of the messages that need memory which must pass the gate."""


@dataclass(frozen=True, slots=True)
class Logistic:
    """Weights over `FEATURES`, and the probability from which memory is consulted."""

    weights: tuple[float, ...]
    bias: float
    threshold: float

    def __call__(self, features: Doubles) -> Doubles:
        """[n] probabilities of [n, features]."""
        odds: Doubles = features @ np.array(self.weights) + self.bias
        return 1 / (1 + np.exp(-np.clip(odds, -50, 50)))


class Gate:
    """Decides whether long-term memory is consulted.

    Args:
        embed: texts → [n, dim] unit vectors.
        llm: decides where given; the twin does where it is not, or fails.
        model: the twin's weights.
    """

    def __init__(
        self, embed: Callable[[Sequence[str]], Floats], llm: LanguageModel | None = None, model: Logistic | None = None
    ) -> None:
        self._embed = embed
        self._llm = llm
        self._model = model or FITTED

    def __call__(self, message: str, stm: Sequence[str] = ()) -> bool:
        """True where `message` cannot be answered from `stm`, the turns of the running session."""
        if self._llm is not None:
            with suppress(EndpointError):
                return self._llm.structured(gate_messages(message, stm), Consult).consult
        (probability,) = self._model(features([(message, stm)], self._embed))
        return bool(probability >= self._model.threshold)


@dataclass(frozen=True, slots=True)
class Turn:
    """What the controller made of a message."""

    messages: list[Message]
    """The prompt that answers it."""
    thoughts: tuple[Hit, ...]
    """What memory gave, in order of time."""
    consulted: bool


class Controller:
    """Builds the prompt for each message: the session as it is, and thoughts only where the gate opens.

    Args:
        recall: the search of a memory, such as `partial(memory.search, k=5)`.
        gate: decides; see `Gate`.
    """

    def __init__(self, recall: Callable[[str], Sequence[Hit]], gate: Callable[[str, Sequence[str]], bool]) -> None:
        self._recall = recall
        self._gate = gate
        self.reads = 0
        """Times that long-term memory was consulted."""

    def __call__(self, message: str, session: Sequence[tuple[str, str]] = ()) -> Turn:
        """The prompt for `message` after `session`, its turns as (role, text)."""
        consulted = self._gate(message, [text for _, text in session])
        hits: Sequence[Hit] = ()
        if consulted:
            self.reads += 1
            hits = self._recall(message)
        thoughts = tuple(sorted(hits, key=lambda hit: hit.at if hit.at is not None else -np.inf))
        return Turn(chat_messages(message, session, [(h.text, h.at) for h in thoughts]), thoughts, consulted)


_WH = re.compile(r"\W*(?:what|when|where|which|who|whom|whose|why|how)\b", re.I)
_PAST = re.compile(r"\b(?:did|was|were|had|used to|told|said|mentioned|\w{3,}ed)\b", re.I)
_REMEMBER = re.compile(r"\b(?:remember|recall|remind|last|again|before|earlier|previous(?:ly)?|back then|ago)\b", re.I)
_MINE = re.compile(r"\b(?:my|our|mine|ours|I)\b")
_CHAT = re.compile(r"\W*(?:thanks?|thank you|hi|hello|hey|ok(?:ay)?|great|good|nice|cool|sure|yes|no|bye|haha)\b", re.I)


def features(cases: Sequence[tuple[str, Sequence[str]]], embed: Callable[[Sequence[str]], Floats]) -> Doubles:
    """[n, FEATURES] of (message, turns of the session)."""
    texts = list(dict.fromkeys(text for message, stm in cases for text in (message, *stm)))
    place = {text: n for n, text in enumerate(texts)}
    vectors = embed(texts)
    rows = []
    for message, stm in cases:
        own = vectors[place[message]]
        cosine = max((float(vectors[place[text]] @ own) for text in stm), default=0.0)
        content = {word for word in words(message) if word not in STOP_WORDS}
        held = {word for text in stm for word in words(text)}
        names = {canonical(name) for name in entities(message)}
        spoken = " ".join(stm).casefold()
        rows.append(
            [
                cosine,
                len(content & held) / len(content) if content else 0.0,
                any(name in spoken for name in names),
                any(name not in spoken for name in names),
                message.rstrip().endswith("?"),
                _WH.match(message) is not None,
                _PAST.search(message) is not None,
                _REMEMBER.search(message) is not None,
                bool(find_dates(message, 1.7e9)),
                _MINE.search(message) is not None,
                _CHAT.match(message) is not None,
                np.log1p(len(message.split())),
            ]
        )
    return np.array(rows, np.float64)


def fit(found: Doubles, needed: Sequence[bool], recall: float = RECALL, ridge: float = 1e-2) -> Logistic:
    """The logistic model of labelled messages, and the highest threshold at which `recall` of those that need memory
    pass; halfway to the next lower score, so that a copy of the case at the border passes too.

    Args:
        found: [n, FEATURES].
        needed: [n] whether each message needs memory.

    Raises:
        InvalidInput: only one class.
    """
    labels = np.asarray(needed, np.float64)
    if not 0 < labels.mean() < 1:
        raise InvalidInput("all messages have one label: a gate needs messages that need memory and others")
    x = np.concatenate([found, np.ones((len(found), 1))], axis=1)
    w = np.zeros(x.shape[1])
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 0.0
    for _ in range(50):  # Newton's method on a convex loss
        p = 1 / (1 + np.exp(-np.clip(x @ w, -50, 50)))
        gradient = x.T @ (p - labels) / len(x) + penalty * w
        curvature = (x * (p * (1 - p))[:, None]).T @ x / len(x) + np.diag(penalty) + 1e-9 * np.eye(len(w))
        step = np.linalg.solve(curvature, gradient)
        w -= step
        if np.abs(step).max() < 1e-10:
            break
    model = Logistic(tuple(w[:-1].tolist()), float(w[-1]), 0.0)
    scores = np.sort(model(found)[labels == 1])
    border = int(np.floor((1 - recall) * len(scores)))
    threshold = (scores[border] + scores[max(0, border - 1)]) / 2
    return Logistic(model.weights, model.bias, float(threshold))


FITTED = Logistic(
    weights=(-1.578, -3.398, 0.0, 0.0, 1.341, 1.465, 0.307, 0.657, -0.191, 1.229, -0.358, -0.74),
    bias=-0.62,
    threshold=0.809,
)
"""What `mnemos.bench.claims.caim.fitted_gate` gives with MiniLM."""
