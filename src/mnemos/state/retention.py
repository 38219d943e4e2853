"""Retentions: what is given up over time. A decay, and a link from what is kept to the weights that are read.

All but three are one rule: a state A that is linear in the writes, and W = link(A),

    A_t = alpha_t A_{t-1} + write_t,    write_t = -step_t grad loss(W_{t-1})    (or the momentum),

so that every one of them runs in chunks (mirror descent: A is the dual of W). Soft thresholds, f-divergences and the
sphere work on W itself: `linear` is False, and only the token-by-token path carries them.

Axes: [..., I, O] for one matrix; a slice is what leads into one output unit, [..., :, o].
Source: MIRAS, sections 5.3 and 6. The single rule behind them is ours, checked against each update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.gradient_memory import Link

TINY = 1e-12


class Retention:
    """The plain one, from which the others differ: W = A, and nothing else happens."""

    linear: ClassVar[bool] = True
    """Whether A is linear in the writes."""
    keep: float = 1.0
    """alpha, the share kept per token, unless the gates give it."""
    fades: ClassVar[bool] = True
    """Whether there is a decay that the gates may give."""

    @property
    def link(self) -> Link | None:
        """W = link.apply(A); None for W = A."""
        return None

    def start(self, raw: Tensor) -> Tensor:
        """A_0 for an unconstrained matrix: its weights are `raw`, or what the link makes of it."""
        return raw

    def advance(self, state: Tensor, write: Tensor, keep: Tensor | float, step: Tensor | float) -> Tensor:
        """The state after a write; `step` is the weight of the gradient in it (a soft threshold needs it)."""
        return keep * state + write

    def weights(self, state: Tensor) -> Tensor:
        """W for a state."""
        return state if self.link is None else self.link.apply(state)


@dataclass(frozen=True)
class NoRetention(Retention):
    """Nothing is given up: alpha = 1."""

    fades: ClassVar[bool] = False


@dataclass(frozen=True)
class Decay(Retention):
    """l2 to the last weights and to zero: W_t = alpha W_{t-1} + write. alpha KEEPS (Titans writes 1 - alpha).

    Raises:
        InvalidInput: keep is not in [0, 1].
    """

    keep: float = 1.0

    def __post_init__(self) -> None:
        _share(self.keep)


@dataclass(frozen=True)
class KLSimplex(Retention):
    """KL to the last weights plus entropy: W = total * softmax(A) per slice, A = log W. Memora's.

    Weights stay positive and sum to `total`, so that nothing can explode.

    Raises:
        InvalidInput: keep is not in [0, 1], or total is not positive.
    """

    keep: float = 1.0
    total: float = 1.0

    def __post_init__(self) -> None:
        _share(self.keep)
        _positive(self.total, "total")

    @property
    def link(self) -> Link:
        """Softmax over each slice."""
        return Link(lambda a: self.total * a.softmax(-2))


@dataclass(frozen=True)
class ElasticNet(Retention):
    """l2 and l1 on the weights since the start (FTRL): W = S(A), zero where |A| <= threshold.

    A small A is hidden, not lost: later writes can still bring it out.

    Raises:
        InvalidInput: keep is not in [0, 1], or the threshold is not positive.
    """

    threshold: float = 0.01
    """eta / alpha of the paper."""
    keep: float = 1.0
    smooth: bool = False
    """|a| atan(a / threshold) 2 / pi in place of the soft threshold, whose outer gradient is 0 below it."""

    def __post_init__(self) -> None:
        _share(self.keep)
        _positive(self.threshold, "threshold")

    @property
    def link(self) -> Link:
        """The soft threshold."""
        return Link(lambda a: soft_threshold(a, self.threshold, self.smooth))

    def start(self, raw: Tensor) -> Tensor:
        """A_0 whose soft threshold is `raw`."""
        return raw + self.threshold * raw.sign()


@dataclass(frozen=True)
class SoftThreshold(Retention):
    """l2 and l1 to the last weights (learning-retaining): W_t = S(alpha W_{t-1} + write), threshold sparsity * step.

    The decay forgets softly, the threshold for good. The paper's (eta, alpha, beta) are keep = beta / (beta + eta),
    step = eta * keep, sparsity = 1 / alpha.

    Raises:
        InvalidInput: keep is not in [0, 1], or sparsity is not positive.
    """

    sparsity: float = 0.01
    keep: float = 1.0
    smooth: bool = False
    """As in `ElasticNet`."""

    linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _share(self.keep)
        _positive(self.sparsity, "sparsity")

    def advance(self, state: Tensor, write: Tensor, keep: Tensor | float, step: Tensor | float) -> Tensor:
        """The proximal step."""
        return soft_threshold(keep * state + write, self.sparsity * step, self.smooth)


@dataclass(frozen=True)
class Lq(Retention):
    """lq-stable weights: W = A / |A|_q^(q-2) per matrix. Moneta's, with q = 4.

    q is the link's exponent as Moneta writes it; that of the regulariser is q / (q - 1). With q > 2 a larger state
    gives smaller weights.

    Raises:
        InvalidInput: q is not above 1, or keep is not in [0, 1].
    """

    q: float = 4.0
    map: Literal["paper", "mirror"] = "paper"
    """The printed map drops an elementwise power; the true mirror map is sign(A) |A|^(q-1) / |A|_q^(q-2)."""
    keep: float = 1.0

    def __post_init__(self) -> None:
        _share(self.keep)
        if not self.q > 1:
            raise InvalidInput(f"q = {self.q}: the map needs q > 1")
        if self.map not in ("paper", "mirror"):
            raise InvalidInput(f"map = {self.map!r}: give 'paper' or 'mirror'")

    @property
    def link(self) -> Link | None:
        """The map; as a factor of A where it is one."""
        if self.q == 2:
            return None
        if self.map == "paper":
            return Link(lambda a: a * self._factor(a), self._factor)
        return Link(lambda a: _power(a, self.q - 1) * self._factor(a))

    def start(self, raw: Tensor) -> Tensor:
        """A_0 whose weights are `raw` (of `raw` scaled to norm 1 where the map cannot tell scales apart)."""
        if self.map == "mirror":
            other = self.q / (self.q - 1)
            return _power(raw, other - 1) * _size(raw, other) ** (2 - other)
        return raw if self.q == 3 else raw * _size(raw, self.q) ** ((self.q - 2) / (3 - self.q))

    def _factor(self, a: Tensor) -> Tensor:
        return _size(a, self.q) ** (2 - self.q)


@dataclass(frozen=True)
class Bregman(Retention):
    """Any separable mirror map: W = g(A), g the inverse of F' for a regulariser F = sum f(w). No decay."""

    name: str
    """Tells maps apart in a state's signature."""
    map: Callable[[Tensor], Tensor] = field(repr=False, compare=False)
    """g, elementwise."""

    fades: ClassVar[bool] = False

    @property
    def link(self) -> Link:
        """The mirror map."""
        return Link(self.map)


