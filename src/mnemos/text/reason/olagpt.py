"""OlaGPT: several ways to think, notes on past mistakes, and a vote.

Paper: OlaGPT, Empowering LLMs With Human-like Problem-Solving Abilities (2023). A question's kind is found out; notes
on similar mistakes and facts from memory are put beside it; every template solves it once; their answers are put
together by vote. When the right answer is known, `learn` counts who was right and notes the mistake.
Four choices: structure = notes of question, kind, answer, explanation; objective = answered wrongly; retention =
usefulness, wins over uses; rule = append the correction once the answer is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from mnemos.core.catalogue import system
from mnemos.core.errors import EndpointError, InvalidInput
from mnemos.core.spec import Spec
from mnemos.text.llm import BadReply, LanguageModel
from mnemos.text.memory import Memory
from mnemos.text.prompts import olagpt as prompts
from mnemos.text.reason.notes import ExperienceMemory, Note, Strategy, Task
from mnemos.text.reason.tree import normal
from mnemos.text.reason.vote import Ballot, Voter, read_answer, read_option

TEMPLATES = ("plain", "steps", "plan", "decompose", "disassemble")
"""The paper's vote; "analogy" can be added."""
_FACTS = 3
"""Memories that are put beside a question."""


@dataclass(frozen=True, slots=True)
class Solution:
    """An answer, and how it came about."""

    task: Task
    answer: str | None
    """The letter of an option, or the answer itself; None where no template came to one."""
    share: float
    """Of the votes, in [0, 1]; 1 where a model decided."""
    votes: Mapping[str, str | None]
    """Each template's answer; None where none could be read."""
    chains: Mapping[str, str]
    """What each template wrote; those whose call failed are missing."""
    notes: tuple[Note, ...]
    """What was shown."""
    evidence: tuple[str, ...]
    """Ids of the memories that were shown."""

    @property
    def unread(self) -> float:
        """Share of the templates that gave no answer: accuracy means little without it."""
        return sum(answer is None for answer in self.votes.values()) / len(self.votes)


