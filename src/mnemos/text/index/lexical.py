"""Inverted lists over hashed terms, scored by BM25 (Robertson & Zaragoza, 2009).

Statistics are those of one scope only: another user's texts never weigh in this user's ranking,
which a full-text table shared between users cannot promise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
B = 0.75
_TAIL = 4096
"""Documents that may wait in the unsorted tail before the lists are made again."""


@dataclass(frozen=True, slots=True)
class Posting:
    """Where one term occurs: rows ascending, and how often."""

    rows: NDArray[np.integer[Any]]
    counts: NDArray[np.number[Any]]


@dataclass(frozen=True, slots=True)
class Matches:
    """Where each of T terms occurs: m entries, one per term and row, by term and then row."""

    terms: tuple[int, ...]
    share: NDArray[np.float32]
    """[T] each term's part of the idf mass of all."""
    term: NDArray[np.int64]
    """[m] position in `terms`."""
    rows: NDArray[np.int64]
    """[m]"""
    counts: NDArray[np.float32]
    """[m] how often the term occurs there."""


class Postings:
    """Term → rows, for documents numbered from 0.

    Space is 8 bytes per distinct term of a document. A look-up costs a binary search over the
    vocabulary and one pass over the tail.
    """

    def __init__(self, documents: list[NDArray[np.uint32]]) -> None:
        self.lengths = np.empty(0, np.float32)
        self.mean_length = 1.0
        """Mean number of content terms of a document, at least 1."""
        self._terms = np.empty(0, np.uint32)
        self._starts = np.zeros(1, np.int64)
        self._rows = np.empty(0, np.int32)
        self._counts = np.empty(0, np.uint16)
        self._tail_terms = np.empty(0, np.uint32)
        self._tail_rows = np.empty(0, np.int32)
        self._sorted = 0
        self.extend(documents)

    def __len__(self) -> int:
        return len(self.lengths)

    def extend(self, documents: list[NDArray[np.uint32]]) -> None:
        """Add documents behind the last one."""
        if not documents:
            return
        sizes = np.array([len(d) for d in documents], np.int64)
        rows = np.repeat(np.arange(len(self), len(self) + len(documents), dtype=np.int32), sizes)
        self.lengths = np.concatenate([self.lengths, sizes.astype(np.float32)])
        self.mean_length = max(1.0, float(self.lengths.mean()))
        self._tail_terms = np.concatenate([self._tail_terms, *documents])
        self._tail_rows = np.concatenate([self._tail_rows, rows])
        if len(self) - self._sorted > max(_TAIL, self._sorted // 8):
            self._sort()

    def _sort(self) -> None:
        old = np.repeat(self._terms, np.diff(self._starts))
        # one 64-bit key (term, row) sorts both at once; what was sorted before carries its counts
        keys = np.concatenate(
            [old.astype(np.uint64) << np.uint64(32) | self._rows.astype(np.uint64), self._tail_keys()]
        )
        weights = np.concatenate([self._counts, np.ones(len(self._tail_rows), np.uint16)])
        order = np.argsort(keys, kind="stable")
        keys, weights = keys[order], weights[order]
        first = _starts(keys)
        sums = np.add.reduceat(weights.astype(np.int64), first) if len(first) else first
        self._counts = np.minimum(sums, 65535).astype(np.uint16)
        keys = keys[first]
        terms = (keys >> np.uint64(32)).astype(np.uint32)
        self._rows = (keys & np.uint64(0xFFFFFFFF)).astype(np.int32)
        starts = _starts(terms)
        self._terms, self._starts = terms[starts], np.append(starts, len(terms)).astype(np.int64)
        self._tail_terms, self._tail_rows = np.empty(0, np.uint32), np.empty(0, np.int32)
        self._sorted = len(self)

    def _tail_keys(self) -> NDArray[np.uint64]:
        return self._tail_terms.astype(np.uint64) << np.uint64(32) | self._tail_rows.astype(np.uint64)

    def __getitem__(self, term: int) -> Posting:
        """The posting of a term; an empty one where it never occurs."""
        return self._found((term,))[0]

    def matches(self, terms: Iterable[int]) -> Matches:
        """The postings of `terms` in one."""
        terms = tuple(terms)
        found = self._found(terms)
        sizes = np.array([len(posting.rows) for posting in found], np.int64)
        idf = self._idf(sizes).astype(np.float32)
        return Matches(
            terms,
            idf / (idf.sum() or np.float32(1)),
            np.arange(len(found)).repeat(sizes),
            np.concatenate([_NOWHERE.rows, *(posting.rows for posting in found)], dtype=np.int64),
            np.concatenate([_NOWHERE.counts, *(posting.counts for posting in found)], dtype=np.float32),
        )

    def _found(self, terms: tuple[int, ...]) -> list[Posting]:
        places = np.searchsorted(self._terms, np.array(terms, np.uint32)).tolist()
        found = []
        for term, place in zip(terms, places, strict=True):
            posting = _NOWHERE
            if place < len(self._terms) and self._terms[place] == term:
                part = slice(self._starts[place], self._starts[place + 1])
                posting = Posting(self._rows[part], self._counts[part])
            if len(self._tail_rows):
                rows, counts = np.unique(self._tail_rows[self._tail_terms == term], return_counts=True)
                posting = Posting(
                    np.concatenate([posting.rows, rows]), np.concatenate([posting.counts, counts])
                )  # fmt: skip
            found.append(posting)
        return found

    def idf(self, posting: Posting) -> float:
        """Inverse document frequency, never negative."""
        return float(self._idf(np.array(len(posting.rows))))

    def _idf(self, frequency: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.log1p((len(self) - frequency + 0.5) / (frequency + 0.5))


_NOWHERE = Posting(np.empty(0, np.int32), np.empty(0, np.uint16))


def _starts(ordered: NDArray[Any]) -> NDArray[np.int64]:
    """Where each run of equal values begins."""
    if not len(ordered):
        return np.empty(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def saturate(
    counts: NDArray[np.float32], lengths: NDArray[np.float32], mean: float | NDArray[np.float32]
) -> NDArray[np.float32]:
    """BM25's term weight without its idf: `tf (k1+1) / (tf + k1 (1 - b + b dl/avdl))`."""
    damped = counts + np.float32(K1 * (1 - B)) + lengths * (np.float32(K1 * B) / mean)
    return np.asarray(counts * np.float32(K1 + 1) / damped, np.float32)
