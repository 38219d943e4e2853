"""Answers read out of solutions, and put together by vote."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, field_validator

from mnemos.core.errors import InvalidInput
from mnemos.text.llm.reply import Unreadable, read
from mnemos.text.reason.tree import normal

Weighting = Literal["majority", "log-odds"]

_STATED = r"(?:(?i:final\s+answer|answer|option|choice))"
_OPTION = r"[\"'({{\[*\s]*+(?:(?i:option|choice)\s*+[\"'({{\[*]*+)?+(?P<letter>{letters})(?![\w'’]|\s+[a-z])"


def read_option(text: str, options: int) -> str | None:
    """The option's letter that a solution ends with: `{"answer": "B"}`, "answer is B", "(B)", "B) ...".

    None where no letter is stated, or several are without a final word: a guess would be a vote.
    """
    letters = f"[A-{chr(64 + options)}]"
    option = _OPTION.format(letters=letters)
    for stated in (rf"{_STATED}[\"']?\s*[:=]{option}", rf"{_STATED}\s+(?:is|was|would\s+be|should\s+be)\s*:?{option}"):
        if found := [match["letter"] for match in re.finditer(stated, text)]:
            return str(found[-1])
    if alone := re.fullmatch(rf"\W*({letters})(?:\W*|[).:]\s.*)", text.strip(), re.DOTALL):
        return str(alone[1])
    marked = set(re.findall(rf"(?<!\w)\(?({letters})\)", text))
    return str(marked.pop()) if len(marked) == 1 else None


class _Answer(BaseModel):
    answer: str

    @field_validator("answer", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def read_answer(text: str) -> str | None:
    """The short answer that a solution ends with: `{"answer": "..."}`, or the line after "Answer:"."""
    for piece in (text[text.rfind("{") :] if "{" in text else "", text):
        try:
            return read(piece, _Answer).answer.strip() or None
        except Unreadable:
            continue
    stated = re.findall(r"(?<![\w\"'])(?i:answer)(?:\s*:|\s+(?i:is)\b\s*:?)[^\S\n]*+([^\n{}]+)", text)
    return stated[-1].strip(" .\"'*") or None if stated else None


@dataclass(frozen=True, slots=True)
class Ballot:
    """What a vote came to."""

    answer: str | None
    """None where nobody voted."""
    share: float
    """Of the weight, in [0, 1]."""
    tally: Mapping[str, float]
    """Weight of each answer, by its normal form."""


class Voter:
    """Puts the answers of several experts together, and learns how far to trust each.

    Majority counts heads. Log-odds weighs an expert by log(p (C - 1) / (1 - p)), best for independent experts who are
    right with probability p among C options and spread their mistakes evenly; an expert no better than chance weighs
    nothing. p is past accuracy, (right + 1) / (asked + 2), of the kind of question drawn towards that of all kinds.
    Ties go to the answer whose best voter was right more often, then to the expert named first.

    Args:
        weighting: "majority" or "log-odds".
        options: C; for open questions, how many answers are plausible.

    Raises:
        InvalidInput: an unknown weighting, or fewer than two options.
    """

    def __init__(self, weighting: Weighting = "majority", options: int = 5) -> None:
        if weighting not in ("majority", "log-odds") or options < 2:
            raise InvalidInput(f"weighting {weighting!r} with {options} options: majority or log-odds, and at least 2")
        self.weighting, self.options = weighting, options
        self._record: dict[str, dict[str, tuple[int, int]]] = {}

    def combine(self, votes: Mapping[str, str | None], kind: str = "") -> Ballot:
        """The winner of `votes`, expert to answer; None does not vote."""
        cast = {expert: answer for expert, answer in votes.items() if answer is not None}
        if not cast:
            return Ballot(None, 0.0, {})
        weights = {expert: self.weight(expert, kind) for expert in cast}
        if not any(weights.values()):
            weights = dict.fromkeys(cast, 1.0)
        tally: dict[str, float] = {}
        best: dict[str, tuple[float, int, str]] = {}
        for place, (expert, answer) in enumerate(cast.items()):
            form = normal(answer)
            tally[form] = tally.get(form, 0.0) + weights[expert]
            voter = (self.accuracy(expert, kind), -place, answer)
            best[form] = max(best.get(form, voter), voter)
        # equal sums of equal weights are ties, whatever the order in which they were added
        winner = max(tally, key=lambda form: (round(tally[form], 9), best[form][:2]))
        whole = sum(tally.values())
        return Ballot(best[winner][2], tally[winner] / whole, tally)

    def weight(self, expert: str, kind: str = "") -> float:
        """What a vote of `expert` counts."""
        if self.weighting == "majority":
            return 1.0
        p = self.accuracy(expert, kind)
        return max(0.0, math.log(p * (self.options - 1) / (1 - p)))

    def accuracy(self, expert: str, kind: str = "") -> float:
        """Smoothed share of questions of `kind` that `expert` got right, in (0, 1); 1/2 before the first."""
        record = self._record.get(expert, {})
        right, asked = (sum(column) for column in zip(*record.values(), strict=True)) if record else (0, 0)
        overall = (right + 1) / (asked + 2)
        right, asked = record.get(kind, (0, 0))
        return (right + 2 * overall) / (asked + 2)

    def learn(self, votes: Mapping[str, str | None], correct: str, kind: str = "") -> None:
        """Note who was right; who did not vote was not."""
        for expert, answer in votes.items():
            right, asked = self._record.setdefault(expert, {}).get(kind, (0, 0))
            hit = answer is not None and normal(answer) == normal(correct)
            self._record[expert][kind] = (right + hit, asked + 1)

    def to_json(self) -> str:
        """All that was learnt."""
        return json.dumps({"weighting": self.weighting, "options": self.options, "record": self._record})

    @classmethod
    def from_json(cls, text: str) -> Voter:
        """The voter of `to_json`.

        Raises:
            InvalidInput: it is none.
        """
        try:
            data = json.loads(text)
            voter = cls(data["weighting"], data["options"])
            for expert, kinds in data["record"].items():
                voter._record[str(expert)] = {str(kind): _counts(pair) for kind, pair in kinds.items()}
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as why:
            raise InvalidInput(f"not a voter's record ({type(why).__name__}: {why}): {text[:80]!r}") from None
        return voter


def _counts(pair: Sequence[int]) -> tuple[int, int]:
    right, asked = pair
    if not (type(right) is int and type(asked) is int and 0 <= right <= asked):
        raise ValueError(f"{pair} is no count of right and asked")
    return right, asked
