from __future__ import annotations

import contextlib
import copy
import gzip
import itertools
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text import Memory
from mnemos.text.importers import detect, importers
from mnemos.text.importers.locomo import load_locomo
from mnemos.text.importers.longmemeval import load_longmemeval

LINE = '{"text": "Zoe lives in Bern"}\n'


@pytest.mark.parametrize(
    ("name", "value", "format"),
    [
        ("a.txt", LINE, "jsonl"),
        ("a.txt", "Just words.", "text"),
        ("a.jsonl", "broken\n", "jsonl"),
        ("a.dat", '[{"title": "t", "mapping": {}}]', "chatgpt"),
        ("a.txt", '[{"uuid": "u", "chat_messages": []}]', "claude"),
        ("a.json", '[{"qa": [{"conversation": "{"}], "conversation": {}}]', "locomo"),
        ("a.json", '[{"question_id": "q", "question_type": "t"}]', "longmemeval"),
        ("a.gz", gzip.compress(LINE.encode()), "jsonl"),
        ("a.md", '["\\"mapping\\": {"]', "text"),
    ],
)
def test_content_decides(put, name, value, format):
    assert detect(put(name, value)).name == format


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("a.jsonl", "", "empty"),
        ("a.json", "{}", "chatgpt .*claude .*locomo .*longmemeval .*memorybank .*jsonl .*text "),
        ("a.png", b"\x89PNG\0", "no format known"),
        ("a.txt", b"a\0b", "no format known"),
        ("a.xz", b"\xfd7zXZ\x00damage", "damaged"),
        ("a.jsonl", '{"mnemos":1,"model":""}\n', "Memory.import_"),
        ("a.zip", b"PK\x05\x06" + b"\0" * 18, "no format known"),
    ],
)
def test_what_fits_nothing_is_told_so(put, name, value, why):
    with pytest.raises(InvalidInput, match=why):
        detect(put(name, value))


def test_a_named_format_is_taken_at_its_word_and_a_wrong_name_lists_them(put):
    path = put("a.bin", b"\0")
    assert detect(path, "claude").name == "claude"
    with pytest.raises(NotFound, match="chatgpt, claude, locomo, longmemeval, memorybank, jsonl, text"):
        detect(path, "word")


def test_a_missing_path_is_not_found(tmp_path):
    for name in (None, "jsonl"):
        with pytest.raises(NotFound):
            detect(tmp_path / "none", name)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="regular file"):
        detect(tmp_path / "pipe")


def test_every_importer_says_what_it_is():
    assert all(name == importer.name and importer.description for name, importer in importers().items())


def test_an_interrupted_import_started_again_doubles_nothing(put, tmp_path):
    path = put("a.jsonl", "".join(f'{{"text": "memory number {n}"}}\n' for n in range(20)))
    with Memory(tmp_path / "m.mnemos", embedder=None) as memory:
        memory.add(itertools.islice(detect(path).read(path, pytest.fail), 7))
        memory.add(detect(path).read(path, pytest.fail))
        memory.add(detect(path).read(path, pytest.fail))
        assert len(memory.list()) == 20


@pytest.mark.parametrize("name", ["chatgpt", "claude", "locomo", "longmemeval"])
@settings(derandomize=True, deadline=None)
@given(data=st.data())
def test_any_part_of_the_wrong_shape_is_skipped_or_refused_but_never_a_traceback(name, data):
    value = copy.deepcopy(SMALL[name])
    holder, key = data.draw(st.sampled_from(list(_places(value))))
    holder[key] = data.draw(st.sampled_from([None, 5, 1e400, -1e18, True, "", "x", "\ud800", [], [5], {}, {"a": 5}]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "conversations.json")
        path.write_text(json.dumps([value]))
        detect(path, name).detects(path)
        items = list(importers()[name].read(path, lambda skipped: None))
        for load in (load_locomo, load_longmemeval):
            with contextlib.suppress(InvalidInput):
                load(path)
    assert all(item.text.strip() and item.key for item in items)


def _places(value):
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


_MESSAGE = {
    "id": "m",
    "author": {"role": "user"},
    "create_time": 5,
    "content": {"content_type": "text", "parts": ["a"]},
}
SMALL = {
    "chatgpt": {
        "id": "c", "title": "t", "create_time": 1, "current_node": "m",
        "mapping": {"r": {"message": None}, "m": {"parent": "r", "message": _MESSAGE}},
    },
    "claude": {
        "uuid": "c", "name": "n",
        "chat_messages": [
            {"uuid": "m", "sender": "human", "text": "a", "content": [{"type": "text", "text": "a"}]},
        ],
    },
    "locomo": {
        "sample_id": "s", "qa": [{"question": "q", "answer": "a", "evidence": ["D1:1"], "category": 1}],
        "conversation": {
            "speaker_a": "A", "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [{"speaker": "A", "dia_id": "D1:1", "text": "a", "blip_caption": "c"}],
        },
    },
    "longmemeval": {
        "question_id": "q", "question_type": "t", "question": "q", "answer": "a",
        "question_date": "2023/06/01 (Thu) 00:58", "haystack_dates": ["2023/05/27 (Sat) 10:20"],
        "haystack_session_ids": ["s"], "answer_session_ids": ["s"],
        "haystack_sessions": [[{"role": "user", "content": "a", "has_answer": True}]],
    },
}  # fmt: skip
