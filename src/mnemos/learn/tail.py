"""Does an optimiser learn rare facts along with frequent ones? One linear layer that holds K facts tells.

Source: Muon Outperforms Adam in Tail-End Associative Memory Learning (arXiv:2509.26030), one-layer model.
f_W(k) = softmax(ẼᵀW e_k), L = -Σ p_k log f_W(k)_k, W_0 = 0. The measure is ϱ_ε: the smallest probability of a
correct answer at the moment when the largest reaches 1 - ε. It does not depend on the size of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput
from mnemos.learn.muon import Muon
from mnemos.learn.spectrum import isotropy
from mnemos.state.ops.newton_schulz import newton_schulz, orthogonalise

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "exact Muon": orthogonalise,
    "Muon": newton_schulz,
    "SignGD": torch.sign,
    "GD": torch.clone,
}
"""From the negative gradient to the update, without momentum; SignGD is Adam without averages."""
OPTIMISERS: dict[str, Callable[[float], MakeOptimizer]] = {
    "exact Muon": lambda lr: lambda weights: Muon(weights, lr, momentum=0.0, exact=True),
    "Muon": lambda lr: lambda weights: Muon(weights, lr),
    "Adam": lambda lr: lambda weights: torch.optim.Adam(weights, lr, betas=(0.9, 0.95)),
    "SGD": lambda lr: lambda weights: torch.optim.SGD(weights, lr, momentum=0.9),
}
"""From a learning rate to what `balance_bench` takes."""


class OneLayer(nn.Module):
    """K facts in one matrix: key e_k asks, and the answer ẽ_k should be the likeliest of K.

    Args:
        frequencies: [K], how often each fact is met; positive, sum 1. The model takes its dtype.
        embedding: keys and answers are orthonormal: unit vectors ("identity"), or random ones of their own ("random").
        seed: of the random ones.

    Raises:
        InvalidInput: fewer than two facts, or frequencies that are not positive or do not sum to 1.
    """

    def __init__(self, frequencies: Tensor, embedding: Literal["identity", "random"] = "random", seed: int = 0) -> None:
        super().__init__()
        if frequencies.ndim != 1 or len(frequencies) < 2 or not frequencies.is_floating_point():
            raise InvalidInput(f"frequencies have shape {list(frequencies.shape)}: give [K] floats, at least two")
        if not bool((frequencies > 0).all()) or abs(float(frequencies.sum()) - 1) > 1e-4:
            raise InvalidInput("frequencies must be positive and sum to 1: divide them by their sum")
        if embedding not in ("identity", "random"):
            raise InvalidInput(f"embedding {embedding!r}: identity or random")
        facts, dtype = len(frequencies), frequencies.dtype
        draw = torch.Generator().manual_seed(seed)
        keys, answers = (
            torch.eye(facts, dtype=dtype)
            if embedding == "identity"
            else torch.linalg.qr(torch.randn(facts, facts, generator=draw, dtype=dtype))[0]
            for _ in range(2)
        )
        self.frequencies: Tensor
        self.keys: Tensor
        self.answers: Tensor
        self.register_buffer("frequencies", frequencies.clone())
        self.register_buffer("keys", keys)
        self.register_buffer("answers", answers)
        self.weight = nn.Parameter(torch.zeros(facts, facts, dtype=dtype))

    def forward(self) -> Tensor:
        """Logits [K answers, K keys]."""
        logits: Tensor = self.answers.mT @ self.weight @ self.keys
        return logits

    def loss(self, frequencies: Tensor | None = None) -> Tensor:
        """Cross-entropy, weighted by `frequencies` [K] or the model's own."""
        weights = self.frequencies if frequencies is None else frequencies
        loss: Tensor = -(weights * self().log_softmax(0).diagonal()).sum()
        return loss

    @torch.no_grad()
    def gradient(self) -> Tensor:
        """∇L = -Ẽ(I - P) diag(p) Eᵀ in closed form, P the probabilities [K answers, K keys]."""
        error = self().softmax(0) - torch.eye(len(self.frequencies), dtype=self.weight.dtype)
        gradient: Tensor = self.answers @ (error * self.frequencies) @ self.keys.mT
        return gradient

    @torch.no_grad()
    def correct(self) -> Tensor:
        """Probability [K] of each fact's own answer."""
        probabilities: Tensor = self().softmax(0)
        return probabilities.diagonal()


@dataclass(frozen=True, slots=True)
class Balance:
    """How an optimiser stood when its best fact reached 1 - ε."""

    reached: bool
    """Whether it did within the steps given; if not, the figures are those of the last step."""
    steps: int
    worst: float
    """ϱ_ε, the smallest probability of a correct answer; 1 - ε is perfect balance."""
    rare: float
    """Mean probability of the correct answer over the rarest quarter of the facts."""
    entropy: float
    """H_norm of the weights: 1 for a flat spectrum."""


