"""Words that mean nearly the same: for a stem the stems closest to it, from a table that comes with the package.

A question seldom uses the words of what answers it ("hobby": "I paint"). Recall therefore counts a word as said, in
part, where one of its neighbours is: a translation model of retrieval (Berger and Lafferty, 1999) whose probabilities
are cosines of word vectors. `mnemos.bench.alike` makes the table from MiniLM's vocabulary; to use it takes neither
MiniLM nor any other model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TABLE = Path(__file__).with_name("alike.npz")
LEAST = 0.25
"""Cosine from which a stem is a neighbour. (From .15 to .3 recall@20 differs by .006 at most, in trials.)"""
STEPS = 255
"""Likeness is kept as one of so many steps above `LEAST`."""


class Neighbours(NamedTuple):
    """Entries by term, those of one term from the least to the most like it."""

    of: NDArray[np.int64]
    """[m] position of the term that each is a neighbour of."""
    terms: NDArray[np.uint32]
    """[m] hashed stems."""
    likeness: NDArray[np.float32]
    """[m] cosine."""


class Table(NamedTuple):
    """The neighbours of S stems, K each."""

    terms: NDArray[np.uint32]
    """[S] hashed stems, ascending."""
    near: NDArray[np.uint16]
    """[S, K] positions of neighbours, from the least like."""
    likeness: NDArray[np.uint8]
    """[S, K] steps above `LEAST`; 0 where there is no neighbour."""


def neighbours(terms: Sequence[int]) -> Neighbours:
    """The neighbours of hashed stems; none of a stem that the table does not know."""
    near, likeness = zip(*map(_neighbours, terms), strict=True) if terms else ((), ())
    sizes = [len(one) for one in near]
    return Neighbours(
        np.arange(len(sizes)).repeat(sizes),
        np.concatenate([*near, np.empty(0, np.uint32)]),
        np.concatenate([*likeness, np.empty(0, np.float32)]),
    )


@lru_cache(maxsize=10_000)
def _neighbours(term: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    table = _table()
    place = min(int(np.searchsorted(table.terms, np.uint32(term))), len(table.terms) - 1)
    steps = table.likeness[place]
    there = (steps > 0) & (table.terms[place] == term)
    likeness = LEAST + np.float32((1 - LEAST) / STEPS) * steps[there]
    return table.terms[table.near[place, there]], likeness.astype(np.float32)


@lru_cache(maxsize=1)
def _table() -> Table:
    with np.load(TABLE, allow_pickle=False) as stored:
        return Table(*(stored[name] for name in Table._fields))
