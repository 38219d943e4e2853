"""Where recall starts: which records answer to the words, the meaning, the speaker or the time.

Every signal is put on a scale of its own that does not depend on how much is stored (BM25 as the
share of the question's idf mass, cosines beside their z-score in this memory), so that one set of
weights serves a memory of ten records and of a hundred thousand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.text.index.corpus import Corpus
from mnemos.text.index.lexical import Posting, saturate
from mnemos.text.index.vectors import CROSSOVER
from mnemos.text.recall.query import Query

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

EVERYTHING = 4096
"""Rows up to which every record is a candidate."""
_SEEDS = 96
"""Candidates that each signal names in a larger memory."""
_REACH = 2
"""Turns to either side of a seed that become candidates too."""
WINDOWS = (2, 4)
"""Turns to either side that the window scores look at."""


@dataclass(slots=True)
class Signals:
    """What each signal says of the candidates. Arrays are [n] over `rows` unless said otherwise."""

    rows: Ints
    """Candidate rows of the corpus, in conversation order."""
    places: Ints
    """Their places in conversation order."""
    lexical: Floats
    """[corpus] BM25 as a share of the question's idf mass."""
    coverage: Floats
    """[corpus] share of the question's idf mass whose words occur."""
    windows: list[Floats]
    """BM25 of the stretch of talk around each candidate, for each of `WINDOWS`."""
    cosine: Floats
    """[corpus] cosine with the question; 0 where not computed."""
    moments: tuple[float, float]
    """Mean and deviation of the cosine over the memory."""
    postings: dict[int, Posting]
    seeds: dict[str, Ints]
    """By signal, the rows it put forward, best first."""


def seed(query: Query, corpus: Corpus, mask: NDArray[np.bool_] | None) -> Signals:
    """Candidates for `query` among the rows of `corpus` that `mask` admits, with their signals."""
    postings = {term: corpus.postings[term] for term in query.terms}
    idf = {term: corpus.postings.idf(posting) for term, posting in postings.items()}
    mass = sum(idf.values()) or 1.0
    lexical, coverage = _bm25(corpus, postings, idf, mass)
    cosine, near = _cosines(query, corpus, mask)
    seeds = {"words": _best(_allowed(lexical, mask), _SEEDS)}
    if query.vector is not None and len(corpus.vectors):
        seeds["meaning"] = near
    if query.window is not None:
        seeds["time"] = _in_window(query, corpus, mask)
    rows = _candidates(corpus, seeds, lexical, mask)
    places = corpus.place[rows]
    _fill_cosines(query, corpus, cosine, places)
    windows = [_window_bm25(corpus, postings, idf, mass, places, width) for width in WINDOWS]
    moments = corpus.vectors.spread(query.vector) if query.vector is not None and len(corpus.vectors) else (0.0, 1.0)
    return Signals(rows, places, lexical, coverage, windows, cosine, moments, postings, seeds)


def _bm25(corpus: Corpus, postings: dict[int, Posting], idf: dict[int, float], mass: float) -> tuple[Floats, Floats]:
    lexical, coverage = np.zeros(len(corpus), np.float32), np.zeros(len(corpus), np.float32)
    lengths, mean = corpus.postings.lengths, corpus.postings.mean_length
    for term, posting in postings.items():
        share = np.float32(idf[term] / mass)
        lexical[posting.rows] += share * saturate(posting.counts, lengths[posting.rows], mean)
        coverage[posting.rows] += share
    return lexical, coverage


def _window_bm25(
    corpus: Corpus, postings: dict[int, Posting], idf: dict[int, float], mass: float, places: Ints, width: int
) -> Floats:
    # counts and lengths of a stretch are differences of running sums, so no stretch is ever scored alone
    low = np.maximum(places - width, corpus.first[places])
    high = np.minimum(places + width, corpus.last[places]) + 1
    lengths = (corpus.length_sums[high] - corpus.length_sums[low]).astype(np.float32)
    mean = corpus.postings.mean_length * (2 * width + 1)
    score = np.zeros(len(places), np.float32)
    for term, posting in postings.items():
        if not len(posting.rows):
            continue
        where, counts = corpus.place[posting.rows], posting.counts
        if not corpus.ordered:
            order = np.argsort(where)
            where, counts = where[order], counts[order]
        sums = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
        inside = (sums[np.searchsorted(where, high)] - sums[np.searchsorted(where, low)]).astype(np.float32)
        score += np.float32(idf[term] / mass) * saturate(inside, lengths, mean)
    return score


