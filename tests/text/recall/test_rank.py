"""What the ranking models look at, and what they may not hold against a text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from mnemos.text.recall.model import FEATURES, KINDS, PLACES, kind_of, slopes, weights
from mnemos.text.recall.rank import _place
from mnemos.text.recall.seed import _highest


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=0, max_size=40))
def test_a_place_counts_from_the_best_and_equals_share_theirs(values: list[float]) -> None:
    signal = np.array(values, np.float32)
    expected = np.log1p(rankdata(-signal) - 1) if values else np.zeros(0)
    np.testing.assert_allclose(_place(signal), expected, rtol=1e-6)


def test_sharing_more_with_the_question_never_counts_against_a_text() -> None:
    for kind in KINDS:
        for model in ("rough", "own"):
            slope = slopes(f"{kind}-{model}")
            assert all(slope[name] >= 0 for name in ("words", "coverage", "talk 2", "talk 4", "speaker", "in window"))
            assert all(slope[name] >= 0 for name in ("meaning", "meaning z", "session meaning", "answers meaning"))
            assert all(slope[name] <= 0 for name in PLACES)


@pytest.mark.parametrize(
    ("embedder", "kind"),
    [("", "lexical"), ("static-minilm-l6-256", "static"), ("minilm-int8", "hybrid"), ("openai:text-3@512", "hybrid")],
)
def test_each_kind_of_embedder_has_weights_of_its_own(embedder: str, kind: str) -> None:
    assert kind_of(embedder) == kind
    assert {f"{kind}-{model}" for model in ("rough", "own", "spread", "confidence")} <= weights().keys()


def test_the_model_that_chooses_candidates_compares_none_with_another() -> None:
    for kind in KINDS:
        assert not weights()[f"{kind}-rough"].weight[np.isin(FEATURES, PLACES)].any()


@pytest.mark.parametrize("size", [1, 5, 96, 800, 9000])
@pytest.mark.parametrize("values", ["apart", "equal", "mostly hidden"])
@pytest.mark.parametrize("k", [1, 96, 256])
def test_the_highest_are_those_that_a_full_sort_finds(size: int, values: str, k: int) -> None:
    scores = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    if values == "equal":
        scores = np.round(scores)
    if values == "mostly hidden":
        scores[np.arange(size) % 50 > 0] = -np.inf
    found = scores[_highest(scores, k)]
    np.testing.assert_array_equal(np.sort(found), np.sort(scores)[-k:])
