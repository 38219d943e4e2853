"""mem0's interface over a mnemos memory: change the import, and a script runs as it is.

    from mnemos.compat.mem0 import Memory  # was: from mem0 import Memory

What is kept: names, arguments, the shape of every answer. What differs, and why:

- Nothing is rewritten by a language model. `infer`, `prompt` and `rerank` are accepted and change nothing:
  what was said is kept as it was said, one memory per message, and facts are derived beside it. Messages of
  the role `system` are left out, as mem0 does.
- `user_id` and `agent_id` are the walls of a scope, `run_id` is the session. A search that names only some
  of them covers every scope that agrees with what it names.
- `score` is the estimated probability that a memory answers the query.
- `delete` and `delete_all` hide a memory and keep its history, as mem0 does; `reset` erases.
- Of a configuration one value is read: `vector_store.config.path`, the file (or a folder to put it in). An
  embedder is taken over where its provider is `mnemos`: `{"embedder": {"provider": "mnemos", "config":
  {"model": "none"}}}`. All else, known or not, is accepted and not used: there is nothing to configure.
- Pictures in a message are left out; its text is kept.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from mnemos.compat._mem0_filters import matches, split
from mnemos.core.clock import SystemClock, Time, parse_time
from mnemos.core.config import Settings
from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.memory import Memory as _Memory
from mnemos.text.records import Item, Kind, Record, Scope, Version
from mnemos.text.results import Hit

Messages = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]
_SOURCES = ("user", "assistant", "tool")


class MemoryNotFound(NotFound, ValueError):
    """No memory has this id; a `ValueError` too, which is what mem0 raises."""


class Memory:
    """mem0's `Memory` in one file, without a key and without a server.

    Args:
        config: mem0's configuration as a dict (or anything, see the module's text).

    Raises:
        StoreForeign, StoreDamaged, StoreReadOnly: the file cannot be used.
    """

    def __init__(self, config: Any = None) -> None:
        settings = Settings()
        self.config = config
        self._clock = SystemClock()
        self._memory = _Memory(
            _path(config, settings), embedder=_embedder(config), settings=settings, clock=self._clock
        )

    @classmethod
    def from_config(cls, config_dict: Mapping[str, Any]) -> Memory:
        """A memory of a configuration dict."""
        return cls(config_dict)

    # -- write -----------------------------------------------------------------------------

    def add(
        self,
        messages: Messages,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        infer: bool = True,
        memory_type: str | None = None,
        prompt: str | None = None,
        expiration_date: Any = None,
    ) -> dict[str, Any]:
        """Remember messages; all or nothing.

        Args:
            messages: a text, a message `{"role", "content", "name"?}`, or a list of them.
            metadata: kept with every one of them.
            memory_type: "procedural_memory" keeps them as notes; None as turns of a conversation.
            expiration_date: after which they are no longer found.

        Returns:
            {"results": [{"id", "memory", "event"}]}; the event is ADD, or NONE for what only repeats what a
            search gave out.

        Raises:
            InvalidInput: no id of user, agent or run, or messages of another form; nothing was stored.
        """
        scope, session = _scope(user_id, agent_id, run_id)
        if memory_type not in (None, "procedural_memory"):
            raise InvalidInput(f"memory_type is {memory_type!r}: 'procedural_memory' or None")
        now = self._clock.now()
        kind = Kind.NOTE if memory_type else Kind.TURN
        expires = None if expiration_date is None else parse_time(expiration_date)
        items = [
            Item(text, speaker, now, session, dict(metadata or {}), kind, source)
            for text, speaker, source in _read(messages)
        ]
        ids = self._memory.add(items, user=scope.user, agent=scope.agent)
        results = []
        for id in ids:
            record = self._memory.get(id, user=scope.user, agent=scope.agent)
            fresh = record.recorded_at >= now
            if fresh and expires is not None:
                self._memory.retain(id, expires_at=expires, user=scope.user, agent=scope.agent)
            event = "ADD" if fresh else "NONE"
            results.append({"id": id, "memory": record.text, "event": event, **_who_said(record)})
        return {"results": results}

    def update(self, memory_id: str, data: str, metadata: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Change the text of a memory; `history` keeps the one before.

        Raises:
            MemoryNotFound: no such memory.
        """
        record = self._find(memory_id)
        if record is None:
            raise _unknown(memory_id)
        user, agent = record.scope.user, record.scope.agent
        self._memory.update(memory_id, data, metadata=metadata, user=user, agent=agent)
        return {"message": "Memory updated successfully!"}

    # -- read ------------------------------------------------------------------------------

    def search(
        self,
        query: str,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
        limit: int | None = None,
        top_k: int = 20,
        filters: Mapping[str, Any] | None = None,
        threshold: float | None = None,
        rerank: bool = True,
        explain: bool = False,
    ) -> dict[str, Any]:
        """The memories that best answer `query`, best first.

        Args:
            limit: how many at most; an older name of `top_k`, and goes before it.
            filters: ids of user, agent and run, and conditions on metadata: {"topic": "food"},
                {"n": {"gte": 3}}, {"AND": [...]}, {"OR": [...]}, {"NOT": [...]}.
            threshold: the least `score`.
            explain: add `why`, the reasons in words.

        Raises:
            InvalidInput: no id of user, agent or run, an empty query, or an unknown filter.
        """
        chosen, conditions = _chosen(user_id, agent_id, run_id, filters)
        count = top_k if limit is None else limit
        found: list[tuple[Scope, Hit]] = []
        for scope in self._scopes(chosen):
            found += [(scope, hit) for hit in self._hits(query, count, scope, chosen[2], conditions)]
        found.sort(key=lambda pair: -pair[1].score)
        results = []
        for scope, hit in found[:count]:
            if threshold is None or hit.score >= threshold:
                shown = self._shown(self._memory.get(hit.id, user=scope.user, agent=scope.agent))
                results.append(shown | {"score": hit.score} | ({"why": list(hit.why)} if explain else {}))
        return {"results": results}

    def get(self, memory_id: str) -> dict[str, Any] | None:
        """A memory by its id; None where there is none, or no more."""
        record = self._find(memory_id)
        return None if record is None else self._shown(record)

    def get_all(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
        filters: Mapping[str, Any] | None = None,
        limit: int | None = None,
        top_k: int = 20,
    ) -> dict[str, Any]:
        """The memories of a user, agent or run in the order of adding, at most `limit` (or `top_k`)."""
        chosen, conditions = _chosen(user_id, agent_id, run_id, filters)
        records = self._records(chosen, conditions)
        count = top_k if limit is None else limit
        if count < 1:
            raise InvalidInput(f"limit is {count!r}: give a number of at least 1")
        return {"results": [self._shown(record) for record, _ in zip(records, range(count), strict=False)]}

    def history(self, memory_id: str) -> list[dict[str, Any]]:
        """What happened to a memory, oldest first; empty where there never was one."""
        record = self._find(memory_id, deleted=True)
        if record is None:
            return []
        versions = self._memory.history(memory_id, user=record.scope.user, agent=record.scope.agent)
        return list(_events(memory_id, versions))

    # -- forget ----------------------------------------------------------------------------

    def delete(self, memory_id: str) -> dict[str, str]:
        """Forget one memory.

        Raises:
            MemoryNotFound: no such memory.
        """
        record = self._find(memory_id)
        if record is None:
            raise _unknown(memory_id)
        self._memory.forget(memory_id, user=record.scope.user, agent=record.scope.agent)
        return {"message": "Memory deleted successfully!"}

    def delete_all(
        self, user_id: str | None = None, agent_id: str | None = None, run_id: str | None = None
    ) -> dict[str, str]:
        """Forget every memory of a user, agent or run.

        Raises:
            InvalidInput: none of them is given; `reset` is for everything.
        """
        chosen, _ = _chosen(user_id, agent_id, run_id, None)
        for scope in self._scopes(chosen):
            where: dict[str, Any] = {"everything": True} if chosen[2] is None else {"session": chosen[2]}
            self._memory.forget(user=scope.user, agent=scope.agent, **where)
        return {"message": "Memories deleted successfully!"}

    def reset(self) -> None:
        """Erase everything, for every user, with its history."""
        for size in self._memory._store.scopes():
            self._memory.forget(user=size.scope.user, agent=size.scope.agent, hard=True, everything=True)

    def close(self) -> None:
        """Release the file; closing twice does nothing."""
        self._memory.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- helpers ---------------------------------------------------------------------------

    def _find(self, id: str, *, deleted: bool = False) -> Record | None:
        """The record of an id, in whichever scope it is: mem0's ids need no user beside them."""
        record = self._memory._store.get([id]).get(id) if isinstance(id, str) else None
        return record if record is not None and (deleted or record.searchable) else None

    def _scopes(self, chosen: _Chosen) -> list[Scope]:
        """The scopes that agree with what was named; None agrees with all."""
        user, agent, _ = chosen
        if user is not None and agent is not None:
            return [Scope(user, agent)]
        scopes = [size.scope for size in self._memory._store.scopes()]
        return [s for s in scopes if user in (None, s.user) and agent in (None, s.agent)]

    def _hits(
        self, query: str, count: int, scope: Scope, session: str | None, conditions: Mapping[str, Any]
    ) -> list[Hit]:
        """The best `count` hits that meet the conditions, however many others stand before them."""
        k = count
        while True:
            hits = self._memory.search(query, k, user=scope.user, agent=scope.agent, session=session)
            kept = [hit for hit in hits if matches(hit.metadata, conditions)]
            if len(kept) >= count or len(hits) < k:
                return kept[:count]
            k *= 4

    def _records(self, chosen: _Chosen, conditions: Mapping[str, Any]) -> Iterator[Record]:
        for scope in self._scopes(chosen):
            after = ""
            while page := self._memory.list(
                user=scope.user, agent=scope.agent, limit=1000, after=after, session=chosen[2]
            ):
                yield from (record for record in page if matches(record.metadata, conditions))
                after = page[-1].id

    def _shown(self, record: Record) -> dict[str, Any]:
        created, updated = record.recorded_at, None
        if record.valid_from is not None:  # only an update sets it, and moves recorded_at
            updated = record.recorded_at
            user, agent = record.scope.user, record.scope.agent
            created = self._memory.history(record.id, user=user, agent=agent)[0].operation.at
        return {
            "id": record.id,
            "memory": record.text,
            "hash": hashlib.md5(record.text.encode(), usedforsecurity=False).hexdigest(),
            "metadata": dict(record.metadata),
            "created_at": _iso(created),
            "updated_at": None if updated is None else _iso(updated),
            "user_id": record.scope.user or None,
            "agent_id": record.scope.agent or None,
            "run_id": record.session or None,
            **_who_said(record),
        }


