from __future__ import annotations

import io
import json
import zipfile

import pytest

from mnemos.core.errors import InvalidInput
from mnemos.text.importers import detect


def node(id, parent, role="user", parts=("",), time=None, kind="text", **more):
    content = {"content_type": kind, "parts": list(parts)}
    message = {"id": id, "author": {"role": role}, "create_time": time, "content": content, **more}
    return {"id": id, "parent": parent, "children": [], "message": message}


def conversation(**more):
    nodes = [
        node("sys", "root", "system"),
        node("q", "sys", "user", ["Where is Bern?"], 100.5),
        node("old", "q", "assistant", ["In Germany."], 101),
        node("new", "q", "assistant", ["In", "Switzerland."], 102),
        node("call", "new", "assistant", ["print(1)"], 103, recipient="python"),
        node("tool", "call", "tool", ["1"], 104),
        node("think", "tool", "assistant", [], 105, kind="thoughts"),
        node("pic", "think", "user", [{"asset_pointer": "x"}, "Look"], None, kind="multimodal_text"),
    ]
    mapping = {"root": {"id": "root", "parent": None, "children": ["sys"], "message": None}}
    mapping |= {n["id"]: n for n in nodes}
    return {
        "title": "Bern",
        "create_time": 99.0,
        "id": "c1",
        "mapping": mapping,
        "current_node": "pic",
    } | more


CLAUDE = {
    "uuid": "u1", "name": "Trip", "created_at": "2024-01-01T00:00:00Z",
    "chat_messages": [
        {"uuid": "m1", "sender": "human", "text": "Hello", "content": [],
         "created_at": "2024-01-02T03:04:05.000000Z"},
        {"uuid": "m2", "sender": "assistant", "text": "Hi [block not supported]",
         "content": [
             {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"},
             {"type": "text", "text": "there"},
         ]},
        {"uuid": "m3", "sender": "tool", "text": "no"},
        {"uuid": "m4", "sender": "human", "text": "", "content": [], "attachments": [{"file_name": "a.pdf"}]},
        "junk",
        {"sender": "human", "text": "No id"},
    ],
}  # fmt: skip


def zipped(**members):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, value in members.items():
            archive.writestr(name.replace("__", "/").replace("_json", ".json"), json.dumps(value))
    return raw.getvalue()


def test_chatgpt_follows_the_current_branch_and_leaves_tools_out(read, put):
    items, skipped = read("chatgpt", put("conversations.json", [conversation()]))
    assert [(i.speaker, i.source, i.text, i.at) for i in items] == [
        ("user", "user", "Where is Bern?", 100.5),
        ("assistant", "assistant", "In\nSwitzerland.", 102.0),
        ("user", "user", "Look", 99.0),
    ]
    assert {i.session for i in items} == {"c1"}
    assert items[0].metadata == {"file": "conversations.json", "message": "q", "title": "Bern"}
    assert [s.where.split()[-1] for s in skipped] == ["sys", "call", "tool", "think", "pic"]


def test_chatgpt_without_a_current_node_ends_at_the_newest_leaf(read, put):
    items, _ = read("chatgpt", put("a.json", [conversation(current_node=None)]))
    assert [i.text for i in items] == ["Where is Bern?", "In Germany."]
    chat = conversation(current_node="gone")
    chat["mapping"]["pic"]["message"]["create_time"] = 200
    items, _ = read("chatgpt", put("a.json", [chat]))
    assert items[-1].text == "Look"


def test_chatgpt_ring_of_messages_ends(read, put):
    mapping = {"a": node("a", "b", parts=["x"]), "b": node("b", "a", parts=["y"])}
    items, skipped = read("chatgpt", put("a.json", [conversation(mapping=mapping, current_node="a")]))
    assert [i.text for i in items] == ["y", "x"]
    assert "ring" in skipped[0].why


@pytest.mark.parametrize(
    "broken",
    [5, {"mapping": []}, {"mapping": {"a": 5}, "current_node": "a"}, {"mapping": {}, "current_node": [1]},
     {"mapping": {"a": {"message": {"author": "x", "content": 5}}}, "current_node": "a"}],
)  # fmt: skip
def test_chatgpt_broken_conversations_do_not_stop_the_rest(read, put, broken):
    items, _ = read("chatgpt", put("a.json", [broken, conversation()]))
    assert len(items) == 3


def test_chatgpt_conversations_without_ids_stay_apart(read, put):
    chats = [
        conversation(id=None),
        conversation(id=None, create_time=1e9),
        conversation(id=None, create_time=None),
    ]
    items, _ = read("chatgpt", put("a.json", chats))
    assert len({i.session for i in items}) == 3
    assert len({i.key for i in items}) == 9


def test_claude_reads_text_blocks_and_falls_back_to_text(read, put):
    items, skipped = read("claude", put("conversations.json", [CLAUDE, {"uuid": "u2"}]))
    assert [(i.speaker, i.text) for i in items] == [
        ("user", "Hello"),
        ("assistant", "Hi\nthere"),
        ("user", "No id"),
    ]
    assert [i.at for i in items] == [1704164645.0, 1704067200.0, 1704067200.0]
    assert items[0].session == "u1"
    assert items[0].metadata == {"file": "conversations.json", "message": "m1", "title": "Trip"}
    why = " ".join(s.why for s in skipped)
    assert all(word in why for word in ("block(s)", "sender tool", "attachment", "not an object", "chat_messages"))


@pytest.mark.parametrize(("name", "value"), [("chatgpt", conversation()), ("claude", CLAUDE)])
def test_zip_folder_and_file_give_the_same_items(read, put, tmp_path, name, value):
    loose = put("export/conversations.json", [value])
    archive = put("export.zip", zipped(data__conversations_json=[value], user_json={}))
    paths = [loose, tmp_path / "export", archive]
    assert [detect(path).name for path in paths] == [name] * 3
    keys = [[i.key for i in read(name, path)[0]] for path in paths]
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys[0])) == 3


def test_a_large_chatgpt_export_in_numbered_files_is_read_whole(read, put):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for n in range(2):
            archive.writestr(f"conversations-{n:03}.json", json.dumps([conversation(id=f"c{n}")]))
    items, _ = read("chatgpt", put("e.zip", raw.getvalue()))
    assert [i.session for i in items] == ["c0"] * 3 + ["c1"] * 3


@pytest.mark.parametrize("name", ["chatgpt", "claude"])
def test_an_export_that_cannot_be_read_is_one_clean_error(read, put, name):
    whole = json.dumps([conversation()])
    cases = {
        "cut.json": (whole[:300], "damaged or cut off"),
        "empty.json": ("", "empty"),
        "number.json": ("5", "a list of objects"),
        "deep.json": ("[" * 200_000, "cannot be read"),
        "latin.json": (b'[{"a": "\xe9"}]', "cannot be read"),
        "none.zip": (zipped(other_json=[]), "holds no conversations.json"),
        "cut.zip": (zipped(conversations_json=[conversation()])[:200], "cannot be read|not whole JSON"),
    }
    for file, (value, why) in cases.items():
        with pytest.raises(InvalidInput, match=why):
            read(name, put(file, value))
