"""CoAT: tree search over reasoning steps, where every step brings its own memories to mind.

Paper: CoAT, Chain-of-Associated-Thoughts (2025). One iteration: descend by UCT to a leaf n; let it bring to mind
AM(n), what memory holds for it and its path does not say yet; propose K next steps from the path with its memories;
judge each, V = F_g(step) + beta F_a(AM(n)); back the values up. A node's memories are fetched once, when it is
expanded, and credited to the steps that were made from them. A step that answers is not expanded: when the search
comes back to it, it is judged again. There is no roll-out: values come from the judge.
Four choices: structure = evidence by node, seen along its path; objective = relevance to question and step, less what
the path says already; retention = one question, or the long-term memory for what `promote` keeps; rule = retrieve, or
let the model say, at expansion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mnemos.core.catalogue import system
from mnemos.core.errors import InvalidInput
from mnemos.core.spec import Spec
from mnemos.text.llm import BadReply, Budget, LanguageModel
from mnemos.text.memory import Memory
from mnemos.text.prompts import coat as prompts
from mnemos.text.prompts.parts import told
from mnemos.text.reason.search import Associate, Judge, Path, Propose, Search, Step
from mnemos.text.reason.tree import Candidate, Evidence, Node, Tree
from mnemos.text.records import Kind
from mnemos.text.results import Hit
from mnemos.text.retention import note_use

_LOOKED_AT = 6
"""Memories that a step looks at."""


@dataclass(frozen=True, slots=True)
class Thought:
    """What a search came to."""

    text: str
    """The answer, or where no path has one, the step that came furthest."""
    found: bool
    """Whether a path ended in an answer."""
    score: float
    """Mean value of the path's steps, in [0, 1 + beta]."""
    margin: float
    """How far it is ahead of the next answer, as a share of what all answers weigh: 1 where there is no other."""
    steps: tuple[str, ...]
    """The path to it."""
    evidence: tuple[Evidence, ...]
    """What came to mind along the path."""
    runners_up: tuple[Candidate, ...]
    """The other answers, the heaviest first."""
    tree: Tree
    calls: int
    """Of the language model."""
    stopped: str
    """Why the search ended: "iterations", "exhausted", "budget", "cancelled", or what the endpoint did."""
    promoted: tuple[str, ...] = ()
    """Ids of the facts that were kept in memory."""


@system(
    "coat",
    title="CoAT: chain of associated thoughts",
    paper="CoAT: Chain-of-Associated-Thoughts Framework for Enhancing LLM Reasoning",
    year=2025,
    wing="text",
    choices=Spec(
        structure="evidence by node of a search tree; a path's union is the working memory",
        objective="relevance to question and step, less what the path says already",
        retention="one question; facts of the best path can be promoted to the long-term memory",
        rule="retrieve or generate at expansion; backed-up values decide which memories survive",
    ),
    claim="at equal calls, search that looks things up step by step beats search without, looking up once, and "
    "a single chain that looks things up",
)
class CoAT:
    """Answers questions by tree search over a memory, whatever its recipe.

    Args:
        memory: what steps look things up in; None to let the model say what it knows.
        llm: proposes, condenses and judges. Needed unless `propose` and `judge` are given; without it, memories are
            taken as they are.
        search: how the tree is grown.
        calls: the most calls of the model for one question; the best so far is the answer when they are spent.
        propose, associate, judge: other ways to make steps, to bring things to mind, and to mark steps.

    Raises:
        InvalidInput: something that is needed is missing.
    """

    def __init__(
        self,
        memory: Memory | None,
        llm: LanguageModel | None = None,
        *,
        search: Search | None = None,
        calls: int = 120,
        propose: Propose | None = None,
        associate: Associate | None = None,
        judge: Judge | None = None,
    ) -> None:
        if llm is None and (propose is None or judge is None):
            raise InvalidInput("CoAT needs somebody to think: give llm, or both propose and judge")
        if llm is None and memory is None and associate is None:
            raise InvalidInput("CoAT needs something to remember: give memory, llm or associate")
        self.memory, self.llm = memory, llm
        self.search = search or Search()
        self.calls = calls
        self._propose, self._associate, self._judge = propose, associate, judge

    def solve(
        self,
        question: str,
        *,
        user: str = "",
        agent: str = "",
        promote: bool = False,
        stop: Callable[[], bool] | None = None,
        **filters: Any,
    ) -> Thought:
        """The answer with the tree that led to it.

        Args:
            promote: keep the best path's facts that memory does not hold in these words, as notes of the assistant.
            stop: asked before each iteration; true ends the search with the best so far.
            filters: as for `Memory.search`.

        Raises:
            InvalidInput: an empty question.
            EndpointError: the model failed before the first step.
        """
        if not question.strip():
            raise InvalidInput("the question is empty: ask for something")
        where = {"user": user, "agent": agent, **filters}
        llm = self.llm.within(Budget(calls=self.calls)) if self.llm else None
        mind = _Mind(llm, self.memory, where)
        tree, stopped = self.search.grow(
            question,
            self._propose or mind.propose,
            self._associate or mind.associate,
            self._judge or mind.judge,
            stop or bool,
        )
        thought = _thought(tree, stopped, llm.budget.used.calls if llm else 0)
        if self.memory is None or not thought.found:
            return thought
        used = {one.id for one in thought.evidence if one.id}
        note_use(self.memory._store, sorted(used), self.memory._clock.now())
        return replace(thought, promoted=self._promoted(thought, user, agent)) if promote else thought

    def _promoted(self, thought: Thought, user: str, agent: str) -> tuple[str, ...]:
        assert self.memory is not None
        known = self.memory._store.get([one.id for one in thought.evidence if one.id])
        notes = [
            {
                "text": one.text, "kind": Kind.NOTE, "source": "assistant",
                "metadata": {"from": one.id, "question": thought.tree.nodes[0].text},
                "key": "coat:" + hashlib.sha256(one.text.encode("utf-8", "replace")).hexdigest(),
            }
            for one in thought.evidence
            if one.text.strip() and not (one.id in known and known[one.id].text == one.text)
        ]  # fmt: skip
        return tuple(self.memory.add(notes, user=user, agent=agent)) if notes else ()


