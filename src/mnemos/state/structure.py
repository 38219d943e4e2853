"""Structures: what holds the trace. A small network whose matrices are written at test time, or the pairs themselves.

A structure names the shapes of its adapted matrices and says how they make a prediction. It never touches the
matrices: `linear(number, h)` applies one, so that the same code serves the weights of a chunk's start, the weights of
every token, or their rank-one form. What no write changes (activation, LayerNorm with its learned gain, residual)
lies inside `forward`.

Axes: B batch, H heads, T tokens, K and V widths of keys and values, I and O in and out of one matrix.
Source: MIRAS, section 3 (memory architecture); the gated network is ATLAS, section 5.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.gradient_memory import Linear, TwoMatrices

EPS = 1e-5
"""Of the LayerNorm inside a network, as in `torch.nn.LayerNorm`."""


@dataclass(frozen=True)
class Matrix:
    """M(k) = k W: the state of every linear recurrent model. Holds at most K independent pairs."""

    norm: ClassVar[bool] = False
    lifting: ClassVar[int] = 0

    def shapes(self, key_dim: int, value_dim: int) -> list[tuple[int, int]]:
        """(I, O) of each adapted matrix."""
        return [(key_dim, value_dim)]

    def forward(self, linear: Linear, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """Prediction [B, H, T, V] for x [B, H, T, K]; gain [H, 1, V] or None for ones."""
        return linear(0, x)


@dataclass(frozen=True)
class Vector:
    """M(k) = w: one slot that answers every key with the same value, such as a running mean of the values."""

    norm: ClassVar[bool] = False
    lifting: ClassVar[int] = 0

    def shapes(self, key_dim: int, value_dim: int) -> list[tuple[int, int]]:
        """(I, O) of each adapted matrix."""
        return [(1, value_dim)]

    def forward(self, linear: Linear, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """Prediction [B, H, T, V] for x [B, H, T, K]; gain [H, 1, V] or None for ones."""
        return linear(0, torch.ones_like(x[..., :1]))


@dataclass(frozen=True)
class MLP:
    """M(z) = z + LN(gelu(z W_1) W_2), here of depth 2: the deep memory of TTT, Titans and MIRAS.

    Raises:
        InvalidInput: depth or expansion below 1; a residual between different widths.
    """

    depth: int = 2
    """Number of matrices; 1 gives z + LN(z W), the memory of TTT-Linear."""
    expansion: int = 4
    """Hidden width over key width."""
    residual: bool = True
    """Adds the key to the prediction; needs K = V."""
    norm: bool = True
    """LayerNorm over the last matrix's output."""

    def __post_init__(self) -> None:
        _at_least_one(self.depth, "depth")
        _at_least_one(self.expansion, "expansion")

    @property
    def lifting(self) -> int:
        """How many of the first matrices make hidden units of the key."""
        return min(self.depth - 1, 1)

    def shapes(self, key_dim: int, value_dim: int) -> list[tuple[int, int]]:
        """(I, O) of each adapted matrix."""
        _check_residual(self.residual, key_dim, value_dim)
        widths = [key_dim, *[self.expansion * key_dim] * (self.depth - 1), value_dim]
        return list(itertools.pairwise(widths))

    def forward(self, linear: Linear, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """Prediction [B, H, T, V] for x [B, H, T, K]; gain [H, 1, V] or None for ones."""
        h = x
        for number in range(self.depth - 1):
            h = F.gelu(linear(number, h))
        return self._finish(linear(self.depth - 1, h), x, gain)

    def two_matrices(self, gain: Tensor | None = None) -> TwoMatrices | None:
        """At depth 2, `forward` in the form whose gradients are known."""
        return TwoMatrices(self._finish, gain) if self.depth == 2 else None

    def _finish(self, out: Tensor, x: Tensor, gain: Tensor | None) -> Tensor:
        return _finish(out, x, self.residual, self.norm, gain)


@dataclass(frozen=True)
class GatedMLP:
    """M(z) = z + (gelu(z W_1) * (z W_2)) W_3: the memory of ATLAS++.

    Raises:
        InvalidInput: expansion below 1; a residual between different widths.
    """

    expansion: int = 4
    """Hidden width over key width."""
    residual: bool = True
    """Adds the key to the prediction; needs K = V."""
    norm: bool = False
    """LayerNorm over the last matrix's output."""
    lifting: ClassVar[int] = 2
    """How many of the first matrices make hidden units of the key."""

    def __post_init__(self) -> None:
        _at_least_one(self.expansion, "expansion")

    def shapes(self, key_dim: int, value_dim: int) -> list[tuple[int, int]]:
        """(I, O) of each adapted matrix."""
        _check_residual(self.residual, key_dim, value_dim)
        hidden = self.expansion * key_dim
        return [(key_dim, hidden), (key_dim, hidden), (hidden, value_dim)]

    def forward(self, linear: Linear, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """Prediction [B, H, T, V] for x [B, H, T, K]; gain [H, 1, V] or None for ones."""
        hidden = F.gelu(linear(0, x)) * linear(1, x)
        return _finish(linear(2, hidden), x, self.residual, self.norm, gain)


@dataclass(frozen=True)
class Pairs:
    """All keys and values, kept as they are: the structure of attention. Grows with every token; has no weights."""

    norm: ClassVar[bool] = False
    lifting: ClassVar[int] = 0

    def shapes(self, key_dim: int, value_dim: int) -> list[tuple[int, int]]:
        """No matrices are adapted."""
        return []


def random_weights(structure: Structure, heads: int, key_dim: int, value_dim: int) -> list[Tensor]:
    """[H, I, O] for each matrix: units of unit variance, hidden ones given keys of unit length.

    Keys of a sequence model have unit length, not unit variance. Drawn as for the latter, hidden units are near 0,
    where gelu is a straight line, and a LayerNorm behind them magnifies every write.
    """
    shapes = structure.shapes(key_dim, value_dim)
    stds = [1.0 if number < structure.lifting else i**-0.5 for number, (i, _) in enumerate(shapes)]
    return [torch.randn(heads, *shape) * std for shape, std in zip(shapes, stds, strict=True)]


Network = Matrix | Vector | MLP | GatedMLP
"""A structure that has weights."""
Structure = Network | Pairs


def _finish(out: Tensor, x: Tensor, residual: bool, norm: bool, gain: Tensor | None) -> Tensor:
    if norm:
        out = F.layer_norm(out, out.shape[-1:], eps=EPS)
        out = out if gain is None else out * gain
    return x + out if residual else out


def _at_least_one(value: int, name: str) -> None:
    if not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name} = {value!r}: give an integer of at least 1")


def _check_residual(residual: bool, key_dim: int, value_dim: int) -> None:
    if residual and key_dim != value_dim:
        raise InvalidInput(
            f"a residual adds keys of width {key_dim} to values of width {value_dim}: "
            "make them equal, or take residual=False"
        )
