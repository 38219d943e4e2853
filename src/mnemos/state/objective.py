"""Objectives: what counts as a good match (MIRAS calls it attentional bias).

A loss of the prediction M(k) and the value v, and its derivative g at the prediction in closed form: a memory is
written by pushing g back through the network. r = M(k) - v throughout.

Kinks are smoothed in g, where the outer gradient (through the write) would die or blow up: sign(x) is tanh(kappa x),
|x| is sqrt(x^2 + eps), norms have eps under the root. `kappa=None` gives the exact sign.

Axes: [..., V] for predictions and values, [..., 1] for thresholds, [...] for losses.
Source: MIRAS, sections 5.1 and 5.2; smoothing is its remark 5. KL is an extension of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput

EPS = 1e-6


@dataclass(frozen=True)
class Dot:
    """-<M(k), v>: the Hebbian bias of linear attention. (MIRAS carries a factor 2; here it is in the step.)"""

    threshold: ClassVar[float | None] = None

    def loss(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """The loss [...] of predictions and values [..., V]."""
        return -(prediction * v).sum(-1)

    def gradient(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """Its derivative at the prediction, [..., V]."""
        return (-v).expand_as(prediction)


@dataclass(frozen=True)
class L2:
    """|r|^2: the delta rule's bias. Its gradient is 2 r, so that a delta rule of strength beta has step beta / 2."""

    threshold: ClassVar[float | None] = None

    def loss(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """The loss [...] of predictions and values [..., V]."""
        return (prediction - v).square().sum(-1)

    def gradient(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """Its derivative at the prediction, [..., V]."""
        return 2 * (prediction - v)


@dataclass(frozen=True)
class Lp:
    """|r|_p^p: p = 3 is Moneta's; p = 1 makes a memory that only knows the sign of its error.

    From p = 2 on the gradient's slope is finite everywhere, and nothing is smoothed.

    Raises:
        InvalidInput: p below 1, or a clip that is not positive.
    """

    p: float = 3.0
    clip: float | None = None
    """Beyond this |r_j| the loss goes on as a straight line: with p > 2 an outlier otherwise throws the memory out."""
    kappa: float | None = 10.0
    """Steepness of the smoothed sign where p < 2; None for the exact sign."""

    threshold: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        if not self.p >= 1:
            raise InvalidInput(f"p = {self.p} makes the loss non-convex: give p >= 1")
        _positive(self.clip, "clip")
        _positive(self.kappa, "kappa")

    def loss(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """The loss [...] of predictions and values [..., V]."""
        size = (prediction - v).abs()
        inner = size if self.clip is None else size.clamp(max=self.clip)
        return (inner**self.p + self.p * inner ** (self.p - 1) * (size - inner)).sum(-1)

    def gradient(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """Its derivative at the prediction, [..., V]."""
        r = prediction - v
        r = r if self.clip is None else r.clamp(-self.clip, self.clip)
        if self.p == 2:
            return 2 * r
        if self.p > 2 or self.kappa is None:
            return self.p * r.sign() * r.abs() ** (self.p - 1)
        return self.p * torch.tanh(self.kappa * r) * (r.square() + EPS) ** ((self.p - 1) / 2)


@dataclass(frozen=True)
class Huber:
    """Quadratic up to delta, a straight line beyond it: an outlier pulls no harder than delta.

    Of each coordinate (clips r_j to +-delta) or of the norm (clips |r| to delta, a per-token gradient clipping).

    Raises:
        InvalidInput: delta is not positive.
    """

    delta: float = 1.0
    """Unless the gates give one per token."""
    kind: Literal["coordinate", "norm"] = "coordinate"

    def __post_init__(self) -> None:
        _positive(self.delta, "delta")
        _one_of(self.kind, "kind", ("coordinate", "norm"))

    @property
    def threshold(self) -> float:
        """The constant that `delta` replaces."""
        return self.delta

    def loss(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """The loss [...] of predictions and values [..., V]; delta [..., 1]."""
        r = prediction - v
        limit = _limit(self.delta, delta, r)
        size = r.abs() if self.kind == "coordinate" else _norm(r)
        return torch.where(size <= limit, size.square() / 2, limit * (size - limit / 2)).sum(-1)

    def gradient(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """Its derivative at the prediction, [..., V]."""
        r = prediction - v
        limit = _limit(self.delta, delta, r)
        if self.kind == "coordinate":
            return torch.maximum(torch.minimum(r, limit), -limit)
        return r * (limit / _norm(r)).clamp(max=1)


@dataclass(frozen=True)
class HuberMixture:
    """|r|^2 where |r| <= delta, else delta |r|_1: Yaad's bias, chosen per token.

    Raises:
        InvalidInput: delta, scale or kappa is not positive.
    """

    delta: float = 1.0
    """Unless the gates give one per token."""
    scale: float = 1.0
    """Factor of |r|^2; 0.5 makes its gradient r, as in Huber's loss."""
    kappa: float | None = 10.0
    """Steepness of the smoothed sign; None for the exact sign."""

    def __post_init__(self) -> None:
        for name in ("delta", "scale", "kappa"):
            _positive(getattr(self, name), name)

    @property
    def threshold(self) -> float:
        """The constant that `delta` replaces."""
        return self.delta

    def loss(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """The loss [...] of predictions and values [..., V]; delta [..., 1]."""
        r = prediction - v
        limit = _limit(self.delta, delta, r).squeeze(-1)
        square = r.square().sum(-1)
        return torch.where(square <= limit.square(), self.scale * square, limit * r.abs().sum(-1))

    def gradient(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """Its derivative at the prediction, [..., V]."""
        r = prediction - v
        limit = _limit(self.delta, delta, r)
        far = r.sign() if self.kappa is None else torch.tanh(self.kappa * r)
        return torch.where(r.square().sum(-1, keepdim=True) <= limit.square(), 2 * self.scale * r, limit * far)


@dataclass(frozen=True)
class Robust:
    """max over |u| <= shift of |r - u|^2 / 2 = (|r| + shift)^2 / 2: prepared for values that are off by `shift`.

    Raises:
        InvalidInput: shift is not positive.
    """

    shift: float = 1.0
    """Unless the gates give one per token, as `delta`."""

    def __post_init__(self) -> None:
        _positive(self.shift, "shift")

    @property
    def threshold(self) -> float:
        """The constant that `delta` replaces."""
        return self.shift

    def loss(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """The loss [...] of predictions and values [..., V]; delta [..., 1]."""
        r = prediction - v
        shift, size = _limit(self.shift, delta, r), _norm(r)
        return (r.square().sum(-1, keepdim=True) / 2 + shift * size + shift.square() / 2).squeeze(-1)

    def gradient(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """Its derivative at the prediction, [..., V]."""
        r = prediction - v
        return r * (1 + _limit(self.shift, delta, r) / _norm(r))


@dataclass(frozen=True)
class KL:
    """KL(softmax(v / tau) || softmax(M(k))): for values that are scores over choices.

    Raises:
        InvalidInput: tau is not positive.
    """

    tau: float = 1.0
    threshold: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        _positive(self.tau, "tau")

    def loss(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """The loss [...] of predictions and values [..., V]."""
        wanted = (v / self.tau).log_softmax(-1)
        return (wanted.exp() * (wanted - prediction.log_softmax(-1))).sum(-1)

    def gradient(self, prediction: Tensor, v: Tensor, delta: Tensor | None = None) -> Tensor:
        """Its derivative at the prediction, [..., V]."""
        return prediction.softmax(-1) - (v / self.tau).softmax(-1)


Objective = Dot | L2 | Lp | Huber | HuberMixture | Robust | KL
"""Where `threshold` is not None, the gates may give it per token, as `delta`."""


def _norm(r: Tensor) -> Tensor:
    return (r.square().sum(-1, keepdim=True) + EPS).sqrt()


def _limit(constant: float, given: Tensor | None, like: Tensor) -> Tensor:
    return like.new_full((1,), constant).expand_as(like[..., :1]) if given is None else given


def _positive(value: float | None, name: str) -> None:
    if value is not None and not value > 0:
        raise InvalidInput(f"{name} = {value}: give a positive number")


def _one_of(value: str, name: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidInput(f"{name} = {value!r}: give one of {', '.join(choices)}")
