"""What recall found, judged once more before it is used: which of it matters to the question?

HippoRAG 2 calls this recognition memory (arXiv:2502.14802, section 3.2). A filter says how far each candidate is
kept; it never sees more than it is given, and never adds anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.text.encode.alike import neighbours
from mnemos.text.encode.analyse import terms, words

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that a question may need."""

    text: str
    """What a person, or a model, is shown."""
    fields: tuple[str, ...] = ()
    """Its parts, if it has any: subject, relation and object of a fact."""
    sources: tuple[str, ...] = ()
    """Ids of the records that say it."""
    signals: Mapping[str, float] = field(default_factory=dict)
    """What recall knows about it, for filters that were trained on such numbers."""


class MemoryFilter(Protocol):
    """Judges candidates by a question."""

    def __call__(self, query: str, items: Sequence[Candidate]) -> Floats:
        """[n] how far each is kept: 0 for not at all, 1 for wholly."""
        ...


def keep_all(query: str, items: Sequence[Candidate]) -> Floats:
    """The filter that trusts recall."""
    return np.ones(len(items))


def shares_words(query: str, items: Sequence[Candidate]) -> Floats:
    """Keeps a fact if the question has at least half of the words of its subject, or of its object; and what has
    no such parts, if it has half of all its words."""
    asked = set(words(query))

    def shared(text: str) -> bool:
        mine = words(text)
        return bool(mine) and 2 * sum(word in asked for word in mine) >= len(mine)

    named = [(item.fields[0], item.fields[-1]) if item.fields else (item.text,) for item in items]
    return np.array([any(map(shared, names)) for names in named], np.float64)


def shares_relation(query: str, items: Sequence[Candidate]) -> Floats:
    """Keeps of what `shares_words` keeps the facts of whose relation the question says a word, if need be another one
    of nearly the same meaning.

    Few facts of one name are those that a question is about, so that it may be given many: on MuSiQue recall@5 with 20
    facts is .706 where `shares_words` has .634 (with 5 facts .675 and .679). How like the words must be makes no
    difference up to a cosine of .25 (.703 to .709).
    """
    asked = frozenset(terms(query).tolist())

    def fits(item: Candidate) -> bool:
        return not item.fields or related(asked, " ".join(item.fields[1:-1]))

    kept = shares_words(query, items)
    return np.array([keep * fits(item) for keep, item in zip(kept, items, strict=True)], np.float64)


def related(asked: Set[int], relation: str) -> bool:
    """Whether hashed stems have one of a relation's words, or one of nearly its meaning."""
    return not asked.isdisjoint(_senses(relation))


@lru_cache(maxsize=10_000)
def _senses(relation: str) -> frozenset[int]:
    own = terms(relation).tolist()
    return frozenset([*own, *neighbours(own).terms.tolist()])


@dataclass(frozen=True, slots=True)
class Trained:
    """Logistic regression on signals, made by `mnemos.bench.recognition` from questions with annotated evidence.

    The likeliest candidate is always kept: a question that recall answers at all has one.
    """

    names: tuple[str, ...]
    """Signals that it reads, in order."""
    weight: tuple[float, ...]
    """[names] what one unit of each adds to the log odds."""
    bias: float
    least: float
    """Probability below which a candidate is not kept."""

    def __call__(self, query: str, items: Sequence[Candidate]) -> Floats:
        """[n] the probability of each candidate, 0 where it is too low."""
        if not items:
            return np.zeros(0)
        signals = np.array([[item.signals[name] for name in self.names] for item in items], np.float64)
        odds = np.clip((signals * np.array(self.weight)).sum(1) + self.bias, -50, 50)
        likely = 1 / (1 + np.exp(-odds))
        return np.where((likely >= self.least) | (likely == likely.max()), likely, 0.0)


@lru_cache(maxsize=1)
def trained_filter() -> Trained:
    """The filter that comes with the package."""
    data: dict[str, Any] = json.loads(resources.files(__package__).joinpath("recognition.json").read_text("utf-8"))
    return Trained(tuple(data["weight"]), tuple(data["weight"].values()), data["bias"], data["least"])
