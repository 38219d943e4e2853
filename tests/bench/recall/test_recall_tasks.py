from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.bench.recall import IGNORED, RECALL, recall_task
from mnemos.bench.recall.mad import FuzzyRecall
from mnemos.bench.recall.mqar import MQAR
from mnemos.core.errors import InvalidInput, NotFound

VARIANTS = {
    **{name: recall_task(name) for name in RECALL},
    "mqar, two passes and fillers": recall_task("mqar", tokens=96, passes=2, filler=True),
    "joint, 16 by 3": recall_task("joint", contexts=16, keys=3),
    "noisy, mostly noise": recall_task("noisy", noise=0.8),
}
ONE_QUESTION = {"induction", "associative", "needle"}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_solver_answers_every_question_right(name: str, split: str) -> None:
    task = VARIANTS[name]
    batch = task.batch(64, 3, split)
    answers = task.solver(batch.tokens)
    probes = (batch.targets != IGNORED) & (batch.reach > 0)
    if isinstance(task, FuzzyRecall) and split == "train":
        # a motif that may be as short as one token does not say where it ends
        assert (answers == batch.targets)[probes].mean() > 0.6
        return
    assert probes.any(1).all()
    np.testing.assert_array_equal(answers[probes], batch.targets[probes])


@pytest.mark.parametrize("name", VARIANTS)
def test_the_solver_looks_at_nothing_after_the_question(name: str) -> None:
    task = VARIANTS[name]
    batch = task.batch(16, 5, "test")
    row = 0
    place = int(np.flatnonzero(batch.targets[row] != IGNORED)[0])
    changed = batch.tokens.copy()
    changed[row, place + 1 :] = np.roll(changed[row, place + 1 :], 1)
    assert task.solver(changed)[row, place] == batch.targets[row, place]


@pytest.mark.parametrize("name", VARIANTS)
def test_tokens_and_targets_stay_in_the_vocabulary_and_the_length(name: str) -> None:
    task = VARIANTS[name]
    batch = task.batch(32, 0, "test")
    assert batch.tokens.shape == batch.targets.shape == batch.reach.shape == (32, task.length)
    assert batch.tokens.min() >= 0
    assert batch.tokens.max() < task.vocab
    asked = batch.targets[batch.targets != IGNORED]
    assert asked.min() >= 0
    assert asked.max() < task.vocab


@pytest.mark.parametrize("name", VARIANTS)
def test_a_seed_gives_the_same_bytes_and_splits_never_meet(name: str) -> None:
    task = VARIANTS[name]
    np.testing.assert_array_equal(task.batch(8, 1).tokens, task.batch(8, 1).tokens)
    trained = {row.tobytes() for seed in range(20) for row in task.batch(32, seed, "train").tokens}
    tested = {row.tobytes() for row in task.batch(64, 0, "test").tokens}
    assert not trained & tested or name == "memorisation"


@pytest.mark.parametrize("name", VARIANTS)
def test_an_answer_that_ignores_the_sequence_scores_chance(name: str) -> None:
    task = VARIANTS[name]
    batch = task.batch(4096 if name in ONE_QUESTION else 512, 0, "test")
    asked = batch.targets[batch.targets != IGNORED]
    guess = np.full_like(batch.tokens, int(np.bincount(asked).argmax()))
    assert task.score(guess, batch) == pytest.approx(task.chance, rel=0.35, abs=0.01)


@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - {"memorisation"}))
def test_the_ceiling_rises_with_the_window_from_nothing_to_everything(name: str) -> None:
    task = VARIANTS[name]
    values = [task.ceiling(window, 256) for window in (0, task.length // 4, task.length // 2, task.length)]
    assert values == sorted(values)
    assert values[0] == 0
    assert values[-1] == 1


def test_the_windows_of_mqar_reach_what_was_measured() -> None:
    task = MQAR()
    for window, share in {8: 0.08, 16: 0.39, 24: 0.62, 32: 0.76, 48: 0.95}.items():
        assert task.ceiling(window) == pytest.approx(share, abs=0.02)
    long = MQAR(size=8192, tokens=512, pairs=64)
    assert long.ceiling(64, 256) == pytest.approx(0.05, abs=0.02)
    assert long.ceiling(128, 256) == pytest.approx(0.37, abs=0.02)


def test_the_slots_of_mqar_follow_their_power_law() -> None:
    task = MQAR(size=128, tokens=64, pairs=4)
    batch = task.batch(4000, 0)
    slots = (np.argwhere(batch.targets != IGNORED)[:, 1] - 8) // 2
    distance = batch.reach[batch.targets != IGNORED]
    assert np.median(slots) + 1 == pytest.approx(5, abs=1)
    assert distance.mean() == pytest.approx(19.3, abs=0.4)
    single = MQAR(size=128, tokens=58, pairs=1)  # 28 slots, one draw
    first = (np.argwhere(single.batch(4000, 0).targets != IGNORED)[:, 1] - 2) // 2 == 0
    assert first.mean() == pytest.approx(0.251, abs=0.02)


def test_answers_of_mqar_are_never_shown_in_the_query_area() -> None:
    batch = MQAR().batch(64, 0)
    area = batch.tokens[:, 16:]
    assert area.max() < 64


def test_macro_score_counts_a_rare_answer_as_much_as_a_frequent_one() -> None:
    task = recall_task("in-context")
    batch = task.batch(1, 0, "test")
    targets = np.full_like(batch.targets, IGNORED)
    targets[0, :10] = 8
    targets[0, 10] = 9
    said = np.where(targets == 8, 8, 0)
    assert task.score(said, batch._replace(targets=targets)) == 0.5


@settings(deadline=None, max_examples=20)
@given(pairs=st.integers(1, 10), spare=st.integers(0, 10), seed=st.integers(0, 1000), filler=st.booleans())
def test_mqar_of_any_size_is_solved_by_its_solver(pairs: int, spare: int, seed: int, filler: bool) -> None:
    task = MQAR(size=64, tokens=4 * pairs + 2 * spare, pairs=pairs, filler=filler)
    batch = task.batch(8, seed)
    assert task.score(task.solver(batch.tokens), batch) == 1.0
    assert ((batch.targets != IGNORED).sum(1) == pairs).all()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("mqar", {"pairs": 100}),
        ("mqar", {"tokens": 63}),
        ("joint", {"contexts": 17}),
        ("noisy", {"noise": 1.0}),
        ("fuzzy", {"motif": 9}),
        ("copying", {"copies": 200}),
        ("induction", {"tokens": 2}),
        ("needle", {"tokens": 20}),
        ("mqar", {"pears": 3}),
    ],
)
def test_settings_that_cannot_be_are_refused(name: str, wrong: dict) -> None:
    with pytest.raises(InvalidInput):
        recall_task(name, **wrong)


def test_an_unknown_task_is_answered_with_the_nearest() -> None:
    with pytest.raises(NotFound, match="mqar"):
        recall_task("mqarr")


def test_a_seed_of_the_other_split_is_refused() -> None:
    with pytest.raises(InvalidInput, match="seed"):
        MQAR().batch(1, 2**31)
