"""Rules of plasticity: one local change of an association matrix per pair of cue and outcome.

    rule = Delta(rate=0.2)                      # Rescorla-Wagner
    trace = rule.start(k, v)                    # empty, for cues like k and outcomes like v
    trace = rule.step(trace, k, v)
    response = respond(trace, probe)

A trace is a mapping: "memory" is S [..., K, V], other entries are the rule's own. k is [..., K], v is [..., V];
y = S^T k is the response to the cue, e = v - y the error. Steps are pure and differentiable.

Source: the conditioning view of linear attention (arXiv 2508.08289), with the standard forms of the rules.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput

Trace = Mapping[str, Tensor]
"""What a rule has learned: "memory" [..., K, V] and what it needs beside it, batch axes first."""


def respond(trace: Trace, probe: Tensor) -> Tensor:
    """S^T q: the outcome [..., V] that the cue `probe` [..., K] calls up. The same for every rule."""
    response: Tensor = (probe[..., None, :] @ trace["memory"])[..., 0, :]
    return response


@dataclass(frozen=True)
class Rule(ABC):
    """What all rules have: a rate, an empty trace and a step.

    Raises:
        InvalidInput: a rate that is negative or not finite.
    """

    rate: float = 1.0
    """eta, unless the step is told another."""

    def __post_init__(self) -> None:
        if not 0 <= self.rate < float("inf"):
            raise InvalidInput(f"rate = {self.rate}: give a number of at least 0")

    def start(self, k: Tensor, v: Tensor) -> Trace:
        """An empty trace for cues like k [..., K] and outcomes like v [..., V]."""
        return {"memory": k.new_zeros(*k.shape, v.shape[-1])}

    @abstractmethod
    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """The trace after the pair (k, v).

        Args:
            trace: of `start`, or what an earlier step returned; it is not changed.
            k: [..., K].
            v: [..., V].
            rate: [...] in place of the rule's own.
        """

    def _rate(self, k: Tensor, rate: Tensor | None) -> Tensor:
        """[..., 1, 1]."""
        return k.new_full((1, 1), self.rate) if rate is None else rate[..., None, None]


@dataclass(frozen=True)
class Hebb(Rule):
    """S + eta k v^T: contiguity. Linear attention without normaliser."""

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """Add."""
        return {"memory": trace["memory"] + self._rate(k, rate) * outer(k, v)}


@dataclass(frozen=True)
class AntiHebb(Rule):
    """S - eta k v^T: unlearning. Takes back what `Hebb` wrote."""

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """Subtract."""
        return {"memory": trace["memory"] - self._rate(k, rate) * outer(k, v)}


@dataclass(frozen=True)
class _Fading(Rule):
    """A rule whose trace keeps a share alpha of itself per write.

    Raises:
        InvalidInput: keep is a number outside [0, 1].
    """

    keep: float | Tensor = 1 - 2**-5
    """alpha; a tensor broadcasts to the leading axes, one per head for instance."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.keep, Tensor) and not 0 <= self.keep <= 1:
            raise InvalidInput(f"keep = {self.keep} is the share that stays: give 0 to 1")

    def _faded(self, trace: Trace) -> Tensor:
        keep = self.keep[..., None, None] if isinstance(self.keep, Tensor) else self.keep
        return keep * trace["memory"]


@dataclass(frozen=True)
class HebbDecay(_Fading):
    """alpha S + eta k v^T: a trace that fades. RetNet."""

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """Fade, then add."""
        return {"memory": self._faded(trace) + self._rate(k, rate) * outer(k, v)}


@dataclass(frozen=True)
class Delta(Rule):
    """S + eta k e^T: Rescorla-Wagner, DeltaNet. On unit keys a rate of 1 replaces what the cue called up.

    The key of a compound is the sum of its cues' keys. If these are orthogonal, the strength V_i of each moves by
    eta |k_i|^2 (lambda - sum of V over the cues present).
    """

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """Correct by a share of the error."""
        return {"memory": trace["memory"] + self._rate(k, rate) * outer(k, v - respond(trace, k))}


@dataclass(frozen=True)
class GatedDelta(_Fading):
    """S <- alpha S, then S + eta k e^T: Rescorla-Wagner with forgetting. Gated DeltaNet."""

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """Fade, then correct."""
        faded = {"memory": self._faded(trace)}
        return {"memory": faded["memory"] + self._rate(k, rate) * outer(k, v - respond(faded, k))}


@dataclass(frozen=True)
class NormalisedDelta(Rule):
    """S + eta / (floor + |k|^2) k e^T: NLMS. The rate is a share of the error for keys of any length."""

    floor: float = 1e-6
    """Keeps the step finite for a cue of length 0."""

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """Correct by a share of the error, whatever the key's length."""
        share = self._rate(k, rate) / (self.floor + _energy(k))
        return {"memory": trace["memory"] + share * outer(k, v - respond(trace, k))}


