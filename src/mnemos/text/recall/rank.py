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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.text.encode.alike import neighbours
from mnemos.text.encode.analyse import content_words
from mnemos.text.index.corpus import Corpus
from mnemos.text.recall.model import FEATURES, Linear, weights
from mnemos.text.recall.query import Query
from mnemos.text.recall.seed import Signals, in_window, said_by, top
from mnemos.text.recall.spread import NAMES as SPREAD
from mnemos.text.recall.spread import spread

Floats = NDArray[np.float32]

_DENSE = 7
"""Features that need an embedder."""
_PAGE, _FRESH, _REPEAT = 10, 3, 0.3
"""Places that people look at, how many of them go to sessions not met yet, and the cost (log
odds, per log of hits before) of one more hit from the same session."""
_LONGEST = 60
"""Terms beyond which a longer text is no better evidence: the longest ordinary turns."""
_MANY = 5
"""Mentions beyond which one more means nothing."""
_LOG = np.log1p(np.arange(_LONGEST + 1), dtype=np.float32)
_DAY, _ON_THE_DAY = 86400.0, 2.0
"""Log odds of what was said on the very day that a question names. (MemoryBank's questions about a day: it is in the
first three hits of 91 % without, of all with it; LoCoMo: MRR +.002, recall unchanged.)"""
_STATED = 6.0
"""Log odds of what states a fact that the question rests on. (Two hundred people who moved, all in one memory: what
tells the present town is the first hit of all, see the claim `agent_memory_peers`; in trials of none without it, of a
quarter with 2.)"""
_ALIKE = 0.35
"""Likeness from which a word is named as one that stands for another."""
_QUOTED = 6
"""Words that a reason quotes of a hit beside it."""
UNEXPLAINED = "nothing closer was stored"
"""The reason where there is no other."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Candidates with their final scores, and what they came from."""

    scores: Floats
    """[n] log odds of being evidence, over `signals.rows`."""
    first: Floats
    """[n, len(FEATURES)]"""
    second: Floats
    """[n, len(SPREAD)]"""
    more: Mapping[str, Floats]
    """[n] what else was added to the scores, by name: what no weights are learned for, since few questions have it."""


def rank(query: Query, corpus: Corpus, signals: Signals, models: Mapping[str, Linear] | None = None) -> Ranked:
    """Score the candidates. `models` replaces the shipped weights (training does)."""
    models = models or weights()
    first = features(query, corpus, signals)
    own = models[f"{signals.kind}-own"](first)
    second = spread(corpus, signals, own) if len(own) else np.empty((0, len(SPREAD)), np.float32)
    scores = models[f"{signals.kind}-spread"](first, second)
    more = _more(query, corpus, signals)
    for added in more.values():
        scores = scores + added
    return Ranked(scores, first, second, more)


def _more(query: Query, corpus: Corpus, signals: Signals) -> dict[str, Floats]:
    found, window = {}, query.window
    if window is not None and window.end - window.start <= _DAY:
        at = corpus.at[signals.rows]
        found["on the day"] = np.float32(_ON_THE_DAY) * ((at >= window.start) & (at < window.end))
    if query.stated:
        found["states the fact"] = np.float32(_STATED) * np.isin(signals.rows, list(query.stated))
    return found


