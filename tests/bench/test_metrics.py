from __future__ import annotations

import itertools
import json
import lzma
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.bench.metrics import (
    auroc,
    bootstrap_ci,
    dcg,
    dcg_legacy,
    hit_at,
    locomo_score,
    ndcg_at,
    normalise,
    paired_bootstrap,
    recall_all_at,
    recall_at,
    reciprocal_rank,
    token_f1,
)
from mnemos.core.errors import InvalidInput

LOCOMO = Path(__file__).parents[3] / "shared/data/locomo/locomo5.json.xz"
IDS = [f"D{n}" for n in range(8)]


def test_normalise_drops_case_punctuation_articles_and_commas_inside_numbers() -> None:
    assert normalise("  The cat, AND a Dog's\tan  owner: $1,200!") == "cat dogs owner 1200"


def test_articles_go_only_as_whole_words() -> None:
    assert normalise("another android, theatre") == "another android theatre"


def test_f1_compares_stems() -> None:
    assert token_f1("Running!", "runs") == 1.0


def test_f1_counts_repeated_words_as_often_as_both_have_them() -> None:
    # 2 of 3 predicted words are right, 2 of 4 gold words are found: 2·(2/3)(1/2)/(2/3+1/2)
    assert token_f1("red red blue", "red red red green") == pytest.approx(4 / 7)


@pytest.mark.parametrize(("prediction", "gold"), [("", "cat"), ("cat", ""), ("the", "the"), ("", "")])
def test_f1_of_nothing_is_zero(prediction: str, gold: str) -> None:
    assert token_f1(prediction, gold) == 0.0


@given(st.text(max_size=40), st.text(max_size=40))
def test_f1_is_symmetric_and_within_bounds(a: str, b: str) -> None:
    assert token_f1(a, b) == token_f1(b, a)
    assert 0.0 <= token_f1(a, b) <= 1.0


def test_multi_hop_ignores_the_order_of_the_parts_and_single_hop_does_not_split() -> None:
    assert locomo_score("a cat, big dog", "dogs that are big, cats", 1) == pytest.approx((1 + 2 / 3) / 2)
    assert locomo_score("beach, park", "park, beach", 1) == 1.0
    assert locomo_score("beach, lake", "park, beach", 1) == 0.5
    assert locomo_score("b c, b", "b, c b", 4) == 1.0


def test_multi_hop_does_not_punish_extra_predicted_parts() -> None:
    assert locomo_score("beach, lake, hill", "beach", 1) == 1.0


def test_open_domain_gold_ends_at_its_first_semicolon() -> None:
    assert locomo_score("likely no", "Likely no; she prefers tea; and cake", 3) == 1.0
    assert locomo_score("likely no", "Likely no; she prefers tea", 4) < 1.0


@pytest.mark.parametrize("answer", ["No information available.", "It is NOT MENTIONED in the talk", "not mentioned"])
def test_adversarial_rewards_declining(answer: str) -> None:
    assert locomo_score(answer, None, 5) == 1.0


def test_adversarial_gives_nothing_for_anything_else_even_the_gold() -> None:
    assert locomo_score("a red car", "a red car", 5) == 0.0
    assert locomo_score("I do not know", None, 5) == 0.0


def test_numbers_are_gold_answers_too() -> None:
    assert locomo_score("In 2022", 2022, 2) == pytest.approx(2 / 3)


