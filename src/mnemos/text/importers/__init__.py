"""Importers: files and folders from elsewhere, as a stream of items that `Memory.add` takes.

    importer = detect(path)
    memory.add(importer.read(path, skipped=print))

Every item has an idempotency key, so that an interrupted import can be started again with nothing doubled.
"""

from __future__ import annotations

from pathlib import Path

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.importers.base import Importer, Skipped, head
from mnemos.text.importers.chats import ChatGPT, Claude
from mnemos.text.importers.jsonl import Jsonl
from mnemos.text.importers.locomo import Locomo
from mnemos.text.importers.longmemeval import LongMemEval
from mnemos.text.importers.memorybank import MemoryBankLog
from mnemos.text.importers.plain import Text

__all__ = ["Importer", "Skipped", "detect", "importers"]


def importers() -> dict[str, Importer]:
    """Every importer by name, in the order in which they are asked: the most particular first."""
    known: tuple[Importer, ...] = (ChatGPT(), Claude(), Locomo(), LongMemEval(), MemoryBankLog(), Jsonl(), Text())
    return {importer.name: importer for importer in known}


def detect(path: str | Path, name: str | None = None) -> Importer:
    """The importer for `path`: the one called `name`, or the first that recognises the content.

    Raises:
        NotFound: there is no such path, or no importer of that name.
        InvalidInput: the file is empty or unreadable, or no importer recognises it.
    """
    path, known = Path(path), importers()
    if name is not None and name not in known:
        raise NotFound(f"no format {name!r}: choose from {', '.join(known)}")
    try:
        folder = path.is_dir()
        start = b"" if folder or name else head(path)
        missing = not folder and not path.exists()
    except OSError as why:
        raise InvalidInput(f"{path} cannot be read ({why.strerror}): check its permissions") from None
    if missing:
        raise NotFound(f"there is no file or folder {path}")
    if name is not None:
        return known[name]
    if not folder and not start.strip():
        raise InvalidInput(f"{path} is empty: there is nothing to import")
    for importer in known.values():
        if importer.detects(path):
            return importer
    if start.startswith(b'{"mnemos":'):
        raise InvalidInput(f"{path} is the export of a whole memory: read it with Memory.import_")
    formats = "; ".join(f"{importer.name} ({importer.description})" for importer in known.values())
    raise InvalidInput(f"{path} is in no format known here: {formats}. If it is one of them, name it")
