"""CoAT's search with scripted parts: what the bookkeeping promises, who sees what, and how it ends."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import EndpointError, InvalidInput
from mnemos.text.llm import BudgetSpent
from mnemos.text.reason.search import Path, Search, Step, alike, distinct, fresh
from mnemos.text.reason.tree import Evidence, Node, Tree

QUESTION = "Where does the path lead?"


class Scripted:
    """Names every step after its path; ends at `depth`; values, and a few missing marks, by seed."""

    def __init__(self, seed: int, depth: int = 3, missing: float = 0.0, remembers: bool = True) -> None:
        self.draw = np.random.default_rng(seed)
        self.depth, self.missing, self.remembers = depth, missing, remembers
        self.seen: list[tuple[str, set[str]]] = []

    def propose(self, question: str, path: Path, k: int, last: bool) -> list[Step]:
        self.seen.append((path[-1].text, {one.text for node in path for one in node.evidence}))
        base = path[-1].text if len(path) > 1 else ""
        ends = len(path) >= self.depth
        return [Step(f"{base}{name}", f"{base}{name}" if ends else None) for name in "abcdefgh"[:k]]

    def associate(self, question: str, path: Path) -> list[Evidence]:
        return [Evidence(f"what is known about {path[-1].text!r}", score=0.5)] if self.remembers else []

    def judge(self, question: str, path: Path, steps: Sequence[Node]) -> list[float | None]:
        return [None if self.draw.random() < self.missing else float(self.draw.random()) for _ in steps]


def grown(parts: Scripted, **options: float) -> Tree:
    search = Search(**{"depth": parts.depth, **options})  # type: ignore[arg-type]
    return search.grow(QUESTION, parts.propose, parts.associate, parts.judge)[0]


def below(tree: Tree, at: int) -> list[int]:
    return [at, *(deep for child in tree.nodes[at].children for deep in below(tree, child))]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 60),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([0.0, 0.3]),
)
def test_visits_and_totals_are_those_of_the_subtree(
    seed: int, width: int, depth: int, iterations: int, beta: float, missing: float
) -> None:
    tree = grown(Scripted(seed, depth, missing), width=width, iterations=iterations, beta=beta)
    for at, node in enumerate(tree.nodes):
        values = [value for deep in below(tree, at) for value in tree.nodes[deep].values]
        assert node.visits == len(values) == len(node.values) + sum(tree.nodes[c].visits for c in node.children)
        assert node.total == pytest.approx(sum(values))
        assert all(0 <= value <= 1 + beta for value in node.values)
        assert all(tree.nodes[child].parent == at for child in node.children)
    assert tree.nodes[0].visits == sum(len(node.values) for node in tree.nodes)


def lats(parts: Scripted, width: int, depth: int, iterations: int, explore: float) -> list[tuple[str, int, float]]:
    """Tree search over reasoning steps in its plainest form: no associations, recursion over dicts."""
    root = {"text": QUESTION, "n": 0, "v": 0.0, "kids": [], "end": False}
    order = [root]
    for _ in range(iterations):
        path = [root]
        while path[-1]["kids"]:
            kids, n = path[-1]["kids"], path[-1]["n"]
            new = [kid for kid in kids if not kid["n"]]
            uct = [kid["v"] / max(kid["n"], 1) + explore * math.sqrt(math.log(n) / max(kid["n"], 1)) for kid in kids]
            path.append(new[0] if new else kids[int(np.argmax(uct))])
        nodes = tuple(Node(one["text"]) for one in path)
        if path[-1]["end"]:
            fresh_ones = [path.pop()]
        else:
            steps = parts.propose(QUESTION, nodes, width, len(nodes) >= depth)
            fresh_ones = [{"text": s.text, "n": 0, "v": 0.0, "kids": [], "end": s.answer is not None} for s in steps]
            path[-1]["kids"] = fresh_ones
            order += fresh_ones
        for one, value in zip(fresh_ones, parts.judge(QUESTION, nodes, [Node("")] * len(fresh_ones)), strict=True):
            for node in (*path, one):
                node["n"] += 1
                node["v"] += value
    return [(node["text"], node["n"], node["v"]) for node in order]


@pytest.mark.parametrize(("width", "explore"), [(1, 1.0), (3, 0.0), (3, 1.0), (5, 2.0)])
def test_without_associations_it_is_plain_tree_search(width: int, explore: float) -> None:
    expected = lats(Scripted(5), width, 3, 60, explore)
    tree = grown(Scripted(5, remembers=False), width=width, iterations=60, beta=0.0, explore=explore)
    assert [(node.text, node.visits) for node in tree.nodes] == [(text, n) for text, n, _ in expected]
    assert [node.total for node in tree.nodes] == pytest.approx([v for _, _, v in expected])
    same = grown(Scripted(5, remembers=False), width=width, iterations=60, beta=0.7, explore=explore)
    assert same.to_json() == tree.to_json()


def test_one_child_and_as_many_rounds_as_steps_is_a_chain() -> None:
    tree = grown(Scripted(1, depth=4), width=1, iterations=4)
    assert [node.depth for node in tree.nodes] == [0, 1, 2, 3, 4]
    assert [bool(node.evidence) for node in tree.nodes] == [True, True, True, True, False]
    assert tree.candidates()[0].text == "aaaa"


def test_without_exploration_the_best_mean_is_always_followed() -> None:
    choices: list[tuple[list[float], int]] = []
    tree = Tree(QUESTION)
    draw = np.random.default_rng(3)
    for _ in range(3):
        tree.back_up(tree.add(0, "step", "answer"), float(draw.random()))
    for _ in range(50):
        means = [tree.nodes[child].mean for child in tree.nodes[0].children]
        chosen = tree.select(0.0)
        choices.append((means, tree.nodes[0].children.index(chosen)))
        tree.back_up(chosen, float(draw.random()))
    assert all(index == int(np.argmax(means)) for means, index in choices)


def test_with_boundless_exploration_siblings_are_visited_alike() -> None:
    tree = Tree(QUESTION)
    draw = np.random.default_rng(3)
    for _ in range(5):
        tree.add(0, "step", "answer")
    for _ in range(103):
        tree.back_up(tree.select(1e9), float(draw.random()))
    visits = [tree.nodes[child].visits for child in tree.nodes[0].children]
    assert max(visits) - min(visits) <= 1


def test_a_child_never_visited_goes_first_and_ties_go_to_the_older() -> None:
    tree = Tree(QUESTION)
    first, second, third = (tree.add(0, f"step {name}") for name in "abc")
    assert tree.select(1.0) == first
    tree.back_up(first, 1.0)
    assert tree.select(1.0) == second
    tree.back_up(second, 1.0)
    tree.back_up(third, 1.0)
    assert tree.select(1.0) == first


def bandit(iterations: int) -> list[int]:
    """Visits of the root's children where one of four leads to the one leaf that pays 0.8; the others pay 0.4."""
    draw = np.random.default_rng(0)

    def propose(question: str, path: Path, k: int, last: bool) -> list[Step]:
        name = path[-1].text if len(path) > 1 else ""
        return [Step(f"{name}{letter}", f"{name}{letter}" if last else None) for letter in "abcd"]

    def judge(question: str, path: Path, steps: Sequence[Node]) -> list[float]:
        return [float(draw.random() < (0.8 if step.text == "cb" else 0.4)) if step.answer else 0.5 for step in steps]

    search = Search(width=4, depth=2, iterations=iterations)
    tree, stopped = search.grow(QUESTION, propose, lambda question, path: [], judge)
    assert stopped == "iterations"
    return [tree.nodes[child].visits for child in tree.nodes[0].children]


