"""The notes of A-MEM: what one says, what it said before, and what a new one changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Time
from mnemos.text.encode.analyse import words
from mnemos.text.encode.chunk import sentences
from mnemos.text.encode.entities import canonical, entities
from mnemos.text.encode.keywords import keywords
from mnemos.text.prompts.amem import Decision, Description
from mnemos.text.recipes.ontology import normal_tags
from mnemos.text.records import Record
from mnemos.text.store import Trace

Floats = NDArray[np.float32]

EDITS = 10
"""Changes that arrivals may make to one note: evolution feeds on its own output, and has to end."""
LINK = 0.55
"""Cosine from which two notes are linked."""
LINK_SHARED = 0.4
"""The same, where they share a keyword."""
RARE = 5
"""Notes that may carry a keyword for it to link whoever shares it: a name that few notes hold says more than any
cosine, and sentence embeddings do not see it."""
_KEYWORDS = 5
_MOST_TAGS = 6
_LONGEST_CONTEXT = 400
_MODEL_KEYWORDS = 12


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a note says of its record."""

    keywords: tuple[str, ...] = ()
    context: str = ""
    tags: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    """Ids of other records."""

    @property
    def described(self) -> tuple[object, ...]:
        """What is embedded of it."""
        return self.keywords, self.context, self.tags


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a note."""

    at: Time
    by: str
    """"local", the language model's name, or "user"."""
    cause: str
    """The note whose arrival made it."""
    shown: tuple[tuple[str, int], ...]
    """The neighbours that were looked at, in order, each with its version."""
    before: Attributes


@dataclass(frozen=True, slots=True)
class Note:
    """One record with its description and its history."""

    id: str
    now: Attributes
    edits: tuple[Edit, ...] = ()
    by: str = "local"
    """Who described it first."""

    @property
    def versions(self) -> list[Attributes]:
        """What it said first, after each edit, and now."""
        return [*(edit.before for edit in self.edits), self.now]

    @classmethod
    def of(cls, trace: Trace) -> Note:
        """The note that a trace holds."""
        edits = tuple(
            Edit(e["at"], e["by"], e["cause"], tuple((id, v) for id, v in e["shown"]), _attributes(e["before"]))
            for e in trace.body["edits"]
        )
        return cls(trace.key, _attributes(trace.body["now"]), edits, trace.by)

    def trace(self, vector: Floats, model: str) -> Trace:
        """The note as a trace. Its sources are the record, and the notes that had it described anew."""
        states = self.versions
        steps = zip(self.edits, states, states[1:], strict=False)
        causes = [edit.cause for edit, before, after in steps if before.described != after.described]
        body = {"now": asdict(self.now), "edits": [asdict(edit) for edit in self.edits]}
        sources = tuple(dict.fromkeys([self.id, *causes]))
        return Trace(self.id, sources, body, self.by, vector.astype(np.float16)[None], model)


def content_of(record: Record) -> str:
    """A record's text with who says it."""
    return f"{record.speaker}: {record.text}" if record.speaker else record.text


def embedded(content: str, said: Attributes) -> str:
    """What is embedded of a note: content, context, keywords and tags; a context that repeats the content adds
    nothing and is left out. Without labels: on LoCoMo "keywords:" and "tags:" cost up to five points of recall."""
    context = said.context if said.context not in content else ""
    return "\n".join(part for part in (content, context, ", ".join((*said.keywords, *said.tags))) if part)


# -- describing without a language model -----------------------------------------------------


def describe(record: Record, tags: tuple[str, ...]) -> Attributes:
    """Names and key phrases, and the sentence that shares most with the others."""
    text = record.text[:4000]
    speakers = {canonical(part) for part in (record.speaker, *record.speaker.split())}
    found = [canonical(name) for name in entities(text, record.speaker)] + keywords([text], _KEYWORDS)
    distinct = [word for word in dict.fromkeys(found) if word not in speakers]
    return Attributes(tuple(distinct[:_KEYWORDS]), central_sentence(text)[:_LONGEST_CONTEXT], tags)


