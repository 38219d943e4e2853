"""Facts on two axes of time: what holds now, what held then, and in whichever order it was told."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from mnemos import FixedClock, Kind, Memory
from mnemos.core import iso, parse_time

_DAY = 86400.0
_CITIES = [
    "Lisbon",
    "Porto",
    "Rome",
    "Berlin",
    "Oslo",
    "Vienna",
    "Prague",
    "Dublin",
    "Madrid",
    "Athens",
    "Nairobi",
    "Lima",
]
_NAMES = ["Ada", "Noor", "Mateo", "Ingrid", "Kwame", "Yuki", "Priya", "Olga", "Tariq", "Elena"]
_FIRST = ["I live in {}.", "I live in {} and like it here.", "We live in {}.", "I moved to {}."]
_THEN = ["I moved to {}.", "I just moved to {}!", "I live in {} now.", "Big news: I moved to {} for work."]


def test_current_and_past_values_of_200_moves_are_right(tmp_path: Path) -> None:
    rnd = random.Random(3)
    now = right = then = 0
    with Memory(tmp_path / "m", embedder=None, clock=FixedClock("2025-06-01"), seed=1) as memory:
        for pair in range(200):
            name, (a, b) = rnd.choice(_NAMES), rnd.sample(_CITIES, 2)
            first = parse_time("2022-01-01") + rnd.randrange(300) * _DAY
            second = first + rnd.randrange(30, 600) * _DAY
            who = {"user": f"u{pair}"}
            told = [
                {"text": rnd.choice(_FIRST).format(a), "speaker": name, "at": first},
                {"text": rnd.choice(_THEN).format(b), "speaker": name, "at": second},
                {"text": "The weather has been lovely.", "speaker": name, "at": second + _DAY},
            ]
            rnd.shuffle(told)
            memory.add(told, **who)
            now += memory.ask(f"Where does {name} live?", **who).text == b
            moment = first + rnd.random() * (second - first)
            then += memory.ask(f"Where does {name} live?", as_of=iso(moment), **who).text == a
            right += 1
    assert now / right >= 0.95
    assert then / right >= 0.95


def _chain(memory: Memory) -> list[tuple[str, Any, Any, Any]]:
    facts = {r.id: r for r in memory.list(kinds="fact")}
    everything = {r.id: r for r in memory.list(kinds="fact", hidden=True)}
    assert set(facts) <= set(everything)
    return sorted(
        (r.text, r.valid_from, r.valid_to, [everything[e.to].text for e in r.edges if e.kind == "supersedes"])
        for r in everything.values()
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_facts_told_out_of_order_make_the_same_chain(tmp_path: Path, order: tuple[int, ...]) -> None:
    told = [
        {"text": "I live in Lisbon.", "speaker": "Ada", "at": "2020-01-01"},
        {"text": "I moved to Rome.", "speaker": "Ada", "at": "2021-01-01"},
        {"text": "I moved to Oslo.", "speaker": "Ada", "at": "2022-01-01"},
    ]
    times = [parse_time(str(t["at"])) for t in told]
    with Memory(tmp_path / "m", embedder=None, clock=FixedClock("2025-06-01"), seed=1) as memory:
        for n in order:
            memory.add([told[n]])
        assert _chain(memory) == [
            ("Ada lives in Lisbon", times[0], times[1], []),
            ("Ada lives in Oslo", times[2], None, ["Ada lives in Rome"]),
            ("Ada lives in Rome", times[1], times[2], ["Ada lives in Lisbon"]),
        ]
        answers = [
            memory.ask("Where does Ada live?", as_of=day).text for day in ("2020-06-01", "2021-06-01", "2023-01-01")
        ]
        assert answers == ["Lisbon", "Rome", "Oslo"]


def test_the_same_value_told_late_about_an_earlier_time_extends_it(memory: Memory) -> None:
    memory.add("I live in Rome.", speaker="Ada", at="2022-01-01")
    memory.add("I live in Rome.", speaker="Ada", at="2020-01-01")
    ((_, start, end, before),) = _chain(memory)
    assert (start, end, before) == (parse_time("2020-01-01"), None, [])


def test_a_changed_fact_is_closed_and_kept_never_overwritten(memory: Memory) -> None:
    memory.add("I live in Lisbon.", speaker="Ada", at="2020-01-01")
    (old,) = memory.list(kinds="fact")
    memory.add("I moved to Rome.", speaker="Ada", at="2021-01-01")
    closed = memory.get(old.id)
    assert closed.retracted_at is None
    assert closed.valid_to == parse_time("2021-01-01")
    assert [v.record.valid_to for v in memory.history(old.id) if v.record] == [None, parse_time("2021-01-01")]
    assert [r.text for r in memory.list(kinds="fact", as_of="2020-06-01")] == ["Ada lives in Lisbon"]


def test_relations_of_many_values_supersede_nothing(memory: Memory) -> None:
    memory.add(["I love hiking.", "I love chess."], speaker="ignored")
    memory.add([{"text": "I love hiking.", "speaker": "Ada"}, {"text": "I love chess.", "speaker": "Ada"}])
    facts = [r for r in memory.list(kinds="fact") if r.data["subject"] == "Ada"]
    assert len(facts) == 2
    assert all(r.valid_to is None for r in facts)


def test_everything_derived_leads_to_verbatim_text_and_that_stays(memory: Memory) -> None:
    texts = ["I live in Lisbon with Noor.", "I moved to Rome.", "I love chess.", "My cat is named Miso."]
    memory.add([{"text": t, "speaker": "Ada", "at": f"202{n}-01-01", "session": "s"} for n, t in enumerate(texts)])
    memory.consolidate()
    verbatim = {r.id: r for r in memory.list()}
    assert [r.text for r in verbatim.values()] == texts
    mentioned = {e.to for r in verbatim.values() for e in r.edges if e.kind == "mentions"}
    derived = memory.list(kinds=["fact", "session", "entity"], hidden=True)
    assert {r.kind for r in derived} == {Kind.FACT, Kind.SESSION, Kind.ENTITY}
    for record in derived:
        sources = [e.to for e in record.edges if e.kind == "derived-from"]
        assert (record.id in mentioned) if record.kind == Kind.ENTITY else (sources and set(sources) <= set(verbatim))


def test_as_of_hides_what_was_said_later(memory: Memory) -> None:
    memory.add([{"text": "tea in May", "at": "2024-05-01"}, {"text": "tea in July", "at": "2024-07-01"}])
    assert [h.text for h in memory.search("tea", as_of="2024-06-01")] == ["tea in May"]
    assert memory.search("tea", as_of="1999-01-01") == []


def test_a_forgotten_link_of_a_chain_lets_its_neighbours_meet(memory: Memory) -> None:
    cities = ["Lisbon", "Rome", "Oslo", "Lima"]
    ids = [memory.add(f"I moved to {c}.", speaker="Ada", at=f"202{n}-01-01", session=c) for n, c in enumerate(cities)]
    memory.forget(ids[1:3])
    live = [(r.text, r.valid_to) for r in memory.list(kinds="fact", hidden=True) if r.retracted_at is None]
    assert live == [("Ada lives in Lisbon", parse_time("2023-01-01")), ("Ada lives in Lima", None)]
    memory.restore(ids[1])
    assert memory.ask("Where does Ada live?", as_of="2021-06-01").text == "Rome"


def test_a_restored_old_value_does_not_become_the_current_one(memory: Memory, clock: FixedClock) -> None:
    old = memory.add("I live in Lisbon.", speaker="Ada", at="2020-01-01")
    memory.forget(old)
    clock.advance(60)
    memory.add("I moved to Rome.", speaker="Ada", at="2021-01-01")
    memory.restore(old)
    assert [r.text for r in memory.list(kinds="fact")] == ["Ada lives in Rome"]
    assert memory.ask("Where does Ada live?", as_of="2020-06-01").text == "Lisbon"


def test_a_fact_is_asked_for_among_many_whose_names_are_alike(memory: Memory) -> None:
    first = ("Ada", "Bo", "Cleo", "Dan", "Eve", "Finn")
    last = ("Abbott", "Brandt", "Castle", "Duarte", "Eklund", "Ford")
    towns = {f"{a} {b}": f"Town{n}{m}" for n, a in enumerate(first) for m, b in enumerate(last)}
    memory.add([{"text": f"{who} lives in {town}.", "speaker": "Narrator"} for who, town in towns.items()])
    answers = {who: memory.ask(f"Where does {who} live?").text for who in towns}
    assert answers == towns


def test_what_is_said_again_and_again_names_enough_sources_and_stays_small(memory: Memory) -> None:
    ids = [memory.add("I live in Oslo.", speaker="Ada", session=str(n)) for n in range(40)]
    (fact,) = memory.list(kinds="fact")
    assert [edge.to for edge in fact.edges] == ids[:32]
    assert len(memory.history(fact.id)) == 32
    for id in ids[:31]:
        memory.forget(id, hard=True)
    assert memory.ask("Where does Ada live?").text == "Oslo"
    memory.add("I live in Rome.", speaker="Ada", session="later")
    assert memory.ask("Where does Ada live?").text == "Rome"


def test_what_another_process_wrote_between_two_writes_counts(tmp_path: Path) -> None:
    path = tmp_path / "m.mnemos"
    with Memory(path, embedder=None) as one, Memory(path, embedder=None) as two:
        one.add("I live in Oslo.", speaker="Ada", at="2024-01-01")
        two.add("I live in Rome.", speaker="Ada", at="2024-02-01")
        one.add("I live in Lima.", speaker="Ada", at="2024-03-01")
        two.forget(speaker="Ada", since="2024-01-20", until="2024-02-20")
        one.add("I live in Graz.", speaker="Ada", at="2024-04-01")
        facts = one.list(kinds="fact", hidden=True)
        held = {fact.data["object"]: (fact.valid_to is None, fact.retracted_at is None) for fact in facts}
        assert held == {"Oslo": (False, True), "Rome": (False, False), "Lima": (False, True), "Graz": (True, True)}
        assert one.ask("Where did Ada live before?").text == "Lima"
        assert one.ask("Where does Ada live?", as_of="2024-02-10").text == "Oslo"


def test_a_write_that_fails_leaves_no_trace_in_the_next(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.add("I live in Oslo.", speaker="Ada", at="2024-01-01")
    with monkeypatch.context() as patched:
        patched.setattr(type(memory._store), "commit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            memory.add("I live in Rome.", speaker="Ada", at="2024-02-01")
    memory.add("I live in Lima.", speaker="Ada", at="2024-03-01")
    facts = memory.list(kinds="fact", hidden=True)
    assert [fact.data["object"] for fact in facts] == ["Oslo", "Lima"]
    assert facts[0].valid_to == facts[1].valid_from
    assert memory.ask("Where did Ada live before?").text == "Oslo"
