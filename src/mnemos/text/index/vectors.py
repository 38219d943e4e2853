"""Vectors of one scope: every exact cosine, or a rough one of all and the exact one of some.

Rows are float16 at rest. All exact cosines are one matrix product in float32. A sketch of each vector,
its coordinates along the directions in which most vectors of this memory point, costs an eighth of that
to read and names those that are worth an exact cosine; beyond `CROSSOVER` vectors an inverted file
(IVF, Jégou et al. 2011; faiss) names them.
"""

from __future__ import annotations

import logging
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

CROSSOVER = 30_000
"""Units up to which a full scan beats the approximate index on two cores (`benchmarks/crossover.py`)."""
_SKETCH = 32
"""Dimensions of a sketch; with MiniLM's vectors a cosine from it is about 0.04 off. (48 find the same.)"""
_SAMPLE = 2048
"""Vectors that stand for all where the shape of all is asked for."""
_BLOCK = 64
_PROBES = 24
_MAGIC = b"mnemos-ivf-1\n"


class Vectors:
    """Unit vectors, each belonging to a row of the corpus; a row may have several.

    Args:
        owners: [n] row of each vector, ascending.
        keys: [n] names of the vectors for the approximate index, ascending, never reused.
        matrix: [n, dim] float16, unit length.
    """

    def __init__(self, owners: NDArray[np.int64], keys: NDArray[np.int64], matrix: NDArray[np.float16]) -> None:
        self.owners = owners
        self.keys = keys
        self.matrix = matrix
        self._rooms: dict[str, NDArray[Any]] = {}
        """Arrays with room to grow, whose beginnings are what they are called after."""
        self._narrow()
        self._shape: _Shape | None = None
        self.ivf: Any = None
        self._last = -1

    def __len__(self) -> int:
        return len(self.owners)

    def extend(self, owners: NDArray[np.int64], keys: NDArray[np.int64], matrix: NDArray[np.float16]) -> None:
        """Add vectors behind the last one."""
        if not len(owners):
            return
        self.matrix = self._behind("matrix", self.matrix, matrix) if len(self) else matrix
        self.owners = np.concatenate([self.owners, owners])
        self.keys = np.concatenate([self.keys, keys])

    def _behind(self, name: str, rows: NDArray[Any], fresh: NDArray[Any]) -> NDArray[Any]:
        """`fresh` behind `rows`, without copying these where there is room."""
        known, size = len(rows), len(rows) + len(fresh)
        room = self._rooms.get(name)
        if room is None or rows.base is not room or len(room) < size:
            room = self._rooms[name] = np.empty((size + size // 8, rows.shape[1]), rows.dtype)
            room[:known] = rows
        room[known:size] = fresh
        return room[:size]

    def _narrow(self) -> None:
        """Let go of what can be made from the matrix again."""
        self._rooms.pop("wide", None)
        self._wide = np.empty((0, 0), np.float32)
        self._sketch = np.empty((_SKETCH, 0), np.float32)

    def keep(self, which: NDArray[np.bool_], owners: NDArray[np.int64]) -> None:
        """Remove every vector that is not in `which` ([n]), from the approximate index too;
        `owners` are the new rows of those that stay."""
        if self.ivf is not None:
            self.ivf.remove_ids(self.keys[~which])
        self.matrix, self.keys, self.owners = self.matrix[which], self.keys[which], owners
        wide = self._wide[which[: len(self._wide)]]
        self._rooms.clear()
        self._narrow()
        self._wide, self._shape = wide, None

    @property
    def exact(self) -> bool:
        """Whether a search looks at every vector."""
        return self.ivf is None

    def all(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n] cosines of every vector."""
        return _products(self._floats(), query)

    def some(self, query: NDArray[np.float32], which: NDArray[np.int64]) -> NDArray[np.float32]:
        """[len(which)] cosines of the vectors at `which`."""
        if self.exact:
            wide, found = self._floats(), np.empty(len(which), np.float32)
            for start in range(0, len(which), _BLOCK):  # small enough to stay in the cache from copy to product
                part = which[start : start + _BLOCK]
                np.vecdot(wide.take(part, 0), query, out=found[start : start + len(part)])
            return found
        return _products(self.matrix[which].astype(np.float32), query)

    def rough(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n] cosines of every vector, from the sketches: about 0.04 off."""
        before, shape = self._shape, self._shaped()
        known = self._sketch.shape[1] if shape is before else 0
        if known < len(self):
            fresh = shape.axes @ self._floats()[known:].T
            self._sketch = np.concatenate([self._sketch, fresh], axis=1) if known else fresh
        return np.asarray(np.einsum("dn,d->n", self._sketch, _products(shape.axes, query)), np.float32)

    def _floats(self) -> NDArray[np.float32]:
        """The matrix in float32."""
        known = len(self._wide)
        if known < len(self):
            fresh = self.matrix[known:].astype(np.float32)
            self._wide = self._behind("wide", self._wide, fresh) if known else fresh
        return self._wide

    def nearest(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Positions of about the `k` nearest vectors, in no order."""
        if self.ivf is None:
            scores = self.all(query)
            return np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
        _, found = self.ivf.search(query[None], k)
        places = np.searchsorted(self.keys, found[0])
        # a key that is not ours any more belongs to a vector removed since the file was written
        places = places[(places < len(self)) & (self.keys[np.minimum(places, len(self) - 1)] == found[0])]
        # vectors added since the index was made are few, and looked at one by one
        return np.concatenate([places, np.arange(self._tail(), len(self), dtype=np.int64)])

    def _tail(self) -> int:
        return int(np.searchsorted(self.keys, self._last, side="right"))

    def spread(self, query: NDArray[np.float32]) -> tuple[float, float]:
        """Mean and standard deviation of the query's cosine over all vectors, from their moments."""
        shape = self._shaped()
        variance = float(np.vecdot(query, _products(shape.covariance, query)))
        return float(np.vecdot(shape.mean, query)), float(np.sqrt(max(1e-9, variance)))

    def _shaped(self) -> _Shape:
        # of many vectors the first half, or more, speaks for all until there are twice as many
        n = len(self)
        size = n if n < 2 * _SAMPLE else 1 << (n.bit_length() - 1)
        if self._shape is None or self._shape.size != size:
            self._shape = _Shape.of(self.matrix[: size : max(1, size // _SAMPLE)].astype(np.float32), size)
        return self._shape

    # -- the approximate index -------------------------------------------------------------

    def build(self) -> bool:
        """Make the approximate index if there is enough for one; False where there is not."""
        faiss = _faiss()
        if faiss is None or len(self) <= CROSSOVER:
            return False
        dim = self.matrix.shape[1]
        lists = int(2 ** round(np.log2(4 * np.sqrt(len(self)) / 4)))
        ivf = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dim), dim, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        ivf.cp.niter, ivf.cp.seed = 8, 7
        ivf.cp.max_points_per_centroid = 64
        step = max(1, len(self) // (lists * 64))
        ivf.train(self.matrix[::step].astype(np.float32))
        for start in range(0, len(self), 16384):  # a whole float32 copy would double the memory
            part = slice(start, start + 16384)
            ivf.add_with_ids(self.matrix[part].astype(np.float32), self.keys[part])
        ivf.nprobe = min(_PROBES, lists)
        self.ivf, self._last = ivf, int(self.keys[-1])
        self._narrow()
        return True

    def due(self) -> bool:
        """Whether the approximate index should be made (again)."""
        if len(self) <= CROSSOVER:
            return False
        waiting = len(self) - self._tail()
        return self.ivf is None or waiting > max(2048, len(self) // 10)

    def save(self, path: Path, stamp: bytes) -> None:
        """Keep the index in a file, beside the stamp that says of which vectors it is."""
        data = _faiss().serialize_index(self.ivf).tobytes()
        head = _MAGIC + stamp + b"\n" + f"{self._last} {zlib.crc32(data)}\n".encode()
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(head + data)
            temporary.replace(path)
        except OSError as why:  # a cache: the store has everything
            log.info("the vector index was not kept: %s", why)
            temporary.unlink(missing_ok=True)

    def load(self, path: Path, stamp: bytes) -> bool:
        """Take the index from a file made with the same stamp; False, and no change, if it is
        missing, damaged or of other vectors."""
        faiss = _faiss()
        if faiss is None or not path.exists():
            return False
        try:
            magic, found, sizes, data = path.read_bytes().split(b"\n", 3)
            last, checksum = map(int, sizes.split())
            if magic + b"\n" != _MAGIC or found != stamp or zlib.crc32(data) != checksum:
                return False
            ivf = faiss.deserialize_index(np.frombuffer(data, np.uint8))
            if ivf.d != self.matrix.shape[1]:
                return False
        except Exception as why:  # whatever is wrong with a cache, it is made again
            log.info("the vector index is made again: %s", why)
            return False
        ivf.nprobe = min(_PROBES, ivf.nlist)
        self.ivf, self._last = ivf, last
        self._narrow()
        return True


@dataclass(frozen=True, slots=True)
class _Shape:
    """How the first `size` vectors lie in space."""

    size: int
    mean: NDArray[np.float32]
    covariance: NDArray[np.float32]
    axes: NDArray[np.float32]
    """[_SKETCH or less, dim] orthonormal: the directions in which most of the vectors' length lies."""

    @classmethod
    def of(cls, sample: NDArray[np.float32], size: int) -> _Shape:
        dim, mean = sample.shape[1], sample.mean(0)
        second = (sample.T @ sample) / np.float32(len(sample))
        # subspace iteration: an eigenvector more or less at the end changes nothing
        axes = np.random.default_rng(7).standard_normal((dim, min(_SKETCH, dim)), np.float32)
        for _ in range(3):
            axes, _ = np.linalg.qr(second @ axes)
        return cls(size, mean, second - np.outer(mean, mean), np.ascontiguousarray(axes.T))


def _products(rows: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    # not `rows @ query`: that wakes the threads of the BLAS, which wait for each other for
    # milliseconds on a busy machine, and one thread reads memory as fast as it comes
    return np.asarray(np.vecdot(rows, query), np.float32)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        return None
    return faiss
