"""Forgetting pays when the world switches, momentum adds a little: the ablation of Titans on its linear memory.

Pairs (k, A k + noise) stream by; with probability 1/48 per step A is drawn anew, and a flag that only the gates see
says so. The memory reads with the next key and is judged by the next value. Four memories with the same gates are
trained to the same budget: with and without decay, with and without momentum. The same four as whole layers then
learn noisy recall and to find a needle, which is reported beside it.

Source: Titans, 2025 (arXiv 2501.00663), ablation: perplexity 27.01, without decay 29.04, without momentum 28.98.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mnemos.bench.neural.recall import Training, train_recall
from mnemos.bench.recall import recall_task
from mnemos.bench.results import Finding, Result
from mnemos.bench.runner import Progress
from mnemos.state.mixers.neural_memory import MemoryMixer
from mnemos.state.mixers.titans import titans_memory
from mnemos.state.ops.momentum_delta_rule import momentum_delta_rule
from mnemos.state.retention import Decay, NoRetention
from mnemos.state.rule import GradientDescent, Momentum

SYSTEM = "titans"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is streamed and trained."""

    width: int = 8
    tokens: int = 192
    switch: float = 1 / 48
    noise: float = 0.1
    batch: int = 16
    steps: int = 150
    rate: float = 0.05
    streams: int = 128
    """Fresh ones, for the test."""
    seeds: tuple[int, ...] = (0, 1, 2)
    layer_steps: int = 600
    layer_rates: tuple[float, ...] = (3e-3, 1e-2)
    layer_seeds: tuple[int, ...] = (0, 1)


FULL = Size()
SMOKE = Size(tokens=48, steps=3, streams=8, seeds=(0,), layer_steps=1, layer_rates=(3e-3,), layer_seeds=(0,))
VARIANTS = {"neither": (False, False), "momentum": (False, True), "decay": (True, False), "both": (True, True)}
"""Name to (decay, momentum)."""
TASKS = ("noisy_recall", "needle")
"""What the whole layer is tried on."""


class GatedMemory(nn.Module):
    """A matrix memory whose step, decay and momentum are logistic in the flag."""

    def __init__(self, decay: bool, momentum: bool) -> None:
        super().__init__()
        self.decay, self.momentum = decay, momentum
        self.weight = nn.Parameter(torch.zeros(3))
        self.bias = nn.Parameter(torch.tensor([-2.0, 4.0, -1.0]))

    def gates(self, flag: Tensor) -> Tensor:
        """Logits of step, keep and momentum [3, ...] for a flag [...]."""
        return (flag[..., None] * self.weight + self.bias).movedim(-1, 0)

    def forward(self, k: Tensor, v: Tensor, flag: Tensor) -> Tensor:
        """Mean squared error of the value read for each next key; k, v [B, T, d], flag [B, T]."""
        step, keep, momentum = (gate[..., None] for gate in self.gates(flag))
        nothing = torch.zeros_like(step)
        unit = nn.functional.normalize(k, dim=-1)[:, :, None]
        read, _ = momentum_delta_rule(
            unit.roll(-1, 1),
            unit,
            v[:, :, None],
            nn.functional.logsigmoid(keep) if self.decay else nothing,
            nn.functional.logsigmoid(momentum) if self.momentum else nothing - torch.inf,
            step.sigmoid(),
            scale=1.0,
        )
        return (read[:, :-1, 0] - v[:, 1:]).square().mean()


