"""A static embedder: one vector per word piece, distilled on this machine; a text is their weighted mean.

After Model2Vec (Minish Lab, 2024; github.com/MinishLab/model2vec): every word piece goes through the
sentence model alone, as [CLS] piece [SEP]; the vectors are centred and projected on their 256 principal
components; a piece of rank r in the vocabulary, which is ordered by frequency, is weighted log(1 + r), a
smooth inverse frequency under Zipf's law (Arora et al., 2017). Word order is lost, and with it accuracy;
what remains embeds thousands of texts per second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import InvalidInput
from mnemos.text.encode.embedder import Vectors, checked, default_cache_dir, read_sealed, write_sealed
from mnemos.text.encode.minilm import DIM, MiniLM, WordPieces, fingerprint

Progress = Callable[[int, int], None]

MAX_TOKENS = 512
"""The rest of a text is not read."""
VERSION = 1
"""Part of the cached file's name: raise it when the table changes."""
_FRAME = ("[CLS]", "[SEP]")
_SILENT = ("[PAD]", "[MASK]", *_FRAME)


class Static:
    """The distilled table; safe to share between threads.

    Args:
        dim: length of the vectors, at most 384.
        cache_dir: where the table is kept; `default_cache_dir()` if None.
        teacher: the model that is distilled; `MiniLM` at f32 if None.
        vocabulary: token ids to distil, all others are ignored in texts; the whole vocabulary if None.
        progress: told (pieces done, pieces in all) while distilling.

    Raises:
        InvalidInput: `dim` is not between 1 and 384.
    """

    def __init__(
        self,
        dim: int = 256,
        *,
        cache_dir: Path | None = None,
        teacher: MiniLM | None = None,
        vocabulary: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> None:
        if not 1 <= dim <= DIM:
            raise InvalidInput(f"dim {dim} is not between 1 and {DIM}, the length of the teacher's vectors")
        self._cache_dir = cache_dir or default_cache_dir()
        # one fixed default: tables of different teachers have different axes, and must differ in name
        self._teacher = teacher or MiniLM("f32", cache_dir=self._cache_dir)
        self.name = f"static-{self._teacher.name.removesuffix('-f32')}-{dim}"
        self.dim = dim
        self._vocabulary = vocabulary
        self._progress = progress
        self._lock = Lock()
        self._loaded: tuple[WordPieces, Vectors, int] | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors [n, dim] of unit length. The first call may distil, which takes about half a minute.

        A text without a single known piece gets the vector of "[UNK]".

        Raises:
            InvalidInput: `texts` is not a sequence of strings.
            EndpointError: the teacher's weights are not here and could not be fetched.
        """
        texts = checked(texts)
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        pieces, table, unknown = self.load()
        return _bags(pieces(texts), table, unknown)

    def load(self) -> tuple[WordPieces, Vectors, int]:
        """Tokenizer, weighted table [pieces, dim] and the id of "[UNK]"; distils if that was never done."""
        with self._lock:
            if self._loaded is None:
                folder = self._teacher.folder()
                pieces = WordPieces(folder / "tokenizer.json", MAX_TOKENS, special=False)
                ids = self._ids(pieces)
                path = self._cache_dir / self._file_name(folder, ids)
                rows = _unpack(read_sealed(path), len(ids), self.dim)
                if rows is None:
                    rows = distil(self._teacher, ids, pieces.vocabulary, self.dim, self._progress)
                    write_sealed(path, _pack(rows))
                self._loaded = (pieces, *_weighted(ids, rows, pieces.vocabulary))
            return self._loaded

    def _ids(self, pieces: WordPieces) -> NDArray[np.int64]:
        """Ids to distil, in order: known words, and "[UNK]" for texts that have none."""
        vocabulary = pieces.vocabulary
        silent = {i for piece, i in vocabulary.items() if piece in _SILENT or piece.startswith("[unused")}
        wanted = set(vocabulary.values()) if self._vocabulary is None else set(self._vocabulary)
        foreign = wanted - set(vocabulary.values())
        if foreign:
            raise InvalidInput(f"{sorted(foreign)[:5]} are no token ids of the teacher")
        return np.array(sorted(wanted - silent | {vocabulary["[UNK]"]}), np.int64)

    def _file_name(self, folder: Path, ids: NDArray[np.int64]) -> str:
        chosen = hashlib.sha256(ids.tobytes()).hexdigest()[:8]
        weights = fingerprint(folder / "model.safetensors")
        return f"{self.name}-v{VERSION}-{weights}-{chosen}.safetensors.sealed"


def distil(
    teacher: MiniLM,
    ids: NDArray[np.int64],
    vocabulary: dict[str, int],
    dim: int,
    progress: Progress | None = None,
) -> NDArray[np.float16]:
    """Vectors [len(ids), dim] of single word pieces: embedded, centred, projected on `dim` components."""
    start, end = (vocabulary[piece] for piece in _FRAME)
    vectors = teacher.embed_ids([[start, int(i), end] for i in ids], progress).astype(np.float64)
    vectors -= vectors.mean(0)
    _, directions = np.linalg.eigh(vectors.T @ vectors)
    directions = directions[:, ::-1][:, :dim]  # eigh sorts upwards
    # an eigenvector's sign is arbitrary: fix it, so that every machine gets the same table
    directions *= np.sign(directions[np.abs(directions).argmax(0), np.arange(dim)])
    projected: NDArray[np.float16] = (vectors @ directions).astype(np.float16)
    return projected


def _weighted(ids: NDArray[np.int64], rows: NDArray[np.float16], vocabulary: dict[str, int]) -> tuple[Vectors, int]:
    """The table by token id, each row times log(1 + rank); zero for what was not distilled."""
    unknown = vocabulary["[UNK]"]
    table = np.zeros((max(vocabulary.values()) + 1, rows.shape[1]), np.float32)
    table[ids] = rows * np.log1p(1 + np.arange(len(ids), dtype=np.float32))[:, None]
    # too light to move a text that has any known piece, yet a direction for one that has none
    table[unknown] *= 1e-6 / max(float(np.linalg.norm(table[unknown])), 1e-6)
    return table, unknown


def _bags(ids: Sequence[Sequence[int]], table: Vectors, unknown: int) -> Vectors:
    """Unit sums of the rows of each text; the mean's denominator falls out with the length."""
    from scipy.sparse import csr_array

    bags = [text or [unknown] for text in ids]
    ends = np.cumsum([0, *map(len, bags)])
    columns = np.concatenate([np.asarray(bag, np.int64) for bag in bags])
    counts = csr_array((np.ones(len(columns), np.float32), columns, ends), shape=(len(bags), len(table)))
    sums = np.asarray(counts @ table, np.float32)
    lengths = np.linalg.norm(sums, axis=1)
    blank = lengths < 1e-7  # only pieces that were not distilled
    sums[blank] = table[unknown]
    lengths[blank] = np.linalg.norm(table[unknown])
    unit: Vectors = sums / lengths[:, None]
    return unit


def _pack(rows: NDArray[np.float16]) -> bytes:
    from safetensors.numpy import save

    data: bytes = save({"rows": np.ascontiguousarray(rows)})
    return data


def _unpack(data: bytes | None, count: int, dim: int) -> NDArray[np.float16] | None:
    if data is None:
        return None
    from safetensors.numpy import load

    rows: NDArray[np.float16] = load(data)["rows"]
    return rows if rows.shape == (count, dim) else None
