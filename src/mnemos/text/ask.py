"""Answering from memory: by extraction, or by a language model over the same hits.

Extraction gives a current fact where the question asks for one, a resolved date where it asks
when, and else the sentence that answers best. How sure it is comes from `recall.confidence`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Time
from mnemos.text.encode.analyse import term_words, words
from mnemos.text.encode.chunk import sentences, titled
from mnemos.text.encode.dates import find_dates, format_span
from mnemos.text.encode.entities import canonical, entities, unaccented
from mnemos.text.llm import LanguageModel
from mnemos.text.prompts.answer import answer_messages, read_reply
from mnemos.text.recall.query import Query
from mnemos.text.recall.search import Found, hit_of
from mnemos.text.recall.stated import named, sources
from mnemos.text.records import Kind, Record
from mnemos.text.results import NOT_IN_MEMORY, Answer, Hit
from mnemos.text.retention import note_use
from mnemos.text.store import Store
from mnemos.text.write import Encoder

THRESHOLD = 0.5
"""Confidence below which extraction says that memory does not hold the answer: more likely not there."""
_READ = 5
"""Hits whose sentences are considered."""
_COMPARED = 12
"""Sentences whose meaning is compared: those that share most words with the question. (24 answer the same.)"""
_LONGEST = 8000
"""Characters of a hit that are considered."""
_LEAD = 0.1
"""What the first sentence under a title is ahead of the others. (`benchmarks/answers.py`, before steps were declined:
82 % of one step with it, 83 % with twice as much, 69 % without, 33 % where titles were sentences too.)"""
_CITED = 2
_UNTOLD = 3
"""Words of a question that describes what it asks of, from which on a sentence without them is only a step towards the
answer. (`benchmarks/answers.py`: of 100 questions of several steps 74 are declined with it and 4 answered, without it
2 and 8; of one step 6 % and 80 %, 3 % and 82 %; of other passages 96 % are declined, and 87 %.)"""
_PRONOUN = re.compile(r"(?:he|she|it|they|his|her|its|their)\b", re.IGNORECASE)
_NESTED = re.compile(r"\b(?:the|an?) (?:[\w-]+ ){1,3}(?:of|that|which|who|whose|where|by)\b|\w['’]s \w+", re.IGNORECASE)
"""What is asked of something that is itself described: "the cluster where billing runs"."""
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


@dataclass(frozen=True, slots=True)
class _Sentence:
    hit: Hit
    text: str
    about: str
    """What it is about, where it need not say so itself."""
    lead: bool = False
    """Whether it is the first under a title: what it is, by whom, where."""

    @property
    def read(self) -> str:
        """The text behind what it is about."""
        return f"{self.about}: {self.text}" if self.about else self.text


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
    and none is given, or where documents know none of the names in the question or only a step towards the answer."""
    if hits[0].kind is Kind.PASSAGE and not _known(question, hits[:_READ]):
        return None
    if query.wants_time and hits[0].kind is not Kind.PASSAGE:
        said = _date(hits, store.get([hit.id for hit in hits[:_CITED]]))
        if said is not None:
            return said
    pieces = [piece for hit in hits[:_READ] for piece in _sentences(hit)]
    pieces = [one for one in pieces if not one.text.endswith("?")] or pieces
    answers = np.ones(len(pieces), np.bool_)
    if query.wants_time:  # a document's own date says when it was written, and nothing else
        answers = np.array([_overlap(query, one.read) > 0 and bool(find_dates(one.text, None)) for one in pieces])
    if _ASKS_NAME.search(question):
        answers = np.array([_names(question, query, one.text) for one in pieces])
        if not answers.any():
            return None
    worth = _worth(query, pieces, encoder)
    first = pieces[int(np.argmax(worth))]
    onward = answers & np.array([_goes_on(question, query, first, one) for one in pieces])
    among = next((some for some in (onward, answers) if some.any()), np.ones(len(pieces), np.bool_))
    best = pieces[int(np.argmax(np.where(among, worth, -np.inf)))]
    hit = best.hit
    if not onward.any() and _only_a_step(question, query, best):
        return None
    cited = (hit.id, first.hit.id) if onward.any() else (hit.id,)
    # of one whom the question names, something else is asked
    unnamed = hit.speaker and not query.speakers and not set(words(hit.speaker)) <= set(words(question))
    if unnamed and _WHO.match(question) and _FIRST_PERSON & set(words(best.text)):
        return _Found(hit.speaker, cited)
    if query.wants_time and (dates := find_dates(best.text, None)):
        return _Found(format_span((dates[0].start, dates[0].end)), cited)
    return _Found(" ".join(best.text.split()), cited)


def _known(question: str, hits: Sequence[Hit]) -> bool:
    """Whether a hit has one of the names that the question gives, if it gives any.

    (`benchmarks/answers.py`, before steps were declined: of questions about other passages 87 % were declined with it
    and 57 % without, of one step 3 % and 2 %.)
    """
    names = [set(words(unaccented(name))) for name in entities(question)]
    said = [set(words(unaccented(f"{hit.speaker} {hit.text}"))) for hit in hits]
    return not names or any(name <= one for name in names for one in said)


def _worth(query: Query, pieces: Sequence[_Sentence], encoder: Encoder) -> NDArray[np.float64]:
    """[n] how well each sentence goes with the question, by words, by meaning, and by the place of its hit."""
    fit = np.array([_overlap(query, one.read) for one in pieces])
    if encoder.embedder is not None and query.vector is not None:
        near = np.argsort(-fit, kind="stable")[:_COMPARED]
        fit[near] += encoder.embedder.embed([pieces[n].read for n in near]) @ query.vector
    odds = np.array([np.log(one.hit.score + 1e-6) - np.log1p(1e-6 - one.hit.score) for one in pieces])
    return np.asarray(fit + 0.3 * odds + _LEAD * np.array([one.lead for one in pieces]))


def _sentences(hit: Hit) -> list[_Sentence]:
    """Those of a hit. A passage's title says what they are about, and answers nothing itself; where there is none, a
    sentence of "she" or "it" is about what was named last."""
    title, body = titled(hit.text[:_LONGEST]) if hit.kind is Kind.PASSAGE else ("", hit.text[:_LONGEST])
    title, found, last = title.lstrip("# "), list[_Sentence](), ""
    for start, end in sentences(body):
        one = body[start:end].strip()
        about = title
        if not title and hit.kind is Kind.PASSAGE:
            last = last if _PRONOUN.match(one) else next(iter(entities(one)), last)
            about = last
        found.append(_Sentence(hit, one, about, bool(title) and not found))
    return found


def _goes_on(question: str, query: Query, first: _Sentence, then: _Sentence) -> bool:
    """Whether `then` is about what `first` names and the question describes, and says something else that is asked.

    (`benchmarks/answers.py`: 8 of 100 questions of several steps with it, 4 without; as many of one step.)
    """
    if not _NESTED.search(question):
        return False
    subject = " ".join(words(then.about))
    named, asked_of = (f" {' '.join(words(text))} " for text in (first.text, question))
    if not subject or then.hit is first.hit or f" {subject} " not in named or f" {subject} " in asked_of:
        return False
    asked = query.terms.keys()
    return bool((asked & term_words(then.text).keys()) - term_words(first.read).keys())


def _only_a_step(question: str, query: Query, best: _Sentence) -> bool:
    """Whether it leads to what a document's question asks of something that it describes, and does not tell it."""
    untold = query.terms.keys() - term_words(best.read).keys()
    return best.hit.kind is Kind.PASSAGE and len(untold) >= _UNTOLD and _NESTED.search(question) is not None


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