def streams(size: Size, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keys and values [count, T, d] and the flag [count, T]; values of variance near 1."""
    draw = np.random.default_rng(seed)
    keys = draw.standard_normal((count, size.tokens, size.width))
    keys *= np.sqrt(size.width) / np.linalg.norm(keys, axis=-1, keepdims=True)
    flag = draw.random((count, size.tokens)) < size.switch
    flag[:, 0] = False
    maps = draw.standard_normal((count, size.tokens, size.width, size.width)) / np.sqrt(size.width)
    last = np.maximum.accumulate(np.where(flag, np.arange(size.tokens), 0), axis=1)
    chosen = np.take_along_axis(maps, last[..., None, None], axis=1)
    values = np.einsum("btij,btj->bti", chosen, keys) + size.noise * draw.standard_normal(keys.shape)
    return tuple(torch.from_numpy(x.astype(np.float32)) for x in (keys, values, flag))  # type: ignore[return-value]


def run(progress: Progress, size: Size = FULL) -> Result:
    """The four memories, on the same streams for each seed."""
    rows: list[dict[str, Any]] = []
    for seed in size.seeds:
        for name, parts in VARIANTS.items():
            progress(f"{name}, seed {seed}", len(rows), len(size.seeds) * len(VARIANTS))
            memory = _trained(GatedMemory(*parts), size, seed)
            with torch.no_grad():
                error = memory(*streams(size, size.streams, 2**31 + seed)).item()
                step, keep, momentum = memory.gates(torch.tensor([0.0, 1.0])).sigmoid().tolist()
            row = {"system": name, "seed": seed, "error": error, "step": step[0], "step at a switch": step[1]}
            if parts[0]:
                row |= {"keep": keep[0], "keep at a switch": keep[1]}
            if parts[1]:
                row |= {"momentum": momentum[0], "momentum at a switch": momentum[1]}
            rows.append(row)
    layers = _layers(progress, size)
    mean = {name: float(np.mean([row["error"] for row in rows if row["system"] == name])) for name in VARIANTS}
    gain = 1 - mean["decay"] / mean["neither"]
    return Result(
        name=SYSTEM,
        measures={f"error, {name}": value for name, value in mean.items()} | {"gain of decay": gain} | _scores(layers),
        rows=rows + layers,
        config=asdict(size),
        size={"streams": size.streams * len(size.seeds), "tokens": size.tokens},
        seeds=list(size.seeds),
        claim=Finding(
            statement="on a stream that switches, decay lowers the test error by at least 20 %, "
            "and momentum on top of it costs at most .003",
            paper="perplexity 27.01; without decay 29.04, without momentum 28.98",
            ours=f"error {mean['both']:.3f} with both, {mean['decay']:.3f} with decay",
            baseline=f"error {mean['neither']:.3f} with neither, {mean['momentum']:.3f} with momentum",
            verdict="holds" if gain >= 0.2 and mean["both"] <= mean["decay"] + 0.003 else "fails",
        ),
    )


def titans_layer(dim: int, heads: int, decay: bool, momentum: bool) -> MemoryMixer:
    """The long-term memory as a layer, its memory a matrix; with neither it is TTT's."""
    memory = titans_memory(
        dim, heads, 1, 1, Decay() if decay else NoRetention(), Momentum() if momentum else GradientDescent()
    )
    return MemoryMixer(dim, memory, heads=heads)


def _layers(progress: Progress, size: Size) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    total = len(TASKS) * len(VARIANTS) * len(size.layer_seeds)
    for task in TASKS:
        for seed in size.layer_seeds:
            training = Training(heads=4, steps=size.layer_steps, batch=16, rates=size.layer_rates, seed=seed)
            for name, (decay, momentum) in VARIANTS.items():
                progress(f"{task}, {name}, seed {seed}", len(rows), total)
                make = partial(titans_layer, training.dim, training.heads, decay, momentum)
                row = train_recall(recall_task(task), make, training)
                rows.append({"system": name, "task": task, "seed": seed} | row)
    return rows


def _scores(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {
        f"{task}, {name}": float(np.mean([r["score"] for r in rows if (r["system"], r["task"]) == (name, task)]))
        for task in TASKS
        for name in VARIANTS
    }


def _trained(memory: GatedMemory, size: Size, seed: int) -> GatedMemory:
    optimiser = torch.optim.Adam(memory.parameters(), size.rate)
    for step in range(size.steps):
        optimiser.zero_grad()
        memory(*streams(size, size.batch, seed * 10_000 + step)).backward()
        optimiser.step()
    return memory
