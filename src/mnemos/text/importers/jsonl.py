"""Our own JSONL: one memory a line, with the fields of `Item`."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.importers.base import (
    UNREADABLE,
    Report,
    Skipped,
    checked,
    digest,
    head,
    key_of,
    open_bytes,
    unreadable,
)
from mnemos.text.records import Item
from mnemos.text.write import LONGEST

_SUFFIXES = (".jsonl", ".ndjson", ".jsonl.xz", ".jsonl.gz", ".ndjson.xz", ".ndjson.gz")
_LINE = 2 * LONGEST
"""Characters of a line beyond which it is skipped unread."""
_SNIFF = 20
_BAD_BYTE = re.compile("[\udc80-\udcff]")


class Jsonl:
    """One JSON object per line: text, and speaker, at, session, metadata, kind, source, key where known."""

    name = "jsonl"
    description = "JSON lines with text and, where known, speaker, at, session, metadata, kind, source, key"

    def detects(self, path: Path) -> bool:
        try:
            start = head(path)
        except (InvalidInput, NotFound):
            return False
        lines = [line for line in start.decode(_encoding(start), "replace").splitlines() if line.strip()][:_SNIFF]
        objects = [value for line in lines if isinstance(value := _value(line), dict)]
        if objects and "mnemos" in objects[0] and "text" not in objects[0]:
            return False  # an export of a whole memory, which is not a list of items
        return any("text" in value for value in objects) or path.name.lower().endswith(_SUFFIXES)

    def read(self, path: Path, skipped: Report) -> Iterator[Item]:
        with open_bytes(path) as binary:
            for number, line in _lines(path, binary, skipped):
                item = _item(path.name, number, line, skipped)
                if item is not None:
                    yield item


def _item(name: str, number: int, line: str, skipped: Report) -> Item | None:
    where = f"line {number}"
    value = _value(line)
    if isinstance(value, str):
        skipped(Skipped(where, value))
        return None
    fields = dict(value)
    if not fields.get("key"):
        fields["key"] = key_of("jsonl", name, number, digest(line.strip()))
    return checked(fields, where, skipped)


def _value(line: str) -> dict[str, Any] | str:
    """The object of a line, or why there is none."""
    if _BAD_BYTE.search(line):
        return "not UTF-8: save the file as UTF-8"
    try:
        value = json.loads(line, parse_constant=_no_number)
    except json.JSONDecodeError as why:
        return f"invalid JSON: {why.msg} at character {why.pos + 1}"
    except (ValueError, RecursionError) as why:
        return f"invalid JSON: {why}"
    if not isinstance(value, dict):
        return f"a JSON {type(value).__name__}, not an object with a text"
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _lines(path: Path, binary: IO[bytes], skipped: Report) -> Iterator[tuple[int, str]]:
    """(number, line) of every line that is not blank; bytes that are not UTF-8 come as lone surrogates."""
    try:
        start = binary.read(4)
        binary.seek(0)
        with io.TextIOWrapper(binary, _encoding(start), "surrogateescape") as file:
            number = 0
            while line := file.readline(_LINE):
                number += 1
                if len(line) >= _LINE and not line.endswith("\n"):
                    skipped(Skipped(f"line {number}", f"over {_LINE:,} characters"))
                    while line and not line.endswith("\n"):
                        line = file.readline(_LINE)
                elif line.strip():
                    yield number, line
    except UNREADABLE as why:
        raise unreadable(path, why) from None


def _encoding(start: bytes) -> str:
    return "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