@dataclass(frozen=True)
class Implicit(Rule):
    """S + eta / (1 + eta |k|^2) k e^T: takes the gradient where the step ends; stable at any rate. Longhorn."""

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """argmin |S^T k - v|^2 + |S - last S|^2 / eta."""
        eta = self._rate(k, rate)
        return {"memory": trace["memory"] + eta / (1 + eta * _energy(k)) * outer(k, v - respond(trace, k))}


@dataclass(frozen=True)
class RecursiveLeastSquares(Rule):
    """P <- (P - P k k^T P / (forget + k^T P k)) / forget, then S + P k e^T: ridge regression, exactly. Kalman, Mesa.

    The order of pairs does not matter at forget = 1. The rate is the weight of a pair. Needs K x K numbers more.

    Raises:
        InvalidInput: ridge is not positive, or forget is outside (0, 1].
    """

    ridge: float = 1.0
    """P starts as I / ridge."""
    forget: float = 1.0
    """lambda: a pair n writes old weighs lambda^n."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ridge > 0 or not 0 < self.forget <= 1:
            raise InvalidInput(f"ridge = {self.ridge}, forget = {self.forget}: above 0, and in (0, 1]")

    def start(self, k: Tensor, v: Tensor) -> Trace:
        """S of zeros, and P."""
        eye = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device) / self.ridge
        return {**super().start(k, v), "spread": eye.expand(*k.shape, -1)}

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """Narrow P along k, correct along the new P k."""
        weight = self._rate(k, rate)  # a pair of weight w is the pair (sqrt w k, sqrt w v)
        toward = (trace["spread"] @ k[..., None])[..., 0]
        seen = weight * (k * toward).sum(-1)[..., None, None]
        spread = (trace["spread"] - weight * outer(toward, toward) / (self.forget + seen)) / self.forget
        gain = weight * toward[..., None] / (self.forget + seen)  # the new P times w k
        return {"memory": trace["memory"] + gain * (v - respond(trace, k))[..., None, :], "spread": spread}


@dataclass(frozen=True)
class Oja(Rule):
    """S + eta (k - S v) v^T: normalised Hebb that erases along the value. Bounded for 0 <= eta |v|^2 < 2."""

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """What the value called up backwards makes room for the cue."""
        back = (trace["memory"] @ v[..., None])[..., 0]
        return {"memory": trace["memory"] + self._rate(k, rate) * outer(k - back, v)}


@dataclass(frozen=True)
class OjaByOutput(Rule):
    """S_j + eta (v_j k - v_j^2 S_j) for each output j: the classical form, with outputs clamped to the outcome.

    Each column tends to the cues' mean, weighted by its output: the principal component of cues, were outputs free.
    """

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """Each output forgets by its own activity."""
        memory = trace["memory"]
        return {"memory": memory + self._rate(k, rate) * (outer(k, v) - memory * v[..., None, :].square())}


@dataclass(frozen=True)
class BCM(Rule):
    """S + eta k phi^T, phi_j = v_j (v_j - theta_j), then theta_j + (v_j^2 - theta_j) / tau: a threshold that slides.

    Outputs are clamped to the outcome; one that is often active learns less, then loses.

    Raises:
        InvalidInput: tau below 1.
    """

    tau: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tau >= 1:
            raise InvalidInput(f"tau = {self.tau}: the threshold's writes of memory, at least 1")

    def start(self, k: Tensor, v: Tensor) -> Trace:
        """S and thresholds of zeros."""
        return {**super().start(k, v), "threshold": torch.zeros_like(v)}

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """Write above the threshold, unwrite below, move the threshold."""
        threshold = trace["threshold"]
        memory = trace["memory"] + self._rate(k, rate) * outer(k, v * (v - threshold))
        return {"memory": memory, "threshold": threshold + (v.square() - threshold) / self.tau}


@dataclass(frozen=True)
class Covariance(Rule):
    """S + eta (k - mean k) (v - mean v)^T: contingency, not contiguity. What always goes together teaches nothing.

    The mean of k is that before the pair and the mean of v that after it, which makes S with rate 1 the exact sum of
    products of deviations over all pairs (Welford).
    """

    def start(self, k: Tensor, v: Tensor) -> Trace:
        """S and means of zeros, and how many pairs they are of."""
        means = {"cue": torch.zeros_like(k), "outcome": torch.zeros_like(v), "pairs": k.new_zeros(*k.shape[:-1], 1)}
        return {**super().start(k, v), **means}

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """Write deviations, move the means."""
        pairs = trace["pairs"] + 1
        cue = trace["cue"] + (k - trace["cue"]) / pairs
        outcome = trace["outcome"] + (v - trace["outcome"]) / pairs
        memory = trace["memory"] + self._rate(k, rate) * outer(k - trace["cue"], v - outcome)
        return {"memory": memory, "cue": cue, "outcome": outcome, "pairs": pairs}


@dataclass(frozen=True)
class _Attended(Rule):
    """The delta rule with a gain a_i per cue: S_i + eta a_i k_i e. A cue is a channel of the key, present as |k_i|."""

    gain: float = 1.0
    """Of every cue before the first pair."""

    def start(self, k: Tensor, v: Tensor) -> Trace:
        """S of zeros, and all gains alike."""
        return {**super().start(k, v), "gain": torch.full_like(k, self.gain)}

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """Correct by the gains, then attend to other cues."""
        error = v - respond(trace, k)
        memory = trace["memory"] + self._rate(k, rate) * outer(trace["gain"] * k, error)
        return {"memory": memory, "gain": self._attend(trace, k, v, error)}

    @abstractmethod
    def _attend(self, trace: Trace, k: Tensor, v: Tensor, error: Tensor) -> Tensor:
        """The gains after the pair."""


@dataclass(frozen=True)
class Mackintosh(_Attended):
    """Attention to what predicts: a_i rises while cue i alone predicts better than the others present, else falls.

    |v - k_i S_i| against |v - (y - k_i S_i)|; steps of `shift` |k_i| within [lowest, 1].

    Raises:
        InvalidInput: gain or lowest outside [0, 1].
    """

    gain: float = 0.5
    shift: float = 0.1
    """What a present cue's gain moves by, per pair."""
    lowest: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.lowest <= self.gain <= 1:
            raise InvalidInput(f"gain = {self.gain}, lowest = {self.lowest}: 0 <= lowest <= gain <= 1")

    def _attend(self, trace: Trace, k: Tensor, v: Tensor, error: Tensor) -> Tensor:
        alone = k[..., None] * trace["memory"]
        off = (v[..., None, :] - alone).square().sum(-1)
        others_off = (error[..., None, :] + alone).square().sum(-1)
        step = torch.where(off < others_off, self.shift, -self.shift) * k.abs()
        return (trace["gain"] + step).clamp(self.lowest, 1)


