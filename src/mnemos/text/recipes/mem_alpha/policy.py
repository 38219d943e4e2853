"""Who decides what is written: rules, a small trained network, or a language model, behind one method.

Source: Mem-alpha (2025), section 3.2, where the policy is a language model of four billion weights. The network
here makes the same decisions over candidate statements that were read off the text: twelve numbers about a
statement and the memory, one of five actions. `mnemos.bench.write_policy` trains it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import InvalidInput
from mnemos.text.recipes.mem_alpha.statements import Chunk, Statement, key_of, statements
from mnemos.text.recipes.mem_alpha.store import CoreSemanticEpisodicMemory, ToolCall, count_tokens

Floats = NDArray[np.float64]

ACTIONS = ("skip", "insert semantic", "insert episodic", "update semantic", "write core")
"""What can be done with one statement. `update semantic` replaces the entry about the same thing, or the nearest;
`write core` the line about the same thing, or adds one, and inserts an entry where the core is full."""
FEATURES = (
    "bias", "dated", "personal", "noise", "similarity", "same key", "there already", "core size", "semantic size",
    "episodic size", "fact cue", "length",
)  # fmt: skip
"""What the network looks at. Every one is bounded: with sizes that grow with the memory, a policy that was trained
on short streams fails on long ones."""
_FULL = 8
"""Entries at which a size counts as large."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of a policy."""

    call: ToolCall | None
    """None to let a statement go."""
    record: str = ""
    """The part of the chunk that it is about, where the policy says so."""
    logprob: float | None = None
    """Of this decision under the policy, where it has one."""
    by: str = "local"
    """Who decided, for provenance: "local", or the language model's name."""


class MemoryPolicy(Protocol):
    """Decides what is written."""

    def act(self, chunk: Chunk, memory: CoreSemanticEpisodicMemory) -> Iterator[Decision]:
        """Decisions about `chunk`, one at a time: whoever asks for the next has applied the one before.

        Raises:
            EndpointError: from a policy that asks a language model, before its first decision.
        """
        ...


class RulePolicy:
    """Decides by hand-written rules: the yardstick that a trained policy is held against."""

    def act(self, chunk: Chunk, memory: CoreSemanticEpisodicMemory) -> Iterator[Decision]:
        for part, said in statements(chunk):
            yield Decision(call_of(self.choose(said, memory), said, memory), part.id)

    def choose(self, said: Statement, memory: CoreSemanticEpisodicMemory) -> int:
        """The number of the action."""
        if said.noise > 0.75 or _there(said, memory):
            return ACTIONS.index("skip")
        if said.dated:
            return ACTIONS.index("insert episodic")
        if said.personal and said.key:
            return ACTIONS.index("write core")
        if said.key and memory.entries["semantic"].about(said.key):
            return ACTIONS.index("update semantic")
        return ACTIONS.index("insert semantic")


@dataclass(frozen=True)
class MLPPolicy:
    """Decides by a small network: π(action | φ) = softmax(tanh(φ W1) W2).

    Args:
        w1: [12, hidden].
        w2: [hidden, 5].
        draw: samples actions; the likeliest is taken if None.
    """

    w1: Floats
    w2: Floats
    draw: np.random.Generator | None = None

    def __post_init__(self) -> None:
        if self.w1.shape != (len(FEATURES), len(self.w2)) or self.w2.shape[1:] != (len(ACTIONS),):
            raise InvalidInput(
                f"weights of shape {self.w1.shape} and {self.w2.shape}: a policy has [{len(FEATURES)}, hidden] and "
                f"[hidden, {len(ACTIONS)}]"
            )

    def act(self, chunk: Chunk, memory: CoreSemanticEpisodicMemory) -> Iterator[Decision]:
        for part, said in statements(chunk):
            logs = self.logprobs(features(said, memory))
            chosen = int(logs.argmax() if self.draw is None else self.draw.choice(len(logs), p=np.exp(logs)))
            yield Decision(call_of(chosen, said, memory), part.id, float(logs[chosen]))

    def logprobs(self, phi: Floats) -> Floats:
        """[..., 5] of features [..., 12]."""
        logits = np.tanh(phi @ self.w1) @ self.w2
        top = logits.max(-1, keepdims=True)
        return np.asarray(logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True)))


@lru_cache(maxsize=1)
def trained() -> MLPPolicy:
    """The policy that is shipped, as `mnemos.bench.write_policy` made it."""
    data: dict[str, Any] = json.loads(resources.files(__package__).joinpath("policy.json").read_text("utf-8"))
    return MLPPolicy(np.array(data["w1"]), np.array(data["w2"]))


def features(said: Statement, memory: CoreSemanticEpisodicMemory, bounded: bool = True) -> Floats:
    """[12] `FEATURES` of a statement before a memory.

    Args:
        bounded: False leaves the three sizes as they grow, to show what comes of it.
    """
    lines = core_lines(memory)
    sizes = np.array([len(lines), len(memory.semantic), len(memory.episodic)]) / _FULL
    near = max((pairs[0][0] for held in memory.entries.values() if (pairs := held.nearest(said.text))), default=0.0)
    same = bool(said.key) and (
        bool(memory.entries["semantic"].about(said.key)) or any(key_of(line) == said.key for line in lines)
    )
    return np.array([
        1.0, said.dated, said.personal, said.noise, near, same, _there(said, memory),
        *(np.minimum(1.0, sizes) if bounded else sizes), bool(said.key), min(2.0, said.length / 10),
    ])  # fmt: skip


def call_of(action: int, said: Statement, memory: CoreSemanticEpisodicMemory) -> ToolCall | None:
    """The call that carries out action number `action`; None for a skip."""
    name = ACTIONS[action]
    if name == "insert semantic":
        return ToolCall("insert", "semantic", said.text)
    if name == "insert episodic":
        return ToolCall("insert", "episodic", said.event)
    if name == "update semantic":
        held = memory.entries["semantic"]
        near = held.about(said.key) or next((id for _, id in held.nearest(said.text)), "")
        return ToolCall("update", "semantic", said.text, near)
    if name == "write core":
        text = _with_line(memory, said)
        full = count_tokens(text) > memory.core_limit
        return ToolCall("insert", "semantic", said.text) if full else ToolCall("update", "core", text)
    return None


def core_lines(memory: CoreSemanticEpisodicMemory) -> list[str]:
    """The lines of the core text."""
    return memory.core.split("\n") if memory.core else []


def _with_line(memory: CoreSemanticEpisodicMemory, said: Statement) -> str:
    """The core text with the statement in the place of the line about the same thing, or below the others."""
    lines = core_lines(memory)
    for number, line in enumerate(lines):
        if line == said.text or (said.key and key_of(line) == said.key):
            return "\n".join([*lines[:number], said.text, *lines[number + 1 :]])
    return "\n".join([*lines, said.text])


def _there(said: Statement, memory: CoreSemanticEpisodicMemory) -> bool:
    return (
        said.text in memory.entries["semantic"] or said.event in memory.entries["episodic"]
        or said.text in core_lines(memory)
    )  # fmt: skip
