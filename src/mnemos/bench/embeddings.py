"""Vectors on disk, so that no bench embeds the same text twice.

One folder per embedder. Every `CachedEmbedder` that finds something new appends it to a file of its own, in records of
one size with a checksum each: a crash costs the record that was being written, and two processes never share a file.
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import InvalidInput
from mnemos.text.encode.embedder import Embedder, Vectors, checked, default_cache_dir

_BATCH = 1024
"""Texts after which what was embedded is safe on disk."""


class CachedEmbedder:
    """An embedder that remembers on disk what it has embedded; gives the same vectors, bit by bit.

    Args:
        embedder: the one that is asked for what is not there yet; shares its `name` and `dim`.
        folder: where vectors are kept, 1.5 KiB per text for MiniLM; the user's cache folder if None.

    Raises:
        InvalidInput: from `embed`, a text that is no string, or a folder that cannot be written.
    """

    def __init__(self, embedder: Embedder, folder: Path | None = None) -> None:
        self._embedder = embedder
        tag = hashlib.blake2b(f"{embedder.name}\x1f{embedder.dim}".encode(), digest_size=8).hexdigest()
        self._folder = (folder or default_cache_dir() / "embeddings") / tag
        self._record = np.dtype([("hash", "V16"), ("vector", "<f4", (embedder.dim,)), ("check", "<u4")])
        self._lock = threading.Lock()
        self._known: dict[bytes, NDArray[np.float32]] | None = None
        self._mine: Path | None = None

    @property
    def name(self) -> str:
        """The embedder's."""
        return self._embedder.name

    @property
    def dim(self) -> int:
        """The embedder's."""
        return self._embedder.dim

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors [n, dim] in the order of `texts`."""
        hashes = [_hash(text) for text in checked(texts)]
        with self._lock:
            if self._known is None:
                self._known = self._load()
            missing = {h: text for h, text in zip(hashes, texts, strict=True) if h not in self._known}
            wanted = list(missing.items())
            for start in range(0, len(wanted), _BATCH):
                batch = wanted[start : start + _BATCH]
                vectors = np.asarray(self._embedder.embed([text for _, text in batch]), np.float32)
                self._append([h for h, _ in batch], vectors)
                self._known.update((h, vector) for (h, _), vector in zip(batch, vectors, strict=True))
            known = self._known
            return np.array([known[h] for h in hashes], np.float32).reshape(len(hashes), self.dim)

    def _load(self) -> dict[bytes, NDArray[np.float32]]:
        found: dict[bytes, NDArray[np.float32]] = {}
        for path in sorted(self._folder.glob("*.vectors")):
            data = path.read_bytes()
            rows = np.frombuffer(data[: len(data) // self._record.itemsize * self._record.itemsize], self._record)
            sound = rows["check"] == _checks(rows)
            found.update((bytes(row["hash"]), row["vector"]) for row in rows[sound])
        return found

    def _append(self, hashes: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        rows: NDArray[Any] = np.zeros(len(hashes), self._record)
        rows["hash"] = np.array(hashes, "V16")
        rows["vector"] = vectors
        rows["check"] = _checks(rows)
        try:
            if self._mine is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                with NamedTemporaryFile(dir=self._folder, suffix=".vectors", delete=False) as made:
                    self._mine = Path(made.name)
            with self._mine.open("ab") as file:
                file.write(rows.tobytes())
        except OSError as why:
            raise InvalidInput(f"cannot keep vectors in {self._folder} ({why}): choose another folder") from None


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def _checks(rows: NDArray[Any]) -> NDArray[np.uint32]:
    return np.array([zlib.crc32(row["vector"].tobytes(), zlib.crc32(row["hash"].tobytes())) for row in rows], np.uint32)
