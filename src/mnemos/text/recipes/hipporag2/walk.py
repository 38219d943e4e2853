"""The walk from recognised facts to passages, and how it came there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.text.graph import power
from mnemos.text.recipes.hipporag2.index import Fact, KnowledgeIndex, passage_node

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FLOOR = 1e-6
"""Likeness of the fact that is farthest from a question, which min-max would make 0."""
_TOLERANCE = 1e-4
"""Of the whole walk. (Eight thousand passages: the first twenty are those of a tolerance of 1e-12.)"""
_STEPS = 6
"""Nodes of a way at most: one that is longer is told from there."""
_SHOWN = 60
"""Characters of a passage in a reason."""


@dataclass(frozen=True, slots=True)
class Linked:
    """A fact that the question was linked to."""

    fact: Fact
    likeness: float
    """Of question and fact: 1 for the nearest of all facts, 0 for the farthest."""
    kept: float = 1.0
    """How far the filter recognised it, above 0."""


@dataclass(frozen=True, slots=True)
class Starts:
    """Where a walk starts, beside the passages that resemble the question."""

    phrases: Mapping[str, float]
    """Weight of each phrase."""
    facts: Sequence[Linked]
    """What brought them, for the reasons."""
    passages: Mapping[str, float] = field(default_factory=dict)
    """Weight of passages by record, beside that of their meaning."""
    named: Set[str] = frozenset()
    """The phrases that the question itself says."""


@dataclass(frozen=True, slots=True)
class Step:
    """One node of a way."""

    node: str
    """A phrase, or the `passage_node` of a record."""
    mass: float
    """How often the walk is there."""


def min_max(values: NDArray[Any]) -> Floats:
    """`values` between 0 and 1; all 1 where they are equal."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    if not high > low:
        return np.ones(len(values))
    return np.asarray((values - low) / (high - low), np.float64)


def phrase_weights(linked: Sequence[Linked], index: KnowledgeIndex, most: int, specificity: bool) -> dict[str, float]:
    """Where the walk starts: the subjects and objects of facts, the heaviest first.

    Each weighs the mean over its facts of likeness x recognition, over the number of passages that name it (its
    node specificity).
    """
    found: dict[str, list[float]] = {}
    for one in linked:
        for name in dict.fromkeys((one.fact[0], one.fact[2])):
            found.setdefault(name, []).append(max(one.likeness, FLOOR) * one.kept)
    weights = {
        name: sum(values) / len(values) / (len(index.phrases.held_by(name)) if specificity else 1)
        for name, values in found.items()
    }
    heaviest = sorted(weights, key=lambda name: (-weights[name], name))[:most]
    return {name: weights[name] for name in heaviest}


class Walk:
    """A Personalized PageRank from phrases and passages.

    Args:
        starts: weight of each phrase that it starts from.
        slots: [n] where each passage is in the graph; -1 for one that nothing was extracted from yet.
        passages: [n] weight of each passage as a start.
    """

    def __init__(
        self, index: KnowledgeIndex, starts: Mapping[str, float], slots: Ints, passages: Floats, damping: float
    ) -> None:
        self._graph, self._damping, self._starts = index.graph, damping, starts
        self._strength = index.graph.strength()
        there = slots >= 0
        reset = np.zeros(index.graph.size)
        reset[slots[there]] = passages[there]
        reset[index.graph.slots(starts)] = list(starts.values())
        # A node without edges keeps 1 - damping of its weight, and the others share the rest. Records that are not
        # in the graph yet are such nodes: with them the whole is `total`, and the graph's part of it `inside`.
        joined = self._strength > 0
        inside = float(reset[joined].sum() + (1 - damping) * reset[~joined].sum())
        total = inside + (1 - damping) * float(passages[~there].sum())
        self._reset = reset / total
        self._rank = power(index.graph, reset, damping=damping, tolerance=_TOLERANCE) * (inside / total)
        self.scores = np.where(there, self._rank[slots], (1 - damping) * passages / total)
        """[n] how often the walk is at each passage."""

    def way(self, record: str) -> list[Step]:
        """The nodes by which most of the walk came to a record's passage, ending there.

        Empty where it only starts there: nothing but its meaning speaks for it.
        """
        target = passage_node(record)
        if target not in self._graph:
            return []
        slot = int(self._graph.slots([target])[0])
        way, visited = [Step(target, float(self._rank[slot]))], [slot]
        while len(way) < _STEPS and way[-1].node not in self._starts:
            before = self._before(slot, visited)
            if before is None:
                break
            slot = before
            visited.append(slot)
            way.append(Step(str(self._graph.names([slot])[0]), float(self._rank[slot])))
        return way[::-1] if len(way) > 1 else []

    def _before(self, slot: int, visited: Sequence[int]) -> int | None:
        """The node from which most of what is at `slot` came; None if most of it started there."""
        _, to, weight = self._graph.rows(np.array([slot]))
        if not len(to):
            return None
        nodes, which = np.unique(to, return_inverse=True)
        flow = self._damping * self._rank[nodes] * np.bincount(which, weight)
        flow /= np.maximum(self._strength[nodes], 1e-300)
        flow[np.isin(nodes, visited)] = 0
        best = int(flow.argmax())
        return int(nodes[best]) if flow[best] > (1 - self._damping) * self._reset[slot] else None


def told(way: Sequence[Step], starts: Starts, texts: Mapping[str, str]) -> tuple[str, dict[str, float]]:
    """A way in words, and as data: each step with its number, and how often the walk is there.

    Args:
        texts: of the passages on it, by node.
    """
    first = way[0].node
    linked = max(
        (one for one in starts.facts if first in (one.fact[0], one.fact[2])),
        key=lambda one: one.likeness * one.kept,
        default=None,
    )
    opening, names, data = "the question ~ ", list[str](), dict[str, float]()
    if first in starts.named:
        opening = "the question names "
    elif linked is not None:
        fact = f"({', '.join(linked.fact)})"
        names.append(f"fact {fact}")
        data[f"way 0: fact {fact}"] = round(linked.likeness * linked.kept, 4)
    for number, step in enumerate(way, 1):
        passage = texts.get(step.node)
        name = step.node if passage is None else f"“{shortened(passage)}”"
        names.append(name)
        data[f"way {number}: {name}"] = round(step.mass, 6)
    return opening + " → ".join(names), data


def shortened(text: str) -> str:
    """The beginning of a passage, on one line."""
    line = " ".join(text[: 4 * _SHOWN].split())
    return line if len(line) <= _SHOWN else line[:_SHOWN].rstrip() + " …"