SIGMOID = Bregman("sigmoid", torch.sigmoid)
"""Weights in (0, 1): W_t = sigmoid(logit W_{t-1} + write), f' = logit."""


@dataclass(frozen=True)
class FDivergence(Retention):
    """f-divergence to the last weights on the simplex: W_t = W_{t-1} * g(write - zeta), zeta keeps each slice's sum.

    g inverts f'. With "kl" this is `KLSimplex` without decay.

    Raises:
        InvalidInput: unknown kind, or total is not positive.
    """

    kind: Literal["kl", "chi2", "hellinger", "reverse_kl"] = "kl"
    total: float = 1.0

    linear: ClassVar[bool] = False
    fades: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.kind not in DIVERGENCES:
            raise InvalidInput(f"kind = {self.kind!r}: give one of {', '.join(DIVERGENCES)}")
        _positive(self.total, "total")

    def start(self, raw: Tensor) -> Tensor:
        """Softmax of each slice, times the total."""
        return self.total * raw.softmax(-2)

    def advance(self, state: Tensor, write: Tensor, keep: Tensor | float, step: Tensor | float) -> Tensor:
        """The update, zeta found by bisection."""
        inverse, at_one = DIVERGENCES[self.kind]
        with torch.no_grad():
            low = write.amin(-2, keepdim=True) - at_one
            high = write.amax(-2, keepdim=True) - at_one
            for _ in range(60 if state.dtype == torch.float64 else 30):
                middle = (low + high) / 2
                over = (state * inverse(write - middle)).sum(-2, keepdim=True) > self.total
                low, high = torch.where(over, middle, low), torch.where(over, high, middle)
            zeta = (low + high) / 2
        return state * inverse(write - _implicit(state, write, zeta, self.total, inverse))


