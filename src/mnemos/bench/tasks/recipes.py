"""Every recipe on the same memories and questions: what it finds, and what that costs.

Quality is evidence recall; cost is counted apart from embedding, which is the same machine for all:
strings embedded and milliseconds per memory, milliseconds from opening the file to the first answer and per search
after it (the question's vector given), bytes on disk, and calls of a language model (none unless one is configured).
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.bench.embeddings import CachedEmbedder
from mnemos.bench.metrics import ndcg_at, recall_at, reciprocal_rank
from mnemos.bench.results import Result
from mnemos.bench.runner import Progress, TaskOptions, task
from mnemos.bench.sets import Asked, Case, QuestionSet, question_set, set_names
from mnemos.core.clock import FixedClock
from mnemos.core.config import Settings
from mnemos.core.errors import InvalidInput
from mnemos.text.encode.embedder import Embedder, Vectors, resolve
from mnemos.text.memory import Memory
from mnemos.text.recipes import DEFAULT, recipe_names

_DAY = 86400.0
_TRIPLED = ("musique", "hotpotqa", "2wiki")
"""Sets of which there are OpenIE files."""
GIVEN = "hipporag2, given triples"
"""HippoRAG 2 over triples that a language model made beforehand (`--triples`)."""


@dataclass(frozen=True, kw_only=True)
class RecipesOptions(TaskOptions):
    """Options of `recipes`."""

    data: tuple[str, ...] = ("musique", "locomo", "longmemeval", "memorybank")
    """The question sets."""
    path: Path | None = None
    """Your copy of the file of one set; where sets usually lie if unset."""
    recipes: tuple[str, ...] = ()
    """Which of them; all if empty."""
    embedder: str = "minilm"
    triples: Path | None = None
    """An OpenIE file in HippoRAG's form, for one more row where its passages are asked about."""


@task(
    "recipes",
    summary="Every agent-memory recipe on question sets: quality, latency, bytes, model calls",
    options=RecipesOptions,
    plot=("data", "quality"),
)
def recipes(options: RecipesOptions, progress: Progress) -> Result:
    """One row per set and recipe: recall at several places, rank measures, and what adding and searching cost."""
    if unknown := set(options.data) - set(set_names()):
        raise InvalidInput(f"data is {sorted(unknown)[0]!r}: choose from {', '.join(set_names())}")
    if unknown := set(options.recipes) - set(recipe_names()):
        raise InvalidInput(f"there is no recipe {sorted(unknown)[0]!r}: there are {', '.join(recipe_names())}")
    if options.path is not None and len(options.data) != 1:
        raise InvalidInput(f"path is one file, and data names {len(options.data)} sets: name one")
    found = resolve(options.embedder)
    if found is None:
        raise InvalidInput(f"embedder is {options.embedder!r}: recipes compare meanings, name one that embeds")
    sets = {name: question_set(name) for name in options.data}
    cases = {name: list(one.read(options.path or one.path)) for name, one in sets.items()}
    names = options.recipes or recipe_names()
    wanted = [(data, name) for data in sets for name in names]
    if options.triples is not None:
        wanted += [(data, GIVEN) for data in sets if data in _TRIPLED]
    embedder = _Counted(CachedEmbedder(found))
    rows = []
    for number, (data, name) in enumerate(wanted):
        run = _Run(embedder, sets[data])
        for case in cases[data]:
            progress(f"{data}, {name}: {case.name}", number, len(wanted))
            run.case(name, case, options.triples if name == GIVEN else None)
        rows.append({"data": data, "system": name, "measure": sets[data].best, **run.row()})
    return Result(
        name="recipes",
        measures={f"{row['data']}, {row['system']}: {row['measure']}": row["quality"] for row in rows},
        rows=rows,
        config={"data": list(sets), "embedder": options.embedder},
        size={
            "memories": sum(len(case.items) for one in cases.values() for case in one),
            "questions": sum(len(case.asked) for one in cases.values() for case in one),
        },
        seeds=[options.seed],
    )


