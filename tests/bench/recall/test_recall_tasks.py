from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.bench.recall import MQAR, Batch, RecallTask, recall_names, recall_task, task_sizes
from mnemos.core.errors import InvalidInput, NotFound

TASKS: dict[str, RecallTask] = {
    **{name: recall_task(name) for name in recall_names()},
    "mqar, fillers and passes": recall_task("mqar", length=96, passes=2, filler=True),
    "mqar, no slot to spare": recall_task("mqar", length=32),
    "joint_recall, of one size": recall_task("joint_recall", contexts=(5, 5), keys=(2, 2), values=16),
    "noisy_recall, one question": recall_task("noisy_recall", single=True, noise=0.8),
    "fuzzy_recall, short": recall_task("fuzzy_recall", length=12),
    "memorisation, odd": recall_task("memorisation", vocab=37, length=10),
    "selective_copying, no blanks": recall_task("selective_copying", length=33),
    "induction_heads, three tokens": recall_task("induction_heads", length=40, copied=3),
    "needle, four keys": recall_task("needle", length=448, keys=4),
}
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def answers_of(task: RecallTask, batch: Batch) -> np.ndarray:
    return np.where(batch.mask, batch.targets, -100)


@every_task
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_solver_answers_everything(task: RecallTask, split: Any) -> None:
    batch = task.batch(64, 3, split)
    assert batch.mask.any(1).all()
    assert task.score(task.solver(batch.tokens), batch) == 1.0


@every_task
def test_answers_are_known_from_the_tokens_before_them(task: RecallTask) -> None:
    batch = task.batch(24, 5, "test")
    answers, rng = answers_of(task, batch), np.random.default_rng(0)
    for at in rng.choice(np.flatnonzero(batch.mask.any(0)), 6):
        cut = batch.tokens.copy()  # everything behind the question now comes from other sequences
        cut[:, at + 1 :] = task.batch(24, 6, "test").tokens[:, at + 1 :]
        asked = batch.mask[:, at]
        try:
            found = task.solver(cut)[asked, at]
        except (IndexError, ValueError):  # spliced text without its question: only the last digits are asked
            assert type(task).__name__ in ("Needle", "Passkey")
            continue
        np.testing.assert_array_equal(found, answers[asked, at])


@every_task
def test_shapes_types_and_ranges(task: RecallTask) -> None:
    batch = task.batch(7, 0)
    for array in (batch.tokens, batch.targets, batch.meta["reach"]):
        assert array.shape == (7, task.length)
        assert array.dtype == np.int64
    assert 0 <= batch.tokens.min() <= batch.tokens.max() < task.vocab
    targets = batch.targets[batch.targets != -100]
    assert 0 <= targets.min() <= targets.max() < task.vocab
    assert (batch.targets[batch.mask] != -100).all()
    assert (batch.meta["reach"] <= np.arange(task.length)).all()


@every_task
def test_the_same_seed_gives_the_same_bytes_and_no_seed_is_in_both_splits(task: RecallTask) -> None:
    assert task.batch(8, 11).tokens.tobytes() == task.batch(8, 11).tokens.tobytes()
    assert task.batch(8, 11).tokens.tobytes() != task.batch(8, 12).tokens.tobytes()
    assert task.batch(8, 11, "train").tokens.tobytes() != task.batch(8, 11, "test").tokens.tobytes()
    task.batch(1, 2**31 - 1)
    with pytest.raises(InvalidInput, match="seed"):
        task.batch(1, 2**31)


@every_task
def test_one_answer_for_all_scores_chance(task: RecallTask) -> None:
    batch = task.batch(4096 if task.length <= 64 else 1024, 1, "test")
    asked = np.unique(batch.targets[batch.mask])
    best = [task.score(np.full_like(batch.targets, token), batch) for token in asked]
    # Mean over the answers, as the luckiest of hundreds is above what it expects.
    assert np.mean(best) == pytest.approx(task.chance, rel=0.03)


