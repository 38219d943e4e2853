"""PageRank against dense algebra, its limits, and its own slower twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mnemos.core.errors import InvalidInput
from mnemos.text.graph import Graph, power, push

Floats = NDArray[np.float64]


def random_graph(seed: int, nodes: int = 50, edges: int = 120, alone: int = 3) -> Graph:
    rng = np.random.default_rng(seed)
    graph = Graph()
    one, other = rng.integers(0, nodes - alone, (2, edges))
    graph.add_edges("fact", one.tolist(), other.tolist(), rng.random(edges) + 0.05)
    one, other = rng.integers(0, nodes - alone, (2, 20))
    graph.add_edges("synonym", one.tolist(), other.tolist(), 0.8)
    for name in range(nodes):
        graph.add_node(name)
    return graph


def reset_of(graph: Graph, seed: int, seeds: int | None = None) -> Floats:
    rng = np.random.default_rng(seed)
    reset = rng.random(graph.size)
    if seeds is not None:
        reset[rng.permutation(graph.size)[seeds:]] = 0
    return reset


def solved(graph: Graph, reset: Floats, damping: float, kinds: list[str] | None = None) -> Floats:
    weight = graph.matrix(kinds).toarray()
    r = reset / reset.sum()
    strength = weight.sum(1, keepdims=True)
    walk = np.divide(weight, strength, out=np.broadcast_to(r, weight.shape).copy(), where=strength > 0)
    return np.linalg.solve(np.eye(len(r)) - damping * walk.T, (1 - damping) * r)


@pytest.mark.parametrize("damping", [0.0, 0.1, 0.5, 0.85, 0.99])
@pytest.mark.parametrize("seeds", [1, 5, None])
@pytest.mark.parametrize("kinds", [None, ["fact"], ["synonym"]])
def test_both_solve_the_equation(damping: float, seeds: int | None, kinds: list[str] | None) -> None:
    for seed in range(2):
        graph = random_graph(seed)
        reset = reset_of(graph, seed, seeds)
        truth = solved(graph, reset, damping, kinds)
        for rank in (
            power(graph, reset, damping=damping, kinds=kinds),
            push(graph, reset, damping=damping, tolerance=1e-9, kinds=kinds),
        ):
            np.testing.assert_allclose(rank, truth, rtol=0, atol=1e-6)
            assert rank.sum() == pytest.approx(1, abs=1e-9)
            assert rank.min() >= 0


def test_power_keeps_its_word_on_the_sum_of_errors() -> None:
    for tolerance in (1e-2, 1e-5, 1e-8, 1e-12):
        for seed in range(5):
            graph = random_graph(seed)
            reset = reset_of(graph, seed, 4)
            off = np.abs(power(graph, reset, damping=0.85, tolerance=tolerance) - solved(graph, reset, 0.85)).sum()
            assert off <= tolerance


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("seeds", [1, 20, None])
def test_push_keeps_its_word_at_every_node(tolerance: float, seeds: int | None) -> None:
    for seed in range(5):
        graph = random_graph(seed, nodes=400, edges=900)
        reset = reset_of(graph, seed, seeds)
        strength = graph.strength()
        bound = tolerance * strength / strength[strength > 0].mean()
        off = np.abs(push(graph, reset, tolerance=tolerance) - solved(graph, reset, 0.5))
        assert (off <= bound + 1e-12).all()


def test_push_looks_only_at_what_is_near() -> None:
    graph = Graph()
    graph.add_edges("next", range(9999), range(1, 10_000))
    reset = np.zeros(graph.size)
    reset[5000] = 1
    rank = push(graph, reset, tolerance=1e-4)
    assert np.count_nonzero(rank) < 40
    np.testing.assert_allclose(rank, power(graph, reset), atol=2e-4)


def test_without_damping_the_answer_is_the_reset() -> None:
    graph = random_graph(0)
    reset = reset_of(graph, 0)
    for rank in (push(graph, reset, damping=0), power(graph, reset, damping=0)):
        np.testing.assert_allclose(rank, reset / reset.sum(), atol=1e-15)


def test_nearly_without_return_a_connected_graph_ranks_by_strength() -> None:
    graph = random_graph(1, alone=0)
    graph.add_edges("ring", range(50), [*range(1, 50), 0], 0.3)
    reset = reset_of(graph, 0, 2)
    strength = graph.strength()
    rank = power(graph, reset, damping=1 - 1e-5)
    np.testing.assert_allclose(rank, strength / strength.sum(), atol=1e-4)


def test_the_answer_is_additive_in_the_reset() -> None:
    graph = random_graph(2, alone=0)
    graph.add_edges("ring", range(50), [*range(1, 50), 0], 0.3)  # no node without edges, which would share by r
    one, other = reset_of(graph, 1, 3), reset_of(graph, 2)
    one, other = one / one.sum(), other / other.sum()
    both = power(graph, 0.3 * one + 0.7 * other, tolerance=1e-12)
    np.testing.assert_allclose(both, 0.3 * power(graph, one) + 0.7 * power(graph, other), rtol=0, atol=2e-8)


def test_only_proportions_of_reset_and_weights_count() -> None:
    graph, larger = Graph(), Graph()
    one, other = [0, 1, 2, 0], [1, 2, 3, 3]
    graph.add_edges("fact", one, other, [1.0, 2.0, 3.0, 4.0])
    larger.add_edges("fact", one, other, [1e6, 2e6, 3e6, 4e6])
    reset = np.array([1.0, 0, 2, 0])
    np.testing.assert_allclose(push(graph, reset), push(larger, 1e-3 * reset), atol=1e-12)


def test_networkx_agrees() -> None:
    networkx = pytest.importorskip("networkx", reason="networkx is not installed")
    graph = random_graph(3)
    reset = reset_of(graph, 3, 6)
    other = networkx.Graph()
    other.add_nodes_from(range(graph.size))
    for slot in range(graph.size):
        for name, weight in graph.neighbours(graph.names([slot])[0]).items():
            other.add_edge(slot, int(graph.slots([name])[0]), weight=weight)
    theirs = networkx.pagerank(other, alpha=0.5, personalization=dict(enumerate(reset)), tol=1e-12)
    np.testing.assert_allclose(power(graph, reset), [theirs[slot] for slot in range(graph.size)], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 0.95), st.integers(1, 30))
def test_what_was_deleted_leaves_no_trace_in_the_ranks(seed: int, damping: float, seeds: int) -> None:
    rng = np.random.default_rng(seed)
    graph, fresh = Graph(), Graph()
    for number in range(12):
        one, other = rng.integers(0, 30, (2, 6)).tolist()
        graph.add_edges("fact", one, other, 1.0, source=number)
        if number % 3 == 0:
            fresh.add_edges("fact", one, other, 1.0, source=number)
    for number in range(12):
        if number % 3:
            graph.remove_source(number)
    names = fresh.names(range(fresh.size))
    assert len(graph) == len(names)
    at = graph.slots(names)
    small = reset_of(fresh, seed, seeds)
    large = np.zeros(graph.size)
    large[at] = small
    for solve in (power, push):
        ranks = solve(graph, large, damping=damping, tolerance=1e-12)
        np.testing.assert_allclose(ranks[at], solve(fresh, small, damping=damping, tolerance=1e-12), atol=1e-9)
        assert not np.delete(ranks, at).any()


def test_graphs_without_edges_give_the_reset_back() -> None:
    graph = Graph()
    for name in "abc":
        graph.add_node(name)
    reset = np.array([1.0, 0.0, 3.0])
    for rank in (push(graph, reset), power(graph, reset)):
        np.testing.assert_allclose(rank, reset / 4)


def test_a_hub_with_a_hundred_thousand_neighbours() -> None:
    graph, many = Graph(), 100_000
    graph.add_edges("fact", ["hub"] * many, range(many))
    for seed_name in ("hub", 7):
        reset = np.zeros(graph.size)
        reset[graph.slots([seed_name])] = 1
        exact = power(graph, reset)
        bound = 2e-5 * graph.strength() / graph.strength().mean()
        assert (np.abs(push(graph, reset) - exact) <= bound + 1e-8).all()


def test_weights_at_the_ends_of_their_range_do_not_break_the_walk() -> None:
    graph = Graph()
    graph.add_edges("fact", ["a", "b", "c"], ["b", "c", "d"], [1e-100, 1e100, 1.0])
    reset = np.array([1.0, 0, 0, 0])
    for rank in (push(graph, reset, tolerance=1e-9), power(graph, reset)):
        assert np.isfinite(rank).all()
        assert rank.sum() == pytest.approx(1)
        np.testing.assert_allclose(rank, solved(graph, reset, 0.5), atol=1e-7)


@pytest.mark.parametrize(
    ("reset", "options", "says"),
    [
        ([1.0, 0.0], {}, "one number for each of 3"),
        ([0.0, 0.0, 0.0], {}, "not all 0"),
        ([1.0, -0.5, 0.0], {}, "non-negative"),
        ([1.0, float("nan"), 0.0], {}, "finite"),
        ([1.0, 0.0, 1.0], {}, "slot that no node has"),
        ([1.0, 0.0, 0.0], {"damping": 1.0}, "damping"),
        ([1.0, 0.0, 0.0], {"damping": -0.1}, "damping"),
        ([1.0, 0.0, 0.0], {"tolerance": 0.0}, "tolerance"),
        ([1.0, 0.0, 0.0], {"kinds": "fact"}, "list of kinds"),
    ],
)
def test_unusable_questions_are_refused(reset: list[float], options: dict[str, object], says: str) -> None:
    graph = Graph()
    graph.add_edges("fact", "a", "b", source="p")
    graph.add_node("c", source="q")
    graph.remove_source("q")
    for solve in (push, power):
        with pytest.raises(InvalidInput, match=says):
            solve(graph, np.array(reset), **options)
