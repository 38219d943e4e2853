"""The file under a memory: opened, looked after, closed. The verbs are in `memory.py`."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mnemos.core.clock import Clock, SystemClock, parse_time
from mnemos.core.config import Settings
from mnemos.core.errors import InvalidInput, NotFound
from mnemos.core.ids import IdGenerator
from mnemos.text import portable
from mnemos.text.encode.embedder import Embedder, resolve
from mnemos.text.facts import Chains
from mnemos.text.gate import LoopGuard
from mnemos.text.llm import LanguageModel
from mnemos.text.recall.search import Recall
from mnemos.text.recipes import DEFAULT, Mnemos, Parts, Recipe, make_recipe
from mnemos.text.records import Filter, Kind, Operation, OperationKind, Record, Scope
from mnemos.text.store import ScopeSize, SQLiteStore, Store
from mnemos.text.write import Encoder, clean, counted

log = logging.getLogger(__name__)


class MemoryFile:
    """What a `Memory` is apart from its verbs: the store, the index, and what can be said of both."""

    def __init__(
        self,
        path: str | Path = "memory.mnemos",
        *,
        embedder: str | Embedder | None = "auto",
        llm: LanguageModel | None = None,
        recipe: str | None = None,
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
        self._recall = Recall(self._store, self._encoder, self.path)
        name = settings.recipe if recipe is None else recipe
        parts = Parts(self._store, self._encoder, self._recall, self._llm, self._ids, self._clock)
        try:
            self._recipe = make_recipe(name, parts)
        except BaseException:
            self._store.close()
            raise
        self._guard = LoopGuard()
        self._write_lock = threading.RLock()
        self._chains = Chains()
        self._closed = False
        if found is None:
            log.warning(
                "no embedder: this memory finds by words, names and time; pip install 'mnemos[local]' adds meaning"
            )

    @property
    def recipe(self) -> Recipe[Any] | Mnemos | None:
        """The recipe that this memory works by, for what only it can do; None where the default has no embedder."""
        return self._recipe

    def stats(self, *, user: str = "", agent: str = "") -> dict[str, Any]:
        """Counts of this scope by kind, and the sizes of files and index."""
        scope = self._scope(user, agent)
        kinds, hidden = self._store.counts(scope, self._clock.now())
        with self._store.reading():
            corpus = self._recall.corpus(scope)
        return {
            "path": str(self.path),
            "recipe": self._recipe.name if self._recipe else DEFAULT,
            "pending": self._recipe.pending(scope) if self._recipe else 0,
            "embedder": self._encoder.model or None,
            "records": kinds,
            "hidden": hidden,
            "file_bytes": sum(Path(f).stat().st_size for f in self._store.files()),
            "index_bytes": corpus.nbytes(),
            "index": "exact" if corpus.vectors.exact else "approximate",
        }

    def scopes(self) -> list[ScopeSize]:
        """Every scope with its counts: for whoever owns the file, not for a user of it."""
        return self._store.scopes()

    def operations(self, *, user: str = "", agent: str = "", limit: int = 50) -> list[Operation]:
        """The newest operations of the scope first; their ids are what `undo` takes."""
        return self._store.operations(self._scope(user, agent), counted(limit, "limit"))

    def export(self, path: str | Path, *, progress: Callable[[int], None] | None = None) -> int:
        """Write everything (log, keys, policies, vectors) to one JSONL file. Returns its operations."""
        return portable.export(self._store, Path(path), self._encoder.model, progress)

    def import_(self, path: str | Path, *, progress: Callable[[int], None] | None = None) -> int:
        """Read what `export` wrote; operations that are here already are left out. Returns how
        many came in. All or nothing."""
        with self._write_lock:
            return portable.import_(self._store, Path(path), self._encoder, progress)

    def check(self) -> list[str]:
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