def _cosines(query: Query, corpus: Corpus, mask: NDArray[np.bool_] | None) -> tuple[Floats, Ints]:
    cosine = np.zeros(len(corpus), np.float32)
    vectors = corpus.vectors
    if query.vector is None or not len(vectors):
        return cosine, np.empty(0, np.int64)
    admitted = None if mask is None else mask[vectors.owners]
    if vectors.exact:
        which = np.arange(len(vectors))
        scores = vectors.all(query.vector)
        if len(vectors) == len(corpus):  # a vector each, in the order of the rows
            return scores, _best(_allowed(scores, mask), _SEEDS)
    elif admitted is not None and admitted.sum() <= CROSSOVER:
        which = np.flatnonzero(admitted)
        scores = vectors.some(query.vector, which)
    else:
        which = vectors.nearest(query.vector, _SEEDS * (1 if mask is None else 4))
        scores = vectors.some(query.vector, which)
    cosine[vectors.owners[which]] = -1.0
    np.maximum.at(cosine, vectors.owners[which], scores)
    found = np.unique(vectors.owners[which])
    if mask is not None:
        found = found[mask[found]]
    return cosine, found[_top(cosine[found], _SEEDS)]


def _fill_cosines(query: Query, corpus: Corpus, cosine: Floats, places: Ints) -> None:
    if query.vector is None or corpus.vectors.exact:
        return
    around = np.unique(np.concatenate([places, np.maximum(places - 1, 0), np.minimum(places + 1, len(corpus) - 1)]))
    rows = np.sort(corpus.order[around])
    owners = corpus.vectors.owners
    left, right = np.searchsorted(owners, rows), np.searchsorted(owners, rows, side="right")
    sizes = right - left
    which = np.repeat(left - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
    cosine[owners[which]] = -1.0
    np.maximum.at(cosine, owners[which], corpus.vectors.some(query.vector, which))


def _in_window(query: Query, corpus: Corpus, mask: NDArray[np.bool_] | None) -> Ints:
    assert query.window is not None
    with np.errstate(invalid="ignore"):
        inside = (corpus.at >= query.window.start) & (corpus.at < query.window.end)
    if mask is not None:
        inside &= mask
    return np.flatnonzero(inside)[:_SEEDS]


def _candidates(corpus: Corpus, seeds: dict[str, Ints], lexical: Floats, mask: NDArray[np.bool_] | None) -> Ints:
    """Admitted rows in conversation order: all of a small memory, else the seeds and their surroundings."""
    if len(corpus) <= EVERYTHING:
        return corpus.order if mask is None else corpus.order[mask[corpus.order]]
    talk = lexical[corpus.order]
    around = talk.copy()
    for distance in range(1, _REACH + 1):
        around[distance:] += talk[:-distance]
        around[:-distance] += talk[distance:]
    centres = np.concatenate([corpus.place[rows] for rows in seeds.values()] + [_best(around, _SEEDS)])
    spread = (centres[:, None] + np.arange(-_REACH, _REACH + 1)).ravel()
    owner = np.repeat(corpus.block[centres], 2 * _REACH + 1)
    inside = (spread >= 0) & (spread < len(corpus))
    spread, owner = spread[inside], owner[inside]
    places = np.unique(spread[corpus.block[spread] == owner])
    rows: Ints = corpus.order[places]
    return rows if mask is None else rows[mask[rows]]


def _allowed(scores: Floats, mask: NDArray[np.bool_] | None) -> Floats:
    return scores if mask is None else np.where(mask, scores, np.float32(0))


def _best(scores: Floats, k: int) -> Ints:
    """The `k` highest positive entries, best first."""
    positive = np.flatnonzero(scores > 0)
    return positive[_top(scores[positive], k)]


def _top(scores: Floats, k: int) -> Ints:
    if len(scores) > k:
        part = np.argpartition(-scores, k)[:k]
        return part[np.argsort(-scores[part], kind="stable")]
    return np.argsort(-scores, kind="stable")
