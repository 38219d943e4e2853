"""MemoryBank's JSON, read and written."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.importers import detect
from mnemos.text.importers.memorybank import Person, load_memorybank, load_probes, save_memorybank
from mnemos.text.records import Item

DATA = Path(__file__).parents[4] / "shared/data/memorybank"
BANK: dict[str, Any] = {
    " ada_b ": {
        "name": "ada_b",
        "summary": {"2024-05-01": {"content": "Tea."}, "2024-05-02": "Rain."},
        "personality": {"2024-05-01": "Calm."},
        "overall_history": "Tea, then rain.",
        "history": {
            "2024-05-01": [
                {"query": "I like tea.", "response": "So do I."},
                {"query": "Goodbye.", "response": ""},
            ],
            "2024-05-02": [{"query": "", "response": "Hello?"}, {"query": "It rains.", "response": "Stay in."}],
        },
    }
}


def test_turns_come_in_order_with_their_date_and_who_said_them(put, read):
    path = put("bank.json", BANK)
    assert detect(path).name == "memorybank"
    items, skipped = read("memorybank", path)
    assert skipped == []
    assert [(i.speaker, i.text, i.source) for i in items] == [
        ("ada_b", "I like tea.", "user"), ("AI", "So do I.", "assistant"), ("ada_b", "Goodbye.", "user"),
        ("AI", "Hello?", "assistant"), ("ada_b", "It rains.", "user"), ("AI", "Stay in.", "assistant"),
    ]  # fmt: skip
    assert [i.session for i in items] == ["ada_b/2024-05-01"] * 3 + ["ada_b/2024-05-02"] * 3
    assert len({i.key for i in items}) == 6


def test_loaded_written_and_loaded_again_it_is_the_same(put, tmp_path):
    (person,) = load_memorybank(put("bank.json", BANK))
    assert (person.summaries, person.portraits) == (
        {"2024-05-01": "Tea.", "2024-05-02": "Rain."},
        {"2024-05-01": "Calm."},
    )
    assert (person.history, person.portrait) == ("Tea, then rain.", "")
    save_memorybank([person], tmp_path / "out.json")
    assert load_memorybank(tmp_path / "out.json") == [person]
    out = json.loads((tmp_path / "out.json").read_text())
    assert out["ada_b"]["history"] == BANK[" ada_b "]["history"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([], "object of users"),
        ({"a": []}, "no object with a history"),
        ({"a": {"history": {"May": []}}}, "not a date"),
        ({"a": {"history": {"2024-05-01": ["hello"]}}}, "no object with query"),
        ({"a": {"history": {"2024-05-01": [{"query": 5}]}}}, "query"),
        ({"a": {"history": {"2024-05-01": [{"query": "hello"}]}}}, "response"),
        ({"a": {"history": {"2024-13-45": [{"query": "hello", "response": "x"}]}}}, "time"),
        ({"a": {"history": {}, "summary": ["x"]}}, "summary is no object"),
    ],
)
def test_what_cannot_be_used_is_named(put, value, why):
    with pytest.raises(InvalidInput, match=why):
        load_memorybank(put("bank.json", value))


def test_an_importer_goes_on_past_what_it_cannot_use(put, read):
    broken = {"a": {"history": {"2024-05-01": [5, {"query": "hello", "response": "hi"}]}}, "b": 5}
    items, skipped = read("memorybank", put("bank.json", broken))
    assert [i.text for i in items] == ["hello", "hi"]
    assert [s.where for s in skipped] == ["a, 2024-05-01, exchange 1", "b"]


def test_people_without_a_date_or_of_one_name_cannot_be_written(tmp_path):
    with pytest.raises(InvalidInput, match="no time"):
        save_memorybank([Person("a", [Item("hello")])], tmp_path / "out.json")
    with pytest.raises(InvalidInput, match="two people"):
        save_memorybank([Person("a", []), Person("a", [])], tmp_path / "out.json")
    with pytest.raises(InvalidInput, match="cannot be written"):
        save_memorybank([], tmp_path / "none" / "out.json")


def test_probes_are_read_by_user_and_a_wrong_line_is_named(put, tmp_path):
    assert load_probes(put("p.jsonl", '{" Ada": ["Who?"]}\n\n{"Ada": ["When?"], "Bo": []}\n')) == {
        "Ada": ["Who?", "When?"], "Bo": [],
    }  # fmt: skip
    with pytest.raises(InvalidInput, match="line 2"):
        load_probes(put("p.jsonl", '{"Ada": []}\n{"Bo": "Who?"}\n'))
    with pytest.raises(InvalidInput, match="damaged"):
        load_probes(put("p.jsonl", "{"))
    with pytest.raises(NotFound):
        load_probes(tmp_path / "none")


@pytest.mark.skipif(not DATA.is_dir(), reason="there is no copy of MemoryBank's files beside the repository")
@pytest.mark.parametrize("language", ["en", "cn"])
def test_the_published_files_come_through_whole(tmp_path, language):
    path = DATA / f"memory_bank_{language}.json.xz"
    raw = {  # one day of one user is empty
        name.strip(): {date: day for date, day in user["history"].items() if day}
        for name, user in json.loads(lzma.decompress(path.read_bytes())).items()
    }
    people = load_memorybank(path)
    assert sum(len(person.items) for person in people) == 2 * 566
    assert len({i.session for p in people for i in p.items}) == sum(map(len, raw.values()))
    save_memorybank(people, tmp_path / "out.json")
    assert load_memorybank(tmp_path / "out.json") == people
    assert {name: user["history"] for name, user in json.loads((tmp_path / "out.json").read_text()).items()} == raw
    assert detect(path).name == "memorybank"
    probes = load_probes(DATA / f"probing_questions_{language}.jsonl.xz")
    assert set(probes) == {person.name for person in people}
    assert sum(map(len, probes.values())) == 100
