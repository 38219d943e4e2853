"""Where the approximate index begins to pay: exact scan against inverted file, on made-up clusters.

python benchmarks/crossover.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mnemos.text.index import vectors
from mnemos.text.index.vectors import Vectors

_CLUSTERS, _DIM, _QUERIES, _CANDIDATES = 2000, 384, 40, 96


def median_ms(run: Callable[[NDArray[np.float32]], object], queries: NDArray[np.float32]) -> float:
    """Median milliseconds of `run` over `queries`."""
    seconds = []
    for query in queries:
        start = time.perf_counter()
        run(query)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e3


def main() -> None:
    """Print one row for each size."""
    vectors.CROSSOVER = 1000  # every size gets its index
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(_CLUSTERS, _DIM))
    print("vectors, exact ms, approximate ms, recall@10, build s")
    for n in (10_000, 20_000, 30_000, 60_000, 100_000):
        x = centres[rng.integers(0, _CLUSTERS, n)] + 0.6 * rng.normal(size=(n, _DIM))
        x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)
        some = Vectors(np.arange(n), np.arange(n) * 256, x)
        queries = x[rng.integers(0, n, _QUERIES)].astype(np.float32)
        truth = [set(np.argsort(-some.all(query))[:10].tolist()) for query in queries]
        exact = median_ms(some.all, queries)
        start = time.perf_counter()
        some.build()
        built = time.perf_counter() - start
        near = [set(some.nearest(query, _CANDIDATES).tolist()) for query in queries]
        recall = statistics.mean(len(a & b) / 10 for a, b in zip(truth, near, strict=True))
        approximate = median_ms(lambda q, s=some: s.some(q, s.nearest(q, _CANDIDATES)), queries)  # type: ignore[misc]
        print(f"{n:,}, {exact:.2f}, {approximate:.2f}, {recall:.3f}, {built:.1f}", flush=True)


if __name__ == "__main__":
    main()
