"""The traces of recipes in the SQLite store: beside the log, keyed, numbered by change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import numpy as np

from mnemos.text.records import Scope, dumps
from mnemos.text.store.base import Trace
from mnemos.text.store.connection import translated
from mnemos.text.store.session import Session

_COLUMNS = "seq, key, body, made_by, model, dim, vectors"


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
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM traces JOIN scopes ON scopes.id=scope"
            " WHERE user=? AND agent=? AND recipe=? AND seq>? ORDER BY seq",
            (scope.user, scope.agent, recipe, since),
        )
        sources = self._sources(
            "trace IN (SELECT seq FROM traces JOIN scopes ON scopes.id=scope"
            " WHERE user=? AND agent=? AND recipe=? AND seq>?)",
            (scope.user, scope.agent, recipe, since),
        ) if rows else {}  # fmt: skip
        with translated(self.path):
            found = [_trace(row, sources) for row in rows if row[2] is not None]
        return (rows[-1][0] if rows else since), found, [row[1] for row in rows if row[2] is None]

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
