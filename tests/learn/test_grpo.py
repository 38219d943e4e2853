"""GRPO: advantages that compare within a group, the clipped loss, and a bandit that is learned."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.learn.grpo import Batch, GRPOTrainer, advantages, clipped_loss, divergence


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12), st.lists(st.floats(-1, 1), min_size=2, max_size=12))
def test_advantages_of_a_group_sum_to_zero_and_have_unit_deviation(one: list[float], two: list[float]) -> None:
    rewards = torch.tensor([*one, *two], dtype=torch.float64)
    group = torch.tensor([7] * len(one) + [3] * len(two))
    found = advantages(rewards, group)
    for number in (7, 3):
        mine, before = found[group == number], rewards[group == number]
        assert abs(float(mine.sum())) < 1e-6
        if float(before.std(correction=0)) > 1e-2:
            assert float(mine.std(correction=0)) == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_group_with_equal_rewards_gives_no_gradient(dtype: torch.dtype) -> None:
    rewards = torch.tensor([0.1 + 0.2] * 7, dtype=dtype)  # a sum that rounds
    new = torch.zeros(7, dtype=dtype, requires_grad=True)
    clipped_loss(new, new.detach(), advantages(rewards, torch.zeros(7, dtype=torch.long))).backward()
    assert new.grad is not None
    assert not new.grad.any()


def test_from_the_same_parameters_the_gradient_is_that_of_reinforce_with_the_groups_baseline() -> None:
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    x = torch.randn(40, 6, generator=draw, dtype=torch.float64)
    action = torch.randint(4, (40,), generator=draw)
    sample = torch.arange(40) // 4
    group = torch.arange(10) // 5
    rewards = torch.randn(10, generator=draw, dtype=torch.float64)

    def logprobs() -> Tensor:
        return (x @ weight).log_softmax(-1).gather(-1, action[:, None])[:, 0]

    new = logprobs()
    batch = Batch(rewards, group, new.detach(), sample)
    torch.testing.assert_close((new - batch.old).exp(), torch.ones_like(new))
    (grpo,) = torch.autograd.grad(clipped_loss(new, batch.old, batch.advantages()), weight)
    (reinforce,) = torch.autograd.grad(-(logprobs() * batch.advantages()).mean(), weight)
    torch.testing.assert_close(grpo, reinforce, rtol=1e-5, atol=1e-10)


def test_a_ratio_beyond_the_clip_earns_nothing_more_and_one_that_hurts_is_still_corrected() -> None:
    old = torch.zeros(4)
    new = torch.tensor([0.5, -0.5, 0.5, -0.5], requires_grad=True)
    clipped_loss(new, old, torch.tensor([1.0, -1.0, -1.0, 1.0])).backward()
    assert new.grad is not None
    assert (new.grad != 0).tolist() == [False, False, True, True]


def test_the_divergence_is_zero_for_the_same_policy_and_never_negative() -> None:
    new = torch.linspace(-5, 0, 50)
    assert not divergence(new, new).any()
    assert bool((divergence(new, new.flip(0)) >= 0).all())


def bandit(trainer: GRPOTrainer, logits: Tensor, steps: int, arm: int = 2) -> float:
    draw = torch.Generator().manual_seed(3)
    for _ in range(steps):
        drawn = torch.multinomial(logits.detach().softmax(-1), 8, replacement=True, generator=draw)
        old = logits.detach().log_softmax(-1)[drawn]
        batch = Batch((drawn == arm).float(), torch.zeros(8, dtype=torch.long), old, torch.arange(8), old)
        trainer.step(lambda drawn=drawn: logits.log_softmax(-1)[drawn], batch)  # type: ignore[misc]
    return float(logits.detach().softmax(-1)[arm])


def test_a_single_rewarded_action_reaches_probability_095_in_200_updates() -> None:
    logits = torch.zeros(5, requires_grad=True)
    assert bandit(GRPOTrainer([logits], lr=5e-2, epochs=1), logits, 200) >= 0.95


def test_a_penalty_on_leaving_the_reference_holds_the_policy_back() -> None:
    start, held, free = torch.zeros(5), torch.zeros(5, requires_grad=True), torch.zeros(5, requires_grad=True)
    for logits, kl in ((held, 5.0), (free, 0.0)):
        trainer = GRPOTrainer([logits], lr=2e-2, kl=kl)
        drawn = torch.tensor([0, 1, 2, 2])
        at_first = start.log_softmax(-1)[drawn]
        rewards = (drawn == 2).float()
        batch = Batch(rewards, torch.zeros(4, dtype=torch.long), at_first, torch.arange(4), at_first)
        for _ in range(20):
            step = trainer.step(lambda logits=logits, drawn=drawn: logits.log_softmax(-1)[drawn], batch)  # type: ignore[misc]
        assert step.divergence >= 0
    assert float(held.detach().softmax(-1)[2]) < float(free.detach().softmax(-1)[2])


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Batch(torch.tensor([float("nan")]), torch.tensor([0]), torch.zeros(1), torch.tensor([0])), "finite"),
        (lambda: Batch(torch.zeros(2), torch.zeros(1).long(), torch.zeros(1), torch.tensor([0])), "both"),
        (lambda: Batch(torch.zeros(1), torch.tensor([0]), torch.zeros(1), torch.tensor([1])), "not there"),
        (lambda: Batch(torch.zeros(1), torch.tensor([0]), torch.zeros(1), torch.tensor([0, 0])), "both"),
        (lambda: GRPOTrainer([torch.zeros(1, requires_grad=True)], clip=1.5), "clip"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(made: object, says: str) -> None:
    assert callable(made)
    with pytest.raises(InvalidInput, match=says):
        made()


def test_a_penalty_without_a_reference_is_an_error() -> None:
    trainer = GRPOTrainer([torch.zeros(1, requires_grad=True)], kl=0.1)
    batch = Batch(torch.zeros(1), torch.tensor([0]), torch.zeros(1), torch.tensor([0]))
    with pytest.raises(InvalidInput, match="reference"):
        trainer.step(lambda: torch.zeros(1, requires_grad=True), batch)
