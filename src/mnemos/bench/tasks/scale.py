"""How recall and writing cost grow with what is stored, each beside its limit.

Ingest is held against the embedder alone on the same texts, a single durable `add` against one
embedding and one fsync, search is timed without the embedding of the question.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.bench.results import Result
from mnemos.bench.runner import Progress, TaskOptions, task
from mnemos.bench.tasks._talk import questions, talk
from mnemos.bench.timing import percentiles
from mnemos.core.clock import SystemClock
from mnemos.core.errors import InvalidInput
from mnemos.text.encode.embedder import Embedder, resolve
from mnemos.text.file import make_filter
from mnemos.text.memory import Memory
from mnemos.text.records import Scope

_SINGLES = 60
_SEARCHES = 200
_SLICE = 2000
"""Turns that are embedded alone and added in turn: both sides see the same load of the machine."""


@dataclass(frozen=True, kw_only=True)
class ScaleOptions(TaskOptions):
    """Options of `scale`."""

    turns: tuple[int, ...] = (1_000, 10_000)
    """How many memories to store, one row each; `--turns 1000,10000,100000` made the README's."""
    embedder: str = "auto"

    def __post_init__(self) -> None:
        if not self.turns or min(self.turns) < 100:
            raise InvalidInput(f"turns = {self.turns}: at least 100 each, or there is nothing to measure")


@task(
    "scale",
    summary="Ingest, add, search, memory and cold start against their limits",
    options=ScaleOptions,
    plot=("turns", "search p95 ms"),
)
def scale(options: ScaleOptions, progress: Progress) -> Result:
    """One row for each number of memories; the measures are those of the largest."""
    embedder = resolve(options.embedder)
    if embedder is not None:
        embedder.embed(["loading is not what is measured here"])
    rows = [_row(turns, embedder, options, progress) for turns in sorted(options.turns)]
    measures = {name: float(value) for name, value in rows[-1].items() if name not in ("system", "turns")}
    if len(rows) > 1:
        measures["search p95 growth"] = round(rows[-1]["search p95 ms"] / rows[-2]["search p95 ms"], 2)
    return Result(
        name="scale",
        measures=measures,
        rows=rows,
        config={"embedder": embedder.name if embedder else "none"},
        size={"turns": rows[-1]["turns"]},
        seeds=[options.seed],
    )


def _row(turns: int, embedder: Embedder | None, options: ScaleOptions, progress: Progress) -> dict[str, Any]:
    items = talk(turns + _SINGLES, options.seed)
    bulk, singles = items[:turns], items[turns:]
    asked = questions(bulk, _SEARCHES + 1, options.seed)
    row: dict[str, Any] = {"system": "mnemos", "turns": turns}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scale.mnemos"
        with Memory(path, embedder=embedder) as memory:
            row |= _ingest(memory, embedder, bulk, progress)
            row |= _single(memory, embedder, [item.text for item in singles], Path(folder))
            progress("searching", 0, 1)
            row |= _search(memory, asked)
            row["file MB"] = round(sum(p.stat().st_size for p in Path(folder).iterdir()) / 1e6, 1)
        row |= _cold(path, options.embedder, asked[0])
    return row


def _ingest(memory: Memory, embedder: Embedder | None, items: list[Any], progress: Progress) -> dict[str, float]:
    alone = ours = 0.0
    for start in range(0, len(items), _SLICE):
        progress("ingesting", start, len(items))
        part = items[start : start + _SLICE]
        # ours first on one slice, the limit first on the next
        if embedder is not None and start // _SLICE % 2:
            alone += _seconds(partial(embedder.embed, [item.text for item in part]))
        ours += _seconds(partial(memory.add, part))
        if embedder is not None and not start // _SLICE % 2:
            alone += _seconds(partial(embedder.embed, [item.text for item in part]))
    found = {"ingest turns/s": round(len(items) / ours, 1)}
    if embedder is not None:
        found |= {
            "embedder alone turns/s": round(len(items) / alone, 1),
            "ingest / limit": round(alone / ours, 3),
        }
    return found


def _seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def _single(memory: Memory, embedder: Embedder | None, texts: list[str], folder: Path) -> dict[str, float]:
    ours, limit = [], []
    with (folder / "probe").open("wb") as file:
        for number, text in enumerate(texts):
            begin = time.perf_counter()
            if embedder is not None:
                embedder.embed([f"{text} {number}"])  # another text of the same length: nothing is cached
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
            middle = time.perf_counter()
            memory.add(text, speaker="Emeka", session="single", at=1.8e9 + number)
            ours.append(time.perf_counter() - middle)
            limit.append(middle - begin)
    (folder / "probe").unlink()
    p50, bound = float(np.median(ours)), float(np.median(limit))
    return {
        "add p50 ms": round(p50 * 1e3, 2),
        "add limit ms": round(bound * 1e3, 2),
        "add / limit": round(p50 / bound, 2),
    }


def _search(memory: Memory, asked: list[str]) -> dict[str, float]:
    vectors = {question: memory._recall.embedded(question, Scope()) for question in asked}
    where, now = make_filter(Scope(), {}), SystemClock().now()
    latency = percentiles(lambda q: memory._recall.search(q, vectors[q], where, 10, now), asked)
    after = []
    for number, question in enumerate(asked[:_SINGLES]):
        memory.add(f"{question} Let me think about that.", speaker="Emeka", session="after", at=1.9e9 + number)
        after.append(_seconds(partial(memory._recall.search, question, vectors[question], where, 10, now)))
    embedder = memory._encoder.embedder
    one = percentiles(lambda q: embedder.embed([q]) if embedder else None, asked)
    return {
        "search p50 ms": round(latency.p50 * 1e3, 2),
        "search p95 ms": round(latency.p95 * 1e3, 2),
        "search after an add p50 ms": round(float(np.median(after)) * 1e3, 2),
        "query embedding p50 ms": round(one.p50 * 1e3, 2),
    }


def _cold(path: Path, embedder: str, question: str) -> dict[str, float]:
    run = [sys.executable, "-m", "mnemos.bench.tasks._cold", str(path), embedder, question]
    cold = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    return {"cold open + search s": round(cold["seconds"], 2), "memory MB": round(cold["megabytes"], 1)}