class AsyncMemory:
    """mem0's `AsyncMemory`: every method of `Memory`, awaited; run in a worker thread."""

    def __init__(self, config: Any = None) -> None:
        self._memory = Memory(config)

    @classmethod
    def from_config(cls, config_dict: Mapping[str, Any]) -> AsyncMemory:
        """A memory of a configuration dict; may be awaited or not, as mem0's versions differ in that."""
        return cls(config_dict)

    def __await__(self) -> Generator[Any, None, AsyncMemory]:
        yield from ()
        return self

    async def __aenter__(self) -> AsyncMemory:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory.close()


def _awaited(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(self: AsyncMemory, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(method, self._memory, *args, **kwargs)

    return call


for _name, _method in inspect.getmembers(Memory, inspect.isfunction):
    if not _name.startswith("_"):
        setattr(AsyncMemory, _name, _awaited(_method))


# -- what came in --------------------------------------------------------------------------

_Chosen = tuple[str | None, str | None, str | None]
"""User, agent, run; None where not named."""


def _path(config: Any, settings: Settings) -> Path:
    given = _within(config, "vector_store", "config", "path")
    if not isinstance(given, str | Path) or not str(given):
        return settings.path
    path = Path(given)
    if path.is_dir():
        path = path / "memory.mnemos"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _embedder(config: Any) -> str:
    if _within(config, "embedder", "provider") == "mnemos":
        return str(_within(config, "embedder", "config", "model") or "auto")
    return "auto"


def _within(config: Any, *names: str) -> Any:
    for name in names:
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    return config


def _scope(user_id: str | None, agent_id: str | None, run_id: str | None) -> tuple[Scope, str]:
    if not any((user_id, agent_id, run_id)):
        raise InvalidInput("whose memory? Give at least one of user_id, agent_id and run_id")
    return Scope(_id(user_id), _id(agent_id)), _id(run_id)


def _id(value: Any) -> str:
    return "" if value is None else str(value)  # mem0 takes numbers too


def _chosen(
    user_id: str | None, agent_id: str | None, run_id: str | None, filters: Mapping[str, Any] | None
) -> tuple[_Chosen, Mapping[str, Any]]:
    named, conditions = split(filters or {})
    ids = [
        named.get(name) if given is None else str(given)
        for name, given in (("user_id", user_id), ("agent_id", agent_id), ("run_id", run_id))
    ]
    if not any(ids):
        raise InvalidInput("whose memory? Give at least one of user_id, agent_id and run_id, or filters with one")
    return (ids[0] or None, ids[1] or None, ids[2] or None), conditions


def _read(messages: Any) -> list[tuple[str, str, str]]:
    """(text, speaker, source) of each message."""
    if isinstance(messages, str):
        return [(messages, "user", "user")]
    listed = [messages] if isinstance(messages, Mapping) else messages
    if not isinstance(listed, Sequence) or not all(isinstance(one, Mapping) for one in listed):
        raise InvalidInput(f"messages is {str(messages)[:120]!r}: give a text, a dict or a list of dicts")
    found = []
    for one in listed:
        role = one.get("role")
        text = _text(one.get("content"))
        if not isinstance(role, str) or text is None:
            raise InvalidInput(f"not a message: {str(dict(one))[:120]}; it needs role and content")
        if role != "system" and text.strip():
            found.append((text, str(one.get("name") or role), role if role in _SOURCES else "user"))
    return found


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if content is None:  # an assistant's call of a tool
        return ""
    parts = [content] if isinstance(content, Mapping) else content
    if not isinstance(parts, list):
        return None
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, Mapping) and "text" in part)


