"""The entropy router: weights of units by how certain they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mnemos.core.errors import InvalidInput
from mnemos.text.recipes.router import calibrated, entropies, route

_scores = arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.floats(-3, 3, allow_subnormal=False)
)
_SURE = np.array([50.0, 0, 0, 0])
_FLAT = np.zeros(4)


@settings(max_examples=50, deadline=None)
@given(_scores, st.floats(0.05, 2))
def test_weights_are_shares_and_do_not_care_for_a_constant(scores: np.ndarray, temperature: float) -> None:
    weights = route(scores, temperature)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    assert route(scores + 1.5, temperature) == pytest.approx(weights, abs=1e-9)


def test_a_certain_unit_has_no_entropy_and_a_flat_one_all_of_it_and_no_weight() -> None:
    assert entropies(np.stack([_SURE, _FLAT]), 1.0) == pytest.approx([0, 1])
    assert route(np.stack([_SURE, _FLAT]), 1.0) == pytest.approx([1, 0])
    weights = route(np.stack([_SURE, [1.0, 0, 0, 0], [0.5, 0, 0, 0]]), 1.0)
    assert weights.argmax() == 0


@pytest.mark.parametrize("scores", [np.tile(_SURE, (3, 1)), np.tile(_FLAT, (3, 1)), np.ones((3, 1))])
def test_units_that_are_equally_certain_weigh_the_same(scores: np.ndarray) -> None:
    assert route(scores) == pytest.approx([1 / 3] * 3)


def _raised(scores: np.ndarray, unit: int, by: float) -> np.ndarray:
    """`scores` with the best session of one unit standing out more."""
    out = scores.copy()
    out[unit, out[unit].argmax()] += by
    return out


@settings(max_examples=50, deadline=None)
@given(_scores, st.floats(0, 3), st.data())
def test_a_unit_that_grows_more_certain_never_loses_weight(scores: np.ndarray, by: float, data: st.DataObject) -> None:
    unit = data.draw(st.integers(0, len(scores) - 1))
    assert route(_raised(scores, unit, by))[unit] >= route(scores)[unit] - 1e-9


def _in_nats(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Weights as in the published code."""
    share = np.exp(scores / temperature)
    share /= share.sum(axis=1, keepdims=True)
    left = 1 + (share * np.log(share)).sum(axis=1)
    return np.asarray(left / left.sum())


@pytest.mark.parametrize("sessions", [10, 50])
def test_entropies_in_nats_turn_the_order_of_the_units_round(sessions: int) -> None:
    scores = np.random.default_rng(0).uniform(0, 0.5, (3, sessions))
    surer = _raised(scores, 0, 0.3)
    assert route(surer, 0.2)[0] > route(scores, 0.2)[0]
    assert _in_nats(surer, 0.2)[0] < _in_nats(scores, 0.2)[0]
    assert _in_nats(surer, 0.2).argmin() == route(surer, 0.2).argmax() == 0


def test_calibrated_units_have_one_spread_and_a_unit_that_says_nothing_stays_silent() -> None:
    scores = np.stack([np.arange(5.0), 100 * np.arange(5.0), np.full(5, 7.0)])
    calm = calibrated(scores)
    assert calm[0] == pytest.approx(calm[1])
    assert calm[0].std() == pytest.approx(1)
    assert (calm[2] == 0).all()


@pytest.mark.parametrize(("scores", "temperature"), [(np.zeros((2, 0)), 1.0), (np.zeros(3), 1.0), (np.ones((2, 2)), 0)])
def test_scores_of_nothing_and_a_cold_softmax_are_refused(scores: np.ndarray, temperature: float) -> None:
    with pytest.raises(InvalidInput, match="temperature"):
        route(scores, temperature)
