"""CAIM: short dated thoughts under tags, drawn from sessions afterwards, and looked up only when they are needed.

Three modules. The *controller* decides whether a message needs long-term memory (`Gate`, `Controller`, in
`caim_gate.py`). *Retrieval* chooses tags, fetches what carries them, and keeps what fits in subject and in time.
*Post-thinking* draws thoughts from what was said, and reviews them: what says the same becomes one row, and what is
out of date is superseded, never dropped. Its queue is the memory's own: records without a trace wait, whatever
happened to the session that they come from; until then they are short-term memory, and are searched as they are.

Source: CAIM: Development and Evaluation of a Cognitive AI Memory Framework, 2025, modules 1 to 3. The paper leaves
every decision to a language model; the twin's rules and numbers are ours.
Four choices: structure = thoughts by tag and time; objective = "a key event, fact or preference", and its tags;
retention = review merges and supersedes; rule = one batch per session, then review.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from mnemos.core.catalogue import system
from mnemos.core.clock import Time, parse_time
from mnemos.core.errors import EndpointError, InvalidInput
from mnemos.core.spec import Spec
from mnemos.text.encode.entities import canonical, entities
from mnemos.text.encode.keywords import keywords
from mnemos.text.llm import BadReply
from mnemos.text.prompts import caim as prompts
from mnemos.text.recipes.base import Floats, Recipe, Sought
from mnemos.text.recipes.caim_thoughts import (
    LONGEST,
    Relation,
    Row,
    Thought,
    Thoughts,
    absolute,
    asked_interval,
    day_of,
    review,
    thought_id,
    thoughts_in,
    thoughts_of,
)
from mnemos.text.recipes.ontology import normal_tag, normal_tags
from mnemos.text.records import Kind, Record, Scope
from mnemos.text.results import Hit
from mnemos.text.store import Trace

THRESHOLD = 0.35
"""Score below which the twin's filter drops a thought."""
_TAGS = 3
_TAG_FLOOR = 0.25
_DRAWERS = 5
_GROUP = 64
"""Records that are thought over together."""
_CANDIDATES = 5
_ALIKE = 0.6
"""Cosine from which a language model is asked about two thoughts."""
_SHOWN = 40
"""Candidates that a language model filters."""
_HISTORY = re.compile(
    r"\b(?:used to|before|previous(?:ly)?|former(?:ly)?|ever|originally|at first|back then|in the past|old|history)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that retrieval looks at: a row of long-term memory, or a record that nobody thought over yet."""

    text: str
    source: str
    start: Time | None
    end: Time | None
    vector_score: float
    why: str
    score: float = 0.0
    in_time: float = 0.5


@system(
    "caim",
    title="CAIM: tagged thoughts and post-thinking",
    paper="CAIM: Development and Evaluation of a Cognitive AI Memory Framework for Long-Term Interaction",
    year=2025,
    wing="text",
    choices=Spec(
        structure="inductive thoughts by ontology tag and time, beside the running session",
        objective="whether something is a key event, fact or preference, and under which tags",
        retention="review merges what says the same and supersedes what is out of date",
        rule="a batch per session from a durable queue, then review",
    ),
    claim="dated thoughts with tags, a time filter and review answer current facts and questions about a day that "
    "dense search over turns cannot, with fewer false memories",
)
class CAIM(Recipe[Thoughts]):
    """Thoughts by tag and time.

    `search` returns at most k thoughts that pass the filter, and possibly none: then memory does not know. A hit has
    the id of the record that says it last. With a language model: two calls a search, and one a session to write and
    one for each thought that has to be compared.
    """

    name = "caim"
    threshold: ClassVar[float] = THRESHOLD

    # -- what it keeps -----------------------------------------------------------------------

    def empty(self) -> Thoughts:
        return Thoughts(self.embed)

    def change(self, index: Thoughts, added: Sequence[Trace], removed: Sequence[Trace]) -> None:
        for trace in removed:
            index.drop(trace)
        for trace in added:
            index.put(trace)

    def texts(self, trace: Trace) -> Sequence[str]:
        return [thought.text for thought in thoughts_in(trace)]

    # -- post-thinking -----------------------------------------------------------------------

    def derive(self, scope: Scope, records: Sequence[Record], index: Thoughts) -> Iterator[Sequence[Trace]]:
        """One trace for what is pending of each session, and for each record without one."""
        batch: list[Trace] = []
        size = 0
        for group in _sessions(records):
            batch.append(self._post_think(group, index, batch))
            size += len(group)
            if size >= _GROUP or self.parts.llm is not None:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _post_think(self, records: Sequence[Record], index: Thoughts, batch: Sequence[Trace]) -> Trace:
        thoughts, by = self._extended(records, index)
        vectors = self.embed([thought.text for thought in thoughts]) if thoughts else np.empty((0, 0), np.float32)
        thoughts = self._tagged(thoughts, vectors, index)
        told = self._reviewed(thoughts, vectors, index, batch)
        body = {"session": records[0].session, "thoughts": [asdict(t) for t in thoughts], "review": told}
        made = Trace(records[0].id, tuple(record.id for record in records), body, by)
        if not thoughts:
            return made
        return replace(made, vectors=vectors.astype(np.float16), model=self.parts.encoder.model)

    def _extended(self, records: Sequence[Record], index: Thoughts) -> tuple[list[Thought], str]:
        """Memory extension: the thoughts of a session, and who drew them."""
        llm = self.parts.llm
        if llm is not None:
            turns = [(r.speaker, r.text, r.at) for r in records]
            with suppress(BadReply):
                reply = llm.structured(prompts.extend_messages(turns, index.ontology.tags), prompts.NewThoughts)
                return _read_thoughts(reply, records), llm.model
        thoughts = {thought.id: thought for record in records for thought in thoughts_of(record)}
        return list(thoughts.values()), "local"

    def _tagged(self, thoughts: Sequence[Thought], vectors: Floats, index: Thoughts) -> list[Thought]:
        """`thoughts` with tags: the nearest of the ontology, or a new one where none is near."""
        if not thoughts:
            return []
        near = index.ontology.nearest(vectors, _TAGS, _TAG_FLOOR)
        return [
            thought if thought.tags else replace(thought, tags=tuple(tags) or _head(thought))
            for thought, tags in zip(thoughts, near, strict=True)
        ]

    def _reviewed(
        self, thoughts: Sequence[Thought], vectors: Floats, index: Thoughts, batch: Sequence[Trace]
    ) -> list[Relation]:
        """Memory review: each new thought against all that are there, and those before it."""
        others, table = index.every
        others, rows = list(others), [table] if len(table) else []
        for trace in batch:
            others += thoughts_in(trace)
            rows += [trace.vectors.astype(np.float32)] if trace.vectors is not None else []
        others += thoughts
        if not thoughts:
            return []
        table = np.concatenate([*rows, vectors])
        old = len(others) - len(thoughts)
        if self.parts.llm is not None:
            return self._asked_review(thoughts, vectors, others, table, old)
        return [
            relation
            for n, (thought, vector) in enumerate(zip(thoughts, vectors, strict=True))
            for relation in review(thought, vector, others[: old + n], table[: old + n])
        ]

    def _asked_review(
        self, thoughts: Sequence[Thought], vectors: Floats, others: Sequence[Thought], table: Floats, old: int
    ) -> list[Relation]:
        llm = self.parts.llm
        assert llm is not None
        shown: list[list[int]] = []
        for n in range(len(thoughts)):
            cosines = table[: old + n] @ vectors[n]
            best = np.argsort(-cosines, kind="stable")[:_CANDIDATES]
            shown.append([int(m) for m in best if cosines[m] >= _ALIKE and others[m].id != thoughts[n].id])
        asked = [n for n, places in enumerate(shown) if places]
        calls = [
            partial(
                llm.structured,
                prompts.review_messages(
                    (thoughts[n].text, thoughts[n].start), [(others[m].text, others[m].start) for m in shown[n]]
                ),
                prompts.Review,
            )
            for n in asked
        ]
        told: list[Relation] = []
        for n, reply in zip(asked, llm.map(calls), strict=True):
            near = [others[m] for m in shown[n]]
            if isinstance(reply, BadReply):
                told += review(thoughts[n], vectors[n], near, table[shown[n]])
            elif isinstance(reply, EndpointError):
                raise reply
            else:
                told += _read_review(reply, thoughts[n], near)
        return told

    # -- retrieval ---------------------------------------------------------------------------

    def seek(self, sought: Sought, index: Thoughts) -> list[Hit]:
        found, fallback = self.candidates(sought, index)
        kept = self.filtered(sought, found)
        lines: dict[str, list[Found]] = {}
        for one in kept:
            lines.setdefault(one.source, []).append(one)
        rows = [sought.row[id] for id in lines]
        best = [ones[0] for ones in lines.values()]
        how = ("no tag fits: the nearest thoughts",) if fallback else ()
        why = [(*(one.why for one in ones), *how) for ones in lines.values()]
        parts = [
            {"cosine": one.vector_score, "time": one.in_time, "fallback": float(fallback)} for one in best
        ]  # fmt: skip
        hits = self.hits(sought, rows, [one.score for one in best], why, parts)
        told = ["\n".join(dict.fromkeys(one.text for one in ones)) for ones in lines.values()]
        return [
            hit if hit.text == text else replace(hit, text=text, kind=Kind.SUMMARY)
            for hit, text in zip(hits, told, strict=True)
        ]

    def candidates(self, sought: Sought, index: Thoughts) -> tuple[list[Found], bool]:
        """What carries a chosen tag and may be seen, and what waits to be thought over; all of it, and True, where no
        chosen tag has anything."""
        rows, table = index.table
        seen = {row.thought.id for row in rows if sought.admits([row.thought.source])}
        history = _HISTORY.search(sought.text) is not None
        there = {row.thought.id for row in rows if row.thought.id in seen and (history or _current(row, seen))}
        fetched = index.tagged.fetch(self.drawers(sought, index)) & there
        cosines = table @ sought.vector if len(table) else ()
        found = [
            Found(row.thought.text, row.thought.source, row.thought.start, row.thought.end, float(cosine), _why(row))
            for row, cosine in zip(rows, cosines, strict=True)
            if row.thought.id in (fetched or there)
        ]
        return [*found, *self._unthought(sought, index)], bool(there) and not fetched

    def _unthought(self, sought: Sought, index: Thoughts) -> list[Found]:
        """Records that wait for post-thinking: short-term memory, searched as it is."""
        waiting = [id for id in sought.corpus.ids if not index.covered[id] and sought.admits([id])]
        if not waiting:
            return []
        cosines, known = sought.cosines(), self.parts.store.get(waiting)
        return [
            Found(r.text, id, *day_of(r.at), float(cosines[sought.row[id]]), "not thought over yet")
            for id, r in known.items()
        ]

    def drawers(self, sought: Sought, index: Thoughts) -> list[str]:
        """Tag selection: the tags under which the answer may lie."""
        llm = self.parts.llm
        tags = index.tagged.tags
        if llm is not None and tags:
            with suppress(EndpointError):  # a search goes on without its model
                reply = llm.structured(prompts.tag_messages(sought.text, tags), prompts.Drawers)
                return sorted(set(tags) & set(normal_tags(reply.tags[:200], 200)))
        (near,) = index.ontology.nearest(sought.vector[None], _DRAWERS, -1.0)
        named = (index.naming.get(canonical(name), ()) for name in entities(sought.text))
        return sorted({*near, *(tag for tags in named for tag in tags)})

    def interval(self, sought: Sought) -> tuple[Time, Time] | None:
        """[start, end) that the question asks about."""
        return asked_interval(sought.text, sought.now)

    def filtered(self, sought: Sought, found: Sequence[Found]) -> list[Found]:
        """At most k of `found` that fit the question in subject and in time, best first; never anything else."""
        interval = self.interval(sought)
        scored = []
        for one in found:
            in_time = 0.5 if interval is None else float(_overlaps(one, interval))
            scored.append(replace(one, in_time=in_time, score=max(0.0, 0.7 * one.vector_score + 0.3 * in_time)))
        scored.sort(key=lambda one: (-one.score, one.source, one.text))
        llm = self.parts.llm
        if llm is not None and scored:
            shown = scored[:_SHOWN]
            memories = [(one.text, one.start) for one in shown]
            with suppress(EndpointError):
                reply = llm.structured(prompts.filter_messages(sought.text, memories, sought.now), prompts.Kept)
                numbers = dict.fromkeys(n for n in reply.keep if 1 <= n <= len(shown))
                return [shown[n - 1] for n in numbers][: sought.k]
        return [one for one in scored if one.score >= self.threshold][: sought.k]


def _sessions(records: Sequence[Record]) -> Iterator[list[Record]]:
    """The records of each session together, in pieces of at most `_GROUP`; the others alone."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(f"s{record.session}" if record.session else f"r{record.id}", []).append(record)
    for group in groups.values():
        for start in range(0, len(group), _GROUP):
            yield group[start : start + _GROUP]


def _head(thought: Thought) -> tuple[str, ...]:
    """A new tag: the head (in English the last word) of the best key phrase that is no name."""
    names = {word for name in entities(thought.text, thought.subject) for word in canonical(name).split()}
    names |= set(thought.subject.split())
    for phrase in keywords([thought.text], 5):
        tag = normal_tag(phrase.split()[-1])
        if tag and tag not in names:
            return (tag,)
    return ("event",)


def _read_thoughts(reply: prompts.NewThoughts, records: Sequence[Record]) -> list[Thought]:
    """A model's thoughts, cut to size; each belongs to the turn that it names, or to the last."""
    found: dict[str, Thought] = {}
    for said in reply.thoughts[: 3 * len(records) + 5]:
        record = records[said.turn - 1] if 1 <= said.turn <= len(records) else records[-1]
        at = record.at if record.at is not None else record.recorded_at
        text, when = absolute(" ".join(said.text[: LONGEST * 2].split())[:LONGEST], at)
        if not text:
            continue
        start, end = day_of(at)
        dated = when is not None
        if when is not None:
            start, end = when.start, when.end
        with suppress(InvalidInput):
            if said.date:
                start, end = day_of(parse_time(said.date[:10]))
                dated = True
        made = Thought(
            thought_id(record.session, record.id, text), text, record.id, record.session,
            canonical(record.speaker or "The user"), start, end, dated, tags=normal_tags(said.tags[:20], _TAGS),
        )  # fmt: skip
        found[made.id] = made
    return list(found.values())


def _read_review(reply: prompts.Review, new: Thought, near: Sequence[Thought]) -> list[Relation]:
    told: list[Relation] = []
    for kind, numbers in (("same", reply.same), ("updates", reply.updated)):
        for n in dict.fromkeys(numbers):
            if 1 <= n <= len(near) and not any(near[n - 1].id in relation[1:] for relation in told):
                old = near[n - 1]
                newer, older = (new, old) if (new.start or 0.0) >= (old.start or 0.0) else (old, new)
                told.append((kind, newer.id, older.id))
    return told


def _current(row: Row, seen: set[str]) -> bool:
    return not any(id in seen for id in row.superseded_by)


def _overlaps(one: Found, interval: tuple[Time, Time]) -> bool:
    return one.start is not None and one.end is not None and one.start < interval[1] and one.end > interval[0]


def _why(row: Row) -> str:
    tags = ", ".join(sorted(row.tags))
    merged = f", merged from {len(row.sources)} records" if len(row.sources) > 1 else ""
    return f"a thought under {tags}{merged}{', no longer current' if row.superseded_by else ''}"
