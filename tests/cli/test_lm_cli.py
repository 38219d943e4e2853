"""mnemos lm: train, go on, generate; and what it says where it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from helpers import Run

pytest.importorskip("torch")
pytest.importorskip("transformers")

from typer.main import get_command

from mnemos.cli import app
from mnemos.models import TrainOptions, training

SMALL = "--layers 1 --hidden 16 --heads 2 --context 24 --batch 2 --save-every 2 --log-every 1 --sample-tokens 4".split()


@pytest.fixture
def corpus(home: Path) -> str:
    """A small text in the working folder."""
    (home / "corpus.txt").write_text("".join(f"{n} times {n} is {n * n}.\n" for n in range(200)), "utf-8")
    return "corpus.txt"


def test_train_then_generate(run: Run, corpus: str) -> None:
    trained = run(
        "lm", "train", corpus, "--mixer", "swa", "--set", "window=8", "--out", "model", "--steps", "4", *SMALL
    )
    assert trained.code == 0
    assert trained.out.startswith("model: 4 steps, validation loss ")
    assert "step 2: validation loss" in trained.err
    assert "tokens/s" in trained.err
    written = run("lm", "generate", "model", "--prompt", "2 times", "-n", "12", "--temperature", "0")
    assert written.code == 0
    assert written.out.startswith("2 times")
    assert len(written.out.encode()) > len("2 times\n")
    again = run("lm", "generate", "model", "--prompt", "-", "-n", "12", "--temperature", "0", stdin="2 times")
    assert again.out == written.out


def test_the_same_command_goes_on(run: Run, corpus: str) -> None:
    command = ["lm", "train", corpus, "--mixer", "swa", "--out", "model", "--json", *SMALL]
    assert run(*command, "--steps", "2").data["step"] == 2
    done = run(*command, "--steps", "4")
    assert (done.data["step"], done.data["finished"]) == (4, True)
    assert "step 1/4" not in done.err
    other = run(*command, "--steps", "4", "--lr", "0.5")
    assert other.code == 2
    assert "has lr 0.001, and this one 0.5" in other.err


def test_an_interrupt_saves_and_says_how_to_go_on(run: Run, corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = training._Run.advance

    def interrupted(self: training._Run) -> training.Report:
        report = step(self)
        if report.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return report

    monkeypatch.setattr(training._Run, "advance", interrupted)
    command = ["lm", "train", corpus, "--mixer", "swa", "--out", "model", *SMALL, "--steps", "5"]
    stopped = run(*command)
    assert stopped.code == 130
    assert "stopped after step 3 and saved: the same command goes on from there" in stopped.err
    assert run("lm", "generate", "model", "-n", "2").code == 0
    monkeypatch.setattr(training._Run, "advance", step)
    assert run(*command).out.startswith("model: 5 steps")


def test_settings_go_to_their_mixer(run: Run, corpus: str) -> None:
    command = ["lm", "train", corpus, "--mixer", "swa,attention", "--out", "model", "--steps", "1", *SMALL]
    unclear = run(*command, "--set", "window=8")
    assert unclear.code == 2
    assert "swa.window=8" in unclear.err
    assert run(*command, "--set", "swa.window=8").code == 0
    assert '"window": 8' in Path("model/config.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["train", "absent.txt", "--out", "model"], 1, "no corpus"),
        (["train", "corpus.txt", "--out", "model", "--context", "100000"], 2, "fewer than the context"),
        (["train", "corpus.txt", "--out", "model", "--mixer", "titan-mac"], 1, "titans-mac"),
        (["train", "corpus.txt", "--out", "model", "--mixer", "swa", "--set", "widow=3"], 2, "it knows window"),
        (["train", "corpus.txt", "--out", "model", "--heads", "3"], 2, "num_heads 3"),
        (["generate", "absent"], 1, "no model"),
    ],
)
def test_errors_are_one_line(run: Run, corpus: str, arguments: list[str], code: int, why: str) -> None:
    done = run("lm", *arguments)
    assert done.code == code
    assert why in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_every_training_option_is_on_the_command_line() -> None:
    train = get_command(app).commands["lm"].commands["train"]  # type: ignore[attr-defined]
    options = {option.name: option.default for option in train.params}
    for field in fields(TrainOptions):
        if field.name == "mixer_settings":
            assert "settings" in options
            continue
        assert field.name in options
        assert field.default is MISSING or options[field.name] == field.default


def test_without_torch_it_says_what_to_install(home: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from mnemos.cli import main\n"
        "sys.argv = ['mnemos', 'lm', 'train', 'corpus.txt', '--out', 'model']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'mnemos[neural]'" in done.stderr


def test_the_command_line_loads_no_torch_until_it_runs(home: Path) -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from mnemos.cli import app\n"
        "print(CliRunner().invoke(app, ['lm', 'train', '--help']).exit_code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 False"
