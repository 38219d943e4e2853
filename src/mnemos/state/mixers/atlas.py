"""ATLAS: memories that fit a window of recent tokens instead of the last one, on lifted keys, with Muon.

    OmegaNet          W_t = alpha_t W_{t-1} - sum_{j<c} gamma_{t,j} grad |M(f_{t-j}; W) - v_{t-j}|^2,  f = phi(k)
    Atlas             P_t = mu_t P_{t-1} - the same sum,  W_t = alpha_t W_{t-1} + eta_t NS(P_t)
    SWLA              S_t = alpha_t S_{t-1} + sum_{j<c} gamma_{t,j} f_{t-j} v_{t-j}^T
    Dot               OmegaNet on a matrix with phi(q) . phi(k) = exp(q . k)
    DeepTransformer   the same without error correction: unnormalised softmax attention with decay

The paper prints three sign conventions and a minus before the value term; these descend the loss.
Source: ATLAS: Learning to Optimally Memorize the Context at Test Time, 2025 (arXiv 2505.23735), sections 3 to 5.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnemos.core.catalogue import system
from mnemos.core.spec import Spec
from mnemos.state.features import Polynomial
from mnemos.state.memory import Memory
from mnemos.state.mixers.base import Mixer, Parts
from mnemos.state.mixers.neural_memory import NeuralMemory
from mnemos.state.mixers.parts import GatedOutput, Projections, keep_biases, l2norm
from mnemos.state.objective import L2, Objective
from mnemos.state.objective import Dot as DotProduct
from mnemos.state.ops.kernel_delta import KernelState, kernel_delta
from mnemos.state.retention import Decay
from mnemos.state.rule import GradientDescent, Momentum, Rule
from mnemos.state.structure import MLP, GatedMLP, Matrix, Structure

OMEGA_STEP = 0.08
"""Of OmegaNet, over all tokens of a window. On plain keys five times as much had learned 0.14 of MQAR, this 0.96."""


class Lift(nn.Module):
    """q and k to features: a learned map to `width` channels per head, unit length, monomials, unit length.

    Args:
        heads: H.
        key_dim: K.
        width: channels whose products are taken; None keeps the K channels as they are.
        degree: of the monomials; 1 with width None is the identity.
    """

    def __init__(self, heads: int, key_dim: int, width: int | None, degree: int) -> None:
        super().__init__()
        self.narrow = nn.Parameter(torch.randn(heads, key_dim, width) * key_dim**-0.5) if width and degree > 1 else None
        self.polynomial = Polynomial(width or key_dim, degree) if degree > 1 else None
        self.features = self.polynomial.features if self.polynomial else key_dim

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, K] to [B, T, H, features] of unit length."""
        if self.polynomial is None:
            return x
        if self.narrow is not None:
            x = torch.einsum("bthk,hkw->bthw", x, self.narrow)
        return l2norm(self.polynomial(l2norm(x)))


class OmegaMixer(Mixer):
    """A memory on lifted keys. An MLP adds the unlifted key to its prediction: it learns v - k and answers o + q.

    The MLPs end in a LayerNorm, as those of MIRAS do: the paper normalises at chunk ends and does not say how, and
    without any norm a trained OmegaNet left the finite numbers within a thousand tokens of random bytes. With them come
    MIRAS' logistic gate and values of unit mean square, as in `MemoryMixer`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        structure: Structure,
        objective: Objective,
        rule: Rule,
        chunk: int,
        degree: int,
        width: int,
        step_max: float,
        **settings: object,
    ) -> None:
        super().__init__(dim, heads=heads, chunk=chunk, degree=degree, width=width, **settings)
        self.residual = isinstance(structure, MLP | GatedMLP)
        self.projections = Projections(dim, heads, dim // heads, dim // heads, unit_values=structure.norm)
        self.lift = Lift(heads, dim // heads, width, degree)
        memory = Memory(
            structure,
            objective,
            Decay(),
            rule,
            heads=heads,
            key_dim=self.lift.features,
            value_dim=dim // heads,
            chunk=chunk,
        )
        self.memory = NeuralMemory(dim, memory, step_max=step_max)
        self.output = GatedOutput(dim, heads, dim // heads, gate="sigmoid" if self.residual else "silu")

    def start(self, batch: int, like: Tensor) -> Parts:
        """The convolution's tail and the memory's state."""
        return {"conv": self.projections.start(batch, like), "memory": self.memory.start(batch, like)}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Write and read token by token, in chunks."""
        q, k, v, conv = self.projections(x, parts["conv"])
        target = v - k if self.residual else v
        o, memory = self.memory(x, self.lift(q), self.lift(k), target, parts["memory"])
        return self.output(o + q if self.residual else o, x), {"conv": conv, "memory": memory}


