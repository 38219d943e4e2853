"""Rare and frequent people: a question-answering bench for optimisers, and the small transformer that sits it.

Source: the heavy-tailed biographies of arXiv:2509.26030, at the size of one CPU core. The paper's templates are
not published; these are our own. A person is a pair of name tokens; a question is the name and the words of one
attribute; the answer is two tokens, of which the first is scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput
from mnemos.learn.muon import Muon, Targets, muon_groups

_ANSWER = 2
_NAMES, _VALUES = 32, 32
"""Tokens for either half of a name, and possible answers per attribute: chance is 1/32."""


@dataclass(frozen=True, slots=True)
class Biographies:
    """Every question once, N = people x attributes."""

    tokens: Tensor
    """[N, T] int64: padding, name, template, and the two tokens of the answer last."""
    group: Tensor
    """[N] int64: the person's group, 0 the most frequent."""
    frequency: Tensor
    """[N]: how often it is asked, ∝ 2^-group within groups of one size; sums to 1."""
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Learned:
    """First-token accuracies of a transformer, by group of people, at two moments."""

    reached: int | None
    """Steps until the head, the frequent half of the groups, was known to the level asked for; None if never."""
    at_level: tuple[float, ...]
    """At that moment, or at the last step if it never came."""
    at_steps: tuple[float, ...]
    """After a fixed number of steps."""


def biographies(people: int = 512, groups: int = 16, attributes: int = 6, seed: int = 0) -> Biographies:
    """Draw people, templates and answers.

    Args:
        people: split evenly into `groups`; a person of group g is asked about ∝ 2^-g.
        attributes: questions per person, each with a template of 2 to 4 tokens and answers of its own.

    Raises:
        InvalidInput: people that do not divide into groups, or more than there are names (1024).
    """
    if people < 1 or groups < 1 or attributes < 1 or people % groups or people > _NAMES**2:
        raise InvalidInput(f"{people} people, {groups} groups: take a multiple of the groups, {_NAMES**2} at most")
    draw = torch.Generator().manual_seed(seed)
    words = 1 + 2 * _NAMES  # 0 is padding, then first and last names, then templates, then answers
    values = words + 4 * attributes
    endings = values + _VALUES * attributes
    names = torch.randperm(_NAMES**2, generator=draw)[:people]
    name = torch.stack([1 + names // _NAMES, 1 + _NAMES + names % _NAMES], -1)
    lengths = torch.randint(2, 5, (attributes,), generator=draw)
    rows = []
    for attribute, length in enumerate(lengths.tolist()):
        template = words + 4 * attribute + torch.arange(length)
        first = values + _VALUES * attribute + torch.randint(_VALUES, (people, 1), generator=draw)
        second = endings + torch.randint(_VALUES, (people, 1), generator=draw)
        padding = torch.zeros(people, 4 - length, dtype=torch.long)
        rows.append(torch.cat([padding, name, template.expand(people, -1), first, second], -1))
    group = torch.arange(people) * groups // people
    frequency = torch.exp2(-group.double()).repeat(attributes)
    return Biographies(torch.cat(rows), group.repeat(attributes), frequency / frequency.sum(), endings + _VALUES)


class Transformer(nn.Module):
    """Pre-norm decoder with separate q, k, v, o and learned positions; RMS norm on q and k keeps logits bounded."""

    def __init__(self, vocabulary: int, length: int, dim: int = 64, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.positions = nn.Parameter(torch.randn(length, dim) * 0.02)
        self.blocks = nn.ModuleList(_Block(dim, heads) for _ in range(layers))
        self.norm = nn.RMSNorm(dim)
        self.head = nn.Linear(dim, vocabulary, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, 2, V] of the answer, from tokens [B, T] whose last is the answer's first."""
        x = self.embed(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x[:, -_ANSWER:]))
        return logits


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_ffn = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.norm_q, self.norm_k = nn.RMSNorm(dim // heads), nn.RMSNorm(dim // heads)
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.ffn = nn.Sequential(nn.Linear(dim, 4 * dim, bias=False), nn.GELU(), nn.Linear(4 * dim, dim, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_attention(x)
        q, k, v = (part(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(self.norm_q(q), self.norm_k(k), v, is_causal=True)
        x = x + self.o(mixed.transpose(1, 2).flatten(-2))
        out: Tensor = x + self.ffn(self.norm_ffn(x))
        return out


def component_bench(
    targets: Targets,
    data: Biographies,
    *,
    lr: float,
    level: float = 0.9,
    steps: int = 100,
    max_steps: int = 300,
    batch: int = 128,
    seed: int = 0,
) -> Learned:
    """Train a transformer with Muon on `targets` and AdamW on the rest, and test what it knows of each group.

    Args:
        lr: of both rules; Muon's updates are scaled to the size of Adam's.
        level: mean accuracy over the frequent half of the groups at which the first measurement is taken, tested
            every 10 steps. When group 0 alone is known, rare people have hardly been asked about yet.
        steps: the moment of the second. Training ends after both, or after max_steps.
        batch: questions per step, drawn by their frequency.
        seed: of weights and draws.

    Raises:
        InvalidInput: no steps, or max_steps below them.
    """
    if not 1 <= steps <= max_steps or batch < 1:
        raise InvalidInput(f"{steps} of {max_steps} steps in batches of {batch}: 1 <= steps <= max_steps, batch >= 1")
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Transformer(data.vocabulary, data.tokens.shape[1] - 1)
    optimiser = Muon(muon_groups(model, targets, lr=lr, adamw_lr=lr), scale="match_adam_rms")
    head = max(1, (int(data.group.max()) + 1) // 2)
    reached: int | None = None
    at_level: tuple[float, ...] = ()
    at_steps: tuple[float, ...] = ()
    for step in range(1, max_steps + 1):
        asked = data.tokens[torch.multinomial(data.frequency, batch, replacement=True, generator=draw)]
        optimiser.zero_grad()
        F.cross_entropy(model(asked[:, :-1]).flatten(0, 1), asked[:, -_ANSWER:].flatten()).backward()
        optimiser.step()
        if step % 10 == 0 or step in (steps, max_steps):
            accuracy = _accuracy(model, data)
            if reached is None:
                at_level = accuracy
                reached = step if sum(accuracy[:head]) >= level * head else None
            if step == steps:
                at_steps = accuracy
            if step >= steps and reached is not None:
                break
    return Learned(reached, at_level, at_steps)


@torch.no_grad()
def _accuracy(model: Transformer, data: Biographies) -> tuple[float, ...]:
    """First-token accuracy of each group."""
    right = (model(data.tokens[:, :-1])[:, 0].argmax(-1) == data.tokens[:, -_ANSWER]).double()
    return tuple((data.group.bincount(right) / data.group.bincount()).tolist())
