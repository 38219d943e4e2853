"""The facts nearest to a question, with what recall knows about each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.text.encode.analyse import term_words
from mnemos.text.recall.seed import top
from mnemos.text.recipes.base import Sought
from mnemos.text.recipes.filters import Candidate
from mnemos.text.recipes.hipporag2.index import Fact, KnowledgeIndex
from mnemos.text.recipes.hipporag2.walk import min_max

Floats = NDArray[np.float64]


_HALF = 10
"""Place at which a record counts half as much as the first."""

_WHOLE = 0.99
"""Share of a name that counts as all of it."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """A fact near to the question."""

    fact: Fact
    likeness: float
    """To the question: 1 for the nearest of all facts, 0 for the farthest."""
    candidate: Candidate


def nearest(sought: Sought, index: KnowledgeIndex, meaning: Floats, most: int) -> list[Nearest]:
    """The `most` facts nearest to the question among those that an admitted record states, nearest first.

    Args:
        meaning: [rows] likeness of every record to the question.
    """
    places = index.facts.places
    if not len(places):
        return []
    likeness = min_max((index.facts.vectors @ sought.vector)[places])
    chosen = _first(sought, index, places, likeness, most)
    asked = _asked(sought, [fact[0] for fact, _, _ in chosen])
    standing = _standing(meaning, sought.admitted) + _standing(sought.lexical(), sought.admitted)
    found = []
    for rank, (fact, value, sources) in enumerate(chosen):
        rows = [sought.row[id] for id in sources]
        signals = {
            "passage": float(standing[rows].max()),
            "rank": math.log1p(rank),
            "subject": asked[fact[0]],
            "subject wholly": float(asked[fact[0]] > _WHOLE),
            "subject passages": math.log(len(index.phrases.held_by(fact[0]))),
            "object passages": math.log(len(index.phrases.held_by(fact[2]))),
        }
        found.append(Nearest(fact, value, Candidate(f"({', '.join(fact)})", fact, tuple(sources), signals)))
    return found


def _first(
    sought: Sought, index: KnowledgeIndex, places: NDArray[np.int64], likeness: Floats, most: int
) -> list[tuple[Fact, float, list[str]]]:
    found: list[tuple[Fact, float, list[str]]] = []
    for n in _falling(likeness, 2 * most):
        value = float(likeness[n])
        if len(found) >= most and value < found[-1][1]:
            break
        fact = index.facts.keys[places[n]]
        assert fact is not None
        sources = [id for id in index.facts.held_by(fact) if sought.admits([id])]
        if sources:
            found.append((fact, value, sources))
    # equally near facts have an order of their own, whichever came first
    return sorted(found, key=lambda one: (-one[1], one[0]))[:most]


def _falling(values: Floats, first: int) -> Iterator[int]:
    """Positions of `values`, the highest first; sorted as far as somebody asks, which seldom goes beyond `first`."""
    done = 0
    while done < len(values):
        order = top(values, max(first, 8 * done))
        yield from order[done:].tolist()
        done = len(order)


def _standing(scores: NDArray[Any], admitted: NDArray[np.bool_] | None) -> Floats:
    """[rows] 1 for the record with the best score, falling with its place: 1/2 at place 10, 1/3 at place 20.

    Places compare across corpora and embedders, where scores do not (reciprocal rank fusion; Cormack et al., 2009).
    """
    if admitted is not None:
        scores = np.where(admitted, scores, -np.inf)
    place = np.empty(len(scores))
    place[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return np.asarray(_HALF / (_HALF + place))


def _asked(sought: Sought, names: Sequence[str]) -> dict[str, float]:
    """How much of each name the question says: the share of its words, weighted by rarity in the corpus."""
    said = set(term_words(sought.text))
    terms = {name: list(term_words(name)) for name in names}
    matches = sought.corpus.postings.matches({term for mine in terms.values() for term in mine})
    weight = dict(zip(matches.terms, matches.share.tolist(), strict=True))
    return {
        name: sum(weight[t] for t in mine if t in said) / (sum(weight[t] for t in mine) or 1.0)
        for name, mine in terms.items()
    }
