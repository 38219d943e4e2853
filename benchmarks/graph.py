"""The graph at 100,000 nodes and 500,000 edges: PageRank from seeds, and one passage more.

    pip install -e . igraph
    python benchmarks/graph.py

The graph is made up after HippoRAG's: passages of nine facts among ten phrases, phrases by Zipf's law. Peers, on the
same graph in the same process, in turn, as medians of paired ratios: plain power iteration with scipy on a matrix
that is ready, to 1e-8 in the sum of changes, and PRPACK by python-igraph, where it is installed. The incremental
insert is set against the cheapest rebuild there is, that of the sparse matrix alone from ready arrays, and against
our own from names in one call.

Agreement is the share of the first 20 nodes by power iteration that push has too: of all nodes, and of those that
are no seeds, which are what a search is for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from mnemos.bench.results import Result, save, this_commit, this_machine
from mnemos.bench.timing import paired
from mnemos.core.clock import SystemClock
from mnemos.text.graph import Graph, power, push

Floats = NDArray[np.float64]
Passage = tuple[str, list[int], list[int], list[int]]
"""Its name, the two ends of its facts, and its phrases."""
NODES, EDGES, PHRASES, FACTS, SEEDS, DAMPING = 100_000, 500_000, 10, 9, 20, 0.5
INSERTS = 20


def main() -> None:
    """Measure, print and save `graph.json`."""
    options = _options()
    began, start, commit = SystemClock().now(), time.perf_counter(), this_commit()
    rng = np.random.default_rng(options.seed)
    passages = made_up(rng)
    graph = built(passages)
    resets = [some_seeds(graph, rng) for _ in range(options.resets)]
    rows = walks(graph, resets, options.repeats) + inserts(graph, passages, rng, options.repeats)
    result = Result(
        name="graph",
        measures={f"{row['measure']}: {row['system']}": row["value"] for row in rows},
        rows=rows,
        config={
            "damping": DAMPING,
            "seeds of a walk": SEEDS,
            "repeats": options.repeats,
            "passage": "10 phrases, 9 facts",
        },
        size={"nodes": len(graph), "edges": int(graph.matrix().nnz // 2), "resets": options.resets},
        seeds=[options.seed],
    )
    seconds = round(time.perf_counter() - start, 1)
    result = replace(result, seconds=seconds, machine=this_machine(), commit=commit, started_at=began)
    print(save(result, options.out))


def made_up(rng: np.random.Generator) -> list[Passage]:
    """Passages enough for the edges; together with their phrases they are the nodes."""
    count = EDGES // (PHRASES + FACTS)
    phrases = NODES - count
    chance = np.arange(1, phrases + 1) ** -0.6
    drawn = rng.choice(phrases, (count, PHRASES), p=chance / chance.sum())
    drawn.flat[:phrases] = rng.permutation(phrases)  # so that every phrase occurs
    return [passage(f"passage {n}", row, rng) for n, row in enumerate(drawn)]


def passage(name: str, phrases: NDArray[np.int64], rng: np.random.Generator) -> Passage:
    one, other = phrases[rng.integers(0, PHRASES, (2, FACTS))]
    return name, one.tolist(), other.tolist(), phrases.tolist()


def insert(graph: Graph, new: Passage) -> None:
    """What adding a passage to a memory does to its graph."""
    name, one, other, phrases = new
    graph.add_edges("fact", one, other, 2.0, name)
    graph.add_edges("context", [name] * len(phrases), phrases, 1.0, name)


def built(passages: list[Passage]) -> Graph:
    """The whole graph, passage by passage."""
    graph = Graph()
    for new in passages:
        insert(graph, new)
    return graph


def some_seeds(graph: Graph, rng: np.random.Generator) -> Floats:
    reset = np.zeros(graph.size)
    reset[rng.choice(graph.size, SEEDS, replace=False)] = rng.random(SEEDS) + 0.1
    return reset


# -- walks ---------------------------------------------------------------------------------


def walks(graph: Graph, resets: list[Floats], repeats: int) -> list[dict[str, Any]]:
    """push against every peer, from seeds and from a reset that is dense as well."""
    matrix, strength = graph.matrix(), graph.strength()

    def scipy_power(reset: Floats) -> Floats:
        return power_iteration(matrix, strength, reset)

    rows, peers = [], {"scipy power iteration": scipy_power, "power": lambda reset: power(graph, reset)}
    if find_spec("igraph"):
        peers["igraph PRPACK"] = prpack(matrix)
    found = [(push(graph, reset), scipy_power(reset)) for reset in resets]
    rows.append(_row("agreement of the first 20", "all nodes", float(np.mean([agreement(*pair) for pair in found]))))
    for (ours, theirs), reset in zip(found, resets, strict=True):
        ours[reset > 0] = theirs[reset > 0] = 0
    rows.append(
        _row("agreement of the first 20", "without seeds", float(np.mean([agreement(*pair) for pair in found])))
    )
    off = max(float(np.abs(power(graph, reset) - scipy_power(reset)).sum()) for reset in resets[:5])
    rows.append(_row("power off by, sum of all errors", "scipy power iteration", off, 12))
    dense = resets[0] + 0.05 * np.array([isinstance(name, str) for name in graph.names(range(graph.size))])
    for name, peer in peers.items():
        for what, some in (("seeds", resets[:10]), ("seeds and every passage", [dense])):
            times = paired(_all(lambda reset: push(graph, reset), some), _all(peer, some), repeats=repeats)
            rows.append(
                _row(f"push, {what}: share of the time of", name, times.ratio, 4, times.ratio_low, times.ratio_high)
            )
    return rows


def power_iteration(matrix: csr_array, strength: Floats, reset: Floats) -> Floats:
    """The plain power method; every node of this graph has edges."""
    reset = reset / reset.sum()
    stay, along, rank = (1 - DAMPING) * reset, DAMPING / strength, reset
    while True:
        following = matrix @ (rank * along) + stay
        if np.abs(following - rank).sum() < 1e-8:
            return np.asarray(following)
        rank = following


def prpack(matrix: csr_array) -> Callable[[Floats], Floats]:
    import igraph

    whole = coo_array(matrix)
    half = whole.row < whole.col
    edges = np.stack([whole.row[half], whole.col[half]], 1)
    graph = igraph.Graph(n=matrix.shape[0], edges=edges.tolist(), edge_attrs={"weight": whole.data[half].tolist()})

    def rank(reset: Floats) -> Floats:
        scores = graph.personalized_pagerank(damping=DAMPING, reset=reset.tolist(), weights="weight", directed=False)
        return np.array(scores)

    return rank


def agreement(ours: Floats, theirs: Floats) -> float:
    first, second = (set(np.argpartition(-rank, 20)[:20].tolist()) for rank in (ours, theirs))
    return len(first & second) / 20


def _all(walk: Callable[[Floats], Floats], resets: list[Floats]) -> Callable[[], None]:
    def run() -> None:
        for reset in resets:
            walk(reset)

    return run


# -- one passage more ----------------------------------------------------------------------


def inserts(graph: Graph, passages: list[Passage], rng: np.random.Generator, repeats: int) -> list[dict[str, Any]]:
    """One passage into the standing graph, against making it anew; and that both come to the same."""
    number, phrases = iter(range(10**9)), NODES - len(passages)
    added: list[Passage] = []

    def grow() -> None:
        for _ in range(INSERTS):
            added.append(passage(f"new {next(number)}", rng.integers(0, phrases, PHRASES), rng))
            insert(graph, added[-1])

    one, other, weight = _arrays(graph)

    def matrix_only() -> None:
        coo_array((weight, (one, other)), (graph.size, graph.size)).tocsr()

    names = graph.names(range(graph.size))
    left, right = [names[n] for n in one[one < other]], [names[n] for n in other[one < other]]

    def from_names() -> None:
        Graph().add_edges("any", left, right, weight[one < other])

    rows = []
    for what, rebuild in (("the sparse matrix alone", matrix_only), ("our graph in one call", from_names)):
        times = paired(grow, rebuild, repeats=repeats)
        values = [value / INSERTS for value in (times.ratio, times.ratio_low, times.ratio_high)]
        rows.append(_row("insert of a passage: share of the time of a rebuild of", what, values[0], 5, *values[1:]))
    fresh = built(passages + added)
    rows.append(_row("largest difference of a rank", "inserted, rebuilt", difference(graph, fresh, rng), 15))
    for new in added:
        graph.remove_source(new[0])
    rows.append(
        _row("largest difference of a rank", "deleted, never added", difference(graph, built(passages), rng), 15)
    )
    return rows


def difference(one: Graph, other: Graph, rng: np.random.Generator) -> float:
    """Of the ranks of the same nodes in two graphs, from the same seeds."""
    names = other.names(np.flatnonzero(other.standing).tolist())
    if len(one) != len(names):
        raise SystemExit(f"{len(one)} nodes in one graph, {len(names)} in the other")
    here, there = one.slots(names), other.slots(names)
    seeds = rng.choice(len(names), SEEDS, replace=False)
    resets = np.zeros(one.size), np.zeros(other.size)
    resets[0][here[seeds]] = resets[1][there[seeds]] = 1
    ranks = power(one, resets[0], tolerance=1e-12)[here], power(other, resets[1], tolerance=1e-12)[there]
    return float(np.abs(ranks[0] - ranks[1]).max())


def _arrays(graph: Graph) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    whole = coo_array(graph.matrix())
    return whole.row.astype(np.int64), whole.col.astype(np.int64), whole.data


def _row(
    measure: str, system: str, value: float, digits: int = 4, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    spread = {} if low is None or high is None else {"low": round(low, digits), "high": round(high, digits)}
    print(f"{measure:56} {system:28} {value:.{digits}f}  {spread or ''}", flush=True)
    return {"measure": measure, "system": system, "value": round(value, digits), **spread}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--resets", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