def central_sentence(text: str) -> str:
    """The sentence whose words the others share most; the first of equals."""
    pieces = [text[a:b] for a, b in sentences(text)][:50]
    if len(pieces) < 2:
        return text.strip()
    bags = [set(words(piece)) for piece in pieces]
    shared = [sum(len(a & b) / max(1, len(a | b)) for b in bags if b is not a) for a in bags]
    return pieces[int(np.argmax(shared))]


def read_description(reply: Description) -> Attributes:
    """A model's description, cut to size."""
    named = dict.fromkeys(" ".join(word.split())[:60] for word in reply.keywords[:_MODEL_KEYWORDS])
    context = " ".join(reply.context[: _LONGEST_CONTEXT * 2].split())[:_LONGEST_CONTEXT] or "General"
    return Attributes(tuple(word for word in named if word), context, normal_tags(reply.tags[:50], _MOST_TAGS))


# -- what an arrival changes -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """What a new note changes: its own links and tags, and how its neighbours are described."""

    links: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """The new note's tags; empty for those that it has."""
    neighbours: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Id → (context, tags); an empty one stays as it is."""


class Around(Protocol):
    """What the twin's decision may look at."""

    def note(self, id: str) -> Note: ...
    def linked(self, id: str) -> list[str]: ...
    def sharing(self, note: Note) -> set[str]: ...


def decide(new: Note, neighbours: Sequence[Note], cosines: Sequence[float], around: Around) -> Change:
    """The twin: link what is alike or shares a rare keyword, and hand on the tags that most of a note's links carry,
    two at the least."""
    sharing = around.sharing(new)
    own = set(new.now.keywords)
    linked = [
        note
        for note, cosine in zip(neighbours, cosines, strict=True)
        if cosine >= LINK or note.id in sharing or (cosine >= LINK_SHARED and not own.isdisjoint(note.now.keywords))
    ]
    told = {}
    for note in linked:
        others = [around.note(id) for id in around.linked(note.id) if id != new.id]
        tags = _supported(note, [new, *others])
        if tags != note.now.tags:
            told[note.id] = ("", tags)
    return Change(tuple(note.id for note in linked), _supported(new, linked), told)


def _supported(note: Note, linked: Sequence[Note]) -> tuple[str, ...]:
    counts = Counter(tag for other in linked for tag in other.now.tags)
    # two alone would let every tag run through a dense net of links
    common = sorted(tag for tag, n in counts.items() if n >= 2 and 2 * n > len(linked))
    return normal_tags([*note.now.tags, *common], _MOST_TAGS)


def change_of(reply: Decision, shown: Sequence[str]) -> Change:
    """A model's decision about the notes `shown`, in that order: numbers that name none are dropped, and lists that
    are too short change the first ones only."""
    if not reply.should_evolve:
        return Change()
    links: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    told: dict[str, tuple[str, tuple[str, ...]]] = {}
    if "strengthen" in reply.actions:
        numbers = dict.fromkeys(n for n in reply.suggested_connections if 1 <= n <= len(shown))
        links = tuple(shown[n - 1] for n in numbers)
        tags = normal_tags(reply.tags_to_update[:50], _MOST_TAGS)
    if "update_neighbor" in reply.actions:
        for place, id in enumerate(shown):
            context = reply.new_context_neighborhood[place : place + 1]
            named = reply.new_tags_neighborhood[place : place + 1]
            told[id] = (
                " ".join(context[0][: _LONGEST_CONTEXT * 2].split())[:_LONGEST_CONTEXT] if context else "",
                normal_tags(named[0][:50], _MOST_TAGS) if named else (),
            )
    return Change(links, tags, told)


def changed(change: Change, new: Note, neighbours: Sequence[Note], at: Time, by: str) -> list[Note]:
    """Those of the new note and its neighbours that `change` leaves different, each with the edit in its history."""
    shown = tuple((note.id, len(note.edits)) for note in neighbours)
    known = {note.id for note in neighbours} - {new.id}
    links = tuple(dict.fromkeys([*new.now.links, *(id for id in change.links if id in known)]))
    told = {new.id: replace(new.now, links=links, tags=change.tags or new.now.tags)}
    for note in neighbours:
        context, tags = change.neighbours.get(note.id, ("", ()))
        told[note.id] = replace(note.now, context=context or note.now.context, tags=tags or note.now.tags)
    return [
        replace(note, now=told[note.id], edits=(*note.edits, Edit(at, by, new.id, shown, note.now)))
        for note in (new, *neighbours)
        if told[note.id] != note.now and len(note.edits) < EDITS
    ]


