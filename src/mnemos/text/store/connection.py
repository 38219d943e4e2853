"""Opening a SQLite file safely, and turning SQLite's errors into ours."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from mnemos.core.errors import (
    InvalidInput,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreForeign,
    StoreFull,
    StoreReadOnly,
)
from mnemos.text.store.schema import APPLICATION_ID, MIGRATIONS

_MAGIC = b"SQLite format 3\x00"
WAIT_MS = 60_000
"""How long a writer waits for writers of other processes."""
_TRIES = 100
"""In how many parts that wait is cut while a file is made."""


def connect(path: Path) -> apsw.Connection:
    """An open connection to the store at `path`, migrated to the newest schema.

    A file that is not ours is never written to, not even a byte.

    Raises:
        StoreForeign: not SQLite, not a mnemos store, or from a newer mnemos.
        StoreDamaged: ours, and unreadable.
        StoreReadOnly: cannot be made or opened.
    """
    _refuse_foreign(path)
    with translated(path):
        try:
            db = apsw.Connection(str(path))
            _patiently_prepare(db, path)
        except (apsw.ReadOnlyError, apsw.CantOpenError):
            if not path.exists():
                raise
            db = _read_only(path)
    return db


def _refuse_foreign(path: Path) -> None:
    try:
        if path.is_dir():
            raise StoreForeign(f"{path} is a folder: give the path of a file, such as {path / 'notes.mnemos'}")
        head = b""
        if path.exists():
            with path.open("rb") as file:
                head = file.read(100)
    except OSError as why:
        raise StoreReadOnly(f"{path} cannot be read ({why.strerror}): check its permissions") from None
    if not head:
        return
    if head[:16] != _MAGIC:
        raise StoreForeign(
            f"{path} is not a mnemos store (it is no SQLite file), and was left untouched: give another path, "
            "or `mnemos import` it if it holds text; a damaged store comes back from an export or a backup"
        )
    if len(head) < 100:
        raise StoreDamaged(f"{path} is cut off within its header, and was left untouched: restore it from a backup")
    if int.from_bytes(head[68:72], "big") != APPLICATION_ID:
        raise StoreForeign(f"{path} is another program's SQLite file, and was left untouched: give another path")


def _patiently_prepare(db: apsw.Connection, path: Path) -> None:
    # while another process makes the same file or switches it to write-ahead logging, SQLite answers
    # "busy" at once, without the wait that it was told
    db.set_busy_timeout(WAIT_MS // _TRIES)
    for left in range(_TRIES, -1, -1):
        try:
            _prepare(db, path)
            break
        except apsw.BusyError:
            if not left:
                raise
            time.sleep(0.01)
    db.set_busy_timeout(WAIT_MS)


def _prepare(db: apsw.Connection, path: Path) -> None:
    # a statement of several runs to its end only where all of its rows are fetched
    db.execute(
        "PRAGMA secure_delete=ON; PRAGMA synchronous=FULL; PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY"
    ).fetchall()
    if db.execute("PRAGMA user_version").get != len(MIGRATIONS):
        _migrate(db, path)
    if db.execute("PRAGMA journal_mode").get != "wal":
        db.execute("PRAGMA journal_mode=WAL")


def _migrate(db: apsw.Connection, path: Path) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        version = int(db.execute("PRAGMA user_version").get)  # another process may have been first
        if version > len(MIGRATIONS):
            raise StoreForeign(
                f"{path} was written by a newer mnemos (schema {version},"
                f" this one knows {len(MIGRATIONS)}), and was left "
                "untouched: pip install --upgrade mnemos"
            )
        for script in MIGRATIONS[version:]:
            db.execute(script)
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
        db.execute("COMMIT")
    except BaseException:
        if not db.get_autocommit():
            db.execute("ROLLBACK")
        raise


def _read_only(path: Path) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    quoted = path.resolve().as_uri()
    for uri in (f"{quoted}?mode=ro", f"{quoted}?mode=ro&immutable=1"):
        db = apsw.Connection(uri, flags=flags)
        try:
            db.execute("SELECT count(*) FROM settings").fetchall()
        except (apsw.CantOpenError, apsw.ReadOnlyError):
            # without a writable folder there can be no shared-memory file; nobody else writes then
            db.close()
            continue
        return db
    raise apsw.ReadOnlyError("neither the file nor its folder can be written")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise our errors for SQLite's, each with what to do."""
    try:
        yield
    except (apsw.BusyError, apsw.LockedError) as why:
        raise StoreBusy(f"{path}: another program has been writing for over {WAIT_MS // 1000} s: try again") from why
    except apsw.FullError as why:
        raise StoreFull(
            f"{path}: no space left on the device; the last operation was taken back whole: free some"
        ) from why
    except apsw.ReadOnlyError as why:
        raise StoreReadOnly(f"{path} cannot be written: check the permissions of the file and its folder") from why
    except apsw.CantOpenError as why:
        raise StoreReadOnly(
            f"{path} cannot be opened or made: does its folder exist, and may you write in it?"
        ) from why
    except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError, json.JSONDecodeError) as why:
        raise StoreDamaged(
            f"{path} is damaged ({why}), and was left untouched: restore it from a backup or an export, or try "
            "`mnemos doctor --rebuild`"
        ) from why
    except apsw.IOError as why:
        raise StoreFull(
            f"{path}: the device refused to read or write ({why}); the last operation was taken back whole: check its "
            "space and its health"
        ) from why
    except (apsw.TooBigError, UnicodeEncodeError) as why:
        raise InvalidInput(f"a value cannot be stored ({why}): make it shorter, or plain Unicode") from why
    except apsw.ConnectionClosedError as why:
        raise StoreError(f"{path}: this memory was closed while in use: open it again") from why
