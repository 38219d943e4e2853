"""`Memory(path, recipe="mem_alpha")`: recall from what a trained policy has written.

A trace holds the calls that were made for one chunk of history, and what came of each: replaying the traces in the
order of their records gives the memory, with no policy in the loop. What the policy did not write cannot be found.
A search scores lines of the core and entries by words (BM25, the paper's reader) and by meaning, in equal parts.
A chunk that took over older text (a rewritten core, an entry merged by a language model) has the records of that
text among its sources too, so that forgetting them takes it along, and it is decided anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.core.catalogue import system
from mnemos.core.spec import Spec
from mnemos.text.encode.chunk import passages
from mnemos.text.recipes.base import Recipe, Sought
from mnemos.text.recipes.mem_alpha.model import LLMPolicy
from mnemos.text.recipes.mem_alpha.policy import Decision, MemoryPolicy, core_lines, trained
from mnemos.text.recipes.mem_alpha.statements import Chunk, Part, key_of
from mnemos.text.recipes.mem_alpha.store import (
    KINDS,
    CoreSemanticEpisodicMemory,
    Entries,
    ToolCall,
    content_words,
    count_tokens,
)
from mnemos.text.records import Record, Scope
from mnemos.text.results import Hit
from mnemos.text.store import Trace

CHUNK_TOKENS = 2048
"""Tokens of a chunk."""
_PASSAGE = 6000
"""Characters of a record beyond which it is several chunks."""
_BATCH = 64
"""Chunks that become durable together where no language model decides."""
_TOLD = 160
"""Characters of an entry that a reason shows."""


@dataclass
class Written:
    """The memory as its traces made it, and which records each text rests on."""

    traces: dict[str, Trace] = field(default_factory=dict)
    memory: CoreSemanticEpisodicMemory = field(default_factory=CoreSemanticEpisodicMemory)
    lines: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Records of each line of the core."""
    entries: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Records of each entry, by kind and id."""
    vectors: dict[str, NDArray[np.float16]] = field(default_factory=dict)
    """By text; of lines and entries."""
    by: dict[str, str] = field(default_factory=dict)
    """Who wrote a text, where it was a language model."""
    last: tuple[str, int] = ("", 0)
    """The place of the latest trace."""
    found: Candidates | None = None
    """What a search looks at; made when it is needed."""

    def copy(self) -> Written:
        """An independent memory to try decisions on, without traces and vectors."""
        return Written(
            memory=self.memory.copy(), lines=dict(self.lines), entries=dict(self.entries), by=dict(self.by),
            last=self.last,
        )  # fmt: skip

    def play(self, call: ToolCall, chunk: str, by: str, rests: Callable[[str], str]) -> dict[str, Any]:
        """Apply one call of a policy. Returns its record for the trace.

        Args:
            rests: the record of the chunk that a text comes from.
        """
        place = f"{call.type} {call.id}"
        merged = () if by == "local" else self.entries.get(place, ())
        before = set(core_lines(self.memory))
        outcome = self.memory.apply(call, chunk)
        row: dict[str, Any] = {
            "tool": call.tool,
            "type": call.type,
            "content": call.content,
            "id": outcome.id or call.id,
        }
        if not outcome.ok:
            return {**row, "content": call.content[:_TOLD], "failed": outcome.why}
        if call.type == "core":
            kept = self.lines
            new = [(n, line) for n, line in enumerate(core_lines(self.memory)) if line not in before]
            row["from"] = [[n, [rests(line)]] for n, line in new]
            old = kept.values() if by != "local" else [kept[line] for line in core_lines(self.memory) if line in kept]
            row["rests on"] = sorted({id for ids in old for id in ids})
        elif call.tool != "delete":
            row["from"] = [[-1, sorted({rests(call.content), *merged})]]
            row["rests on"] = sorted(merged)
        self._note(row, by)
        return row

    def replay(self, trace: Trace) -> None:
        """Apply a trace's calls."""
        for row in trace.body["calls"]:
            if "failed" in row:
                continue
            call, id = self._as_it_is(ToolCall(row["tool"], row["type"], row["content"], row["id"]))
            if self.memory.apply(call, id=id).ok:
                self._note({**row, "id": id}, trace.by)
        self.last = max(self.last, place(trace))

    def _as_it_is(self, call: ToolCall) -> tuple[ToolCall, str]:
        """A call and the id it is about. Whoever inserted what it updates may be forgotten, or say something else now:
        then it updates what is there about the same thing, or is itself the first to tell it."""
        held = self.memory.entries.get(call.type)
        if call.tool != "update" or held is None or call.id in held.texts:
            return call, call.id
        if same := held.about(key_of(call.content)):
            return replace(call, id=same), same
        return replace(call, tool="insert"), call.id

    def _note(self, row: Mapping[str, Any], by: str) -> None:
        """Which records what the call wrote rests on."""
        key = f"{row['type']} {row['id']}"
        if row["tool"] == "delete":
            self.entries.pop(key, None)
        elif row["type"] == "core":
            lines = core_lines(self.memory)
            fresh = {lines[n]: tuple(ids) for n, ids in row["from"] if n < len(lines)}
            self.lines = {line: fresh.get(line) or self.lines.get(line, ()) for line in lines}
            self.by.update({line: by for line in fresh if by != "local"})
        else:
            self.entries[key] = tuple(row["from"][0][1])
            if by != "local":
                self.by[row["content"]] = by