def zipf(facts: int, exponent: float = 1.0) -> Tensor:
    """Frequencies [K] ∝ rank^-exponent, float64."""
    weights = torch.arange(1, facts + 1, dtype=torch.float64) ** -exponent
    return weights / weights.sum()


def two_groups(facts: int, share: float = 0.2, mass: float = 0.8) -> Tensor:
    """Frequencies [K], float64: the first `share` of the facts hold `mass` of all occurrences.

    Raises:
        InvalidInput: a group is empty, or mass lies outside (0, 1).
    """
    frequent = round(share * facts)
    if not 0 < frequent < facts or not 0 < mass < 1:
        raise InvalidInput(f"share {share} of {facts} facts with mass {mass} leaves a group empty: take .2 and .8")
    return torch.tensor([mass / frequent] * frequent + [(1 - mass) / (facts - frequent)] * (facts - frequent)).double()


def balance_bench(
    optimizer: MakeOptimizer,
    model: OneLayer | None = None,
    *,
    epsilon: float = 0.1,
    max_steps: int = 3000,
    batch: int | None = None,
    seed: int = 0,
) -> Balance:
    """Train one layer until its best fact reaches 1 - ε, and look at the worst.

        balance_bench(lambda weights: Muon(weights, lr=0.1))

    The moment is found between two steps, on the line from one to the next, so that a large step gains nothing
    by overshooting. Cost: three products of K×K matrices forward per step, and what the optimiser takes.

    Args:
        optimizer: makes one for the list of parameters that it is given.
        model: 128 facts of Zipf frequency under random embeddings if None. Its weights start anew from zero.
        epsilon: in (0, 1).
        batch: facts drawn per step by their frequency; the exact expectation if None.
        seed: of the draws.

    Raises:
        InvalidInput: epsilon outside (0, 1), or no steps.
    """
    _check(epsilon, max_steps)
    model = OneLayer(zipf(128)) if model is None else model
    nn.init.zeros_(model.weight)
    stepper = optimizer([model.weight])
    draw = torch.Generator().manual_seed(seed)
    facts = len(model.frequencies)
    for step in range(1, max_steps + 1):
        before = model.weight.detach().clone()
        seen = None
        if batch is not None:
            drawn = torch.multinomial(model.frequencies, batch, replacement=True, generator=draw)
            seen = drawn.bincount(minlength=facts).to(before.dtype) / batch
        stepper.zero_grad()
        model.loss(seen).backward()
        stepper.step()
        if float(model.correct().max()) >= 1 - epsilon:
            _stop_between(model, before, model.weight.detach().clone(), epsilon)
            return _balance(model, True, step)
    return _balance(model, False, max_steps)


def one_step(rule: Callable[[Tensor], Tensor], model: OneLayer, *, epsilon: float = 0.1) -> Balance:
    """One step from zero along `rule(-∇L)`, as long as it takes for the best fact to reach 1 - ε.

    Args:
        rule: from the negative gradient to the update, such as one of `RULES`.

    Raises:
        InvalidInput: epsilon outside (0, 1).
    """
    _check(epsilon, 1)
    nn.init.zeros_(model.weight)
    update = rule(-model.gradient())
    size = 1.0 / float(update.abs().max())
    for _ in range(60):
        _place(model, size * update)
        if float(model.correct().max()) >= 1 - epsilon:
            _stop_between(model, torch.zeros_like(update), size * update, epsilon)
            return _balance(model, True, 1)
        size *= 2
    return _balance(model, False, 1)


def _stop_between(model: OneLayer, before: Tensor, after: Tensor, epsilon: float) -> None:
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        _place(model, torch.lerp(before, after, middle))
        if float(model.correct().max()) >= 1 - epsilon:
            high = middle
        else:
            low = middle
    _place(model, torch.lerp(before, after, high))


@torch.no_grad()
def _place(model: OneLayer, weight: Tensor) -> None:
    model.weight.copy_(weight)


def _balance(model: OneLayer, reached: bool, steps: int) -> Balance:
    correct = model.correct()
    rarest = model.frequencies.argsort()[: max(1, len(correct) // 4)]
    entropy = float(isotropy(model.weight).entropy) if bool(model.weight.any()) else 0.0
    return Balance(reached, steps, float(correct.min()), float(correct[rarest].mean()), entropy)


def _check(epsilon: float, steps: int) -> None:
    if not 0 < epsilon < 1 or steps < 1:
        raise InvalidInput(f"epsilon = {epsilon}, {steps} steps: epsilon lies in (0, 1), and one step is the least")
