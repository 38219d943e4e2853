"""The traces of recipes in the SQLite store: beside the log, keyed, numbered by change."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import apsw
import numpy as np
from numpy.typing import NDArray

from mnemos.text.records import Scope, dumps
from mnemos.text.store.base import Snapshot, Trace
from mnemos.text.store.connection import translated
from mnemos.text.store.session import Session

_COLUMNS = "seq, key, body, made_by, model, dim, vectors"
_OF = "FROM traces JOIN scopes ON scopes.id=scope WHERE user=? AND agent=? AND recipe=?"


class TraceTable(Session):
    """What `SQLiteStore` does for recipes."""

    def put_traces(self, scope: Scope, recipe: str, traces: Sequence[Trace], gone: Sequence[str] = ()) -> None:
        """Keep `traces`, each in the place of the one that had its key, and drop the keys `gone`; all or nothing."""
        with self.writing() as db:
            db.execute("INSERT OR IGNORE INTO scopes(user, agent) VALUES(?, ?)", (scope.user, scope.agent))
            number = db.execute("SELECT id FROM scopes WHERE user=? AND agent=?", (scope.user, scope.agent)).get
            for trace in traces:
                vectors = np.empty((0, 0), np.float16) if trace.vectors is None else trace.vectors.astype(np.float16)
                values = (dumps(dict(trace.body)), trace.by, trace.model, vectors.shape[1], vectors.tobytes())
                seq = _replace(db, number, recipe, trace.key, values)
                db.executemany(
                    "INSERT INTO trace_sources(trace, place, record) VALUES(?, ?, ?)",
                    [(seq, place, id) for place, id in enumerate(trace.sources)],
                )
            for key in gone:
                _replace(db, number, recipe, key, _DROPPED)

    def traces(self, scope: Scope, recipe: str, since: int = 0) -> tuple[int, list[Trace], list[str]]:
        """(latest change number, traces that changed after `since` in the order of change, keys dropped since)."""
        values = (*_of(scope, recipe), since)
        rows = self._rows(f"SELECT {_COLUMNS} {_OF} AND seq>? ORDER BY seq", values)
        sources = self._sources(f"trace IN (SELECT seq {_OF} AND seq>?)", values) if rows else {}
        with translated(self.path):
            found = [_trace(row, sources) for row in rows if row[2] is not None]
        return (rows[-1][0] if rows else since), found, [row[1] for row in rows if row[2] is None]

    def traces_at(self, scope: Scope, recipe: str, keys: Sequence[str]) -> dict[str, Trace]:
        """The traces of these keys, of those that are there."""
        found = {}
        for key in keys:
            for row in self._rows(
                f"SELECT {_COLUMNS} {_OF} AND key=? AND body IS NOT NULL", (*_of(scope, recipe), key)
            ):
                found[key] = _trace(row, self._sources("trace=?", (row[0],)))
        return found

    def bare_traces(self, scope: Scope, recipe: str, until: int) -> dict[str, tuple[int, Trace]]:
        """Change number and trace by key, up to change `until`, without bodies and vectors."""
        values = (*_of(scope, recipe), until)
        sources = self._sources(f"trace IN (SELECT seq {_OF} AND seq<=?)", values)
        rows = self._rows(f"SELECT seq, key, made_by, model {_OF} AND seq<=? AND body IS NOT NULL ORDER BY seq", values)
        return {key: (seq, Trace(key, sources.get(seq, ()), {}, by, None, model)) for seq, key, by, model in rows}

    def trace_vectors(self, scope: Scope, recipe: str, until: int) -> Iterator[tuple[str, NDArray[np.float16]]]:
        """(key, vectors [m, dim]) of those traces up to change `until` that have any, the latest first."""
        sql = f"SELECT key, dim, vectors {_OF} AND seq<=? AND dim>0 AND body IS NOT NULL ORDER BY seq DESC"
        with translated(self.path):
            for key, dim, blob in self._db().execute(sql, (*_of(scope, recipe), until)):
                yield key, np.frombuffer(blob, np.float16).reshape(-1, dim)

    def put_snapshot(self, scope: Scope, recipe: str, seq: int, model: str, keys: Collection[str], body: bytes) -> None:
        """Keep a `Snapshot` in the place of an earlier one, unless traces have changed since `seq`: what was erased
        meanwhile must not come back."""
        with self.hurried(), self.writing() as db:
            numbers = dict(db.execute(f"SELECT key, seq {_OF}", _of(scope, recipe)))
            if max(numbers.values(), default=seq) == seq:
                traces = json.dumps({key: numbers[key] for key in keys})
                db.execute(
                    "INSERT OR REPLACE INTO snapshots(scope, recipe, seq, model, traces, body)"
                    " SELECT id, ?, ?, ?, ?, ? FROM scopes WHERE user=? AND agent=?",
                    (recipe, seq, model, traces, body, scope.user, scope.agent),
                )

    def snapshot(self, scope: Scope, recipe: str) -> Snapshot | None:
        """The one that was kept, until something is erased from the scope."""
        if recipe not in self.packed(scope):
            return None
        rows = self._rows(
            "SELECT seq, model, traces, body FROM snapshots JOIN scopes ON scopes.id=scope"
            " WHERE user=? AND agent=? AND recipe=?", _of(scope, recipe)
        )  # fmt: skip
        for seq, model, traces, body in rows:
            return Snapshot(seq, model, json.loads(traces), body)
        return None

    def packed(self, scope: Scope) -> set[str]:
        """The recipes that have a `Snapshot` in this scope."""
        # a file that can only be read may be as an older version left it
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name='snapshots'"):
            return set()
        sql = "SELECT recipe FROM snapshots JOIN scopes ON scopes.id=scope WHERE user=? AND agent=?"
        return {recipe for (recipe,) in self._rows(sql, (scope.user, scope.agent))}

    def drop_traces(self, ids: Sequence[str]) -> int:
        """Drop what any recipe made of the records `ids`. Returns how many traces went."""
        dropped = 0
        with self.writing() as db:
            for id in ids:
                rows = list(db.execute(
                    "SELECT DISTINCT scope, recipe, key FROM traces JOIN trace_sources ON trace=seq WHERE record=?",
                    (id,),
                ))  # fmt: skip
                for scope, recipe, key in rows:
                    _replace(db, scope, recipe, key, _DROPPED)
                dropped += len(rows)
        return dropped

    def all_traces(self) -> Iterator[tuple[Scope, str, Trace]]:
        """Every trace with its scope and recipe, in the order of change."""
        sources = self._sources("1", ())
        rows = self._rows(
            f"SELECT {_COLUMNS}, user, agent, recipe FROM traces JOIN scopes ON scopes.id=scope"
            " WHERE body IS NOT NULL ORDER BY seq"
        )
        for row in rows:
            yield Scope(row[7], row[8]), row[9], _trace(row, sources)

    def _sources(self, where: str, values: Sequence[Any]) -> dict[int, tuple[str, ...]]:
        found: dict[int, list[str]] = {}
        sql = f"SELECT trace, record FROM trace_sources WHERE {where} ORDER BY trace, place"
        for trace, record in self._rows(sql, values):
            found.setdefault(trace, []).append(record)
        return {trace: tuple(records) for trace, records in found.items()}


def _of(scope: Scope, recipe: str) -> tuple[str, str, str]:
    """The values of `_OF`."""
    return scope.user, scope.agent, recipe


_DROPPED = (None, "", "", 0, None)


def _replace(db: apsw.Connection, scope: int, recipe: str, key: str, values: tuple[Any, ...]) -> int:
    """The number of the trace that now stands at `key`: always a new one, so that others see the change."""
    old = db.execute("SELECT seq FROM traces WHERE scope=? AND recipe=? AND key=?", (scope, recipe, key)).get
    if old is not None:
        db.execute("DELETE FROM trace_sources WHERE trace=?", (old,))
        db.execute("DELETE FROM traces WHERE seq=?", (old,))
    db.execute(
        "INSERT INTO traces(scope, recipe, key, body, made_by, model, dim, vectors) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        (scope, recipe, key, *values),
    )
    return int(db.last_insert_rowid())


def _trace(row: Sequence[Any], sources: dict[int, tuple[str, ...]]) -> Trace:
    seq, key, body, by, model, dim, blob = row[:7]
    made = sources.get(seq, ())
    vectors = np.frombuffer(blob, np.float16).reshape(-1, dim) if dim else None
    return Trace(key, made, json.loads(body), by, vectors, model)
