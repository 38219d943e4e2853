"""From signals to an order: features, learned weights, and the reasons in words.

Two linear models, one after the other: the first scores a candidate by itself and the turns that
touch it, the second looks at the scores of its surroundings. The weights maximise the likelihood
of the evidence under a softmax over candidates (ListNet, Cao et al. 2007); `mnemos.bench.ranker`
makes `weights.json` from conversations with annotated evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.text.index.corpus import Corpus
from mnemos.text.recall.model import FEATURES, Linear, weights
from mnemos.text.recall.query import Query
from mnemos.text.recall.seed import Signals, in_window, said_by, top
from mnemos.text.recall.spread import NAMES as SPREAD
from mnemos.text.recall.spread import spread

Floats = NDArray[np.float32]

_DENSE = slice(12, 18)
_PAGE, _FRESH, _REPEAT = 10, 3, 0.3
"""Places that people look at, how many of them go to sessions not met yet, and the cost (log
odds, per log of hits before) of one more hit from the same session."""
_LONGEST = 60.0
"""Terms beyond which a longer text is no better evidence: the longest ordinary turns."""


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
    kind = "hybrid" if signals.dense else "lexical"
    models = models or weights()
    first = features(query, corpus, signals)
    own = models[f"{kind}-own"](first)
    second = spread(corpus, signals, own) if len(own) else np.empty((0, len(SPREAD)), np.float32)
    scores = models[f"{kind}-spread"](np.concatenate([first, second], axis=1))
    return Ranked(scores, first, second)


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
    best = top(scores, 4 * max(k, _PAGE))
    met: dict[int, int] = {}
    worth = []
    for score, session in zip(scores[best].tolist(), sessions[best].tolist(), strict=True):
        worth.append(score - _REPEAT * math.log1p(met.get(session, 0)))
        met[session] = met.get(session, 0) + 1
    order = best[np.argsort(-np.array(worth), kind="stable")]
    head, rest = order[: _PAGE - _FRESH].tolist(), order[_PAGE - _FRESH :].tolist()
    seen = set(sessions[head].tolist())
    fresh: list[int] = []
    for position, session in zip(rest, sessions[rest].tolist(), strict=True):
        if len(fresh) == _FRESH:
            break
        if session not in seen:
            seen.add(session)
            fresh.append(position)
    return np.array([*head, *fresh, *(p for p in rest if p not in fresh)], np.int64)[:k]


def features(query: Query, corpus: Corpus, signals: Signals) -> Floats:
    """[n, len(FEATURES)] of the candidates; the dense ones are 0 without an embedder."""
    rows = signals.rows
    before, after = corpus.before[rows], corpus.after[rows]
    answers = corpus.answers[rows]
    lexical = signals.lexical[rows]
    columns = [
        lexical,
        signals.coverage[rows],
        *signals.windows,
        said_by(query, corpus, rows),
        answers,
        answers * signals.lexical[before],
        corpus.question[rows],
        np.log1p(np.minimum(corpus.postings.lengths[rows], _LONGEST)),
        corpus.dated[rows] * np.float32(query.wants_time),
        corpus.dated[rows],
        in_window(query, corpus, rows),
    ]
    if signals.dense:
        mean, deviation = signals.moments
        cosine = signals.cosine[rows]
        previous = np.where(before >= 0, signals.cosine[before], np.float32(mean))
        following = np.where(after >= 0, signals.cosine[after], np.float32(mean))
        columns += [
            cosine,
            np.clip((cosine - mean) / deviation, -3, 8),
            previous,
            following,
            _session_best(signals.session, cosine),
            answers * previous,
        ]
    else:
        columns += [np.zeros(len(rows), np.float32)] * (_DENSE.stop - _DENSE.start)
    return np.array(columns, np.float32).T


def _session_best(session: NDArray[np.int64], cosine: Floats) -> Floats:
    """[n] mean of the three highest cosines in each candidate's session."""
    # sorted by session, and within it by cosine, which never reaches from one to the next
    apart = 4.0 * session
    falling = apart - np.sort(apart - cosine)
    sizes = np.bincount(session)
    high = np.arange(len(session)) - (np.cumsum(sizes) - sizes)[session] < 3
    return np.asarray((np.bincount(session[high], falling[high]) / np.minimum(sizes, 3))[session], np.float32)


def reasons(
    query: Query, corpus: Corpus, signals: Signals, ranked: Ranked, chosen: NDArray[np.int64], refs: dict[int, str]
) -> list[tuple[str, ...]]:
    """Why each of the `chosen` candidates was found, in words.

    Args:
        refs: names for rows that a reason may point to (the other hits).
    """
    words: dict[int, list[str]] = {row: [] for row in signals.rows[chosen].tolist()}
    matches = signals.matches
    shown = np.zeros(len(corpus), bool)
    shown[signals.rows[chosen]] = True
    which = shown[matches.rows]
    for row, term in zip(matches.rows[which].tolist(), matches.term[which].tolist(), strict=True):
        words[row].append(query.terms[matches.terms[term]])
    return [
        _reasons(query, corpus, dict(zip(FEATURES, own, strict=True)), row, words[row], refs)
        for row, own in zip(words, ranked.first[chosen].tolist(), strict=True)
    ]


def _reasons(
    query: Query, corpus: Corpus, own: dict[str, float], row: int, matched: list[str], refs: dict[int, str]
) -> tuple[str, ...]:
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
    place = int(corpus.place[row])
    for near, word in ((place - 1, "next: follows"), (place + 1, "next: comes before")):
        if corpus.first[place] <= near <= corpus.last[place] and (other := int(corpus.order[near])) in refs:
            found.append(f"{word} {refs[other]}")
    if own["answers"] and own["answers words"] > 0.2:
        found.append("next: answers a turn that asks in the question's words")
    if not matched and not query.mentions().isdisjoint(corpus.mentions[row].tolist()):
        found.append("mentions: names the same thing as the question")
    if not found:
        found.append(
            "in: the talk around it is about the question" if own["talk 4"] > 0.1 else "nothing closer was stored"
        )
    return tuple(found)
