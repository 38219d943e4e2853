"""From signals to an order: features, learned weights, and the reasons in words.

Two linear models, one after the other: the first scores a candidate by itself and the turns that
touch it, the second looks at the scores of its surroundings. The weights maximise the likelihood
of the evidence under a softmax over candidates (ListNet, Cao et al. 2007); `mnemos.bench.ranker`
makes `weights.json` from conversations with annotated evidence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.text.index.corpus import Corpus
from mnemos.text.recall.query import Query
from mnemos.text.recall.seed import Signals
from mnemos.text.recall.spread import NAMES as SPREAD
from mnemos.text.recall.spread import groups, spread

Floats = NDArray[np.float32]

FEATURES = (
    "words", "coverage", "talk 2", "talk 4", "speaker", "answers", "answers words", "asks", "length", "when dated",
    "dated", "in window", "meaning", "meaning z", "previous meaning", "next meaning", "session meaning",
    "answers meaning",
)  # fmt: skip
_DENSE = slice(12, 18)
_PAGE, _FRESH, _REPEAT = 10, 3, 0.3
"""Places that people look at, how many of them go to sessions not met yet, and the cost (log
odds, per log of hits before) of one more hit from the same session."""
_LONGEST = 60.0
"""Terms beyond which a longer text is no better evidence: the longest ordinary turns."""


@dataclass(frozen=True, slots=True)
class Linear:
    """`(x - mean) / scale @ weight + bias`."""

    mean: Floats
    scale: Floats
    weight: Floats
    bias: float = 0.0

    def __call__(self, x: Floats) -> Floats:
        """[n] scores of [n, features]."""
        return np.asarray((x - self.mean) / self.scale @ self.weight + np.float32(self.bias), np.float32)

    def parts(self, x: Floats) -> Floats:
        """[features] what each one contributes to the score of one row."""
        return np.asarray((x - self.mean) / self.scale * self.weight, np.float32)


@dataclass(frozen=True, slots=True)
class Ranked:
    """Candidates with their final scores, and what they came from."""

    scores: Floats
    """[n] log odds of being evidence, over `signals.rows`."""
    first: Floats
    """[n, len(FEATURES)]"""
    second: Floats
    """[n, len(SPREAD)]"""


def rank(query: Query, corpus: Corpus, signals: Signals, models: Mapping[str, Linear] | None = None) -> Ranked:
    """Score the candidates. `models` replaces the shipped weights (training does)."""
    kind = "hybrid" if query.vector is not None and len(corpus.vectors) else "lexical"
    models = models or weights()
    first = features(query, corpus, signals)
    own = models[f"{kind}-own"](first)
    second = spread(corpus, signals.rows, signals.places, own) if len(own) else np.empty((0, len(SPREAD)), np.float32)
    scores = models[f"{kind}-spread"](np.concatenate([first, second], axis=1))
    return Ranked(scores, first, second)


@lru_cache(maxsize=1)
def weights() -> dict[str, Linear]:
    """The shipped models: `hybrid-own`, `hybrid-spread`, `lexical-own`, `lexical-spread`."""
    data: dict[str, Any] = json.loads(resources.files(__package__).joinpath("weights.json").read_text())
    return {
        name: Linear(
            np.array(m["mean"], np.float32),
            np.array(m["scale"], np.float32),
            np.array(m["weight"], np.float32),
            m["bias"],
        )
        for name, m in data["models"].items()
    }


def diversify(scores: Floats, sessions: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The best `k` positions in order, not all from one session.

    Each further hit of a session costs a little, and the last three of the first ten places go to
    sessions that are not among them yet: evidence in one more session is worth more than the
    eighth hit of the same one (measured: session hit@10 0.950 to 0.971, recall@10 0.826 to 0.821).

    Args:
        scores: [n] log odds.
        sessions: [n] number of each candidate's session.
        k: how many.
    """
    best = np.argsort(-scores, kind="stable")[: 4 * max(k, _PAGE)]
    met: dict[int, int] = {}
    worth = np.empty(len(best))
    for n, session in enumerate(sessions[best].tolist()):
        worth[n] = scores[best[n]] - _REPEAT * np.log1p(met.get(session, 0))
        met[session] = met.get(session, 0) + 1
    order = best[np.argsort(-worth, kind="stable")]
    head = order[: _PAGE - _FRESH].tolist()
    seen = set(sessions[head].tolist())
    fresh: list[int] = []
    for position in order[_PAGE - _FRESH :].tolist():
        if len(fresh) == _FRESH:
            break
        if int(sessions[position]) not in seen:
            seen.add(int(sessions[position]))
            fresh.append(position)
    chosen = head + fresh
    taken = set(chosen)
    return np.array(chosen + [p for p in order.tolist() if p not in taken], np.int64)[:k]


