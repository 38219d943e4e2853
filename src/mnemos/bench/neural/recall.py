"""One small model and one trainer for every mixer and every recall task.

Embedding, a gated convolution of width 3, the mixer, tied output: two residual blocks without MLP. The convolution
gives every mixer a token together with the one before it, so that what is compared is the memory.

Source: Zoology (Arora et al., 2023), in the small size of the MQAR test.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnemos.bench.recall import RecallTask, Split
from mnemos.state.mixers.parts import ShortConv

VALIDATION = 1_000_000
"""Seeds of the training range from here on are for choosing learning rates, never trained on."""


@dataclass(frozen=True, slots=True)
class Training:
    """How a model is trained, the same for every mixer."""

    dim: int = 64
    heads: int = 1
    steps: int = 1000
    batch: int = 32
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    """Learning rates; the best on validation data is judged on test data."""
    decay: float = 0.1
    tested: int = 512
    seed: int = 0


class GatedConv(nn.Module):
    """y = conv(x) * (W x), width 3 (Zoology)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = ShortConv(dim, 3)
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] to the same."""
        y: Tensor = self.conv(x, self.conv.start(len(x), x))[0] * self.linear(x)
        return y


class RecallModel(nn.Module):
    """Token ids [B, L] to logits [B, L, vocab]."""

    def __init__(self, vocab: int, make: Callable[[], nn.Module], dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, dim)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.norms = nn.ModuleList(nn.RMSNorm(dim) for _ in range(3))
        self.conv = GatedConv(dim)
        self.mixer = make()

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of each position's target."""
        x = self.embed(tokens)
        x = x + self.conv(self.norms[0](x))
        x = x + self.mixer(self.norms[1](x))[0]
        return F.linear(self.norms[2](x), self.embed.weight)


def train_recall(
    task: RecallTask,
    make: Callable[[], nn.Module],
    training: Training,
    told: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Train at each learning rate, and judge the best.

    Args:
        task: what is to be recalled.
        make: a new mixer of the training's width.
        training: sizes and budget.
        told: (what, steps done, of how many), now and then.

    Returns:
        score on test data of the rate that was best on validation data, that rate, loss, parameters, state bytes after
        a sequence, and training tokens per second.
    """
    runs = []
    for rate in training.rates:
        model, loss, speed = _trained(task, make, training, rate, told)
        runs.append((score(model, task, training, VALIDATION, "train"), rate, model, loss, speed))
        if runs[-1][0] > 0.995:
            break  # no other rate can be told from this one
    validation, rate, model, loss, speed = max(runs, key=lambda run: run[0])
    with torch.no_grad():
        _, state = model.mixer(torch.zeros(1, task.length, training.dim))
    return {
        "score": round(score(model, task, training, training.seed, "test"), 4),
        "validation": round(validation, 4),
        "rate": rate,
        "loss": round(loss, 4),
        "parameters": sum(p.numel() for p in model.mixer.parameters()),
        "state bytes": state.nbytes(),
        "tokens/s": round(speed),
    }


@torch.no_grad()
def score(model: RecallModel, task: RecallTask, training: Training, seed: int, split: Split) -> float:
    """The task's own score of the model's predictions."""
    model.eval()
    found = []
    for part in range(max(1, training.tested // 128)):
        batch = task.batch(min(128, training.tested), seed + part, split)
        predictions = model(torch.from_numpy(batch.tokens)).argmax(-1).numpy()
        found.append(task.score(predictions, batch))
    return float(sum(found) / len(found))


def _trained(
    task: RecallTask,
    make: Callable[[], nn.Module],
    training: Training,
    rate: float,
    told: Callable[[str, int, int], None] | None,
) -> tuple[RecallModel, float, float]:
    torch.manual_seed(training.seed)
    model = RecallModel(task.vocab, make, training.dim)
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=training.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=training.steps + 1, pct_start=0.1)
    began, last, steps = time.perf_counter(), 0.0, 0
    for step in range(training.steps):
        batch = task.batch(training.batch, training.seed * training.steps + step, "train")
        model.train()
        logits = model(torch.from_numpy(batch.tokens))
        loss = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(batch.targets).flatten(), ignore_index=-100)
        auxiliary = getattr(model.mixer, "auxiliary", None)
        extra = auxiliary() if callable(auxiliary) else None
        optimiser.zero_grad()
        (loss if extra is None else loss + 0.01 * extra).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        last, steps = loss.item(), step + 1
        if told and step % 50 == 0:
            told(f"rate {rate}", step, training.steps)
        if steps % 250 == 0 and steps < training.steps and score(model, task, training, VALIDATION, "train") > 0.995:
            break
    speed = steps * training.batch * task.length / (time.perf_counter() - began)
    return model, last, speed
