"""An undirected, weighted graph that grows and shrinks by the passage.

Edges have a *kind* (kinds are kept apart and summed when asked) and a *source*: who put them there.
Adding accumulates; removing a source takes back exactly its share, and with it the nodes that nothing
supports any more, so that a deleted passage leaves what there would be had it never come.

Every node's edges lie side by side in one pool of arrays, with room to grow: a full row moves to the
end of the pool and doubles its room. So an insert costs what it touches, and a walk reads whole rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.graph.patch import with_rows

Name = str | int
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Places = NDArray[np.int32]
_Number = TypeVar("_Number", bound=np.generic)

_NODE = -1
"""Kind of the edges from a node to itself, without weight, that stand for `add_node`."""
_PATCH = 4
"""A matrix is made anew once a part in so many of its entries has changed."""
_WRITES = 4096
"""Changes after which a matrix that nobody asked for meanwhile is given up."""
_SPARE = 4096
"""Dead edges that are not worth tidying up."""
_LEAST = 1e-100
"""Weights between this and its inverse can be summed and divided without running out of range."""


class Graph:
    """Nodes named by strings or integers; vectors over nodes are indexed by their slots.

    A node stands while a source supports it, by `add_node` or by an edge at it. Its slot is its own
    until then; later another node may get it. Not safe for a reader beside a writer: bring a lock.

    Cost: 51 bytes an edge, up to twice that where rows grow; adding n edges O(n) amortised; removing them
    O(edges at their ends).
    """

    def __init__(self) -> None:
        self._slots: dict[Name, int] = {}
        self._names: list[Name | None] = []
        self._free: list[int] = []
        self._kinds: dict[str, int] = {}
        self._claims: dict[Name, list[Places]] = {}
        """Edges of each source, dead ones among them."""
        # by slot
        self._start, self._length, self._room, self._support = (np.zeros(0, np.int64) for _ in range(4))
        self._strength: list[Floats] = []
        # by edge
        self._edges = self._dead = 0
        self._one, self._other = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self._kind, self._weight = np.zeros(0, np.int8), np.zeros(0)
        self._owned, self._alive = (np.zeros(0, np.bool_) for _ in range(2))
        # by place in the pool
        self._used = 0
        self._to, self._edge = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self._pull = np.zeros(0)
        # answers, until the graph changes
        self._matrices: dict[frozenset[str] | None, csr_array] = {}
        self._touched: dict[frozenset[str] | None, list[Ints]] = {}
        """The rows that changed since each of them was made."""
        self._strengths: dict[frozenset[str] | None, Floats] = {}

    # -- nodes -----------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, name: object) -> bool:
        return name in self._slots

    @property
    def size(self) -> int:
        """Length of a vector over nodes; slots that no node has hold 0 in every answer."""
        return len(self._names)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of edges that were ever added."""
        return tuple(self._kinds)

    def slots(self, names: Iterable[Name]) -> Ints:
        """Where the named nodes are in vectors.

        Raises:
            NotFound: there is no such node.
        """
        try:
            return np.array([self._slots[name] for name in names], np.int64)
        except KeyError as why:
            raise NotFound(f"no node {why.args[0]!r} in the graph: add it, or an edge at it, first") from None

    def names(self, slots: Iterable[int]) -> list[Name]:
        """The nodes at these slots.

        Raises:
            NotFound: a slot is out of range, or no node has it.
        """
        names = []
        for slot in slots:
            name = self._names[slot] if 0 <= slot < len(self._names) else None
            if name is None:
                raise NotFound(f"no node at slot {slot}: there are {self.size} slots, some of them free")
            names.append(name)
        return names

    @property
    def standing(self) -> NDArray[np.bool_]:
        """[size] whether a node has the slot."""
        return self._support[: self.size] > 0

    @property
    def entries(self) -> int:
        """Entries in all rows: two for an edge, one for an `add_node`."""
        return int(self._length.sum())

    # -- writing ---------------------------------------------------------------------------

    def add_node(self, name: Name, source: Name = "") -> int:
        """Let `source` support a node, with or without edges; returns its slot."""
        ends = self._ends([name], [name])
        self._claims.setdefault(source, []).append(self._take(_NODE, *ends, np.zeros(1), owned=True))
        return int(ends[0][0])

    def add_edges(
        self,
        kind: str,
        one: Name | Sequence[Name],
        other: Name | Sequence[Name],
        weight: float | Sequence[float] | Floats = 1.0,
        source: Name | None = "",
    ) -> None:
        """Add edges of one kind; where there is one already, the weights add up.

        Args:
            kind: any word.
            one, other: the ends, by name; nodes are made as needed. An edge from a node to itself is
                ignored (nothing is associated with itself), its node is not.
            weight: positive; one for all, or one each.
            source: who says so, and who supports both ends while it does. None: the edge hangs on its
                ends, which must be there, supports neither, and goes when either goes.

        Raises:
            InvalidInput: lengths differ, or a name or weight is no use. Nothing was added.
            NotFound: an end of an edge without a source is missing. Nothing was added.
        """
        left, right = _listed(one), _listed(other)
        if len(left) != len(right):
            raise InvalidInput(f"{len(left)} nodes on one side of the edges and {len(right)} on the other: pair them")
        weights = np.asarray(weight, np.float64)
        if weights.shape not in ((), (len(left),)):
            raise InvalidInput(f"weights of shape {weights.shape} for {len(left)} edges: give one number, or one each")
        if not ((weights >= _LEAST) & (weights <= 1 / _LEAST)).all():
            raise InvalidInput(f"an edge weight below {_LEAST}, above {1 / _LEAST} or none: leave such edges out")
        ends = self._ends(left, right) if source is not None else (self.slots(left), self.slots(right))
        number = self._number(kind)
        loops = ends[0] == ends[1]
        kinds, weights = np.where(loops, _NODE, number), np.where(loops, 0.0, weights)
        fresh = self._take(kinds, *ends, weights, owned=source is not None)
        if source is not None:
            self._claims.setdefault(source, []).append(fresh)

    def extend(
        self, names: Sequence[Name], kinds: Sequence[str], kind: Ints, one: Ints, other: Ints, weight: Floats,
        sources: Sequence[Name], owner: Ints,
    ) -> None:  # fmt: skip
        """What `add_node` and `add_edges` do, for many edges of several kinds and sources at once.

        Args:
            names: of the nodes, each once.
            kinds: of edges.
            kind: [n] number in `kinds`; -1 for what `add_node` does.
            one, other: [n] numbers in `names`, the same for `add_node` and for no others.
            weight: [n] positive; of `add_node` 0.
            sources: who puts them there, each once.
            owner: [n] number in `sources`.
        """
        slots = self._ends(names, ())[0]
        numbers = np.array([_NODE, *map(self._number, kinds)])
        order = np.argsort(owner, kind="stable")
        kind, one, other = numbers[kind[order] + 1], slots[one[order]], slots[other[order]]
        edges = self._take(kind, one, other, weight[order], owned=True)
        borders = pairwise([0, *np.bincount(owner, minlength=len(sources)).cumsum().tolist()])
        for name, (first, last) in zip(sources, borders, strict=True):
            if first < last:
                self._claims.setdefault(name, []).append(edges[first:last])

    def remove_source(self, source: Name) -> list[Name]:
        """Take back all that `source` added (nothing, if it is not known); returns the nodes that went with it."""
        claims = self._claims.pop(source, [])
        return self._drop(np.concatenate(claims)) if claims else []

    def remove_node(self, name: Name) -> list[Name]:
        """Remove a node and every edge at it, whoever added them; returns all nodes that went.

        Raises:
            NotFound: there is no such node.
        """
        row = self.slots([name])
        return self._drop(self._edge[_ranges(self._start[row], self._length[row])[0]])

    # -- reading ---------------------------------------------------------------------------

    def strength(self, kinds: Collection[str] | None = None) -> Floats:
        """[size] the sum of the weights at each node, of these kinds (all, if None); read-only."""
        key = _key(kinds)
        if key not in self._strengths:
            total = np.zeros(self.size)
            for number in self._numbers(kinds):
                total += self._strength[number][: self.size]
            total.flags.writeable = False
            self._strengths[key] = total
        return self._strengths[key]

    def rows(self, slots: Ints, kinds: Collection[str] | None = None) -> tuple[Ints, Ints, Floats]:
        """The edges at some nodes: (position in `slots`, slot of the other end, weight), one entry an edge.

        Edges that were added more than once have as many entries.
        """
        places, owner = _ranges(self._start[slots], self._length[slots])
        if _key(kinds) is not None:
            chosen = np.isin(self._kind[self._edge[places]], self._numbers(kinds))
            places, owner = places[chosen], owner[chosen]
        return owner, self._to[places].astype(np.int64), self._pull[places]

    def lengths(self, slots: Ints) -> Ints:
        """Entries in each of these rows, of all kinds."""
        return self._length[slots]

    def added_by(self, source: Name) -> dict[Name, float]:
        """The second ends of the edges that `source` added and that still stand, each with its weight, in the order of
        adding; nothing, if it is not known."""
        claims = self._claims.get(source)
        if not claims:
            return {}
        edges = claims[0] if len(claims) == 1 else np.concatenate(claims)
        edges = edges[self._alive[edges] & (self._kind[edges] != _NODE)]
        return dict(zip(self.names(self._other[edges].tolist()), self._weight[edges].tolist(), strict=True))

    def neighbours(self, name: Name, kinds: Collection[str] | None = None) -> dict[Name, float]:
        """The nodes that share an edge with this one, and its weight, heaviest first.

        Raises:
            NotFound: there is no such node.
        """
        _, to, weight = self.rows(self.slots([name]), kinds)
        total: dict[int, float] = {}
        for slot, pull in zip(to.tolist(), weight.tolist(), strict=True):
            if pull:
                total[slot] = total.get(slot, 0.0) + pull
        ranked = sorted(total, key=lambda slot: -total[slot])
        return dict(zip(self.names(ranked), (total[slot] for slot in ranked), strict=True))

    def matrix(self, kinds: Collection[str] | None = None) -> csr_array:
        """[size, size] the symmetric weights, for whole-graph products; where the graph changed, rows are renewed."""
        key = _key(kinds)
        known, touched = self._matrices.get(key), self._touched.get(key)
        if known is None or touched:
            rows = np.unique(np.concatenate(touched)) if touched else np.arange(self.size)
            if known is not None and _PATCH * int(self._length[rows].sum()) < self.entries:
                known = with_rows(known, rows, self._compact(rows, kinds))
            else:
                known = self._compact(np.arange(self.size), kinds)
            self._matrices[key], self._touched[key] = known, []
        return known

    def _compact(self, slots: Ints, kinds: Collection[str] | None) -> csr_array:
        """[len(slots), size] the rows at `slots`, several edges between two nodes as one entry."""
        owner, to, weight = self.rows(slots, kinds)
        starts = np.zeros(len(slots) + 1, np.int64)
        np.cumsum(np.bincount(owner, minlength=len(slots)), out=starts[1:])
        wide = np.int32 if self._used < 2**31 else np.int64
        matrix = csr_array((weight, to.astype(wide), starts.astype(wide)), (len(slots), self.size))
        matrix.sum_duplicates()
        return matrix

    def nbytes(self) -> int:
        """Bytes in arrays; names are not counted."""
        arrays: list[NDArray[np.generic]] = [
            self._start, self._length, self._room, self._support, self._one, self._other, self._kind, self._weight,
            self._owned, self._alive, self._to, self._edge, self._pull, *self._strength,
        ]  # fmt: skip
        return sum(array.nbytes for array in arrays)

    # -- underneath ------------------------------------------------------------------------

    def _number(self, kind: str) -> int:
        number = self._kinds.setdefault(kind, len(self._kinds))
        if number == len(self._strength):
            self._strength.append(np.zeros(len(self._start)))
        return number

    def _numbers(self, kinds: Collection[str] | None) -> list[int]:
        if kinds is None:
            return list(range(len(self._kinds)))
        return [self._kinds[kind] for kind in kinds if kind in self._kinds]

    def _ends(self, one: Sequence[Name], other: Sequence[Name]) -> tuple[Ints, Ints]:
        """Slots of both ends; missing nodes get one."""
        slots, names, free = self._slots, self._names, self._free
        fresh = dict.fromkeys(name for name in (*one, *other) if name not in slots)
        if wrong := [name for name in fresh if not isinstance(name, str | int | np.integer)]:
            raise InvalidInput(f"{wrong[0]!r} is no name of a node: give a string or an integer")
        for name in fresh:
            if free:
                slots[name] = free.pop()
                names[slots[name]] = name
            else:
                slots[name] = len(names)
                names.append(name)
        self._start, self._length, self._room, self._support = (
            _fit(array, len(names)) for array in (self._start, self._length, self._room, self._support)
        )
        self._strength = [_fit(array, len(names)) for array in self._strength]
        return self.slots(one), self.slots(other)

    def _take(self, kind: int | Ints, one: Ints, other: Ints, weight: Floats, *, owned: bool) -> Places:
        """Enter edges into the table and the pool; returns their places in the table."""
        first, last = self._edges, self._edges + len(one)
        self._one, self._other = _fit(self._one, last), _fit(self._other, last)
        self._kind, self._weight = _fit(self._kind, last), _fit(self._weight, last)
        self._owned, self._alive = _fit(self._owned, last), _fit(self._alive, last)
        self._one[first:last], self._other[first:last], self._kind[first:last] = one, other, kind
        self._weight[first:last], self._owned[first:last], self._alive[first:last] = weight, owned, True
        self._edges = last
        self._changed(one, other)
        fresh = np.arange(first, last, dtype=np.int32)
        twice = one != other
        if owned:
            np.add.at(self._support, one, 1)
            np.add.at(self._support, other[twice], 1)
        rows, ends = np.concatenate([one, other[twice]]), np.concatenate([other, one[twice]])
        self._link(rows, ends, np.concatenate([fresh, fresh[twice]]))
        return fresh

    def _link(self, row: Ints, to: Ints, edge: Places) -> None:
        """Append entries to the rows of the pool."""
        if not len(row):
            return
        # rows in order, and each in the order of its entries: numbers sort several times faster than places
        keys = np.sort(row << 32 | np.arange(len(row)))
        row, order = keys >> 32, keys & 0xFFFFFFFF
        to, edge = to[order], edge[order]
        firsts = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
        rows, count = row[firsts], np.diff(firsts, append=len(row))
        self._widen(rows, self._length[rows] + count)
        place = _ranges(self._start[rows] + self._length[rows], count)[0]
        pull = self._weight[edge]
        self._to[place], self._edge[place], self._pull[place] = to, edge, pull
        self._length[rows] += count
        kind = self._kind[edge]
        for number in np.flatnonzero(np.bincount(kind - _NODE)) + _NODE:
            if number != _NODE:
                self._strength[number][rows] += np.add.reduceat(np.where(kind == number, pull, 0), firsts)

    def _widen(self, rows: Ints, need: Ints) -> None:
        """Move rows that are full to the end of the pool, with twice the room; new ones have just enough."""
        full = need > self._room[rows]
        rows, need = rows[full], need[full]
        room = np.where(self._room[rows] > 0, 2 * need, need)
        if not len(rows):
            return
        old = _ranges(self._start[rows], self._length[rows])[0]
        starts = self._used + np.cumsum(room) - room
        self._used += int(room.sum())
        self._to, self._edge = _fit(self._to, self._used), _fit(self._edge, self._used)
        self._pull = _fit(self._pull, self._used)
        new = _ranges(starts, self._length[rows])[0]
        self._move(old, new)
        self._start[rows], self._room[rows] = starts, room

    def _changed(self, *rows: Ints) -> None:
        self._strengths.clear()
        for key, touched in list(self._touched.items()):
            touched += rows
            if len(touched) > _WRITES:
                del self._matrices[key], self._touched[key]

    def _move(self, old: Ints, new: Ints) -> None:
        """Copy entries of the pool."""
        self._to[new], self._edge[new], self._pull[new] = self._to[old], self._edge[old], self._pull[old]

    def _drop(self, edges: Places) -> list[Name]:
        """Take edges out, and the nodes that lose their last support with whatever hangs on them."""
        edges = edges[self._alive[edges]]
        self._alive[edges] = False
        owned = edges[self._owned[edges]]
        one, other = self._one[owned], self._other[owned]
        np.subtract.at(self._support, one, 1)
        np.subtract.at(self._support, other[one != other], 1)
        ends = np.unique(np.concatenate([self._one[edges], self._other[edges]]))
        gone = ends[self._support[ends] == 0]
        hanging = self._edge[_ranges(self._start[gone], self._length[gone])[0]]
        hanging = np.unique(hanging[self._alive[hanging]])
        self._alive[hanging] = False
        self._dead += len(edges) + len(hanging)
        ends = np.unique(np.concatenate([ends, self._one[hanging], self._other[hanging]])).astype(np.int64)
        self._changed(ends)
        self._sweep(ends)
        names = self.names(gone.tolist())
        for slot, name in zip(gone.tolist(), names, strict=True):
            del self._slots[name]
            self._names[slot] = None
            self._free.append(slot)
        self._tidy()
        return names

    def _sweep(self, rows: Ints) -> None:
        """Close the gaps that dead edges left in `rows`, and sum up what is left."""
        places, owner = _ranges(self._start[rows], self._length[rows])
        stays = self._alive[self._edge[places]]
        places, owner = places[stays], owner[stays]
        count = np.bincount(owner, minlength=len(rows))
        new = _ranges(self._start[rows], count)[0]
        self._move(places, new)
        self._length[rows] = count
        kind, pull = self._kind[self._edge[new]], self._pull[new]
        for number, strength in enumerate(self._strength):
            strength[rows] = np.bincount(owner, np.where(kind == number, pull, 0), len(rows))

    def _tidy(self) -> None:
        """Squeeze dead edges and abandoned rows out, once they are most of what there is."""
        if self._dead <= self._edges // 2 + _SPARE:
            return
        alive = self._alive[: self._edges]
        number = (np.cumsum(alive) - 1).astype(np.int32)
        for source, claims in self._claims.items():
            every = np.concatenate(claims)
            self._claims[source] = [number[every[alive[every]]]]
        places, _ = _ranges(self._start[: self.size], self._length[: self.size])
        self._to, self._edge, self._pull = self._to[places], number[self._edge[places]], self._pull[places]
        self._room[: self.size] = self._length[: self.size]
        self._start[: self.size] = np.cumsum(self._length[: self.size]) - self._length[: self.size]
        self._used, self._dead, self._edges = len(places), 0, int(alive.sum())
        stay = np.flatnonzero(alive)
        self._one, self._other, self._kind = self._one[stay], self._other[stay], self._kind[stay]
        self._weight, self._owned = self._weight[stay], self._owned[stay]
        self._alive = np.ones(self._edges, np.bool_)


def _listed(names: Name | Sequence[Name]) -> Sequence[Name]:
    return [names] if isinstance(names, str | int | np.integer) else names


def _key(kinds: Collection[str] | None) -> frozenset[str] | None:
    if isinstance(kinds, str):
        raise InvalidInput(f"kinds = {kinds!r}: give a list of kinds, [{kinds!r}]")
    return None if kinds is None else frozenset(kinds)


def _fit(array: NDArray[_Number], size: int) -> NDArray[_Number]:
    """`array` with room for `size`; what is new is 0."""
    if size <= len(array):
        return array
    wider = np.zeros(max(size, 2 * len(array)), array.dtype)
    wider[: len(array)] = array
    return wider


def _ranges(start: Ints, count: Ints) -> tuple[Ints, Ints]:
    """The places start, start + 1, ... (`count` of them) of each range, and which range each belongs to."""
    owner = np.repeat(np.arange(len(start)), count)
    return np.repeat(start - np.cumsum(count) + count, count) + np.arange(len(owner)), owner
