"""Where recall starts: which records answer to the words, the meaning, the speaker or the time.

Every signal is put on a scale of its own that does not depend on how much is stored (BM25 as the
share of the question's idf mass, cosines beside their z-score in this memory), so that one set of
weights serves a memory of ten records and of a hundred thousand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.text.index.corpus import Corpus
from mnemos.text.index.lexical import Matches, saturate
from mnemos.text.index.vectors import CROSSOVER
from mnemos.text.recall.model import slopes
from mnemos.text.recall.query import Query

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

EVERYTHING = 2048
"""Rows up to which every record is a candidate."""
_SEEDS = 96
"""Rows of a larger memory that a rough score puts forward."""
_NEAREST = 96
"""Vectors that the approximate index is asked for."""
_TALK = 2.5
"""What the sum of the word scores of five turns is divided by, to stand for the score of their stretch."""
_REACH = 2
"""Turns to either side of a seed that become candidates too."""
_ALL = slice(None)
WINDOWS = (2, 4)
"""Turns to either side that the window scores look at."""


@dataclass(slots=True)
class Signals:
    """What each signal says of the candidates. Arrays are [n] over `rows` unless said otherwise."""

    rows: Ints
    """Candidate rows of the corpus, in conversation order."""
    places: Ints
    """Their places in conversation order."""
    session: Ints
    """Their sessions as 0, 1, 2, ...; a session's candidates stand together."""
    lexical: Floats
    """[corpus] BM25 as a share of the question's idf mass."""
    coverage: Floats
    """[corpus] share of the question's idf mass whose words occur."""
    windows: Floats
    """[len(WINDOWS), n] BM25 of the stretch of talk around each candidate."""
    cosine: Floats
    """[corpus] cosine with the question; 0 where not computed."""
    moments: tuple[float, float]
    """Mean and deviation of the cosine over the memory."""
    matches: Matches
    """Where the question's words occur."""
    dense: bool
    """Whether there were vectors to compare."""


def seed(query: Query, corpus: Corpus, mask: NDArray[np.bool_] | None) -> Signals:
    """Candidates for `query` among the rows of `corpus` that `mask` admits, with their signals."""
    matches = corpus.postings.matches(query.terms)
    lexical, coverage = _bm25(corpus, matches)
    cosine = _cosines(query, corpus, mask)
    moments = _moments(query, corpus, cosine)
    rows = corpus.order
    if len(corpus) > EVERYTHING:
        rows = rows[_promising(_rough(query, corpus, lexical, coverage, cosine, moments[1], mask), corpus)]
    if mask is not None:
        rows = rows[mask[rows]]
    places = corpus.place[rows]
    _fill_cosines(query, corpus, cosine, places)
    windows = _windows(corpus, matches, places)
    session = np.cumsum(np.diff(corpus.block[places], prepend=corpus.block[places[:1]]) != 0)
    dense = query.vector is not None and len(corpus.vectors) > 0
    return Signals(rows, places, session, lexical, coverage, windows, cosine, moments, matches, dense)


def _bm25(corpus: Corpus, matches: Matches) -> tuple[Floats, Floats]:
    rows, share = matches.rows, matches.share[matches.term]
    weight = share * saturate(matches.counts, corpus.postings.lengths[rows], corpus.postings.mean_length)
    lexical, coverage = (np.bincount(rows, values, len(corpus)) for values in (weight, share))
    return lexical.astype(np.float32), coverage.astype(np.float32)


def _windows(corpus: Corpus, matches: Matches, places: Ints) -> Floats:
    # counts and lengths of a stretch are differences of running sums, so no stretch is ever scored
    # alone; the sums run over those places only that some stretch covers
    covered = np.zeros(len(corpus) + 1, bool)
    np.put(covered, places[:, None] + np.arange(-max(WINDOWS), max(WINDOWS) + 1), True, mode="clip")
    ordinal = np.cumsum(covered, dtype=np.int32) - covered
    where = corpus.place[matches.rows]
    inside = covered[where]
    sums = np.zeros((len(matches.terms), ordinal[-1] + 1), np.int32)
    sums[matches.term[inside], ordinal[where[inside]] + 1] = matches.counts[inside]
    sums = np.cumsum(sums, dtype=np.int32).reshape(sums.shape)
    widths = np.array(WINDOWS)[:, None]
    low = np.maximum(places - widths, corpus.first[places])
    high = np.minimum(places + widths, corpus.last[places]) + 1
    lengths = (corpus.length_sums[high] - corpus.length_sums[low]).astype(np.float32)
    counts = (sums.take(ordinal[high], axis=1) - sums.take(ordinal[low], axis=1)).astype(np.float32)
    means = np.float32(corpus.postings.mean_length) * (2 * widths + 1).astype(np.float32)
    found: Floats = np.einsum("t,twn->wn", matches.share, saturate(counts, lengths, means))
    return found


