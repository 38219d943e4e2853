from __future__ import annotations

from dataclasses import replace

import pytest

from mnemos import Memory
from mnemos.bench.claims.coat import ARMS, FULL, SMOKE, Hops, Thinker, World, chained, run, searched
from mnemos.bench.runner import silent
from mnemos.text.reason.tree import Evidence, Node


def test_the_claim_runs_at_smoke_size_with_every_arm_and_sweep() -> None:
    result = run(silent, SMOKE)
    assert {row["system"] for row in result.rows} == {*ARMS, "CoAT by beta", "CoAT by brain"}
    assert result.claim is not None
    assert all(row["calls"] <= SMOKE.calls for row in result.rows)


def test_facts_are_known_and_held_as_often_as_said() -> None:
    world = World(FULL, 0)
    assert abs(world.known.mean() - FULL.known) < 0.03
    assert abs(world.held.mean() - FULL.held) < 0.03
    smaller = World(replace(FULL, held=0.3), 0)
    assert (smaller.to == world.to).all()
    assert not (smaller.held & ~world.held).any()


def test_a_fact_that_came_to_mind_is_repeated_and_one_that_is_unknown_is_invented() -> None:
    world = World(FULL, 0)
    entity, relation = int(world.starts[0]), int(world.follow[0, 0])
    fact = f"entity {entity} has relation {relation} to entity {world.to[entity, relation]}"
    world.known[:] = False
    thinker = Thinker(replace_calls(world, 10**6), 0, None, 0)
    told = [Node(f"start at entity {entity}", evidence=(Evidence(fact),))]
    blank = [Node(f"start at entity {entity}")]
    assert abs(sum(s.text == fact for s in thinker.propose("", told, 2000, False)) / 2000 - 0.97) < 0.02
    assert sum(s.text == fact for s in thinker.propose("", blank, 2000, False)) < 40


def replace_calls(world: World, calls: int) -> World:
    world.size = replace(world.size, calls=calls)
    return world


@pytest.mark.parametrize("calls", [1, 7, 60])
def test_no_arm_makes_more_calls_than_it_has(calls: int) -> None:
    world = World(replace(SMOKE, calls=calls), 0)
    for look_up in (False, True):
        assert searched(world, 0, 0, look_up=look_up)[1] <= calls
        assert chained(world, 0, 0, chains=None, look_up=look_up)[1] <= calls


def test_who_knows_and_holds_everything_is_right() -> None:
    size = replace(SMOKE, known=1.0, says=1.0, copies=1.0, held=1.0, calls=210)
    world = World(size, 0)
    for arm in ARMS.values():
        assert all(arm(world, question, 0)[0] == world.gold(question) for question in range(size.questions))


def test_a_hop_is_filled_in_once_its_answer_stands_on_the_path_and_no_sooner(memory: Memory) -> None:
    memory.add(["The Harbour was painted by Ines Duarte.", "Ines Duarte was born in Aveiro."])
    hops = Hops(memory, [{"question": "The Harbour >> painter", "answer": "Ines Duarte"},
                         {"question": "Where was #1 born?", "answer": "Aveiro"}], each=1)  # fmt: skip
    blank = [Node("q"), Node("The Harbour >> painter", lookup="The Harbour painter")]
    assert hops.propose("q", blank, 2, False)[0].text == "Where was #1 born?"
    assert hops.judge("q", blank, [Node("q Where was #1 born?"), Node("Where was Ines born?")]) == [0.5, 1.0]
    blank[1].evidence = tuple(hops.associate("q", blank))
    assert hops.propose("q", blank, 1, False)[0].text == "Where was Ines Duarte born?"
    assert hops.propose("q", [*blank, Node("done")], 2, True)[0].answer is not None
