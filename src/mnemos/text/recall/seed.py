"""Where recall starts: which records answer to the words, the meaning, the speaker or the time.

Every signal is put on a scale of its own that does not depend on how much is stored (BM25 as the
share of the question's idf mass, cosines beside their z-score in this memory), so that one set of
weights serves a memory of ten records and of a hundred thousand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.text.encode.alike import neighbours
from mnemos.text.index.corpus import Corpus
from mnemos.text.index.lexical import Matches, saturate
from mnemos.text.index.vectors import CROSSOVER
from mnemos.text.recall.model import kind_of, slopes
from mnemos.text.recall.query import Query

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

EVERYTHING = 4096
"""Rows up to which every record is a candidate."""
_SEEDS = 64
"""Rows of a larger memory that a rough score puts forward, at least. (Five LoCoMo conversations and 10,000 other turns
in one memory, all rows as candidates: recall@20 .881; these and their neighbours: .885.)"""
_LIKELY = 2
"""Times as many have their rough score made again with an exact cosine."""
_NEAREST = 96
"""Vectors that the approximate index is asked for."""
_TALK = 2.5
"""What the sum of the word scores of five turns is divided by, to stand for the score of their stretch."""
_REACH = 2
"""Turns to either side of a seed that become candidates too."""
_SAID, _SAID_OF = (0.06, 0.09), 32
"""Mean and deviation of what rows say of a question (LoCoMo: .05 to .07, .08 to .11), and the rows they stand for."""
_REWORDED = 12
"""Words whose neighbours are looked for, the rarest: more than questions have; a whole text as a query has enough."""
_FEW = 8
"""One row in so many is few: fewer are added one by one, more by way of all rows."""
_FAR = 8
"""Deviations beyond which more of them say no more."""
_STRIDE = 7
"""One of how many scores stands for all when the highest are sought; odd, since speakers take turns."""
_ALL = slice(None)
WINDOWS = (2, 4)
"""Turns to either side that the window scores look at."""
_WIDTHS = np.array(WINDOWS)[:, None]


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
    alike: Floats
    """[corpus] the same with words that mean nearly the same, in deviations from this memory's mean."""
    heard: Floats
    """[terms of the question] how nearly this memory ever said it: 1 where it did, else the best likeness."""
    windows: Floats
    """[len(WINDOWS), n] BM25 of the stretch of talk around each candidate."""
    cosine: Floats
    """[corpus] cosine with the question; in a larger memory rough, or 0, away from the likeliest candidates."""
    moments: tuple[float, float]
    """Mean and deviation of the cosine over the memory."""
    matches: Matches
    """Where the question's words occur."""
    kind: str
    """Which models score this (`kind_of`); "lexical" where there were no vectors to compare."""


def seed(query: Query, corpus: Corpus, mask: NDArray[np.bool_] | None, k: int = 10) -> Signals:
    """Candidates for `query` among the rows of `corpus` that `mask` admits, more than `k`, with their signals."""
    matches = corpus.postings.matches(query.terms)
    lexical, coverage = _bm25(corpus, matches)
    alike, heard = _alike(corpus, matches, coverage)
    dense = query.vector is not None and len(corpus.vectors) > 0
    kind = kind_of(corpus.model if dense else "")
    everything = len(corpus) <= EVERYTHING
    cosine = _cosines(query, corpus, mask, everything)
    whole = everything and corpus.vectors.exact
    moments = _moments(query, corpus, cosine, whole)
    if everything:
        places = np.arange(len(corpus))
    else:
        slope, seeds = slopes(f"{kind}-rough"), max(_SEEDS, k)
        by_meaning = np.float32(slope["meaning"] + slope["meaning z"] / moments[1])
        score = _rough(query, corpus, lexical, coverage, alike, cosine, slope, by_meaning, mask)
        if dense and corpus.vectors.exact:
            likely = _highest(score, _LIKELY * seeds)
            rows = corpus.order[likely]
            before = cosine[rows]
            _fill_cosines(query, corpus, cosine, likely)
            centres = likely[_highest(score[likely] + by_meaning * (cosine[rows] - before), seeds)]
        else:
            centres = _highest(score, seeds)
        told = corpus.place[list(query.stated)]
        places = _with_neighbours(np.concatenate([centres, told]), corpus)
    if mask is not None:
        places = places[mask[corpus.order[places]]]
    if dense and not corpus.vectors.exact:
        _fill_cosines(query, corpus, cosine, places)
    windows = _windows(corpus, matches, places)
    blocks = corpus.block[places]
    session = np.zeros(len(places), np.int64)
    np.cumsum(blocks[1:] != blocks[:-1], out=session[1:])
    return Signals(
        corpus.order[places], places, session, lexical, coverage, alike, heard, windows, cosine, moments, matches, kind
    )  # fmt: skip


