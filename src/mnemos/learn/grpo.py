"""Group relative policy optimisation: learn from how the attempts at one task compare, without a value network.

Source: DeepSeekMath (arXiv:2402.03300), section 4; as used by Mem-alpha (2025), section 3.4. A *sample* is what was
rewarded as one (a reply, a chunk of a rollout); a *decision* is what has a log-probability (a token, an action).
The advantage of a sample is its reward, standardised within its group, and every decision of it shares it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Batch:
    """S samples with N decisions, as they were drawn.

    Raises:
        InvalidInput: shapes that do not fit together, or a reward that is not finite.
    """

    rewards: Tensor
    """[S]"""
    group: Tensor
    """[S] int64: which group each sample is compared within."""
    old: Tensor
    """[N] log-probability of each decision under the policy that drew it."""
    sample: Tensor
    """[N] int64: which sample each decision is part of."""
    reference: Tensor | None = None
    """[N] log-probability under the policy that the new one shall stay near to."""

    def __post_init__(self) -> None:
        if self.rewards.ndim != 1 or self.rewards.shape != self.group.shape:
            raise InvalidInput(f"rewards {list(self.rewards.shape)} and groups {list(self.group.shape)}: both [S]")
        if self.old.ndim != 1 or self.old.shape != self.sample.shape:
            raise InvalidInput(f"log-probs {list(self.old.shape)} and samples {list(self.sample.shape)}: both [N]")
        if self.reference is not None and self.reference.shape != self.old.shape:
            raise InvalidInput(f"reference has shape {list(self.reference.shape)}: one log-prob per decision")
        if len(self.sample) and not 0 <= int(self.sample.min()) <= int(self.sample.max()) < len(self.rewards):
            raise InvalidInput(f"a decision is of a sample that is not there: they are 0 to {len(self.rewards) - 1}")
        if not bool(torch.isfinite(self.rewards).all()):
            raise InvalidInput("a reward is not finite: score every sample with a number")

    def advantages(self) -> Tensor:
        """[N] of each decision."""
        return advantages(self.rewards, self.group)[self.sample]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did."""

    loss: float
    """Of the first pass."""
    clipped: float
    """Share of decisions, in the last pass, whose ratio was clipped."""
    divergence: float
    """KL from the reference, mean over decisions of the last pass; 0 without one."""


class GRPOTrainer:
    """Improves any policy of which log-probabilities can be computed again.

    Args:
        parameters: of the policy.
        lr: of Adam.
        clip: ε: a ratio outside [1 - ε, 1 + ε] earns nothing more.
        kl: weight of the divergence from `Batch.reference`.
        epochs: passes over each batch.

    Raises:
        InvalidInput: a number out of range.
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, lr: float = 1e-2, clip: float = 0.2, kl: float = 0.0, epochs: int = 2
    ) -> None:
        if not (lr > 0 and 0 < clip < 1 and kl >= 0 and epochs >= 1):
            raise InvalidInput(f"lr {lr}, clip {clip}, kl {kl}, epochs {epochs}: lr > 0, 0 < clip < 1, kl ≥ 0, ≥ 1")
        self.clip, self.kl, self.epochs = clip, kl, epochs
        self.optimizer = torch.optim.Adam(parameters, lr)

    def step(self, logprobs: Callable[[], Tensor], batch: Batch) -> Step:
        """Learn from one batch.

        Args:
            logprobs: computes, with gradient, [N] log-probabilities of the batch's decisions under the policy as it is.

        Raises:
            InvalidInput: `logprobs` gives another number of decisions, or the KL has no reference.
        """
        if self.kl and batch.reference is None:
            raise InvalidInput("kl > 0 needs Batch.reference: the log-probs under the policy to stay near to")
        advantage, first = batch.advantages(), 0.0
        for epoch in range(self.epochs):
            new = logprobs()
            if new.shape != batch.old.shape:
                raise InvalidInput(f"logprobs() gives {list(new.shape)}, the batch holds {list(batch.old.shape)}")
            loss = clipped_loss(new, batch.old, advantage, self.clip)
            if self.kl and batch.reference is not None:
                loss = loss + self.kl * divergence(new, batch.reference).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            first = first if epoch else loss.item()
        ratio = (new.detach() - batch.old).exp()
        away = 0.0 if batch.reference is None else divergence(new.detach(), batch.reference).mean().item()
        return Step(first, ((ratio - 1).abs() > self.clip).float().mean().item(), away)


def advantages(rewards: Tensor, group: Tensor) -> Tensor:
    """[S] (r - mean) / (std + 1e-6) within each group; 0 in a group whose rewards are all the same.

    Args:
        rewards: [S] finite.
        group: [S] int64.
    """
    _, place = group.unique(return_inverse=True)
    sizes = place.bincount().to(rewards.dtype)
    mean = torch.zeros_like(sizes).index_add(0, place, rewards) / sizes
    off = rewards - mean[place]
    std = (torch.zeros_like(sizes).index_add(0, place, off.square()) / sizes).sqrt()
    scale = rewards.abs().max().clamp_min(1) * torch.finfo(rewards.dtype).eps * 8
    # what rounding leaves of equal rewards must not be blown up to a reward of its own
    return torch.where(std[place] > scale, off / (std[place] + 1e-6), torch.zeros_like(off))


def clipped_loss(new: Tensor, old: Tensor, advantage: Tensor, clip: float = 0.2) -> Tensor:
    """-mean min(ρ A, clip(ρ, 1 - ε, 1 + ε) A), ρ = exp(new - old); all [N]."""
    ratio = (new - old).exp()
    loss: Tensor = -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()
    return loss


def divergence(new: Tensor, reference: Tensor) -> Tensor:
    """[N] estimates of KL(new ‖ reference), never negative and of low variance: q/p - log(q/p) - 1."""
    log = reference - new
    return log.exp() - log - 1