def features(query: Query, corpus: Corpus, signals: Signals) -> Floats:
    """[n, len(FEATURES)] of the candidates; the dense ones are 0 without an embedder."""
    rows, places = signals.rows, signals.places
    before, after = _neighbour(corpus, places, -1), _neighbour(corpus, places, 1)
    answers = np.where(before >= 0, corpus.question[before], np.float32(0))
    lexical = signals.lexical[rows]
    columns = [
        lexical,
        signals.coverage[rows],
        *signals.windows,
        _speaker(query, corpus, rows),
        answers,
        answers * np.where(before >= 0, signals.lexical[before], np.float32(0)),
        corpus.question[rows],
        np.log1p(np.minimum(corpus.postings.lengths[rows], _LONGEST)),
        corpus.dated[rows] * np.float32(query.wants_time),
        corpus.dated[rows],
        _in_window(query, corpus, rows),
    ]
    if query.vector is not None and len(corpus.vectors):
        mean, deviation = signals.moments
        cosine = signals.cosine[rows]
        previous = np.where(before >= 0, signals.cosine[before], np.float32(mean))
        following = np.where(after >= 0, signals.cosine[after], np.float32(mean))
        columns += [
            cosine,
            np.clip((cosine - mean) / deviation, -3, 8),
            previous,
            following,
            _session_best(corpus, places, cosine),
            answers * previous,
        ]
    else:
        columns += [np.zeros(len(rows), np.float32)] * (_DENSE.stop - _DENSE.start)
    return np.stack(columns, axis=1).astype(np.float32) if len(rows) else np.empty((0, len(FEATURES)), np.float32)


def _neighbour(corpus: Corpus, places: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """[n] row of the turn `step` away in the same session; -1 where there is none."""
    there = np.clip(places + step, 0, max(0, len(corpus) - 1))
    same = (there == places + step) & (corpus.block[there] == corpus.block[places])
    return np.where(same, corpus.order[there], -1)


def _speaker(query: Query, corpus: Corpus, rows: NDArray[np.int64]) -> Floats:
    if not query.speakers:
        return np.full(len(rows), 0.5, np.float32)
    return np.isin(corpus.speaker[rows], query.speakers).astype(np.float32)


def _in_window(query: Query, corpus: Corpus, rows: NDArray[np.int64]) -> Floats:
    if query.window is None:
        return np.zeros(len(rows), np.float32)
    at = corpus.at[rows]
    # what happened is told on the day or soon after
    with np.errstate(invalid="ignore"):
        told = (at >= query.window.start) & (at < query.window.end + 7 * 86400)
    return told.astype(np.float32)


def _session_best(corpus: Corpus, places: NDArray[np.int64], cosine: Floats) -> Floats:
    """[n] mean of the three highest cosines in each candidate's session."""
    if not len(places):
        return cosine
    block = groups(corpus, places)
    order = np.lexsort((-cosine, block))
    starts = np.flatnonzero(np.concatenate([[True], np.diff(block[order]) > 0]))
    ordinal = np.arange(len(block)) - np.repeat(starts, np.diff(np.append(starts, len(block))))
    best = ordinal < 3
    sums = np.bincount(block[order][best], cosine[order][best])
    return np.asarray((sums / np.bincount(block[order][best]))[block], np.float32)


def reasons(
    query: Query, corpus: Corpus, signals: Signals, ranked: Ranked, n: int, refs: dict[int, str]
) -> tuple[str, ...]:
    """Why candidate `n` was found, in words.

    Args:
        refs: names for rows that a reason may point to (the other hits).
    """
    row = int(signals.rows[n])
    own = dict(zip(FEATURES, ranked.first[n].tolist(), strict=True))
    matched = [word for term, word in query.terms.items() if row in signals.postings[term].rows]
    found = []
    if matched:
        found.append("words: " + ", ".join(dict.fromkeys(matched)))
    if own["meaning z"] > 1.5:
        found.append(
            f"meaning: cosine {own['meaning']:.2f}, {own['meaning z']:.1f} deviations above this memory's mean"
        )
    if query.speakers and own["speaker"] == 1:
        found.append(f"speaker: said by {corpus.speakers.names[corpus.speaker[row]]}, whom the question names")
    if own["when dated"]:
        found.append("time: the question asks when, and this names a time")
    if own["in window"]:
        found.append("time: said within the time that the question names, or the week after")
    for step, word in ((-1, "next: follows"), (1, "next: comes before")):
        place = int(signals.places[n]) + step
        if 0 <= place < len(corpus) and corpus.block[place] == corpus.block[place - step]:
            near = int(corpus.order[place])
            if near in refs:
                found.append(f"{word} {refs[near]}")
    if own["answers"] and own["answers words"] > 0.2:
        found.append("next: answers a turn that asks in the question's words")
    shared = query.mentions & set(corpus.mentions[row].tolist())
    if shared and not matched:
        found.append("mentions: names the same thing as the question")
    if not found:
        found.append(
            "in: the talk around it is about the question" if own["talk 4"] > 0.1 else "nothing closer was stored"
        )
    return tuple(found)