def _bm25(corpus: Corpus, matches: Matches) -> tuple[Floats, Floats]:
    rows, share = matches.rows, matches.share[matches.term]
    weight = share * saturate(matches.counts, corpus.postings.lengths[rows], corpus.postings.mean_length)
    lexical, coverage = (np.bincount(rows, values, len(corpus)) for values in (weight, share))
    return lexical.astype(np.float32), coverage.astype(np.float32)


def _alike(corpus: Corpus, matches: Matches, coverage: Floats) -> tuple[Floats, Floats]:
    """(`Signals.alike`, `Signals.heard`): a row says as much of a word as the likest of its words is like it."""
    rare = np.argsort(-matches.share, kind="stable")[:_REWORDED].tolist()
    near = neighbours([matches.terms[n] for n in rare])
    of = np.searchsorted(near.of, np.arange(len(rare) + 1))
    itself = np.searchsorted(matches.term, np.arange(len(matches.terms) + 1)).tolist()
    said, best = coverage.copy(), np.empty(len(corpus), np.float32)
    heard = (np.diff(itself) > 0).astype(np.float32)
    for rows, sizes in corpus.postings.rows(near.terms):
        likeness = near.likeness.repeat(sizes)
        ends = np.append(0, sizes.cumsum())[of].tolist()
        for n, start, end in zip(rare, ends, ends[1:], strict=False):
            if start == end:
                continue
            mine, how = rows[start:end], likeness[start:end]
            dense = _FEW * len(mine) > len(said)
            if dense:
                best.fill(0)
            best[mine] = how  # the likest come last, and what is assigned last stays
            best[matches.rows[itself[n] : itself[n + 1]]] = 0  # counted in the coverage
            if dense:
                said += matches.share[n] * best
            else:
                said[mine] += matches.share[n] * best[mine]  # once for each row, however often it is among them
            heard[n] = max(heard[n], how[-1])
    mean, deviation = _usual(said if corpus.ordered else said[corpus.order])
    said -= np.float32(mean)
    said /= np.float32(deviation)
    return np.minimum(said, np.float32(_FAR), out=said), heard


def _usual(said: Floats) -> tuple[float, float]:
    """Mean and deviation over a memory and `_SAID_OF` rows of the usual kind: two rows alone have no statistics."""
    n = len(said) + _SAID_OF
    mean = (float(said.sum()) + _SAID_OF * _SAID[0]) / n
    square = (float(np.vecdot(said, said)) + _SAID_OF * (_SAID[0] ** 2 + _SAID[1] ** 2)) / n
    return mean, math.sqrt(square - mean**2)


def _windows(corpus: Corpus, matches: Matches, places: Ints) -> Floats:
    # counts and lengths of a stretch are differences of running sums, so no stretch is ever scored
    # alone; the sums run over those places only that some stretch covers
    covered = np.flatnonzero(_around(corpus, places, max(WINDOWS)))
    ordinal = np.full(len(corpus), -1)
    ordinal[covered] = np.arange(len(covered))
    where = ordinal[corpus.place[matches.rows]]
    inside = np.flatnonzero(where >= 0)
    sums = np.zeros((len(matches.terms), len(covered) + 1), np.int32)
    sums[matches.term[inside], where[inside] + 1] = matches.counts[inside]
    sums = np.cumsum(sums, dtype=np.int32).reshape(sums.shape)
    widths = _WIDTHS
    low = np.maximum(places - widths, corpus.first[places])
    high = np.minimum(places + widths, corpus.last[places])
    lengths = (corpus.length_sums[high + 1] - corpus.length_sums[low]).astype(np.float32)
    counts = (sums.take(ordinal[high] + 1, axis=1) - sums.take(ordinal[low], axis=1)).astype(np.float32)
    means = np.float32(corpus.postings.mean_length) * (2 * widths + 1).astype(np.float32)
    found: Floats = np.einsum("t,twn->wn", matches.share, saturate(counts, lengths, means))
    return found


def _around(corpus: Corpus, places: Ints, reach: int) -> NDArray[np.bool_]:
    """[corpus] by place: `places`, and those up to `reach` from one of them."""
    here = np.zeros(len(corpus), bool)
    here[places] = True
    near = here.copy()
    for distance in range(1, reach + 1):
        near[distance:] |= here[:-distance]
        near[:-distance] |= here[distance:]
    return near


