"""Hallucinations of a memory begin at extraction: where they enter, what mends them, what is left.

Four arms read the same talk: (a) keeps it word by word and answers by the newest mention; (b) extracts facts, never
takes one back, and answers by the first hit; (c) lets a new value supersede the old; (d) also keeps an assistant's
claims about the user out until the user confirms them. The extractor knows four of the five phrasings of each fact.
Twenty users, twenty sessions, eight slots of one value, three facts a session, claims in two thirds of the sessions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from mnemos.bench.halumem.generator import Plan, generate
from mnemos.bench.halumem.judges import SlotJudge
from mnemos.bench.halumem.metrics import Figures, attribution
from mnemos.bench.halumem.run import run as probe
from mnemos.bench.halumem.schema import Session, User
from mnemos.bench.halumem.world import Slot, persona
from mnemos.bench.results import Finding, Result, Verdict
from mnemos.bench.runner import Progress

SYSTEM = "halumem"
PLAN = Plan(
    users=20, sessions=20, turns=16, facts=(3, 3), hints=(0, 0), claims=(0, 2), slots=8, phrasings=5, people=0,
    deeds=False, questions=(1, 2),
)  # fmt: skip
KNOWN = 4
"""Phrasings that the extractor knows."""
SEEDS = (0, 1, 2)
_SHOWN = ("recall", "FMR", "update correct", "QA correct")
ARMS = {
    "(a) verbatim, newest mention": {"verbatim": True},
    "(b) extractor, add-only": {},
    "(c) + supersede": {"supersedes": True},
    "(d) + speaker guard": {"supersedes": True, "guards": True},
}


def run(progress: Progress, plan: Plan = PLAN, seeds: Sequence[int] = SEEDS) -> Result:
    """The four arms on the same users, all seeds together."""
    rows: list[dict[str, Any]] = []
    stages: dict[str, dict[str, int]] = {}
    for number, (name, traits) in enumerate(ARMS.items()):
        progress(name, number, len(ARMS))
        found: list[Figures] = []
        stages[name] = {}
        for seed in seeds:
            outcome = probe(Arm(**traits), generate(plan, seed), SlotJudge())
            found.append(outcome.figures())
            for stage, count in attribution(outcome.answers).items():
                stages[name][stage] = stages[name].get(stage, 0) + count
        errors = sum(stages[name].values())
        shares = {f"errors by {stage}": round(count / max(errors, 1), 4) for stage, count in stages[name].items()}
        rows.append({"system": name, **_mean(found), **shares, "QA errors": errors})
    by = {row["system"][:3]: row for row in rows}
    passed = _passes(by)
    verdict: Verdict = "holds" if all(passed.values()) else "partly" if any(passed.values()) else "fails"
    return Result(
        name=SYSTEM,
        measures={
            **{
                f"{arm} {name}": by[arm][name]
                for arm in by
                for name in ("recall", "FMR", "update correct", "QA correct")
            },
            "(d) QA errors by extraction": by["(d)"]["errors by extraction"],
            **{f"passes: {name}": float(value) for name, value in passed.items()},
        },
        rows=rows,
        config=asdict(plan) | {"phrasings known": KNOWN, "judge": SlotJudge.name},
        size={"users": plan.users, "sessions": plan.users * plan.sessions},
        seeds=list(seeds),
        claim=Finding(
            statement="superseding raises correct updates by at least 0.5; guarding against the assistant's claims "
            "raises false-memory resistance by at least 0.8 at the same recall (0.03); each raises correct answers by "
            "at least 0.1; at least 0.9 of the answers that are wrong even then go back to extraction",
            paper="errors of extraction propagate, update omissions dominate (Mem0: 53.0 % of answers and 25.5 % of "
            "updates correct)",
            ours=f"(d) {_shown(by['(d)'])}; {by['(d)']['errors by extraction']:.2f} of errors by extraction",
            baseline="; ".join(f"{arm} {_shown(by[arm])}" for arm in ("(a)", "(b)", "(c)")),
            verdict=verdict,
        ),
    )


def _shown(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {row[name]:.2f}" for name in _SHOWN)


def _passes(by: dict[str, dict[str, Any]]) -> dict[str, bool]:
    b, c, d = by["(b)"], by["(c)"], by["(d)"]
    return {
        "updates": c["update correct"] >= b["update correct"] + 0.5,
        "resistance": d["FMR"] >= c["FMR"] + 0.8 and abs(d["recall"] - c["recall"]) <= 0.03,
        "answers": d["QA correct"] >= c["QA correct"] + 0.1 and c["QA correct"] >= b["QA correct"] + 0.1,
        "attribution": d["errors by extraction"] >= 0.9,
    }


def _mean(found: Sequence[Figures]) -> dict[str, float | None]:
    names = [name for name in found[0] if not name.endswith(" s")]
    values = {name: [one[name] for one in found if one.get(name) is not None] for name in names}
    return {name: round(sum(some) / len(some), 4) if some else None for name, some in values.items()}  # type: ignore[arg-type]


# -- the arms ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact that was extracted, and the sentence that stands for it."""

    slot: str
    value: str
    text: str


