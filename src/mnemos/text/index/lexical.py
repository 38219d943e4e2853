"""Inverted lists over hashed terms, scored by BM25 (Robertson & Zaragoza, 2009).

Statistics are those of one scope only: another user's texts never weigh in this user's ranking,
which a full-text table shared between users cannot promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
B = 0.75
_ROW = np.uint64(0xFFFFFFFF)
"""The row in a key, whose other half is the term."""
_TAIL = 1024
"""Documents that may wait beside the lists before they are made again."""


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


class _Lists:
    """Sorted inverted lists; never changed once made.

    Args:
        keys: term and row as one number, the term in the upper 32 bits; ascending, each once.
        counts: how often the term occurs in the row.
    """

    def __init__(self, keys: NDArray[np.uint64], counts: NDArray[np.uint16]) -> None:
        terms = (keys >> np.uint64(32)).astype(np.uint32)
        starts = _starts(terms)
        self.terms, self.starts = terms[starts], np.append(starts, len(terms)).astype(np.int64)
        self.rows, self.counts = (keys & _ROW).astype(np.int32), counts

    @classmethod
    def of(cls, keys: NDArray[np.uint64], counts: NDArray[np.uint16]) -> _Lists:
        """Of entries in any order, those of one term and row counted together."""
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
        first = _starts(keys)
        sums = np.add.reduceat(counts.astype(np.int64), first) if len(first) else first
        return cls(keys[first], np.minimum(sums, 65535).astype(np.uint16))

    def keys(self) -> NDArray[np.uint64]:
        """What it was made of."""
        return _keys(self.terms.repeat(np.diff(self.starts)), self.rows)

    def find(self, terms: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[len(terms)] where the entries of each term start and end; not to be asked of empty lists."""
        places = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        starts = self.starts[places]
        return starts, np.where(self.terms[places] == terms, self.starts[places + 1], starts)


class Postings:
    """Term → rows, for documents numbered from 0.

    Space is 6 bytes per distinct term of a document. A look-up costs a binary search over the vocabulary, and once
    after documents were added a sort of those that are not yet among the others.
    """

    def __init__(self, documents: list[NDArray[np.uint32]]) -> None:
        self.lengths = np.empty(0, np.float32)
        self.mean_length = 1.0
        """Mean number of content terms of a document, at least 1."""
        self._lists = _NONE
        self._listed = 0
        """Documents in `_lists`; the later ones wait in the tail."""
        self._waiting: list[NDArray[np.uint64]] = []
        self._tail: _Lists | None = _NONE
        """Those that wait, sorted; None until somebody asks."""
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
        self._waiting.append(_keys(np.concatenate(documents), rows))
        self._tail = None
        if len(self) - self._listed > max(_TAIL, self._listed // 8):
            self._sort()

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Remove every document that is not in `which` ([n]); those behind it move up."""
        row = (np.cumsum(which) - 1).astype(np.uint64)

        def kept(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
            rows = (keys & _ROW).astype(np.int64)
            stays = which[rows]
            return keys[stays] & ~_ROW | row[rows[stays]], stays

        keys, stays = kept(self._lists.keys())
        self._lists = _Lists(keys, self._lists.counts[stays])
        self._waiting = [kept(waiting)[0] for waiting in self._waiting]
        self._tail = None if self._waiting else _NONE
        self._listed = int(which[: self._listed].sum())
        self.lengths = self.lengths[which]
        self.mean_length = max(1.0, float(self.lengths.mean())) if len(self.lengths) else 1.0

    def _sort(self) -> None:
        old, new = self._lists, np.concatenate([_NO_KEYS, *self._waiting])
        self._lists = _Lists.of(
            np.concatenate([old.keys(), new]), np.concatenate([old.counts, np.ones(len(new), np.uint16)])
        )
        self._listed, self._waiting, self._tail = len(self), [], _NONE

    def _parts(self) -> list[_Lists]:
        if self._tail is None:
            keys = np.concatenate(self._waiting)
            self._waiting = [keys]
            self._tail = _Lists.of(keys, np.ones(len(keys), np.uint16))
        return [part for part in (self._lists, self._tail) if len(part.terms)]

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
        wanted, found = np.array(terms, np.uint32), [_NOWHERE] * len(terms)
        for part in self._parts():
            starts, ends = part.find(wanted)
            for n in np.flatnonzero(ends > starts).tolist():
                entries, known = slice(starts[n], ends[n]), found[n]
                rows, counts = part.rows[entries], part.counts[entries]
                if known is not _NOWHERE:
                    rows, counts = np.concatenate([known.rows, rows]), np.concatenate([known.counts, counts])
                found[n] = Posting(rows, counts)
        return found

    def rows(self, terms: NDArray[np.uint32]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.int64]]]:
        """(the rows that hold each of m terms, term by term; [m] how many hold each), in parts that share no row."""
        for part in self._parts():
            starts, ends = part.find(terms)
            there = ends > starts
            edges = zip(starts[there].tolist(), ends[there].tolist(), strict=True)
            slices = [part.rows[start:end] for start, end in edges]
            yield np.concatenate([_NOWHERE.rows, *slices], dtype=np.intp), ends - starts

    def idf(self, posting: Posting) -> float:
        """Inverse document frequency, never negative."""
        return float(self._idf(np.array(len(posting.rows))))

    def _idf(self, frequency: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.log1p((len(self) - frequency + 0.5) / (frequency + 0.5))


_NOWHERE = Posting(np.empty(0, np.int32), np.empty(0, np.uint16))


def _keys(terms: NDArray[np.uint32], rows: NDArray[np.int32]) -> NDArray[np.uint64]:
    return terms.astype(np.uint64) << np.uint64(32) | rows.astype(np.uint64)


def _starts(ordered: NDArray[Any]) -> NDArray[np.int64]:
    """Where each run of equal values begins."""
    if not len(ordered):
        return np.empty(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


_NO_KEYS = np.empty(0, np.uint64)
_NONE = _Lists(_NO_KEYS, np.empty(0, np.uint16))


def saturate(
    counts: NDArray[np.float32], lengths: NDArray[np.float32], mean: float | NDArray[np.float32]
) -> NDArray[np.float32]:
    """BM25's term weight without its idf: `tf (k1+1) / (tf + k1 (1 - b + b dl/avdl))`."""
    damped = counts + np.float32(K1 * (1 - B)) + lengths * (np.float32(K1 * B) / mean)
    return np.asarray(counts * np.float32(K1 + 1) / damped, np.float32)
