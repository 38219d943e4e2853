"""HippoRAG 2 (Gutiérrez et al., 2025, arXiv:2502.14802): associations by a walk over what was extracted.

A question is linked to facts; a recognition filter keeps those that matter; from their subjects and objects, and a
little from every passage that resembles the question, a Personalized PageRank walks over phrases, passages and the
edges between them, and passages are ranked by how often it comes by. If no fact is recognised, meaning decides.
Four choices: structure = a graph of phrases and passages with three kinds of edges; objective = none is learned by
writing; retention = what a deleted passage alone supported goes with it; rule = extract, append, join synonyms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnemos.core.catalogue import system
from mnemos.core.errors import InvalidInput
from mnemos.core.spec import Spec
from mnemos.text.encode.openie import Extractor
from mnemos.text.recipes.base import Parts, Recipe, Sought
from mnemos.text.recipes.filters import MemoryFilter, trained_filter
from mnemos.text.recipes.hipporag2.candidates import Nearest, nearest
from mnemos.text.recipes.hipporag2.index import KnowledgeIndex, embedded, passage_node, sentence
from mnemos.text.recipes.hipporag2.openie import LOCAL_BATCH, by_extractor, by_model, read_openie, trace_of
from mnemos.text.recipes.hipporag2.packed import pack, unpack
from mnemos.text.recipes.hipporag2.recognition import recognise
from mnemos.text.recipes.hipporag2.walk import Linked, Starts, Walk, min_max, phrase_weights, told
from mnemos.text.records import Filter, Record, Scope
from mnemos.text.results import Hit
from mnemos.text.store import Trace

if TYPE_CHECKING:
    from mnemos.text.memory import Memory

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BY_MEANING = ("no fact was recognised: by meaning",)


@dataclass(frozen=True, slots=True)
class Options:
    """The constants of the paper (section 3 and appendix).

    Raises:
        InvalidInput: a number out of its range.
    """

    facts: int = 5
    """Facts nearest to the question, which the recognition filter is shown."""
    phrases: int = 5
    """Phrases from which the walk starts, at most."""
    passage_weight: float = 0.05
    """Weight of passages as starts of the walk, beside phrases."""
    damping: float = 0.5
    """Probability of following an edge."""
    synonymy: float = 0.8
    """Cosine from which two phrases are joined; above 1 for none."""
    specificity: bool = True
    """Whether a phrase weighs less the more passages name it."""

    def __post_init__(self) -> None:
        if self.facts < 1 or self.phrases < 1:
            raise InvalidInput(f"facts={self.facts}, phrases={self.phrases}: at least 1 each")
        if not (self.passage_weight > 0 and 0 <= self.damping < 1 and self.synonymy > 0):
            given = f"passage_weight={self.passage_weight}, damping={self.damping}, synonymy={self.synonymy}"
            raise InvalidInput(f"{given}: give a weight above 0, a probability below 1 and a cosine above 0")


LOCAL = Options(facts=100, phrases=20)
"""With the trained filter, which reads a hundred facts as fast as five."""


@system(
    "hipporag2",
    title="HippoRAG 2",
    paper="arXiv:2502.14802",
    year=2025,
    wing="text",
    choices=Spec(
        structure="a graph of phrases and passages; relation, context and synonym edges",
        objective="none is learned by writing: extraction, and cosine for synonyms",
        retention="a deleted passage takes along what it alone supported",
        rule="extract triples, append, join the new phrases to their synonyms",
    ),
    claim="On multi-hop questions a walk over the graph finds more of the passages needed than dense retrieval, a "
    "recognition filter adds to it, and facts that are not filtered destroy the gain.",
)
class HippoRAG2(Recipe[KnowledgeIndex]):
    """Multi-hop recall in one search. Indexing costs two model calls a passage, a search one; none without a model.

    Args:
        parts: what it is wired from.
        options: the paper's with a language model, `LOCAL` without.
        recognition: keeps the facts that matter; the model's judgement, or the trained filter without one.
    """

    name = "hipporag2"

    def __init__(
        self, parts: Parts, *, options: Options | None = None, recognition: MemoryFilter | None = None
    ) -> None:
        super().__init__(parts)
        self.options = options or (LOCAL if parts.llm is None else Options())
        self.recognition = recognition

    # -- index -----------------------------------------------------------------------------

    def empty(self) -> KnowledgeIndex:
        """The index of no passages."""
        return KnowledgeIndex(self.options.synonymy)

    def derive(self, scope: Scope, records: Sequence[Record], index: KnowledgeIndex) -> Iterator[Sequence[Trace]]:
        """The names and triples of each record."""
        if self.parts.llm is None:
            return by_extractor(records, self._extractor)
        return by_model(records, self.parts.llm, self._extractor)

    def texts(self, trace: Trace) -> list[str]:
        """Phrases, then facts."""
        phrases, facts = embedded(trace)
        return [*phrases, *map(sentence, facts)]

    def change(self, index: KnowledgeIndex, added: Sequence[Trace], removed: Sequence[Trace]) -> None:
        """Passages come and go."""
        index.change(added, removed)

    def pack(self, index: KnowledgeIndex) -> bytes:
        """Names, who holds them, and synonyms."""
        return pack(index)

    def unpack(self, body: bytes, vectors: Iterable[tuple[str, NDArray[np.float16]]]) -> KnowledgeIndex | None:
        """What `pack` packed, under the same threshold of synonymy."""
        return unpack(body, vectors, self.options.synonymy)

    def take(self, scope: Scope, traces: Sequence[Trace]) -> None:
        """Keep traces that were made elsewhere, in the place of any that their records had."""
        with self._lock:
            self._keep(scope, iter([traces]), None)

    @cached_property
    def _extractor(self) -> Extractor:
        return Extractor()

    # -- search ----------------------------------------------------------------------------

    def seek(self, sought: Sought, index: KnowledgeIndex) -> list[Hit]:
        """The passages by how often the walk comes by; by meaning, where no fact is recognised."""
        meaning = sought.cosines().astype(np.float64)
        rows = np.arange(len(meaning)) if sought.admitted is None else np.flatnonzero(sought.admitted)
        if not len(rows):
            return []
        starts = self.starts(sought, index, meaning)
        if not starts.phrases:  # the paper's fall-back: dense retrieval
            best = rows[np.argsort(-meaning[rows], kind="stable")[: sought.k]]
            parts = [{"meaning": float(meaning[row])} for row in best]
            return self.hits(sought, best, meaning[best].tolist(), [_BY_MEANING] * len(best), parts)
        near = np.zeros(len(meaning))
        near[rows] = self.options.passage_weight * min_max(meaning[rows])
        for id, weight in starts.passages.items():
            near[sought.row[id]] += weight
        walk = Walk(index, starts.phrases, index.slots(sought.corpus)[rows], near[rows], self.options.damping)
        best = np.argsort(-walk.scores, kind="stable")[: sought.k]
        why, parts = self._told(sought, walk, rows[best], starts, meaning)
        return self.hits(sought, rows[best], walk.scores[best].tolist(), why, parts)

    def starts(self, sought: Sought, index: KnowledgeIndex, meaning: Floats) -> Starts:
        """The subjects and objects of the facts that are recognised; arguments as of `link`."""
        linked = self.link(sought, index, meaning)
        return Starts(phrase_weights(linked, index, self.options.phrases, self.options.specificity), linked)

    def link(self, sought: Sought, index: KnowledgeIndex, meaning: Floats) -> list[Linked]:
        """The facts nearest to the question that the filter recognises, nearest first.

        Args:
            meaning: [rows] likeness of every record to the question.
        """
        found = nearest(sought, index, meaning, self.options.facts)
        if not found:
            return []
        shares = self._judged(sought.text, found)
        return [
            Linked(one.fact, one.likeness, float(share)) for one, share in zip(found, shares, strict=True) if share > 0
        ]

    def _judged(self, query: str, found: Sequence[Nearest]) -> Floats:
        """[n] how far each fact is recognised: by the given filter, by the model, or by the trained filter."""
        items = [one.candidate for one in found]
        if self.recognition is None and self.parts.llm is not None:
            shares = recognise(self.parts.llm, query, items)
            if shares is not None:
                return shares
        return (self.recognition or trained_filter())(query, items)

    def _told(
        self, sought: Sought, walk: Walk, rows: Ints, starts: Starts, meaning: Floats
    ) -> tuple[list[tuple[str, ...]], list[dict[str, float]]]:
        """Reasons and numbers of each hit: the way of the walk to it."""
        ids = [sought.corpus.ids[row] for row in rows]
        ways = [walk.way(id) for id in ids]
        on_the_way = {step.node[1:] for way in ways for step in way if step.node[0] == "#"}
        texts = {passage_node(id): r.text for id, r in self.parts.store.get(sorted(on_the_way)).items()}
        why: list[tuple[str, ...]] = []
        parts: list[dict[str, float]] = []
        for row, id, way in zip(rows.tolist(), ids, ways, strict=True):
            alone = "about what the question names" if id in starts.passages else "by meaning, no fact leads here"
            words, data = told(way, starts, texts) if way else (alone, {})
            why.append((words,))
            parts.append({"meaning": round(float(meaning[row]), 4), **data})
        return why, parts


def load_openie(memory: Memory, path: str | Path, *, user: str = "", agent: str = "", by: str = "openie") -> int:
    """Take the triples of a file for the records that it knows, instead of extracting them.

    The file stays the source of their triples, whatever recipe the memory has now; `hipporag2` (and the default
    recipe, for passages) walks over them. Load before that recipe has looked, or it extracts its own first.

    Args:
        memory: holds the passages, each as its text, with or without its title in a line before it.
        path: JSON in the form of the reference code, `{"docs": [{"passage": ..., "extracted_entities": [...],
            "extracted_triples": [[s, r, o], ...]}]}`; `title` and `text` will do for `passage`; `.xz` allowed.
        by: who made it, for provenance.

    Returns:
        How many records got triples.

    Raises:
        InvalidInput: the file has another form. Nothing was changed.
        NotFound: no such file.
        MissingExtra: the memory has no embedder.
    """
    known = read_openie(path)
    parts = Parts(memory._store, memory._encoder, memory._recall, memory._llm, memory._ids, memory._clock)
    recipe, scope = HippoRAG2(parts), Scope(user, agent)
    records = memory._store.find(Filter(scope), memory._clock.now())
    found = [(record.id, known[record.text.strip()]) for record in records if record.text.strip() in known]
    traces = [trace_of(id, doc.get("extracted_entities"), doc.get("extracted_triples"), by) for id, doc in found]
    for start in range(0, len(traces), LOCAL_BATCH):
        recipe.take(scope, traces[start : start + LOCAL_BATCH])
    return len(traces)
