"""Train `src/mnemos/text/recipes/recognition.json`, the filter that recognises facts without a language model.

    python -m mnemos.bench.recognition PATH_TO_MUSIQUE_JSON PATH_TO_OPENIE_JSON

A fact is worth keeping if a passage that states it belongs to the question's evidence. One logistic regression on six
signals that compare across corpora; the report is ten-fold by question: each question is answered with a filter that
never saw it. The shipped weights are then fitted on all questions.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.bench.embeddings import CachedEmbedder
from mnemos.bench.metrics import recall_at
from mnemos.bench.ranker import fit_logistic
from mnemos.bench.sets import Case, question_set
from mnemos.core import FixedClock
from mnemos.core.config import Settings
from mnemos.core.errors import InvalidInput
from mnemos.text import recipes
from mnemos.text.encode.embedder import Embedder, resolve
from mnemos.text.memory import Memory
from mnemos.text.recipes.base import Sought
from mnemos.text.recipes.filters import Candidate, MemoryFilter, Trained
from mnemos.text.recipes.hipporag2 import HippoRAG2, Options, load_openie
from mnemos.text.recipes.hipporag2.candidates import nearest
from mnemos.text.recipes.hipporag2.index import KnowledgeIndex
from mnemos.text.recipes.hipporag2.recipe import LOCAL
from mnemos.text.records import Filter, Kind, Scope

Floats = NDArray[np.float64]
WEIGHTS = Path(recipes.__file__).with_name("recognition.json")
SIGNALS = ("passage", "rank", "subject", "subject wholly", "subject passages", "object passages")
LEAST = 0.4
"""Probability from which a fact is kept."""
FOLDS = 10
SEEDS = (0, 1, 2)
"""Of the ways to divide the questions into folds."""


@dataclass(frozen=True)
class Desk:
    """Passages with given triples, ready to be asked with any options and any filter."""

    memory: Memory
    """The same passages under the recipe as it ships."""
    recipe: HippoRAG2
    index: KnowledgeIndex
    asked: tuple[tuple[Sought, frozenset[str]], ...]
    """Each question with the ids of its evidence."""

    def recalls(
        self,
        options: Options,
        recognition: Callable[[int], MemoryFilter],
        ks: Sequence[int] = (2, 5),
        walk: type[HippoRAG2] = HippoRAG2,
    ) -> NDArray[np.float64]:
        """[questions, ks] recall of the recipe with other options, over the same index, each question with the filter
        that `recognition` gives for its number."""
        found = []
        for number, (sought, gold) in enumerate(self.asked):
            with self.recipe.parts.store.reading():
                made = walk(self.recipe.parts, options=options, recognition=recognition(number))
                hits = made.seek(sought, self.index)
            ids = [hit.id for hit in hits]
            found.append([recall_at(ids, gold, k) for k in ks])
        return np.array(found)

    def dense(self, ks: Sequence[int] = (2, 5)) -> NDArray[np.float64]:
        """[questions, ks] recall of the passages nearest by meaning."""
        found = []
        for sought, gold in self.asked:
            best = np.argsort(-sought.cosines(), kind="stable")[: sought.k]
            found.append([recall_at([sought.corpus.ids[row] for row in best], gold, k) for k in ks])
        return np.array(found)

    def oracle(self, number: int) -> MemoryFilter:
        """The filter that knows the evidence of a question."""
        gold = self.asked[number][1]
        return lambda query, items: np.array([float(not gold.isdisjoint(item.sources)) for item in items])

    def without_synonyms(self) -> Desk:
        """The same passages in a graph whose phrases are joined by facts alone."""
        index = KnowledgeIndex(2.0)
        index.change([*self.recipe._states[self.asked[0][0].where.scope].live.values()], ())
        return replace(self, index=index)


@contextmanager
def desk(case: Case, openie: Path | None, embedder: Embedder, *, extract: bool = True, k: int = 10) -> Iterator[Desk]:
    """A case's passages in a fresh memory with the triples of a file, and its questions.

    Args:
        openie: the file; None for none, so that all triples are extracted here.
        extract: let passages that the file does not know be extracted here; else they have no triples.
        k: hits that are asked for.
    """
    made: dict[str, Any] = {"embedder": embedder, "clock": FixedClock(1e9), "seed": 0, "settings": Settings()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory"
        with Memory(path, **made) as memory:  # as notes, from which the default recipe derives nothing of its own
            ids = memory.add([replace(item, kind=Kind.NOTE) for item in case.items])
            if openie is not None and not load_openie(memory, openie):
                raise InvalidInput(f"{openie} knows none of the passages of {case.name}: give the file made for them")
        with Memory(path, recipe=HippoRAG2.name, **made) as memory:
            recipe = memory.recipe
            assert isinstance(recipe, HippoRAG2)
            if extract:
                recipe.absorb(Scope())
            yield _asked(memory, recipe, case, dict(zip(case.names, ids, strict=True)), k)


def _asked(memory: Memory, recipe: HippoRAG2, case: Case, named: dict[str, str], k: int) -> Desk:
    scope, now = Scope(), recipe.parts.clock.now()
    vectors = recipe.embed([question.text for question in case.asked])
    with recipe.parts.store.reading():
        corpus, state = recipe._synced(scope)
    asked = tuple(
        (
            Sought(q.text, vector, Filter(scope), k, now, False, corpus, state.row, None),
            frozenset(named[name] for name in q.gold),
        )
        for q, vector in zip(case.asked, vectors, strict=True)
    )
    return Desk(memory, recipe, state.index, asked)


@dataclass(frozen=True)
class Example:
    """The facts that one question was linked to."""

    signals: Floats
    """[facts, signals]"""
    gold: Floats
    """[facts] 1 where a passage of the evidence states it."""


def examples(made: Desk, facts: int = LOCAL.facts) -> list[Example]:
    """Every question with its nearest facts."""
    found = []
    for sought, gold in made.asked:
        items = [one.candidate for one in nearest(sought, made.index, sought.cosines().astype(np.float64), facts)]
        found.append(Example(_signals(items), np.array([float(not gold.isdisjoint(i.sources)) for i in items])))
    return found


def _signals(items: Sequence[Candidate]) -> Floats:
    return np.array([[item.signals[name] for name in SIGNALS] for item in items], np.float64)


def fit(data: Sequence[Example]) -> Trained:
    """The filter fitted on these questions."""
    model = fit_logistic(np.concatenate([e.signals for e in data]), np.concatenate([e.gold for e in data]), l2=1e-2)
    return Trained(SIGNALS, tuple(map(float, model.slope)), float(model.base), LEAST)


def held_out(data: Sequence[Example], seed: int, folds: int = FOLDS) -> list[Trained]:
    """For every question, a filter that was fitted without its fold."""
    fold = np.random.default_rng(seed).permutation(len(data)) % folds
    fitted = {f: fit([e for e, mine in zip(data, fold, strict=True) if mine != f]) for f in np.unique(fold)}
    return [fitted[f] for f in fold]


def unseen_recalls(
    made: Desk, seeds: Sequence[int] = SEEDS, folds: int = FOLDS, walk: type[HippoRAG2] = HippoRAG2
) -> NDArray[np.float64]:
    """[seeds, questions, 2] recall@2 and @5 with filters that never saw the question."""
    data = examples(made)
    return np.stack([made.recalls(LOCAL, held_out(data, seed, folds).__getitem__, walk=walk) for seed in seeds])


def main() -> None:
    """Train the filter and write its file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path, help="a file in the form of musique_train.json, its corpus beside it")
    parser.add_argument("openie", type=Path, help="the triples of its passages")
    parser.add_argument("--embedder", default="minilm")
    parser.add_argument("--dry", action="store_true", help="report only")
    arguments = parser.parse_args()
    (case,) = question_set("musique").read(arguments.questions)
    found = resolve(arguments.embedder)
    if found is None:
        raise InvalidInput(f"{arguments.embedder!r} embeds nothing: name an embedder")
    with desk(case, arguments.openie, CachedEmbedder(found)) as made:
        unseen = unseen_recalls(made).mean((0, 1)).round(4).tolist()
        model = fit(examples(made))
    print(f"held out by question: recall@2 {unseen[0]}, recall@5 {unseen[1]}", flush=True)
    print(", ".join(f"{name} {w:+.3f}" for name, w in zip(SIGNALS, model.weight, strict=True)), f"{model.bias:+.3f}")
    if not arguments.dry:
        shipped = {
            "trained on": case.name,
            "held out by question": {"recall@2": unseen[0], "recall@5": unseen[1]},
            "weight": {name: round(w, 6) for name, w in zip(SIGNALS, model.weight, strict=True)},
            "bias": round(model.bias, 6),
            "least": model.least,
        }
        WEIGHTS.write_text(json.dumps(shipped, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