def test_visits_gather_on_the_best_branch_and_regret_shrinks() -> None:
    visits = [np.array(bandit(n)) for n in (50, 200, 800, 2000)]
    shares = [one[2] / one.sum() for one in visits]
    assert shares == sorted(shares)
    assert shares[-1] > 0.8
    wasted = [one.sum() - one[2] for one in visits]
    regret = [
        wasted[0] / 50,
        (wasted[1] - wasted[0]) / 150,
        (wasted[2] - wasted[1]) / 600,
        (wasted[3] - wasted[2]) / 1200,
    ]
    assert list(regret) == sorted(regret, reverse=True)


def test_what_came_to_mind_is_seen_by_descendants_alone() -> None:
    parts = Scripted(2)
    tree = grown(parts, width=3, iterations=60)
    places = {node.text: at for at, node in enumerate(tree.nodes)}
    assert len(parts.seen) == 13
    for text, seen in parts.seen:
        ancestors = [node.text for node in tree.path(places[text])]
        assert seen == {f"what is known about {name!r}" for name in ancestors}


def test_f_a_is_credited_to_the_steps_made_from_it() -> None:
    parts = Scripted(2)
    tree = Search(beta=0.25, width=2, depth=1, iterations=1).grow(
        QUESTION, parts.propose, parts.associate, lambda question, path, steps: [0.5, 0.25]
    )[0]
    assert tree.nodes[0].relevance == 0.5
    assert [tree.nodes[child].values for child in tree.nodes[0].children] == [[0.625], [0.375]]


