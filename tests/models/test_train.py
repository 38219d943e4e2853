"""Training: exact to the bit when it goes on, and clear about what it cannot do."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnemos.core.errors import InvalidInput, MnemosError, NotFound
from mnemos.models import BPETokenizer, ByteTokenizer, TrainOptions, load, load_tokenizer, train
from mnemos.models.data import Windows, pieces
from mnemos.models.options import lr_factor
from mnemos.models.training import Report, make_optimizer

TEXT = "".join(f"line {n}: the cat number {n % 7} sat on mat {n % 5}, said {n * n} and left.\n" for n in range(150))


@pytest.fixture
def options(tmp_path: Path) -> TrainOptions:
    """A run of eight steps that takes a blink."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(TEXT, "utf-8")
    return TrainOptions(
        corpus=corpus, out=tmp_path / "model", mixer="tiny", layers=2, hidden=16, heads=2, context=24, batch=4,
        steps=8, lr=1e-2, warmup=2, save_every=4, log_every=1, validation_batches=3, sample_tokens=5,
    )  # fmt: skip


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load(out).state_dict()


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "training" / "log.jsonl").read_text("utf-8").splitlines()]


# -- going on ------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("stop_at", [1, 5])
def test_an_interrupted_run_ends_with_the_bits_of_one_that_was_not(
    options: TrainOptions, tmp_path: Path, optimizer: Any, stop_at: int
) -> None:
    options = replace(options, optimizer=optimizer, accumulate=2)
    whole = train(options)
    broken = replace(options, out=tmp_path / "broken")

    def interrupt(report: Report) -> None:
        if report.step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    first = train(broken, interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert (first.step, first.finished) == (stop_at, False)
    second = train(broken)
    assert (second.step, second.finished) == (8, True)
    assert second.validation_loss == whole.validation_loss
    one, other = weights(options.out), weights(broken.out)
    assert all(torch.equal(one[name], other[name]) for name in one)
    told = [{**row, "tokens_per_second": 0} for row in log(options.out) if "loss" in row]
    assert told == [{**row, "tokens_per_second": 0} for row in log(broken.out) if "loss" in row]


def test_what_was_logged_after_the_checkpoint_is_told_once(options: TrainOptions) -> None:
    class Crash(Exception):
        pass

    def crash(report: Report) -> None:
        if report.step == 6:
            raise Crash

    with pytest.raises(Crash):
        train(options, crash)
    with (options.out / "training" / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # and the crash cut a line
    assert train(options).step == 8
    assert [row["step"] for row in log(options.out) if "loss" in row] == list(range(1, 9))


def test_a_finished_run_is_left_as_it_is_and_can_be_made_longer(options: TrainOptions) -> None:
    first = train(options)
    before = weights(options.out)
    assert train(options) == first
    assert all(torch.equal(before[name], other) for name, other in weights(options.out).items())
    assert train(replace(options, steps=10)).step == 10


def test_a_second_interrupt_stops_at_once(options: TrainOptions) -> None:
    def twice(report: Report) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(options, twice)


@pytest.mark.parametrize(
    "change", [{"mixer": "tiny,tiny"}, {"hidden": 32}, {"lr": 0.1}, {"seed": 1}, {"context": 25}, {"optimizer": "muon"}]
)
def test_a_folder_with_a_run_of_other_options_is_refused(options: TrainOptions, change: dict[str, Any]) -> None:
    train(replace(options, steps=1))
    with pytest.raises(InvalidInput, match=f"has {next(iter(change))}"):
        train(replace(options, **change))


def test_a_run_on_another_corpus_is_refused(options: TrainOptions) -> None:
    train(replace(options, steps=1))
    options.corpus.write_text(TEXT + "more\n", "utf-8")
    with pytest.raises(InvalidInput, match="corpus_sha256"):
        train(options)


def test_a_foreign_model_is_not_overwritten(options: TrainOptions) -> None:
    options.out.mkdir()
    (options.out / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match="no run here made"):
        train(options)
    with pytest.raises(InvalidInput, match="is a file"):
        train(replace(options, out=options.corpus))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(options: TrainOptions, share: float) -> None:
    train(replace(options, steps=1))
    path = options.out / "training" / "checkpoint.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InvalidInput, match="damaged"):
        train(options)
    path.write_bytes(whole)
    assert train(replace(options, steps=2)).step == 2


# -- what it does --------------------------------------------------------------------------


@pytest.mark.parametrize(("optimizer", "tokenizer"), [("adamw", "bytes"), ("muon", "bpe")])
def test_it_learns_and_leaves_a_model_that_loads(options: TrainOptions, optimizer: Any, tokenizer: Any) -> None:
    reports: list[Report] = []
    options = replace(options, steps=40, save_every=20, optimizer=optimizer, tokenizer=tokenizer, vocab_size=300)
    result = train(options, reports.append)
    assert [report.step for report in reports] == list(range(1, 41))
    assert result.validation_loss is not None
    assert result.validation_loss < 0.8 * reports[0].loss
    speller = load_tokenizer(options.out)
    assert isinstance(speller, ByteTokenizer if tokenizer == "bytes" else BPETokenizer)
    model = load(options.out)
    assert model.config.vocab_size == speller.vocab_size
    assert model.generation_config.pad_token_id == speller.pad_id
    windows = Windows(TEXT, speller, options.context, options.validation)
    batches = list(windows.validation_batches(options.batch, options.validation_batches))
    losses = [model(one, labels=one, num_items_in_batch=1).loss.item() for one in batches]
    count = sum(one[:, 1:].numel() for one in batches)
    assert sum(losses) / count == pytest.approx(result.validation_loss, rel=1e-5)
    assert [report.step for report in reports if report.sample is not None] == [20, 40]


def test_accumulated_batches_are_one_larger_batch(options: TrainOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    def part_of_one(self: Windows, step: int, part: int, rows: int, seed: int) -> torch.Tensor:
        dice = torch.Generator().manual_seed(step)
        starts = torch.randint(100, (4,), generator=dice)[part * rows : (part + 1) * rows]
        return torch.stack([self.training[start : start + self.context] for start in starts.tolist()]).long()

    monkeypatch.setattr(Windows, "batch", part_of_one)
    one, other = [], []
    train(replace(options, batch=4, steps=3), one.append)
    train(replace(options, batch=2, accumulate=2, steps=3, out=options.out / "b"), other.append)
    assert [r.loss for r in one] == pytest.approx([r.loss for r in other], rel=1e-4)
    assert [r.grad_norm for r in one] == pytest.approx([r.grad_norm for r in other], rel=1e-3)


def test_the_logs_hold_losses_validations_and_samples(options: TrainOptions) -> None:
    reports: list[Report] = []
    train(options, reports.append)
    rows = log(options.out)
    assert [row["loss"] for row in rows if "loss" in row] == [report.loss for report in reports]
    assert [row["step"] for row in rows if "validation_loss" in row] == [4, 8]
    assert all(row["sample"].startswith("\n") for row in rows if "sample" in row)
    board = EventAccumulator(str(options.out / "training" / "tensorboard"))
    board.Reload()
    assert [event.value for event in board.Scalars("train/loss")] == pytest.approx([r.loss for r in reports])
    assert len(board.Scalars("validation/loss")) == 2


def test_the_random_state_of_the_caller_is_left_alone(options: TrainOptions) -> None:
    before = torch.get_rng_state()
    train(replace(options, steps=2))
    assert torch.equal(torch.get_rng_state(), before)


def test_checkpointed_activations_change_nothing(options: TrainOptions) -> None:
    train(replace(options, steps=3))
    train(replace(options, steps=3, checkpointing=True, out=options.out / "b"))
    one, other = weights(options.out), weights(options.out / "b")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_only_matrices_decay(options: TrainOptions) -> None:
    train(replace(options, steps=1))
    model = load(options.out)
    groups = make_optimizer(model, options).param_groups
    decayed = {id(one) for group in groups if group["weight_decay"] for one in group["params"]}
    plain = {name for name, one in model.named_parameters() if id(one) not in decayed}
    assert plain == {name for name, one in model.named_parameters() if "norm" in name or "embed" in name}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_schedules_warm_up_hold_and_come_down(options: TrainOptions, schedule: Any) -> None:
    options = replace(options, schedule=schedule, steps=100, warmup=10, lr_floor=0.1)
    factors = [lr_factor(step, options) for step in range(101)]
    assert factors[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == pytest.approx(0.1)
    assert factors[55] == pytest.approx(0.55 if schedule == "cosine" else 1.0)
    if schedule == "wsd":
        assert factors[80] == 1.0
        assert factors[85] == pytest.approx(0.1 + 0.9 * (1 - math.sqrt(0.25)))


def test_windows_come_from_the_training_part_alone() -> None:
    windows = Windows("acde" * 25 + "b" * 11, ByteTokenizer(), 8, 0.1)
    seen = torch.cat([windows.batch(step, 0, 16, 0) for step in range(20)])
    assert set(seen.flatten().tolist()) == set(b"acde")
    assert torch.equal(windows.batch(3, 1, 4, 7), windows.batch(3, 1, 4, 7))
    assert not torch.equal(windows.batch(3, 1, 4, 7), windows.batch(3, 0, 4, 7))
    held = torch.cat([one.flatten() for one in windows.validation_batches(2, 9)])
    assert held.tolist() == [ord("b")] * 8


def test_a_long_text_is_cut_after_lines_and_nothing_is_lost() -> None:
    text = ("x" * 99 + "\n") * 25_000 + "y" * 1_500_000
    cut = list(pieces(text))
    assert "".join(cut) == text
    assert all(piece.endswith("\n") for piece in cut[:2])


# -- what it refuses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"abc \xff\xfe", "not UTF-8: byte 4"),
        (b"short", "fewer than the context"),
    ],
)
def test_a_useless_corpus_is_refused(options: TrainOptions, content: bytes, why: str) -> None:
    options.corpus.write_bytes(content)
    with pytest.raises(InvalidInput, match=why):
        train(options)
    assert not (options.out / "config.json").exists()


def test_no_corpus_is_told(options: TrainOptions) -> None:
    with pytest.raises(NotFound, match="no corpus"):
        train(replace(options, corpus=options.out / "absent"))
    with pytest.raises(InvalidInput, match="folder"):
        train(replace(options, corpus=options.corpus.parent))


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(options: TrainOptions) -> None:
    options = replace(options, save_every=1, warmup=0, lr=1e30, clip=1e30, steps=50)
    with pytest.raises(MnemosError, match="smaller lr"):
        train(options)
    assert (options.out / "training" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"steps": 0}, "steps 0"),
        ({"context": 1}, "context 1"),
        ({"batch": 2.5}, "whole number"),
        ({"lr": -1.0}, "lr -1"),
        ({"lr": float("nan")}, "lr nan"),
        ({"validation": 0.95}, "at most 0.9"),
        ({"clip": 0.0}, "clip 0"),
        ({"schedule": "linear"}, "cosine, wsd"),
        ({"optimizer": "sgd"}, "adamw, muon"),
        ({"tokenizer": "words"}, "bytes, bpe"),
    ],
)
def test_a_wrong_option_says_which_and_why(options: TrainOptions, change: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        replace(options, **change)


def test_a_device_that_is_not_here_is_told(options: TrainOptions) -> None:
    with pytest.raises(InvalidInput, match="nonsense"):
        train(replace(options, device="nonsense"))
