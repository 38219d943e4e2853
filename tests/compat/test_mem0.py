"""`mnemos.compat.mem0`: scripts written for mem0 run as they are."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mnemos.compat import mem0
from mnemos.compat._mem0_filters import matches, split
from mnemos.core.errors import InvalidInput

README = """
from mem0 import Memory

memory = Memory.from_config(config)

def chat_with_memories(message: str, user_id: str = "default_user") -> str:
    relevant_memories = memory.search(query=message, user_id=user_id, limit=3)
    memories_str = "\\n".join(f"- {entry['memory']}" for entry in relevant_memories["results"])
    messages = [{"role": "system", "content": "You are a helpful AI."}, {"role": "user", "content": message}]
    assistant_response = f"I found:\\n{memories_str}"
    messages.append({"role": "assistant", "content": assistant_response})
    memory.add(messages, user_id=user_id)
    return assistant_response

first = chat_with_memories("I am vegetarian and allergic to walnuts.")
second = chat_with_memories("What am I allergic to, walnuts?")
everything = memory.get_all(user_id="default_user")
"""


def config(path: Path) -> dict[str, Any]:
    return {
        "vector_store": {"provider": "qdrant", "config": {"path": str(path), "collection_name": "x"}},
        "llm": {"provider": "openai", "config": {"model": "some-model", "temperature": 0.1}},
        "embedder": {"provider": "mnemos", "config": {"model": "none"}},
        "version": "v1.1",
        "something_new": True,
    }


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[mem0.Memory]:
    with mem0.Memory.from_config(config(tmp_path / "m.mnemos")) as opened:
        yield opened


def add(memory: mem0.Memory, text: str, **who: Any) -> str:
    (one,) = memory.add(text, **who)["results"]
    return str(one["id"])


def test_a_script_in_the_style_of_the_readme_runs_with_only_its_import_changed(tmp_path: Path) -> None:
    names: dict[str, Any] = {"config": config(tmp_path / "chat.mnemos")}
    exec(README.replace("from mem0 import", "from mnemos.compat.mem0 import"), names)
    names["memory"].close()
    assert "allergic to walnuts" in names["second"]
    texts = [entry["memory"] for entry in names["everything"]["results"]]
    assert "I am vegetarian and allergic to walnuts." in texts
    assert "You are a helpful AI." not in texts


def test_add_gives_one_result_per_message_and_leaves_the_system_out(memory: mem0.Memory) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "I love sci-fi.", "name": "ada"},
        {"role": "assistant", "content": "Noted!"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": [{"type": "text", "text": "Look at this."}, {"type": "image_url"}]},
    ]
    results = memory.add(messages, user_id="ada", metadata={"topic": "films"})["results"]
    assert [(r["memory"], r["event"], r["role"]) for r in results] == [
        ("I love sci-fi.", "ADD", "user"),
        ("Noted!", "ADD", "assistant"),
        ("Look at this.", "ADD", "user"),
    ]
    found = memory.get(results[0]["id"])
    assert found is not None
    assert found["actor_id"] == "ada"
    assert found["metadata"] == {"topic": "films"}


def test_search_results_have_mem0s_fields(memory: mem0.Memory) -> None:
    id = add(memory, "My name is Alex and I play tennis", user_id="alex", run_id="r1")
    (hit,) = memory.search("tennis", user_id="alex", explain=True)["results"]
    assert hit["id"] == id
    assert hit["hash"] == hashlib.md5(hit["memory"].encode(), usedforsecurity=False).hexdigest()
    assert (hit["user_id"], hit["agent_id"], hit["run_id"]) == ("alex", None, "r1")
    assert hit["created_at"].endswith("+00:00")
    assert hit["updated_at"] is None
    assert 0 <= hit["score"] <= 1
    assert hit["why"]
    assert {"id", "memory", "hash", "metadata", "score"} <= set(hit)


@pytest.mark.parametrize("call", ["add", "search", "get_all", "delete_all"])
def test_without_an_id_of_user_agent_or_run_nothing_is_done(memory: mem0.Memory, call: str) -> None:
    arguments = () if call in ("get_all", "delete_all") else ("some text",)
    with pytest.raises(InvalidInput, match="user_id"):
        getattr(memory, call)(*arguments)


def test_users_do_not_see_each_other(memory: mem0.Memory) -> None:
    mine = add(memory, "My garden code is 4711", user_id="ada")
    theirs = add(memory, "My garden code is 9999", user_id="bob")
    hits = memory.search("garden code", user_id="ada")["results"]
    assert [hit["id"] for hit in hits] == [mine]
    assert [one["id"] for one in memory.get_all(user_id="bob")["results"]] == [theirs]
    assert memory.search("garden code", user_id="nobody")["results"] == []


def test_a_search_by_user_alone_covers_all_their_agents_and_by_agent_alone_all_its_users(
    memory: mem0.Memory,
) -> None:
    a = add(memory, "The boat is blue", user_id="ada", agent_id="sailor")
    b = add(memory, "The boat is old", user_id="ada", agent_id="painter")
    c = add(memory, "The boat is fast", user_id="bob", agent_id="sailor")

    def ids(**who: str) -> set[str]:
        return {hit["id"] for hit in memory.search("boat", **who)["results"]}

    assert ids(user_id="ada") == {a, b}
    assert ids(agent_id="sailor") == {a, c}
    assert ids(user_id="ada", agent_id="sailor") == {a}


def test_run_id_narrows_to_its_session(memory: mem0.Memory) -> None:
    first = add(memory, "The train leaves at nine", user_id="ada", run_id="monday")
    add(memory, "The train leaves at ten", user_id="ada", run_id="tuesday")
    assert [h["id"] for h in memory.search("train", user_id="ada", run_id="monday")["results"]] == [first]
    assert [h["id"] for h in memory.search("train", run_id="monday")["results"]] == [first]


def test_ids_and_conditions_may_come_as_filters(memory: mem0.Memory) -> None:
    ids = [add(memory, f"Lunch number {n}", user_id="ada", metadata={"n": n}) for n in range(8)]
    add(memory, "Lunch number 7", user_id="bob", metadata={"n": 7})

    def found(conditions: dict[str, Any], **more: Any) -> set[str]:
        filters = {"user_id": "ada", **conditions}
        return {hit["id"] for hit in memory.search("lunch", filters=filters, **more)["results"]}

    assert found({"n": 3}) == {ids[3]}
    assert found({"n": {"gte": 6}}) == {ids[6], ids[7]}
    assert found({"OR": [{"n": 0}, {"n": {"in": [4, 5]}}]}) == {ids[0], ids[4], ids[5]}
    assert found({"n": 7}, top_k=1) == {ids[7]}, "others that rank higher must not hide it"
    everyone = memory.get_all(filters={"AND": [{"user_id": "ada"}, {"NOT": [{"n": {"lt": 7}}]}]})
    assert [one["id"] for one in everyone["results"]] == [ids[7]]


@pytest.mark.parametrize("filters", [{"n": {"approx": 1}}, {"OR": [{"user_id": "a"}]}, {"OR": 3}])
def test_a_filter_that_cannot_be_meant_is_refused(memory: mem0.Memory, filters: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        memory.search("x", filters={"user_id": "ada", **filters})


def test_a_missing_name_meets_no_condition_but_the_negative_ones() -> None:
    assert not matches({}, {"a": None})
    assert matches({"a": None}, {"a": None})
    assert not matches({}, {"a": "*"})
    assert matches({}, {"a": {"ne": 1}})
    assert not matches({"a": "text"}, {"a": {"gt": 1}})
    assert split({"AND": [{"user_id": "a"}, {"x": 1}]}) == ({"user_id": "a"}, {"AND": [{}, {"x": 1}]})


def test_threshold_and_limit_cut(memory: mem0.Memory) -> None:
    for n in range(5):
        add(memory, f"Coffee order {n}", user_id="ada")
    assert len(memory.search("coffee", user_id="ada", limit=2)["results"]) == 2
    assert memory.search("coffee", user_id="ada", threshold=1.01)["results"] == []
    assert len(memory.get_all(user_id="ada", limit=3)["results"]) == 3


def test_history_after_update_and_delete(memory: mem0.Memory) -> None:
    id = add(memory, "I live in Rome", user_id="ada")
    assert memory.update(id, "I live in Oslo") == {"message": "Memory updated successfully!"}
    shown = memory.get(id)
    assert shown is not None
    assert shown["memory"] == "I live in Oslo"
    assert shown["updated_at"] >= shown["created_at"]
    assert memory.delete(id) == {"message": "Memory deleted successfully!"}
    assert memory.get(id) is None
    assert memory.search("Oslo", user_id="ada")["results"] == []
    events = memory.history(id)
    assert [(e["event"], e["old_memory"], e["new_memory"], e["is_deleted"]) for e in events] == [
        ("ADD", None, "I live in Rome", False),
        ("UPDATE", "I live in Rome", "I live in Oslo", False),
        ("DELETE", "I live in Oslo", None, True),
    ]
    assert {e["memory_id"] for e in events} == {id}


def test_an_unknown_id_is_none_to_get_and_a_value_error_to_change(memory: mem0.Memory) -> None:
    assert memory.get("nothing") is None
    assert memory.history("nothing") == []
    with pytest.raises(ValueError, match="not found"):
        memory.update("nothing", "text")
    with pytest.raises(ValueError, match="not found"):
        memory.delete("nothing")


def test_delete_all_leaves_the_others(memory: mem0.Memory) -> None:
    add(memory, "One of ada", user_id="ada")
    kept_run = add(memory, "Two of ada", user_id="ada", run_id="kept")
    gone_run = add(memory, "Three of ada", user_id="ada", run_id="gone")
    bobs = add(memory, "One of bob", user_id="bob")
    memory.delete_all(user_id="ada", run_id="gone")
    assert memory.get(gone_run) is None
    assert memory.get(kept_run) is not None
    memory.delete_all(user_id="ada")
    assert memory.get_all(user_id="ada")["results"] == []
    assert [one["id"] for one in memory.get_all(user_id="bob")["results"]] == [bobs]


def test_reset_leaves_nothing_not_even_history(memory: mem0.Memory) -> None:
    id = add(memory, "A secret of some length", user_id="ada")
    deleted = add(memory, "Another secret of some length", user_id="bob")
    memory.delete(deleted)
    memory.reset()
    assert memory.history(id) == memory.history(deleted) == []
    assert memory.get_all(user_id="ada")["results"] == []
    for file in memory._memory._store.files():
        assert b"secret of some length" not in Path(file).read_bytes()


def test_an_expired_memory_is_not_found(memory: mem0.Memory) -> None:
    memory.add("The sale ends soon", user_id="ada", expiration_date="2001-01-01")
    memory.add("The sale goes on", user_id="ada", expiration_date="2999-01-01")
    assert [h["memory"] for h in memory.search("sale", user_id="ada")["results"]] == ["The sale goes on"]


@pytest.mark.parametrize("messages", [7, [1], [{"content": "no role"}], [{"role": "user", "content": 3}]])
def test_messages_of_another_form_are_refused(memory: mem0.Memory, messages: Any) -> None:
    with pytest.raises(InvalidInput):
        memory.add(messages, user_id="ada")
    assert memory.get_all(user_id="ada")["results"] == []


def test_a_folder_as_path_gets_a_file_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "qdrant"
    folder.mkdir()
    with mem0.Memory.from_config(config(folder)) as memory:
        add(memory, "hello there", user_id="ada")
    assert (folder / "memory.mnemos").is_file()


def test_the_asynchronous_one_does_the_same(tmp_path: Path) -> None:
    async def script() -> tuple[Any, Any]:
        memory = await mem0.AsyncMemory.from_config(config(tmp_path / "a.mnemos"))
        async with memory:
            await memory.add("I sail on Sundays", user_id="ada")
            return await memory.search("sail", user_id="ada"), await memory.get_all(user_id="bob")

    mine, theirs = asyncio.run(script())
    assert mine["results"][0]["memory"] == "I sail on Sundays"
    assert theirs["results"] == []
