"""Titans: a neural memory that learns at test time, alone and in three compositions with attention.

M_t = mu_t M_{t-1} - theta_t grad |M(k_t; W) - v_t|^2,  W_t = alpha_t W_{t-1} + M_t,  o_t = M(q_t; W_t)

Structure: the weights of an MLP, or a matrix, and a momentum of the same size. Objective: squared error. Retention:
weight decay that depends on the token. Rule: gradient descent with momentum.

Source: Titans: Learning to Memorize at Test Time, 2025 (arXiv 2501.00663), sections 3 (memory) and 4 (compositions).
"""

from __future__ import annotations

from mnemos.core.catalogue import system
from mnemos.core.spec import Spec
from mnemos.state.memory import Memory
from mnemos.state.mixers.compose import MemoryAsContext, MemoryAsGate, MemoryAsLayer
from mnemos.state.mixers.neural_memory import MemoryMixer, NeuralMemory
from mnemos.state.objective import L2
from mnemos.state.retention import Decay, Retention
from mnemos.state.rule import GradientDescent, Momentum
from mnemos.state.structure import MLP, Matrix


def titans_memory(
    dim: int,
    heads: int,
    memory_depth: int,
    chunk: int,
    retention: Retention = Decay(),  # noqa: B008  (frozen)
    rule: GradientDescent | Momentum = Momentum(),  # noqa: B008
) -> NeuralMemory:
    """The long-term memory of Titans, without the projections around it.

    Args:
        dim: D; keys and values have D / heads channels.
        heads: H.
        memory_depth: matrices of the MLP; 1 is a plain matrix, whose chunk form is exact.
        chunk: tokens whose gradients share their weights, for memory_depth > 1. Other chunks are another memory.
        retention: the paper's, unless an ablation asks for another.
        rule: likewise.
    """
    deep = memory_depth > 1
    memory = Memory(
        MLP(memory_depth) if deep else Matrix(),
        L2(),
        retention,
        rule,
        heads=heads,
        key_dim=dim // heads,
        chunk=chunk if deep else 1,
    )
    # the gradient of a squared error is 2 r: a step of 1/2 on a unit key replaces its value
    return NeuralMemory(dim, memory, step_max=0.025 if deep else 1.0)


@system(
    "titans",
    title="Titans: MAC, MAG, MAL",
    paper="arXiv:2501.00663",
    year=2025,
    wing="state",
    choices=Spec(
        structure="the weights of an MLP (or a matrix) and a momentum of equal size",
        objective="squared error of the prediction",
        retention="weight decay that depends on the token",
        rule="gradient descent with momentum and step from the token",
    ),
    claim="On a stream whose mapping switches, decay lowers the memory's error by 20 % or more, momentum by a little",
)
class Titans(MemoryMixer):
    """The neural long-term memory as a layer of its own (LMM).

    Args:
        dim: D.
        heads: H, each with a memory of width D / H.
        memory_depth: matrices of the memory's MLP; 1 is a plain matrix.
        chunk: tokens whose gradients share their weights, for memory_depth > 1.

    Cost per token and head, d = D / H: O(d^2) for a matrix, about 16 d^2 + chunk d multiplications per pass otherwise.
    """

    def __init__(self, dim: int, heads: int = 4, memory_depth: int = 2, chunk: int = 64) -> None:
        memory = titans_memory(dim, heads, memory_depth, chunk)
        super().__init__(dim, memory, heads=heads, memory_depth=memory_depth, chunk=chunk)


class TitansMAC(MemoryAsContext):
    """Memory as context: each segment attends over itself and what the memory recalls for it.

    Args:
        segment: tokens that attend to one another; also the chunk of the memory.
        persistent: learned vectors that every segment sees.
    """

    def __init__(self, dim: int, heads: int = 4, memory_depth: int = 2, segment: int = 64, persistent: int = 4) -> None:
        memory = titans_memory(dim, heads, memory_depth, segment)
        super().__init__(dim, memory, heads=heads, segment=segment, persistent=persistent, memory_depth=memory_depth)


class TitansMAG(MemoryAsGate):
    """Memory as gate: sliding-window attention, times a gate made by the memory."""

    def __init__(
        self,
        dim: int,
        heads: int = 4,
        memory_depth: int = 2,
        chunk: int = 64,
        window: int = 64,
        persistent: int = 4,
    ) -> None:
        super().__init__(Titans(dim, heads, memory_depth, chunk), heads=heads, window=window, persistent=persistent)


class TitansMAL(MemoryAsLayer):
    """Memory as layer: sliding-window attention over what the memory gives out."""

    def __init__(
        self,
        dim: int,
        heads: int = 4,
        memory_depth: int = 2,
        chunk: int = 64,
        window: int = 64,
        persistent: int = 4,
    ) -> None:
        super().__init__(Titans(dim, heads, memory_depth, chunk), heads=heads, window=window, persistent=persistent)