@dataclass(frozen=True, slots=True)
class Candidates:
    """Lines of the core and entries, as rows that a search scores."""

    kinds: list[str]
    texts: list[str]
    records: list[tuple[str, ...]]
    row: Mapping[tuple[str, str], int]
    """By kind and id."""
    matrix: NDArray[np.float32]
    """[n, dim]"""
    core: Entries


@system(
    "mem_alpha",
    title="Mem-alpha: a learned write policy",
    paper="Mem-alpha: Learning Memory Construction via Reinforcement Learning",
    year=2025,
    wing="text",
    choices=Spec(
        structure="one core text, semantic entries, episodic entries",
        objective="answers of a frozen reader over the finished memory",
        retention="explicit update and delete, pressed for by a reward for compression",
        rule="calls of tools, chosen by a policy that was trained with GRPO",
    ),
    claim="a policy trained with the four rewards answers at least 0.95 of the questions where inserting everything "
    "answers at most 0.4, and holds on streams 13 times longer",
)
class MemAlpha(Recipe[Written]):
    """Core, semantic and episodic memory, written by the shipped policy, or by a language model where one is set."""

    name = "mem_alpha"

    def empty(self) -> Written:
        return Written()

    def change(self, index: Written, added: Sequence[Trace], removed: Sequence[Trace]) -> None:
        for trace in removed:
            index.traces.pop(trace.key, None)
        index.traces.update((trace.key, trace) for trace in added)
        fresh = sorted(added, key=place)
        if removed or (fresh and place(fresh[0]) < index.last):
            again = Written(index.traces)
            for name in ("memory", "lines", "entries", "vectors", "by", "last"):
                setattr(index, name, getattr(again, name))
            fresh = sorted(index.traces.values(), key=place)
        for trace in fresh:
            index.replay(trace)
            if trace.vectors is not None:
                index.vectors.update(zip(self.texts(trace), trace.vectors, strict=False))
        index.found = None

    def texts(self, trace: Trace) -> list[str]:
        return [
            row["content"] if n < 0 else row["content"].split("\n")[n]
            for row in trace.body["calls"]
            for n, _ in row.get("from", ())
        ]  # fmt: skip

    def policy(self) -> MemoryPolicy:
        """Who decides: the language model of the memory, or the shipped policy."""
        return LLMPolicy(self.parts.llm, trained()) if self.parts.llm else trained()

    def derive(self, scope: Scope, records: Sequence[Record], index: Written) -> Iterator[Sequence[Trace]]:
        policy = self.policy()
        over = [
            record for record in records if record.valid_to is not None and record.valid_to <= self.parts.clock.now()
        ]
        if over:  # what a record said before it was changed is kept for questions about the past, not written again
            yield [Trace(record.id, (record.id,), {"place": [record.id, 0], "calls": []}) for record in over]
        gone = {record.id for record in over}
        told = sorted((record for record in records if record.id not in gone), key=lambda record: record.id)
        todo = list(chunks(told))
        late = bool(todo) and (todo[0][0].parts[0].id, todo[0][1]) < index.last
        draft = Written() if late else index.copy()
        # a chunk that comes before others that were decided already is decided before the memory as it was then
        waiting = sorted(index.traces.values(), key=place) if late else []
        batch: list[Trace] = []
        for chunk, number in todo:
            while waiting and place(waiting[0]) < (chunk.parts[0].id, number):
                draft.replay(waiting.pop(0))
            batch.append(_decided(policy, chunk, number, draft))
            if self.parts.llm or len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def seek(self, sought: Sought, index: Written) -> list[Hit]:
        if index.found is None:
            index.found = _candidates(index, len(sought.vector))
        found = index.found
        if not found.texts:
            return []
        lexical = np.zeros(len(found.texts), np.float32)
        for kind in KINDS:
            for value, id in index.memory.entries[kind].bm25(sought.text, max(sought.k, 20)):
                lexical[found.row[kind, id]] = value
        for value, id in found.core.bm25(sought.text):
            lexical[found.row["core", id]] = value
        lexical /= max(float(lexical.max()), 1e-9)
        meaning = found.matrix @ sought.vector
        best: dict[str, int] = {}
        scores = (lexical + meaning) / 2
        for n in np.argsort(-scores, kind="stable").tolist():
            record = next((id for id in sorted(found.records[n], reverse=True) if sought.admits([id])), None)
            if record is not None and scores[n] > 0:
                best.setdefault(record, n)
            if len(best) == sought.k:
                break
        told = {n: {"words": float(lexical[n]) / 2, "meaning": float(meaning[n]) / 2} for n in best.values()}
        return [self._hit(sought, index, record, n, float(scores[n]), told[n]) for record, n in best.items()]

    def _hit(self, sought: Sought, index: Written, record: str, n: int, score: float, parts: dict[str, float]) -> Hit:
        assert index.found is not None
        kind, text = index.found.kinds[n], index.found.texts[n]
        told = text if len(text) <= _TOLD else text[:_TOLD] + " …"
        what = "a line of the core" if kind == "core" else f"{'an' if kind == 'episodic' else 'a'} {kind} entry"
        why = (f"{what}: {told}", f"written by {index.by.get(text, 'the trained policy')}")
        (hit,) = self.hits(sought, [sought.row[record]], [score], [why], [parts])
        return hit


