"""HippoRAG 2's walk, started also from what a question names: the default recipe's way through documents.

The facts nearest to a question as a whole leave out half of it where it is about two things ("Which is older, A or
B?"), and what it asks of a thing drowns in all that is known of it. So the walk has three more starts: the phrases that
the question spells out (HippoRAG 1 began there, arXiv:2405.14831, section 2.3), the passages that are about them, and
what facts about them say in the question's own relation ("the director of A": A, directed by, B).

Recall@5, MuSiQue with local triples and the filter held out: .739 without these starts, .771 with them; questions made
from 2WikiMultihopQA's passages (`mnemos.bench.hops`): .815 and .903.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mnemos.text.encode.analyse import term_words, terms
from mnemos.text.recall.seed import top
from mnemos.text.recipes.base import Sought
from mnemos.text.recipes.filters import related
from mnemos.text.recipes.hipporag2 import HippoRAG2
from mnemos.text.recipes.hipporag2.index import Fact, KnowledgeIndex, phrase
from mnemos.text.recipes.hipporag2.walk import Linked, Starts

_NAMED, _ABOUT, _ASKED = 1.0, 1.0, 3.0
"""Weights of a phrase that the question names, of the passages about it, and of what it asks of it, each over the
number of passages; the phrase of one surely recognised fact has 1. (Half or twice as much changes little.)"""
_FACTS = 2
"""Facts that answer to a relation, the nearest to the question. (All that do: .02 less on MuSiQue, else the same.)"""
_COMMON = 100
"""Passages from which on a phrase points to none in particular."""
_LONGEST = 14
"""Words of a name."""


class NamedWalk(HippoRAG2):
    """See the module's text."""

    def starts(self, sought: Sought, index: KnowledgeIndex, meaning: NDArray[np.float64]) -> Starts:
        """Those of HippoRAG 2, and what the question names and asks."""
        found = super().starts(sought, index, meaning)
        names, rest = names_in(sought.text, index.spelled)
        asked = frozenset(terms(rest).tolist())
        phrases, passages, linked = dict(found.phrases), dict[str, float](), list[Linked]()

        def start(name: str, weight: float) -> None:
            phrases[name] = max(phrases.get(name, 0.0), weight / len(index.phrases.held_by(name)))

        for name in names:
            holders = [id for id in index.phrases.held_by(name) if sought.admits([id])]
            if not 0 < len(holders) <= _COMMON:
                continue
            start(name, _NAMED)
            about = [id for id in holders if index.held[id].phrases[0] == name]
            passages.update((id, _ABOUT / len(about)) for id in about)
            told = dict.fromkeys(fact for id in holders for fact in index.held[id].facts)
            answers = [fact for fact in told if name in (fact[0], fact[2]) and fact in index.facts.place]
            for fact in _nearest(sought, index, [fact for fact in answers if related(asked, fact[1])]):
                start(fact[2] if fact[0] == name else fact[0], _ASKED)
                linked.append(Linked(fact, 1.0))
        return replace(
            found, phrases=phrases, passages=passages, facts=[*linked, *found.facts], named=frozenset(names)
        )  # fmt: skip


def _nearest(sought: Sought, index: KnowledgeIndex, facts: Sequence[Fact]) -> list[Fact]:
    """The `_FACTS` facts nearest to the question."""
    if not facts:
        return []
    likeness = index.facts.vectors[[index.facts.place[fact] for fact in facts]] @ sought.vector
    return [facts[n] for n in top(likeness, _FACTS)]


def names_in(text: str, known: Callable[[str], str | None]) -> tuple[list[str], str]:
    """The longest phrases that a text names, and its other words; `known` gives the phrase that is spelled so, if any.

    A name has a content word that is not in lower case; in a text without such names, two content words ("billing
    service"). A number alone is none. (MuSiQue all in lower case loses .01 of recall@5 by that; were each of its
    words a name, .05; in trials.)
    """
    words: list[str] = []
    proper: list[bool] = []
    for token in text.split():
        first = next((c for c in token if c.isalnum()), "")
        parts = phrase(token).split()
        words += parts
        proper += [first.isalpha() and not first.islower() and bool(term_words(part)) for part in parts]
    taken, names = [False] * len(words), []
    for cased in (True, False):
        for size in range(min(_LONGEST, len(words)), 0, -1):
            for start in range(len(words) - size + 1):
                span = slice(start, start + size)
                said = " ".join(words[span])
                if any(taken[span]) or said.isdecimal() or (name := known(said)) is None:
                    continue
                if any(proper[span]) if cased else len(term_words(said)) > 1:
                    taken[span] = [True] * size
                    names.append(name)
        if names:
            break
    return list(dict.fromkeys(names)), " ".join(word for word, used in zip(words, taken, strict=True) if not used)