@dataclass(frozen=True)
class PearceHall(_Attended):
    """Attention to what surprises: a_i <- (1 - gamma) a_i + gamma |e| for the cues present, at most 1.

    |e| is the root mean square over outputs, so that it does not grow with their number.

    Raises:
        InvalidInput: gamma outside [0, 1].
    """

    gamma: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gamma <= 1:
            raise InvalidInput(f"gamma = {self.gamma} is the share that is new: give 0 to 1")

    def _attend(self, trace: Trace, k: Tensor, v: Tensor, error: Tensor) -> Tensor:
        # the small term keeps the root's slope finite where nothing surprises
        surprise = (error.square().mean(-1, keepdim=True) + 1e-16).sqrt()
        share = self.gamma * k.abs().clamp(max=1)
        return (trace["gain"] + share * (surprise - trace["gain"])).clamp(max=1)


@dataclass(frozen=True)
class Momentum(_Fading):
    """M <- mu M + eta k e^T, S <- alpha S + M: Titans' surprise. Stable for eta |k|^2 < (1 + alpha)(1 + mu).

    Raises:
        InvalidInput: momentum outside [0, 1].
    """

    keep: float | Tensor = 1.0
    momentum: float = 0.5
    """mu."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum <= 1:
            raise InvalidInput(f"momentum = {self.momentum} is the share that stays: give 0 to 1")

    def start(self, k: Tensor, v: Tensor) -> Trace:
        """S and M of zeros."""
        empty = super().start(k, v)
        return {**empty, "momentum": torch.zeros_like(empty["memory"])}

    def step(self, trace: Trace, k: Tensor, v: Tensor, rate: Tensor | None = None) -> Trace:
        """Push the momentum by the error, move by the momentum."""
        push = self.momentum * trace["momentum"] + self._rate(k, rate) * outer(k, v - respond(trace, k))
        return {"memory": self._faded(trace) + push, "momentum": push}


RULES: dict[str, type[Rule]] = {
    "hebb": Hebb,
    "hebb-decay": HebbDecay,
    "delta": Delta,
    "gated-delta": GatedDelta,
    "nlms": NormalisedDelta,
    "implicit": Implicit,
    "rls": RecursiveLeastSquares,
    "oja": Oja,
    "oja-output": OjaByOutput,
    "bcm": BCM,
    "covariance": Covariance,
    "anti-hebb": AntiHebb,
    "mackintosh": Mackintosh,
    "pearce-hall": PearceHall,
    "momentum": Momentum,
}
"""Name to rule."""


def outer(k: Tensor, v: Tensor) -> Tensor:
    """k v^T, [..., K, V]."""
    return k[..., None] * v[..., None, :]


def _energy(k: Tensor) -> Tensor:
    """|k|^2, [..., 1, 1]."""
    return k.square().sum(-1)[..., None, None]
