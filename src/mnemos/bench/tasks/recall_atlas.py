"""The recall atlas: N pairs go once into an untrained memory of fixed size, and are read back.

Keys are random unit vectors, values random. Every memory of the machine has one head of the same width; its constant
step is the best of a sweep on other pairs than those it is judged on. Where there is a theory, its line is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.bench.results import Result
from mnemos.bench.runner import Progress, TaskOptions, task
from mnemos.core.errors import InvalidInput
from mnemos.state.gates import Gates
from mnemos.state.memory import Memory
from mnemos.state.objective import L2, Dot, Huber, HuberMixture, Lp, Objective
from mnemos.state.retention import ElasticNet, KLSimplex, Lq, NoRetention, Retention
from mnemos.state.rule import ClosedForm, GradientDescent, Implicit, Momentum, NonParametric, Rule
from mnemos.state.structure import MLP, Matrix, Pairs, Structure

Choices = tuple[Structure, Objective, Retention, Rule]
MEMORIES: Mapping[str, Choices] = {
    "Hebb": (Matrix(), Dot(), NoRetention(), GradientDescent()),
    "delta rule": (Matrix(), L2(), NoRetention(), GradientDescent()),
    "Longhorn": (Matrix(), L2(), NoRetention(), Implicit()),
    "momentum": (Matrix(), L2(), NoRetention(), Momentum(momentum=0.5)),
    "window 8": (Matrix(), L2(), NoRetention(), GradientDescent(window=8)),
    "Huber": (Matrix(), Huber(), NoRetention(), GradientDescent()),
    "elastic net": (Matrix(), L2(), ElasticNet(), GradientDescent()),
    "Mesa": (Matrix(), L2(), NoRetention(), ClosedForm(ridge=1e-4)),
    "TTT-MLP": (MLP(2), L2(), NoRetention(), GradientDescent()),
    "Titans": (MLP(2), L2(), NoRetention(), Momentum(momentum=0.5)),
    "Moneta": (MLP(2), Lp(3.0, clip=1.0), Lq(4.0), GradientDescent()),
    "Yaad": (MLP(2), HuberMixture(), NoRetention(), GradientDescent()),
    "Memora": (MLP(2), L2(), KLSimplex(), GradientDescent()),
    "attention": (Pairs(), L2(), NoRetention(), NonParametric(scale=16.0)),
    "attention, last 16": (Pairs(), L2(), NoRetention(), NonParametric(scale=16.0, window=16)),
}
THEORY: Mapping[str, Callable[[int, int], float]] = {
    "theory of Hebb": lambda pairs, width: (1 + (pairs - 1) / width) ** -0.5,
    "theory of Mesa": lambda pairs, width: min(1.0, (width / pairs) ** 0.5),
    "theory of the window": lambda pairs, width: min(1.0, 16 / pairs),
}
"""Expected cosine: noise of N - 1 random keys (state.conditioning); a value's share in the span of K keys; share
of pairs in reach of 16."""
_STEPS = (0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class RecallAtlasOptions(TaskOptions):
    """Options of `recall_atlas`."""

    width: int = 32
    """K = V."""
    pairs: tuple[int, ...] = (4, 8, 16, 24, 32, 48, 64, 96, 128)
    draws: int = 4
    memories: tuple[str, ...] = tuple(MEMORIES)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.memories) - MEMORIES.keys()):
            raise InvalidInput(f"no memory {unknown[0]!r} in the atlas: there are {', '.join(MEMORIES)}")
        if not self.pairs or min(self.pairs) < 2 or self.width < 2 or self.draws < 1:
            raise InvalidInput("pairs and width start at 2, draws at 1")


@task(
    "recall_atlas",
    summary="Pairs stored once in untrained memories, and how much of them comes back",
    options=RecallAtlasOptions,
    plot=("pairs", "cosine"),
)
def recall_atlas(options: RecallAtlasOptions, progress: Progress) -> Result:
    """One row for each memory and number of pairs."""
    rows: list[dict[str, Any]] = []
    for name in options.memories:
        for pairs in options.pairs:
            progress(f"{name}, {pairs} pairs", len(rows), len(options.memories) * len(options.pairs))
            rows.append({"system": name, "pairs": pairs, **_recall(MEMORIES[name], pairs, options)})
    for name, expected in THEORY.items():
        rows += [{"system": name, "pairs": n, "cosine": round(expected(n, options.width), 4)} for n in options.pairs]
    largest = max(options.pairs)
    return Result(
        name="recall_atlas",
        measures={f"cosine at {largest}, {row['system']}": row["cosine"] for row in rows if row["pairs"] == largest},
        rows=rows,
        config={"width": options.width, "steps": list(_STEPS)},
        size={"pairs": largest, "draws": options.draws},
        seeds=[options.seed],
    )


@torch.no_grad()
def _recall(choices: Choices, pairs: int, options: RecallAtlasOptions) -> dict[str, float]:
    """Cosine to the true value and share of values told apart, at the step that was best on other pairs."""
    torch.manual_seed(options.seed)
    memory = Memory(*choices, key_dim=options.width)
    steps = _STEPS if isinstance(choices[3], GradientDescent | Momentum | Implicit) else (1.0,)
    tried, _, _ = _read_back(memory, steps, pairs, options, options.seed + 1000)
    best = int(tried.argmax())
    cosine, told_apart, nbytes = _read_back(memory, steps[best : best + 1], pairs, options, options.seed)
    return {
        "cosine": round(cosine.item(), 4),
        "nearest value": round(told_apart.item(), 4),
        "step": steps[best],
        "state bytes": nbytes,
    }


def _read_back(
    memory: Memory, steps: tuple[float, ...], pairs: int, options: RecallAtlasOptions, seed: int
) -> tuple[Tensor, Tensor, int]:
    """Mean cosine [steps], mean share of nearest values that are the right ones [steps], bytes of one state."""
    draw = np.random.default_rng(seed).standard_normal((2, options.draws, pairs, 1, options.width)).astype(np.float32)
    k, v = (torch.from_numpy(x).repeat(len(steps), 1, 1, 1) for x in draw)
    k = F.normalize(k, dim=-1)
    gates = None
    if len(steps) > 1 or isinstance(memory.rule, GradientDescent | Momentum | Implicit):
        step = torch.tensor(steps).repeat_interleave(options.draws)[:, None, None]
        window = getattr(memory.rule, "window", 1)
        step = step.expand(-1, pairs, 1)
        gates = Gates(step=step[..., None].expand(-1, -1, -1, window) if window > 1 else step)
    state = memory.write(memory.init(len(k)), k, v, gates)
    read = memory.read(state, k).nan_to_num(0.0, 0.0, 0.0)[:, :, 0]
    cosine = F.cosine_similarity(read, v[:, :, 0], dim=-1).mean(-1)
    alike = F.normalize(read, dim=-1) @ F.normalize(v[:, :, 0], dim=-1).mT
    right = (alike.argmax(-1) == torch.arange(pairs)).float().mean(-1)
    shape = (len(steps), options.draws)
    return cosine.view(shape).mean(1), right.view(shape).mean(1), state.nbytes() // len(k)
