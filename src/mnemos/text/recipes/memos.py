"""MemOS, its plaintext memory: windows of messages at once, a model's memories of them later, versions of both.

Source: MemOS: A Memory OS for AI System, 2025 (arXiv 2507.03724), the reader, organiser and search of plaintext items,
and the code of MemTensor/MemOS. Its other kinds of memory (key-value caches, weights), cubes and their scheduler are
no part of this recipe. Structure: items with provenance and lineage. Objective: cosine and words. Retention: what is
merged or superseded is archived. Rule: fast at once, fine at consolidation, then conflicts and duplicates.

- *Fast* (no model, when records are added): one item per window of about 1,024 tokens of whole messages.
- *Fine* (a model, at `consolidate`): a window is read into self-contained memories, which take its place. Where the
  model fails or finds nothing the fast item stays.
- *Organise*: with a model each new memory is compared with its `NEIGHBOURS` nearest above `NEAR`; what contradicts or
  repeats it is fused with it. Rules need no model and hold at once: what a person states about one thing (`facts`)
  supersedes what they stated before, and what says the same in the same words is a duplicate. The published code lets
  the model delete the older one; here nothing is lost, for archiving is a matter of what can be seen (`memos_items`).
- *Recall*: every item by meaning and by words; a message also has part in the score of its window. Messages of windows
  are hits themselves, so that evidence is found to the turn; a model's memories are hits for the turns they rest on.
  Then duplicates go (`dedup`).

Where we differ from the published code, besides: duplicates by rules are equal in words, not near in vectors, since
sentences that differ in one number are nearer than any threshold that lets paraphrases pass; no confidence is kept
where it would be a constant; topics over clusters are left out: on LoCoMo a share of the cluster's
cosine moved recall by less than half a point. Similarity and MMR are there to choose (`MemOS.dedup`) and not the
default: turns that say alike things are often the evidence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mnemos.core.catalogue import system
from mnemos.core.clock import Time
from mnemos.core.errors import EndpointError
from mnemos.core.spec import Spec
from mnemos.text.encode.analyse import terms
from mnemos.text.index.lexical import saturate
from mnemos.text.llm import BadReply
from mnemos.text.prompts import memos as prompts
from mnemos.text.recipes.base import Floats, Recipe, Sought
from mnemos.text.recipes.dedup import AHEAD, Dedup, deduplicate
from mnemos.text.recipes.memos_items import (
    WINDOW,
    Items,
    Line,
    Seen,
    Successor,
    Unit,
    is_fast,
    read_line,
    window_texts,
    windows_of,
)
from mnemos.text.records import Record, Scope
from mnemos.text.results import Hit
from mnemos.text.store import Trace

NEIGHBOURS = 5
NEAR = 0.80
"""Cosine from which a model is asked whether two memories agree."""
ITEM = 0.6
"""Share of its window in the score of a message."""
_BATCH = 256
_ASKED = 8
"""Windows that a model reads before they are durable."""
_LONGEST = 1200
_MOST = 60
"""Memories of one window."""
_FUSED = "m/"


@system(
    "memos",
    title="MemOS (plaintext memory)",
    paper="arXiv:2507.03724",
    year=2025,
    wing="text",
    choices=Spec(
        structure="windows of messages and memories extracted from them, with provenance and lineage",
        objective="cosine and words of item and message",
        retention="what is merged or superseded is archived, and comes back with what replaced it gone",
        rule="fast items at once, fine ones later in their place, then conflicts and duplicates",
    ),
    claim="handling conflicts and duplicates answers current and past values where an append-only store cannot",
)
class MemOS(Recipe[Items]):
    """Fast and fine items with versions; `dedup` says how alike the hits of one search may be."""

    name = "memos"
    dedup: Dedup = "exact"
    window: int = WINDOW
    """Tokens of a fast item; 0 for one item per message."""
    paths: tuple[float, float] = (1.0, 1.0)
    """What meaning and words count for."""

    def empty(self) -> Items:
        return Items()

    def change(self, index: Items, added: Sequence[Trace], removed: Sequence[Trace]) -> None:
        index.change(added, removed)

    def texts(self, trace: Trace) -> Sequence[str]:
        """Pieces of a window, or the memories of a model."""
        if not is_fast(trace):
            return [str(one["memory"]) for one in trace.body.get("items", ())]
        return window_texts(self._records(trace.sources))

    # -- writing ---------------------------------------------------------------------------

    def derive(self, scope: Scope, records: Sequence[Record], index: Items) -> Iterator[Sequence[Trace]]:
        """Fast items. A session's last window grows until it is full, or has been read by a model; a record of no
        session is an item of its own."""
        for start in range(0, len(records), _BATCH):
            sessions: dict[str, list[Record]] = {}
            for record in records[start : start + _BATCH]:
                sessions.setdefault(record.session or f"\x1f{record.id}", []).append(record)
            yield [
                trace for session, some in sessions.items()
                for trace in self._fast(session if some[0].session else "", some, index)
            ]  # fmt: skip

    def _fast(self, session: str, records: Sequence[Record], index: Items) -> Iterator[Trace]:
        last = index.last(session) if session else None
        if last is not None and last.sources[-1] > records[0].id:
            last = None  # brought back into the middle of the session
        known = self._records(last.sources) if last is not None else []
        begun = known if last is not None and is_fast(last) else []
        for first, window in windows_of(records, begun, known, self.window):
            grown = last if first is None else None
            key = grown.key if grown is not None else f"w/{first.id if first else ''}"
            yield self._window(key, session, window, grown)

    def _window(self, key: str, session: str, window: Sequence[Record], old: Trace | None) -> Trace:
        kind = "UserMemory" if all(r.source == "user" for r in window) else "LongTermMemory"
        lines = {r.id: list(read_line(r.text, r.speaker, r.at, r.recorded_at)) for r in window}
        body = {"session": session, "memory_type": kind, "tags": ["mode:fast"], "lines": lines}
        trace = Trace(key, tuple(r.id for r in window), body)
        if old is None or old.vectors is None:
            return trace
        texts, before = window_texts(window), self.texts(old)
        kept = dict(zip(before, old.vectors, strict=False))
        missing = [text for text in dict.fromkeys(texts) if text not in kept]
        if missing:
            kept.update(zip(missing, self.embed(missing).astype(np.float16), strict=True))
        return replace(trace, vectors=np.array([kept[t] for t in texts]), model=self.parts.encoder.model)

    def tidy(self, scope: Scope, index: Items, now: Time) -> Iterator[Sequence[Trace]]:
        """With a model: windows are read, then new memories compared with those that are near."""
        if self.parts.llm is None:
            return
        waiting = [t for t in index.windows[0] if t.by == "local"]
        for start in range(0, len(waiting), _ASKED):
            yield from self._upgraded(waiting[start : start + _ASKED])
        for key in sorted(key for key, t in index.traces.items() if t.body.get("compared") is False):
            trace = index.traces[key]
            for unit in [u for u in index.memories[0] if u.trace is trace]:
                if unit.id not in index.fused and (fused := self._fused(unit, index)) is not None:
                    yield [fused]
            yield [replace(trace, body={**trace.body, "compared": True})]

    def _upgraded(self, windows: Sequence[Trace]) -> Iterator[Sequence[Trace]]:
        """Fine items in the place of fast ones; what the model could not be brought to stays fast."""
        llm = self.parts.llm
        assert llm is not None
        members = [self._records(t.sources) for t in windows]
        calls = [
            partial(
                llm.structured, prompts.extract_messages([(r.speaker, r.text, r.at) for r in some]), prompts.Extracted,
                max_tokens=prompts.REPLY_TOKENS,
            )
            for some in members
        ]  # fmt: skip
        made, failed = [], []
        for trace, records, reply in zip(windows, members, llm.map(calls), strict=True):
            if isinstance(reply, EndpointError):
                failed += [] if isinstance(reply, BadReply) else [reply]
                continue
            items = _read(reply, trace.key, records)
            if items:
                body = {
                    "session": trace.body["session"], "items": items, "background": reply.summary[:_LONGEST],
                    "history": [{"version": 1, "update_type": "extract", "is_fast": True}], "compared": False,
                }  # fmt: skip
                made.append(Trace(trace.key, trace.sources, body, llm.model))
            else:  # nothing in it, says the model: it stays as it was said
                made.append(replace(trace, by=llm.model))
        if made:
            yield made
        if failed:
            raise failed[0]

    def _fused(self, unit: Unit, index: Items) -> Trace | None:
        """One memory in the place of `unit` and of its neighbours that contradict or repeat it, if there are any."""
        llm = self.parts.llm
        assert llm is not None
        units, table = index.memories
        cosines = table @ table[units.index(unit)]
        order = [n for n in np.argsort(-cosines, kind="stable").tolist() if cosines[n] >= NEAR]
        near = [units[n] for n in order if units[n] is not unit and units[n].id not in index.fused][:NEIGHBOURS]
        if not near:
            return None
        when = {one.id: self._told(one) for one in (unit, *near)}
        messages = prompts.relate_messages((unit.memory, when[unit.id]), [(u.memory, when[u.id]) for u in near])
        try:
            reply = llm.structured(messages, prompts.Relations, max_tokens=prompts.REPLY_TOKENS)
        except BadReply:
            return None
        told = {r.number: r.relation for r in reply.relations if 1 <= r.number <= len(near)}
        others = [near[n - 1] for n in sorted(told) if told[n] != "independent"]
        if not others:
            return None
        merged = [unit, *others]
        newest = max(merged, key=lambda u: (when[u.id] or 0.0, u.id))
        text = " ".join(reply.memory.split())[:_LONGEST] or newest.memory
        how = "conflict" if "contradictory" in told.values() else "duplicate"
        sources = tuple(sorted({id for u in merged for id in u.trace.sources}))
        turns = list(dict.fromkeys(id for u in (newest, *merged) for id in u.turns))
        tags = list(dict.fromkeys(tag for u in merged for tag in u.tags))
        key = _FUSED + _digest(*sorted(u.id for u in merged))
        item = _item(key, text, newest.key, newest.type, tags, turns, when[newest.id])
        return Trace(key, sources, {"items": [item], "merged": [u.id for u in merged], "update_type": how}, llm.model)

    def lineage(self, scope: Scope, unit: str) -> list[Successor]:
        """What took the place of a record or memory, and of that in turn; empty while it is active."""
        with self._lock, self.parts.store.reading():
            _, state = self._synced(scope)
            seen, found = Seen(state.row, None), list[Successor]()
            known = {unit}
            while (after := state.index.successor(unit, seen)) is not None and after.unit not in known:
                found.append(after)
                unit = after.unit
                known.add(unit)
            return found

    # -- reading ---------------------------------------------------------------------------

    def seek(self, sought: Sought, index: Items) -> list[Hit]:
        """Active messages and memories by meaning and words, without duplicates."""
        seen = Seen(sought.row, sought.admitted)
        rows, own, window = self._messages(sought, index)
        units, values = self._memories(sought, index)
        scores = np.concatenate([(own + ITEM * window) / (2 + 2 * ITEM), values / 2])
        names = [*(sought.corpus.ids[row] for row in rows.tolist()), *(unit.id for unit in units)]
        order = (
            n for n in np.argsort(-scores, kind="stable").tolist()
            if index.visible(names[n], seen) and index.successor(names[n], seen) is None
        )  # fmt: skip
        active = list(islice(order, AHEAD * sought.k))
        said = [n for n in active if n < len(rows)]
        why = [("said in a window that fits",)] * len(said)
        parts = [{"message": float(own[n]), "window": float(window[n])} for n in said]
        messages = iter(self.hits(sought, rows[said], scores[said], why, parts))
        hits: dict[str, Hit] = {}
        for n in active:
            score = float(scores[n])
            hit = next(messages) if n < len(rows) else self._memory_hit(sought, units[n - len(rows)], score)
            before = hits.get(hit.id)
            hits[hit.id] = hit if before is None else replace(before, text=f"{before.text}\n{hit.text}")
        return self._deduplicated(list(hits.values()), sought)

    def _messages(self, sought: Sought, index: Items) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Rows of the messages in fast items, their own scores, and those of the best window of each."""
        windows, table, owners = index.windows
        if not windows:
            return np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32)
        row = np.array([sought.row[id] for trace in windows for id in trace.sources])
        place = np.repeat(np.arange(len(windows)), [len(trace.sources) for trace in windows])
        cosines = np.zeros(len(windows), np.float32)
        np.maximum.at(cosines, owners, table @ sought.vector)
        meaning, words = self.paths
        value = meaning * cosines + words * _window_words(sought, row, place, len(windows))
        best = np.zeros(len(sought.corpus), np.float32)
        np.maximum.at(best, row, value[place])
        rows = np.unique(row)
        own = meaning * np.clip(sought.cosines(), 0, 1) + words * sought.lexical()
        return rows, own[rows], best[rows]

    def _memories(self, sought: Sought, index: Items) -> tuple[list[Unit], Floats]:
        """What a model wrote, with scores."""
        units, table = index.memories
        if not units:
            return [], np.empty(0, np.float32)
        found = sought.corpus.postings.matches(sought.query.terms)
        share = dict(zip(found.terms, found.share.tolist(), strict=True))
        said = [terms(unit.searched).tolist() for unit in units]
        mean = max(1.0, float(np.mean([len(one) for one in said])))
        lexical = np.array([_words(one, share, mean) for one in said], np.float32)
        return units, self.paths[0] * np.clip(table @ sought.vector, 0, 1) + self.paths[1] * lexical

    def _memory_hit(self, sought: Sought, unit: Unit, score: float) -> Hit:
        merged = unit.trace.body.get("merged", ())
        why = f"a memory of {len(unit.turns)} messages" + (f", fused from {len(merged)}" if merged else "")
        parts = {"memory": score}
        return self.derived_hit(sought, unit.trace, unit.memory, score, (why,), parts, unit.turns)

    def _deduplicated(self, hits: Sequence[Hit], sought: Sought) -> list[Hit]:
        if not hits:
            return []
        vectors = np.zeros((len(hits), 0), np.float32)
        if self.dedup != "exact":
            vectors = self.embed([hit.text for hit in hits])
        scores = np.array([hit.score for hit in hits], np.float32)
        return [hits[n] for n in deduplicate([hit.text for hit in hits], vectors, scores, sought.k, self.dedup)]

    def _records(self, ids: Sequence[str]) -> list[Record]:
        found = self.parts.store.get(ids)
        return [found[id] for id in ids if id in found]

    def _told(self, unit: Unit) -> Time | None:
        times = [r.at for r in self._records(unit.turns) if r.at is not None]
        return max(times, default=None)


