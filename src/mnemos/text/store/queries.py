"""Everything that is asked of the SQLite store; nothing here changes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Time
from mnemos.core.errors import NotFound
from mnemos.text.records import (
    EdgeKind,
    Filter,
    Kind,
    Operation,
    OperationKind,
    Record,
    Scope,
    Version,
    from_dict,
)
from mnemos.text.store.base import Columns, ScopeSize
from mnemos.text.store.connection import translated
from mnemos.text.store.session import Session

_CHUNK = 500
"""Bound parameters per statement; well under every build's limit."""


class Queries(Session):
    """The reading half of `SQLiteStore`."""

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """The current records of those ids that exist, retracted ones included."""
        found: dict[str, Record] = {}
        for part in _chunks(ids):
            sql = f"SELECT body FROM records JOIN log ON log.seq=version WHERE records.id IN ({_marks(part)})"
            found.update((r.id, r) for r in self._records(sql, part))
        return found

    def visible(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids whose record is there and neither retracted nor in quarantine."""
        sql = "SELECT id FROM records WHERE hidden=0 AND id IN ({})"
        return {id for part in _chunks(ids) for (id,) in self._rows(sql.format(_marks(part)), part)}

    def bodies(self, versions: Sequence[int]) -> dict[int, dict[str, Any]]:
        """By log number, the records as those entries left them, as data."""
        found: dict[int, dict[str, Any]] = {}
        for part in _chunks(versions):
            rows = self._rows(f"SELECT seq, body FROM log WHERE seq IN ({_marks(part)}) AND body IS NOT NULL", part)
            with translated(self.path):  # parsed as one list: a third of the time
                bodies = json.loads(f"[{','.join(body for _, body in rows)}]")
            found.update(zip((seq for seq, _ in rows), bodies, strict=True))
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
            "SELECT version, seq, id, kind, session, speaker, at, valid_from, valid_to, expires_at, traits, terms,"
            " mentions"
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
            "SELECT body FROM records JOIN log ON log.seq=version"
            " WHERE hidden=0 AND kind IN ('turn','passage','note')"
            " AND NOT EXISTS (SELECT 1 FROM vectors WHERE model=? AND record=records.seq)"
            " ORDER BY records.seq LIMIT ?"
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

    def slots(self, scope: Scope, slots: Sequence[str]) -> dict[str, list[Record]]:
        """Unretracted facts by slot, quarantined ones included."""
        number = self._scope_number(scope)
        found: dict[str, list[Record]] = {}
        for part in _chunks(slots):
            sql = (
                "SELECT slot, body FROM records JOIN log ON log.seq=version"
                # said to be none of those without a slot, which the index leaves out: else it cannot be used
                f" WHERE records.scope=? AND slot IN ({_marks(part)}) AND slot != '' ORDER BY records.seq"
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
            "SELECT record FROM log JOIN operations ON operations.seq=log.operation"
            " WHERE operations.id=? ORDER BY log.seq",
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
            f"SELECT operations.seq, {_OPERATION} FROM operations"
            " JOIN scopes ON scopes.id=operations.scope ORDER BY operations.seq"
        ):
            changes = self._rows("SELECT record, body FROM log WHERE operation=? ORDER BY seq", (row[0],))
            records = [json.loads(body) if body else {"id": id, "erased": True} for id, body in changes]
            yield _operation(row[1:]), records, {r["id"]: r.pop("key") for r in records if "key" in r}

    def counts(self, scope: Scope, now: Time) -> tuple[dict[str, int], int]:
        """(visible records by kind, hidden ones) of `scope` at `now`."""
        visible = "hidden=0 AND (expires_at IS NULL OR expires_at>?) AND (valid_to IS NULL OR valid_to>?)"
        rows = self._rows(
            f"SELECT kind, sum({visible}), count(*) FROM records WHERE scope=? GROUP BY kind ORDER BY kind",
            (now, now, self._scope_number(scope)),
        )
        return {kind: shown for kind, shown, _ in rows if shown}, sum(total - shown for _, shown, total in rows)

    def scopes(self) -> list[ScopeSize]:
        """Every scope that holds something."""
        rows = self._rows(
            "SELECT user, agent, count(*), sum(kind IN ('turn','passage','note')) FROM records"
            " JOIN scopes ON scopes.id=scope GROUP BY scope ORDER BY user, agent"
        )
        return [ScopeSize(Scope(user, agent), records, verbatim) for user, agent, records, verbatim in rows]

    def settings(self) -> list[tuple[str, str]]:
        """Every setting that belongs to the memory, not to this file."""
        return [
            (n, v) for n, v in self._rows("SELECT name, value FROM settings WHERE name!='vector-epoch' ORDER BY name")
        ]

    def all_vectors(self) -> Iterator[tuple[str, str, bytes, NDArray[np.float16]]]:
        """(model, record id, hash, vector) of every unit, in order."""
        sql = "SELECT model, id, vectors.hash, vector FROM vectors JOIN records ON records.seq=record"
        " ORDER BY model, record, unit"
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

    def _records(self, sql: str, values: Sequence[Any]) -> Iterator[Record]:
        return (self._read(body) for (body,) in self._rows(sql, values))

    def _read(self, body: str) -> Record:
        with translated(self.path):
            return from_dict(json.loads(body))

    def _scope_number(self, scope: Scope) -> int:
        rows = self._rows("SELECT id FROM scopes WHERE user=? AND agent=?", (scope.user, scope.agent))
        return int(rows[0][0]) if rows else -1


_OPERATION = "operations.id, operations.kind, operations.at, scopes.user, scopes.agent, operations.note"

_INVARIANTS = (
    ("records whose text is missing from the log", "SELECT count(*)"
        " FROM records LEFT JOIN log ON log.seq=version WHERE body IS NULL"),
    ("log rows without their operation", "SELECT count(*) FROM log"
        " LEFT JOIN operations o ON o.seq=log.operation WHERE o.seq IS NULL"),
    ("edges from records that are gone", "SELECT count(*) FROM edges LEFT JOIN records ON records.seq=source"
        " WHERE id IS NULL"),
    ("vectors of records that are gone", "SELECT count(*) FROM vectors LEFT JOIN records ON records.seq=record"
        " WHERE id IS NULL"),
    ("sources of traces that are gone", "SELECT count(*) FROM trace_sources LEFT JOIN traces ON seq=trace"
        " WHERE body IS NULL"),
    ("keys of records that are gone", "SELECT count(*) FROM keys LEFT JOIN records ON records.id=record"
        " WHERE id IS NULL"),
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
