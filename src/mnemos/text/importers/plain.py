"""Plain text and Markdown: one file, or a folder of them, cut into passages."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnemos.core.clock import Time
from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.encode.chunk import passages
from mnemos.text.importers.base import Report, Skipped, checked, digest, head, key_of
from mnemos.text.records import Item, Kind

_MARKDOWN = (".md", ".markdown")
_SUFFIXES = (".txt", *_MARKDOWN)
_LARGEST = 64 << 20
"""Bytes of a text file beyond which it is left out: nobody wrote that by hand."""
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(\S.*?)[ \t#]*$", re.MULTILINE)
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)


class Text:
    """Passages of whole sentences; a document's session is its path within the folder."""

    name = "text"
    description = "plain text and Markdown (.txt .md .markdown), a file or a folder of them"

    def detects(self, path: Path) -> bool:
        try:
            if path.is_dir():
                return any(file.suffix.lower() in _SUFFIXES for file in _files(path, _ignore))
            return path.suffix.lower() in _SUFFIXES and "\0" not in decode(head(path))[0]
        except (InvalidInput, NotFound, OSError):
            return False

    def read(self, path: Path, skipped: Report) -> Iterator[Item]:
        if not path.exists():
            raise NotFound(f"there is no file or folder {path}")
        if not path.is_dir():
            yield from _document(path, path.name, skipped)
            return
        for file in _files(path, skipped):
            relative = file.relative_to(path).as_posix()
            if file.suffix.lower() in _SUFFIXES:
                yield from _document(file, relative, skipped)
            else:
                skipped(Skipped(relative, f"not one of {', '.join(_SUFFIXES)}"))


def decode(raw: bytes) -> tuple[str, str]:
    """(text, encoding) of bytes: UTF-16 or UTF-8 by their mark, UTF-8 if they are that, else Latin-1."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace"), "utf-16"
    try:
        return raw.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        return raw.decode("latin-1"), "latin-1"


# -- parts ---------------------------------------------------------------------------------


def _files(folder: Path, skipped: Report) -> Iterator[Path]:
    """Every file below `folder`, ordered by path; hidden ones and linked folders are left out."""

    def failed(why: OSError) -> None:
        skipped(Skipped(str(why.filename), f"folder cannot be read ({why.strerror})"))

    found = []
    for root, folders, names in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, name) for name in names if not name.startswith(".")]
    yield from sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def _ignore(what: Skipped) -> None:
    """Nobody to tell: detection only looks."""


def _document(file: Path, relative: str, skipped: Report) -> Iterator[Item]:
    try:
        if not file.is_file():
            skipped(Skipped(relative, "not a regular file"))
            return
        stat = file.stat()
        if stat.st_size > _LARGEST:
            skipped(Skipped(relative, f"{stat.st_size:,} bytes, over {_LARGEST:,}: split it"))
            return
        text, encoding = decode(file.read_bytes())
    except OSError as why:
        skipped(Skipped(relative, f"cannot be read ({why.strerror})"))
        return
    if "\0" in text:
        skipped(Skipped(relative, "binary: it holds NUL characters"))
    elif not text.strip():
        skipped(Skipped(relative, "empty"))
    else:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        # a guess is noted with every passage, so that wrong letters can be traced to it
        guessed = {"encoding": encoding} if encoding == "latin-1" else {}
        yield from _passages(text, relative, stat.st_mtime, guessed, skipped)


def _passages(text: str, relative: str, at: Time, noted: dict[str, str], skipped: Report) -> Iterator[Item]:
    headings = _headings(text) if relative.lower().endswith(_MARKDOWN) else []
    starts = [start for start, _ in headings]
    seen: Counter[str] = Counter()
    line, counted = 1, 0
    for start, end in passages(text, limit=1000):
        piece = text[start:end]
        line, counted = line + text.count("\n", counted, start), start
        # by content, not place: a document that grew at the top is not imported twice
        content = digest(piece)
        seen[content] += 1
        metadata: dict[str, Any] = {"file": relative, "line": line, **noted}
        if i := bisect_right(starts, start):
            metadata["heading"] = headings[i - 1][1]
        fields = {
            "text": piece, "kind": Kind.PASSAGE, "session": relative, "at": at, "source": "import",
            "metadata": metadata, "key": key_of("text", relative, content, seen[content]),
        }  # fmt: skip
        item = checked(fields, f"{relative}, line {line}", skipped)
        if item is not None:
            yield item


def _headings(text: str) -> list[tuple[int, str]]:
    """(start, title) of the Markdown headings, those in fenced code left out."""
    fences = [m.start() for m in _FENCE.finditer(text)]
    return [(m.start(), m[1]) for m in _HEADING.finditer(text) if bisect_right(fences, m.start()) % 2 == 0]
