"""A tree of reasoning steps, each with its own evidence: what was tried, how it was judged, what it rests on.

A node's evidence is seen by its descendants and by nobody else: `Tree.path` is all that a step is made from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mnemos.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Evidence:
    """A piece of memory that came to mind at a step."""

    text: str
    id: str = ""
    """The record that it comes from; empty for what the model knows by itself."""
    score: float = 1.0
    """How relevant it is to question and step, in [0, 1]."""


@dataclass(slots=True)
class Node:
    """One step, and what became of it."""

    text: str
    parent: int = -1
    """Its place in the tree's list; -1 for the root."""
    depth: int = 0
    answer: str | None = None
    """What the path answers, where this step ends it."""
    lookup: str = ""
    """What the step says should be looked up next; empty to look for the step itself."""
    copies: int = 1
    """How often it was proposed: steps that say the same are one node."""
    evidence: tuple[Evidence, ...] = ()
    relevance: float = 0.0
    """F_a of `evidence`, in [0, 1]."""
    values: list[float] = field(default_factory=list)
    """Every value that this node itself was given, F_g + beta F_a."""
    visits: int = 0
    """Values given in its subtree."""
    total: float = 0.0
    """Their sum."""
    children: list[int] = field(default_factory=list)
    closed: bool = False
    """Nothing more can come of it."""

    @property
    def mean(self) -> float:
        """Mean of all values given in its subtree; 0 before the first."""
        return self.total / self.visits if self.visits else 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer, with the best path to it and what all paths to it weigh."""

    text: str
    leaf: int
    weight: float
    """Sum over its leaves of path score times visits times agreement."""


class Tree:
    """Nodes in the order in which they were made; the first is the question."""

    def __init__(self, question: str) -> None:
        self.nodes = [Node(question)]

    def path(self, at: int) -> tuple[Node, ...]:
        """The nodes from the root to `at`."""
        found = []
        while at >= 0:
            found.append(self.nodes[at])
            at = found[-1].parent
        return tuple(reversed(found))

    def add(self, parent: int, text: str, answer: str | None = None, lookup: str = "", copies: int = 1) -> int:
        """A new child of `parent`; returns its place."""
        self.nodes.append(Node(text, parent, self.nodes[parent].depth + 1, answer, lookup, copies))
        self.nodes[parent].children.append(len(self.nodes) - 1)
        return len(self.nodes) - 1

    def select(self, explore: float) -> int:
        """The leaf that UCT leads to: mean + explore sqrt(ln N(parent) / N), unvisited children first.

        Closed nodes are passed over. Ties go to the older child.
        """
        at = 0
        while True:
            node = self.nodes[at]
            choice = [child for child in node.children if not self.nodes[child].closed]
            if not choice:
                return at
            log = math.log(max(node.visits, 1))
            at = max(choice, key=lambda child: self._urgency(self.nodes[child], log, explore))

    def back_up(self, at: int, value: float) -> None:
        """Give `at` a value, and count it on all nodes above."""
        self.nodes[at].values.append(value)
        while at >= 0:
            node = self.nodes[at]
            node.visits += 1
            node.total += value
            at = node.parent

    def close(self, at: int) -> None:
        """Select `at` no more, nor any node whose children are all closed."""
        while at >= 0:
            node = self.nodes[at]
            if any(not self.nodes[child].closed for child in node.children):
                return
            node.closed = True
            at = node.parent

    def score(self, at: int) -> float:
        """Mean of the nodes' means on the path to `at`, root left out; nodes never judged do not count."""
        judged = [node.mean for node in self.path(at)[1:] if node.visits]
        return sum(judged) / len(judged) if judged else 0.0

    def agreement(self, at: int) -> float:
        """Product over the path to `at` of how often a step was proposed beside the most frequent of its siblings.

        1 where all steps differ. Merging alone would throw away that two of three proposals said the same.
        """
        product = 1.0
        for node in self.path(at)[1:]:
            product *= node.copies / max(self.nodes[child].copies for child in self.nodes[node.parent].children)
        return product

    def candidates(self) -> list[Candidate]:
        """Answers, the heaviest first. Those that differ in case, spaces or full stops alone are one."""
        pooled: dict[str, Candidate] = {}
        for at, node in enumerate(self.nodes):
            if node.answer is None:
                continue
            form, weight = normal(node.answer), self.score(at) * node.visits * self.agreement(at)
            known = pooled.get(form)
            if known is None:
                pooled[form] = Candidate(node.answer, at, weight)
            else:
                leaf = at if self.score(at) > self.score(known.leaf) else known.leaf
                pooled[form] = Candidate(self.nodes[leaf].answer or "", leaf, known.weight + weight)
        return sorted(pooled.values(), key=lambda one: -one.weight)

    def furthest(self) -> int:
        """The end of the best path where none has answered yet: the best judged of the deepest nodes."""
        return max(range(len(self.nodes)), key=lambda at: (self.nodes[at].depth, self.score(at), -at))

    def to_json(self) -> str:
        """The whole tree; the same text for the same tree."""
        return json.dumps([asdict(node) for node in self.nodes], ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Tree:
        """The tree of `to_json`.

        Raises:
            InvalidInput: it is none.
        """
        try:
            nodes = [_node(row) for row in json.loads(text)]
            whole = all(-1 <= node.parent < at for at, node in enumerate(nodes))
            grown = Tree(nodes[0].text)
            grown.nodes = nodes
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as why:
            raise InvalidInput(f"not a reasoning tree ({type(why).__name__}: {why}): {text[:80]!r}") from None
        children: list[list[int]] = [[] for _ in nodes]
        for at, node in enumerate(nodes[1:], 1):
            children[node.parent].append(at)
        if not whole or nodes[0].parent != -1 or children != [node.children for node in nodes]:
            raise InvalidInput(f"not a reasoning tree (parents and children disagree): {text[:80]!r}")
        return grown

    @staticmethod
    def _urgency(node: Node, log: float, explore: float) -> tuple[bool, float]:
        if not node.visits:
            return True, 0.0
        return False, node.mean + explore * math.sqrt(log / node.visits)


def normal(answer: str) -> str:
    """An answer's normal form: two of the same are the same answer."""
    return " ".join(answer.casefold().split()).strip(" .!\"'`")


def _node(row: Any) -> Node:
    if set(row) != {one.name for one in fields(Node)}:
        raise ValueError("unknown or missing fields")
    node = Node(**row | {"evidence": tuple(Evidence(**one) for one in row["evidence"])})
    numbers: Sequence[Any] = (node.relevance, node.total, *node.values)
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers):
        raise ValueError("a value is no finite number")
    if not all(type(x) is int for x in (node.parent, node.depth, node.copies, node.visits, *node.children)):
        raise ValueError("a count is no whole number")
    if not isinstance(node.text, str) or not (node.answer is None or isinstance(node.answer, str)):
        raise ValueError("a text is none")
    return node
