"""What a memory of documents costs: adding passages, one more, opening the file, searching, memory and disk.

    python benchmarks/documents.py [--data ../shared/data/hipporag]

The passages of MuSiQue, then those of 2WikiMultihopQA beside them; the default recipe, which extracts triples of each
passage and walks over them. Opening is timed in a fresh process whose embedder is loaded, with the index that the file
keeps and without. One passage more is added ten times, each followed by a search; searches embed their question.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw

from mnemos import Memory
from mnemos.bench.results import Result, save, this_commit, this_machine
from mnemos.bench.sets import passage_text, read_json
from mnemos.core.clock import SystemClock

_EMBEDDER = "minilm"
_MORE = 10
_PEOPLE = ("Ann Miller", "Tomas Berg", "Ines Duarte", "Oskar Lind", "Mei Chen")


def main() -> None:
    """Measure, print and save `documents.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/hipporag"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    began, start, commit = SystemClock().now(), time.perf_counter(), this_commit()
    questions = [one["question"] for one in read_json(options.data / "musique_train.json.xz")]
    rows, before = list[dict[str, Any]](), 0
    with tempfile.TemporaryDirectory() as folder:
        store, texts = Path(folder) / "m.mnemos", list[str]()
        for name in ("musique_train_corpus", "2wikimultihopqa_corpus"):
            corpus = read_json(options.data / f"{name}.json.xz")
            texts = list(dict.fromkeys([*texts, *(passage_text(one["title"], one["text"]) for one in corpus)]))
            rows.append({"passages": len(texts), **measured(store, texts[before:], questions)})
            before = len(texts)
            print(rows[-1], flush=True)
    result = Result(
        name="documents",
        measures={f"{row['passages']} passages: {name}": value for row in rows for name, value in row.items()},
        rows=rows,
        config={"embedder": _EMBEDDER, "one more": _MORE},
        size={"questions": len(questions)},
    )
    seconds = round(time.perf_counter() - start, 1)
    print(save(replace(result, seconds=seconds, machine=this_machine(), commit=commit, started_at=began), options.out))


def measured(store: Path, texts: Sequence[str], questions: Sequence[str]) -> dict[str, float]:
    """What it costs to add `texts` to a store, and what the store then costs."""
    with Memory(store, embedder=_EMBEDDER) as memory:
        memory.search(questions[0])
        whole = timed(lambda: memory.add([{"text": text, "kind": "passage"} for text in texts]))
        adds, searches = [], []
        for n in range(_MORE):
            town, person = f"Quennel {len(texts)}-{n}", _PEOPLE[n % len(_PEOPLE)]
            text = f"{town} Tower\n{town} Tower was built in 1931 by {person} beside the river."
            adds.append(timed(lambda text=text: memory.add([{"text": text, "kind": "passage"}])))  # type: ignore[misc]
            searches.append(timed(lambda town=town: memory.search(f"Who built {town} Tower?")))  # type: ignore[misc]
        asked = sorted(timed(lambda q=question: memory.search(q)) for question in questions)  # type: ignore[misc]
    kept = opened(store, questions[1])
    size = store.stat().st_size / 1e6
    with closing(apsw.Connection(str(store))) as file:
        packed = file.execute("SELECT sum(length(body)) FROM snapshots").get
        file.execute("DELETE FROM snapshots")
    anew = opened(store, questions[1])
    return {
        "add, ms each": round(1e3 * whole / len(texts), 1),
        "one more, ms": round(1e3 * statistics.median(adds), 1),
        "search after it, ms": round(1e3 * statistics.median(searches), 1),
        "search p50, ms": round(1e3 * statistics.median(asked), 1),
        "search p95, ms": round(1e3 * asked[int(0.95 * len(asked))], 1),
        "open and first answer, s": round(kept["seconds"], 2),
        "without the kept index, s": round(anew["seconds"], 2),
        "memory held, MB": round(kept["megabytes"], 1),
        "file, MB": round(size, 1),
        "of it the index, MB": round(packed / 1e6, 1),
    }


def opened(store: Path, question: str) -> dict[str, float]:
    """What a fresh process says of opening a store and asking it."""
    command = [sys.executable, "-m", "mnemos.bench.tasks._cold", str(store), _EMBEDDER, question]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def timed(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