@dataclass(frozen=True)
class Sphere(Retention):
    """Slots of unit length: s <- (s + (I - s s^T) write) / norm, so that only what is new to a slot is written.

    The slots are a matrix's rows, one per key channel. Lattice's (from a secondary source).
    """

    linear: ClassVar[bool] = False
    fades: ClassVar[bool] = False

    def start(self, raw: Tensor) -> Tensor:
        """Each row scaled to length 1."""
        return F.normalize(raw, dim=-1)

    def advance(self, state: Tensor, write: Tensor, keep: Tensor | float, step: Tensor | float) -> Tensor:
        """The Riemannian step."""
        across = write - state * (state * write).sum(-1, keepdim=True)
        return F.normalize(state + across, dim=-1)


def soft_threshold(a: Tensor, threshold: Tensor | float, smooth: bool = False) -> Tensor:
    """sign(a) max(|a| - threshold, 0), or its smooth stand-in |a| atan(a / threshold) 2 / pi."""
    if smooth:
        return a.abs() * torch.atan(a / threshold) * (2 / torch.pi)
    return a.sign() * (a.abs() - threshold).clamp(min=0)


DIVERGENCES: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "kl": (lambda x: (x - 1).exp(), 1.0),  # f = t log t
    "chi2": (lambda x: (1 + x / 2).clamp(min=0), 0.0),  # f = (t - 1)^2
    "hellinger": (lambda x: (1 - x).clamp(min=TINY) ** -2, 0.0),  # f = (sqrt t - 1)^2
    "reverse_kl": (lambda x: 1 / (-x).clamp(min=TINY), -1.0),  # f = -log t
}
"""g = (f')^-1, and f'(1), where g is 1."""


def _implicit(state: Tensor, write: Tensor, zeta: Tensor, total: float, inverse: Callable[[Tensor], Tensor]) -> Tensor:
    """zeta again, by one Newton step whose graph carries the derivative of the root (implicit function theorem)."""
    with torch.enable_grad():
        inside = (write - zeta).detach().requires_grad_()
        (slope,) = torch.autograd.grad(inverse(inside).sum(), inside)
    fall = (state.detach() * slope).sum(-2, keepdim=True).clamp(min=TINY)
    return zeta + ((state * inverse(write - zeta)).sum(-2, keepdim=True) - total) / fall


def _power(a: Tensor, p: float) -> Tensor:
    """sign(a) |a|^p; below p = 1 with a finite slope at 0."""
    return a.sign() * a.abs() ** p if p >= 1 else a * (a.square() + TINY**2) ** ((p - 1) / 2)


def _size(a: Tensor, q: float) -> Tensor:
    """|a|_q of each matrix, [..., 1, 1], held away from 0."""
    return (a.abs() ** q).sum((-2, -1), keepdim=True).clamp(min=TINY) ** (1 / q)


def _share(keep: float) -> None:
    if not 0 <= keep <= 1:
        raise InvalidInput(f"keep = {keep} is the share that stays: give 0 to 1 (1 keeps all, above 1 explodes)")


def _positive(value: float, name: str) -> None:
    if not value > 0:
        raise InvalidInput(f"{name} = {value}: give a positive number")
