"""The SQLite store: one file, write-ahead log, one transaction per call.

Durability: `synchronous=FULL`, so a commit that returned survives a power cut (SQLite docs,
"Write-Ahead Logging"). Privacy: `secure_delete` overwrites what is removed, and `erase` empties
the write-ahead log afterwards. Every thread has a connection of its own; writers of this process
queue on a lock, writers of other processes on SQLite's own.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Time
from mnemos.core.errors import NotFound, StoreBusy
from mnemos.text.encode.analyse import text_hash
from mnemos.text.records import (
    EdgeKind,
    Filter,
    Kind,
    Operation,
    OperationKind,
    Record,
    Scope,
    Version,
    dumps,
    from_dict,
    to_dict,
)
from mnemos.text.store.base import Columns, ScopeSize, Unit, Write
from mnemos.text.store.connection import connect, translated

_CHUNK = 500
"""Bound parameters per statement; well under every build's limit."""


class SQLiteStore:
    """A `Store` in one SQLite file.

    Args:
        path: the file; made, with its folder's permission, if missing.

    Raises:
        StoreForeign, StoreDamaged, StoreReadOnly: the file is not ours, broken, or out of reach.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._lock = threading.RLock()
        self._open: list[apsw.Connection] = []
        self._closed = False
        self._db()

    # -- writing ---------------------------------------------------------------------------

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
        if seq is None:
            db.execute(
                "INSERT INTO records(id, scope, version, kind, session, speaker, at, valid_from, valid_to, expires_at,"
                " hidden, hash, slot, traits, terms, mentions)"
                " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, x'', x'')",
                (record.id, *columns, text_hash(record.text), write.slot),
            )
            seq = db.last_insert_rowid()
        else:
            db.execute(
                "UPDATE records SET scope=?, version=?, kind=?, session=?, speaker=?, at=?, valid_from=?, valid_to=?,"
                " expires_at=?, hidden=?, hash=? WHERE seq=?",
                (*columns, text_hash(record.text), seq),
            )
            db.execute("DELETE FROM edges WHERE source=?", (seq,))
            if analysis is not None:
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
            blobs = (analysis.terms.tobytes(), analysis.mentions.tobytes())
            db.execute("UPDATE records SET terms=?, mentions=?, traits=? WHERE seq=?", (*blobs, analysis.traits, seq))
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
        removed = dict.fromkeys(("records", "log", "edges", "vectors", "keys"), 0)

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
                drop(db, "records", "DELETE FROM records WHERE seq=?", (seq,))
                db.execute(
                    "INSERT INTO log(operation, scope, record, body) VALUES(?, ?, ?, NULL)",
                    (number, scope, id),
                )
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

    # -- reading ---------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One consistent view for every read inside, unchanged by other writers."""
        db = self._db()
        if not db.get_autocommit():  # already inside one
            yield
            return
        with translated(self.path):
            db.execute("BEGIN")
        try:
            yield
        finally:
            if not db.get_autocommit():
                db.execute("ROLLBACK")

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """The current records of those ids that exist, retracted ones included."""
        found: dict[str, Record] = {}
        for part in _chunks(ids):
            sql = f"SELECT body FROM records JOIN log ON log.seq=version WHERE records.id IN ({_marks(part)})"
            found.update((r.id, r) for r in self._records(sql, part))
        return found

    def find(
        self, where: Filter, now: Time, *, limit: int | None = None, after: str = "", hidden: bool = False
    ) -> Iterator[Record]:
        """Records in the order in which they were added, after the id `after`."""
        clauses, values = _where(where, now, hidden)
        if after:
            clauses.append("records.seq > coalesce((SELECT seq FROM records WHERE id=?), 0)")
            values.append(after)
        sql = (
            "SELECT body FROM records JOIN scopes ON scopes.id=records.scope JOIN log ON log.seq=version"
            f" WHERE {' AND '.join(clauses)} ORDER BY records.seq LIMIT ?"
        )
        yield from self._records(sql, [*values, -1 if limit is None else limit])

    def latest(self) -> tuple[int, int]:
        """(the log's last number, how often vectors were attached)."""
        (row,) = self._rows(
            "SELECT coalesce((SELECT max(seq) FROM log), 0),"
            " coalesce((SELECT CAST(value AS INTEGER) FROM settings WHERE name='vector-epoch'), 0)"
        )
        return int(row[0]), int(row[1])

    def mark(self, number: int) -> str:
        """The operation that wrote log number `number`; empty where there is none."""
        rows = self._rows("SELECT o.id FROM log JOIN operations o ON o.seq=log.operation WHERE log.seq=?", (number,))
        return str(rows[0][0]) if rows else ""

    def changed(self, scope: Scope, kinds: Sequence[Kind], since: int) -> tuple[Columns, list[str]]:
        """Of `scope`, what changed after log number `since`: rows to index, ids to drop."""
        number = self._scope_number(scope)
        rows = self._rows(
            "SELECT version, seq, id, kind, session, speaker, at, valid_from, valid_to, expires_at, traits, terms, mentions"
            " FROM records"
            f" WHERE scope=? AND version>? AND hidden=0 AND kind IN ({_marks(kinds)}) ORDER BY version",
            (number, since, *(str(k) for k in kinds)),
        )
        gone: list[str] = []
        if since:
            gone = [
                r[0]
                for r in self._rows("SELECT id FROM records WHERE scope=? AND version>? AND hidden=1", (number, since))
            ]
            gone += [
                r[0]
                for r in self._rows("SELECT record FROM log WHERE seq>? AND scope=? AND body IS NULL", (since, number))
            ]
        return Columns(*zip(*rows, strict=True)) if rows else Columns(), gone

    def vectors(self, scope: Scope, model: str, since: int) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """(record version [n], vectors [n, dim]) of what changed after `since`, by version."""
        rows = self._rows(
            "SELECT version, vector FROM vectors JOIN records ON records.seq=vectors.record"
            " WHERE model=? AND scope=? AND version>? AND hidden=0 ORDER BY version, unit",
            (model, self._scope_number(scope), since),
        )
        if not rows:
            return np.empty(0, np.int64), np.empty((0, 0), np.float16)
        seqs, blobs = zip(*rows, strict=True)
        return np.array(seqs, np.int64), np.frombuffer(b"".join(blobs), np.float16).reshape(len(seqs), -1)

    def cached(self, model: str, hashes: Sequence[bytes]) -> dict[bytes, NDArray[np.float16]]:
        """Vectors already made by `model`, by hash."""
        found: dict[bytes, NDArray[np.float16]] = {}
        for part in _chunks(hashes):
            sql = f"SELECT hash, vector FROM vectors WHERE model=? AND hash IN ({_marks(part)})"
            found.update((h, np.frombuffer(v, np.float16)) for h, v in self._rows(sql, (model, *part)))
        return found

    def stale(self, model: str, limit: int) -> list[Record]:
        """Searchable verbatim records that have no vector by `model`."""
        sql = (
            "SELECT body FROM records JOIN log ON log.seq=version WHERE hidden=0 AND kind IN ('turn','passage','note')"
            " AND NOT EXISTS (SELECT 1 FROM vectors WHERE model=? AND record=records.seq) ORDER BY records.seq LIMIT ?"
        )
        return list(self._records(sql, (model, limit)))

    def keys(self, scope: Scope, keys: Sequence[str]) -> dict[str, str]:
        """Record ids by idempotency key."""
        number = self._scope_number(scope)
        found: dict[str, str] = {}
        for part in _chunks(keys):
            found.update(
                self._rows(f"SELECT key, record FROM keys WHERE scope=? AND key IN ({_marks(part)})", (number, *part))
            )
        return found

    def same_text(self, scope: Scope, hashes: Sequence[bytes]) -> dict[bytes, str]:
        """The earliest visible verbatim record with each text hash."""
        number = self._scope_number(scope)
        found: dict[bytes, str] = {}
        for part in _chunks(hashes):
            sql = (
                f"SELECT hash, id FROM records WHERE scope=? AND hash IN ({_marks(part)}) AND hidden=0"
                " AND kind IN ('turn','passage','note') ORDER BY seq DESC"
            )
            found.update(self._rows(sql, (number, *part)))
        return found

    def slots(self, scope: Scope, slots: Sequence[str]) -> dict[str, list[Record]]:
        """Unretracted facts by slot, quarantined ones included."""
        number = self._scope_number(scope)
        found: dict[str, list[Record]] = {}
        for part in _chunks(slots):
            sql = (
                "SELECT slot, body FROM records JOIN log ON log.seq=version"
                f" WHERE records.scope=? AND slot IN ({_marks(part)}) ORDER BY records.seq"
            )
            for slot, body in self._rows(sql, (number, *part)):
                fact = self._read(body)
                if fact.retracted_at is None:
                    found.setdefault(slot, []).append(fact)
        return found

    def incoming(self, ids: Sequence[str], kinds: Sequence[EdgeKind]) -> list[tuple[str, EdgeKind, str]]:
        """Edges (from, kind, to) that end in one of `ids`."""
        found: list[tuple[str, EdgeKind, str]] = []
        for part in _chunks(ids):
            sql = (
                "SELECT records.id, edges.kind, target FROM edges JOIN records ON records.seq=source"
                f" WHERE target IN ({_marks(part)}) AND edges.kind IN ({_marks(kinds)})"
            )
            found += [(a, EdgeKind(k), b) for a, k, b in self._rows(sql, (*part, *(str(k) for k in kinds)))]
        return found

    def edges(self, scope: Scope, kinds: Sequence[EdgeKind]) -> list[tuple[str, str, float]]:
        """(from, to, weight) of all edges of `kinds` between current records of `scope`."""
        return [
            (a, b, w)
            for a, b, w in self._rows(
                "SELECT records.id, target, weight FROM edges JOIN records ON records.seq=source"
                f" WHERE scope=? AND hidden=0 AND edges.kind IN ({_marks(kinds)})",
                (self._scope_number(scope), *(str(k) for k in kinds)),
            )
        ]

    def touch(self, ids: Sequence[str], at: Time) -> None:
        """Count a use of each record at `at`."""
        with self.writing() as db:
            db.executemany(
                "INSERT INTO uses(record, count, last) VALUES(?, 1, ?)"
                " ON CONFLICT(record) DO UPDATE SET count=count+1, last=max(last, excluded.last)",
                [(id, at) for id in ids],
            )

    def uses(self, ids: Sequence[str]) -> dict[str, tuple[int, Time]]:
        """(how often, when last) of the records that were ever used."""
        found: dict[str, tuple[int, Time]] = {}
        for part in _chunks(ids):
            rows = self._rows(f"SELECT record, count, last FROM uses WHERE record IN ({_marks(part)})", part)
            found.update((id, (count, last)) for id, count, last in rows)
        return found

    def in_log(self, piece: bytes) -> bool:
        """Whether a record that is still there, of any scope, holds `piece` of UTF-8 JSON."""
        return bool(self._rows("SELECT 1 FROM log WHERE instr(CAST(body AS BLOB), ?) LIMIT 1", (piece,)))

    # -- the log ---------------------------------------------------------------------------

    def history(self, id: str) -> list[Version]:
        """The record as each operation left it, oldest first."""
        rows = self._rows(
            f"SELECT {_OPERATION}, body FROM log JOIN operations ON operations.seq=log.operation"
            " JOIN scopes ON scopes.id=operations.scope WHERE record=? ORDER BY log.seq",
            (id,),
        )
        return [Version(_operation(r), self._read(r[-1]) if r[-1] else None) for r in rows]

    def operation(self, id: str) -> tuple[Operation, list[str]]:
        """An operation and the records it changed."""
        rows = self._rows(
            f"SELECT {_OPERATION} FROM operations JOIN scopes ON scopes.id=operations.scope WHERE operations.id=?",
            (id,),
        )
        if not rows:
            raise NotFound(f"no operation {id!r}: `mnemos history` lists those of a record")
        records = self._rows(
            "SELECT record FROM log JOIN operations ON operations.seq=log.operation WHERE operations.id=? ORDER BY log.seq",
            (id,),
        )
        return _operation(rows[0]), [r[0] for r in records]

    def operations(self, scope: Scope | None, limit: int) -> list[Operation]:
        """The newest operations first."""
        sql = f"SELECT {_OPERATION} FROM operations JOIN scopes ON scopes.id=operations.scope"
        values: tuple[Any, ...] = ()
        if scope is not None:
            sql += " WHERE user=? AND agent=?"
            values = (scope.user, scope.agent)
        return [_operation(r) for r in self._rows(f"{sql} ORDER BY operations.seq DESC LIMIT ?", (*values, limit))]

    def log(self) -> Iterator[tuple[Operation, list[dict[str, Any]], dict[str, str]]]:
        """Every operation in order, with its records as data and their keys."""
        for row in self._rows(
            f"SELECT operations.seq, {_OPERATION} FROM operations JOIN scopes ON scopes.id=operations.scope ORDER BY operations.seq"
        ):
            changes = self._rows("SELECT record, body FROM log WHERE operation=? ORDER BY seq", (row[0],))
            records = [json.loads(body) if body else {"id": id, "erased": True} for id, body in changes]
            yield _operation(row[1:]), records, {r["id"]: r.pop("key") for r in records if "key" in r}

    # -- the whole -------------------------------------------------------------------------

    def scopes(self) -> list[ScopeSize]:
        """Every scope that holds something."""
        rows = self._rows(
            "SELECT user, agent, count(*), sum(kind IN ('turn','passage','note')) FROM records"
            " JOIN scopes ON scopes.id=scope GROUP BY scope ORDER BY user, agent"
        )
        return [ScopeSize(Scope(user, agent), records, verbatim) for user, agent, records, verbatim in rows]

    def setting(self, name: str, value: str | None = None) -> str | None:
        """Read a setting of the store, or write it."""
        if value is None:
            rows = self._rows("SELECT value FROM settings WHERE name=?", (name,))
            return rows[0][0] if rows else None
        with self.writing() as db:
            db.execute("INSERT OR REPLACE INTO settings(name, value) VALUES(?, ?)", (name, value))
        return value

    def settings(self) -> list[tuple[str, str]]:
        """Every setting that belongs to the memory, not to this file."""
        return [
            (n, v) for n, v in self._rows("SELECT name, value FROM settings WHERE name!='vector-epoch' ORDER BY name")
        ]

    def all_vectors(self) -> Iterator[tuple[str, str, bytes, NDArray[np.float16]]]:
        """(model, record id, hash, vector) of every unit, in order."""
        sql = "SELECT model, id, vectors.hash, vector FROM vectors JOIN records ON records.seq=record ORDER BY model, record, unit"
        with translated(self.path):
            for model, id, hash, vector in self._db().execute(sql):
                yield model, id, hash, np.frombuffer(vector, np.float16)

    def files(self) -> list[str]:
        """Every file that belongs to the store."""
        return [
            str(p) for p in (self.path, *(Path(f"{self.path}{s}") for s in ("-wal", "-shm", "-journal"))) if p.exists()
        ]

    def check(self) -> list[str]:
        """What is wrong with the store; empty when it is sound."""
        problems = [str(r[0]) for r in self._rows("PRAGMA integrity_check(20)") if r[0] != "ok"]
        for what, sql in _INVARIANTS:
            (count,) = self._rows(sql)[0]
            if count:
                problems.append(f"{count} {what}")
        return problems

    def rebuild(self, analyse: Callable[[Record], Write]) -> int:
        """Make everything but the log again from the log. Returns the number of records."""
        with self.writing() as db:
            for table in ("edges", "keys", "vectors", "records"):
                db.execute(f"DELETE FROM {table}")
            latest = "SELECT max(seq) FROM log GROUP BY record"
            rows = list(
                db.execute(
                    f"SELECT seq, scope, record, body FROM log WHERE seq IN ({latest}) ORDER BY (SELECT min(seq) FROM log f WHERE f.record=log.record)"
                )
            )
            for seq, scope, _, body in rows:
                if body:
                    self._materialise(db, analyse(from_dict(json.loads(body))), scope, seq)
            for scope, record, key in list(
                db.execute(
                    "SELECT scope, record, json_extract(body, '$.key') FROM log WHERE json_extract(body, '$.key') IS NOT NULL"
                )
            ):
                db.execute("INSERT OR IGNORE INTO keys(scope, key, record) VALUES(?, ?, ?)", (scope, key, record))
            self.setting("vector-epoch", str(int(self.setting("vector-epoch") or 0) + 1))
        return sum(1 for row in rows if row[3])

    def close(self) -> None:
        """Release the files. A closed store cannot be used again."""
        with self._lock:
            self._closed = True
            for db in self._open:
                db.close()
            self._open.clear()

    # -- connections -----------------------------------------------------------------------

    def _db(self) -> apsw.Connection:
        db: apsw.Connection | None = getattr(self._local, "db", None)
        if db is None or self._closed:
            if self._closed:
                raise StoreBusy(f"{self.path}: this memory was closed: open it again with Memory({str(self.path)!r})")
            with self._lock:
                db = connect(self.path)
                self._open.append(db)
            self._local.db = db
        return db

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """One transaction for every commit and read inside: all or nothing, durable on exit."""
        with self._lock, translated(self.path):
            db = self._db()
            if not db.get_autocommit():  # inside another write of this thread
                yield db
                return
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if not db.get_autocommit():
                    db.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with translated(self.path):
            return list(self._db().execute(sql, values))

    def _records(self, sql: str, values: Sequence[Any]) -> Iterator[Record]:
        return (self._read(body) for (body,) in self._rows(sql, values))

    def _read(self, body: str) -> Record:
        with translated(self.path):
            return from_dict(json.loads(body))

    def _scope(self, db: apsw.Connection, scope: Scope, known: dict[Scope, int]) -> int:
        if scope not in known:
            db.execute("INSERT OR IGNORE INTO scopes(user, agent) VALUES(?, ?)", (scope.user, scope.agent))
            known[scope] = db.execute("SELECT id FROM scopes WHERE user=? AND agent=?", (scope.user, scope.agent)).get
        return known[scope]

    def _scope_number(self, scope: Scope) -> int:
        rows = self._rows("SELECT id FROM scopes WHERE user=? AND agent=?", (scope.user, scope.agent))
        return int(rows[0][0]) if rows else -1