class _Counted:
    """An embedder that says how many strings it was asked for, and how long that took."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.name, self.dim = embedder.name, embedder.dim
        self.strings, self.seconds = 0, 0.0

    def embed(self, texts: Sequence[str]) -> Vectors:
        start = time.perf_counter()
        vectors = self._embedder.embed(texts)
        self.seconds += time.perf_counter() - start
        self.strings += len(texts)
        return vectors


class _Run:
    """One recipe over all cases of a set."""

    def __init__(self, embedder: _Counted, chosen: QuestionSet) -> None:
        self._embedder, self._set = embedder, chosen
        self._scores: dict[str, list[float]] = defaultdict(list)
        self._search: list[float] = []
        self._open: list[float] = []
        self._ingest, self._strings, self._bytes, self._items, self._calls = 0.0, 0, 0, 0, 0

    def case(self, name: str, case: Case, triples: Path | None) -> None:
        last = max((item.at for item in case.items if item.at is not None), default=0.0)
        recipe = "hipporag2" if name == GIVEN else name
        clock, settings = FixedClock(last + _DAY), Settings()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "recipes.mnemos"
            made: Any = {"embedder": self._embedder, "clock": clock, "seed": 0, "settings": settings}
            ids: list[str] = []
            if triples is not None:  # given before the recipe looks, which would derive its own
                from mnemos.text.recipes.hipporag2 import load_openie

                with Memory(path, recipe=DEFAULT, **made) as memory:
                    ids = memory.add(case.items)
                    load_openie(memory, triples)
            with Memory(path, recipe=recipe, **made) as memory:
                ids = ids or self._add(memory, case)
                self._ask(memory, case, dict(zip(ids, case.names, strict=True)))
                model = memory._llm
                self._calls += model.budget.used.calls if model is not None else 0
            if case.asked:
                self._open.append(self._opening(case.asked[0].text, path, recipe, made))
            self._bytes += sum(file.stat().st_size for file in Path(folder).iterdir())
        self._items += len(case.items)

    def _opening(self, question: str, path: Path, recipe: str, made: Mapping[str, Any]) -> float:
        spent, start = self._embedder.seconds, time.perf_counter()
        with Memory(path, recipe=recipe, **made) as memory:
            memory.search(question, self._set.depth)
            return time.perf_counter() - start - (self._embedder.seconds - spent)

    def _add(self, memory: Memory, case: Case) -> list[str]:
        spent, strings, start = self._embedder.seconds, self._embedder.strings, time.perf_counter()
        ids = memory.add(case.items)
        self._ingest += time.perf_counter() - start - (self._embedder.seconds - spent)
        self._strings += self._embedder.strings - strings
        return ids

    def _ask(self, memory: Memory, case: Case, counts_as: dict[str, str]) -> None:
        for asked in case.asked:
            spent, start = self._embedder.seconds, time.perf_counter()
            hits = memory.search(asked.text, self._set.depth)
            self._search.append(time.perf_counter() - start - (self._embedder.seconds - spent))
            self._score(asked, list(dict.fromkeys(counts_as[hit.id] for hit in hits)))

    def _score(self, asked: Asked, ranked: Sequence[str]) -> None:
        for k in self._set.ks:
            recall = recall_at(ranked, asked.gold, k)
            self._scores[f"recall@{k}"].append(recall)
            if asked.category and f"recall@{k}" == self._set.best:
                self._scores[f"{asked.category} recall@{k}"].append(recall)
        self._scores["ndcg@5"].append(ndcg_at(ranked, asked.gold, 5))
        self._scores["mrr"].append(reciprocal_rank(ranked, asked.gold))

    def mean(self, measure: str) -> float:
        return round(float(np.mean(self._scores[measure])), 4)

    def row(self) -> dict[str, Any]:
        """Quality by measure, then costs."""
        found = {name: self.mean(name) for name in sorted(self._scores, key=lambda n: (" " in n, n))}
        per = max(self._items, 1)
        return {"quality": self.mean(self._set.best), **found} | {
            "strings embedded / memory": round(self._strings / per, 2),
            "add ms / memory": round(1000 * self._ingest / per, 2),
            "open ms": round(1000 * float(np.median(self._open)), 1),
            "search p50 ms": round(1000 * float(np.median(self._search)), 2),
            "search p95 ms": round(1000 * float(np.quantile(self._search, 0.95)), 2),
            "KB / memory": round(self._bytes / per / 1024, 2),
            "model calls": self._calls,
        }
