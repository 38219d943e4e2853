"""The mixture that decides which older nodes a new one belongs with."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mnemos.text.recipes.association import ALIKE, accepted


def test_two_bells_far_apart_are_told_apart_exactly() -> None:
    draw = np.random.default_rng(0)
    for low, high in ((22, 8), (15, 15), (4, 26), (28, 2)):
        values = np.concatenate([draw.normal(0.2, 0.03, low), draw.normal(0.7, 0.03, high)])
        assert accepted(values[None])[0].tolist() == [False] * low + [True] * high


@pytest.mark.parametrize("apart", [2.5, 3.0, 4.0])
def test_where_bells_overlap_the_error_is_that_of_theory(apart: float) -> None:
    n, draw = 20_000, np.random.default_rng(1)
    values = np.concatenate([draw.normal(0, 1, n), draw.normal(apart, 1, n)])
    wrong = (accepted(values[None])[0] != (np.arange(2 * n) >= n)).mean()
    expected = 0.5 * math.erfc(apart / 2 / math.sqrt(2))
    assert abs(wrong - expected) < 3 * math.sqrt(expected * (1 - expected) / (2 * n))


def test_equal_candidates_are_all_accepted_or_none() -> None:
    assert accepted(np.full((1, 20), 0.9)).all()
    assert not accepted(np.full((1, 20), 0.1)).any()
    assert accepted(np.full((1, 20), ALIKE)).all()


def test_fewer_than_four_candidates_meet_a_fixed_bar() -> None:
    assert accepted(np.array([[0.9, 0.1, 0.6]])).tolist() == [[True, False, True]]
    assert accepted(np.zeros((3, 0))).shape == (3, 0)
    assert accepted(np.zeros((0, 5))).shape == (0, 5)


def test_candidates_that_are_not_there_are_never_accepted_and_change_nothing() -> None:
    draw = np.random.default_rng(2)
    values = np.concatenate([draw.normal(0.2, 0.03, 12), draw.normal(0.7, 0.03, 8)])
    padded = np.concatenate([values, np.full(5, 0.99)])[None]
    there = np.arange(25)[None] < 20
    found = accepted(padded, there)[0]
    assert found[:20].tolist() == accepted(values[None])[0].tolist()
    assert not found[20:].any()


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 25)), elements=st.floats(-1, 1)))
def test_whatever_the_numbers_the_most_similar_come_first_and_rows_stand_alone(values: np.ndarray) -> None:
    found = accepted(values)
    for row, chosen in zip(values, found, strict=True):
        if chosen.any():
            assert chosen[row >= row[chosen].min()].all()
        assert chosen.tolist() == accepted(row[None])[0].tolist()
    assert found.tolist() == accepted(values).tolist()
