"""Cases on disk: one JSON line each, appended durably; whoever is forgotten is written out of the file.

The first line is the schema. A crash while a line is appended loses that line alone. One process writes at a time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mnemos.core.errors import InvalidInput, StoreBusy, StoreDamaged, StoreForeign, StoreReadOnly
from mnemos.text.recipes.brains.decide import Case
from mnemos.text.recipes.brains.schema import Schema

_FORMAT = "mnemos cases 1"


class CaseFile:
    """The file under a `CaseMemory`.

    Args:
        path: made with the first case.
        schema: must be that of the file, where there is one.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        self.path, self.schema = path, schema
        self._size = 0

    def load(self) -> tuple[list[Case], Any]:
        """The cases in order, and what was learned of them last (None where nothing was).

        Raises:
            InvalidInput: the file was made with another schema.
            StoreForeign, StoreDamaged: it is something else, or broken.
        """
        if not self.path.exists():
            return [], None
        try:
            text = self.path.read_bytes()
        except OSError as why:
            raise StoreReadOnly(f"{self.path} cannot be read ({why}): check the path and its permissions") from None
        lines = text.split(b"\n")
        self._size = len(text)
        head = _parsed(lines[0])
        if not isinstance(head, dict) or head.get("format") != _FORMAT:
            raise StoreForeign(f"{self.path} is no case base of this version: choose another path")
        if head.get("schema") != self.schema.as_dict():
            raise InvalidInput(
                f"{self.path} holds cases of another schema: open it with that one, or choose a new path"
            )
        cases: dict[str, Case] = {}
        learned = None
        for number, line in enumerate(lines[1:-1], 2):
            row = _parsed(line)
            try:
                if "learned" in row:
                    learned = row["learned"]
                else:
                    case = Case(**row)
                    cases[case.id] = case
            except TypeError:
                raise StoreDamaged(f"{self.path} is broken in line {number}: restore it from a backup") from None
        if lines[-1]:  # a crash cut the last line short: what was never acknowledged is dropped
            self.rewrite(cases.values(), learned)
        return list(cases.values()), learned

    def append(self, cases: Iterable[Case]) -> None:
        """Add cases; durable on return."""
        fresh = not self.path.exists()
        rows: list[Mapping[str, Any]] = [asdict(case) for case in cases]
        if fresh:
            self._write("xb", [self._head(), *rows])
        else:
            self._check()
            self._write("ab", rows)

    def rewrite(self, cases: Iterable[Case], learned: Any) -> None:
        """Write the file anew, with nothing else in it; whole or not at all."""
        self._check()
        rows = [self._head(), *(asdict(case) for case in cases), *([{"learned": learned}] if learned else [])]
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_lines(rows))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._size = self.path.stat().st_size

    def _head(self) -> dict[str, Any]:
        return {"format": _FORMAT, "schema": self.schema.as_dict()}

    def _check(self) -> None:
        if self.path.exists() and self.path.stat().st_size != self._size:
            raise StoreBusy(f"{self.path} was changed by another process: open it again")

    def _write(self, mode: str, rows: list[Mapping[str, Any]]) -> None:
        try:
            with self.path.open(mode) as file:
                file.write(_lines(rows))
                file.flush()
                os.fsync(file.fileno())
        except OSError as why:
            raise StoreReadOnly(f"{self.path} cannot be written ({why}): check the path and its permissions") from None
        self._size = self.path.stat().st_size


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    return text.encode("utf-8", "replace")


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
