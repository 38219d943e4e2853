"""Monte-Carlo tree search over reasoning steps, with whatever proposes, remembers and judges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from mnemos.core.errors import EndpointError, InvalidInput
from mnemos.text.encode.analyse import numbers, words
from mnemos.text.llm import BudgetSpent
from mnemos.text.reason.tree import Evidence, Node, Tree, normal

Path = Sequence[Node]
"""From the root, which is the question, to the node that is thought on from."""

SAME = 0.95
"""Cosine of words and word pairs above which two texts say the same."""


@dataclass(frozen=True, slots=True)
class Step:
    """A proposed step; `answer` ends the path, `lookup` says what to look up after it."""

    text: str
    answer: str | None = None
    lookup: str = ""


class Propose(Protocol):
    """Steps that could come next: at most `k`, all with an answer if they are the `last`."""

    def __call__(self, question: str, path: Path, k: int, last: bool, /) -> Sequence[Step]: ...


class Associate(Protocol):
    """What the last node of the path brings to mind."""

    def __call__(self, question: str, path: Path, /) -> Sequence[Evidence]: ...


class Judge(Protocol):
    """F_g of each step after the path, in [0, 1]; None where there is no judgement."""

    def __call__(self, question: str, path: Path, steps: Sequence[Node], /) -> Sequence[float | None]: ...


@dataclass(frozen=True, slots=True)
class Search:
    """How a tree is grown.

    Raises:
        InvalidInput: a number out of range.
    """

    beta: float = 0.1
    """Weight of F_a beside F_g: small, so that a memory can tip a choice and not make it."""
    explore: float = 1.0
    """Weight w of UCT's exploration."""
    width: int = 3
    """Steps K that are proposed at once."""
    depth: int = 8
    """Steps of the longest path."""
    iterations: int = 30

    def __post_init__(self) -> None:
        for name in ("beta", "explore"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInput(f"{name} is {getattr(self, name)}: give a number from 0")
        for name in ("width", "depth", "iterations"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}: give 1 or more")

    def grow(
        self, question: str, propose: Propose, associate: Associate, judge: Judge, stop: Callable[[], bool] = bool
    ) -> tuple[Tree, str]:
        """The tree of `question`, and why it grew no further.

        Raises:
            EndpointError: the model failed before the first step; later failures end the search.
        """
        tree = Tree(question)
        for _ in range(self.iterations):
            if tree.nodes[0].closed:
                return tree, "exhausted"
            if stop():
                return tree, "cancelled"
            try:
                at = tree.select(self.explore)
                if tree.nodes[at].answer is None:
                    self._judge(tree, at, self._expand(tree, at, propose, associate), judge)
                else:
                    self._judge(tree, tree.nodes[at].parent, [at], judge)
            except BudgetSpent:
                return tree, "budget"
            except EndpointError as why:
                if len(tree.nodes) == 1:
                    raise
                return tree, str(why)
        return tree, "iterations"

    def _expand(self, tree: Tree, at: int, propose: Propose, associate: Associate) -> list[int]:
        path, node = tree.path(at), tree.nodes[at]
        node.evidence, node.relevance = fresh(associate(tree.nodes[0].text, path), path)
        last = node.depth + 1 >= self.depth
        steps = distinct(propose(tree.nodes[0].text, path, self.width, last)[: self.width])
        if not steps:
            tree.close(at)
        return [tree.add(at, step.text, step.answer, step.lookup, copies) for step, copies in steps]

    def _judge(self, tree: Tree, parent: int, steps: list[int], judge: Judge) -> None:
        if not steps:
            return
        marks = judge(tree.nodes[0].text, tree.path(parent), [tree.nodes[step] for step in steps])
        for step, mark in zip(steps, [*marks, *[None] * len(steps)], strict=False):
            node = tree.nodes[step]
            if mark is not None and math.isfinite(mark):
                tree.back_up(step, min(1.0, max(0.0, mark)) + self.beta * tree.nodes[parent].relevance)
            ends = node.answer is not None
            # a step that can neither be expanded nor judged would be selected for ever
            if (mark is None and ends and len(steps) == 1) or (not ends and node.depth >= self.depth):
                tree.close(step)


# -- what the engine makes of its parts ----------------------------------------------------


def fresh(found: Sequence[Evidence], path: Path) -> tuple[tuple[Evidence, ...], float]:
    """What of `found` the path does not say yet, and its F_a: the largest score times novelty, 0 if nothing is left.

    Novelty is 1 less the largest likeness to evidence on the path.
    """
    before = [one for node in path for one in node.evidence]
    kept: list[Evidence] = []
    relevance = 0.0
    for one in found:
        known = [*(node.text for node in path), *(other.text for other in (*before, *kept))]
        if not one.text.strip() or any(same(one.text, text) for text in known):
            continue
        kept.append(one)
        score = min(1.0, max(0.0, one.score)) if math.isfinite(one.score) else 0.0
        relevance = max(relevance, score * (1 - max((alike(one.text, other.text) for other in before), default=0.0)))
    return tuple(kept), relevance


def distinct(steps: Sequence[Step]) -> list[tuple[Step, int]]:
    """The steps that differ, each with how often it was proposed; empty ones are left out."""
    kept: list[tuple[Step, int]] = []
    for step in steps:
        alike_ones = (n for n, (one, _) in enumerate(kept) if _same_step(step, one))
        if (known := next(alike_ones, None)) is not None:
            kept[known] = (kept[known][0], kept[known][1] + 1)
        elif step.text.strip():
            kept.append((step, 1))
    return kept


def same(one: str, other: str) -> bool:
    """Whether two texts say the same: nearly the same words in the same order, and no number differs."""
    return one == other or (alike(one, other) > SAME and numbers(one) == numbers(other))


def alike(one: str, other: str) -> float:
    """Cosine of two texts by their words and word pairs, in [0, 1]."""
    if one == other:
        return 1.0
    a, b = _features(one), _features(other)
    if not a or not b:
        return 0.0
    dot = sum(count * b[term] for term, count in a.items())
    return min(1.0, dot / math.sqrt(sum(n * n for n in a.values()) * sum(n * n for n in b.values())))


def _features(text: str) -> Counter[Any]:
    found = words(text[:4000])
    return Counter([*found, *pairwise(found)])


def _same_step(step: Step, other: Step) -> bool:
    one, two = (None if s.answer is None else normal(s.answer) for s in (step, other))
    return one == two and same(step.text, other.text)
