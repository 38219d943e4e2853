"""A-MEM: notes that link themselves, and describe their neighbours anew as they arrive.

Every record becomes a note with keywords, tags and a sentence of context. A new note is compared with its nearest
neighbours, is linked to some of them, and may change how they are described; the record itself never changes. What is
embedded is the text together with its description, again whenever that changes. Recall gives each hit's linked notes
a share of the places.

Each note keeps its history: what it said before each edit, which note caused it, and which notes were looked at in
which version, so that every earlier description can be brought back (`revert`). What a note says because of another
one is forgotten with that one; the note is then described afresh.

Source: A-MEM: Agentic Memory for LLM Agents, 2025, section 3 (note construction, link generation, memory evolution,
retrieval). The paper's version runs where there is a language model, two calls a note; the twin without one is ours.
Four choices: structure = attributed notes, directed links, a dense index; objective = cosine proposes, a judgement
decides; retention = nothing is given up, descriptions are replaced; rule = link and rewrite at every insertion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial

import numpy as np

from mnemos.core.catalogue import system
from mnemos.core.errors import EndpointError, InvalidInput, NotFound
from mnemos.core.spec import Spec
from mnemos.text.llm import BadReply
from mnemos.text.prompts.amem import Decision, Description, Shown, decide_messages, describe_messages
from mnemos.text.recipes.amem_notes import (
    Change,
    Edit,
    Note,
    Notes,
    change_of,
    changed,
    content_of,
    decide,
    describe,
    embedded,
    rare_sharers,
    read_description,
)
from mnemos.text.recipes.base import Floats, Recipe, Sought
from mnemos.text.recipes.ontology import Ontology
from mnemos.text.records import Record, Scope
from mnemos.text.results import Hit
from mnemos.text.store import Trace

NEIGHBOURS = 5
"""Notes that a new one is compared with."""
LINKED_SHARE = 3
"""One place in so many goes to linked notes."""
_TAG_FLOOR = 0.25
_TAGS = 3
_BATCH = 32
"""Notes of the twin that become durable together."""
_AHEAD = 8
"""Notes that a language model describes at a time; decisions are made one after the other."""


@system(
    "amem",
    title="A-MEM: linked notes that evolve",
    paper="A-MEM: Agentic Memory for LLM Agents (NeurIPS 2025)",
    year=2025,
    wing="text",
    choices=Spec(
        structure="attributed notes with directed links, and a dense index",
        objective="cosine match proposes neighbours, a judgement decides on links and edits",
        retention="none: texts stay, descriptions are replaced and can be brought back",
        rule="at every insertion: link the note, describe its neighbours anew",
    ),
    claim="links raise evidence recall over plain dense search where notes are joined by what a question does not say",
)
class AMem(Recipe[Notes]):
    """Notes with links and evolving descriptions.

    `search(k)` gives two thirds of its places to the best notes and a third to notes linked to those; places that no
    link fills go to the next best. Time per question O(notes x dim); per insertion the same, and two model calls.
    """

    name = "amem"

    # -- what it keeps -----------------------------------------------------------------------

    def empty(self) -> Notes:
        return Notes()

    def change(self, index: Notes, added: Sequence[Trace], removed: Sequence[Trace]) -> None:
        for trace in removed:
            index.drop(trace.key)
        for trace in added:
            if trace.vectors is not None and len(trace.vectors):
                index.put(Note.of(trace), trace.vectors[0].astype(np.float32))

    def texts(self, trace: Trace) -> Sequence[str]:
        record = self.parts.store.get([trace.key]).get(trace.key)
        return [embedded(content_of(record), Note.of(trace).now)] if record else []

    # -- writing -----------------------------------------------------------------------------

    def derive(self, scope: Scope, records: Sequence[Record], index: Notes) -> Iterator[Sequence[Trace]]:
        """One note per record, and the neighbours that it changed."""
        step = _BATCH if self.parts.llm is None else _AHEAD
        for start in range(0, len(records), step):
            group = records[start : start + step]
            work = _Working(index)
            for record, note in zip(group, self._described(group), strict=True):
                if isinstance(note, EndpointError):
                    raise note
                self._arrive(record, note, work)
                if self.parts.llm is not None:
                    yield work.traces(self.parts.encoder.model)
                    work = _Working(index)
            if work.touched:
                yield work.traces(self.parts.encoder.model)

    def _described(self, records: Sequence[Record]) -> list[Note | EndpointError]:
        """Note construction. A reply that cannot be read leaves the note to the twin."""
        llm = self.parts.llm
        if llm is None:
            return list(self._twins(records))
        calls = [partial(llm.structured, describe_messages(content_of(r)), Description) for r in records]
        found: list[Note | EndpointError] = []
        for record, reply in zip(records, llm.map(calls), strict=True):
            if isinstance(reply, BadReply):
                found += self._twins([record])
            elif isinstance(reply, EndpointError):
                found.append(reply)
            else:
                found.append(Note(record.id, read_description(reply), by=llm.model))
        return found

    def _twins(self, records: Sequence[Record]) -> list[Note]:
        contents = [content_of(record) for record in records]
        tags = self._ontology.nearest(self.embed(contents), _TAGS, _TAG_FLOOR)
        return [Note(r.id, describe(r, tuple(named))) for r, named in zip(records, tags, strict=True)]

    def _arrive(self, record: Record, note: Note, work: _Working) -> None:
        """Link generation and evolution: put `note` in its place, and change the neighbours that it changes."""
        vector = self.embed([embedded(content_of(record), note.now)])[0]
        near = work.nearest(vector, NEIGHBOURS)
        if self.parts.llm is None:
            sharing = work.sharing(note) - {id for id, _ in near}
            near += [(id, float(work.vector(id) @ vector)) for id in sorted(sharing)[:NEIGHBOURS]]
        work.put(note, vector)
        if not near:
            return
        neighbours = [work.note(id) for id, _ in near]
        by, change = self._decided(record, note, neighbours, [cosine for _, cosine in near], work)
        after = changed(change, note, neighbours, self.parts.clock.now(), by)
        self._keep_changed(after, work)

    def _keep_changed(self, notes: Sequence[Note], work: _Working) -> None:
        texts = self.parts.store.get([note.id for note in notes])
        stale = [n for n in notes if n.now.described != work.note(n.id).now.described and n.id in texts]
        fresh = self.embed([embedded(content_of(texts[n.id]), n.now) for n in stale]) if stale else ()
        vectors = dict(zip((n.id for n in stale), fresh, strict=True))
        for note in notes:
            work.put(note, vectors.get(note.id, work.vector(note.id)))

    def _decided(
        self, record: Record, note: Note, neighbours: Sequence[Note], cosines: Sequence[float], work: _Working
    ) -> tuple[str, Change]:
        llm = self.parts.llm
        if llm is None:
            return "local", decide(note, neighbours, cosines, work)
        texts = self.parts.store.get([n.id for n in neighbours])
        shown = [_shown(texts.get(n.id), n) for n in neighbours]
        try:
            reply = llm.structured(decide_messages(_shown(record, note), shown), Decision)
        except BadReply:
            return llm.model, Change()
        return llm.model, change_of(reply, [n.id for n in neighbours])

    def revert(self, scope: Scope, id: str, version: int) -> None:
        """Give a note the description and links of an earlier version; the history goes on, and shows it.

        Args:
            version: 0 is what the note said first; see `Note.versions`.

        Raises:
            NotFound: no such note.
            InvalidInput: no such version.
        """
        with self._lock:
            index = self.index(scope)
            if id not in index.notes:
                raise NotFound(f"no note {id!r} in this scope: `list` shows what there is, `consolidate` makes notes")
            note = index.notes[id]
            versions = note.versions
            if not 0 <= version < len(versions):
                raise InvalidInput(f"version is {version!r}: the note {id} has versions 0 to {len(versions) - 1}")
            edit = Edit(self.parts.clock.now(), "user", id, (), note.now)
            work = _Working(index)
            back = Note(id, versions[version], (*note.edits, edit), note.by)
            self._keep_changed([back], work)
            self._keep(scope, iter([work.traces(self.parts.encoder.model)]), None)

    # -- reading -----------------------------------------------------------------------------

    def seek(self, sought: Sought, index: Notes) -> list[Hit]:
        linked = sought.k // LINKED_SHARE
        scores = self.scores(sought, index)
        direct, beside = self.retrieve(sought, index, scores, sought.k - linked, linked)
        if len(direct) + len(beside) < sought.k:  # what links do not fill goes to the next best
            further, _ = self.retrieve(sought, index, scores, sought.k, 0)
            direct += [id for id in further[len(direct) :] if id not in beside][: sought.k - len(direct) - len(beside)]
        why: dict[str, tuple[str, ...]] = {}
        why |= {id: (f"its note is like the question (cosine {scores[sought.row[id]]:.2f})",) for id in direct}
        odds = {id: float(scores[sought.row[id]]) for id in direct}
        for id, (through, strength) in beside.items():
            odds[id] = odds[through] * strength
            why[id] = (f"linked to {through}", f"which is like the question (cosine {odds[through]:.2f})")
        best = sorted(odds, key=lambda id: -odds[id])
        parts = [{"cosine": float(scores[sought.row[id]]), "linked": float(id in beside)} for id in best]
        rows = [sought.row[id] for id in best]
        return self.hits(sought, rows, [min(1.0, max(0.0, odds[id])) for id in best], [why[id] for id in best], parts)

    def retrieve(
        self, sought: Sought, index: Notes, scores: Floats, direct: int, linked: int
    ) -> tuple[list[str], dict[str, tuple[str, float]]]:
        """The `direct` best notes, and at most `linked` others that are linked to them, with through which and how
        strongly. With `direct` = `linked` = k this is the paper's retrieval."""
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > -2.0][:direct]
        hits = [sought.corpus.ids[row] for row in order.tolist()]
        beside: dict[str, tuple[float, str, float]] = {}
        for hit in hits:
            for id, strength in index.related(hit).items():
                if id in hits or not sought.admits([id]):
                    continue
                # what leads to it, and what it says itself: on LoCoMo the way alone costs two points of recall
                value = float(scores[sought.row[hit]]) * strength + float(scores[sought.row[id]])
                if id not in beside or value > beside[id][0]:
                    beside[id] = value, hit, strength
        best = sorted(beside, key=lambda id: (-beside[id][0], id))[:linked]
        return hits, {id: beside[id][1:] for id in best}

    def scores(self, sought: Sought, index: Notes) -> Floats:
        """[rows] cosine of the question with each note, with the bare text where there is no note yet; -2 where the
        filter admits none."""
        rows = index.rows(sought.row)
        scores = np.zeros(len(sought.corpus), np.float32) if len(rows) == len(sought.corpus) else sought.cosines()
        scores[rows] = index.cosines(sought.vector)
        if sought.admitted is not None:
            scores[~sought.admitted] = -2.0
        return scores

    def related(self, scope: Scope, id: str) -> dict[str, float]:
        """The notes that `id` is linked with, from either end, and how like it each is (cosine)."""
        return self.index(scope).related(id)

    @cached_property
    def _ontology(self) -> Ontology:
        return Ontology(self.embed)


