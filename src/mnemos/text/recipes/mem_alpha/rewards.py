"""What a write policy is paid for.

Source: Mem-alpha (2025), section 3.3: r_t = r1 + r2_t + β r3 + γ r4_t for the chunk t of a rollout. r1 (answers) and
r3 (compression) are shared by its chunks; r2 (calls that succeeded) and r4 (entries that belong where they are)
tell chunks apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import InvalidInput
from mnemos.text.recipes.mem_alpha.statements import Chunk, statement
from mnemos.text.recipes.mem_alpha.store import CoreSemanticEpisodicMemory, Outcome, ToolCall, count_tokens

BETA = 0.05
"""Weight of compression."""
GAMMA = 0.1
"""Weight of content."""

Judge = Callable[[ToolCall], bool]
"""Whether what a call writes belongs where it writes it."""


@dataclass(frozen=True, slots=True)
class Rewards:
    """Of one rollout over n chunks."""

    answers: float
    """r1, in [0, 1]."""
    tools: NDArray[np.float64]
    """[n] r2, in [0, 1]."""
    compression: float
    """r3, 1 for an empty memory; below 0 where the memory is longer than what it was made from."""
    content: NDArray[np.float64]
    """[n] r4, in [0, 1]."""

    def total(self, beta: float = BETA, gamma: float = GAMMA) -> NDArray[np.float64]:
        """[n] r_t."""
        return self.answers + self.tools + beta * self.compression + gamma * self.content


def rewards(
    answers: float,
    log: Sequence[Sequence[Outcome]],
    memory: CoreSemanticEpisodicMemory,
    chunks: Sequence[Chunk],
    judge: Judge | None = None,
) -> Rewards:
    """The four rewards of a rollout.

    Args:
        answers: mean score of a frozen reader over the questions, in [0, 1].
        log: the outcomes of each chunk.
        memory: as it was in the end.
        judge: `belongs` if None.

    Raises:
        InvalidInput: not one list of outcomes per chunk.
    """
    if len(log) != len(chunks) or not chunks:
        raise InvalidInput(f"{len(log)} lists of outcomes for {len(chunks)} chunks: give one for each")
    return Rewards(
        answers,
        np.array([tool_success(outcomes) for outcomes in log]),
        compression(memory, chunks),
        np.array([content(outcomes, judge or belongs) for outcomes in log]),
    )


def tool_success(outcomes: Sequence[Outcome]) -> float:
    """r2: the share of calls that succeeded; 0 where none was made."""
    return sum(one.ok for one in outcomes) / len(outcomes) if outcomes else 0.0


def compression(memory: CoreSemanticEpisodicMemory, chunks: Sequence[Chunk]) -> float:
    """r3: 1 - tokens of the memory / tokens of the chunks; not clipped.

    Raises:
        InvalidInput: the chunks hold no token.
    """
    source = sum(count_tokens(part.text) for chunk in chunks for part in chunk.parts)
    if not source:
        raise InvalidInput("the chunks are empty: there is nothing to compress")
    return 1 - memory.tokens() / source


def content(outcomes: Sequence[Outcome], judge: Judge) -> float:
    """r4: the share of inserts and updates whose content belongs where it went; 0 where there was none."""
    written = [one.call for one in outcomes if one.call.tool in ("insert", "update")]
    return sum(judge(call) for call in written) / len(written) if written else 0.0


def belongs(call: ToolCall) -> bool:
    """The verdict of rules, where no language model judges.

    Core: every line speaks of the user. Semantic: a statement without a day. Episodic: an event with its time.
    """
    lines = [statement(_DAY.sub("", line)) for line in call.content.split("\n") if line.strip()]
    if not lines or any(one.noise > 0.75 for one in lines):
        return False
    if call.type == "core":
        return all(one.personal and not one.dated for one in lines)
    dated = bool(_DAY.match(call.content)) or any(one.dated for one in lines)
    return dated if call.type == "episodic" else not dated and not all(one.personal for one in lines)


_DAY = re.compile(r"\d{4}-\d\d-\d\d: ")


# -- how answers are scored ------------------------------------------------------------------


def match(answer: str, gold: str) -> float:
    """1 where `answer` is or contains `gold`, whatever case and spacing (squad, hotpotqa)."""
    return float(bool(_plain(gold)) and f" {_plain(gold)} " in f" {_plain(answer)} ")


def parts(answer: str, gold: str) -> float:
    """The share of the ';'-separated parts of `gold` that `answer` contains (perltqa)."""
    wanted = [part for part in gold.split(";") if _plain(part)]
    return sum(match(answer, part) for part in wanted) / len(wanted) if wanted else 0.0


def keywords(answer: str, gold: str) -> float:
    """The share of the ','-separated keywords of `gold` that `answer` contains (book summaries)."""
    return parts(answer, gold.replace(",", ";"))


def boxed(answer: str, gold: str) -> float:
    r"""1 where the only \boxed{label} of `answer`, or all of it without one, is the label `gold` (classification)."""
    labels = re.findall(r"\\boxed\{([^{}]*)\}", answer) or [answer]
    return float(len(labels) == 1 and _plain(labels[0]) == _plain(gold))


SCORERS: dict[str, Callable[[str, str], float]] = {
    "squad": match, "hotpotqa": match, "perltqa": parts, "booksum": keywords, "pubmed-rct": boxed, "ttl": boxed,
}  # fmt: skip
"""By source of the questions; `match` is right for any other that needs no language model to judge."""


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
