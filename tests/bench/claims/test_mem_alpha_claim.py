from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnemos.bench.claims.mem_alpha import (
    ARMS,
    CORE_LIMIT,
    FULL,
    SMOKE,
    fixed_policies,
    judge,
    obey,
    read,
    run,
    stream,
    streams,
)
from mnemos.bench.runner import silent
from mnemos.learn.write_policy import roll_out
from mnemos.text.recipes.mem_alpha.policy import RulePolicy, trained
from mnemos.text.recipes.mem_alpha.store import CoreSemanticEpisodicMemory, ToolCall


def test_the_claim_runs_at_smoke_size_with_every_arm_on_both_lengths() -> None:
    result = run(silent, SMOKE)
    assert {(row["system"], row["stream"]) for row in result.rows} == {
        (name, where) for name in (*ARMS, *fixed_policies()) for where in ("6 chunks", "8 chunks")
    }
    assert result.claim is not None


def test_a_stream_asks_for_what_is_so_now_and_what_is_asked_was_said() -> None:
    some = stream(np.random.default_rng(0), 40)
    lines = [part.text for chunk in some.chunks for part in chunk.parts]
    assert [len(chunk.parts) for chunk in some.chunks] == [6] * 40
    for question, answer in some.questions:
        if "'s" in question:
            last = [line for line in lines if line.startswith(f"{question} is")][-1]
            assert last.endswith(f" {answer}.")
    assert any(" now " in line for line in lines)


def test_the_shares_of_the_kinds_are_those_of_the_paper_study() -> None:
    lines = [p.text for n in range(60) for c in stream(np.random.default_rng(n)).chunks for p in c.parts]
    told = [line for line in lines if "'s " in line and " is " in line]
    assert np.mean([line.startswith("On ") for line in lines]) == pytest.approx(0.17, abs=0.04)
    assert np.mean([line.startswith("My ") for line in lines]) == pytest.approx(0.12, abs=0.04)
    assert 0.4 < len(told) / len(lines) < 0.58


def test_the_reader_takes_the_oldest_entry_so_that_stale_copies_hurt() -> None:
    memory = CoreSemanticEpisodicMemory()
    for text in ("Dana's budget is 42.", "Dana's budget is now 57.", "My favourite drink is tea."):
        memory.apply(ToolCall("insert", "semantic", text))
    assert read(memory, "Dana's budget") == "42"
    assert read(memory, "My favourite drink") == ""  # preferences are looked for in the core
    assert read(memory, "Emil's rank") == ""
    memory.apply(ToolCall("update", "core", "Dana's budget is now 57.\nMy favourite drink is tea."))
    assert read(memory, "Dana's budget") == "57"
    assert read(memory, "My favourite drink") == "tea"
    memory.apply(ToolCall("insert", "episodic", "2024-05-03: On 3 May 2024 Dana sold the tower."))
    assert read(memory, "Dana sold the tower") == "2024-05-03"


def test_rules_answer_everything_and_inserting_everything_at_most_two_fifths() -> None:
    _, tests, long = streams(replace(FULL, pool=1, long_tests=1))
    fixed = fixed_policies()
    assert judge(fixed["rules by hand"](tests[:16]), tests[:16])["accuracy"] == 1
    assert judge(fixed["insert everything"](tests), tests)["accuracy"] <= 0.4
    assert judge([obey(RulePolicy(), long[0])], long[:1])["accuracy"] == 1


def test_the_shipped_policy_answers_095_also_on_streams_13_times_longer() -> None:
    _, tests, long = streams(replace(FULL, pool=1, long_tests=1))
    assert judge(roll_out(trained(), tests[:24], core_limit=CORE_LIMIT), tests[:24])["accuracy"] >= 0.95
    assert judge(roll_out(trained(), long[:1], core_limit=CORE_LIMIT), long[:1])["accuracy"] >= 0.95