class _Working:
    """An index with changes over it that are not durable yet."""

    def __init__(self, index: Notes) -> None:
        self._index = index
        self.touched: dict[str, tuple[Note, Floats]] = {}

    def note(self, id: str) -> Note:
        return self.touched[id][0] if id in self.touched else self._index.notes[id]

    def vector(self, id: str) -> Floats:
        return self.touched[id][1] if id in self.touched else self._index.vector(id)

    def put(self, note: Note, vector: Floats) -> None:
        self.touched[note.id] = note, vector

    def __contains__(self, id: object) -> bool:
        return id in self.touched or id in self._index.notes

    def __len__(self) -> int:
        return len(self._index) + sum(id not in self._index.notes for id in self.touched)

    def nearest(self, vector: Floats, k: int) -> list[tuple[str, float]]:
        scores = dict(self._index.nearest(vector, k + len(self.touched)))
        scores |= {id: float(own @ vector) for id, (_, own) in self.touched.items()}
        return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:k]

    def linked(self, id: str) -> list[str]:
        """The notes that `id` is linked with, from either end."""
        out = [to for to in self.note(id).now.links if to in self]
        out += [n.id for n, _ in self.touched.values() if id in n.now.links]
        out += [back for back in self._index.linked(id) if back not in self.touched]
        return list(dict.fromkeys(out))

    def sharing(self, note: Note) -> set[str]:
        """The other notes that share a rare keyword with `note`."""
        return rare_sharers(note, self._carrying)

    def _carrying(self, keyword: str) -> set[str]:
        fresh = {id for id, (note, _) in self.touched.items() if keyword in note.now.keywords}
        return self._index.carrying(keyword) | fresh

    def traces(self, model: str) -> list[Trace]:
        return [note.trace(vector, model) for note, vector in self.touched.values()]


def _shown(record: Record | None, note: Note) -> Shown:
    text, at = (content_of(record), record.at) if record else ("", None)
    return Shown(text, at, note.now.context, note.now.keywords, note.now.tags)