class OmegaNet(OmegaMixer):
    """The Omega rule by gradient descent on a two-layer MLP.

    Args:
        dim: D.
        heads: H.
        window: c, tokens that a step fits together; 1 is the online rule, and no OmegaNet any more.
        degree: p of the polynomial features; 1 takes keys as they are.
        width: channels of the key that are lifted: 16 of degree 2 make 153 features.
        chunk: tokens whose gradients share their weights.
    """

    def __init__(
        self, dim: int, heads: int = 4, window: int = 8, degree: int = 2, width: int = 16, chunk: int = 32
    ) -> None:
        # lifted keys are wide already: the hidden layer takes their width, plain keys four times theirs
        structure = MLP(expansion=1 if degree > 1 else 4, residual=False)
        rule = GradientDescent(window=window)
        super().__init__(dim, heads, structure, L2(), rule, chunk, degree, width, OMEGA_STEP / window, window=window)


@system(
    "atlas",
    title="ATLAS: OmegaNet, DeepTransformers, Dot",
    paper="arXiv:2505.23735",
    year=2025,
    wing="state",
    choices=Spec(
        structure="a two-layer MLP, or a matrix, on polynomial features of the key",
        objective="squared error over a window of recent tokens",
        retention="weight decay that depends on the token",
        rule="gradient descent (OmegaNet), or momentum orthogonalised by Newton-Schulz (Atlas)",
    ),
    claim="With one pass over random pairs, a window of many tokens recalls them better than online writes",
)
class Atlas(OmegaMixer):
    """The Omega rule with momentum, orthogonalised per token (Muon).

    Builds and orthogonalises each token's momentum: T 15 min(I, O)^2 max(I, O) multiplications per matrix, and
    chunk I O numbers at a time. Its default lift is narrower than OmegaNet's for that reason.

    Args:
        dim: D.
        heads: H.
        window: c, tokens that a step fits together.
        degree: p of the polynomial features; 1 takes keys as they are.
        width: channels of the key that are lifted.
        chunk: tokens whose gradients share their weights.
        gated: the gated MLP of ATLAS++.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 4,
        window: int = 8,
        degree: int = 2,
        width: int = 4,
        chunk: int = 16,
        gated: bool = False,
    ) -> None:
        expansion = 1 if degree > 1 else 4
        structure = GatedMLP(expansion, residual=False, norm=True) if gated else MLP(2, expansion, residual=False)
        rule = Momentum(window=window, orthogonalise=True)
        settings = {"window": window, "gated": gated}
        super().__init__(dim, heads, structure, L2(), rule, chunk, degree, width, 0.8 / window, **settings)


class SWLA(OmegaMixer):
    """Sliding-window linear attention: a Hebbian matrix that each token writes up to `window` times.

    Args:
        dim: D.
        heads: H.
        window: c.
        degree: p of the polynomial features; 1 takes keys as they are.
        width: channels of the key that are lifted.
    """

    def __init__(self, dim: int, heads: int = 4, window: int = 8, degree: int = 1, width: int = 16) -> None:
        rule = GradientDescent(window=window)
        super().__init__(dim, heads, Matrix(), DotProduct(), rule, 1, degree, width, 1.0, window=window)


class Dot(Mixer):
    """The Omega rule on infinitely many features: attention that corrects its own errors. Its state grows.

    Args:
        dim: D.
        heads: H.
        window: c, tokens that a step fits together.
    """

    correct = True

    def __init__(self, dim: int, heads: int = 4, window: int = 1) -> None:
        super().__init__(dim, heads=heads, window=window)
        self.heads, self.window = heads, window
        self.projections = Projections(dim, heads, dim // heads, dim // heads)
        self.gates = nn.Linear(dim, heads * (1 + window))
        nn.init.normal_(self.gates.weight, std=0.02)
        with torch.no_grad():
            self.gates.bias.copy_(F.pad(keep_biases(heads), (0, heads * window)))
        self.output = GatedOutput(dim, heads, dim // heads)

    def start(self, batch: int, like: Tensor) -> Parts:
        """No tokens yet."""
        none = like.new_zeros(batch, 0, self.heads, self.dim // self.heads)
        return {"conv": self.projections.start(batch, like), "k": none, "u": none, "v": none}

    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """Solve for what each token adds, given all before it."""
        q, k, v, conv = self.projections(x, parts["conv"])
        keep, *step = self.gates(x).chunk(1 + self.window, dim=-1)
        # unit keys: kappa(k, k) = e, and a sum of steps below 2 / e keeps the correction from overshooting
        beta = torch.stack([one.sigmoid() for one in step], dim=-1) * (0.7 / self.window if self.correct else 1.0)
        before = KernelState(parts["k"], parts["u"], parts["v"])
        o, _, after = kernel_delta(
            q, k, v, beta, g=F.logsigmoid(keep), correct=self.correct, initial_state=before, output_final_state=True
        )
        assert after is not None
        return self.output(o, x), {"conv": conv, **after._asdict()}


class DeepTransformer(Dot):
    """Linear attention on infinitely many features: unnormalised softmax attention with decay and write gates.

    Args:
        dim: D.
        heads: H.
        window: c; above 1 it is the window form, SWDT.
    """

    correct = False
