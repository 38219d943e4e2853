from __future__ import annotations

import gzip
import json
import lzma
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.importers import importers
from mnemos.text.records import Kind

GOOD = json.dumps({
    "text": "Zoë moved to Bern", "speaker": "Zoë", "at": "2023-05-08T13:56", "session": "s",
    "metadata": {"a": 1}, "kind": "note", "source": "tool", "key": "k1",
})  # fmt: skip


def test_all_fields_arrive(read, put):
    (item,), skipped = read("jsonl", put("a.jsonl", GOOD + "\n"))
    assert (item.text, item.speaker, item.at, item.session) == ("Zoë moved to Bern", "Zoë", 1683554160.0, "s")
    assert (item.metadata, item.kind, item.source, item.key) == ({"a": 1}, Kind.NOTE, "tool", "k1")
    assert skipped == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"text": "cut', "invalid JSON"),
        ('{"text": "a", "weight": 3}', "no field 'weight'"),
        ('{"text": 5}', "text is 5"),
        ('{"speaker": "a"}', "text is None"),
        ('{"text": "  "}', "empty"),
        ('{"text": "a", "at": "yesterday"}', "not a time"),
        ('{"text": "a", "at": true}', "not a time"),
        ('{"text": "a", "metadata": [1]}', "metadata"),
        ('{"text": "a", "metadata": {"x": NaN}}', "NaN is no JSON number"),
        ('{"text": "a", "kind": "fact"}', "kind"),
        ('{"text": "a", "key": 5}', "key is 5"),
        ("[1, 2]", "a JSON list"),
        ("null", "a JSON NoneType"),
        ("[" * 100_000, "invalid JSON"),
        ('{"text": ' + "9" * 5000 + "}", "invalid JSON"),
    ],
    ids=lambda value: value[:24],
)
def test_a_bad_line_is_skipped_with_its_reason_and_the_rest_read(read, put, line, why):
    items, skipped = read("jsonl", put("a.jsonl", f"{GOOD}\n\n{line}\n" + '{"text": "after"}'))
    assert [item.text for item in items] == ["Zoë moved to Bern", "after"]
    assert len(skipped) == 1
    assert skipped[0].where == "line 3"
    assert why in skipped[0].why


def test_keys_that_are_made_are_stable_and_distinct(read, put):
    path = put("a.jsonl", '{"text": "same"}\n{"text": "same"}\n{"text": "other", "key": null}\n')
    first, second = (read("jsonl", path)[0] for _ in range(2))
    assert [item.key for item in first] == [item.key for item in second]
    assert len({item.key for item in first}) == 3


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress, bytes])
def test_compressed_files_are_read_whatever_they_are_called(read, put, pack):
    items, _ = read("jsonl", put("a.bin", pack(GOOD.encode())))
    assert items[0].text == "Zoë moved to Bern"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marked_encodings_are_read(read, put, encoding):
    path = put("a.jsonl", json.dumps({"text": "Zoë"}, ensure_ascii=False).encode(encoding))
    assert importers()["jsonl"].detects(path)
    assert read("jsonl", path)[0][0].text == "Zoë"


def test_a_line_that_is_not_utf8_is_skipped(read, put):
    items, skipped = read("jsonl", put("a.jsonl", b'{"text": "caf\xe9"}\n{"text": "fine"}\n'))
    assert [item.text for item in items] == ["fine"]
    assert "not UTF-8" in skipped[0].why


def test_a_line_too_long_to_hold_is_skipped_without_losing_count(read, put, monkeypatch):
    monkeypatch.setattr("mnemos.text.importers.jsonl._LINE", 100)
    items, skipped = read("jsonl", put("a.jsonl", '{"text": "' + "x" * 950 + '"}\nbad\n{"text": "fine"}\n'))
    assert [item.text for item in items] == ["fine"]
    assert [s.where for s in skipped] == ["line 1", "line 2"]


def test_lines_come_as_they_are_read_not_after_the_whole_file(put):
    path = put("a.jsonl", gzip.compress(b'{"text": "a"}\n' * 50_000)[:-40])  # its end is missing
    lines = importers()["jsonl"].read(path, pytest.fail)
    assert next(lines).text == "a"
    with pytest.raises(InvalidInput, match="damaged or cut off"):
        list(lines)


def test_a_missing_file_is_not_found(read, tmp_path):
    with pytest.raises(NotFound):
        read("jsonl", tmp_path / "none.jsonl")


@settings(derandomize=True, deadline=None)
@given(st.lists(st.binary(max_size=30) | st.sampled_from([GOOD.encode(), b'{"text": "a"}']), max_size=8))
def test_no_bytes_raise(lines):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl")
        path.write_bytes(b"x\n" + b"\n".join(lines))
        skipped = []
        items = list(importers()["jsonl"].read(path, skipped.append))
    assert len(items) >= sum(line == GOOD.encode() for line in lines)