# -- thinking with a language model --------------------------------------------------------


class _Mind:
    """Proposes, remembers and judges for one question."""

    def __init__(self, llm: LanguageModel | None, memory: Memory | None, where: Mapping[str, Any]) -> None:
        self._llm, self._memory, self._where = llm, memory, where
        self._marks: dict[tuple[str, ...], float | None] = {}

    def propose(self, question: str, path: Path, k: int, last: bool) -> list[Step]:
        assert self._llm is not None
        try:
            said = self._llm.structured(prompts.propose_messages(question, _seen(path), k, last), prompts.Steps)
        except BadReply:
            return []
        return [Step(step.text, step.answer or None, step.lookup) for step in said.steps]

    def associate(self, question: str, path: Path) -> list[Evidence]:
        hits = self._hits(question, path)
        if self._llm is None or (self._memory is not None and not hits):
            return [Evidence(hit.text, hit.id, hit.score) for hit in hits]
        try:
            said = self._llm.structured(
                prompts.recall_messages(question, _seen(path), [told(hit) for hit in hits]), prompts.Recalled
            )
        except BadReply:
            return [Evidence(hit.text, hit.id, hit.score) for hit in hits]
        found = []
        for fact in said.facts:
            if not hits:
                found.append(Evidence(fact.text, "", said.relevance))
            elif fact.memory is not None and 1 <= fact.memory <= len(hits):  # what no memory says is made up
                found.append(Evidence(fact.text, hits[fact.memory - 1].id, said.relevance))
        return found

    def judge(self, question: str, path: Path, steps: Sequence[Node]) -> list[float | None]:
        seen = _seen(path)
        before = tuple(line for text, facts in seen for line in (text, *facts))
        # a mark that is missing is asked for once more, and one that is known is not
        for _ in range(2):
            open_ = [step.text for step in steps if self._marks.get((*before, step.text)) is None]
            if open_:
                marks = self._asked_marks(question, seen, open_)
                self._marks |= {(*before, text): mark for text, mark in zip(open_, marks, strict=False)}
        return [self._marks.get((*before, step.text)) for step in steps]

    def _asked_marks(self, question: str, seen: Sequence[prompts.Seen], steps: Sequence[str]) -> list[float | None]:
        assert self._llm is not None
        try:
            said = self._llm.structured(prompts.judge_messages(question, seen, steps), prompts.Marks)
        except BadReply:
            return []
        return [prompts.mark(value) for value in said.marks]

    def _hits(self, question: str, path: Path) -> list[Hit]:
        """What memory holds for the last step, less what is on the path."""
        if self._memory is None:
            return []
        known = {one.id for node in path for one in node.evidence}
        node = path[-1]
        sought = node.lookup.strip() or (f"{question}\n{node.text}" if len(path) > 1 else question)
        hits = self._memory.search(sought, _LOOKED_AT + len(known), **self._where)
        return [hit for hit in hits if hit.id not in known][:_LOOKED_AT]


def _seen(path: Path) -> list[prompts.Seen]:
    return [(node.text, [one.text for one in node.evidence]) for node in path]


def _thought(tree: Tree, stopped: str, calls: int) -> Thought:
    """The best answer of a tree, or the best that there is."""
    answers = tree.candidates()
    leaf = answers[0].leaf if answers else tree.furthest()
    path = tree.path(leaf)
    whole = sum(one.weight for one in answers)
    lead = answers[0].weight - (answers[1].weight if len(answers) > 1 else 0.0) if answers else 0.0
    return Thought(
        text=answers[0].text if answers else path[-1].text if len(path) > 1 else "",
        found=bool(answers),
        score=tree.score(leaf),
        margin=lead / whole if whole else 0.0,
        steps=tuple(node.text for node in path[1:]),
        evidence=tuple(one for node in path for one in node.evidence),
        runners_up=tuple(answers[1:]),
        tree=tree,
        calls=calls,
        stopped=stopped,
    )