@system(
    "olagpt",
    title="OlaGPT: thinking templates and a notebook of mistakes",
    paper="OlaGPT: Empowering LLMs With Human-like Problem-Solving Abilities",
    year=2023,
    wing="text",
    choices=Spec(
        structure="notes of question, kind, right answer and explanation, as records of a memory",
        objective="a question was answered wrongly",
        retention="usefulness: how often the answer was right when the note was shown",
        rule="append the correction once the right answer is known; the same question replaces its note",
    ),
    claim="notes on mistakes and a vote over templates each gain over their absence",
)
class OlaGPT:
    """Solves problems with a language model, a memory and a notebook of mistakes.

    Args:
        llm: what thinks.
        memory: facts for the questions; its notebook is the scope of the agent "olagpt".
        notebook: another one.
        templates: names of `prompts.olagpt.TEMPLATES`; each is one call.
        strategy, n: how notes are chosen, and how many; 0 for none.
        voter: how answers are put together, and what was learnt about the templates.
        decide: "vote", or "model" to let the model read all chains and choose; it votes where that fails.
        seed: of the notes that are drawn.

    Raises:
        InvalidInput: an unknown template, or none.
    """

    def __init__(
        self,
        llm: LanguageModel,
        memory: Memory,
        *,
        notebook: ExperienceMemory | None = None,
        templates: Sequence[str] = TEMPLATES,
        strategy: Strategy = "combine",
        n: int = 3,
        voter: Voter | None = None,
        decide: Literal["vote", "model"] = "vote",
        seed: int = 0,
    ) -> None:
        unknown = [name for name in templates if name not in prompts.TEMPLATES]
        if unknown or not templates:
            raise InvalidInput(f"templates {list(templates)}: choose from {', '.join(prompts.TEMPLATES)}")
        self.llm, self.memory = llm, memory
        self.notebook = notebook or ExperienceMemory(memory)
        self.templates, self.strategy, self.n, self.seed = tuple(templates), strategy, n, seed
        self.voter = voter or Voter()
        self.decide = decide

    def solve(self, question: str | Task, *, user: str = "", agent: str = "", **filters: Any) -> Solution:
        """The answer of all templates together.

        Args:
            question: text, or a `Task` with options and kind.
            user, agent, filters: where facts are looked up, as for `Memory.search`.

        Raises:
            InvalidInput: an empty question, or more than 26 options.
            EndpointError: no template could be asked.
        """
        task = question if isinstance(question, Task) else Task(question)
        if not task.question.strip() or len(task.options) == 1 or len(task.options) > 26:
            raise InvalidInput(f"{task!r:.200}: give a question, and 2 to 26 options if any")
        task = replace(task, kind=task.kind or self._kind(task))
        notes = self.notebook.recall(task, self.strategy, self.n, self.seed)
        hits = self.memory.search(task.question, _FACTS, user=user, agent=agent, **filters)
        shown = [(note.task.question, _in_words(note.task, note.answer), note.explanation) for note in notes]
        ask = partial(prompts.solve_messages, options=task.options, kind=task.kind, notes=shown)
        asked = [ask(name, task.question, facts=[hit.text for hit in hits]) for name in self.templates]
        replies = self.llm.map([partial(self.llm.chat, messages) for messages in asked])
        failed = [reply for reply in replies if isinstance(reply, EndpointError)]
        if len(failed) == len(replies):
            raise failed[0]
        said = {
            name: reply.text
            for name, reply in zip(self.templates, replies, strict=True)
            if not isinstance(reply, EndpointError)
        }
        votes = {name: _read(said.get(name, ""), task) for name in self.templates}
        ballot = self._decided(task, votes, said) or self.voter.combine(votes, task.kind)
        return Solution(
            task, ballot.answer, ballot.share, votes, said, tuple(notes), tuple(hit.id for hit in hits)
        )  # fmt: skip

    def learn(self, solution: Solution, correct: str, explanation: str | None = None) -> str | None:
        """Count who was right, and note the mistake if the answer was wrong; returns the note's id.

        Args:
            correct: the right answer, known from a label, a checker or a person; the letter for options.
            explanation: why; written by the model if None, and empty if it cannot.

        Raises:
            InvalidInput: the right answer is not given, or is none of the options.
        """
        task = solution.task
        if task.options and _letter(correct) not in [chr(65 + n) for n in range(len(task.options))]:
            raise InvalidInput(f"{correct!r} is none of the {len(task.options)} options: give its letter")
        correct = _letter(correct) if task.options else correct
        if not correct.strip():
            raise InvalidInput("the right answer is empty: learn only when it is known")
        right = solution.answer is not None and normal(solution.answer) == normal(correct)
        self.voter.learn(solution.votes, correct, task.kind)
        self.notebook.note_outcome(solution.notes, right)
        if right:
            return None
        given = solution.answer or ""
        why = self._explained(task, given, correct) if explanation is None else explanation
        return self.notebook.add_mistake(task, solution.answer, correct, why)

    def _kind(self, task: Task) -> str:
        try:
            return self.llm.structured(prompts.kind_messages(task.question), prompts.KindOfQuestion).kind.strip()[:80]
        except BadReply:
            return ""

    def _decided(self, task: Task, votes: Mapping[str, str | None], said: Mapping[str, str]) -> Ballot | None:
        """The solution that the model finds most convincing, of those with an answer."""
        open_ = [name for name in said if votes[name] is not None]
        if self.decide == "vote" or len({normal(votes[name] or "") for name in open_}) < 2:
            return None
        ask = prompts.verdict_messages(task.question, task.options, [said[name] for name in open_])
        try:
            number = self.llm.structured(ask, prompts.Verdict).solution
        except EndpointError:
            return None
        answer = votes[open_[number - 1]] if 1 <= number <= len(open_) else None
        return Ballot(answer, 1.0, {normal(answer): 1.0}) if answer is not None else None

    def _explained(self, task: Task, given: str, correct: str) -> str:
        wrong, right = _in_words(task, given), _in_words(task, correct)
        try:
            return self.llm.chat(prompts.explain_messages(task.question, task.options, wrong, right)).text.strip()
        except EndpointError:
            return ""


def _read(said: str, task: Task) -> str | None:
    return read_option(said, len(task.options)) if task.options else read_answer(said)


def _letter(answer: str) -> str:
    return answer.strip(" ().").upper()[:1] if answer.strip(" ().")[1:2] in ("", ")", ".", ":") else ""


def _in_words(task: Task, answer: str) -> str:
    """An option's letter with its text; any other answer as it is."""
    place = ord(answer) - 65 if len(answer) == 1 else -1
    return f"{answer}) {task.options[place]}" if 0 <= place < len(task.options) else answer