def test_repeats_of_the_path_neither_stay_nor_count() -> None:
    path = [
        Node(QUESTION, evidence=(Evidence("Ada was born in Porto in 1990."),)),
        Node("Ada comes from Porto"),
    ]
    kept, relevance = fresh(
        [
            Evidence("ada was born in Porto in 1990", score=1.0),
            Evidence("Ada comes from Porto!", score=1.0),
            Evidence("  ", score=1.0),
            Evidence("Porto lies on the Douro", score=0.6),
            Evidence("Porto lies on the Douro.", score=0.9),
            Evidence("Ada was born in Porto in 1991.", score=math.nan),
        ],
        path,
    )
    assert [one.text for one in kept] == ["Porto lies on the Douro", "Ada was born in Porto in 1991."]
    assert 0.5 < relevance < 0.6
    assert fresh([Evidence("new", score=7.0)], path)[1] == 1.0
    assert fresh([], path) == ((), 0.0)


def test_steps_that_say_the_same_are_one_that_counts_twice() -> None:
    said = [
        Step("Paris, then Rome"),
        Step("paris then  Rome."),
        Step(""),
        Step("Rome then Paris"),
        Step("Paris, then Rome", "Rome"),
        Step("Paris, then Rome", "ROME."),
        Step("Paris, then Rome", "Paris"),
        Step("In 1990"),
        Step("In 1991"),
    ]
    assert [(step.text, step.answer, copies) for step, copies in distinct(said)] == [
        ("Paris, then Rome", None, 2),
        ("Rome then Paris", None, 1),
        ("Paris, then Rome", "Rome", 2),
        ("Paris, then Rome", "Paris", 1),
        ("In 1990", None, 1),
        ("In 1991", None, 1),
    ]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_likeness_is_symmetric_and_a_cosine(one: str, other: str) -> None:
    assert alike(one, other) == pytest.approx(alike(other, one))
    assert 0 <= alike(one, other) <= 1
    assert alike(one, one) == pytest.approx(1.0)


def judged_by(marks: Callable[[str], float | None]) -> Callable[[str, Path, Sequence[Node]], list[float | None]]:
    return lambda question, path, steps: [marks(step.text) for step in steps]


def test_a_missing_mark_is_not_a_bad_one() -> None:
    parts = Scripted(0, depth=1)
    search = Search(width=2, depth=1, iterations=1)
    tree, _ = search.grow(QUESTION, parts.propose, parts.associate, judged_by({"a": 0.4}.get))
    a, b = tree.nodes[1:]
    assert (a.visits, b.visits, b.values, b.mean) == (1, 0, [], 0.0)
    assert tree.nodes[0].mean == pytest.approx(0.45)  # as if b had never been judged, not as if it were worth 0
    assert tree.select(1.0) == 2


def test_an_end_that_cannot_be_judged_is_let_go_and_the_search_ends() -> None:
    parts = Scripted(0, depth=1)
    tree, stopped = Search(width=2, depth=1, iterations=30).grow(
        QUESTION, parts.propose, parts.associate, judged_by(lambda text: None)
    )
    assert stopped == "exhausted"
    assert [node.closed for node in tree.nodes] == [True, True, True]
    assert {one.text for one in tree.candidates()} == {"a", "b"}


@pytest.mark.parametrize("marks", [[], [0.5], [math.nan, 0.5], [7.0, -3.0, 0.5, 0.5]])
def test_any_list_of_marks_is_taken_as_far_as_it_goes(marks: list[float]) -> None:
    parts = Scripted(0, depth=1)
    tree, _ = Search(width=3, depth=1, iterations=1, beta=0.0).grow(
        QUESTION, parts.propose, parts.associate, lambda question, path, steps: marks
    )
    expected = [[min(1.0, max(0.0, mark))] if math.isfinite(mark) else [] for mark in marks[:3]]
    assert [node.values for node in tree.nodes[1:]] == [*expected, *[[]] * (3 - len(expected))]


def test_a_dead_end_is_not_entered_again() -> None:
    def propose(question: str, path: Path, k: int, last: bool) -> list[Step]:
        return [Step("nowhere"), Step("somewhere")] if len(path) == 1 else []

    tree, stopped = Search(width=2).grow(QUESTION, propose, lambda q, p: [], judged_by(lambda text: 0.9))
    assert stopped == "exhausted"
    assert len(tree.nodes) == 3


def test_a_path_that_reaches_the_depth_without_an_answer_ends_there() -> None:
    parts = Scripted(0, depth=99)
    tree, stopped = Search(width=2, depth=2, iterations=99).grow(QUESTION, parts.propose, parts.associate, parts.judge)
    assert stopped == "exhausted"
    assert max(node.depth for node in tree.nodes) == 2
    assert tree.candidates() == []
    assert tree.nodes[tree.furthest()].depth == 2


