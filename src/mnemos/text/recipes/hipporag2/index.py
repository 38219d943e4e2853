"""What HippoRAG 2 walks on: phrases, facts and passages of one scope, with the edges between them.

Kinds of edges are kept apart and summed when walked: `relation` (subject - object, 2 per triple and passage:
one in each direction), `context` (passage - phrase of its triples, 1), `synonym` (phrase - phrase, their
cosine, once from each side that lists the other among its nearest).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mnemos.text.encode.entities import unaccented
from mnemos.text.graph import Graph
from mnemos.text.index.corpus import Corpus
from mnemos.text.store import Trace

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Fact = tuple[str, str, str]
"""Subject, relation, object; normalised."""
Key = TypeVar("Key", bound=Hashable)

RELATION, CONTEXT, SYNONYM = "relation", "context", "synonym"
NEAREST = 100
"""Synonyms that a phrase lists at most."""
_BLOCK, _AT_ONCE = 512, 1 << 25
"""Phrases that are compared with all others together, at most, and products that are held at once."""
_TOGETHER = 100_000
"""Edges that are put into the graph at once."""
_MANY, _AXES = 256, 96
"""Phrases from which on it pays to look at short vectors first, and the directions that these keep. (In a trial, of
sixty thousand phrases, seven of which are a phrase's synonyms, 48 pass; with 64 directions 250.)"""
_LONGEST = 400
"""Characters of a phrase or relation; what is longer is no phrase."""


@lru_cache(maxsize=100_000)
def phrase(text: str) -> str:
    """The form by which two mentions are one node: NFKC, case-folded, letters and digits of any script only."""
    if text.isascii():
        folded = text.lower()
    else:  # folding can undo normalising: a second round settles it
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    # marks belong to their letters: without them Hindi or Thai would fall apart
    kept = "".join(c if c.isalnum() or (c > "\x7f" and unicodedata.category(c)[0] == "M") else " " for c in folded)
    return " ".join(kept.split())


def facts_of(triples: Any) -> list[Fact]:
    """The usable facts of a list of triples, normalised, each once.

    Triples come from models and files: whatever is not three strings, or has no subject or object, is dropped.
    """
    found: dict[Fact, None] = {}
    for triple in triples if isinstance(triples, Sequence) and not isinstance(triples, str) else ():
        if not isinstance(triple, Sequence) or isinstance(triple, str) or len(triple) != 3:
            continue
        if not all(isinstance(part, str) and len(part) <= _LONGEST for part in triple):
            continue
        subject, relation, obj = (phrase(part) for part in triple)
        if subject and obj:
            found[subject, relation, obj] = None
    return list(found)


def phrases_of(facts: Iterable[Fact]) -> list[str]:
    """Their subjects and objects in order, each once."""
    return list(dict.fromkeys(part for fact in facts for part in (fact[0], fact[2])))


def embedded(trace: Trace) -> tuple[list[str], list[Fact]]:
    """The phrases and the facts of a trace, in the order of its vectors.

    A triple of a thing with itself names the thing, and states nothing that a question could be linked to.
    """
    facts = facts_of(trace.body.get("triples"))
    return phrases_of(facts), [fact for fact in facts if fact[0] != fact[2]]


def sentence(fact: Fact) -> str:
    """The string that a fact is embedded as."""
    return " ".join(part for part in fact if part)


class Shelf(Generic[Key]):
    """Distinct keys in numbered places, each with a vector and the passages that hold it.

    A place is used again once no passage holds its key. A key keeps the vector it came with first.
    """

    def __init__(self) -> None:
        self.place: dict[Key, int] = {}
        self.keys: list[Key | None] = []
        self.holders: list[tuple[str, ...]] = []
        self._vectors = np.zeros((0, 0), np.float32)
        self._taken = np.zeros(0, np.bool_)
        self._free: list[int] = []

    @classmethod
    def of(cls, keys: Sequence[Key], holders: Sequence[tuple[str, ...]], dim: int) -> Shelf[Key]:
        """One that has `keys` in this order, with who holds each, and vectors of zeros."""
        shelf = cls()
        shelf.place = {key: n for n, key in enumerate(keys)}
        shelf.keys, shelf.holders = list(keys), list(holders)
        shelf._vectors, shelf._taken = np.zeros((len(keys), dim), np.float32), np.ones(len(keys), np.bool_)
        return shelf

    def __len__(self) -> int:
        return len(self.place)

    def add(self, key: Key, vector: NDArray[np.float16], passage: str) -> bool:
        """Let `passage` hold `key`; True if the key is new."""
        place = self.place.get(key)
        if place is not None:
            if passage not in self.holders[place]:
                self.holders[place] += (passage,)
            return False
        if self._free:
            place = self._free.pop()
            self.keys[place], self.holders[place] = key, (passage,)
        else:
            place = len(self.keys)
            self.keys.append(key)
            self.holders.append((passage,))
        if place >= len(self._vectors):
            wider = np.zeros((max(64, 2 * place), len(vector)), np.float32)
            if place:
                wider[: len(self._vectors)] = self._vectors
            self._vectors = wider
            self._taken = np.concatenate([self._taken, np.zeros(len(wider) - len(self._taken), np.bool_)])
        self._vectors[place], self._taken[place] = vector, True
        self.place[key] = place
        return True

    def drop(self, key: Key, passage: str) -> bool:
        """`passage` no longer holds `key`; True if that was the last one."""
        place = self.place[key]
        self.holders[place] = tuple(one for one in self.holders[place] if one != passage)
        if self.holders[place]:
            return False
        del self.place[key]
        self.keys[place] = None
        self._vectors[place], self._taken[place] = 0, False
        self._free.append(place)
        return True

    @property
    def vectors(self) -> Floats:
        """[places, dim]; zeros where a place is free."""
        return self._vectors[: len(self.keys)]

    @property
    def places(self) -> Ints:
        """[keys] the places that are taken."""
        return np.flatnonzero(self._taken)

    def held_by(self, key: Key) -> tuple[str, ...]:
        """The passages that hold `key`."""
        return self.holders[self.place[key]] if key in self.place else ()


@dataclass(frozen=True, slots=True)
class Held:
    """What one passage put into the index."""

    facts: list[Fact]
    phrases: list[str]
    slot: int
    """Where its node is in the graph."""


class KnowledgeIndex:
    """Phrases, facts and passages with their graph; grows and shrinks by the passage.

    Args:
        synonymy: cosine from which two phrases mean the same; above 1 for no synonyms.
    """

    def __init__(self, synonymy: float) -> None:
        self.synonymy = synonymy
        self.phrases: Shelf[str] = Shelf()
        self.facts: Shelf[Fact] = Shelf()
        self.graph = Graph()
        self.held: dict[str, Held] = {}
        self._places: tuple[tuple[int, int], Ints] = ((-1, 0), np.empty(0, np.int64))
        self._accented: dict[str, str] | None = None
        """By their letters alone, the phrases with accents; None until somebody asks."""

    def change(self, added: Sequence[Trace], removed: Sequence[Trace]) -> None:
        """Take the passages of `removed` out and those of `added` in."""
        gone = [name for trace in removed for name in self._remove(trace.key)]
        self._without(gone)
        fresh = self._add(added)
        self._with(fresh)
        self._places = ((-1, 0), np.empty(0, np.int64))
        if not all(name.isascii() for name in (*gone, *fresh)):
            self._accented = None

    def spelled(self, name: str) -> str | None:
        """The phrase that is `name`, or else is spelled so but for accents; None where there is none."""
        letters = unaccented(name)
        for one in (name, letters):
            if one in self.phrases.place:
                return one
        if self._accented is None:
            accented = sorted((one for one in self.phrases.place if not one.isascii()), reverse=True)
            self._accented = {unaccented(one): one for one in accented}  # of several the first by the alphabet
        return self._accented.get(letters)

    def slots(self, corpus: Corpus) -> Ints:
        """[rows] where the passage of each record is in the graph; -1 for records that are not in it."""
        state = (corpus.numbering, len(corpus))
        if self._places[0] != state:
            nowhere, held = Held([], [], -1), self.held
            slots = (held.get(record, nowhere).slot for record in corpus.ids)
            self._places = (state, np.fromiter(slots, np.int64, len(corpus)))
        return self._places[1]

    def _add(self, traces: Sequence[Trace]) -> list[str]:
        """Take passages in; returns the phrases that are new."""
        edges, fresh = _Edges(RELATION, CONTEXT), list[str]()
        held: dict[str, tuple[list[Fact], list[str]]] = {}
        for trace in traces:
            phrases, facts = embedded(trace)
            if trace.vectors is None or len(trace.vectors) != len(phrases) + len(facts):
                facts, phrases = [], []  # a passage whose vectors are missing is found by its own
            held[trace.key] = facts, phrases
            node = passage_node(trace.key)
            edges.node(node, node)
            edges.add(RELATION, ((fact[0], fact[2], 2.0) for fact in facts), node)
            edges.add(CONTEXT, ((node, name, 1.0) for name in phrases), node)
            vectors = trace.vectors if phrases and trace.vectors is not None else ()
            for fact, vector in zip(facts, vectors[len(phrases) :], strict=True):
                self.facts.add(fact, vector, trace.key)
            for name, vector in zip(phrases, vectors, strict=False):
                if self.phrases.add(name, vector, trace.key):
                    fresh.append(name)
            if len(edges) > _TOGETHER:
                edges.put(self.graph)
        edges.put(self.graph)
        slots = self.graph.slots(map(passage_node, held)).tolist()
        self.held.update((key, Held(*mine, slot)) for (key, mine), slot in zip(held.items(), slots, strict=True))
        return fresh

    def _remove(self, key: str) -> Iterator[str]:
        """Phrases that go with a passage."""
        held = self.held.pop(key, Held([], [], -1))
        for fact in held.facts:
            self.facts.drop(fact, key)
        for name in held.phrases:
            if self.phrases.drop(name, key):
                yield name
        self.graph.remove_source(passage_node(key))

    def synonyms(self, name: str) -> dict[str, float]:
        """The phrases that a phrase lists as meaning the same, with their cosines."""
        return {str(other): cosine for other, cosine in self.graph.added_by(synonyms_of(name)).items()}

    # -- synonyms --------------------------------------------------------------------------
    # Each phrase lists its nearest; the edges of a list have a source of their own, so that a list can be renewed.
    # A list with room left is complete, and a full one holds the best: the order of coming and going is irrelevant.

    def _with(self, fresh: Sequence[str]) -> None:
        """Synonyms of phrases that have come, and they as synonyms of others."""
        new, lists = set(fresh), dict[str, dict[str, float]]()
        for name, near in self._similar(fresh):
            lists[name] = near
            for other, cosine in near.items():
                if other not in new:
                    mine = lists.get(other) or self.synonyms(other)
                    if len(mine) < NEAREST or cosine >= min(mine.values()):
                        mine[name] = cosine
                        lists[other] = mine
        self._list(lists)

    def _without(self, gone: Sequence[str]) -> None:
        """Forget phrases that nothing holds any more."""
        left, short, lists = set(gone), list[str](), dict[str, dict[str, float]]()
        for name in gone:
            listing = self.graph.neighbours(name, [SYNONYM]) if name in self.graph else {}
            lists.update((str(other), {}) for other in listing if other not in left)
            self.graph.remove_source(synonyms_of(name))
        for name in lists:
            near = self.synonyms(name)
            if len(near) >= NEAREST and not left.isdisjoint(near):
                short.append(name)
            lists[name] = {other: cosine for other, cosine in near.items() if other not in left}
        lists.update(self._similar(short))
        self._list(lists)

    def _similar(self, names: Sequence[str]) -> Iterator[tuple[str, dict[str, float]]]:
        """Each of `names` with all other phrases that mean the same, and how nearly."""
        names = [name for name in names if _worded(name)]
        if self.synonymy > 1 or not names:
            return
        vectors, keys = self.phrases.vectors, self.phrases.keys
        places = np.array([self.phrases.place[name] for name in names], np.int64)
        # a first look in single precision, then the exact cosine: the same whoever is compared with whom
        least = np.float32(self.synonymy - 1e-3)
        short = _shortened(vectors) if len(places) > _MANY else vectors
        step = max(1, min(_BLOCK, _AT_ONCE // len(vectors)))
        for start in range(0, len(places), step):
            block = places[start : start + step]
            rough = short[block] @ short.T >= least
            for place, row in zip(block.tolist(), rough, strict=True):
                found = np.flatnonzero(row)
                if short is not vectors:
                    found = found[vectors[found] @ vectors[place] >= least]
                exact = _cosines(vectors[place], vectors[found])
                near = {
                    other: cosine
                    for column, cosine in zip(found.tolist(), exact.tolist(), strict=True)
                    if column != place and cosine >= self.synonymy and _worded(other := keys[column] or "")
                }
                yield str(keys[place]), near

    def _list(self, lists: Mapping[str, dict[str, float]]) -> None:
        """Let each phrase list the nearest of those that are given for it."""
        edges = _Edges(SYNONYM)
        for name, near in lists.items():
            self.graph.remove_source(synonyms_of(name))
            nearest = ((name, other, cosine) for other, cosine in _best(near).items())
            edges.add(SYNONYM, nearest, synonyms_of(name))
            if len(edges) > _TOGETHER:
                edges.put(self.graph)
        edges.put(self.graph)


class _Edges:
    """Edges that are put into a graph together.

    Args:
        kinds: that they may have.
    """

    def __init__(self, *kinds: str) -> None:
        self._kinds = kinds
        self._names: dict[str, int] = {}
        self._sources: dict[str, int] = {}
        self._rows: list[tuple[int, int, int, float, int]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def node(self, name: str, source: str) -> None:
        """As `Graph.add_node`."""
        number = self._at(name)
        self._rows.append((-1, number, number, 0.0, self._of(source)))

    def add(self, kind: str, edges: Iterable[tuple[str, str, float]], source: str) -> None:
        """As `Graph.add_edges`, of edges between two different nodes each."""
        number, owner = self._kinds.index(kind), self._of(source)
        self._rows += [(number, self._at(one), self._at(other), weight, owner) for one, other, weight in edges]

    def put(self, graph: Graph) -> None:
        """Into the graph with them; none are left."""
        if self._rows:
            kind, one, other, weight, owner = (np.array(column) for column in zip(*self._rows, strict=True))
            names, sources = list(self._names), list(self._sources)
            graph.extend(names, self._kinds, kind, one, other, weight, sources, owner)
        for kept in (self._names, self._sources, self._rows):
            kept.clear()

    def _at(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))

    def _of(self, source: str) -> int:
        return self._sources.setdefault(source, len(self._sources))


def passage_node(key: str) -> str:
    """A passage's name in the graph; no phrase has a number sign."""
    return f"#{key}"


def synonyms_of(name: str) -> str:
    """The source of the edges to a phrase's synonyms."""
    return f"~{name}"


def _worded(name: str) -> bool:
    """Whether it has more than two letters or digits: shorter phrases are near too much."""
    return len(name.replace(" ", "")) > 2


def _best(near: dict[str, float]) -> dict[str, float]:
    """The nearest of a list that may be too long."""
    if len(near) <= NEAREST:
        return near
    best = sorted(near, key=lambda other: (-near[other], other))[:NEAREST]
    return {other: near[other] for other in best}


def _shortened(vectors: Floats) -> Floats:
    """[n, _AXES + 1] whose products are no smaller than those of `vectors`, and seldom much larger.

    They keep what lies in the directions in which most of the vectors' length lies, and the length of the rest: two
    rests have at most the product of their lengths (Cauchy and Schwarz).
    """
    sample = vectors[:: max(1, len(vectors) // 2048)]
    axes = np.linalg.eigh(sample.T @ sample)[1][:, -_AXES:]
    seen = vectors @ axes
    rest = np.sqrt(np.maximum(np.vecdot(vectors, vectors) - np.vecdot(seen, seen), 0))
    return np.concatenate([seen, rest[:, None]], axis=1)


def _cosines(one: Floats, others: Floats) -> NDArray[np.float64]:
    """[n] of one vector with n others, in double precision and the same from either side."""
    a, b = one.astype(np.float64), others.astype(np.float64)
    lengths = np.sqrt((a * a).sum()) * np.sqrt((b * b).sum(1))
    return np.asarray((b * a).sum(1) / np.maximum(lengths, 1e-12))
