"""Connections to one SQLite file: one per thread, writers in a queue, reads of one moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from mnemos.core.errors import StoreBusy
from mnemos.text.store.connection import WAIT_MS, connect, translated


class Session:
    """Opens connections to `path` as threads need them; see `SQLiteStore`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._lock = threading.RLock()
        self._open: list[apsw.Connection] = []
        self._closed = False
        self._db()

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

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Writes inside wait for no other process."""
        db = self._db()
        db.set_busy_timeout(0)
        try:
            yield
        finally:
            db.set_busy_timeout(WAIT_MS)

    def close(self) -> None:
        """Release the files. A closed store cannot be used again."""
        with self._lock:
            self._closed = True
            for db in self._open:
                db.close()
            self._open.clear()

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

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with translated(self.path):
            return list(self._db().execute(sql, values))