# -- what goes out -------------------------------------------------------------------------


def _who_said(record: Record) -> dict[str, str]:
    said = {"role": record.source}
    return said | ({"actor_id": record.speaker} if record.speaker not in (record.source, "") else {})


def _events(memory_id: str, versions: Sequence[Version]) -> Iterator[dict[str, Any]]:
    """mem0's events from the versions of a record: what changed the text, or hid it, or brought it back."""
    created = versions[0].operation.at
    old: str | None = None
    for version in versions:
        record = version.record
        new = None if record is None or record.retracted_at is not None else record.text
        if new == old:
            continue
        yield {
            "id": version.operation.id,
            "memory_id": memory_id,
            "old_memory": old,
            "new_memory": new,
            "event": "DELETE" if new is None else "ADD" if old is None else "UPDATE",
            "created_at": _iso(created),
            "updated_at": None if old is None and version is versions[0] else _iso(version.operation.at),
            "is_deleted": new is None,
            **(_who_said(record) if record is not None else {}),
        }
        old = new


def _iso(at: Time) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _unknown(memory_id: str) -> MemoryNotFound:
    return MemoryNotFound(f"Memory with id {memory_id} not found: get_all lists what there is")


__all__ = ["AsyncMemory", "Memory", "MemoryNotFound"]