@every_task
def test_ceilings_rise_with_the_window_to_one(task: RecallTask) -> None:
    batch = task.batch(128, 2, "test")
    shares = [task.ceiling(window, batch) for window in range(1, task.length + 1, max(1, task.length // 16))]
    assert shares == sorted(shares)
    assert task.ceiling(task.length, batch) == 1.0


@pytest.mark.parametrize("window", [16, 17])
@pytest.mark.parametrize("name", ["mqar", "in_context_recall", "noisy_recall", "induction_heads", "associative_recall"])
def test_a_reader_of_the_window_scores_the_ceiling(name: str, window: int) -> None:
    """A brute-force reader of neighbouring pairs in the window and the two tokens that the convolution adds to it."""
    task = recall_task(name)
    batch = task.batch(64, 4, "test")
    said = np.full_like(batch.tokens, -1)
    for row, at in zip(*np.nonzero(batch.mask), strict=True):
        begin = max(0, at - window - 1)
        places = begin + np.flatnonzero(batch.tokens[row, begin:at] == batch.tokens[row, at])
        if name == "mqar":  # a query is followed by filler: only the list of pairs says something
            places = places[places < 16]
        if places.size:
            said[row, at] = batch.tokens[row, places[-1] + 1]
    assert task.score(said, batch) == pytest.approx(task.ceiling(window, batch))


def test_joint_recall_reaches_back_to_the_context_of_the_first_half() -> None:
    batch = recall_task("joint_recall").batch(16, 0)
    for row, at in zip(*np.nonzero(batch.mask), strict=True):
        tokens = batch.tokens[row, : at + 1].tolist()
        context = next(token for token in reversed(tokens) if token >= 42)
        assert batch.meta["reach"][row, at] == at - tokens.index(context)


def test_ceilings_of_mqar_are_those_of_its_card() -> None:
    small, large = recall_task("mqar"), recall_task("mqar", "512x64")
    for window, share in {8: 0.08, 16: 0.39, 24: 0.62, 32: 0.76, 48: 0.95}.items():
        assert small.ceiling(window) == pytest.approx(share, abs=0.01)
    for window, share in {64: 0.05, 128: 0.37}.items():
        assert large.ceiling(window) == pytest.approx(share, abs=0.01)


def test_slots_of_mqar_follow_the_power_law() -> None:
    task = MQAR(length=64, pairs=4)
    reach = task.batch(4096, 0).meta["reach"]
    assert reach[reach > 0].mean() == pytest.approx(19.3, abs=0.2)
    assert np.median((np.nonzero(reach)[1] - task.context) // 2 + 1) == 5
    slot = np.argmax(MQAR(length=58, pairs=1).batch(8192, 0).meta["reach"] > 0, axis=1) // 2  # 28 slots from 1 on
    assert (slot == 1).mean() == pytest.approx(0.251, abs=0.015)
    uniform = np.argmax(MQAR(length=58, pairs=1, power=1.0).batch(8192, 0).meta["reach"] > 0, axis=1) // 2
    assert uniform.mean() == pytest.approx(14.5, abs=0.3)


def test_mqar_never_shows_its_answers_and_lists_distinct_pairs() -> None:
    batch = MQAR().batch(64, 0)
    assert (batch.tokens[:, 16:] < 64).all()
    assert all(len(set(row)) == 16 for row in batch.tokens[:, :16].tolist())
    np.testing.assert_array_equal(np.sort(batch.targets)[:, -8:], np.sort(batch.tokens[:, 1:16:2]))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 3), st.integers(0, 9), st.booleans(), st.integers(0, 2**31 - 1))
def test_mqar_of_any_shape_is_solved(pairs: int, passes: int, spare: int, filler: bool, seed: int) -> None:
    task = MQAR(vocab=128, length=2 * pairs * (passes + 1) + 2 * spare, pairs=pairs, passes=passes, filler=filler)
    batch = task.batch(8, seed)
    assert task.score(task.solver(batch.tokens), batch) == 1.0
    assert (batch.mask.sum(1) == pairs).all()


def test_no_table_of_joint_recall_is_in_two_splits() -> None:
    task = recall_task("joint_recall", contexts=(2, 2), keys=(2, 2), values=4)  # 256 tables: all turn up

    def tables(split: Any) -> set[bytes]:
        batch = task.batch(4096, 0, split)
        found = np.full((4096, 58, 58), 0)
        context = np.maximum.accumulate(np.where(batch.tokens >= 42, np.arange(task.length), 0), axis=1)
        row, at = np.nonzero(batch.mask)
        found[row, batch.tokens[row, context[row, at]], batch.tokens[row, at]] = batch.targets[row, at]
        return {table.tobytes() for table in found[:, 42:44, 26:28]}

    train, test = tables("train"), tables("test")
    assert not train & test
    assert len(train | test) == 256
    assert 90 < len(train) < 166


def test_joint_recall_of_the_paper_has_its_length_and_all_its_sizes() -> None:
    task = recall_task("joint_recall", "paper")
    assert (task.length, task.vocab, task.chance) == (1058, 58, 0.0625)
    batch = task.batch(256, 0)
    asked = batch.mask.sum(1)
    assert asked.min() >= 25
    assert asked.max() <= 256
    assert len({(row >= 42).sum() for row in batch.tokens}) == 12  # both halves name each of 5..16 contexts
    used = (batch.tokens != 3).sum(1)
    assert all((row[count:] == 3).all() for row, count in zip(batch.tokens, used, strict=True))


def test_mad_scores_are_means_over_classes_and_others_over_sequences() -> None:
    targets = np.full((2, 128), -100)
    targets[0, :9], targets[1, 0] = 8, 9
    batch = Batch(np.zeros_like(targets), targets, {"reach": (targets >= 0).astype(np.int64)})
    said = np.full_like(targets, 8)
    said[0, 0] = 0
    assert recall_task("noisy_recall").score(said, batch) == pytest.approx(8 / 9 / 2)
    assert recall_task("mqar").score(said, batch) == pytest.approx(8 / 9 / 2)
    targets[1, 1:9] = 8  # now the second sequence has eight of nine right, and class 9 still none
    batch = replace(batch, meta={"reach": (targets >= 0).astype(np.int64)})
    assert recall_task("mqar").score(said, batch) == pytest.approx(8 / 9)
    assert recall_task("noisy_recall").score(said, batch) == pytest.approx(16 / 17 / 2)


def test_dense_tasks_train_on_every_next_token_and_are_judged_on_questions_only() -> None:
    for name in ("in_context_recall", "noisy_recall", "fuzzy_recall", "induction_heads", "associative_recall"):
        train, test = recall_task(name).batch(8, 0), recall_task(name).batch(8, 0, "test")
        np.testing.assert_array_equal(train.targets[:, :-1], train.tokens[:, 1:])
        assert (train.mask.sum(1) < train.targets.shape[1] / 2 + 1).all()
        np.testing.assert_array_equal(test.targets != -100, test.mask)


def test_noise_takes_its_share_of_pairs_and_leaves_one() -> None:
    pairs = recall_task("noisy_recall").batch(512, 0).tokens[:, :-2:2]
    assert (pairs >= 16).mean() == pytest.approx(0.2 * 62 / 63, abs=0.01)
    assert (recall_task("noisy_recall", noise=0.999).batch(64, 0).tokens[:, :-2] < 16).any(1).all()


def test_fuzzy_keys_are_full_in_test_and_of_all_lengths_in_training() -> None:
    task = recall_task("fuzzy_recall")
    lengths = {}
    for split in ("train", "test"):
        lengths[split] = set()
        for row in task.batch(16, 0, split).tokens[:, :-6].tolist():  # the last pair may be cut
            runs = "".join("p" if t == 15 else "k" if t < 7 else "v" for t in row).strip("p").split("v")
            lengths[split] |= {len(run) for run in runs[:-1] if run}
    assert lengths == {"train": {1, 2, 3}, "test": {3}}


def test_memorisation_asks_the_same_facts_of_both_splits() -> None:
    task = recall_task("memorisation")
    facts = [
        set(zip(batch.tokens[:, ::2].ravel().tolist(), batch.targets[:, 1::2].ravel().tolist(), strict=True))
        for batch in (task.batch(256, 0, "train"), task.batch(256, 0, "test"))
    ]
    assert facts[0] == facts[1]
    assert len(facts[0]) == 127


def test_copying_puts_no_blank_behind_the_last_token() -> None:
    tokens = recall_task("selective_copying").batch(64, 0).tokens
    assert (tokens[:, -17] == 15).all()
    assert (tokens[:, -18] < 14).all()
    assert ((tokens < 14).sum(1) == 16).all()


def test_associative_recall_ends_with_the_copy_token_and_a_key_that_occurred() -> None:
    tokens = recall_task("associative_recall").batch(64, 0).tokens
    assert tokens.shape == (64, 42)
    assert (tokens[:, 40] == 19).all()
    assert (tokens != 18).all()
    assert (tokens[:, :40:2] == tokens[:, 41:]).any(1).all()


def test_published_sizes_can_be_asked_for_and_settings_go_over_them() -> None:
    assert task_sizes("mqar") == ["64x4", "128x8", "256x16", "512x64", "2048x512"]
    assert recall_task("mqar", "512x64") == MQAR(vocab=8192, length=512, pairs=64)
    assert recall_task("mqar", "512x64", pairs=8) == MQAR(vocab=8192, length=512, pairs=8)


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("mqar", {"pairs": 17}, "lower pairs"),
        ("mqar", {"length": 63}, "even"),
        ("mqar", {"vocab": 64}, "more than length"),
        ("mqar", {"pairs": 2.0}, "pairs"),
        ("mqar", {"power": 0}, "power"),
        ("mqar", {"power": float("nan")}, "power"),
        ("mqar", {"filler": 1}, "True or False"),
        ("mqar", {"pears": 3}, "no setting 'pears'"),
        ("mqar", {"size": "huge"}, "no size"),
        ("joint_recall", {"contexts": (5, 17)}, "contexts"),
        ("joint_recall", {"keys": 4}, "keys"),
        ("joint_recall", {"contexts": (1, 2), "keys": (1, 2)}, "fewer than 256"),
        ("joint_recall", {"values": 17}, "values"),
        ("noisy_recall", {"noise": 1.0}, "noise"),
        ("in_context_recall", {"noise": 0.1}, "noise_vocab"),
        ("noisy_recall", {"vocab": 17}, "no key and value"),
        ("fuzzy_recall", {"motif": 8}, "motifs of 8"),
        ("fuzzy_recall", {"length": 11}, "length"),
        ("memorisation", {"length": 31}, "even"),
        ("selective_copying", {"copied": 128}, "copied"),
        ("induction_heads", {"length": 2}, "length"),
        ("needle", {"length": 100}, "bytes"),
        ("passkey", {"keys": 2}, "one pass key"),
    ],
)
def test_settings_that_cannot_be_are_refused(name: str, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        recall_task(name, **wrong)


def test_bad_calls_are_refused() -> None:
    task = recall_task("mqar")
    batch = task.batch(2, 0)
    for call in (
        lambda: task.batch(0, 0),
        lambda: task.batch(1, -1),
        lambda: task.batch(1, 0, "validation"),  # type: ignore[arg-type]
        lambda: task.ceiling(0),
        lambda: task.score(batch.tokens[:, :-1], batch),
    ):
        with pytest.raises(InvalidInput):
            call()


def test_an_unknown_task_is_answered_with_the_nearest() -> None:
    with pytest.raises(NotFound, match="mqar"):
        recall_task("mqarr")


def test_recall_tasks_load_no_torch() -> None:
    program = "import sys, mnemos.bench.recall; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
