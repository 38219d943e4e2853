"""The same small language model with each mixer in turn: loss, speed, and what the state costs."""

from __future__ import annotations

import lzma
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mnemos.bench.neural.kept import Kept
from mnemos.bench.results import Result
from mnemos.bench.runner import Progress, TaskOptions, task
from mnemos.core.errors import InvalidInput
from mnemos.models.loading import load
from mnemos.models.options import TrainOptions
from mnemos.models.training import Report, train
from mnemos.state.mixers.registry import check_mixer_name, mixer_names


@dataclass(frozen=True, kw_only=True)
class LanguageOptions(TaskOptions):
    """Options of `language`."""

    data: Path | None = None
    """A UTF-8 text file, plain or .xz; its last twentieth is held out."""
    mixers: tuple[str, ...] = ("all",)
    """Names as `make_mixer` knows them, patterns such as titans-lmm+swa, or all."""
    steps: int = 300
    layers: int = 2
    hidden: int = 64
    heads: int = 2
    context: int = 128
    batch: int = 8
    lr: float = 3e-3
    keep: tuple[Path, ...] = ()
    """Files of earlier runs with the same settings, whose mixers are not trained again; new rows go to the first."""

    def __post_init__(self) -> None:
        if self.mixers != ("all",):
            for name in self.mixers:
                for one in name.split("+"):
                    check_mixer_name(one)


@task("language", summary="A byte language model with each mixer", options=LanguageOptions, plot=("system", "loss"))
def language(options: LanguageOptions, progress: Progress) -> Result:
    """One row for each mixer, the lowest loss first."""
    if options.data is None or not options.data.is_file():
        raise InvalidInput(f"there is no text at {options.data}: language trains on one, --data FILE")
    names = mixer_names() if options.mixers == ("all",) else list(options.mixers)
    config = {
        "data": options.data.name,
        "layers": options.layers,
        "hidden": options.hidden,
        "heads": options.heads,
        "context": options.context,
        "batch": options.batch,
        "steps": options.steps,
        "lr": options.lr,
    }
    kept = Kept(Result(name="language", measures={}, config=config, seeds=[options.seed]), options.keep)
    for done, name in enumerate(names):
        progress(name, done, len(names))
        with tempfile.TemporaryDirectory() as folder:
            told = partial(_told, progress, done, len(names), name)
            kept.make(name, partial(_row, name, Path(folder), options, told))
    rows = sorted((kept.rows[name] for name in names), key=lambda row: row.get("loss", math.inf))
    return Result(
        name="language",
        measures={f"loss, {row['system']}": row["loss"] for row in rows if "loss" in row},
        rows=rows,
        config=config,
        size={"steps": options.steps, "bytes": float(options.steps * options.batch * options.context)},
        seeds=[options.seed],
    )


def _told(progress: Progress, done: int, total: int, name: str, report: Report) -> None:
    if report.step % 25 == 0:
        progress(f"{name}, step {report.step} of {report.steps}", done, total)


def _row(name: str, folder: Path, options: LanguageOptions, told: Callable[[Report], None]) -> dict[str, Any]:
    speeds: list[float] = []

    def tell(report: Report) -> None:
        speeds.append(report.tokens_per_second)
        told(report)

    result = train(
        TrainOptions(
            corpus=_plain(options.data, folder),
            out=folder / "model",
            mixer=name.replace("+", ","),
            layers=options.layers,
            hidden=options.hidden,
            heads=options.heads,
            context=options.context,
            batch=options.batch,
            steps=options.steps,
            lr=options.lr,
            warmup=max(1, options.steps // 10),
            save_every=options.steps,
            sample_tokens=0,
            seed=options.seed,
        ),
        tell,
    )
    return {
        "loss": round(result.validation_loss or 0.0, 4),
        "tokens/s": round(statistics.median(speeds)),
        **_decode(folder / "model"),
    }


def _plain(data: Path | None, folder: Path) -> Path:
    """The text as a plain file."""
    assert data is not None
    if data.suffix != ".xz":
        return data
    text = folder / data.stem
    text.write_bytes(lzma.decompress(data.read_bytes()))
    return text


@torch.no_grad()
def _decode(folder: Path) -> dict[str, Any]:
    """Milliseconds per token and bytes of state after 1,024 tokens of context."""
    model = load(folder).train(False)
    ids = torch.randint(0, 256, (1, 1024 + 32), generator=torch.Generator().manual_seed(0))
    out = model(ids[:, :1024], use_cache=True)
    times = []
    for place in range(1024, ids.shape[1]):
        start = time.perf_counter()
        out = model(ids[:, place : place + 1], cache=out.cache, use_cache=True)
        times.append(time.perf_counter() - start)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "state bytes": out.cache.nbytes(),
        "ms/token": round(1e3 * statistics.median(times), 2),
    }
