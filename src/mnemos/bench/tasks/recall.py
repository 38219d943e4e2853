"""What each mixer learns to recall, on one of the synthetic recall tasks, beside the ceiling of a window and chance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mnemos.bench.neural.kept import Kept
from mnemos.bench.neural.recall import Training, train_recall
from mnemos.bench.recall import recall_task
from mnemos.bench.results import Result
from mnemos.bench.runner import Progress, TaskOptions, task
from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.registry import check_mixer_name, make_mixer, mixer_names

_WINDOW = 16
"""Tokens that every attention with an edge sees. With the usual 64 it would see all of a short task, and what stands
beside it, a memory or nothing, would not matter."""
_EDGES = {"swa": "window", "titans-mac": "segment", "titans-mag": "window", "titans-mal": "window"}
"""Mixer to the setting of its attention's edge."""


@dataclass(frozen=True, kw_only=True)
class RecallOptions(TaskOptions):
    """Options of `recall`."""

    task: str = "mqar"
    mixers: tuple[str, ...] = ("all",)
    """Names as `make_mixer` knows them, or all."""
    steps: int = 1000
    batch: int = 32
    dim: int = 64
    heads: int = 4
    rates: tuple[float, ...] = (3e-3, 1e-2)
    keep: tuple[Path, ...] = ()
    """Files of earlier runs with the same settings, whose mixers are not trained again; new rows go to the first."""

    def __post_init__(self) -> None:
        if self.mixers != ("all",):
            for name in self.mixers:
                check_mixer_name(name)
        recall_task(self.task)
        if min(self.steps, self.batch, self.dim, self.heads, *self.rates) <= 0:
            raise InvalidInput("steps, batch, dim, heads and rates are all above 0")


@task("recall", summary="Synthetic recall, learned by any mixer", options=RecallOptions, plot=("system", "score"))
def recall(options: RecallOptions, progress: Progress) -> Result:
    """One row for each mixer; the solver, a window's ceiling and chance below them."""
    chosen = recall_task(options.task)
    names = mixer_names() if options.mixers == ("all",) else list(options.mixers)
    training = Training(
        dim=options.dim,
        heads=options.heads,
        steps=options.steps,
        batch=options.batch,
        rates=options.rates,
        seed=options.seed,
    )
    config = {
        "task": str(chosen),
        "window": _WINDOW,
        "steps": options.steps,
        "batch": options.batch,
        "dim": options.dim,
        "heads": options.heads,
        "rates": list(options.rates),
    }
    kept = Kept(Result(name="recall", measures={}, config=config, seeds=[options.seed]), options.keep)
    for done, name in enumerate(names):
        progress(name, done, len(names))
        settings = {_EDGES[name]: _WINDOW} if name in _EDGES else {}
        told = partial(_told, progress, name, done, len(names))
        make = partial(make_mixer, name, options.dim, options.heads, **settings)
        kept.make(name, partial(train_recall, chosen, make, training, told))
    rows = sorted((kept.rows[name] for name in names), key=lambda row: -row.get("score", -1.0))
    ceiling = chosen.ceiling(_WINDOW)
    rows.append({"system": f"ceiling of a window of {_WINDOW}", "score": round(ceiling, 4)})
    rows.append({"system": "chance", "score": round(chosen.chance, 4)})
    return Result(
        name="recall",
        measures={row["system"]: row["score"] for row in rows if "score" in row},
        rows=rows,
        config=config,
        size={"sequences": float(options.steps * options.batch), "length": chosen.length},
        seeds=[options.seed],
    )


def _told(progress: Progress, name: str, done: int, total: int, what: str, step: int, steps: int) -> None:
    progress(f"{name}, {what}, step {step} of {steps}", done, total)
