"""IRCoT: recall and reasoning in turn, so that what one hop finds is what the next one looks for.

The question is looked up; a sentence of reasoning is made from what was found; the sentence is looked up; and so on,
until one of them answers. What any of the queries found counts, by the best score that it had.

Source: Trivedi et al., 2023 (arXiv 2212.10509), section 3; over a graph, HippoRAG, 2024 (arXiv 2405.14831), section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mnemos.core.errors import EndpointError, InvalidInput
from mnemos.text.llm import BadReply, Budget, BudgetSpent, LanguageModel
from mnemos.text.memory import Memory
from mnemos.text.prompts import ircot as prompts
from mnemos.text.prompts.ircot import Sentence
from mnemos.text.prompts.parts import told
from mnemos.text.results import Hit

Think = Callable[[str, Sequence[str], Sequence[Hit]], Sentence | None]
"""The sentence after those so far, given the question and the best hits; None where there is nothing to add."""


@dataclass(frozen=True, slots=True)
class Chain:
    """What recall and reasoning came to."""

    text: str
    """The answer; where there is none, the last sentence, or nothing."""
    found: bool
    """Whether a sentence answered."""
    thoughts: tuple[str, ...]
    hits: tuple[Hit, ...]
    """What any query found, each once, the best first."""
    calls: int
    """Of the language model."""
    stopped: str
    """Why it ended: "answered", "steps", "nothing to add", "budget", or what the endpoint did."""


class IRCoT:
    """Answers, and recalls, over several hops, in any memory.

    Args:
        memory: where each query is looked up, whatever its recipe.
        llm: writes the sentences. Needed unless `think` is given.
        k: hits of each query, and how many of all are shown for the next sentence.
        steps: sentences at most; MuSiQue's longest questions need four.
        calls: the most calls of the model for one question; what was found by then stays.
        think: another way to make sentences.

    Raises:
        InvalidInput: nobody to think, or k, steps or calls below 1.
    """

    def __init__(
        self,
        memory: Memory,
        llm: LanguageModel | None = None,
        *,
        k: int = 10,
        steps: int = 4,
        calls: int = 20,
        think: Think | None = None,
    ) -> None:
        if llm is None and think is None:
            raise InvalidInput("IRCoT needs somebody to think: give llm or think")
        if min(k, steps, calls) < 1:
            raise InvalidInput(f"k {k}, steps {steps}, calls {calls}: give 1 or more of each")
        self.memory, self.llm, self.k, self.steps, self.calls = memory, llm, k, steps, calls
        self._think = think

    def solve(self, question: str, **filters: Any) -> Chain:
        """The chain of thoughts for `question`, with all that it recalled.

        Args:
            filters: as for `Memory.search`.

        Raises:
            InvalidInput: an empty question.
            EndpointError: the model failed before the first sentence; later failures end the chain.
        """
        if not question.strip():
            raise InvalidInput("the question is empty: ask for something")
        llm = self.llm.within(Budget(calls=self.calls)) if self.llm else None
        think = self._think or _thinking(llm)
        found: dict[str, Hit] = {}
        thoughts: list[str] = []
        answer, stopped = "", "steps"
        self._look_up(question, found, filters)
        try:
            while len(thoughts) < self.steps and not answer:
                thought = think(question, thoughts, _best(found)[: self.k]) or Sentence()
                answer = (thought.answer or "").strip()
                if thought.text.strip() and thought.text not in thoughts:
                    thoughts.append(thought.text)
                    self._look_up(thought.text, found, filters)
                elif not answer:
                    stopped = "nothing to add"
                    break
        except BudgetSpent:
            stopped = "budget"
        except EndpointError as why:
            if not thoughts:
                raise
            stopped = str(why)
        return Chain(
            text=answer or (thoughts[-1] if thoughts else ""),
            found=bool(answer),
            thoughts=tuple(thoughts),
            hits=tuple(_best(found)),
            calls=llm.budget.used.calls if llm else 0,
            stopped="answered" if answer else stopped,
        )

    def _look_up(self, query: str, found: dict[str, Hit], filters: dict[str, Any]) -> None:
        for hit in self.memory.search(query, self.k, **filters):
            if hit.id not in found or hit.score > found[hit.id].score:
                found[hit.id] = hit


def _best(found: dict[str, Hit]) -> list[Hit]:
    return sorted(found.values(), key=lambda hit: -hit.score)


def _thinking(llm: LanguageModel | None) -> Think:
    assert llm is not None

    def think(question: str, thoughts: Sequence[str], hits: Sequence[Hit]) -> Sentence | None:
        try:
            return llm.structured(prompts.think_messages(question, thoughts, [told(hit) for hit in hits]), Sentence)
        except BadReply:
            return None

    return think
