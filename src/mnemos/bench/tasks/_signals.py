"""The default recall beside each signal alone, and beside reciprocal-rank fusion of them.

The signals get what makes them strong: the speaker's name is part of the text that they search
and embed ("Ada: I moved"), and no word of the question is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mnemos.text.encode.analyse import name_hash, term_words, terms
from mnemos.text.encode.entities import canonical, entities
from mnemos.text.index.lexical import Postings, saturate
from mnemos.text.memory import Memory
from mnemos.text.records import Record

Ranking = Callable[[str, int], list[str]]
"""(question, k) → record ids, best first."""
_RRF = 10.0
"""The constant of reciprocal-rank fusion (Cormack et al., 2009). Of 24 settings of constant and depth this and
20 did best on LoCoMo; the usual 60 over whole rankings loses 5 points of recall@20 there."""
_DEPTH = 20
"""Places of each list that are fused."""
_BATCH = 10**6


def systems(memory: Memory) -> dict[str, Ranking]:
    """Rankings over the verbatim records of one memory's unnamed scope: signals, their fusion, ours."""
    records = memory.list(limit=_BATCH)
    texts = [f"{record.speaker}: {record.text}" if record.speaker else record.text for record in records]
    postings = Postings([terms(text) for text in texts])
    scores: dict[str, Callable[[str], NDArray[np.float32]]] = {
        "BM25": lambda question: _bm25(postings, question),
        "entities": lambda question: _entities(records, question),
    }
    embedder = memory._encoder.embedder
    if embedder is not None:
        vectors = embedder.embed(texts)
        scores["MiniLM"] = lambda question: np.asarray(vectors @ embedder.embed([question])[0], np.float32)
        scores["RRF"] = lambda question: _fused([scores["BM25"](question), scores["MiniLM"](question)])
    found = {name: _ranking(score, records) for name, score in scores.items()}
    found["mnemos"] = lambda question, k: [hit.id for hit in memory.search(question, k)]
    return found


def _ranking(score: Callable[[str], NDArray[np.float32]], records: Sequence[Record]) -> Ranking:
    return lambda question, k: [records[n].id for n in np.argsort(-score(question), kind="stable")[:k]]


def _bm25(postings: Postings, question: str) -> NDArray[np.float32]:
    total = np.zeros(len(postings), np.float32)
    for term in term_words(question):
        found = postings[term]
        weight = saturate(found.counts.astype(np.float32), postings.lengths[found.rows], postings.mean_length)
        total[found.rows] += np.float32(postings.idf(found)) * weight
    return total


def _entities(records: Sequence[Record], question: str) -> NDArray[np.float32]:
    asked = {name_hash(canonical(name)) for name in entities(question)}
    return np.array(
        [len(asked & {name_hash(canonical(n)) for n in (*r.data.get("entities", ()), r.speaker)}) for r in records],
        np.float32,
    )


def _fused(signals: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    total = np.zeros(len(signals[0]), np.float32)
    for scores in signals:
        best = np.argsort(-scores, kind="stable")[:_DEPTH]
        total[best] += 1 / (_RRF + 1 + np.arange(len(best), dtype=np.float32))
    return total
