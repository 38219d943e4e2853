"""What the ranking models look at, and what they may not hold against a text."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from mnemos.text.recall.model import FEATURES, PLACES, slopes, weights
from mnemos.text.recall.rank import _place


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=0, max_size=40))
def test_a_place_counts_from_the_best_and_equals_share_theirs(values: list[float]) -> None:
    signal = np.array(values, np.float32)
    expected = np.log1p(rankdata(-signal) - 1) if values else np.zeros(0)
    np.testing.assert_allclose(_place(signal), expected, rtol=1e-6)


def test_sharing_more_with_the_question_never_counts_against_a_text() -> None:
    for kind in ("hybrid", "lexical"):
        for model in ("rough", "own"):
            slope = slopes(f"{kind}-{model}")
            assert all(slope[name] >= 0 for name in ("words", "coverage", "talk 2", "talk 4", "speaker", "in window"))
            assert all(slope[name] >= 0 for name in ("meaning", "meaning z", "session meaning", "answers meaning"))
            assert all(slope[name] <= 0 for name in PLACES)


def test_the_model_that_chooses_candidates_compares_none_with_another() -> None:
    for kind in ("hybrid", "lexical"):
        assert not weights()[f"{kind}-rough"].weight[np.isin(FEATURES, PLACES)].any()
