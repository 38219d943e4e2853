"""What recall looks at: the columns, postings and vectors of one scope, held in memory.

A corpus is a cache of the store. It asks the store what changed since the log number that it has
seen, so that writes of other threads and processes appear, and removals leave, before the next
search. Rows are in order of arrival; `order` and `place` translate to conversation order, in
which the turns of a session stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Time
from mnemos.text.encode.analyse import Trait
from mnemos.text.index.lexical import Postings
from mnemos.text.index.vectors import Vectors
from mnemos.text.records import KIND_NUMBER, Filter, Kind, Scope
from mnemos.text.store.base import Columns, Store

_FOREVER = np.inf
NOBODY = -1
"""The row beside the first and the last turn of a session."""
_NUMBERINGS = count()
_UNITS = 256
"""Vectors a record may have: the low byte of a vector's key."""


class Corpus:
    """The searchable records of `kinds` in one scope.

    Args:
        scope: whose records.
        kinds: which of them.
        model: the embedder whose vectors to hold; empty for none.
    """

    def __init__(self, scope: Scope, kinds: Sequence[Kind], model: str) -> None:
        self.scope = scope
        self.kinds = tuple(kinds)
        self.model = model
        self.seen = 0
        self.epoch = 0
        self._reset()

    def _reset(self) -> None:
        self.numbering = next(_NUMBERINGS)
        """Of which rows stay as they are while others come behind them; no two corpora share one."""
        self.ids: list[str] = []
        self.columns: dict[str, NDArray[Any]] = {name: np.empty(0, dtype) for name, dtype in _COLUMNS.items()}
        self.sessions = _Names()
        self.speakers = _Names()
        self.terms: list[NDArray[np.uint32]] = []
        self.mentions: list[NDArray[np.uint32]] = []
        self.postings = Postings([])
        self.vectors = Vectors(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 0), np.float16))
        self.seen = 0
        self._known: set[str] = set()
        """The `ids`."""
        self._unarranged()
        self._arrange()

    def _unarranged(self) -> None:
        nothing = np.empty(0, np.int64)
        self.order = self.place = self.first = self.last = self.block = self.before = self.after = nothing
        self.length_sums = np.zeros(1)
        self.mention_flat, self.mention_starts = np.empty(0, np.uint32), np.zeros(1, np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def __getattr__(self, name: str) -> NDArray[Any]:
        try:
            return self.__dict__["columns"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(name) from None

    # -- following the store ---------------------------------------------------------------

    def sync(self, store: Store) -> bool:
        """Catch up with the store; to be called within `store.reading()`. True if anything changed."""
        number, epoch = store.latest()
        if epoch != self.epoch:
            self._reset()
            self.epoch = epoch
        if number == self.seen:
            return False
        fresh, gone = store.changed(self.scope, self.kinds, self.seen)
        self._drop({*gone, *fresh.id})
        self._append(fresh, *(store.vectors(self.scope, self.model, self.seen) if self.model else (None, None)))
        self.seen = number
        return bool(gone) or bool(fresh.id)

    def _drop(self, ids: set[str]) -> None:
        # rows leave whole, and every statistic with them: as if they had never been added
        if self._known.isdisjoint(ids):
            return
        keep = np.array([id not in ids for id in self.ids], bool)
        self._known -= ids
        self.numbering = next(_NUMBERINGS)
        row = np.cumsum(keep) - 1
        staying = keep[self.vectors.owners] if len(self.vectors) else np.empty(0, bool)
        self.vectors.keep(staying, row[self.vectors.owners[staying]])
        kept = keep.tolist()
        self.ids = list(compress(self.ids, kept))
        self.terms = list(compress(self.terms, kept))
        self.mentions = list(compress(self.mentions, kept))
        self.columns = {name: column[keep] for name, column in self.columns.items()}
        self.postings.keep(keep)
        self.sessions, self.columns["session"] = self.sessions.kept(self.columns["session"])
        self.speakers, self.columns["speaker"] = self.speakers.kept(self.columns["speaker"])
        self._unarranged()
        self._arrange()

    def _append(self, fresh: Columns, versions: NDArray[np.int64] | None, matrix: NDArray[np.float16] | None) -> None:
        if not fresh.id:
            return
        base = len(self)
        terms = [np.frombuffer(t, np.uint32) for t in fresh.terms]
        added: dict[str, NDArray[Any]] = {
            "version": np.array(fresh.version, np.int64),
            "seq": np.array(fresh.seq, np.int64),
            "kind": np.array([KIND_NUMBER[Kind(k)] for k in fresh.kind], np.int8),
            "session": self.sessions.codes(fresh.session),
            "speaker": self.speakers.codes(fresh.speaker),
            "at": _times(fresh.at, np.nan),
            "valid_from": _times(fresh.valid_from, np.nan),
            "valid_to": _times(fresh.valid_to, _FOREVER),
            "expires_at": _times(fresh.expires_at, _FOREVER),
            "question": np.array([bool(t & Trait.QUESTION) for t in fresh.traits], np.float32),
            "dated": np.array([bool(t & Trait.DATED) for t in fresh.traits], np.float32),
        }
        self.ids += fresh.id
        self._known.update(fresh.id)
        self.terms += terms
        self.mentions += [np.frombuffer(m, np.uint32) for m in fresh.mentions]
        self.columns = {name: np.concatenate([self.columns[name], added[name]]) for name in _COLUMNS}
        self.postings.extend(terms)
        if versions is not None and matrix is not None and len(versions):
            inside = np.isin(versions, added["version"])  # vectors of other kinds are not ours
            versions, matrix = versions[inside], matrix[inside]
            first = np.searchsorted(versions, versions)
            keys = versions * _UNITS + np.minimum(np.arange(len(versions)) - first, _UNITS - 1)
            self.vectors.extend(base + np.searchsorted(added["version"], versions), keys, matrix)
        self._arrange(base)

    def _arrange(self, base: int = 0) -> None:
        """Bring rows into conversation order; where those from `base` on only go on with the last session or begin
        others, nothing before that is looked at again."""
        session, seq = self.columns["session"], self.columns["seq"]
        n, since = len(session), self._undisturbed(base)
        rows = np.concatenate([self.order[since:], np.arange(base, n)]) if since else np.arange(n)
        # a record without a session stands alone, between nothing
        alone = self.sessions.code("")
        group = session[rows].astype(np.int64)
        if alone is not None:
            group = np.where(group == alone, len(self.sessions) + np.arange(len(rows)), group)
        start = np.full(len(self.sessions) + len(rows), np.iinfo(np.int64).max)
        np.minimum.at(start, group, seq[rows])
        sorting = np.lexsort((seq[rows], start[group]))
        tail, group = rows[sorting], group[sorting]
        edge = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]])[: len(group)])
        sizes = np.diff(np.append(edge, len(tail)))
        self.order = np.concatenate([self.order[:since], tail])
        self.place = np.concatenate([self.place[:base], np.zeros(n - base, np.int64)])
        self.place[tail] = within = np.arange(since, n)
        first, last = np.repeat(since + edge, sizes), np.repeat(since + edge + sizes - 1, sizes)
        self.first = np.concatenate([self.first[:since], first])
        """[n] by place: where its session starts."""
        self.last = np.concatenate([self.last[:since], last])
        number = int(self.block[since - 1]) + 1 if since else 0
        self.block = np.concatenate([self.block[:since], np.repeat(number + np.arange(len(edge)), sizes)])
        """[n] by place: number of its session in conversation order."""
        self.before = self._beside(self.before, base, tail, np.where(within > first, np.roll(tail, 1), NOBODY))
        """[n + 1] by row: the turn before it in its session, or `NOBODY`; that one's is `NOBODY` again."""
        self.after = self._beside(self.after, base, tail, np.where(within < last, np.roll(tail, -1), NOBODY))
        question = np.append(self.columns["question"], np.float32(0))
        self.answers = question[self.before]
        """[n + 1] by row: 1 where the turn before it asks something."""
        ends = np.concatenate([self.columns["expires_at"], self.columns["valid_to"]])
        self._all_until = float(ends.min(initial=_FOREVER))
        self.ordered = bool((self.order[1:] > self.order[:-1]).all())
        """Whether the conversation order is that of arrival."""
        self.aligned = len(self.vectors) == n and bool((self.vectors.owners == np.arange(n)).all())
        """Whether every row has one vector."""
        lengths = np.append(self.length_sums[since], self.postings.lengths[tail])
        self.length_sums = np.concatenate([self.length_sums[:since], np.cumsum(lengths)])
        fresh = self.mentions[base:]
        self.mention_flat = np.concatenate([self.mention_flat[: self.mention_starts[base]], *fresh])
        ends_of = self.mention_starts[base] + np.cumsum(np.fromiter(map(len, fresh), np.int64, len(fresh)))
        self.mention_starts = np.concatenate([self.mention_starts[: base + 1], ends_of])
        """[n + 1] by row: where its mentions begin in `mention_flat`."""

    def _undisturbed(self, base: int) -> int:
        """The place before which the rows from `base` on change nothing: that of the last session's first turn, if
        all of them came later than the others and belong to no session before it."""
        session, seq = self.columns["session"], self.columns["seq"]
        if not base or base == len(session):
            return 0
        fresh, latest = session[base:], session[self.order[-1]]
        goes_on = (fresh == latest) | (fresh > session[:base].max()) | (fresh == self.sessions.get(""))
        return int(self.first[-1]) if goes_on.all() and seq[base:].min() > seq[:base].max() else 0

    @staticmethod
    def _beside(known: NDArray[np.int64], base: int, tail: NDArray[np.int64], by_place: Any) -> NDArray[np.int64]:
        """[n + 1] by row: what was `known` of the first `base`, but what `by_place` says of those in the `tail`."""
        found = np.full(max(base, int(tail.max(initial=-1)) + 1) + 1, NOBODY)
        found[:base] = known[:base]
        found[tail] = by_place
        return found

    # -- looking ---------------------------------------------------------------------------

    def mask(self, where: Filter, now: Time) -> NDArray[np.bool_] | None:
        """[n] rows that `where` admits at `now`; None where all are."""
        moment = now if where.as_of is None else where.as_of
        narrow = (where.session, where.speaker, where.since, where.until, where.as_of) != (None,) * 5
        if not narrow and set(where.kinds) == set(self.kinds) and now < self._all_until:
            return None
        keep = np.ones(len(self), bool)
        c = self.columns
        if set(where.kinds) != set(self.kinds):
            keep &= np.isin(c["kind"], [KIND_NUMBER[k] for k in where.kinds])
        if where.session is not None:
            keep &= c["session"] == self.sessions.get(where.session)
        if where.speaker is not None:
            keep &= np.isin(c["speaker"], self.speakers.alike(where.speaker))
        with np.errstate(invalid="ignore"):
            if where.since is not None:
                keep &= c["at"] >= where.since
            if where.until is not None:
                keep &= c["at"] < where.until
            keep &= (c["expires_at"] > now) & (c["valid_to"] > moment)
            if where.as_of is not None:
                start = np.where(np.isnan(c["valid_from"]), c["at"], c["valid_from"])
                keep &= ~(start > where.as_of)
        return None if keep.all() else keep

    def nbytes(self) -> int:
        """Bytes of the large parts: columns, postings and vectors."""
        columns = sum(c.nbytes for c in self.columns.values())
        return columns + sum(t.nbytes for t in self.terms) * 3 + self.vectors.matrix.nbytes


