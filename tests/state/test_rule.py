from __future__ import annotations

import pytest

from mnemos.core.errors import InvalidInput
from mnemos.state.objective import KL, L2, Dot, Huber, Lp
from mnemos.state.retention import SIGMOID, Decay, ElasticNet, FDivergence, KLSimplex, Lq, NoRetention, Sphere
from mnemos.state.rule import (
    ClosedForm,
    GradientDescent,
    Implicit,
    Momentum,
    MultiStep,
    NonParametric,
    check_choices,
)
from mnemos.state.structure import MLP, GatedMLP, Matrix, Pairs, Vector

REFUSED = [
    (Matrix(), L2(), NoRetention(), NonParametric(), 1, "writes no weights of Matrix: take structure=Pairs()"),
    (Pairs(), L2(), NoRetention(), GradientDescent(), 1, "Pairs have no weights that GradientDescent could write"),
    (Pairs(), Lp(p=1), NoRetention(), NonParametric(), 1, "minimises L2, not Lp"),
    (Pairs(), L2(), Decay(0.9), NonParametric(), 1, "Decay acts on weights.*NonParametric\\(window"),
    (MLP(), L2(), Sphere(), GradientDescent(), 1, "rows of one matrix"),
    (Vector(), L2(), KLSimplex(), GradientDescent(), 1, "simplex of one entry is constant"),
    (Vector(), L2(), FDivergence(), GradientDescent(), 1, "simplex of one entry is constant"),
    (Matrix(), Lp(p=1), NoRetention(), ClosedForm(), 1, "Lp has no such solution: take objective=L2"),
    (Matrix(), Dot(), NoRetention(), Implicit(), 1, "Implicit solves least squares"),
    (MLP(), L2(), NoRetention(), ClosedForm(), 1, "MLP is not a matrix"),
    (Matrix(), L2(), KLSimplex(), ClosedForm(), 1, "quadratic penalty, and KLSimplex is another"),
    (Vector(), L2(), Decay(), Momentum(orthogonalise=True), 1, "a Vector has one row"),
    (Matrix(), L2(), Decay(), MultiStep(), 16, "each token's own weights, and chunk = 16"),
    (Matrix(), L2(), Decay(), GradientDescent(decay_first=True), 16, "decayed by the last token"),
    (Matrix(), L2(), Decay(), GradientDescent(), 0, "chunk = 0"),
]

ALLOWED = [
    (GatedMLP(), KL(), KLSimplex(), Momentum(window=4), 16),
    (MLP(), Huber(), ElasticNet(), Momentum(orthogonalise=True), 8),
    (Matrix(), Lp(), Lq(), GradientDescent(window=2), 4),
    (Vector(), L2(), SIGMOID, GradientDescent(), 1),
    (Vector(), Dot(), Sphere(), Momentum(), 1),
    (Matrix(), L2(), Decay(), Implicit(), 1),
    (Matrix(), L2(), Decay(), ClosedForm(), 1),
    (MLP(), L2(), Lq(), MultiStep(3), 1),
    (Pairs(), L2(), NoRetention(), NonParametric(window=8), 1),
]


@pytest.mark.parametrize(("structure", "objective", "retention", "rule", "chunk", "why"), REFUSED)
def test_choices_that_contradict_one_another_are_refused_with_a_reason(
    structure: object, objective: object, retention: object, rule: object, chunk: int, why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        check_choices(structure, objective, retention, rule, chunk)  # type: ignore[arg-type]


@pytest.mark.parametrize("choices", ALLOWED, ids=str)
def test_the_rest_combines_freely(choices: tuple) -> None:
    check_choices(*choices)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: GradientDescent(window=0), "window = 0"),
        (lambda: Momentum(momentum=1.5), "momentum = 1.5"),
        (lambda: Momentum(iterations=0), "iterations = 0"),
        (lambda: MultiStep(steps=0), "steps = 0"),
        (lambda: ClosedForm(ridge=0), "singular without it"),
        (lambda: NonParametric(window=0), "window = 0"),
    ],
)
def test_impossible_settings_are_refused(make: object, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        make()  # type: ignore[operator]