def test_an_answer_is_judged_again_and_not_for_ever() -> None:
    parts = Scripted(0, depth=1)
    tree, stopped = Search(width=1, depth=1, iterations=20).grow(QUESTION, parts.propose, parts.associate, parts.judge)
    assert stopped == "iterations"
    assert tree.nodes[1].visits == 20


@pytest.mark.parametrize("calls", [0, 1, 2, 5, 17])
def test_a_spent_budget_ends_the_search_with_what_there_is(calls: int) -> None:
    parts, left = Scripted(0), calls

    def counted(question: str, path: Path, k: int, last: bool) -> list[Step]:
        nonlocal left
        if not left:
            raise BudgetSpent("spent")
        left -= 1
        return parts.propose(question, path, k, last)

    tree, stopped = Search(depth=3, iterations=99).grow(QUESTION, counted, parts.associate, parts.judge)
    assert stopped == ("budget" if calls < 13 else "iterations")
    assert len(tree.nodes) == 1 + 3 * min(calls, 13)


def test_cancelling_ends_it_with_the_best_so_far() -> None:
    parts, rounds = Scripted(4), iter([False] * 6 + [True] * 9)
    tree, stopped = Search(depth=3).grow(QUESTION, parts.propose, parts.associate, parts.judge, lambda: next(rounds))
    assert stopped == "cancelled"
    assert tree.nodes[0].visits == 18


def test_a_model_that_dies_on_the_way_ends_the_search_and_before_the_first_step_is_an_error() -> None:
    parts = Scripted(0)

    def dies(question: str, path: Path, k: int, last: bool) -> list[Step]:
        if len(path) > alive:
            raise EndpointError("toy: gone")
        return parts.propose(question, path, k, last)

    alive = 1
    tree, stopped = Search().grow(QUESTION, dies, parts.associate, parts.judge)
    assert (len(tree.nodes), stopped) == (4, "toy: gone")
    alive = 0
    with pytest.raises(EndpointError, match="gone"):
        Search().grow(QUESTION, dies, parts.associate, parts.judge)


def test_the_same_script_and_seed_grow_the_same_tree_and_json_holds_all_of_it() -> None:
    one, other = (grown(Scripted(8, missing=0.2), iterations=40) for _ in range(2))
    assert one.to_json() == other.to_json()
    back = Tree.from_json(one.to_json())
    assert back.nodes == one.nodes
    assert back.select(1.0) == one.select(1.0)
    assert grown(Scripted(9), iterations=40).to_json() != one.to_json()


def test_a_broken_tree_is_refused() -> None:
    good = json.loads(grown(Scripted(0), iterations=5).to_json())

    def broken(**change: object) -> str:
        return json.dumps([good[0], {**good[1], **change}, *good[2:]])

    texts = [
        "", "{", "[]", "3", "null", "[[]]", "[" * 9999, '[{"text": "q"}]', json.dumps(good[1:]),
        broken(parent=5), broken(parent=1), broken(parent="0"), broken(children=[0]), broken(visits=1.5),
        broken(total="much"), broken(values=[math.nan]), broken(text=None), broken(answer=3), broken(copies=None),
        broken(evidence=[3]), broken(evidence=[{"word": "x"}]), broken(more=1),
    ]  # fmt: skip
    for text in texts:
        with pytest.raises(InvalidInput, match="not a reasoning tree"):
            Tree.from_json(text)


def test_answers_that_differ_in_form_alone_are_pooled_and_agreement_counts() -> None:
    tree = Tree(QUESTION)
    for text, answer, value, copies in [
        ("one", "Lisbon.", 0.5, 1), ("two", "lisbon", 0.6, 1), ("three", "Porto", 0.9, 1), ("four", "Faro", 0.9, 1),
    ]:  # fmt: skip
        tree.back_up(tree.add(0, text, answer, copies=copies), value)
    best = tree.candidates()
    assert [(one.text, one.leaf, one.weight) for one in best] == [
        ("lisbon", 2, pytest.approx(1.1)), ("Porto", 3, pytest.approx(0.9)), ("Faro", 4, pytest.approx(0.9)),
    ]  # fmt: skip
    tree.nodes[4].copies = 3
    assert tree.candidates()[0].text == "Faro"
    assert tree.agreement(1) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "wrong",
    [{"beta": -0.1}, {"beta": math.nan}, {"explore": math.inf}, {"width": 0}, {"depth": 0}, {"iterations": 0}],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        Search(**wrong)  # type: ignore[arg-type]