@dataclass
class Arm:
    """A memory of one user at a time; see the module's text."""

    verbatim: bool = False
    supersedes: bool = False
    guards: bool = False

    def __post_init__(self) -> None:
        self._user = ""
        self._kept: list[Entry] = []

    def add_dialogue(self, user: User, session: Session) -> list[str]:
        """The facts of a session; of (a), its turns."""
        if user.id != self._user:
            self._user, self._kept = user.id, []
        name = user.persona.removeprefix("Name: ").split(";")[0]
        added = []
        for turn in session.turns:
            facts = [] if self.guards and turn.role == "assistant" else extract(turn.content, name)
            if self.verbatim:
                text = f"{name if turn.role == 'user' else 'assistant'}: {turn.content}"
                added += [replace(fact, text=text) for fact in facts] or [Entry("", "", text)]
            else:
                added += facts
        for entry in added:
            if self.supersedes:
                self._kept = [one for one in self._kept if one.slot != entry.slot]
            self._kept.append(entry)
        return list(dict.fromkeys(entry.text for entry in added))

    def retrieve(self, user: User, query: str, k: int) -> list[str]:
        """Entries of the slots that the query names, in order of adding; of (a), the newest first."""
        asked = _slots_in(query)
        found = [entry.text for entry in self._kept if entry.slot in asked]
        return list(dict.fromkeys(reversed(found) if self.verbatim else found))[:k]

    def answer(self, user: User, question: str) -> str:
        """The value of the first hit; of (a), of the newest mention."""
        asked = _slots_in(question)
        found = [entry.value for entry in self._kept if entry.slot in asked]
        return "" if not found else found[-1 if self.verbatim else 0]


def extract(text: str, name: str) -> list[Entry]:
    """What the extractor understands: four phrasings in the first person, and "your … is …"."""
    entries = []
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        for slot, pattern in _patterns():
            if found := pattern.search(sentence):
                value = next(value for value in found.groups() if value)
                entries.append(Entry(slot.name, value, f"{name}'s {slot.name} is {value}."))
                break
    return entries


@cache
def _patterns() -> tuple[tuple[Slot, re.Pattern[str]], ...]:
    patterns = []
    for slot in persona():
        values = f"({'|'.join(map(re.escape, slot.values))})"
        told = [re.escape(said.rstrip(".")).replace(re.escape("{v}"), values) for said in slot.said[:KNOWN]]
        told.append(rf"your {re.escape(slot.name)} is {values}")
        patterns.append((slot, re.compile("|".join(told), re.IGNORECASE)))
    return tuple(patterns)


def _slots_in(question: str) -> set[str]:
    """Slots that a question names, or whose values it does."""
    asked = question.lower()
    named = {slot.name for slot in persona() if slot.name in asked}
    return named or {slot.name for slot in persona() if any(value.lower() in asked for value in slot.values)}
