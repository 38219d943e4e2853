"""What every importer is, and how files are opened: plain, .xz, .gz, or a .zip of JSON."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from mnemos.core.clock import Time, parse_time
from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.records import Item
from mnemos.text.write import as_item


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was not imported, and why."""

    where: str
    why: str


Report = Callable[[Skipped], None]


class Importer(Protocol):
    """Turns one format into a stream of items that `Memory.add` takes.

    Every item has a key that depends on its origin alone, so that an interrupted import can be started again.
    """

    @property
    def name(self) -> str:
        """What a user types to choose it."""
        ...

    @property
    def description(self) -> str:
        """One line for a list of formats."""
        ...

    def detects(self, path: Path) -> bool:
        """Whether the content of `path` looks like this format; never raises."""
        ...

    def read(self, path: Path, skipped: Report) -> Iterator[Item]:
        """The items of `path` in order; `skipped` is told of everything left out.

        Raises:
            NotFound: there is no such path.
            InvalidInput: the file as a whole cannot be read; items already given are sound.
        """
        ...


LARGEST = 4 << 30
"""Bytes that a JSON file may have once decompressed: it is loaded whole."""
_HEAD = 1 << 20
_CHUNK = 1 << 20
UNREADABLE = (
    OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, RuntimeError, ValueError,
)  # fmt: skip
"""What the standard library raises for damaged, encrypted or unreachable files."""


# -- opening -------------------------------------------------------------------------------


def open_bytes(path: Path) -> IO[bytes]:
    """`path` for reading, decompressed by what it begins with (xz, gzip).

    Raises:
        NotFound: there is no such file.
        InvalidInput: it cannot be opened, or is no regular file.
    """
    try:
        if path.exists() and not path.is_file():
            raise InvalidInput(f"{path} is not a regular file: give the file itself")
        with path.open("rb") as file:
            magic = file.read(6)
        if magic == b"\xfd7zXZ\x00":
            return lzma.open(path)
        if magic[:2] == b"\x1f\x8b":
            return cast(IO[bytes], gzip.open(path))
        return path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as why:
        raise InvalidInput(f"{path} cannot be read ({why.strerror}): check its permissions") from None


def head(path: Path) -> bytes:
    """The first mebibyte of a file, decompressed.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it cannot be opened, or is damaged.
    """
    with open_bytes(path) as file:
        try:
            return file.read(_HEAD)
        except UNREADABLE as why:
            raise unreadable(path, why) from None


def unreadable(path: Path | str, why: BaseException) -> InvalidInput:
    """The error for a file that broke off while it was read."""
    return InvalidInput(f"{path} cannot be read ({why or type(why).__name__}): it is damaged or cut off, get it again")


def documents(path: Path, member: re.Pattern[str] | None = None) -> Iterator[tuple[str, Any]]:
    """(file name, JSON value) of a file; or of each file of a zip or folder whose name matches `member`.

    Raises:
        NotFound: there is no such path.
        InvalidInput: damaged, too large, not JSON, or an archive without such a member.
    """
    name = path.name
    try:
        for name, read in _members(path, member):
            with read() as file:
                raw = _whole(file, name)
            yield name, json.loads(raw)
    except (InvalidInput, NotFound):
        raise
    except json.JSONDecodeError as why:
        raise InvalidInput(
            f"{name} is not whole JSON (line {why.lineno}: {why.msg}): it is damaged or cut off, get it again"
        ) from None
    except (*UNREADABLE, RecursionError, MemoryError) as why:
        raise unreadable(name, why) from None


def top_keys(path: Path, member: re.Pattern[str] | None = None) -> set[str]:
    """Keys of the first objects of a JSON array (or of the one object), read from the head of the file only.

    Empty where the path cannot be read or holds something else; never raises.
    """
    try:
        for _, read in _members(path, member):
            with read() as file:
                return _keys(file.read(_HEAD))
    except (NotFound, InvalidInput, *UNREADABLE):
        pass
    return set()


def _members(path: Path, member: re.Pattern[str] | None) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    if member and path.is_dir():
        names = sorted(file.name for file in path.iterdir() if member.fullmatch(file.name))
        for name in names:
            yield name, lambda name=name: open_bytes(path / name)  # type: ignore[misc]
    elif member and path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if member.fullmatch(name.rpartition("/")[2]))
            for name in names:
                yield name, lambda name=name: archive.open(name)  # type: ignore[misc]
    else:
        yield path.name, lambda: open_bytes(path)
        return
    if not names:
        raise InvalidInput(f"{path} holds no conversations.json: give the export as it was downloaded")


def _whole(file: IO[bytes], name: str) -> bytearray:
    raw = bytearray()  # in pieces, because read(n) would reserve n bytes at once
    while chunk := file.read(_CHUNK):
        raw += chunk
        if len(raw) > LARGEST:
            raise InvalidInput(
                f"{name} has over {LARGEST:,} bytes: split it, or write JSONL, which is read line by line"
            )
    if not raw.strip():
        raise InvalidInput(f"{name} is empty: there is nothing to import")
    return raw


_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*+)"(\s*:)?|[{}\[\]]|"')


def _keys(raw: bytes) -> set[str]:
    text = raw.decode(json.detect_encoding(raw), "replace").lstrip("\ufeff \t\r\n")
    if text[:1] not in ("[", "{"):
        return set()
    level = 2 if text[0] == "[" else 1
    depth = 0
    keys: set[str] = set()
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark in "{[":
            depth += 1
        elif mark in "}]":
            depth -= 1
        elif mark == '"':  # a string that the head cuts through
            break
        elif token.group(2) and depth == level:
            keys.add(token.group(1))
    return keys


# -- items ---------------------------------------------------------------------------------


def key_of(*parts: object) -> str:
    """An idempotency key of where an item came from."""
    return ":".join(str(part) for part in parts)


def digest(text: str) -> str:
    """A short content hash for keys."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def checked(fields: Mapping[str, Any], where: str, skipped: Report) -> Item | None:
    """The item of `fields`, or None with the reason reported."""
    try:
        return as_item(fields)
    except InvalidInput as why:
        skipped(Skipped(where, str(why)))
        return None


def time_of(*values: Any) -> Time | None:
    """The first of `values` that is a time (ISO 8601 or epoch seconds); None if none is."""
    for value in values:
        if isinstance(value, str | int | float) and value:
            try:
                return parse_time(value)
            except InvalidInput:
                continue
    return None


def listed(value: Any, path: Path | str, of: str) -> list[Any]:
    """`value` as the list that the format asks for; one object counts as a list of one.

    Raises:
        InvalidInput: neither a list nor an object.
    """
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise InvalidInput(f"{path} holds a JSON {type(value).__name__}: {of} is a list of objects")
    return value
