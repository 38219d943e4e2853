"""`Memory`: what an agent remembers, in one file.

Paper trail: records with bi-temporal facts (Snodgrass 1999; Zep, 2025), hybrid recall with
personalised PageRank (HippoRAG 2, 2025), retention by a forgetting curve (MemoryBank, 2023).
Four choices: structure = records and their graph in a database; objective = the likelihood of
annotated evidence; retention = supersede, decay, expire, or erase; rule = append, derive, link.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, overload

from mnemos.core.catalogue import system
from mnemos.core.clock import Time, parse_time
from mnemos.core.errors import HeldError, InvalidInput, NotFound
from mnemos.core.spec import Spec
from mnemos.text import ask as asking
from mnemos.text import consolidate as consolidation
from mnemos.text import forget as forgetting
from mnemos.text.consolidate import Consolidated
from mnemos.text.facts import derived_writes, relinked_around
from mnemos.text.file import MemoryFile
from mnemos.text.records import VERBATIM, Item, Kind, Operation, OperationKind, Record, Scope, Version
from mnemos.text.results import Answer, Hit
from mnemos.text.retention import Policy
from mnemos.text.store import Receipt, Write
from mnemos.text.write import as_item, clean, counted

log = logging.getLogger(__name__)
# the method `list` hides the built-in inside the class
_Versions = list[Version]
_Ids = list[str]

_LONGEST_QUERY = 20_000
"""Characters of a query that are read."""
_READ = 10
"""Hits that an answer is made from, at least."""


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
class Memory(MemoryFile):
    """A memory in one SQLite file; a context manager, safe to share between threads and processes.

    Args:
        path: the file; made if missing.
        embedder: "auto" (the local one where it can run), a name that `resolve` knows, a ready
            `Embedder`, or None to work by words alone.
        llm: a language model for `ask` and the recipe; None answers by extraction and derives by rules.
        recipe: how memories derive and recall, a name of `mnemos.text.recipes`; one file serves any of
            them, and nothing is lost by opening it with another. From the settings ("mnemos") if None.
        clock: where the time comes from.
        seed: fixes the random half of ids, for reproducible runs.
        settings: configuration; from the file and `MNEMOS_*` variables if None.

    Raises:
        StoreForeign, StoreDamaged, StoreReadOnly: the file cannot be used.
        MissingExtra: the packages of a named embedder, or those that the recipe needs, are not installed.
        InvalidInput: no such recipe.
    """

    # -- write -----------------------------------------------------------------------------

    @overload
    def add(  # type: ignore[overload-overlap]  # a str is an iterable too
        self, text: str | Mapping[str, Any] | Item, *, user: str = "", agent: str = "", speaker: str = "",
        at: Any = None, session: str = "", metadata: Mapping[str, Any] | None = None, kind: Kind | str = Kind.TURN,
        source: str = "user", key: str = "", progress: Callable[[int], None] | None = None,
    ) -> str: ...  # fmt: skip

    @overload
    def add(
        self, text: Iterable[str | Mapping[str, Any] | Item], *, user: str = "", agent: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> _Ids: ...  # fmt: skip

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
    ) -> str | _Ids:
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
        policy = Policy.load(self._store, scope)
        now = self._clock.now()
        known = self._store.keys(scope, [item.key for item in items if item.key])
        ids: list[str] = []
        fresh: dict[str, Item] = {}
        for item in items:
            old = known.get(item.key) if item.key else None
            echo = None if old else self._echo(scope, item)
            if old or echo:
                ids.append(str(old or echo))
                continue
            id = self._ids()
            fresh[id] = item
            ids.append(id)
            if item.key:
                known[item.key] = id
        make = partial(_record, scope=scope, now=now, policy=policy)
        writes, stated = self._encoder.prepare(fresh, make, self._store, progress)
        if writes:
            with self._write_lock:
                with self._store.writing():
                    # another process may have been first with a key: then nothing is derived from ours
                    taken = self._store.keys(scope, [item.key for item in fresh.values() if item.key])
                    writes = [write for write in writes if write.key not in taken]
                    ids = [taken.get(fresh[id].key, id) if id in fresh else id for id in ids]
                    if not writes:
                        return ids
                    derived = derived_writes(
                        writes, scope, self._store, self._encoder, self._ids, now, stated, self._chains
                    )
                    self._store.commit(self._operation(OperationKind.ADD, scope), [*writes, *derived])
                    latest = self._store.latest()
                self._chains.keep(latest)
            if self._recipe and any(write.record.kind in self._recipe.kinds for write in writes):
                self._recipe.absorb(scope)
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
                self._store.drop_traces([id])
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
        where = self._filter(user, agent, filters)
        text, k, now = _asked(query), counted(k, "k"), self._clock.now()
        if self._recipe and set(where.kinds) <= set(VERBATIM):
            hits = self._recipe.search(text, where, k, now, explain)
        else:
            vector = self._recall.embedded(text, where.scope)
            hits = self._recall.search(text, vector, where, k, now, explain=explain).hits
        self._guard.gave(where.scope, ((hit.id, hit.text) for hit in hits))
        return hits

    def ask(self, question: str, k: int = 10, *, user: str = "", agent: str = "", **filters: Any) -> Answer:
        """An answer from memory with the records it rests on, or an honest "not in memory".

        Without a language model the answer is the best sentence, or the resolved date where the
        question asks when; with one, the same hits go into a short prompt and its citations come
        back as ids.
        """
        where = self._filter(user, agent, filters)
        k = counted(k, "k")
        text, now = _asked(question), self._clock.now()
        if self._recipe:
            found = self._recipe.found(text, where, max(k, _READ), now)
        else:
            vector = self._recall.embedded(text, where.scope)
            found = self._recall.search(text, vector, where, max(k, _READ), now)
        self._guard.gave(where.scope, ((hit.id, hit.text) for hit in found.hits))
        answer = asking.answer(question, found, self._store, self._encoder, now, self._llm)
        return replace(answer, hits=answer.hits[:k])

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
        limit = counted(limit, "limit")
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
                keeping = self._recipe.keeping(scope) if self._recipe else nullcontext()
                receipt = forgetting.erase(
                    self._store, chosen, operation, self._recall, self._encoder, self._ids, keeping
                )
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
        """Tidy up: embed what has no vector yet, merge duplicates, sum up sessions, age by policy, let
        expired records go; each of these is one operation that `undo` takes back. Then the recipe derives
        what is pending, and tidies up what it holds."""
        scope = self._scope(user, agent)
        told = progress or (lambda _: None)
        with self._write_lock:
            done = consolidation.run(
                self._store, self._encoder, scope, self._clock.now(),
                lambda kind, **note: self._operation(kind, scope, **note), self._ids, told,
            )  # fmt: skip
            if self._recipe:
                told(f"deriving by {self._recipe.name}")
                self._recipe.consolidate(scope, self._clock.now())
        return done


def list_(values: Iterable[str]) -> list[str]:
    """A list; the method of that name hides the built-in inside the class."""
    return list(values)


def _asked(query: str) -> str:
    """A question, cleaned and cut."""
    text = clean(query, "query")[:_LONGEST_QUERY]
    if not text.strip():
        raise InvalidInput("the query is empty: ask for something, or use list()")
    return text


def _record(id: str, item: Item, scope: Scope, now: Time, policy: Policy) -> Record:
    return Record(
        id=id, kind=Kind(item.kind), text=item.text, scope=scope, session=item.session, speaker=item.speaker,
        at=item.at, metadata=item.metadata, source=item.source, recorded_at=now,
        quarantined=item.source in policy.quarantine,
    )  # fmt: skip


__all__ = ["VERBATIM", "Memory"]
