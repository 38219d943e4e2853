"""`Memory`: what an agent remembers, in one file.

Paper trail: records with bi-temporal facts (Snodgrass 1999; Zep, 2025), hybrid recall with
personalised PageRank (HippoRAG 2, 2025), retention by a forgetting curve (MemoryBank, 2023).
Four choices: structure = records and their graph in a database; objective = the likelihood of
annotated evidence; retention = supersede, decay, expire, or erase; rule = append, derive, link.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from mnemos.core.catalogue import system
from mnemos.core.clock import Clock, SystemClock, Time, parse_time
from mnemos.core.config import Settings
from mnemos.core.errors import HeldError, InvalidInput, NotFound
from mnemos.core.ids import IdGenerator
from mnemos.core.spec import Spec
from mnemos.text import ask as asking
from mnemos.text import consolidate as consolidation
from mnemos.text import forget as forgetting
from mnemos.text import portable
from mnemos.text.consolidate import Consolidated
from mnemos.text.encode.embedder import Embedder, resolve
from mnemos.text.facts import derived_writes, relinked_around
from mnemos.text.gate import LoopGuard
from mnemos.text.llm import LanguageModel
from mnemos.text.recall.search import Found, Recall
from mnemos.text.records import VERBATIM, Filter, Item, Kind, Operation, OperationKind, Record, Scope, Version
from mnemos.text.results import Answer, Hit
from mnemos.text.retention import Policy
from mnemos.text.store import Receipt, ScopeSize, SQLiteStore, Store, Write
from mnemos.text.write import Encoder, as_item, clean

log = logging.getLogger(__name__)

# the method `list` hides the built-in inside the class
_Versions = list[Version]
_ScopeSizes = list[ScopeSize]
_Operations = list[Operation]
_Problems = list[str]

_LONGEST_QUERY = 20_000
"""Characters of a query that are read."""
_READ = 10
"""Hits that an answer is made from, at least."""
_BATCH = 4096
"""Records that one pass of a bulk `add` prepares before the next; all are one transaction."""


@system(
    "mnemos",
    title="mnemos: the default agent memory",
    paper="this library",
    year=2026,
    wing="text",
    choices=Spec(
        structure="verbatim records, facts and entities with typed edges, in one SQLite file",
        objective="likelihood of annotated evidence under a softmax over candidates",
        retention="supersession, decay, expiry; soft or hard forgetting",
        rule="append, derive, link; a changed fact closes the old one",
    ),
)
class Memory:
    """A memory in one SQLite file; a context manager, safe to share between threads and processes.

    Args:
        path: the file; made if missing.
        embedder: "auto" (the local one where it can run), a name that `resolve` knows, a ready
            `Embedder`, or None to work by words alone.
        llm: a language model for `ask`; None answers by extraction.
        clock: where the time comes from.
        seed: fixes the random half of ids, for reproducible runs.
        settings: configuration; from the file and `MNEMOS_*` variables if None.

    Raises:
        StoreForeign, StoreDamaged, StoreReadOnly: the file cannot be used.
        MissingExtra: a named embedder's packages are not installed.
    """

    def __init__(
        self,
        path: str | Path = "memory.mnemos",
        *,
        embedder: str | Embedder | None = "auto",
        llm: LanguageModel | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
        settings: Settings | None = None,
    ) -> None:
        settings = settings or Settings()
        self.path = Path(path)
        self._clock = clock or SystemClock()
        key = settings.api_key.get_secret_value() if settings.api_key else None
        found = resolve(
            settings.embedder if embedder == "auto" else embedder,
            cache_dir=settings.cache_dir, base_url=settings.base_url, api_key=key,
        )  # fmt: skip
        self._encoder = Encoder(found)
        self._llm = llm or (
            LanguageModel(settings.model, base_url=settings.base_url, api_key=key) if settings.model else None
        )
        self._store: Store = SQLiteStore(self.path)
        # a seeded memory that is opened again must not make the ids of its first run once more
        self._ids = IdGenerator(self._clock, None if seed is None else seed + (self._store.latest()[0] << 64))
        self._recall = Recall(self._store, self._encoder.model, self.path)
        self._guard = LoopGuard()
        self._write_lock = threading.RLock()
        self._closed = False
        if found is None:
            log.warning(
                "no embedder: this memory finds by words, names and time; pip install 'mnemos[local]' adds meaning"
            )

    # -- write -----------------------------------------------------------------------------

    def add(
        self,
        text: str | Mapping[str, Any] | Item | Iterable[str | Mapping[str, Any] | Item],
        *,
        user: str = "",
        agent: str = "",
        speaker: str = "",
        at: Any = None,
        session: str = "",
        metadata: Mapping[str, Any] | None = None,
        kind: Kind | str = Kind.TURN,
        source: str = "user",
        key: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> Any:
        """Remember one text, or many; durable on return, all or nothing.

        Args:
            text: a string, with the fields beside it as arguments; or an iterable of strings, dicts
                or `Item`s, which carry their own fields.
            user, agent: the scope that the memory belongs to.
            at: when it was said: ISO 8601, epoch seconds or `datetime`.
            session: the conversation or document it is part of; order of adding is order within.
            source: who vouches for it: user, assistant, tool, import.
            key: idempotency key; a second `add` with it returns the first one's id and stores nothing.
            progress: called with the number of records prepared so far.

        Returns:
            The id, or the ids in order. A text that only repeats what recall gave out (from a
            source other than user or import) is not stored; the original's id is returned.

        Raises:
            InvalidInput: nothing was stored.
        """
        scope = self._scope(user, agent)
        if isinstance(text, str):
            fields = {
                "text": text, "speaker": speaker, "at": at, "session": session, "metadata": metadata, "kind": kind,
                "source": source, "key": key,
            }  # fmt: skip
            return self._add([as_item(fields)], scope, progress)[0]
        if isinstance(text, Mapping | Item):
            return self._add([as_item(text)], scope, progress)[0]
        if not isinstance(text, Iterable):
            raise InvalidInput(f"cannot remember {text!r}: give text, a dict, or a list of them")
        items = []
        for number, value in enumerate(text):
            try:
                items.append(as_item(value))
            except InvalidInput as why:
                raise InvalidInput(f"item {number}: {why}; none of the list was stored") from None
        return self._add(items, scope, progress)

    def _add(self, items: Sequence[Item], scope: Scope, progress: Callable[[int], None] | None) -> list[str]:
        now = self._clock.now()
        known = self._store.keys(scope, [item.key for item in items if item.key])
        ids: list[str] = []
        fresh: list[tuple[Record, str]] = []
        for item in items:
            old = known.get(item.key) if item.key else None
            echo = None if old else self._echo(scope, item)
            if old or echo:
                ids.append(str(old or echo))
                continue
            record = self._encoder.read(_record(item, self._ids(), scope, now))
            fresh.append((record, item.key))
            ids.append(record.id)
            if item.key:
                known[item.key] = record.id
        mine = {record.id: key for record, key in fresh if key}
        writes: list[Write] = []
        for start in range(0, len(fresh), _BATCH):
            part = fresh[start : start + _BATCH]
            analyses = self._encoder.analyse([record for record, _ in part], self._store)
            writes += [Write(record, analysis, key) for (record, key), analysis in zip(part, analyses, strict=True)]
            if progress:
                progress(len(writes))
        if writes:
            with self._write_lock, self._store.writing():
                # another process may have been first with a key: then nothing is derived from ours
                taken = self._store.keys(scope, [key for _, key in fresh if key])
                writes = [write for write in writes if write.key not in taken]
                ids = [taken.get(mine.get(id, ""), id) for id in ids]
                if not writes:
                    return ids
                derived = derived_writes(writes, scope, self._store, self._encoder, self._ids, now)
                self._store.commit(self._operation(OperationKind.ADD, scope), [*writes, *derived])
        return ids

    def _echo(self, scope: Scope, item: Item) -> str | None:
        """The visible record that a machine's text only repeats."""
        id = self._guard.echo(scope, item)
        record = self._store.get([id]).get(id) if id else None
        return id if record is not None and record.retracted_at is None else None

    def update(
        self,
        id: str,
        text: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        at: Any = None,
        user: str = "",
        agent: str = "",
    ) -> str:
        """Change a record; the version before stays in `history` and answers `as_of` questions.

        Returns the id, which stays the same.

        Raises:
            NotFound: no such record in this scope.
            HeldError: a legal hold protects it.
            InvalidInput: nothing to change, or an unusable value.
        """
        if text is None and metadata is None and at is None:
            raise InvalidInput("nothing to change: give text, metadata or at")
        scope = self._scope(user, agent)
        with self._write_lock, self._store.writing():
            old = self._of(id, scope)
            if old.retention.hold:
                raise HeldError(f"{id} is under a legal hold: release it with retain(id, hold=False) first")
            if old.kind not in VERBATIM or old.retracted_at is not None:
                what = "forgotten: restore it first" if old.retracted_at is not None else "derived: update its source"
                raise InvalidInput(f"{id} cannot be updated, it is {what}")
            now = self._clock.now()
            item = as_item({
                "text": old.text if text is None else text, "at": old.at if at is None else at,
                "metadata": old.metadata if metadata is None else metadata,
            })  # fmt: skip
            fresh = replace(old, text=item.text, at=item.at, metadata=item.metadata, recorded_at=now)
            operation = self._operation(OperationKind.UPDATE, scope)
            if item.text != old.text:
                before = forgetting.version_before(old, self._ids(), now)
                fresh = forgetting.superseding(fresh, before, now)
                self._store.commit(operation, [Write(before, self._encoder.analyse([before], self._store)[0])])
            told_anew = item.text != old.text or item.at != old.at
            if told_anew:
                self._store.commit(operation, forgetting.without_support(self._store, [id], now))
                fresh = self._encoder.read(fresh)
            write = Write(fresh, self._encoder.analyse([fresh], self._store)[0])
            self._store.commit(operation, [write])
            if told_anew:
                derived = derived_writes([write], scope, self._store, self._encoder, self._ids, now)
                self._store.commit(operation, derived)
        return id

    # -- read ------------------------------------------------------------------------------

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        user: str = "",
        agent: str = "",
        explain: bool = False,
        **filters: Any,
    ) -> list[Hit]:
        """The `k` records that best answer `query`, best first, each with its reasons.

        Args:
            explain: fill `Hit.parts` with what each feature added.
            filters: `session`, `speaker`, `since`, `until`, `kinds`, `as_of`.

        Raises:
            InvalidInput: an empty query, k below 1, or an unknown filter.
        """
        return self._found(query, _count(k, "k"), self._filter(user, agent, filters), explain).hits

    def ask(self, question: str, k: int = 10, *, user: str = "", agent: str = "", **filters: Any) -> Answer:
        """An answer from memory with the records it rests on, or an honest "not in memory".

        Without a language model the answer is the best sentence, or the resolved date where the
        question asks when; with one, the same hits go into a short prompt and its citations come
        back as ids.
        """
        where = self._filter(user, agent, filters)
        k = _count(k, "k")
        found = self._found(question, max(k, _READ), where)
        now = self._clock.now()
        answer = asking.answer(question, found, self._store, self._recall, self._encoder, where, now, self._llm)
        return replace(answer, hits=answer.hits[:k])

    def _found(self, query: str, k: int, where: Filter, explain: bool = False) -> Found:
        text = clean(query, "query")
        if not text.strip():
            raise InvalidInput("the query is empty: ask for something, or use list()")
        vector = self._encoder.embed_query(text[:_LONGEST_QUERY])
        found = self._recall.search(text[:_LONGEST_QUERY], vector, where, k, self._clock.now(), explain=explain)
        self._guard.gave(where.scope, ((hit.id, hit.text) for hit in found.hits))
        return found

    def get(self, id: str, *, user: str = "", agent: str = "") -> Record:
        """The record of an id, forgotten ones included. Raises NotFound, also across scopes."""
        return self._of(id, self._scope(user, agent))

    def list(
        self,
        *,
        user: str = "",
        agent: str = "",
        limit: int = 100,
        after: str = "",
        hidden: bool = False,
        **filters: Any,
    ) -> list[Record]:
        """Records in the order of adding, at most `limit`, after the id `after`; `hidden` adds
        forgotten, expired and quarantined ones."""
        limit = _count(limit, "limit")
        where = self._filter(user, agent, filters)
        return [*self._store.find(where, self._clock.now(), limit=limit, after=clean(after, "after"), hidden=hidden)]

    def history(self, id: str, *, user: str = "", agent: str = "") -> _Versions:
        """Every version of a record, oldest first, with the operation that made it; the version
        is None where a hard forget erased it."""
        versions = self._store.history(clean(id, "id"))
        scope = self._scope(user, agent)
        if not versions or versions[-1].operation.scope != scope:
            raise NotFound(f"no memory {id!r} in this scope: `list` shows what there is")
        return versions

    # -- forget ----------------------------------------------------------------------------

    def forget(
        self,
        id: str | Iterable[str] | None = None,
        *,
        hard: bool = False,
        user: str = "",
        agent: str = "",
        everything: bool = False,
        **filters: Any,
    ) -> Receipt:
        """Forget records by id or by filter, with what was derived from them alone.

        Soft (the default): hidden from everything but `get`, `history` and `restore`. Hard: text,
        vectors, derived records, history and caches are erased, and every file is searched for the
        texts afterwards; this cannot be undone. A legal hold keeps a record either way.

        Args:
            everything: forget all of the scope, where no id and no filter is given.

        Raises:
            InvalidInput: neither id nor filter: nothing is forgotten by accident.
            NotFound: an id that does not exist in this scope.
        """
        scope = self._scope(user, agent)
        if id is not None and not isinstance(id, Iterable):
            raise InvalidInput(f"id is {id!r}: give an id, or a list of them")
        filters = {name: value for name, value in filters.items() if value is not None}
        ids = [id] if isinstance(id, str) else None if id is None else list_(id)
        if ids is not None and (filters or everything):
            raise InvalidInput("forget what? Give ids, or a filter, not both")
        if ids is None and not filters and not everything:
            raise InvalidInput("forget what? Give an id, a filter such as session=..., or everything=True")
        with self._write_lock:
            if ids is None:
                where = self._filter(user, agent, filters)
                chosen = [*self._store.find(where, self._clock.now(), hidden=True)]
            else:
                chosen = [self._of(one, scope) for one in dict.fromkeys(ids)]
            operation = self._operation(OperationKind.ERASE if hard else OperationKind.FORGET, scope)
            if hard:
                receipt = forgetting.erase(self._store, chosen, operation, self._recall, self._encoder, self._ids)
                self._guard.forget({*receipt.ids, *receipt.derived})
                return receipt
            return forgetting.hide(self._store, chosen, operation)

    def restore(self, id: str, *, user: str = "", agent: str = "") -> str:
        """Take back a soft forget of one record; what was derived from it comes back with it."""
        scope = self._scope(user, agent)
        with self._write_lock, self._store.writing():
            record = self._of(id, scope)
            if record.retracted_at is None:
                raise InvalidInput(f"{id} is not forgotten: there is nothing to restore")
            forgetting.restore(self._store, record, self._operation(OperationKind.RESTORE, scope))
        return id

    def undo(self, operation: str, *, user: str = "", agent: str = "") -> Operation:
        """Take back any operation but a hard forget: its records become what they were before.

        Raises:
            NotFound: no such operation in this scope.
            InvalidInput: it was hard, or a later operation changed the same records: undo that first.
        """
        scope = self._scope(user, agent)
        with self._write_lock, self._store.writing():
            done, ids = self._store.operation(clean(operation, "operation"))
            if done.scope != scope:
                raise NotFound(f"no operation {operation!r} in this scope")
            undoing = self._operation(OperationKind.UNDO, scope, undone=operation)
            forgetting.undo(self._store, done, ids, undoing, self._encoder)
        return undoing

    def retain(
        self,
        id: str,
        *,
        ttl: float | None = None,
        expires_at: Any = None,
        pin: bool | None = None,
        hold: bool | None = None,
        user: str = "",
        agent: str = "",
    ) -> Record:
        """Set how long one record is kept.

        Args:
            ttl: seconds from now after which it expires.
            expires_at: the moment at which it expires.
            pin: exempt it from decay.
            hold: a legal hold: it can neither be changed nor forgotten until it is lifted.
        """
        scope = self._scope(user, agent)
        with self._write_lock, self._store.writing():
            record = self._of(id, scope)
            if ttl is not None and not (isinstance(ttl, int | float) and 0 < ttl < float("inf")):
                raise InvalidInput(f"ttl is {ttl!r}: give seconds, more than 0")
            moment = (
                self._clock.now() + ttl if ttl is not None else None if expires_at is None else parse_time(expires_at)
            )
            kept = record.retention
            retention = replace(
                kept,
                expires_at=kept.expires_at if moment is None else moment,
                pin=kept.pin if pin is None else pin,
                hold=kept.hold if hold is None else hold,
            )
            fresh = replace(record, retention=retention)
            self._store.commit(self._operation(OperationKind.RETAIN, scope), [Write(fresh)])
        return fresh

    def set_policy(self, policy: Policy, *, user: str = "", agent: str = "") -> None:
        """Let `consolidate` age this scope by `policy`."""
        policy.save(self._store, self._scope(user, agent))

    def release(self, id: str, *, user: str = "", agent: str = "") -> str:
        """Let a quarantined record into recall."""
        scope = self._scope(user, agent)
        with self._write_lock, self._store.writing():
            record = self._of(id, scope)
            if not record.quarantined:
                raise InvalidInput(f"{id} is not in quarantine")
            fresh = replace(record, quarantined=False)
            operation = self._operation(OperationKind.RELEASE, scope)
            self._store.commit(operation, [Write(fresh)])
            self._store.commit(operation, relinked_around(self._store, [fresh]))
        return id

    # -- consolidate -----------------------------------------------------------------------

    def consolidate(
        self, *, user: str = "", agent: str = "", progress: Callable[[str], None] | None = None
    ) -> Consolidated:
        """Tidy up: embed what has no vector yet, merge duplicates, sum up sessions, age by policy,
        let expired records go. Each step is one operation that `undo` takes back."""
        scope = self._scope(user, agent)
        with self._write_lock:
            return consolidation.run(
                self._store, self._encoder, scope, self._clock.now(),
                lambda kind, **note: self._operation(kind, scope, **note), self._ids, progress or (lambda _: None),
            )  # fmt: skip

    # -- the whole -------------------------------------------------------------------------

    def stats(self, *, user: str = "", agent: str = "") -> dict[str, Any]:
        """Counts of this scope by kind, and the sizes of files and index."""
        scope = self._scope(user, agent)
        where = Filter(scope, kinds=tuple(Kind))
        now = self._clock.now()
        kinds: dict[str, int] = {}
        for record in self._store.find(where, now):
            kinds[str(record.kind)] = kinds.get(str(record.kind), 0) + 1
        hidden = sum(1 for _ in self._store.find(where, now, hidden=True)) - sum(kinds.values())
        with self._store.reading():
            corpus = self._recall.corpus(scope)
        return {
            "path": str(self.path),
            "embedder": self._encoder.model or None,
            "records": kinds,
            "hidden": hidden,
            "file_bytes": sum(Path(f).stat().st_size for f in self._store.files()),
            "index_bytes": corpus.nbytes(),
            "index": "exact" if corpus.vectors.exact else "approximate",
        }

    def scopes(self) -> _ScopeSizes:
        """Every scope with its counts: for whoever owns the file, not for a user of it."""
        return self._store.scopes()

    def operations(self, *, user: str = "", agent: str = "", limit: int = 50) -> _Operations:
        """The newest operations of the scope first; their ids are what `undo` takes."""
        return self._store.operations(self._scope(user, agent), _count(limit, "limit"))

    def export(self, path: str | Path, *, progress: Callable[[int], None] | None = None) -> int:
        """Write everything (log, keys, policies, vectors) to one JSONL file. Returns its operations."""
        return portable.export(self._store, Path(path), self._encoder.model, progress)

    def import_(self, path: str | Path, *, progress: Callable[[int], None] | None = None) -> int:
        """Read what `export` wrote; operations that are here already are left out. Returns how
        many came in. All or nothing."""
        with self._write_lock:
            return portable.import_(self._store, Path(path), self._encoder, progress)

    def check(self) -> _Problems:
        """What is wrong with the store or the index; empty when all is sound."""
        return [*self._store.check(), *portable.check_index(self._store, self._recall, self._encoder)]

    def rebuild(self) -> int:
        """Make tables and index again from the log. Returns the number of records."""
        self._recall.drop_index_files()
        with self._write_lock:
            return self._store.rebuild(lambda record: portable.rewritten(record, self._encoder))

    def close(self) -> None:
        """Release the file; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            self._store.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- helpers ---------------------------------------------------------------------------

    def _operation(self, kind: OperationKind, scope: Scope, **note: Any) -> Operation:
        return Operation(self._ids(), kind, self._clock.now(), scope, note)

    def _scope(self, user: str, agent: str) -> Scope:
        return Scope(clean(user, "user"), clean(agent, "agent"))

    def _of(self, id: str, scope: Scope) -> Record:
        record = self._store.get([clean(id, "id")]).get(id)
        if record is None or record.scope != scope:
            raise NotFound(f"no memory {id!r} in this scope: `list` shows what there is")
        return record

    def _filter(self, user: str, agent: str, filters: Mapping[str, Any]) -> Filter:
        return make_filter(self._scope(user, agent), filters)


_FILTERS = ("session", "speaker", "since", "until", "kinds", "as_of")


def make_filter(scope: Scope, filters: Mapping[str, Any]) -> Filter:
    """A `Filter` of keyword arguments. Raises InvalidInput for an unknown name or value."""
    unknown = set(filters) - set(_FILTERS)
    if unknown:
        raise InvalidInput(f"no filter {sorted(unknown)[0]!r}: there are user, agent, {', '.join(_FILTERS)}")
    given = {name: value for name, value in filters.items() if value is not None}
    for name in ("since", "until", "as_of"):
        if name in given:
            given[name] = parse_time(given[name])
    for name in ("session", "speaker"):
        if name in given:
            given[name] = clean(given[name], name)
    if "kinds" in given:
        kinds = [given["kinds"]] if isinstance(given["kinds"], str) else given["kinds"]
        given["kinds"] = ()
        with contextlib.suppress(ValueError, TypeError):
            given["kinds"] = tuple(dict.fromkeys(Kind(kind) for kind in kinds))
        if not given["kinds"]:
            raise InvalidInput(f"kinds is {kinds!r}: choose from {', '.join(Kind)}")
    return Filter(scope, **given)


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name} is {value!r}: give how many records you want, at least 1")
    return min(value, 2**62)


def list_(values: Iterable[str]) -> list[str]:
    """A list; the method of that name hides the built-in inside the class."""
    return list(values)


def _record(item: Item, id: str, scope: Scope, now: Time) -> Record:
    return Record(
        id=id, kind=Kind(item.kind), text=item.text, scope=scope, session=item.session, speaker=item.speaker,
        at=item.at, metadata=item.metadata, source=item.source, recorded_at=now,
    )  # fmt: skip


__all__ = ["VERBATIM", "Memory"]
