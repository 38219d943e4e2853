"""The memory of Mem-alpha and its tools: an algebra, one outcome per call, and rewards that follow from the log."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput
from mnemos.text.recipes.mem_alpha.rewards import (
    SCORERS,
    belongs,
    boxed,
    compression,
    content,
    keywords,
    match,
    parts,
    rewards,
    tool_success,
)
from mnemos.text.recipes.mem_alpha.statements import Chunk, Part
from mnemos.text.recipes.mem_alpha.store import (
    CUT,
    CoreSemanticEpisodicMemory,
    Entries,
    Outcome,
    ToolCall,
    count_tokens,
    tool_schemas,
)

WORDS = ["red fox", "Dana's budget is 42.", "Dana's budget is now 57.", "a b c", "", "  ", "On 3 May 2024 it rained."]
IDS = ["", "no such id"]


def filled() -> CoreSemanticEpisodicMemory:
    memory = CoreSemanticEpisodicMemory()
    memory.apply(ToolCall("update", "core", "I am Ada."))
    memory.apply(ToolCall("insert", "semantic", "Dana's budget is 42."), "one")
    memory.apply(ToolCall("insert", "episodic", "2024-05-03: it rained"), "one")
    return memory


def calls() -> st.SearchStrategy[ToolCall]:
    return st.builds(
        ToolCall,
        st.sampled_from(["insert", "update", "delete", "search", "drop table"]),
        st.sampled_from(["core", "semantic", "episodic", "procedural", ""]),
        st.sampled_from(WORDS),
        st.sampled_from([*IDS, *filled().semantic, *filled().episodic]),
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(calls(), max_size=12))
def test_every_call_has_one_outcome_and_one_that_fails_changes_nothing(made: list[ToolCall]) -> None:
    memory = filled()
    for call in made:
        before = memory.as_dict()
        outcome = memory.apply(call, "two")
        assert outcome.call == call
        assert outcome.ok != bool(outcome.why)
        if not outcome.ok:
            assert memory.as_dict() == before
    rebuilt = CoreSemanticEpisodicMemory()
    rebuilt.core = memory.core
    for kind, held in memory.entries.items():
        for id, text in held.texts.items():
            rebuilt.entries[kind].put(id, text)
        for query in ("budget fox", "rained Dana's"):  # lists that follow every change equal lists made anew
            one, two = held.bm25(query), rebuilt.entries[kind].bm25(query)
            assert [id for _, id in one] == [id for _, id in two]
            assert [score for score, _ in one] == pytest.approx([score for score, _ in two])
            assert held.nearest(query, 3) == rebuilt.entries[kind].nearest(query, 3)
        assert held.about("dana's budget") == rebuilt.entries[kind].about("dana's budget")


@settings(max_examples=30, deadline=None)
@given(st.lists(calls(), max_size=10))
def test_the_log_of_calls_alone_gives_the_same_memory_and_tool_success(made: list[ToolCall]) -> None:
    one, two = filled(), filled()
    first, second = one.apply_all(made, "two"), two.apply_all([o.call for o in one.apply_all([])] + made, "two")
    assert first == second
    assert one == two
    assert tool_success(first) == (sum(o.ok for o in first) / len(first) if first else 0.0)


@pytest.mark.parametrize("kind", ["semantic", "episodic"])
def test_insert_then_delete_restores_the_memory(kind: str) -> None:
    memory = filled()
    before = memory.as_dict()
    made = memory.apply(ToolCall("insert", kind, "Nils bought a boat."), "two")
    assert made.ok
    assert memory.as_dict() != before
    assert memory.apply(ToolCall("delete", kind, id=made.id)).ok
    assert memory.as_dict() == before


@pytest.mark.parametrize("kind", ["core", "semantic"])
def test_the_last_of_two_updates_counts(kind: str) -> None:
    one, two = filled(), filled()
    id = next(iter(one.semantic)) if kind == "semantic" else ""
    one.apply_all([ToolCall("update", kind, "x", id), ToolCall("update", kind, "y", id)])
    two.apply_all([ToolCall("update", kind, "y", id)])
    assert one == two


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (ToolCall("insert", "semantic", "Dana's budget is 42."), "skipped"),
        (ToolCall("insert", "core", "x"), "not inserted"),
        (ToolCall("update", "semantic", "x", "beef"), "no semantic entry"),
        (ToolCall("delete", "episodic", "", "beef"), "no episodic entry"),
        (ToolCall("delete", "core"), "cannot delete"),
        (ToolCall("search", "semantic", "x"), "no tool"),
        (ToolCall("insert", "semantic", "word " * 5000), "tokens"),
    ],
)
def test_what_cannot_be_done_says_why(call: ToolCall, why: str) -> None:
    outcome = filled().apply(call)
    assert not outcome.ok
    assert why in outcome.why


def test_a_core_that_is_too_long_is_cut_and_says_so() -> None:
    memory = CoreSemanticEpisodicMemory(core_limit=5)
    assert memory.apply(ToolCall("update", "core", "one two three four five six")).ok
    assert memory.core == "one two three four five" + CUT
    memory.apply(ToolCall("update", "core", "one two three four five"))
    assert CUT not in memory.core


def test_ids_do_not_collide_where_four_hex_digits_do() -> None:
    memory = CoreSemanticEpisodicMemory()
    made = [memory.apply(ToolCall("insert", "semantic", f"fact {n}"), str(n % 7)) for n in range(3000)]
    assert len({one.id for one in made}) == 3000
    assert len({one.id[:4] for one in made}) < 3000
    id = made[0].id
    memory.apply(ToolCall("update", "semantic", "changed", id))
    again = memory.apply(ToolCall("insert", "semantic", "fact 0"), "0")  # the same text by the same chunk
    assert again.ok
    assert again.id != id


def test_search_finds_by_words_and_gives_twenty_at_most() -> None:
    memory = CoreSemanticEpisodicMemory()
    for n in range(30):
        memory.apply(ToolCall("insert", "semantic", f"the cat number {n}"))
    memory.apply(ToolCall("insert", "semantic", "a dog"))
    found = memory.search("semantic", "CAT 7")
    assert len(found) == 20
    assert found[0][1] == "the cat number 7"
    assert [text for _, text in memory.search("semantic", "dogs dog")] == ["a dog"]
    assert memory.search("episodic", "cat") == []
    with pytest.raises(InvalidInput, match="core"):
        memory.search("core", "cat")
    with pytest.raises(InvalidInput, match="bm25 or dense"):
        memory.search("semantic", "cat", "magic")


def test_search_by_meaning_is_by_meaning_and_embeds_each_text_once() -> None:
    seen: list[str] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        seen.extend(texts)
        angles = np.array([len(text) for text in texts]) / 20
        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)

    memory = CoreSemanticEpisodicMemory(embed=embed)
    for text in ("four", "sixsix", "eighteight", "tententen!"):
        memory.apply(ToolCall("insert", "semantic", text))
    assert [text for _, text in memory.search("semantic", "xxxxxx", "dense")][:1] == ["sixsix"]
    assert memory.search("episodic", "x", "dense") == []
    memory.apply(ToolCall("delete", "semantic", id=next(iter(memory.semantic))))
    assert "four" not in [text for _, text in memory.search("semantic", "yyyy", "dense")]
    assert seen.count("sixsix") == 1
    with pytest.raises(InvalidInput, match="embed="):
        filled().search("semantic", "x", "dense")


def test_nearest_is_the_cosine_of_content_words_and_older_first_among_equals() -> None:
    held = Entries()
    for n, text in enumerate(["red fox", "blue fox", "the fox is red and blue", "whale"]):
        held.put(str(n), text)
    assert held.nearest("fox", 4) == [
        (pytest.approx(2**-0.5), "0"), (pytest.approx(2**-0.5), "1"), (pytest.approx(3**-0.5), "2"),
    ]  # fmt: skip
    assert held.nearest("zebra") == []


@pytest.mark.parametrize("arguments", ["{", "[1]", "null", '"x"', {"content": 5}, '{"memory_type": ["core"]}', None, 7])
def test_what_a_model_calls_never_raises_and_fails_when_it_is_applied(arguments: object) -> None:
    memory = filled()
    before = memory.as_dict()
    for name in ("memory_insert", "memory_delete", "rm -rf", ""):
        assert not memory.apply(ToolCall.from_function(name, arguments)).ok  # type: ignore[arg-type]
    assert memory.as_dict() == before


def test_the_tools_are_schemas_whose_calls_come_back() -> None:
    by_name = {one["function"]["name"]: one["function"]["parameters"] for one in tool_schemas()}
    assert list(by_name) == ["memory_insert", "memory_update", "memory_delete"]
    assert by_name["memory_insert"]["properties"]["memory_type"]["enum"] == ["semantic", "episodic"]
    assert "memory_id" not in by_name["memory_update"]["required"]  # the core has none
    assert tool_schemas(search=True)[-1]["function"]["name"] == "memory_search"
    said = json.dumps({"memory_type": "semantic", "content": "The sky is blue."})
    assert filled().apply(ToolCall.from_function("memory_insert", said)).ok


# -- rewards ---------------------------------------------------------------------------------

CHUNKS = (Chunk("1", (Part("Dana's budget is 42."),)), Chunk("2", (Part("It rained all day long."),)))


def test_compression_is_one_for_nothing_zero_for_a_copy_and_below_for_more() -> None:
    memory = CoreSemanticEpisodicMemory()
    assert compression(memory, CHUNKS) == 1
    for chunk in CHUNKS:
        memory.apply(ToolCall("insert", "semantic", chunk.text))
    assert compression(memory, CHUNKS) == pytest.approx(0)
    memory.apply(ToolCall("update", "core", "something more"))
    assert compression(memory, CHUNKS) == pytest.approx(-2 / sum(count_tokens(c.text) for c in CHUNKS))
    with pytest.raises(InvalidInput, match="empty"):
        compression(memory, [Chunk("1", (Part(""),))])


def test_the_reward_is_the_papers_sum_shared_and_by_chunk() -> None:
    memory = CoreSemanticEpisodicMemory()
    good = memory.apply(ToolCall("insert", "semantic", "Dana's budget is 42."))
    bad = memory.apply(ToolCall("insert", "semantic", "On 3 May 2024 it rained."))
    failed = memory.apply(ToolCall("delete", "semantic", id="none"))
    found = rewards(0.5, [[good, bad, failed], []], memory, CHUNKS)
    assert found.tools.tolist() == [pytest.approx(2 / 3), 0]
    assert found.content.tolist() == [0.5, 0]  # a delete writes nothing
    total = found.total(beta=0.2, gamma=0.3)
    assert total.tolist() == [
        pytest.approx(0.5 + 2 / 3 + 0.2 * found.compression + 0.3 * 0.5), pytest.approx(0.5 + 0.2 * found.compression),
    ]  # fmt: skip
    with pytest.raises(InvalidInput, match="1 lists of outcomes for 2 chunks"):
        rewards(0, [[]], memory, CHUNKS)


@pytest.mark.parametrize(
    ("kind", "text", "right"),
    [
        ("core", "My favourite drink is tea.", True),
        ("core", "Dana's budget is 42.", False),
        ("core", "My favourite drink is tea.\nDana's budget is 42.", False),
        ("core", "...", False),
        ("semantic", "Dana's budget is 42.", True),
        ("semantic", "2024-05-03: it rained in Porto", False),
        ("semantic", "Haha yeah, okay!", False),
        ("episodic", "2024-05-03: it rained in Porto", True),
        ("episodic", "Dana visited the harbour on 3 May 2024.", True),
        ("episodic", "Dana's budget is 42.", False),
    ],
)
def test_what_belongs_where(kind: str, text: str, right: bool) -> None:
    assert belongs(ToolCall("insert", kind, text)) is right
    assert content([Outcome(ToolCall("insert", kind, text), True)], belongs) == float(right)


def test_scorers_of_the_sources() -> None:
    assert match("It was Porto, I think", "porto") == 1
    assert match("Portofino", "porto") == 0
    assert parts("tea and rye bread", "Tea; coffee; rye bread; ") == pytest.approx(2 / 3)
    assert keywords("the whale sank", "whale, ship") == 0.5
    assert boxed(r"so \boxed{Methods}", "methods") == 1
    assert boxed(r"\boxed{a} or \boxed{b}", "a") == 0
    assert boxed("METHODS", "methods") == 1
    assert all(scorer("anything", "") == 0 for name, scorer in SCORERS.items() if scorer is not boxed)
