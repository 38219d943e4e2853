"""The graph against a dictionary that does the same slowly."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.graph import Graph
from mnemos.text.graph import graph as module

KINDS = ("fact", "context", "synonym")


class Slow:
    """What a graph should hold, kept as a plain list of who added what."""

    def __init__(self) -> None:
        self.edges: list[tuple[str, Any, Any, float, Any]] = []
        self.claims: list[tuple[Any, Any]] = []

    def nodes(self) -> set[Any]:
        return {name for name, _ in self.claims} | {
            end for kind, a, b, w, source in self.edges if source is not None for end in (a, b)
        }

    def add(self, kind: str, one: Any, other: Any, weight: float, source: Any) -> None:
        if one == other:
            self.claims += [(one, source)] if source is not None else []
        else:
            self.edges.append((kind, one, other, weight, source))

    def settle(self) -> None:
        nodes = self.nodes()
        self.edges = [edge for edge in self.edges if edge[1] in nodes and edge[2] in nodes]

    def remove_source(self, source: Any) -> None:
        self.edges = [edge for edge in self.edges if edge[4] != source]
        self.claims = [claim for claim in self.claims if claim[1] != source]
        self.settle()

    def remove_node(self, name: Any) -> None:
        self.edges = [edge for edge in self.edges if name not in edge[1:3]]
        self.claims = [claim for claim in self.claims if claim[0] != name]
        self.settle()

    def weights(self, kinds: Any = KINDS) -> dict[tuple[Any, Any], float]:
        total: dict[tuple[Any, Any], float] = defaultdict(float)
        for kind, one, other, weight, _ in self.edges:
            if kind in kinds:
                total[one, other] += weight
                total[other, one] += weight
        return dict(total)


def weights(graph: Graph, kinds: Any = None) -> dict[tuple[Any, Any], float]:
    standing = graph.names(np.flatnonzero(graph.standing).tolist())
    return {(one, other): w for one in standing for other, w in graph.neighbours(one, kinds).items()}


def agree(graph: Graph, slow: Slow) -> None:
    nodes = slow.nodes()
    assert len(graph) == len(nodes)
    assert all(name in graph for name in nodes)
    for kinds in (None, ["fact"], ["synonym", "context", "never heard of"]):
        assert weights(graph, kinds) == pytest.approx(slow.weights(kinds or KINDS), abs=1e-9)
        dense = graph.matrix(kinds).toarray()
        np.testing.assert_allclose(dense, dense.T)
        np.testing.assert_allclose(graph.strength(kinds), dense.sum(1), atol=1e-9)
        assert not dense[~graph.standing].any()


names = st.one_of(st.integers(0, 5), st.sampled_from("abcde"))
sources = st.sampled_from(["p1", "p2", 3])
edge = st.tuples(names, names, st.floats(0.01, 10))
steps = st.one_of(
    st.tuples(st.just("edges"), st.sampled_from(KINDS), st.lists(edge, min_size=1, max_size=6), sources),
    st.tuples(st.just("hang"), st.sampled_from(KINDS), edge),
    st.tuples(st.just("node"), names, sources),
    st.tuples(st.just("remove source"), sources),
    st.tuples(st.just("remove node"), names),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=15), st.sampled_from([0, 2, 99]))
def test_any_history_leaves_what_the_list_of_additions_says(history: list[Any], part: int) -> None:
    # 0: matrices are always patched; 99: never
    with patch.object(module, "_PATCH", part):
        _replay(history)


def test_a_matrix_that_was_not_asked_for_in_a_long_time_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WRITES", 4)
    graph, slow = Graph(), Slow()
    for n in range(40):
        graph.add_edges("fact", n, n + 1, 1.0, "p")
        slow.add("fact", n, n + 1, 1.0, "p")
        assert len(graph._touched.get(None, ())) <= 4
        if n % 9 == 0:
            agree(graph, slow)
    agree(graph, slow)


def _replay(history: list[Any]) -> None:
    graph, slow = Graph(), Slow()
    for verb, *rest in history:
        before = slow.nodes()
        gone: list[Any] = []
        if verb == "edges":
            kind, edges, source = rest
            one, other, weight = zip(*edges, strict=True)
            graph.add_edges(kind, one, other, weight, source)
            for e in edges:
                slow.add(kind, *e, source)
        elif verb == "hang":
            kind, (one, other, weight) = rest
            if one in before and other in before:
                graph.add_edges(kind, one, other, weight, source=None)
                slow.add(kind, one, other, weight, None)
            else:
                with pytest.raises(NotFound):
                    graph.add_edges(kind, one, other, weight, source=None)
        elif verb == "node":
            slot = graph.add_node(*rest)
            assert graph.names([slot]) == [rest[0]]
            slow.claims.append((rest[0], rest[1]))
        elif verb == "remove source":
            gone = graph.remove_source(rest[0])
            slow.remove_source(rest[0])
        elif rest[0] in before:
            gone = graph.remove_node(rest[0])
            slow.remove_node(rest[0])
        else:
            with pytest.raises(NotFound):
                graph.remove_node(rest[0])
        assert sorted(map(str, gone)) == sorted(map(str, before - slow.nodes()))
        agree(graph, slow)


def passages(rng: np.random.Generator, count: int) -> list[tuple[list[int], list[int]]]:
    return [(rng.integers(0, 200, 9).tolist(), rng.integers(0, 200, 9).tolist()) for _ in range(count)]


def built(some: dict[str, tuple[list[int], list[int]]]) -> Graph:
    graph = Graph()
    for source, (one, other) in some.items():
        insert(graph, source, one, other)
    return graph


def insert(graph: Graph, source: str, one: list[int], other: list[int]) -> None:
    graph.add_edges("fact", one, other, 2.0, source)
    phrases = sorted({*one, *other})
    graph.add_edges("context", [source] * len(phrases), phrases, 1.0, source)


def test_deleted_passages_leave_what_there_would_be_had_they_never_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SPARE", 50)  # so that tidying up takes part
    rng = np.random.default_rng(0)
    every = {f"p{n}": some for n, some in enumerate(passages(rng, 120))}
    graph = built(every)
    kept = {source: some for n, (source, some) in enumerate(every.items()) if n % 5 == 0}
    for source in rng.permutation(list(every)).tolist():
        if source not in kept:
            graph.remove_source(source)
    fresh = built(kept)
    assert weights(graph) == pytest.approx(weights(fresh), abs=1e-9)
    assert graph._edges < 60 * len(kept), "dead edges were never tidied up"
    for source in set(every) - set(kept):
        insert(graph, source, *every[source])
    assert weights(graph) == pytest.approx(weights(built(every)), abs=1e-9)


def test_a_churning_graph_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SPARE", 64)
    rng = np.random.default_rng(1)
    graph = Graph()
    sizes = []
    for round_, (one, other) in enumerate(passages(rng, 800)):
        insert(graph, f"p{round_}", one, other)
        graph.remove_source(f"p{round_ - 10}")
        sizes.append(graph.nbytes())
    assert max(sizes[400:]) <= 1.5 * max(sizes[:400])
    assert graph.size <= 230


def test_parts_of_a_weight_of_very_different_size_come_apart_again() -> None:
    graph = Graph()
    graph.add_edges("fact", "a", "b", 1e-9, "small")
    graph.add_edges("fact", "a", "b", 1e12, "large")
    graph.remove_source("large")
    assert graph.neighbours("a") == {"b": 1e-9}
    assert graph.strength().tolist() == [1e-9, 1e-9]


def test_an_edge_without_source_hangs_on_its_ends_and_keeps_neither() -> None:
    graph = Graph()
    graph.add_edges("fact", ["erik"], ["montebello"], 2.0, "p1")
    graph.add_edges("fact", ["eric"], ["oslo"], 2.0, "p2")
    graph.add_edges("synonym", "erik", "eric", 0.9, source=None)
    assert sorted(graph.remove_source("p2")) == ["eric", "oslo"]
    assert graph.neighbours("erik") == {"montebello": 2.0}
    graph.add_edges("fact", ["eric"], ["oslo"], 2.0, "p2")
    assert graph.neighbours("eric") == {"oslo": 2.0}, "an edge came back from the dead"


def test_a_source_counts_as_often_as_it_added() -> None:
    graph = Graph()
    for _ in range(3):
        graph.add_edges("fact", "a", "b", 1.0, "p")
    graph.add_edges("fact", "a", "b", 1.0, "q")
    assert graph.neighbours("a") == {"b": 4.0}
    assert graph.remove_source("p") == []
    assert graph.neighbours("b") == {"a": 1.0}
    assert graph.remove_source("p") == [], "a second removal takes nothing"
    assert graph.remove_source("q") == ["a", "b"]
    assert len(graph) == 0


batches = st.lists(st.lists(st.tuples(st.sampled_from(KINDS), edge, sources), max_size=8), max_size=4)


@settings(max_examples=40, deadline=None)
@given(batches)
def test_edges_of_many_sources_at_once_are_those_added_one_by_one(history: list[Any]) -> None:
    graph, slow = Graph(), Slow()
    for batch in history:
        nodes, owners, rows = dict[Any, int](), dict[Any, int](), []
        for kind, (one, other, weight), source in batch:
            loop = one == other
            a, b = (nodes.setdefault(name, len(nodes)) for name in (one, other))
            rows.append((-1 if loop else KINDS.index(kind), a, b, 0.0 if loop else weight,
                         owners.setdefault(source, len(owners))))  # fmt: skip
            slow.add(kind, one, other, weight, source)
        if rows:
            kinds, ones, others, weights, owner = (np.array(column) for column in zip(*rows, strict=True))
            graph.extend(list(nodes), KINDS, kinds, ones, others, weights, list(owners), owner)
        agree(graph, slow)
    for source in ("p1", 3):
        graph.remove_source(source)
        slow.remove_source(source)
        agree(graph, slow)


def test_what_a_source_added_is_told_until_it_is_taken_back() -> None:
    graph = Graph()
    graph.add_edges("fact", ["a", "a"], ["b", "c"], [1.0, 2.0], "p")
    graph.add_edges("fact", "a", "d", 3.0, "p")
    graph.add_node("e", "p")
    assert graph.added_by("p") == {"b": 1.0, "c": 2.0, "d": 3.0}
    graph.remove_node("c")
    assert graph.added_by("p") == {"b": 1.0, "d": 3.0}
    graph.remove_source("p")
    assert graph.added_by("p") == {}


def test_self_loops_are_ignored_and_their_node_is_not() -> None:
    graph = Graph()
    graph.add_edges("fact", ["a", "b"], ["a", "c"], [5.0, 1.0], "p")
    assert graph.neighbours("a") == {}
    assert graph.strength().sum() == 2.0
    assert sorted(graph.remove_source("p")) == ["a", "b", "c"]


def test_kinds_stay_apart_and_sum_up() -> None:
    graph = Graph()
    graph.add_edges("fact", "a", "b", 2.0, "p")
    graph.add_edges("synonym", "a", "b", 0.5, "p")
    assert graph.neighbours("a") == {"b": 2.5}
    assert graph.neighbours("a", ["synonym"]) == {"b": 0.5}
    assert graph.kinds == ("fact", "synonym")
    with pytest.raises(InvalidInput, match="give a list"):
        graph.neighbours("a", "fact")


def test_a_hub_that_everything_hangs_on_grows_and_goes() -> None:
    graph, many = Graph(), 100_000
    graph.add_edges("fact", ["hub"] * many, range(many), 1.0, "bulk")
    graph.add_edges("fact", "hub", "late", 3.0, "p")
    assert graph.strength()[graph.slots(["hub"])[0]] == many + 3
    assert graph.remove_source("p") == ["late"]
    assert graph.strength()[graph.slots(["hub"])[0]] == many
    assert len(graph.remove_node("hub")) == many + 1
    assert len(graph) == 0
    graph.add_edges("fact", "hub", "late", 3.0, "p")
    assert graph.neighbours("hub") == {"late": 3.0}


def test_a_node_that_carries_links_takes_them_along_but_not_its_supported_neighbours() -> None:
    graph = Graph()
    for note in "abc":
        graph.add_node(note, source=note)
    graph.add_edges("links", ["a", "b"], ["b", "c"], 1.0, source=None)
    assert graph.remove_node("b") == ["b"]
    assert graph.neighbours("a") == graph.neighbours("c") == {}
    assert graph.remove_source("b") == [], "its source has nothing left"
    graph.add_node("b", source="other")
    assert graph.remove_source("a") == ["a"]
    assert "b" in graph


def test_a_slot_that_is_used_again_keeps_nothing_of_its_former_node() -> None:
    graph = Graph()
    graph.add_edges("fact", ["a", "a"], ["b", "c"], 1.0, "p")
    graph.remove_node("a")
    graph.add_node("x", source="p")
    graph.add_node("y", source="q")
    assert graph.neighbours("x") == graph.neighbours("y") == {}
    assert graph.remove_source("p") == ["x"]
    assert "y" in graph


@pytest.mark.parametrize(
    ("one", "other", "weight", "says"),
    [
        (["a"], ["b", "c"], 1.0, "pair them"),
        (["a"], ["b"], [1.0, 2.0], "one each"),
        (["a"], ["b"], 0.0, "leave such edges out"),
        (["a"], ["b"], -1.0, "leave such edges out"),
        (["a"], ["b"], float("nan"), "leave such edges out"),
        (["a"], ["b"], float("inf"), "leave such edges out"),
        (["a"], ["b"], 5e-324, "leave such edges out"),
        (["a"], [2.5], 1.0, "string or an integer"),
    ],
)
def test_bad_edges_are_refused_and_change_nothing(one: Any, other: Any, weight: Any, says: str) -> None:
    graph = Graph()
    graph.add_edges("fact", "x", "y", 1.0, "p")
    with pytest.raises(InvalidInput, match=says):
        graph.add_edges("fact", one, other, weight, "q")
    assert len(graph) == 2
    assert weights(graph) == {("x", "y"): 1.0, ("y", "x"): 1.0}
    assert graph.remove_source("q") == []


def test_names_and_slots_that_are_not_there_say_so() -> None:
    graph = Graph()
    graph.add_node("a")
    graph.add_node("b", source="p")
    graph.remove_source("p")
    for slot in (1, 2, -1):
        with pytest.raises(NotFound, match="no node at slot"):
            graph.names([slot])
    with pytest.raises(NotFound, match="'b'"):
        graph.slots(["a", "b"])


def test_an_empty_batch_adds_nothing() -> None:
    graph = Graph()
    graph.add_edges("fact", [], [], [], "p")
    assert len(graph) == 0
    assert graph.matrix().shape == (0, 0)
