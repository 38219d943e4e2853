"""Training of Mem-alpha's write policy: roll out, reward, compare within the group.

Source: Mem-alpha (2025), sections 3.3 and 3.4. The network is `mnemos.text.recipes.mem_alpha.policy.MLPPolicy`; here
it has gradients. Rollouts of a batch go through their streams side by side, each on a memory of its own, by the
very tools and features that serve later.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput
from mnemos.learn.grpo import Batch, GRPOTrainer
from mnemos.text.recipes.mem_alpha.policy import ACTIONS, FEATURES, MLPPolicy, call_of, features
from mnemos.text.recipes.mem_alpha.rewards import BETA, GAMMA, Rewards, rewards
from mnemos.text.recipes.mem_alpha.statements import Chunk, Part, statements
from mnemos.text.recipes.mem_alpha.store import CoreSemanticEpisodicMemory, Outcome


@dataclass(frozen=True, slots=True)
class Instance:
    """One stream to remember, and what is asked about it."""

    chunks: tuple[Chunk, ...]
    questions: tuple[tuple[str, str], ...]
    """(question, right answer) at the end of the stream."""
    source: str = ""
    """Names the scorer of its answers, as in `rewards.SCORERS`."""


Reader = Callable[[CoreSemanticEpisodicMemory, str], str]
"""Answers a question from a memory; frozen and deterministic, or its noise drowns the comparison."""
Scorer = Callable[[str, str], float]
"""The worth in [0, 1] of an answer beside the right one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a policy is trained."""

    steps: int = 150
    instances: int = 8
    """Per step."""
    rollouts: int = 8
    """Per instance: the group."""
    hidden: int = 32
    lr: float = 1e-2
    epochs: int = 2
    kl: float = 0.03
    """Weight of the divergence from the first, nearly even policy: without it an action that does harm at first,
    such as an update of an empty memory, is given up before the statements that call for it are told apart."""
    beta: float = BETA
    gamma: float = GAMMA
    bounded: bool = True
    """Sizes as features that saturate; False to show why."""
    core_limit: int = 512


@dataclass(frozen=True, slots=True)
class Rollout:
    """One attempt at one instance."""

    memory: CoreSemanticEpisodicMemory
    log: tuple[tuple[Outcome, ...], ...]
    """The outcomes of each chunk."""
    decisions: tuple[tuple[int, NDArray[np.float64], int], ...]
    """(chunk, features [12], action) of every decision."""

    def rewards(self, instance: Instance, reader: Reader, scorer: Scorer) -> Rewards:
        """What it earns; a rollout without questions earns nothing for answers."""
        scores = [scorer(reader(self.memory, question), right) for question, right in instance.questions]
        return rewards(float(np.mean(scores)) if scores else 0.0, self.log, self.memory, instance.chunks)


class WritePolicy(nn.Module):
    """π(action | φ) = softmax(tanh(φ W1) W2), with gradients.

    Args:
        hidden: width.
        seed: of the initial weights.
    """

    def __init__(self, hidden: int = 32, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        w1 = torch.randn(len(FEATURES), hidden, generator=draw, dtype=torch.float64)
        w2 = torch.randn(hidden, len(ACTIONS), generator=draw, dtype=torch.float64)
        self.w1 = nn.Parameter(w1)
        # every action starts about equally likely: what is never tried is never learned
        self.w2 = nn.Parameter(0.1 * w2 / hidden**0.5)

    def forward(self, phi: Tensor) -> Tensor:
        """Log-probabilities [..., 5] of features [..., 12]."""
        logits: Tensor = torch.tanh(phi @ self.w1) @ self.w2
        return logits.log_softmax(-1)

    def frozen(self, draw: np.random.Generator | None = None) -> MLPPolicy:
        """The same policy without torch; greedy unless it is given something to draw with."""
        return MLPPolicy(self.w1.detach().numpy().copy(), self.w2.detach().numpy().copy(), draw)


def load_instances(path: str | Path) -> list[Instance]:
    """Instances from a JSONL file of {"chunks": [text], "questions": [{"question", "answer"}], "source"} rows, the
    shape of the sets that the paper trains on.

    Raises:
        InvalidInput: the file cannot be read, or a row has another shape; which one.
    """
    found: list[Instance] = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as why:
        raise InvalidInput(f"{path} cannot be read ({why}): give a JSONL file") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            chunks = tuple(Chunk(str(n), (Part(text, id=str(n)),)) for n, text in enumerate(row["chunks"]))
            questions = tuple((str(one["question"]), str(one["answer"])) for one in row["questions"])
            if not chunks or not all(isinstance(part.text, str) for chunk in chunks for part in chunk.parts):
                raise ValueError("chunks are no texts")
            found.append(Instance(chunks, questions, str(row.get("source", ""))))
        except (AttributeError, KeyError, TypeError, ValueError) as why:
            raise InvalidInput(f"{path}, line {number} is no instance ({type(why).__name__}: {why})") from None
    return found


def train(
    instances: Sequence[Instance],
    reader: Reader,
    scorer: Scorer,
    setting: Setting | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> WritePolicy:
    """A policy trained on `instances`, drawn without replacement until all were seen.

    Args:
        progress: called with the number of steps done and the mean score of the step's answers.

    Raises:
        InvalidInput: fewer instances than a step takes.
    """
    setting = setting or Setting()
    if len(instances) < setting.instances:
        raise InvalidInput(f"{len(instances)} instances, and a step takes {setting.instances}: give more")
    policy, draw = WritePolicy(setting.hidden, seed), np.random.default_rng(seed)
    first = WritePolicy(setting.hidden, seed)
    trainer = GRPOTrainer(policy.parameters(), lr=setting.lr, epochs=setting.epochs, kl=setting.kl)
    order: list[int] = []
    for step in range(setting.steps):
        if len(order) < setting.instances:
            order += draw.permutation(len(instances)).tolist()
        chosen, order = order[: setting.instances], order[setting.instances :]
        group = [instances[n] for n in chosen for _ in range(setting.rollouts)]
        done = roll_out(policy.frozen(draw), group, bounded=setting.bounded, core_limit=setting.core_limit)
        paid = [one.rewards(instance, reader, scorer) for one, instance in zip(done, group, strict=True)]
        phi, actions, batch = _batch(policy, first, done, paid, setting)
        trainer.step(lambda phi=phi, actions=actions: _taken(policy, phi, actions), batch)  # type: ignore[misc]
        if progress:
            progress(step + 1, float(np.mean([one.answers for one in paid])))
    return policy


def roll_out(
    policy: MLPPolicy, instances: Sequence[Instance], *, bounded: bool = True, core_limit: int = 512
) -> list[Rollout]:
    """One rollout per instance, decided side by side: one product of matrices for each round of statements."""
    memories = [CoreSemanticEpisodicMemory(core_limit) for _ in instances]
    logs: list[list[list[Outcome]]] = [[[] for _ in instance.chunks] for instance in instances]
    decisions: list[list[tuple[int, NDArray[np.float64], int]]] = [[] for _ in instances]
    read = {
        key: [(number, said) for number, chunk in enumerate(one.chunks) for _, said in statements(chunk)]
        for key, one in {id(instance): instance for instance in instances}.items()
    }
    streams = [read[id(one)] for one in instances]
    for place in range(max(map(len, streams), default=0)):
        active = [n for n, stream in enumerate(streams) if place < len(stream)]
        phi = np.stack([features(streams[n][place][1], memories[n], bounded) for n in active])
        logs_p = policy.logprobs(phi)
        for n, row, action in zip(active, phi, _choose(policy, logs_p), strict=True):
            number, said = streams[n][place]
            call = call_of(action, said, memories[n])
            if call is not None:
                logs[n][number].append(memories[n].apply(call, instances[n].chunks[number].id))
            decisions[n].append((number, row, action))
    return [
        Rollout(memory, tuple(map(tuple, log)), tuple(made))
        for memory, log, made in zip(memories, logs, decisions, strict=True)
    ]


def _choose(policy: MLPPolicy, logprobs: NDArray[np.float64]) -> list[int]:
    if policy.draw is None:
        return [int(one) for one in logprobs.argmax(-1)]
    below = np.exp(logprobs).cumsum(-1)
    return [int(one) for one in (below[:, :-1] < policy.draw.random((len(below), 1))).sum(-1)]


def _batch(
    policy: WritePolicy, first: WritePolicy, done: Sequence[Rollout], paid: Sequence[Rewards], setting: Setting
) -> tuple[Tensor, Tensor, Batch]:
    """The features [N, 12] and actions [N] of every decision, and the batch: one sample per chunk and rollout."""
    totals = [one.total(setting.beta, setting.gamma) for one in paid]
    starts = np.cumsum([0, *(len(total) for total in totals)])
    phi = torch.from_numpy(np.stack([row for one in done for _, row, _ in one.decisions]))
    actions = torch.tensor([action for one in done for _, _, action in one.decisions])
    sample = torch.tensor([starts[n] + chunk for n, one in enumerate(done) for chunk, _, _ in one.decisions])
    group = torch.tensor([n // setting.rollouts for n, total in enumerate(totals) for _ in total])
    with torch.no_grad():
        old, reference = _taken(policy, phi, actions), _taken(first, phi, actions)
    return phi, actions, Batch(torch.from_numpy(np.concatenate(totals)), group, old, sample, reference)


def _taken(policy: WritePolicy, phi: Tensor, actions: Tensor) -> Tensor:
    taken: Tensor = policy(phi).gather(-1, actions[:, None])[:, 0]
    return taken
