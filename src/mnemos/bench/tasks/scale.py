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
from mnemos.text.memory import Memory, make_filter
from mnemos.text.records import Scope

_SINGLES = 60
_SEARCHES = 200
_SLICE = 2000
"""Turns that are embedded alone and added in turn: both sides see the same load of the machine."""


@dataclass(frozen=True, kw_only=True)
class ScaleOptions(TaskOptions):
    """Options of `scale`."""

    turns: int = 10_000
    """Memories to store; 1,000, 10,000 and 100,000 stand in the README."""
    embedder: str = "auto"

    def __post_init__(self) -> None:
        if self.turns < 100:
            raise InvalidInput(f"turns = {self.turns}: at least 100, or there is nothing to measure")


@task("scale", summary="Ingest, add, search, memory and cold start against their limits", options=ScaleOptions)
def scale(options: ScaleOptions, progress: Progress) -> Result:
    """One row: what `turns` memories cost."""
    items = talk(options.turns + _SINGLES, options.seed)
    bulk, singles = items[: options.turns], items[options.turns :]
    asked = questions(bulk, _SEARCHES + 1, options.seed)
    embedder = resolve(options.embedder)
    if embedder is not None:
        embedder.embed([asked[0]])  # loading is not what is measured here
    row: dict[str, Any] = {"system": "mnemos", "turns": options.turns}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scale.mnemos"
        with Memory(path, embedder=embedder) as memory:
            row |= _ingest(memory, embedder, bulk, progress)
            row |= _single(memory, embedder, [item.text for item in singles], Path(folder))
            progress("searching", 0, 1)
            row |= _search(memory, asked)
            row["file MB"] = round(sum(p.stat().st_size for p in Path(folder).iterdir()) / 1e6, 1)
        row |= _cold(path, options.embedder, asked[0])
    measures = {name: float(value) for name, value in row.items() if name not in ("system", "turns")}
    return Result(
        name="scale",
        measures=measures,
        rows=[row],
        config={"embedder": embedder.name if embedder else "none"},
        size={"turns": options.turns},
        seeds=[options.seed],
    )


def _ingest(memory: Memory, embedder: Embedder | None, items: list[Any], progress: Progress) -> dict[str, float]:
    alone = ours = 0.0
    for start in range(0, len(items), _SLICE):
        progress("ingesting", start, len(items))
        part = items[start : start + _SLICE]
        # the limit first on one slice, ours first on the next
        sides: list[Callable[[], object]] = [partial(memory.add, part)]
        if embedder is not None:
            sides.insert(start // _SLICE % 2, partial(embedder.embed, [item.text for item in part]))
        for side in sides:
            begin = time.perf_counter()
            side()
            seconds = time.perf_counter() - begin
            is_ours = len(sides) == 1 or sides.index(side) != start // _SLICE % 2
            ours, alone = (ours + seconds, alone) if is_ours else (ours, alone + seconds)
    found = {"ingest turns/s": round(len(items) / ours, 1)}
    if embedder is not None:
        found |= {
            "embedder alone turns/s": round(len(items) / alone, 1),
            "ingest / limit": round(alone / ours, 3),
        }
    return found


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
    vectors = {question: memory._encoder.embed_query(question) for question in asked}
    where, now = make_filter(Scope(), {}), SystemClock().now()
    latency = percentiles(lambda q: memory._recall.search(q, vectors[q], where, 10, now), asked)
    embedder = memory._encoder.embedder
    one = percentiles(lambda q: embedder.embed([q]) if embedder else None, asked)
    return {
        "search p50 ms": round(latency.p50 * 1e3, 2),
        "search p95 ms": round(latency.p95 * 1e3, 2),
        "query embedding p50 ms": round(one.p50 * 1e3, 2),
    }


def _cold(path: Path, embedder: str, question: str) -> dict[str, float]:
    run = [sys.executable, "-m", "mnemos.bench.tasks._cold", str(path), embedder, question]
    cold = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    return {"cold open + search s": round(cold["seconds"], 2), "memory MB": round(cold["megabytes"], 1)}