@pytest.mark.parametrize("category", [0, 6, -1])
def test_unknown_categories_are_refused(category: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 5"):
        locomo_score("x", "x", category)


def test_a_missing_gold_is_refused_outside_category_5() -> None:
    with pytest.raises(InvalidInput, match="gold"):
        locomo_score("x", None, 4)


@pytest.mark.skipif(not LOCOMO.exists(), reason="the LoCoMo conversations are not beside the repository")
def test_every_locomo_gold_scores_1_against_itself() -> None:
    with lzma.open(LOCOMO) as file:
        questions = [q for conversation in json.load(file) for q in conversation["qa"] if q["category"] != 5]
    assert len(questions) > 700
    for q in questions:
        gold = str(q["answer"]).split(";")[0] if q["category"] == 3 else str(q["answer"])
        assert locomo_score(gold, q["answer"], q["category"]) == pytest.approx(1.0), q


def test_recall_hit_and_recall_all_by_hand() -> None:
    found = ["D5", "D1", "D7", "D2"]
    gold = ["D1", "D2", "D3"]
    assert [recall_at(found, gold, k) for k in (1, 2, 4, 99)] == [0, 1 / 3, 2 / 3, 2 / 3]
    assert [hit_at(found, gold, k) for k in (1, 2, 4)] == [0, 1, 1]
    assert [recall_all_at(found, ["D1", "D2"], k) for k in (2, 3, 4)] == [0, 0, 1]


def test_a_gold_id_named_twice_counts_once() -> None:
    assert recall_at(["D1"], ["D1", "D1", "D2"], 1) == 0.5


def test_reciprocal_rank_is_that_of_the_first_gold_id() -> None:
    assert reciprocal_rank(["D9", "D8", "D1", "D2"], ["D2", "D1"]) == 1 / 3
    assert reciprocal_rank(["D9"], ["D1"]) == 0.0
    assert reciprocal_rank([], ["D1"]) == 0.0


@pytest.mark.parametrize("score", [recall_at, hit_at, recall_all_at, ndcg_at])
def test_rankings_refuse_k_0_and_no_gold_and_a_bare_text(score) -> None:
    with pytest.raises(InvalidInput, match="k = 0"):
        score(["D1"], ["D1"], 0)
    with pytest.raises(InvalidInput, match="no gold"):
        score(["D1"], [], 1)
    with pytest.raises(InvalidInput, match="list of ids"):
        score(["D1"], "D1", 1)


def test_dcg_by_hand() -> None:
    assert dcg([3, 2, 0, 1]) == pytest.approx(3 + 2 / math.log2(3) + 1 / math.log2(5))
    assert dcg_legacy([3, 2, 0, 1]) == pytest.approx(3 + 2 + 1 / 2)
    assert dcg([]) == dcg_legacy([]) == 0.0


@given(st.lists(st.floats(0, 10), min_size=2, max_size=12))
def test_legacy_dcg_does_not_tell_ranks_1_and_2_apart_and_the_standard_does(gains: list[float]) -> None:
    swapped = [gains[1], gains[0], *gains[2:]]
    assert dcg_legacy(swapped) == pytest.approx(dcg_legacy(gains))
    assert (dcg([1, 0, *gains[2:]]) > dcg([0, 1, *gains[2:]])) is True


@given(st.permutations(IDS), st.sets(st.sampled_from(IDS), min_size=1), st.integers(1, 10))
def test_ndcg_is_1_exactly_for_the_ideal_order_and_never_above(order: list[str], gold: set[str], k: int) -> None:
    value = ndcg_at(order, gold, k)
    ideal = set(order[: min(k, len(gold))]) <= gold
    assert value <= 1.0
    assert (value == 1.0) is ideal


def test_ndcg_counts_a_repeated_id_once() -> None:
    assert ndcg_at(["D1", "D1"], ["D1", "D2"], 2) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_ndcg_takes_the_legacy_discount() -> None:
    assert ndcg_at(["x", "D1"], ["D1"], 5, dcg=dcg_legacy) == 1.0
    assert ndcg_at(["x", "D1"], ["D1"], 5) == pytest.approx(1 / math.log2(3))


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_auroc_equals_the_count_over_all_pairs(items: list[tuple[int, bool]]) -> None:
    positives = [score for score, label in items if label]
    negatives = [score for score, label in items if not label]
    if not positives or not negatives:
        with pytest.raises(InvalidInput, match="needs both"):
            auroc(*zip(*items, strict=True))
        return
    pairs = list(itertools.product(positives, negatives))
    wins = sum((p > n) + 0.5 * (p == n) for p, n in pairs)
    assert auroc(*zip(*items, strict=True)) == wins / len(pairs)


def test_auroc_of_equal_scores_is_exactly_one_half() -> None:
    assert auroc([0.1] * 7, [1, 0, 0, 1, 1, 0, 1]) == 0.5


def test_auroc_refuses_nan_and_unequal_lengths() -> None:
    with pytest.raises(InvalidInput, match="NaN"):
        auroc([1.0, math.nan], [0, 1])
    with pytest.raises(InvalidInput, match="one length"):
        auroc([1.0], [0, 1])


def test_the_bootstrap_interval_agrees_with_the_normal_one_on_normal_data() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400)
    interval = bootstrap_ci(values, seed=1, n=2000)
    half = 1.96 * values.std(ddof=1) / 20
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.04)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.04)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(11)
    covered = 0
    for trial in range(200):
        interval = bootstrap_ci(random.random(60) < 0.3, seed=trial, n=200)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_bootstrap_repeats_with_its_seed_and_differs_with_another() -> None:
    values = list(np.random.default_rng(0).random(50))
    assert bootstrap_ci(values, seed=4) == bootstrap_ci(values, seed=4)
    assert bootstrap_ci(values, seed=4) != bootstrap_ci(values, seed=5)


@pytest.mark.parametrize("values", [[], [math.inf], [[1.0]]])
def test_the_bootstrap_refuses_what_has_no_mean(values: list[object]) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        bootstrap_ci(values, seed=0)


def test_pairing_finds_a_small_steady_gain_that_separate_intervals_hide() -> None:
    random = np.random.default_rng(5)
    b = random.random(300)
    a = b + 0.02 + random.normal(0, 0.05, 300)
    difference = paired_bootstrap(a, b, seed=0)
    assert bootstrap_ci(a, seed=0).low < bootstrap_ci(b, seed=0).high
    assert difference.low > 0
    assert difference.p < 0.01


def test_a_system_against_itself_is_no_difference() -> None:
    same = paired_bootstrap([0.0, 1.0, 0.5], [0.0, 1.0, 0.5], seed=0)
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_unequal_lengths_are_no_pairs() -> None:
    with pytest.raises(InvalidInput, match="no pairs"):
        paired_bootstrap([1.0], [1.0, 0.0], seed=0)
