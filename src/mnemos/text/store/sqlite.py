"""The SQLite store: one file, write-ahead log, one transaction per call.

Durability: `synchronous=FULL`, so a commit that returned survives a power cut (SQLite docs,
"Write-Ahead Logging"). Privacy: `secure_delete` overwrites what is removed, and `erase` empties
the write-ahead log afterwards. Every thread has a connection of its own; writers of this process
queue on a lock, writers of other processes on SQLite's own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apsw

from mnemos.core.clock import Time
from mnemos.core.errors import StoreBusy
from mnemos.text.records import (
    Operation,
    Record,
    Scope,
    dumps,
    from_dict,
    to_dict,
)
from mnemos.text.store.base import Unit, Write
from mnemos.text.store.connection import translated
from mnemos.text.store.queries import Queries
from mnemos.text.store.traces import TraceTable


class SQLiteStore(Queries, TraceTable):
    """A `Store` in one SQLite file.

    Args:
        path: the file; made, with its folder's permission, if missing.

    Raises:
        StoreForeign, StoreDamaged, StoreReadOnly: the file is not ours, broken, or out of reach.
    """

    def commit(self, operation: Operation, writes: Sequence[Write], erased: Sequence[str] = ()) -> None:
        """Append `operation` and its records, all or nothing, durable on return."""
        with self.writing() as db:
            scopes: dict[Scope, int] = {}
            number = self._append(db, operation, scopes)
            for write in writes:
                self._write(db, number, write, scopes)
            scope = self._scope(db, operation.scope, scopes)
            db.executemany(
                "INSERT INTO log(operation, scope, record, body) VALUES(?, ?, ?, NULL)",
                [(number, scope, id) for id in erased],
            )

    def _append(self, db: apsw.Connection, operation: Operation, scopes: dict[Scope, int]) -> int:
        known = db.execute("SELECT seq FROM operations WHERE id=?", (operation.id,)).get
        if known is not None:
            return int(known)
        db.execute(
            "INSERT INTO operations(id, kind, at, scope, note) VALUES(?, ?, ?, ?, ?)",
            (
                operation.id,
                str(operation.kind),
                operation.at,
                self._scope(db, operation.scope, scopes),
                dumps(dict(operation.note)),
            ),
        )
        return int(db.last_insert_rowid())

    def _write(self, db: apsw.Connection, operation: int, write: Write, scopes: dict[Scope, int]) -> None:
        record = write.record
        scope = self._scope(db, record.scope, scopes)
        body = to_dict(record)
        if write.key:
            # whoever wrote this key first, in whichever process, has written this memory
            if db.execute("SELECT 1 FROM keys WHERE scope=? AND key=?", (scope, write.key)).get:
                return
            body["key"] = write.key
        db.execute(
            "INSERT INTO log(operation, scope, record, body) VALUES(?, ?, ?, ?)",
            (operation, scope, record.id, dumps(body)),
        )
        self._materialise(db, write, scope, db.last_insert_rowid())

    def _materialise(self, db: apsw.Connection, write: Write, scope: int, version: int) -> None:
        record, analysis = write.record, write.analysis
        seq = db.execute("SELECT seq FROM records WHERE id=?", (record.id,)).get
        columns = (
            scope, version, str(record.kind), record.session, record.speaker, record.at, record.valid_from,
            record.valid_to, record.retention.expires_at, int(not record.searchable),
        )  # fmt: skip
        seen = (analysis.traits, analysis.terms.tobytes(), analysis.mentions.tobytes()) if analysis else (0, b"", b"")
        if seq is None:
            db.execute(
                "INSERT INTO records(id, scope, version, kind, session, speaker, at, valid_from, valid_to, expires_at,"
                " hidden, slot, traits, terms, mentions)"
                " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (record.id, *columns, write.slot, *seen),
            )
            seq = db.last_insert_rowid()
        else:
            db.execute(
                "UPDATE records SET scope=?, version=?, kind=?, session=?, speaker=?, at=?, valid_from=?, valid_to=?,"
                " expires_at=?, hidden=? WHERE seq=?",
                (*columns, seq),
            )
            db.execute("DELETE FROM edges WHERE source=?", (seq,))
            if analysis is not None:
                db.execute("UPDATE records SET traits=?, terms=?, mentions=? WHERE seq=?", (*seen, seq))
                db.execute("DELETE FROM vectors WHERE record=?", (seq,))
        if record.edges:
            db.executemany(
                "INSERT OR REPLACE INTO edges(source, kind, target, weight) VALUES(?, ?, ?, ?)",
                [(seq, str(e.kind), e.to, e.weight) for e in record.edges],
            )
        if write.key:
            db.execute(
                "INSERT OR IGNORE INTO keys(scope, key, record) VALUES(?, ?, ?)",
                (scope, write.key, record.id),
            )
        if analysis is not None:
            self._attach(db, analysis.model, seq, analysis.units)

    def _attach(self, db: apsw.Connection, model: str, seq: int, units: Sequence[Unit]) -> None:
        if units:
            db.executemany(
                "INSERT OR REPLACE INTO vectors(model, record, unit, hash, vector) VALUES(?, ?, ?, ?, ?)",
                [(model, seq, n, unit.hash, unit.vector.tobytes()) for n, unit in enumerate(units)],
            )

    def put_vectors(self, model: str, units: Iterable[tuple[str, Sequence[Unit]]]) -> None:
        """Attach units to records by id, without touching the log."""
        with self.writing() as db:
            for id, parts in units:
                seq = db.execute("SELECT seq FROM records WHERE id=?", (id,)).get
                if seq is not None:
                    db.execute("DELETE FROM vectors WHERE model=? AND record=?", (model, seq))
                    self._attach(db, model, seq, parts)
            epoch = int(self.setting("vector-epoch") or 0)
            self.setting("vector-epoch", str(epoch + 1))

    def erase(self, operation: Operation, ids: Sequence[str]) -> dict[str, int]:
        """Remove records from everywhere, log included; returns the rows removed by place."""
        removed = dict.fromkeys(("records", "log", "edges", "vectors", "keys", "traces"), 0)

        def drop(db: apsw.Connection, place: str, sql: str, values: tuple[Any, ...]) -> None:
            db.execute(sql, values)
            removed[place] += db.changes()

        with self.writing() as db:
            scopes: dict[Scope, int] = {}
            number = self._append(db, operation, scopes)
            for id in ids:
                drop(db, "log", "UPDATE log SET body=NULL WHERE record=? AND body IS NOT NULL", (id,))
                row = db.execute("SELECT seq, scope FROM records WHERE id=?", (id,)).get
                if row is None:
                    continue
                seq, scope = row
                drop(db, "edges", "DELETE FROM edges WHERE source=?", (seq,))
                drop(db, "edges", "DELETE FROM edges WHERE target=?", (id,))
                drop(db, "vectors", "DELETE FROM vectors WHERE record=?", (seq,))
                drop(db, "keys", "DELETE FROM keys WHERE record=?", (id,))
                db.execute("DELETE FROM uses WHERE record=?", (id,))
                db.execute("DELETE FROM snapshots WHERE scope=?", (scope,))
                drop(db, "records", "DELETE FROM records WHERE seq=?", (seq,))
                db.execute(
                    "INSERT INTO log(operation, scope, record, body) VALUES(?, ?, ?, NULL)",
                    (number, scope, id),
                )
            removed["traces"] = self.drop_traces(ids)
        return removed

    def purge(self) -> None:
        """Make sure that no erased byte is left in any file; after the transaction of `erase`."""
        # what was overwritten still lies in the write-ahead log until it is emptied, and that
        # waits for readers; they are short
        with self._lock, translated(self.path):
            db = self._db()
            for _ in range(200):
                busy, *_ = next(iter(db.execute("PRAGMA wal_checkpoint(TRUNCATE)")))
                if not busy:
                    return
                time.sleep(0.02)  # SQLite does not wait for readers of its own accord
        raise StoreBusy(
            f"{self.path}: another reader keeps the write-ahead log from being emptied; the records are gone from the "
            "store, and their bytes go with the next checkpoint: close other programs and run `mnemos doctor`"
        )

    def touch(self, ids: Sequence[str], at: Time) -> None:
        """Count a use of each record at `at`."""
        with self.writing() as db:
            db.executemany(
                "INSERT INTO uses(record, count, last) VALUES(?, 1, ?)"
                " ON CONFLICT(record) DO UPDATE SET count=count+1, last=max(last, excluded.last)",
                [(id, at) for id in ids],
            )

    def setting(self, name: str, value: str | None = None) -> str | None:
        """Read a setting of the store, or write it."""
        if value is None:
            rows = self._rows("SELECT value FROM settings WHERE name=?", (name,))
            return rows[0][0] if rows else None
        with self.writing() as db:
            db.execute("INSERT OR REPLACE INTO settings(name, value) VALUES(?, ?)", (name, value))
        return value

    def rebuild(self, analyse: Callable[[Record], Write]) -> int:
        """Make everything but the log again from the log. Returns the number of records."""
        with self.writing() as db:
            for table in ("edges", "keys", "vectors", "records", "snapshots"):
                db.execute(f"DELETE FROM {table}")
            latest = "SELECT max(seq) FROM log GROUP BY record"
            rows = list(
                db.execute(
                    f"SELECT seq, scope, record, body FROM log"
                    f" WHERE seq IN ({latest}) ORDER BY (SELECT min(seq) FROM log f WHERE f.record=log.record)"
                )
            )
            for seq, scope, _, body in rows:
                if body:
                    self._materialise(db, analyse(from_dict(json.loads(body))), scope, seq)
            for scope, record, key in list(
                db.execute(
                    "SELECT scope, record, json_extract(body, '$.key')"
                    " FROM log WHERE json_extract(body, '$.key') IS NOT NULL"
                )
            ):
                db.execute("INSERT OR IGNORE INTO keys(scope, key, record) VALUES(?, ?, ?)", (scope, key, record))
            self.setting("vector-epoch", str(int(self.setting("vector-epoch") or 0) + 1))
        return sum(1 for row in rows if row[3])

    def _scope(self, db: apsw.Connection, scope: Scope, known: dict[Scope, int]) -> int:
        if scope not in known:
            db.execute("INSERT OR IGNORE INTO scopes(user, agent) VALUES(?, ?)", (scope.user, scope.agent))
            known[scope] = db.execute("SELECT id FROM scopes WHERE user=? AND agent=?", (scope.user, scope.agent)).get
        return known[scope]
