"""The everyday verbs of `Memory`: add, get, list, update, history, stats, and what they refuse."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnemos import FixedClock, Item, Kind, Memory
from mnemos.core.errors import HeldError, InvalidInput, NotFound, StoreError
from mnemos.text.records import Scope
from words_embedder import Words


def test_one_sqlite_file_is_made_if_missing_and_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "m.mnemos"
    with Memory(path, embedder=None) as memory:
        id = memory.add("The kettle is blue")
    assert [p.name for p in tmp_path.iterdir()] == ["m.mnemos"]
    assert path.read_bytes().startswith(b"SQLite format 3\x00")
    with Memory(path, embedder=None) as memory:
        assert memory.get(id).text == "The kettle is blue"


def test_bulk_ids_come_in_order_and_list_keeps_it(memory: Memory) -> None:
    progress: list[int] = []
    ids = memory.add([f"note number {n}" for n in range(50)], progress=progress.append)
    assert ids == sorted(ids)
    assert [memory.get(id).text for id in ids] == [f"note number {n}" for n in range(50)]
    assert [record.id for record in memory.list()] == ids
    assert progress == [50]


def test_batches_embedded_beside_the_reading_find_their_own_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnemos.text.write._BATCH", 10)
    monkeypatch.setattr("mnemos.text.write._FEW", 5)
    texts, progress = [f"note of {chr(97 + n) * 5}" for n in range(25)], list[int]()
    with Memory(tmp_path / "m", embedder=Words(512)) as memory:
        ids = memory.add(texts, progress=progress.append)
        with memory._store.reading():
            versions, found = memory._store.vectors(Scope(), "words", 0)
        assert [memory._store.bodies([v])[v]["id"] for v in versions.tolist()] == ids
    np.testing.assert_allclose(found, Words(512).embed(texts), atol=1e-3)
    assert progress == [8, 16, 25]


def test_strings_dicts_and_items_may_be_mixed_and_carry_their_fields(memory: Memory) -> None:
    a, b, c = memory.add([
        "plain",
        {"text": "as a dict", "speaker": "Ada", "at": "2024-05-01", "session": "s", "metadata": {"n": [1]}},
        Item("as an item", speaker="Bo", at=5.0, kind=Kind.NOTE, source="import"),
    ])  # fmt: skip
    assert memory.get(a).kind == Kind.TURN
    assert (memory.get(b).speaker, memory.get(b).session, memory.get(b).metadata) == ("Ada", "s", {"n": [1]})
    assert memory.get(b).at == datetime(2024, 5, 1, tzinfo=UTC).timestamp()
    assert (memory.get(c).kind, memory.get(c).at, memory.get(c).source) == (Kind.NOTE, 5.0, "import")


def test_one_bad_item_of_a_list_stores_none_of_it(memory: Memory) -> None:
    with pytest.raises(InvalidInput, match=r"item 2: .*none of the list was stored"):
        memory.add(["one", "two", ""])
    assert memory.list() == []
    assert memory.operations() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"text": ""},
        {"text": " \n\t"},
        {"text": 5},
        {"text": "x", "at": "soon"},
        {"text": "x", "kind": "fact"},
        {"text": "x", "kind": "poem"},
        {"text": "x", "metadata": {"f": object()}},
        {"text": "x", "metadata": ["no", "dict"]},
        {"text": "x", "speaker": 3},
        {"text": "x", "color": "red"},
        {"text": "x", 1: 2, "b": 3},
        {"speaker": "no text"},
    ],
)
def test_an_unusable_field_is_refused_and_nothing_stored(memory: Memory, fields: dict[Any, Any]) -> None:
    with pytest.raises(InvalidInput):
        memory.add(fields)
    assert memory.list(hidden=True) == []


def test_metadata_too_deep_for_json_is_refused(memory: Memory) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(InvalidInput, match="metadata"):
        memory.add("x", metadata=deep)


def test_what_is_neither_text_nor_a_list_is_refused(memory: Memory) -> None:
    with pytest.raises(InvalidInput, match="cannot remember"):
        memory.add(5)  # type: ignore[arg-type]


# -- keys ----------------------------------------------------------------------------------


def test_a_key_stores_once_and_returns_the_first_id(memory: Memory) -> None:
    first = memory.add("I live in Lisbon", speaker="Ada", key="turn-1")
    before = memory.stats()["records"]
    assert memory.add("I live in Rome", speaker="Ada", key="turn-1") == first
    assert memory.stats()["records"] == before
    assert memory.get(first).text == "I live in Lisbon"


def test_a_key_holds_within_one_batch_and_per_scope(memory: Memory) -> None:
    a, b, c = memory.add([{"text": "one", "key": "k"}, {"text": "two", "key": "k"}, {"text": "three"}])
    assert a == b != c
    assert memory.add("one", user="bo", key="k") != a
    assert len(memory.list()) == 2


def test_whoever_commits_a_key_second_gets_the_first_id_and_derives_nothing(tmp_path: Path) -> None:
    one = Memory(tmp_path / "m", embedder=None, clock=FixedClock("2025-06-01"), seed=1)
    two = Memory(tmp_path / "m", embedder=None, clock=FixedClock("2025-06-01"), seed=2)
    prepare = two._encoder.prepare
    inside: list[str] = []

    def meanwhile(*given: Any) -> Any:
        # the other memory is faster between the look at the keys and the commit
        if not inside:
            inside.append(one.add("I live in Lisbon", speaker="Ada", key="k"))
        return prepare(*given)

    two._encoder.prepare = meanwhile  # type: ignore[method-assign]
    assert two.add([{"text": "I live in Rome", "speaker": "Ada", "key": "k"}, "free"])[0] == inside[0]
    assert [r.text for r in two.list()] == ["I live in Lisbon", "free"]
    assert [r.text for r in two.list(kinds=["fact", "entity"])] == ["Ada lives in Lisbon", "Lisbon"]
    assert two.check() == []
    one.close()
    two.close()


# -- reading -------------------------------------------------------------------------------


def test_list_pages_by_limit_and_after(memory: Memory) -> None:
    ids = memory.add([f"n {n}" for n in range(7)])
    seen: list[str] = []
    while page := memory.list(limit=3, after=seen[-1] if seen else ""):
        seen += [record.id for record in page]
    assert seen == ids


@pytest.mark.parametrize("number", [0, -1, True, 2.0, "3", None])
def test_counts_below_one_and_no_integers_are_refused(memory: Memory, number: Any) -> None:
    memory.add("tea")
    for call in (
        lambda: memory.search("tea", number),
        lambda: memory.ask("tea?", number),
        lambda: memory.list(limit=number),
        lambda: memory.operations(limit=number),
    ):
        with pytest.raises(InvalidInput):
            call()


def test_huge_counts_give_everything(memory: Memory) -> None:
    memory.add(["tea", "green tea"])
    assert len(memory.search("tea", 10**30)) == 2
    assert len(memory.list(limit=10**30)) == 2
    assert len(memory.ask("tea?", 10**30).hits) == 2


def _ids(found: list[Any]) -> set[str]:
    return {one.id for one in found}


def test_every_filter_narrows_search_and_list_alike(memory: Memory) -> None:
    a, b, c, d = memory.add([
        {"text": "tea with milk", "speaker": "Ada", "session": "s1", "at": "2024-01-01"},
        {"text": "tea with lemon", "speaker": "Bo", "session": "s1", "at": "2024-02-01"},
        {"text": "tea with honey", "speaker": "Ada", "session": "s2", "at": "2024-03-01"},
        {"text": "tea on its own", "kind": "note"},
    ])  # fmt: skip
    for filters, expected in (
        ({"speaker": "ada"}, {a, c}),
        ({"session": "s1"}, {a, b}),
        ({"since": "2024-02-01"}, {b, c}),
        ({"until": "2024-02-01"}, {a}),
        ({"since": "2024-01-15", "until": "2024-02-15"}, {b}),
        ({"kinds": "note"}, {d}),
        ({"kinds": ["turn", Kind.NOTE]}, {a, b, c, d}),
        ({"as_of": "2024-02-15"}, {a, b, d}),
        ({"speaker": None, "session": "s2"}, {c}),
        ({"session": "nothing"}, set()),
        ({"speaker": "Cleo"}, set()),
        ({"since": "2024-03-01", "until": "2024-01-01"}, set()),
    ):
        assert _ids(memory.search("tea", **filters)) == expected, filters
        assert _ids(memory.list(**filters)) == expected, filters


@pytest.mark.parametrize(
    "filters",
    [
        {"sesion": "s"},
        {"since": "whenever"},
        {"until": []},
        {"as_of": "2024-99-01"},
        {"kinds": "poem"},
        {"kinds": ("poem",)},
        {"kinds": ["turn", "poem"]},
        {"kinds": []},
        {"kinds": 5},
        {"session": 5},
        {"speaker": ["Ada"]},
    ],
)
def test_an_unknown_filter_kind_or_time_is_an_error_everywhere(memory: Memory, filters: dict[str, Any]) -> None:
    id = memory.add("tea")
    for call in (
        lambda: memory.search("tea", **filters),
        lambda: memory.ask("tea?", **filters),
        lambda: memory.list(**filters),
        lambda: memory.forget(**filters),
        lambda: memory.forget(id, **filters),
    ):
        with pytest.raises(InvalidInput):
            call()
    assert memory.get(id).retracted_at is None


def test_an_empty_query_is_refused(memory: Memory) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        memory.search("  ")


def test_hits_carry_the_record_and_say_why(memory: Memory) -> None:
    id = memory.add("The boat is called Marlin", speaker="Ada", at="2024-01-01", session="s", metadata={"a": 1})
    (hit,) = memory.search("What is the boat called?", explain=True)
    assert (hit.id, hit.text, hit.speaker, hit.session, hit.metadata) == (
        id, "The boat is called Marlin", "Ada", "s", {"a": 1},
    )  # fmt: skip
    assert 0 <= hit.score <= 1
    assert hit.why
    assert hit.parts
    assert hit.as_dict()["at"] == "2024-01-01T00:00"
    assert not memory.search("boat")[0].parts


def test_stats_count_by_kind_and_tell_sizes(memory: Memory) -> None:
    memory.add("I live in Lisbon", speaker="Ada")
    gone = memory.add("tea", kind="note")
    memory.forget(gone)
    stats = memory.stats()
    assert stats["records"] == {"turn": 1, "fact": 1, "entity": 1}
    assert stats["hidden"] == 1
    assert stats["embedder"] is None
    assert stats["file_bytes"] > 0
    assert stats["index_bytes"] > 0


# -- update --------------------------------------------------------------------------------


def test_update_keeps_the_id_and_history_keeps_every_version(memory: Memory, clock: FixedClock) -> None:
    id = memory.add("The kettle is blue", at="2025-01-01")
    clock.advance(86400)
    assert memory.update(id, "The kettle is red") == id
    clock.advance(86400)
    memory.update(id, metadata={"room": "kitchen"})
    assert [(v.operation.kind, v.record.text, dict(v.record.metadata)) for v in memory.history(id) if v.record] == [
        ("add", "The kettle is blue", {}),
        ("update", "The kettle is red", {}),
        ("update", "The kettle is red", {"room": "kitchen"}),
    ]
    assert [hit.text for hit in memory.search("kettle")] == ["The kettle is red"]
    assert [hit.text for hit in memory.search("kettle", as_of="2025-03-01")] == ["The kettle is blue"]
    assert [hit.text for hit in memory.search("kettle", as_of="2025-06-03")] == ["The kettle is red"]


def test_update_takes_back_facts_of_the_old_text_and_reads_those_of_the_new(memory: Memory) -> None:
    id = memory.add("I live in Lisbon.", speaker="Ada", at="2025-01-01")
    memory.update(id, "I live in Lisbon Heights.")
    assert [r.text for r in memory.list(kinds="fact")] == ["Ada lives in Lisbon Heights"]
    memory.update(id, "I live in Porto with a view of Lisbon Heights.")
    assert "Lisbon Heights" in {r.text for r in memory.list(kinds="entity")}
    assert memory.check() == []


def test_update_that_keeps_a_name_keeps_its_entity(memory: Memory) -> None:
    id = memory.add("Marlin is fast", speaker="Ada")
    memory.update(id, "My boat Marlin and her sister Dolphin are fast")
    named = {e.to for e in memory.get(id).edges if e.kind == "mentions"}
    assert named
    assert named <= {r.id for r in memory.list(kinds="entity")}


def test_update_refuses_nothing_unknown_held_forgotten_and_derived(memory: Memory) -> None:
    id = memory.add("I live in Lisbon", speaker="Ada")
    with pytest.raises(InvalidInput, match="nothing to change"):
        memory.update(id)
    with pytest.raises(NotFound, match="in this scope"):
        memory.update("01NOSUCH", "x")
    with pytest.raises(InvalidInput, match="empty"):
        memory.update(id, " ")
    (fact,) = memory.list(kinds="fact")
    with pytest.raises(InvalidInput, match="derived"):
        memory.update(fact.id, "Ada lives in Rome")
    memory.retain(id, hold=True)
    with pytest.raises(HeldError):
        memory.update(id, "x")
    memory.retain(id, hold=False)
    memory.forget(id)
    with pytest.raises(InvalidInput, match="forgotten"):
        memory.update(id, "x")


def test_unknown_ids_are_not_found_by_every_method(memory: Memory) -> None:
    for call in (
        memory.get,
        memory.history,
        memory.forget,
        memory.restore,
        memory.undo,
        memory.retain,
        memory.release,
    ):
        with pytest.raises(NotFound):
            call("01NOSUCH")
    with pytest.raises(InvalidInput):
        memory.forget(5)  # type: ignore[arg-type]


# -- opening and closing -------------------------------------------------------------------


def test_a_closed_memory_says_so_and_closing_twice_is_fine(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "m", embedder=None)
    memory.close()
    memory.close()
    with pytest.raises(StoreError, match="closed"):
        memory.add("x")


def test_a_seeded_memory_opened_again_makes_new_ids_and_overwrites_nothing(tmp_path: Path) -> None:
    ids: list[str] = []
    for n in range(3):
        with Memory(tmp_path / "m", embedder=None, clock=FixedClock("2025-06-01"), seed=1) as memory:
            ids += memory.add([f"run {n} one", f"run {n} two"])
    assert len(set(ids)) == 6
    with Memory(tmp_path / "m", embedder=None) as memory:
        assert len(memory.list()) == 6


def test_the_same_seed_and_clock_make_the_same_memory(tmp_path: Path) -> None:
    found = []
    for name in "ab":
        with Memory(tmp_path / name, embedder=None, clock=FixedClock("2025-06-01"), seed=7) as memory:
            memory.add(["I live in Lisbon", "tea"])
            found.append(memory.list(kinds=list(Kind)))
    assert found[0] == found[1]


def test_a_memory_without_embedder_warns_once_when_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Memory(tmp_path / "m", embedder=None) as memory:
        memory.add("tea")
        memory.search("tea")
        memory.ask("tea?")
    (warning,) = [r for r in caplog.records if "no embedder" in r.message]
    assert "pip install" in warning.message
