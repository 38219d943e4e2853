"""A fresh process that opens a store and searches once: prints seconds and megabytes as JSON.

python -m mnemos.bench.tasks._cold STORE EMBEDDER QUESTION
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from mnemos.text.encode.embedder import resolve
from mnemos.text.memory import Memory


def resident() -> float:
    """Megabytes of this process in memory now, its own and shared pages of files left out."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


def main(store: str, embedder: str, question: str) -> None:
    """Measure one cold start."""
    model = resolve(embedder)
    if model is not None:
        model.embed([question])
    before = resident()
    start = time.perf_counter()
    with Memory(store, embedder=model) as memory:
        hits = memory.search(question)
        seconds = time.perf_counter() - start
        for _ in range(20):
            memory.search(question)
        print(json.dumps({"seconds": seconds, "megabytes": resident() - before, "hits": len(hits)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