def diversify(scores: Floats, sessions: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The best `k` positions in order, not all from one session.

    Each further hit of a session costs a little, and the last three of the first ten places go to
    sessions that are not among them yet: evidence in one more session is worth more than the
    eighth hit of the same one (measured: session hit@10 0.954 to 0.979, recall@10 0.836 to 0.834).

    Args:
        scores: [n] log odds.
        sessions: [n] number of each candidate's session.
        k: how many.
    """
    best = top(scores, 4 * max(k, _PAGE))
    own = sessions[best].tolist()
    worth, met = scores[best].tolist(), dict.fromkeys(own, 0)
    for n, session in enumerate(own):
        if before := met[session]:
            worth[n] -= _REPEAT * math.log1p(before)
        met[session] = before + 1
    order = sorted(range(len(worth)), key=worth.__getitem__, reverse=True)
    head, rest = order[: _PAGE - _FRESH], order[_PAGE - _FRESH :]
    seen = {own[n] for n in head}
    fresh: list[int] = []
    for n in rest:
        if len(fresh) == _FRESH:
            break
        if own[n] not in seen:
            seen.add(own[n])
            fresh.append(n)
    return best[[*head, *fresh, *(n for n in rest if n not in fresh)][:k]]


def features(query: Query, corpus: Corpus, signals: Signals) -> Floats:
    """[n, len(FEATURES)] of the candidates; the dense ones are 0 without an embedder."""
    rows = signals.rows
    before, after = corpus.before[rows], corpus.after[rows]
    answers, dated = corpus.answers[rows], corpus.dated[rows]
    columns = [
        signals.lexical[rows],
        signals.coverage[rows],
        signals.alike[rows],
        *signals.windows,
        said_by(query, corpus, rows),
        answers,
        answers * signals.lexical[before],
        corpus.question[rows],
        _LOG[np.minimum(corpus.postings.lengths[rows], _LONGEST).astype(np.int64)],
        _LOG[np.minimum(corpus.mention_starts[rows + 1] - corpus.mention_starts[rows], _MANY)],
        dated if query.wants_time else np.zeros_like(dated),
        dated,
        in_window(query, corpus, rows),
        _place(signals.windows[-1]),
    ]
    if signals.kind != "lexical":
        mean, deviation = signals.moments
        cosine = signals.cosine[rows]
        previous = np.where(before >= 0, signals.cosine[before], np.float32(mean))
        following = np.where(after >= 0, signals.cosine[after], np.float32(mean))
        columns += [
            cosine,
            np.minimum(np.maximum((cosine - mean) / deviation, -3), 8),
            previous,
            following,
            _session_best(signals.session, cosine),
            answers * previous,
            _place(cosine),
        ]
    else:
        columns += [np.zeros(len(rows), np.float32)] * _DENSE
    return np.concatenate(columns, dtype=np.float32).reshape(len(columns), -1).T


def _place(signal: Floats) -> Floats:
    """[n] log of each candidate's place by a signal, from 0; equals share the mean of theirs."""
    order = np.argsort(-signal)
    falling = signal[order]
    edge = np.ones(len(signal) + 1, bool)
    np.not_equal(falling[1:], falling[:-1], out=edge[1:-1])
    edges = np.flatnonzero(edge)
    starts, ends = edges[:-1], edges[1:]
    places = np.empty(len(signal), np.float32)
    places[order] = np.log1p(np.float32(0.5) * (starts + ends - 1), dtype=np.float32).repeat(ends - starts)
    return places


def _session_best(session: NDArray[np.int64], cosine: Floats) -> Floats:
    """[n] mean of the three highest cosines in each candidate's session."""
    # sorted by session, and within it by cosine, which never reaches from one to the next
    apart = 4.0 * session
    falling = apart - np.sort(apart - cosine)
    sizes = np.bincount(session)
    starts = sizes.cumsum() - sizes
    high = np.flatnonzero(np.arange(len(session)) - starts[session] < 3)
    best = np.bincount(session[high], falling[high]) / np.minimum(sizes, 3)
    return np.asarray(best[session], np.float32)


def reasons(
    query: Query,
    corpus: Corpus,
    signals: Signals,
    ranked: Ranked,
    chosen: NDArray[np.int64],
    bodies: Mapping[int, Mapping[str, Any]],
) -> list[tuple[str, ...]]:
    """Why each of the `chosen` candidates was found, in words.

    Args:
        bodies: by row, the records that a reason may point to (the other hits).
    """
    rows = signals.rows[chosen]
    words: dict[int, list[str]] = {row: [] for row in rows.tolist()}
    matches = signals.matches
    shown = np.zeros(len(corpus), bool)
    shown[rows] = True
    which = np.flatnonzero(shown[matches.rows])
    for row, term in zip(matches.rows[which].tolist(), matches.term[which].tolist(), strict=True):
        words[row].append(query.terms[matches.terms[term]])
    named = frozenset() if all(words.values()) else query.mentions()
    own = dict(zip(FEATURES, ranked.first[chosen].T.tolist(), strict=True))
    near = {} if all(words.values()) else _near(query)
    speakers = corpus.speaker[rows].tolist()
    before, after = corpus.before[rows].tolist(), corpus.after[rows].tolist()
    found = []
    for n, (row, matched) in enumerate(words.items()):
        why = []
        if row in query.stated:
            why.append(f"fact: {query.stated[row]}, read from this")
        if matched:
            why.append("words: " + ", ".join(dict.fromkeys(matched)))
        elif row in bodies and (others := _in_other_words(near, corpus.terms[row], bodies[row]["text"])):
            why.append("alike: " + ", ".join(f"{said} for {asked}" for asked, said in others.items()))
        if (apart := own["meaning z"][n]) > 1.5:
            why.append(f"meaning: cosine {own['meaning'][n]:.2f}, {apart:.1f} deviations above this memory's mean")
        if query.speakers and own["speaker"][n] == 1:
            why.append(f"speaker: said by {corpus.speakers.names[speakers[n]]}, whom the question names")
        if own["when dated"][n]:
            why.append("time: the question asks when, and this names a time")
        if own["in window"][n]:
            why.append("time: said within the time that the question names, or the week after")
        if before[n] in bodies:
            why.append(f"next: follows {_quoted(bodies[before[n]])}")
        if after[n] in bodies:
            why.append(f"next: comes before {_quoted(bodies[after[n]])}")
        if own["answers"][n] and own["answers words"][n] > 0.2:
            why.append("next: answers a turn that asks in the question's words")
        if not matched and not named.isdisjoint(corpus.mentions[row].tolist()):
            why.append("mentions: names the same thing as the question")
        if not why and own["talk 4"][n] > 0.1:
            why.append("in: the talk around it is about the question")
        found.append(tuple(why) or (UNEXPLAINED,))
    return found


def _near(query: Query) -> dict[int, list[tuple[str, float]]]:
    """By hashed stem, the words of a question that it may stand for, and how well."""
    found: dict[int, list[tuple[str, float]]] = {}
    asked, near = [*query.terms.values()], neighbours(tuple(query.terms))
    close = near.likeness >= _ALIKE
    for of, term, likeness in zip(*(part[close].tolist() for part in near), strict=True):
        found.setdefault(term, []).append((asked[of], likeness))
    return found


def _in_other_words(
    near: Mapping[int, list[tuple[str, float]]], terms: NDArray[np.uint32], text: str
) -> dict[str, str]:
    """By word of the question, the likest that a text has."""
    best: dict[str, tuple[float, int]] = {}
    for place, term in enumerate(terms.tolist()):
        for word, likeness in near.get(term, ()):
            best[word] = max(best.get(word, (0.0, 0)), (likeness, place))
    spelled = content_words(text) if best else []
    # a file whose terms were read by other rules may have other places
    return {word: spelled[place] for word, (_, place) in best.items() if place < len(spelled)}


def _quoted(body: Mapping[str, Any]) -> str:
    words, speaker = body["text"].split(maxsplit=_QUOTED), body.get("speaker")
    short = " ".join(words[:_QUOTED]) + (" …" if len(words) > _QUOTED else "")
    return f'{speaker}: "{short}"' if speaker else f'"{short}"'
