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
from mnemos.text.index.lexical import Matches, saturate
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
    matches: Matches
    """Where the question's words occur."""
    dense: bool
    """Whether there were vectors to compare."""
    seeds: dict[str, Ints]
    """By signal, the rows it put forward, best first."""


def seed(query: Query, corpus: Corpus, mask: NDArray[np.bool_] | None) -> Signals:
    """Candidates for `query` among the rows of `corpus` that `mask` admits, with their signals."""
    matches = corpus.postings.matches(query.terms)
    lexical, coverage = _bm25(corpus, matches)
    cosine, near = _cosines(query, corpus, mask)
    dense = query.vector is not None and len(corpus.vectors) > 0
    seeds = {"words": _best(_allowed(lexical, mask), _SEEDS)}
    if dense:
        seeds["meaning"] = near
    if query.window is not None:
        seeds["time"] = _in_window(query, corpus, mask)
    rows = _candidates(corpus, seeds, lexical, mask)
    places = corpus.place[rows]
    _fill_cosines(query, corpus, cosine, places)
    windows = _windows(corpus, matches, places)
    moments = corpus.vectors.spread(query.vector) if dense and query.vector is not None else (0.0, 1.0)
    return Signals(rows, places, lexical, coverage, windows, cosine, moments, matches, dense, seeds)


def _bm25(corpus: Corpus, matches: Matches) -> tuple[Floats, Floats]:
    rows, share = matches.rows, matches.share[matches.term]
    weight = share * saturate(matches.counts, corpus.postings.lengths[rows], corpus.postings.mean_length)
    lexical, coverage = (np.bincount(rows, values, len(corpus)) for values in (weight, share))
    return lexical.astype(np.float32), coverage.astype(np.float32)


def _windows(corpus: Corpus, matches: Matches, places: Ints) -> list[Floats]:
    # counts and lengths of a stretch are differences of running sums, so no stretch is ever scored
    # alone; the sums run over those places only that some stretch covers
    reach = max(WINDOWS)
    covered = np.zeros(len(corpus) + 1, bool)
    covered[np.clip(places[:, None] + np.arange(-reach, reach + 1), 0, len(corpus) - 1)] = True
    ordinal = np.cumsum(covered, dtype=np.int32) - covered
    where = corpus.place[matches.rows]
    inside = covered[where]
    sums = np.zeros((len(matches.terms), ordinal[-1] + 1), np.float32)
    sums[matches.term[inside], ordinal[where[inside]] + 1] = matches.counts[inside]
    np.cumsum(sums, axis=1, out=sums)
    windows = []
    for width in WINDOWS:
        low = np.maximum(places - width, corpus.first[places])
        high = np.minimum(places + width, corpus.last[places]) + 1
        lengths = (corpus.length_sums[high] - corpus.length_sums[low]).astype(np.float32)
        counts = sums[:, ordinal[high]] - sums[:, ordinal[low]]
        weight = saturate(counts, lengths, corpus.postings.mean_length * (2 * width + 1))
        windows.append(np.einsum("t,tn->n", matches.share, weight))
    return windows


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
    return cosine, found[np.argsort(-cosine[found], kind="stable")[:_SEEDS]]


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
    centres = np.concatenate([corpus.place[rows] for rows in seeds.values()] + [_best(around, _SEEDS)])[:, None]
    near = centres + np.arange(-_REACH, _REACH + 1)
    chosen = np.zeros(len(corpus), bool)
    chosen[near[(near >= corpus.first[centres]) & (near <= corpus.last[centres])]] = True
    rows: Ints = corpus.order[chosen]
    return rows if mask is None else rows[mask[rows]]


def _allowed(scores: Floats, mask: NDArray[np.bool_] | None) -> Floats:
    return scores if mask is None else np.where(mask, scores, np.float32(0))


def _best(scores: Floats, k: int) -> Ints:
    """The `k` highest positive entries, best first."""
    least = np.partition(scores, -k)[-k] if len(scores) > k else np.float32(0)
    found = np.flatnonzero(scores >= least if least > 0 else scores > 0)
    return found[np.argsort(-scores[found], kind="stable")][:k]
