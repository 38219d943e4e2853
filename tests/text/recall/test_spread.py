"""Personalised PageRank: the oracles of HippoRAG 2's engine."""

from __future__ import annotations

import numpy as np
import pytest

from mnemos.text.recall.spread import Graph, pagerank


def _graph(n: int, seed: int, density: float = 0.1) -> Graph:
    rng = np.random.default_rng(seed)
    half = np.triu((rng.random((n, n)) < density) * rng.random((n, n)), 1)
    one, other = np.nonzero(half)
    return Graph(n, one, other, half[one, other])


def _dense(graph: Graph) -> np.ndarray:
    dense = np.zeros((graph.size, graph.size))
    dense[graph.one, graph.other] = dense[graph.other, graph.one] = graph.weight
    return dense


def _reset(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed + 1).random(n)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("damping", [0.1, 0.5, 0.85])
def test_it_solves_the_linear_system(seed: int, damping: float) -> None:
    graph, reset = _graph(50, seed), _reset(50, seed)
    found = pagerank(graph, reset, damping=damping, tolerance=1e-10)
    reset = reset / reset.sum()
    dense = _dense(graph)
    degree = dense.sum(1)
    flow = np.divide(dense, degree[:, None], out=np.tile(reset, (50, 1)), where=degree[:, None] > 0)
    exact = np.linalg.solve(np.eye(50) - damping * flow.T, (1 - damping) * reset)
    assert np.abs(found - exact).max() < 1e-6
    assert abs(found.sum() - 1) < 1e-9
    assert (found >= 0).all()


def test_without_damping_it_is_the_reset() -> None:
    reset = _reset(30, 3)
    assert np.allclose(pagerank(_graph(30, 3), reset, damping=0.0), reset / reset.sum())


def test_with_damping_near_one_it_is_the_degree() -> None:
    graph = _graph(30, 4, density=0.5)
    found = pagerank(graph, _reset(30, 4), damping=0.9999, tolerance=1e-12)
    degree = _dense(graph).sum(1)
    assert np.allclose(found, degree / degree.sum(), atol=1e-3)


def test_it_is_additive_in_the_normalised_reset() -> None:
    # on a connected graph: a node without edges returns its mass to the reset
    graph, a, b = _graph(40, 5, density=0.5), _reset(40, 5), _reset(40, 6)
    a, b = a / a.sum(), b / b.sum()
    mixed = pagerank(graph, 0.3 * a + 0.7 * b, tolerance=1e-10)
    parts = 0.3 * pagerank(graph, a, tolerance=1e-10) + 0.7 * pagerank(graph, b, tolerance=1e-10)
    assert np.allclose(mixed, parts, atol=1e-7)


def test_scaling_the_reset_changes_nothing() -> None:
    graph, reset = _graph(40, 7), _reset(40, 7)
    assert np.allclose(pagerank(graph, reset), pagerank(graph, 1000 * reset))


def test_a_step_gains_what_the_tolerance_counts_on() -> None:
    graph, reset = _graph(200, 8), _reset(200, 8)
    exact = pagerank(graph, reset, tolerance=1e-12)
    for tolerance in (1e-2, 1e-4, 1e-6):
        assert np.abs(pagerank(graph, reset, tolerance=tolerance) - exact).sum() < tolerance