class _Names:
    """Strings as small integers."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self.names: list[str] = []

    def __len__(self) -> int:
        return len(self.names)

    def code(self, name: str) -> int | None:
        return self._codes.get(name)

    def get(self, name: str) -> int:
        return self._codes.get(name, -1)

    def alike(self, name: str) -> list[int]:
        return [code for known, code in self._codes.items() if known.casefold() == name.casefold()]

    def kept(self, codes: NDArray[np.int32]) -> tuple[_Names, NDArray[np.int32]]:
        """The names that `codes` still uses, and the codes under them."""
        used = np.unique(codes)
        if len(used) == len(self):
            return self, codes
        fresh = _Names()
        fresh.codes([self.names[code] for code in used.tolist()])
        return fresh, np.searchsorted(used, codes).astype(np.int32)

    def codes(self, names: Sequence[str]) -> NDArray[np.int32]:
        for name in names:
            if name not in self._codes:
                self._codes[name] = len(self.names)
                self.names.append(name)
        return np.array([self._codes[name] for name in names], np.int32)


_COLUMNS = {
    "version": np.int64, "seq": np.int64, "kind": np.int8, "session": np.int32, "speaker": np.int32,
    "at": np.float64, "valid_from": np.float64, "valid_to": np.float64, "expires_at": np.float64,
    "question": np.float32, "dated": np.float32,
}  # fmt: skip


def _times(values: Sequence[Time | None], missing: float) -> NDArray[np.float64]:
    return np.array([missing if v is None else v for v in values], np.float64)