def place(trace: Trace) -> tuple[str, int]:
    """Where a trace stands among the others: by its first record, and the part of it."""
    return trace.body["place"][0], trace.body["place"][1]


def chunks(records: Sequence[Record]) -> Iterator[tuple[Chunk, int]]:
    """Runs of records of one session of at most 2,048 tokens, in order; a longer record makes several.

    Yields:
        A chunk, and which part of its first record it begins with.
    """
    run: list[Part] = []
    session, size = "", 0
    for record in records:
        pieces = [record.text]
        if len(record.text) > _PASSAGE:
            pieces = [record.text[a:b] for a, b in passages(record.text, limit=_PASSAGE)] or pieces
        length = count_tokens(pieces[0])
        if run and (record.session != session or len(pieces) > 1 or size + length > CHUNK_TOKENS):
            yield Chunk(run[0].id, tuple(run)), 0
            run, size = [], 0
        parts = [Part(piece, record.speaker, record.at, record.id) for piece in pieces]
        if len(parts) > 1:
            for number, part in enumerate(parts):
                yield Chunk(f"{record.id}#{number}", (part,)), number
            continue
        run, session, size = run + parts, record.session, size + length
    if run:
        yield Chunk(run[0].id, tuple(run)), 0


def _decided(policy: MemoryPolicy, chunk: Chunk, number: int, draft: Written) -> Trace:
    """The trace of a chunk; `draft` is then as it leaves it."""
    own = list(dict.fromkeys(part.id for part in chunk.parts))
    words = {part.id: set(content_words(part.text)) for part in chunk.parts}
    rows, by = [], "local"
    for decision in policy.act(chunk, draft.memory):
        by = decision.by
        if decision.call is not None:
            rows.append(draft.play(decision.call, chunk.id, by, _origin(decision, own, words)))
    sources = dict.fromkeys([*own, *(id for row in rows for id in row.pop("rests on", ()))])
    trace = Trace(chunk.id, tuple(sources), {"place": [own[0], number], "calls": rows}, by)
    draft.last = max(draft.last, place(trace))
    return trace


def _origin(decision: Decision, own: Sequence[str], words: Mapping[str, set[str]]) -> Callable[[str], str]:
    """The record of a chunk that shares most content words with a text, unless the policy said which it is."""

    def nearest(text: str) -> str:
        wanted = content_words(text)
        return decision.record or max(own, key=lambda id: sum(word in words[id] for word in wanted))

    return nearest


def _candidates(index: Written, dim: int) -> Candidates:
    rows: list[tuple[str, str, str, tuple[str, ...]]] = []
    core = Entries()
    for n, (line, ids) in enumerate(index.lines.items()):
        core.put(str(n), line)
        rows.append(("core", str(n), line, ids))
    for kind in KINDS:
        for id, text in index.memory.entries[kind].texts.items():
            rows.append((kind, id, text, index.entries.get(f"{kind} {id}", ())))
    nothing = np.zeros(dim, np.float16)
    matrix = np.array([index.vectors.get(text, nothing) for _, _, text, _ in rows], np.float32)
    return Candidates(
        kinds=[kind for kind, _, _, _ in rows],
        texts=[text for _, _, text, _ in rows],
        records=[ids for _, _, _, ids in rows],
        row={(kind, id): n for n, (kind, id, _, _) in enumerate(rows)},
        matrix=matrix.reshape(len(rows), dim),
        core=core,
    )
