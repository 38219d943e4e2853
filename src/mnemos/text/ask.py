"""Answering from memory: by extraction, or by a language model over the same hits.

Extraction gives a current fact where the question asks for one, a resolved date where it asks
when, and else the sentence that answers best. How sure it is comes from `recall.confidence`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnemos.core.clock import Time
from mnemos.text.encode.analyse import term_words, words
from mnemos.text.encode.chunk import sentences
from mnemos.text.encode.dates import format_span
from mnemos.text.encode.entities import canonical, entities
from mnemos.text.llm import LanguageModel
from mnemos.text.prompts.answer import answer_messages, read_reply
from mnemos.text.recall.query import Query
from mnemos.text.recall.search import Found, hit_of
from mnemos.text.recall.stated import named, sources
from mnemos.text.records import Record
from mnemos.text.results import NOT_IN_MEMORY, Answer, Hit
from mnemos.text.retention import note_use
from mnemos.text.store import Store
from mnemos.text.write import Encoder

THRESHOLD = 0.5
"""Confidence below which extraction says that memory does not hold the answer: more likely not there."""
_READ = 5
"""Hits whose sentences are considered."""
_CITED = 2
_FIRST_PERSON = frozenset({"i", "i'm", "i've", "me", "my", "we", "our", "us"})
_WHO = re.compile(r"\s*[Ww]ho\b(?!(?:['’]s|\s(?:is|was|are|were))(?:\s[^\W\d_a-z][\w'’.-]*)+\s*\?*\s*\Z)")
"""What the one who speaks may be the answer to: "Who plays the cello?", and not "Who is Ann?"."""
_NAME = re.compile(r"(?:names?|called|named)", re.IGNORECASE)
_ASKS_NAME = re.compile(r"\bnames? of\b|\b(?:called|named)\b|['’]s? names?\b", re.IGNORECASE)
_NAMED = re.compile(
    r"(?i:\bnames?(?:['’]s|\sis|\sare|\swas)|\bnamed|\bcall(?:ed|s)?(?:\s(?:him|her|it|them))?)\s[\"“'‘]?[^\W\d_a-z]"
)
_FACT = 0.9
"""Confidence in a fact that the question names by subject and relation."""


@dataclass(frozen=True, slots=True)
class _Found:
    text: str
    citations: tuple[str, ...]


def answer(
    question: str,
    found: Found,
    store: Store,
    encoder: Encoder,
    now: Time,
    llm: LanguageModel | None,
) -> Answer:
    """The answer to `question` from what recall `found` for it; see `Memory.ask`."""
    hits, query, sure = found.hits, found.query, found.confidence
    if not hits or query is None:
        return Answer(NOT_IN_MEMORY, tuple(hits), 0.0, False)
    fact = next((_Found(named(one)[0], (*sources(one)[-1:], one.id)) for one in found.facts), None)
    if llm is not None:
        reply = llm.chat(answer_messages(question, hits))
        text, cited = read_reply(reply.text, hits)
        answered = Answer(text if cited else NOT_IN_MEMORY, tuple(hits), sure, bool(cited), cited, reply.tokens)
    elif fact is not None:
        answered = Answer(fact.text, _with_sources(hits, fact, store), max(sure, _FACT), True, fact.citations)
    elif sure < THRESHOLD or (best := extract(question, query, hits, store, encoder)) is None:
        answered = Answer(NOT_IN_MEMORY, tuple(hits), min(sure, THRESHOLD), False)
    else:
        answered = Answer(best.text, tuple(hits), sure, True, best.citations)
    if answered.citations:
        note_use(store, answered.citations, now)
    return answered


def extract(question: str, query: Query, hits: Sequence[Hit], store: Store, encoder: Encoder) -> _Found | None:
    """The sentence or date of the best hits that answers best, and where it stands; None where a name is asked for
    and none is given."""
    records = store.get([hit.id for hit in hits[:_READ]])
    if query.wants_time:
        dated = _date(hits[:_READ], records)
        if dated is not None:
            return dated
    pieces = [(hit, hit.text[a:b].strip()) for hit in hits[:_READ] for a, b in sentences(hit.text[:8000])]
    pieces = [(hit, piece) for hit, piece in pieces if not piece.endswith("?")] or pieces
    if _ASKS_NAME.search(question):
        pieces = [(hit, piece) for hit, piece in pieces if _names(question, query, piece)]
        if not pieces:
            return None
    fit = np.array([_overlap(query, piece) for _, piece in pieces])
    if encoder.embedder is not None and query.vector is not None:
        near = np.argsort(-fit, kind="stable")[:24]
        fit[near] += encoder.embedder.embed([pieces[n][1] for n in near]) @ query.vector
    odds = np.array([np.log(hit.score + 1e-6) - np.log1p(1e-6 - hit.score) for hit, _ in pieces])
    best = int(np.argmax(fit + 0.3 * odds))
    hit, piece = pieces[best]
    if _WHO.match(question) and not query.speakers and hit.speaker and _FIRST_PERSON & set(words(piece)):
        return _Found(hit.speaker, (hit.id,))
    return _Found(piece, (hit.id,))


def _names(question: str, query: Query, piece: str) -> bool:
    """Whether it names something that the question does not, and says so or speaks of what the question does."""
    known = {canonical(name) for name in (*entities(question), *words(question))}
    if all(not known.isdisjoint((canonical(name), *words(name))) for name in entities(piece)):
        return False
    topic = {term for term, word in query.terms.items() if not _NAME.fullmatch(word)}
    return _NAMED.search(piece) is not None or not topic.isdisjoint(term_words(piece))


def _overlap(query: Query, piece: str) -> float:
    if not query.terms:
        return 0.0
    return len(query.terms.keys() & term_words(piece).keys()) / len(query.terms)


def _date(hits: Sequence[Hit], records: dict[str, Record]) -> _Found | None:
    for hit in hits[:_CITED]:
        dates = records[hit.id].data.get("dates") if hit.id in records else None
        if dates:
            _, start, end = dates[0]
            return _Found(format_span((start, end)), (hit.id,))
    first = hits[0]
    if first.at is None:
        return None
    day = first.at - first.at % 86400
    return _Found(format_span((day, day + 86400)), (first.id,))


def _with_sources(hits: Sequence[Hit], found: _Found, store: Store) -> tuple[Hit, ...]:
    """`hits` with the turn that a fact was read from first, which recall may have ranked lower."""
    source, fact = found.citations[0], found.citations[-1]
    records = store.get([source, fact])
    if source not in records or fact not in records:
        return tuple(hits)
    record = records[source]
    known = next((hit for hit in hits if hit.id == source), None)
    first = known or hit_of(record, _FACT, (f"fact: {records[fact].text}, read from this",))
    return (first, *(hit for hit in hits if hit.id != source))
