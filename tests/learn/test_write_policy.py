"""Training of the write policy: rollouts are what the tools say, and the four rewards teach."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mnemos.core.errors import InvalidInput
from mnemos.learn.write_policy import Instance, Setting, WritePolicy, load_instances, roll_out, train
from mnemos.text.recipes.mem_alpha.policy import ACTIONS
from mnemos.text.recipes.mem_alpha.rewards import match, rewards
from mnemos.text.recipes.mem_alpha.statements import Chunk, Part
from mnemos.text.recipes.mem_alpha.store import CoreSemanticEpisodicMemory

TELLS = ("Dana's budget is 42.", "Haha yeah, okay!", "On 3 May 2024 it rained.", "My favourite drink is tea.")


def instance(n: int) -> Instance:
    chunks = tuple(Chunk(str(c), tuple(Part(text) for text in TELLS[: n + 1])) for c in range(2))
    return Instance(chunks, (("budget", "42"),))


def reader(memory: CoreSemanticEpisodicMemory, question: str) -> str:
    return " ".join(memory.texts())


def test_the_network_and_its_copy_without_torch_agree() -> None:
    policy = WritePolicy(seed=3)
    phi = np.random.default_rng(0).standard_normal((7, 12))
    np.testing.assert_allclose(policy(torch.from_numpy(phi)).detach().numpy(), policy.frozen().logprobs(phi))


def test_it_starts_about_even_so_that_everything_is_tried() -> None:
    phi = torch.from_numpy(np.abs(np.random.default_rng(0).standard_normal((50, 12))))
    assert float(WritePolicy(seed=1)(phi).detach().exp().min()) > 0.1


def test_side_by_side_or_alone_a_greedy_rollout_is_what_the_policy_does_by_itself() -> None:
    policy = WritePolicy(seed=5).frozen()
    group = [instance(n) for n in (0, 3, 1)]  # of different lengths
    for one, some in zip(roll_out(policy, group), group, strict=True):
        memory = CoreSemanticEpisodicMemory()
        for chunk in some.chunks:
            for decision in policy.act(chunk, memory):
                if decision.call is not None:
                    memory.apply(decision.call, chunk.id)
        assert one.memory == memory
        assert len(one.decisions) == sum(len(chunk.parts) for chunk in some.chunks)


def test_the_log_of_a_rollout_alone_gives_its_memory_and_its_rewards() -> None:
    some = instance(3)
    (one,) = roll_out(WritePolicy(seed=2).frozen(np.random.default_rng(4)), [some])
    memory = CoreSemanticEpisodicMemory()
    log = [
        memory.apply_all([o.call for o in outcomes], chunk.id)
        for outcomes, chunk in zip(one.log, some.chunks, strict=True)
    ]
    assert memory == one.memory
    paid, again = one.rewards(some, reader, match), rewards(match(reader(memory, ""), "42"), log, memory, some.chunks)
    assert paid.total().tolist() == again.total().tolist()


def test_one_rewarded_action_is_learned() -> None:
    """Where nothing but a fact can be asked for, facts are kept and small talk is let go."""
    pool = [
        Instance((Chunk("1", (Part(f"Dana's budget is {n}."), Part("Haha yeah, okay!"))),), (("budget", str(n)),))
        for n in range(10, 26)
    ]
    setting = Setting(steps=40, instances=4, rollouts=6, kl=0.0)
    policy = train(pool, reader, match, setting, seed=0)
    (said,) = roll_out(policy.frozen(), pool[:1])
    fact, talk = (ACTIONS[action] for _, _, action in said.decisions)
    assert fact in ("insert semantic", "write core")
    assert talk == "skip"


def test_the_same_seed_trains_the_same_policy() -> None:
    pool = [instance(n % 4) for n in range(4)]
    one, two = (train(pool, reader, match, Setting(steps=2, instances=2, rollouts=2), seed=7) for _ in range(2))
    assert torch.equal(one.w1, two.w1)
    assert torch.equal(one.w2, two.w2)


def test_instances_are_read_from_rows_and_other_shapes_are_named(tmp_path: Path) -> None:
    row = {"chunks": ["It rained."], "questions": [{"question": "What?", "answer": "rain"}], "source": "squad"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n\n")
    (one,) = load_instances(tmp_path / "a.jsonl")
    assert one.chunks[0].text == "It rained."
    assert (one.questions, one.source) == ((("What?", "rain"),), "squad")
    for bad in ("[]", "{}", "nonsense", '{"chunks": [5], "questions": []}', '{"chunks": [], "questions": []}'):
        (tmp_path / "b.jsonl").write_text(json.dumps(row) + f"\n{bad}\n")
        with pytest.raises(InvalidInput, match="line 2"):
            load_instances(tmp_path / "b.jsonl")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_instances(tmp_path / "none")


def test_too_few_instances_are_refused() -> None:
    with pytest.raises(InvalidInput, match="1 instances, and a step takes 8"):
        train([instance(0)], reader, match)