def _cosines(query: Query, corpus: Corpus, mask: NDArray[np.bool_] | None) -> Floats:
    cosine = np.zeros(len(corpus), np.float32)
    vectors = corpus.vectors
    if query.vector is None or not len(vectors):
        return cosine
    admitted = None if mask is None else mask[vectors.owners]
    if vectors.exact:
        which = np.arange(len(vectors))
        scores = vectors.all(query.vector)
        if len(vectors) == len(corpus):  # a vector each, in the order of the rows
            return scores
    elif admitted is not None and admitted.sum() <= CROSSOVER:
        which = np.flatnonzero(admitted)
        scores = vectors.some(query.vector, which)
    else:
        which = vectors.nearest(query.vector, _NEAREST * (1 if mask is None else 4))
        scores = vectors.some(query.vector, which)
    cosine[vectors.owners[which]] = -1.0
    np.maximum.at(cosine, vectors.owners[which], scores)
    return cosine


def _moments(query: Query, corpus: Corpus, cosine: Floats) -> tuple[float, float]:
    vectors = corpus.vectors
    if query.vector is None or not len(vectors):
        return 0.0, 1.0
    if not vectors.exact or len(vectors) != len(corpus):
        return vectors.spread(query.vector)
    mean = float(cosine.mean())
    return mean, math.sqrt(max(1e-9, float(np.vecdot(cosine, cosine)) / len(cosine) - mean**2))


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


def _rough(
    query: Query, corpus: Corpus, lexical: Floats, coverage: Floats, cosine: Floats, deviation: float,
    mask: NDArray[np.bool_] | None,
) -> Floats:  # fmt: skip
    """[corpus] by place: what the first model would say, from the features that cost little for every row."""
    slope = slopes("hybrid-own" if query.vector is not None and len(corpus.vectors) else "lexical-own")
    own = slope["words"] * lexical + slope["coverage"] * coverage
    own += (slope["meaning"] + slope["meaning z"] / deviation) * cosine
    if query.speakers:
        own += slope["speaker"] * said_by(query, corpus)
    if query.window is not None:
        own += slope["in window"] * in_window(query, corpus)
    if mask is not None:
        own[~mask] = -np.inf
    talk = (slope["talk 2"] + slope["talk 4"]) / _TALK * lexical
    if not corpus.ordered:
        own, talk, cosine = own[corpus.order], talk[corpus.order], cosine[corpus.order]
    score: Floats = own + talk
    for distance in range(1, _REACH + 1):
        score[distance:] += talk[:-distance]
        score[:-distance] += talk[distance:]
    score[1:] += slope["previous meaning"] * cosine[:-1]
    score[:-1] += slope["next meaning"] * cosine[1:]
    return score


def _promising(score: Floats, corpus: Corpus) -> NDArray[np.bool_]:
    """[corpus] by place: the best `_SEEDS` and the turns around them."""
    centres = top(score, _SEEDS)[:, None]
    near = centres + np.arange(-_REACH, _REACH + 1)
    chosen = np.zeros(len(corpus), bool)
    chosen[near[(near >= corpus.first[centres]) & (near <= corpus.last[centres])]] = True
    return chosen


def said_by(query: Query, corpus: Corpus, rows: Ints | slice = _ALL) -> Floats:
    """1 where the speaker is one whom the question names; 0.5 everywhere where it names none."""
    speakers = corpus.speaker[rows]
    if not query.speakers:
        return np.full(len(speakers), 0.5, np.float32)
    named = np.zeros(len(corpus.speakers), np.float32)
    named[list(query.speakers)] = 1
    found: Floats = named[speakers]
    return found


def in_window(query: Query, corpus: Corpus, rows: Ints | slice = _ALL) -> Floats:
    """1 where it was said in the time that the question names, or the week after."""
    at = corpus.at[rows]
    if query.window is None:
        return np.zeros(len(at), np.float32)
    # what happened is told on the day or soon after
    with np.errstate(invalid="ignore"):
        told = (at >= query.window.start) & (at < query.window.end + 7 * 86400)
    return told.astype(np.float32)


def top(scores: Floats, k: int) -> Ints:
    """Positions of the `k` highest, best first; of equals, the earlier."""
    if len(scores) <= k:
        return np.argsort(-scores, kind="stable")
    found = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
    return found[np.argsort(-scores[found], kind="stable")[:k]]
