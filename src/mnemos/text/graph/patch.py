"""A sparse matrix with some of its rows replaced, without sorting the others again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Ints = NDArray[np.int64]


def with_rows(matrix: csr_array, rows: Ints, fresh: csr_array) -> csr_array:
    """`matrix`, wider and longer if `fresh` is, with row n of `fresh` in the place of row `rows[n]`.

    Args:
        matrix: [m, m].
        rows: [r] ascending, each once; all that `matrix` does not have and are not empty are among them.
        fresh: [r, size], size at least m.
    """
    size = fresh.shape[1]
    lengths = np.zeros(size, np.int64)
    lengths[: matrix.shape[0]] = np.diff(matrix.indptr)
    lengths[rows] = np.diff(fresh.indptr)
    starts = np.zeros(size + 1, matrix.indptr.dtype)
    np.cumsum(lengths, out=starts[1:])
    # stretches of old rows alternate with new ones
    known = np.minimum(rows, matrix.shape[0])
    first = matrix.indptr[np.concatenate([[0], np.minimum(known + 1, matrix.shape[0])])].tolist()
    last = matrix.indptr[np.append(known, matrix.shape[0])].tolist()
    own = fresh.indptr.tolist()
    columns, weights = [], []
    for n, (a, b) in enumerate(zip(first, last, strict=True)):
        columns.append(matrix.indices[a:b])
        weights.append(matrix.data[a:b])
        if n < len(rows):
            columns.append(fresh.indices[own[n] : own[n + 1]])
            weights.append(fresh.data[own[n] : own[n + 1]])
    made = csr_array((np.concatenate(weights), np.concatenate(columns), starts), (size, size))
    made.has_canonical_format = True
    return made
