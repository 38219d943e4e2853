"""HaluMem (2025): does a memory miss facts, make them up, keep old ones, or lose them when it answers?

Users are made up (`--size`) or come from a file of the published form (`--data`, under its own licence).
Each recipe runs beside the same store taken as a log, turn by turn. Judged by slots, or by the configured
language model (`--judge model`), with Cohen's kappa between the two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnemos.bench.halumem.generator import SIZES, generate
from mnemos.bench.halumem.judges import Judge, SlotJudge, cohen_kappa
from mnemos.bench.halumem.metrics import Outcome, attribution
from mnemos.bench.halumem.run import run
from mnemos.bench.halumem.schema import User, load_halumem
from mnemos.bench.halumem.systems import MemorySystem, View
from mnemos.bench.results import Result
from mnemos.bench.runner import Progress, TaskOptions, task
from mnemos.core.clock import FixedClock
from mnemos.core.config import Settings
from mnemos.core.errors import InvalidInput
from mnemos.text.llm import LanguageModel
from mnemos.text.memory import Memory
from mnemos.text.recipes import DEFAULT, recipe_names

_JUDGED = 200
"""Judgements of each kind that both judges give, to see how far they agree."""


@dataclass(frozen=True, kw_only=True)
class HalumemOptions(TaskOptions):
    """Options of `halumem`."""

    size: str = "tiny"
    """How much is made up: tiny, medium or long."""
    data: Path | None = None
    """A file of the published form, instead."""
    recipe: str = DEFAULT
    """Which agent memory is tested."""
    embedder: str = "auto"
    judge: str = "slots"
    """slots, or model: the configured language model."""


@task(
    "halumem",
    summary="Where a memory goes wrong: extraction, updating, answering, on HaluMem's operations",
    options=HalumemOptions,
    plot=("system", "QA correct"),
)
def halumem(options: HalumemOptions, progress: Progress) -> Result:
    """One row for the recipe by what it derived, one for its turns as they are; every figure with its denominator."""
    if options.recipe not in recipe_names():
        raise InvalidInput(f"there is no recipe {options.recipe!r}: there are {', '.join(recipe_names())}")
    users = _users(options)
    judge = _judge(options)
    rows: list[dict[str, Any]] = []
    measures: dict[str, float] = {}
    tests: tuple[tuple[str, View, str], ...] = (
        (options.recipe, "derived", options.recipe),
        ("turns as they are", "turns", DEFAULT),
    )
    for name, view, recipe in tests:
        outcome = _tested(options, recipe, view, users, judge, progress)
        stages = {f"errors by {stage}": count for stage, count in attribution(outcome.answers).items()}
        rounded = {key: None if value is None else round(value, 4) for key, value in outcome.figures().items()}
        rows.append({"system": name, **rounded, **stages})
        if view == "derived":
            measures = {key: value for key, value in rounded.items() if value is not None}
            measures |= {key: float(count) for key, count in stages.items()}
            if options.judge == "model":
                measures |= agreement(outcome, users)
    config = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
    return Result(
        name="halumem",
        measures=measures,
        rows=rows,
        config=config | {"judged by": judge.name},
        size={
            "users": len(users),
            "sessions": sum(len(user.sessions) for user in users),
            "points": sum(len(session.points) for user in users for session in user.sessions),
            "questions": sum(len(session.questions) for user in users for session in user.sessions),
        },
        seeds=[options.seed],
    )


def agreement(outcome: Outcome, users: Sequence[User]) -> dict[str, float]:
    """Cohen's kappa between the verdicts on answers that `outcome` holds and those of the slots."""
    slots, by_id = SlotJudge(), {user.id: user for user in users}
    some = outcome.answers[:_JUDGED]
    ours = [slots.answer(by_id[one.user], one.question, one.answer) for one in some]
    return {"kappa, answers": round(cohen_kappa([one.verdict for one in some], ours), 4)}


def _tested(
    options: HalumemOptions, recipe: str, view: View, users: Sequence[User], judge: Judge, progress: Progress
) -> Outcome:
    clock = FixedClock(users[0].sessions[0].start if users[0].sessions else 0.0)
    with (
        tempfile.TemporaryDirectory() as folder,
        Memory(
            Path(folder) / "halumem.mnemos", embedder=options.embedder, recipe=recipe, clock=clock,
            seed=options.seed,
        ) as memory,
    ):  # fmt: skip
        return run(MemorySystem(memory, clock, view), users, judge, progress)


def _users(options: HalumemOptions) -> list[User]:
    if options.data is not None:
        return load_halumem(options.data)
    if options.size not in SIZES:
        raise InvalidInput(f"size is {options.size!r}: choose from {', '.join(SIZES)}")
    return generate(SIZES[options.size], options.seed)


def _judge(options: HalumemOptions) -> Judge:
    if options.judge == "slots":
        return SlotJudge()
    if options.judge != "model":
        raise InvalidInput(f"judge is {options.judge!r}: choose slots or model")
    from mnemos.bench.halumem.model_judge import ModelJudge

    settings = Settings()
    if not settings.model:
        raise InvalidInput("no language model is configured: set MNEMOS_MODEL, or judge by slots")
    key = settings.api_key.get_secret_value() if settings.api_key else None
    return ModelJudge(LanguageModel(settings.model, base_url=settings.base_url, api_key=key))