def _read(reply: prompts.Extracted, key: str, records: Sequence[Record]) -> list[dict[str, object]]:
    """A model's memories, cut to size; each rests on the turns that it names, or on all."""
    made: dict[str, dict[str, object]] = {}
    for one in reply.memories[:_MOST]:
        text = " ".join(one.value[: 2 * _LONGEST].split())[:_LONGEST]
        if not text:
            continue
        turns = [records[n - 1] for n in dict.fromkeys(one.turns[:_MOST]) if 1 <= n <= len(records)] or records
        kind = "UserMemory" if one.memory_type == "UserMemory" else "LongTermMemory"
        title = " ".join(one.key[:200].split())
        tags = list(dict.fromkeys(" ".join(tag[:60].split()) for tag in one.tags[:5] if tag.strip()))
        times = [r.at for r in turns if r.at is not None]
        item = _item(key, text, title, kind, tags, [r.id for r in turns], max(times, default=None))
        made[str(item["id"])] = item
    return list(made.values())


def _item(
    key: str, text: str, title: str, kind: str, tags: Sequence[str], turns: Sequence[str], at: Time | None
) -> dict[str, object]:
    line: Line = read_line(text, "", at)
    return {
        "id": f"{key}/{_digest(text)}", "memory": text, "key": title, "memory_type": kind, "tags": list(tags),
        "turns": list(turns), "line": list(line),
    }  # fmt: skip


def _window_words(
    sought: Sought, row: NDArray[np.int64], place: NDArray[np.int64], windows: int
) -> NDArray[np.float32]:
    """[windows] BM25 of each, as a share of the question's idf mass."""
    postings = sought.corpus.postings
    found = postings.matches(sought.query.terms)
    counts = np.zeros((len(found.terms), len(sought.corpus)), np.float32)
    counts[found.term, found.rows] = found.counts
    within = np.zeros((len(found.terms), windows), np.float32)
    np.add.at(within.T, place, counts[:, row].T)
    lengths = np.bincount(place, postings.lengths[row], windows).astype(np.float32)
    weight = saturate(within, lengths[None], max(1.0, float(lengths.mean())))
    return np.asarray(found.share @ weight, np.float32)


def _words(said: Sequence[int], share: Mapping[int, float], mean: float) -> float:
    counts = np.array([said.count(term) for term in share], np.float32)
    lengths = np.full(len(counts), len(said), np.float32)
    return float(np.array(list(share.values()), np.float32) @ saturate(counts, lengths, mean)) if share else 0.0


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


__all__ = ["Items", "MemOS"]
