"""The write gate: no feedback loop, and no facts about somebody on a machine's word."""

from __future__ import annotations

import pytest

from mnemos import Memory, Policy
from mnemos.core.errors import InvalidInput
from mnemos.text.gate import LoopGuard
from mnemos.text.records import Item, Scope

_TEXTS = [
    "The harbour opens at seven in the morning. The ferry leaves shortly afterwards.",
    "My boat is called Marlin and she is very fast.",
    "Ada likes tea.",
]


@pytest.mark.parametrize("source", ["assistant", "tool", "memory"])
def test_fifty_rounds_of_feeding_hits_back_store_nothing(memory: Memory, source: str) -> None:
    ids = memory.add([{"text": text, "speaker": "Ada"} for text in _TEXTS])
    for round in range(50):
        hits = memory.search(["When does the harbour open?", "What is the boat called?", "Who likes tea?"][round % 3])
        for hit in hits:
            assert memory.add(hit.text, source=source, speaker=source) == hit.id
        memory.add("Here is what I remember: \n" + "\n".join(hit.text for hit in hits), source=source)
    assert [r.id for r in memory.list()] == ids


def test_people_and_imports_may_say_it_again(memory: Memory) -> None:
    first = memory.add(_TEXTS[0])
    memory.search("harbour")
    assert memory.add(_TEXTS[0]) != first
    assert memory.add(_TEXTS[0], source="import") != first


def test_a_machine_may_say_something_new_or_what_was_never_given_out(memory: Memory) -> None:
    first = memory.add(_TEXTS[0])
    assert memory.add(_TEXTS[0], source="assistant") != first
    memory.search("harbour")
    new = memory.add(
        "The harbour opens at seven in the morning. You should bring a warm coat and some bread.", source="assistant"
    )
    assert memory.get(new).source == "assistant"


def test_an_echo_of_something_forgotten_is_not_answered_with_it(memory: Memory) -> None:
    first = memory.add(_TEXTS[0])
    memory.search("harbour")
    memory.forget(first)
    again = memory.add(_TEXTS[0], source="assistant")
    assert again != first
    memory.search("harbour")
    memory.forget(again, hard=True)
    assert memory.get(memory.add(_TEXTS[0], source="assistant")).text == _TEXTS[0]


def test_the_guard_remembers_per_scope_and_forgets_on_demand() -> None:
    guard = LoopGuard()
    item = Item(_TEXTS[0], source="assistant")
    guard.gave(Scope("ada"), [("1", _TEXTS[0])])
    assert guard.echo(Scope("ada"), item) == "1"
    assert guard.echo(Scope("bo"), item) is None
    assert guard.echo(Scope("ada"), Item(_TEXTS[0], source="user")) is None
    guard.forget({"1"})
    assert guard.echo(Scope("ada"), item) is None


def test_a_claim_about_somebody_waits_until_they_say_it_too(memory: Memory) -> None:
    memory.add("I live in Lisbon.", speaker="Ada", at="2020-01-01")
    memory.add("Ada lives in Rome.", speaker="helper", source="assistant", at="2021-01-01")
    (claim,) = [r for r in memory.list(kinds="fact", hidden=True) if r.quarantined]
    assert [r.text for r in memory.list(kinds="fact")] == ["Ada lives in Lisbon"]
    assert not any(h.id == claim.id for h in memory.search("Ada lives in Rome", kinds="fact"))
    assert memory.ask("Where does Ada live?").citations[0] != claim.id
    memory.add("I live in Rome.", speaker="Ada", at="2022-01-01")
    assert not memory.get(claim.id).quarantined
    assert [r.text for r in memory.list(kinds="fact")] == ["Ada lives in Rome"]
    assert memory.ask("Where does Ada live?").text == "Rome"
    assert memory.ask("Where does Ada live?", as_of="2021-06-01").text == "Lisbon"


def test_release_lets_a_claim_into_recall_and_into_its_chain(memory: Memory) -> None:
    memory.add("I live in Lisbon.", speaker="Ada", at="2020-01-01")
    memory.add("Ada lives in Rome.", speaker="helper", source="assistant", at="2021-01-01")
    (claim,) = [r for r in memory.list(kinds="fact", hidden=True) if r.quarantined]
    assert memory.release(claim.id) == claim.id
    assert [r.text for r in memory.list(kinds="fact")] == ["Ada lives in Rome"]
    with pytest.raises(InvalidInput, match="not in quarantine"):
        memory.release(claim.id)


def test_what_an_assistant_says_about_itself_needs_nobody_else(memory: Memory) -> None:
    memory.add("I live in Rome.", speaker="helper", source="assistant")
    assert [r.quarantined for r in memory.list(kinds="fact", hidden=True)] == [False]


def test_texts_of_a_distrusted_source_wait_until_they_are_released(memory: Memory) -> None:
    memory.set_policy(Policy(quarantine=("web",)))
    page = memory.add("The harbour bridge opens at nine", source="web")
    said = memory.add("The harbour bridge opens at ten")
    assert [hit.id for hit in memory.search("When does the harbour bridge open?")] == [said]
    assert [record.id for record in memory.list(hidden=True)] == [page, said]
    memory.release(page)
    assert {hit.id for hit in memory.search("When does the harbour bridge open?")} == {page, said}


@pytest.mark.parametrize("form", ["- {}", "1. {}", "• {}", "As you told me: {}", "Note: {}"])
def test_what_is_said_again_with_a_mark_or_a_lead_in_is_still_an_echo(memory: Memory, form: str) -> None:
    id = memory.add("I live in Bergen and work at the harbour office", speaker="Ada")
    memory.search("harbour office")
    said = form.format("I live in Bergen and work at the harbour office")
    assert memory.add(said, speaker="bot", source="assistant") == id
