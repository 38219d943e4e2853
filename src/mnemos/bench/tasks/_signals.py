"""The default recall beside each of its signals alone, and beside reciprocal-rank fusion of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mnemos.text.encode.analyse import term_words
from mnemos.text.memory import Memory
from mnemos.text.recall.query import Query
from mnemos.text.recall.seed import Signals, seed
from mnemos.text.recall import query as reading
from mnemos.text.index.corpus import Corpus
from mnemos.text.records import Scope

Ranking = Callable[[str, int], list[str]]
"""(question, k) → record ids, best first."""
_RRF = 60.0
"""Cormack et al., 2009."""


def systems(memory: Memory) -> dict[str, Ranking]:
    """Rankings over one memory (unnamed scope, verbatim records): every signal, their fusion, ours."""
    found: dict[str, Ranking] = {
        "BM25": lambda q, k: _by(memory, q, k, _words),
        "entities": lambda q, k: _by(memory, q, k, _entities),
    }
    if memory._encoder.embedder is not None:
        found["MiniLM"] = lambda q, k: _by(memory, q, k, _meaning)
        found["RRF"] = lambda q, k: _by(memory, q, k, _fused)
    found["mnemos"] = lambda q, k: [hit.id for hit in memory.search(q, k)]
    return found


Score = Callable[[Query, Corpus, Signals], NDArray[np.float32]]


def _by(memory: Memory, question: str, k: int, score: Score) -> list[str]:
    vector = memory._encoder.embed_query(question)
    with memory._store.reading():
        corpus = memory._recall.corpus(Scope())
        query = reading.read(question, corpus, memory._clock.now(), vector)
        # a single signal gets all of the question's words, names of speakers too
        query = Query(query.text, term_words(question), query.speakers, query.window, query.wants_time, query.mentions, vector)
        scores = score(query, corpus, seed(query, corpus, None))
    return [corpus.ids[row] for row in np.argsort(-scores, kind="stable")[:k]]


def _words(query: Query, corpus: Corpus, signals: Signals) -> NDArray[np.float32]:
    # speakers are part of a turn for whoever searches by words: "Ada: I moved"
    named = np.isin(corpus.speaker, query.speakers) if query.speakers else np.zeros(len(corpus))
    return signals.lexical + np.float32(1e-3) * named.astype(np.float32)


def _meaning(query: Query, corpus: Corpus, signals: Signals) -> NDArray[np.float32]:
    return signals.cosine


def _entities(query: Query, corpus: Corpus, signals: Signals) -> NDArray[np.float32]:
    return np.array([len(query.mentions & set(m.tolist())) for m in corpus.mentions], np.float32)


def _fused(query: Query, corpus: Corpus, signals: Signals) -> NDArray[np.float32]:
    total = np.zeros(len(corpus), np.float32)
    for scores in (_words(query, corpus, signals), _meaning(query, corpus, signals)):
        rank = np.empty(len(scores), np.float32)
        rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
        total += 1 / (_RRF + 1 + rank)
    return total