# -- the index ---------------------------------------------------------------------------------


class Notes:
    """The live notes of a scope with their vectors and links."""

    def __init__(self) -> None:
        self.notes: dict[str, Note] = {}
        self._place: dict[str, int] = {}
        self._ids: list[str] = []
        self._matrix: Floats = np.empty((0, 0), np.float32)
        self._back: dict[str, set[str]] = {}
        self._carriers: dict[str, set[str]] = {}
        self._rows: tuple[Mapping[str, int], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def put(self, note: Note, vector: Floats) -> None:
        """Hold `note`, in the place of what it was before."""
        self.drop(note.id)
        if len(self._ids) == len(self._matrix):
            grown = np.zeros((max(64, 2 * len(self._ids)), len(vector)), np.float32)
            if self._ids:
                grown[: len(self._ids)] = self._matrix
            self._matrix = grown
        self._place[note.id] = len(self._ids)
        self._matrix[len(self._ids)] = vector
        self._ids.append(note.id)
        self.notes[note.id] = note
        for word in note.now.keywords:
            self._carriers.setdefault(word, set()).add(note.id)
        for to in note.now.links:
            self._back.setdefault(to, set()).add(note.id)

    def drop(self, id: str) -> None:
        """Let a note go; the last one takes its place."""
        note = self.notes.pop(id, None)
        self._rows = None
        if note is None:
            return
        place, last = self._place.pop(id), self._ids.pop()
        if last != id:
            self._ids[place], self._place[last] = last, place
            self._matrix[place] = self._matrix[len(self._ids)]
        for word in note.now.keywords:
            self._carriers[word].discard(id)
        for to in note.now.links:
            self._back[to].discard(id)

    def vector(self, id: str) -> Floats:
        """[dim] of a note."""
        found: Floats = self._matrix[self._place[id]]
        return found

    def cosines(self, vector: Floats) -> Floats:
        """[notes], in the order of `rows`."""
        if not self._ids:
            return np.empty(0, np.float32)
        found: Floats = self._matrix[: len(self._ids)] @ vector
        return found

    def nearest(self, vector: Floats, k: int) -> list[tuple[str, float]]:
        """The `k` notes with the highest cosine, and it."""
        scores = self.cosines(vector)
        best = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
        return [(self._ids[n], float(scores[n])) for n in best[np.argsort(-scores[best], kind="stable")].tolist()]

    def rows(self, row: Mapping[str, int]) -> NDArray[np.int64]:
        """[notes] row of each note's record."""
        if self._rows is None or self._rows[0] is not row:
            self._rows = row, np.array([row[id] for id in self._ids], np.int64)
        return self._rows[1]

    def linked(self, id: str) -> list[str]:
        """The notes that `id` is linked with, from either end; links to what is gone are no links."""
        there = self.notes[id].now.links if id in self.notes else ()
        return [to for to in dict.fromkeys([*there, *sorted(self._back.get(id, ()))]) if to in self.notes and to != id]

    def related(self, id: str) -> dict[str, float]:
        """Its linked notes with the strength of each link: 1 where they share a rare keyword, else their cosine."""
        if id not in self.notes:
            return {}
        own, sharing = self.vector(id), self.sharing(self.notes[id])
        return {to: 1.0 if to in sharing else max(0.0, float(self.vector(to) @ own)) for to in self.linked(id)}

    def sharing(self, note: Note) -> set[str]:
        """The other notes that share a rare keyword with `note`."""
        return rare_sharers(note, self.carrying)

    def carrying(self, keyword: str) -> set[str]:
        """The notes that carry `keyword`."""
        return self._carriers.get(keyword, set())


def rare_sharers(note: Note, carrying: Callable[[str], set[str]]) -> set[str]:
    """The notes that share a keyword with `note` which few carry."""
    held = (carrying(word) | {note.id} for word in note.now.keywords)
    return set().union(*(ids for ids in held if len(ids) <= RARE)) - {note.id}


def _attributes(data: Mapping[str, Any]) -> Attributes:
    return Attributes(tuple(data["keywords"]), data["context"], tuple(data["tags"]), tuple(data["links"]))