_OPERATION = "operations.id, operations.kind, operations.at, scopes.user, scopes.agent, operations.note"

_INVARIANTS = (
    ("records whose text is missing from the log", "SELECT count(*) FROM records LEFT JOIN log ON log.seq=version WHERE body IS NULL"),
    ("log rows without their operation", "SELECT count(*) FROM log LEFT JOIN operations o ON o.seq=log.operation WHERE o.seq IS NULL"),
    ("edges from records that are gone", "SELECT count(*) FROM edges LEFT JOIN records ON records.seq=source WHERE id IS NULL"),
    ("vectors of records that are gone", "SELECT count(*) FROM vectors LEFT JOIN records ON records.seq=record WHERE id IS NULL"),
    ("keys of records that are gone", "SELECT count(*) FROM keys LEFT JOIN records ON records.id=record WHERE id IS NULL"),
)  # fmt: skip


def _operation(row: Sequence[Any]) -> Operation:
    return Operation(row[0], OperationKind(row[1]), row[2], Scope(row[3], row[4]), json.loads(row[5]))


def _where(where: Filter, now: Time, hidden: bool) -> tuple[list[str], list[Any]]:
    clauses = ["user=?", "agent=?", f"records.kind IN ({_marks(where.kinds)})"]
    values: list[Any] = [where.scope.user, where.scope.agent, *(str(k) for k in where.kinds)]
    for sql, value in (
        ("session=?", where.session),
        ("speaker=? COLLATE NOCASE", where.speaker),
        ("at>=?", where.since),
        ("at<?", where.until),
    ):
        if value is not None:
            clauses.append(sql)
            values.append(value)
    if not hidden:
        moment = now if where.as_of is None else where.as_of
        clauses.append("hidden=0 AND (expires_at IS NULL OR expires_at>?) AND (valid_to IS NULL OR valid_to>?)")
        values += [now, moment]
        if where.as_of is not None:
            clauses.append("coalesce(valid_from, at, ?)<=?")
            values += [moment, moment]
    return clauses, values


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    values = list(dict.fromkeys(values))
    return (values[i : i + _CHUNK] for i in range(0, len(values), _CHUNK))
