"""The default recipe: conversations as ever, documents with a walk beside own recall."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnemos import FixedClock, Memory, Settings
from mnemos.text.encode.embedder import resolve
from mnemos.text.recall.rank import UNEXPLAINED
from mnemos.text.recipes.default import in_turns
from mnemos.text.records import Kind, Scope
from mnemos.text.results import Hit

_PASSAGES = [
    "Erik Hort\nErik Hort was born in Montebello.",
    "Montebello\nMontebello is a village in Rockland County, New York.",
    "Honey\nHoney is a sweet food that bees make.",
]


def hit(id: str, score: float, why: str = "", part: float | None = None) -> Hit:
    return Hit(id, id, score, Kind.PASSAGE, "", None, "", {}, (why,), {} if part is None else {why: part})


def test_own_recall_fills_in_behind_the_first_three_of_the_walk() -> None:
    own = [hit(id, 0.9 - n / 10) for n, id in enumerate("abcd")]
    walked = [hit(id, 0.01) for id in "vwxyz"]
    assert "".join(h.id for h in in_turns(own, walked)) == "vwxayzbcd"


def test_a_hit_of_both_stands_at_the_better_place_once_with_the_reasons_of_both() -> None:
    merged = in_turns(
        [hit("a", 0.9, "words", 1.0), hit("b", 0.8)], [hit("b", 0.02, "way", 2.0), hit("a", 0.01, "far", 3.0)]
    )
    assert [h.id for h in merged] == ["b", "a"]
    assert merged[1].why == ("words", "far")
    assert merged[1].parts == {"words": 1.0, "far": 3.0}


def test_a_hit_that_the_walk_explains_is_not_called_unexplained() -> None:
    (merged,) = in_turns([hit("a", 0.9, UNEXPLAINED)], [hit("a", 0.01, "way")])
    assert merged.why == ("way",)


def test_scores_never_rise_on_the_way_down() -> None:
    merged = in_turns([hit("a", 0.9), hit("b", 0.8)], [hit("b", 0.02), hit("c", 0.01)])
    assert [h.score for h in merged] == sorted((h.score for h in merged), reverse=True)


@pytest.fixture
def documents(tmp_path: Path) -> Memory:
    if resolve("auto") is None:
        pytest.skip("no embedder here, and the walk compares meanings")
    return Memory(tmp_path / "m.mnemos", clock=FixedClock("2025-06-01"), seed=1, settings=Settings())


def test_passages_get_triples_and_turns_do_not(documents: Memory) -> None:
    with documents as memory:
        turn = memory.add("I was born in Montebello", speaker="Ada")
        assert memory._store.traces(Scope(), "hipporag2")[1] == []
        ids = memory.add([{"text": text, "kind": "passage"} for text in _PASSAGES])
        traced = {id for trace in memory._store.traces(Scope(), "hipporag2")[1] for id in trace.sources}
        assert traced == set(ids)
        assert turn not in traced
        assert memory.stats()["pending"] == 0


def test_a_passage_that_shares_no_word_with_the_question_is_walked_to(documents: Memory) -> None:
    with documents as memory:
        memory.add([{"text": text, "kind": "passage"} for text in _PASSAGES])
        hits = memory.search("In which county was Erik Hort born?", k=2)
        assert [h.text for h in hits] == _PASSAGES[:2]
        assert "montebello" in " ".join(hits[1].why)
        assert memory.ask("In which county was Erik Hort born?").hits[1].text == _PASSAGES[1]