def _cosines(query: Query, corpus: Corpus, mask: NDArray[np.bool_] | None, everything: bool) -> Floats:
    vectors = corpus.vectors
    if query.vector is None or not len(vectors):
        return np.zeros(len(corpus), np.float32)
    if vectors.exact:
        return _by_row(corpus, _ALL, vectors.all(query.vector) if everything else vectors.rough(query.vector))
    admitted = None if mask is None else mask[vectors.owners]
    if admitted is not None and admitted.sum() <= CROSSOVER:
        which = np.flatnonzero(admitted)
    else:
        which = vectors.nearest(query.vector, _NEAREST * (1 if mask is None else 4))
    return _by_row(corpus, which, vectors.some(query.vector, which))


def _by_row(corpus: Corpus, which: Ints | slice, scores: Floats) -> Floats:
    """[corpus] the best of the scores of each row's vectors; 0 where `which` has none of it."""
    if which is _ALL and corpus.aligned:
        return scores
    cosine, owners = np.zeros(len(corpus), np.float32), corpus.vectors.owners[which]
    cosine[owners] = -1.0
    np.maximum.at(cosine, owners, scores)
    return cosine


def _moments(query: Query, corpus: Corpus, cosine: Floats, whole: bool) -> tuple[float, float]:
    if query.vector is None or not len(corpus.vectors):
        return 0.0, 1.0
    if not whole or not corpus.aligned:
        return corpus.vectors.spread(query.vector)
    mean = float(cosine.mean())
    return mean, math.sqrt(max(1e-9, float(np.vecdot(cosine, cosine)) / len(cosine) - mean**2))


def _fill_cosines(query: Query, corpus: Corpus, cosine: Floats, places: Ints) -> None:
    assert query.vector is not None
    # of the turns beside them a rough cosine will do, if there is one
    around = places if corpus.vectors.exact else np.flatnonzero(_around(corpus, places, 1))
    which = rows = corpus.order[around]
    if not corpus.aligned:
        wanted = np.zeros(len(corpus), bool)
        wanted[rows] = True
        which = np.flatnonzero(wanted[corpus.vectors.owners])
        rows = corpus.vectors.owners[which]
    cosine[rows] = -1.0
    np.maximum.at(cosine, rows, corpus.vectors.some(query.vector, which))


def _rough(
    query: Query, corpus: Corpus, lexical: Floats, coverage: Floats, alike: Floats, cosine: Floats,
    slope: dict[str, float], by_meaning: np.float32, mask: NDArray[np.bool_] | None,
) -> Floats:  # fmt: skip
    """[corpus] by place: what the rough model says, from the features that cost little for every row."""
    per_talk = (slope["talk 2"] + slope["talk 4"]) / _TALK
    score = (slope["words"] + per_talk) * lexical
    score += slope["coverage"] * coverage
    score += slope["alike"] * alike
    score += by_meaning * cosine
    for code in query.speakers:
        score += np.float32(slope["speaker"]) * (corpus.speaker == code)
    if query.window is not None:
        score += slope["in window"] * in_window(query, corpus)
    if mask is not None:
        score[~mask] = -np.inf
    talk = per_talk * lexical
    if not corpus.ordered:
        score, talk, cosine = score[corpus.order], talk[corpus.order], cosine[corpus.order]
    for distance in range(1, _REACH + 1):
        score[distance:] += talk[:-distance]
        score[:-distance] += talk[distance:]
    score[1:] += slope["previous meaning"] * cosine[:-1]
    score[:-1] += slope["next meaning"] * cosine[1:]
    return score


def _with_neighbours(places: Ints, corpus: Corpus) -> Ints:
    """`places`, ascending, and the turns around them."""
    centres = places[:, None]
    near = centres + np.arange(-_REACH, _REACH + 1)
    chosen = np.zeros(len(corpus), bool)
    chosen[np.minimum(np.maximum(near, corpus.first[centres]), corpus.last[centres])] = True
    return np.flatnonzero(chosen)


def _highest(scores: Floats, k: int) -> Ints:
    """Positions of the `k` highest, in no order."""
    # above a floor taken from every seventh score lie twice as many as are wanted, give or take; to look
    # among those alone is six times faster than among all
    some = scores[::_STRIDE]
    at = max(0, len(some) - 2 * k // _STRIDE)
    likely = np.flatnonzero(scores >= np.partition(some, at)[at]) if 0 < at < len(some) else np.arange(len(scores))
    if len(likely) < k:
        likely = np.arange(len(scores))
    return likely[np.argpartition(-scores[likely], min(k, len(likely)) - 1)[:k]]


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


def top(scores: NDArray[np.floating[Any]], k: int) -> Ints:
    """Positions of the `k` highest, best first; of equals, the earlier."""
    if len(scores) <= k:
        return np.argsort(-scores, kind="stable")
    found = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
    return found[np.argsort(-scores[found], kind="stable")[:k]]
