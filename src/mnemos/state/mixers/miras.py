"""The three models of MIRAS: Moneta (a sharp loss), Yaad (blind to outliers), Memora (weights that stay on a simplex).

The memory of all three is a two-layer MLP per head, M(z) = z + LN(gelu(z W_1) W_2), written by gradient descent:

    Moneta   A_t = alpha_t A_{t-1} - eta_t grad |M(k) - v|_3^3,  W = A / |A|_4^2
    Yaad     W_t = alpha_t W_{t-1} - eta_t (grad |r|^2 where |r| <= delta_t, else delta_t grad |r|_1)
    Memora   A_t = alpha_t A_{t-1} - eta_t grad |M(k) - v|^2,    W = softmax of A over each unit's incoming weights

Source: It's All Connected (MIRAS), 2025 (arXiv 2504.13173), section 5.3. The paper's gates are per channel; these are
per head, as the dual form of a chunk needs.
"""

from __future__ import annotations

from torch import nn

from mnemos.core.catalogue import system
from mnemos.core.spec import Spec
from mnemos.state.memory import Memory
from mnemos.state.mixers.neural_memory import MemoryMixer, NeuralMemory
from mnemos.state.objective import L2, HuberMixture, Lp, Objective
from mnemos.state.retention import Decay, KLSimplex, Lq, Retention
from mnemos.state.rule import GradientDescent
from mnemos.state.structure import MLP


class _Miras(MemoryMixer):
    """What the three share: everything but objective and retention."""

    def __init__(
        self, dim: int, heads: int, chunk: int, objective: Objective, retention: Retention, step_max: float
    ) -> None:
        memory = Memory(MLP(2), objective, retention, GradientDescent(), heads=heads, key_dim=dim // heads, chunk=chunk)
        super().__init__(dim, NeuralMemory(dim, memory, step_max=step_max), heads=heads, chunk=chunk)


class Moneta(_Miras):
    """A loss with p = 3 and weights of fixed l4 size: sharp, and never exploding.

    Args:
        dim: D.
        heads: H, each with a memory of width D / H.
        chunk: tokens whose gradients share their weights; the norm is taken once per chunk.
    """

    def __init__(self, dim: int, heads: int = 4, chunk: int = 16) -> None:
        # beyond an error of 1 the loss goes on as a straight line: r^2 of an outlier would throw the memory out
        super().__init__(dim, heads, chunk, Lp(3.0, clip=1.0), Lq(4.0), step_max=0.03)


@system(
    "miras",
    title="MIRAS: Moneta, Yaad, Memora",
    paper="arXiv:2504.13173",
    year=2025,
    wing="state",
    choices=Spec(
        structure="the weights of a two-layer MLP",
        objective="l3 (Moneta), Huber mixture (Yaad), squared error (Memora)",
        retention="lq norm (Moneta), weight decay (Yaad), KL on the simplex (Memora)",
        rule="gradient descent",
    ),
    claim="With outliers among the values, robust biases keep the error 20 times or more below that of squared error",
)
class Yaad(_Miras):
    """Errors beyond a threshold that the token sets pull with bounded force.

    Args:
        dim: D.
        heads: H, each with a memory of width D / H.
        chunk: tokens whose gradients share their weights.
    """

    def __init__(self, dim: int, heads: int = 4, chunk: int = 16) -> None:
        # a steep sign makes each write overshoot: at kappa 10 the gradient through a sequence grows a thousandfold.
        # The threshold starts at an error of 1 per channel: were it lower, every token would pull by its sign alone
        objective = HuberMixture(delta=(dim // heads) ** 0.5, kappa=1.0)
        super().__init__(dim, heads, chunk, objective, Decay(), step_max=0.05)


class Memora(_Miras):
    """Weights of each unit sum to one, whatever is written.

    Builds each token's weights, so that it costs the memory's size per token: the dearest of the three.

    Args:
        dim: D.
        heads: H, each with a memory of width D / H.
        chunk: tokens whose gradients share their weights.
    """

    def __init__(self, dim: int, heads: int = 4, chunk: int = 16) -> None:
        super().__init__(dim, heads, chunk, L2(), KLSimplex(), step_max=0.2)
        # logits of unit variance: smaller ones make all units nearly equal, and the LayerNorm magnifies rounding
        for weight in self.memory.memory.weights:
            nn.init.normal_(weight)
