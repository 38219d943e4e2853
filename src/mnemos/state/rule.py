"""Rules: how a write changes the trace; and which combinations of the four choices make sense.

Axes: B batch, H heads, T tokens, K and V widths of keys and values.
Source: MIRAS, section 3 (algorithm); momentum is Titans, window and orthogonalisation are ATLAS, the implicit step is
Longhorn, several steps are DeltaProduct, the closed form is the Mesa layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from mnemos.core.errors import InvalidInput
from mnemos.state.objective import L2, Objective
from mnemos.state.retention import Decay, FDivergence, KLSimplex, NoRetention, Retention, Sphere
from mnemos.state.structure import Matrix, Pairs, Structure, Vector


@dataclass(frozen=True)
class GradientDescent:
    """One step down the loss's gradient per token: write_t = -sum_j step_{t,j} grad(t - j).

    Raises:
        InvalidInput: window below 1.
    """

    step: float = 0.1
    """Unless the gates give it."""
    window: int = 1
    """c: the gradients of the last c tokens, all at the same weights (the Omega rule)."""
    decay_first: bool = False
    """Gradient at the decayed weights (Gated DeltaNet, Mamba-2) instead of the last ones (Titans, TTT)."""

    def __post_init__(self) -> None:
        _at_least_one(self.window, "window")


@dataclass(frozen=True)
class Momentum:
    """S_t = momentum S_{t-1} - sum_j step_{t,j} grad(t - j), and S_t is the write: the surprise of Titans.

    Raises:
        InvalidInput: window or iterations below 1, or a momentum outside [0, 1].
    """

    step: float = 0.1
    """Unless the gates give it."""
    momentum: float = 0.9
    """Unless the gates give log_momentum."""
    window: int = 1
    """As in `GradientDescent`."""
    decay_first: bool = False
    """As in `GradientDescent`."""
    orthogonalise: bool = False
    """The write is rate * (S_t with its singular values near 1): Muon, by Newton-Schulz. ATLAS."""
    rate: float = 0.02
    """Weight of the orthogonalised momentum, unless the gates give it."""
    iterations: int = 5
    """Of Newton-Schulz."""

    def __post_init__(self) -> None:
        _at_least_one(self.window, "window")
        _at_least_one(self.iterations, "iterations")
        if not 0 <= self.momentum <= 1:
            raise InvalidInput(f"momentum = {self.momentum} is the share that stays: give 0 to 1")


@dataclass(frozen=True)
class Implicit:
    """W_t = argmin |k W - v|^2 + |W - alpha W_{t-1}|^2 / step, exactly: Longhorn. Stable for any step.

    A delta rule of strength step / (1 + step |k|^2).
    """

    step: float = 1.0
    """Unless the gates give it."""


@dataclass(frozen=True)
class MultiStep:
    """Decay once, then `steps` gradient steps, each at the weights the last one left: DeltaProduct.

    k, v and the gate `step` have steps * T entries, those of one token side by side; q and log_keep have T.

    Raises:
        InvalidInput: steps below 1.
    """

    steps: int = 2
    step: float = 0.1
    """Unless the gates give it."""

    def __post_init__(self) -> None:
        _at_least_one(self.steps, "steps")


@dataclass(frozen=True)
class ClosedForm:
    """W_t = argmin sum_{i<=t} s_i |k_i W - v_i|^2 + ridge |W - W_0|^2: exact least squares, the Mesa layer.

    With a decay, older pairs weigh less. Keeps K x K numbers more than a matrix; each read solves a K x K system.

    Raises:
        InvalidInput: ridge is not positive.
    """

    ridge: float = 1.0
    step: float = 1.0
    """Weight s_i of a pair, unless the gates give it."""

    def __post_init__(self) -> None:
        if not self.ridge > 0:
            raise InvalidInput(f"ridge = {self.ridge}: give a positive number, the system is singular without it")


@dataclass(frozen=True)
class NonParametric:
    """y = sum_i softmax(scale q . k_i) v_i over the pairs kept: Nadaraya-Watson, softmax attention.

    Raises:
        InvalidInput: window below 1.
    """

    scale: float | None = None
    """K^-0.5 if None."""
    window: int | None = None
    """Only the last pairs are kept, as many as this; None keeps all."""

    def __post_init__(self) -> None:
        if self.window is not None:
            _at_least_one(self.window, "window")


Rule = GradientDescent | Momentum | Implicit | MultiStep | ClosedForm | NonParametric


def check_choices(structure: Structure, objective: Objective, retention: Retention, rule: Rule, chunk: int = 1) -> None:
    """Refuse four choices that contradict one another.

    Raises:
        InvalidInput: says why, and what to take instead.
    """
    _at_least_one(chunk, "chunk")
    for wrong, why in (
        *_of_pairs(structure, objective, retention, rule),
        *_of_solvers(structure, objective, retention, rule),
        *_of_retentions(structure, retention),
        *_of_steps(structure, rule, chunk),
    ):
        if wrong:
            raise InvalidInput(why)


Refusals = list[tuple[bool, str]]


def _of_pairs(structure: Structure, objective: Objective, retention: Retention, rule: Rule) -> Refusals:
    pairs, kernel = isinstance(structure, Pairs), isinstance(rule, NonParametric)
    return [
        (pairs and not kernel, f"Pairs have no weights that {_name(rule)} could write: take rule=NonParametric()"),
        (
            kernel and not pairs,
            f"NonParametric keeps every pair and writes no weights of {_name(structure)}: "
            "take structure=Pairs(), or rule=GradientDescent()",
        ),
        (
            kernel and not isinstance(objective, L2),
            f"the weighted mean of NonParametric minimises L2, not {_name(objective)}: take objective=L2()",
        ),
        (
            kernel and not isinstance(retention, NoRetention),
            f"{_name(retention)} acts on weights, and pairs have none: "
            "take retention=NoRetention(), and NonParametric(window=...) to forget",
        ),
    ]


def _of_solvers(structure: Structure, objective: Objective, retention: Retention, rule: Rule) -> Refusals:
    if not isinstance(rule, ClosedForm | Implicit):
        return []
    name = _name(rule)
    return [
        (
            not isinstance(objective, L2),
            f"{name} solves least squares, and {_name(objective)} has no such solution: "
            "take objective=L2(), or rule=GradientDescent()",
        ),
        (
            not isinstance(structure, Matrix),
            f"{name} solves for a prediction that is linear in the weights, and {_name(structure)} is not a matrix: "
            "take structure=Matrix(), or rule=GradientDescent()",
        ),
        (
            not isinstance(retention, NoRetention | Decay),
            f"{name} solves with a quadratic penalty, and {_name(retention)} is another: "
            "take retention=Decay(), or rule=GradientDescent()",
        ),
    ]


def _of_retentions(structure: Structure, retention: Retention) -> Refusals:
    return [
        (
            isinstance(retention, Sphere) and not isinstance(structure, Matrix | Vector),
            f"Sphere's slots are the rows of one matrix, and those of {_name(structure)} are no slots: "
            "take structure=Matrix(), or retention=Lq() for a norm per matrix",
        ),
        (
            isinstance(retention, KLSimplex | FDivergence) and isinstance(structure, Vector),
            f"a simplex of one entry is constant, and each output of a Vector has one weight in {_name(retention)}: "
            "take structure=Matrix(), or retention=Decay()",
        ),
    ]


def _of_steps(structure: Structure, rule: Rule, chunk: int) -> Refusals:
    sequential = isinstance(rule, MultiStep | Implicit | ClosedForm | NonParametric)
    return [
        (
            isinstance(rule, Momentum) and rule.orthogonalise and isinstance(structure, Vector),
            "a Vector has one row, and orthogonalising it leaves its direction only: take orthogonalise=False",
        ),
        (
            sequential and chunk > 1,
            f"{_name(rule)} works at each token's own weights, and chunk = {chunk} takes gradients at the chunk's "
            "first: take chunk=1",
        ),
        (
            getattr(rule, "decay_first", False) and chunk > 1,
            f"decay_first takes the gradient at the weights decayed by the last token, and chunk = {chunk} at the "
            "chunk's first: take chunk=1, or decay_first=False",
        ),
    ]


def _name(part: object) -> str:
    return type(part).__name__


def _at_least_one(value: int, name: str) -> None:
    if not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name} = {value!r}: give an integer of at least 1")
