"""A command line with a memory of its own, by words alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import Ran, Run
from typer.testing import CliRunner

from mnemos.cli import app


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in; the default memory is `memory.mnemos` there."""
    for name in [name for name in os.environ if name.startswith("MNEMOS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MNEMOS_EMBEDDER", "none")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(home: Path) -> Run:
    """Runs a command in this process."""

    def call(*arguments: str, stdin: str | None = None) -> Ran:
        done = CliRunner().invoke(app, list(arguments), input=stdin)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ran(done.exit_code, done.stdout, done.stderr)

    return call


@pytest.fixture
def process(home: Path) -> Run:
    """Runs a command as a user does, in a process of its own."""

    def call(*arguments: str, stdin: str | None = None) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "mnemos", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def told(run: Run) -> dict[str, str]:
    """Ids of three turns that are remembered."""
    turns = {
        "lisbon": ("I live in Lisbon", "Ada", "2025-03-02T10:00", "spring"),
        "cat": ("My cat is called Bruno", "Ben", "2025-03-02T10:01", "spring"),
        "boat": ("We sailed a small boat to the island", "Ada", "2025-07-10", "summer"),
    }
    ids = {}
    for name, (text, speaker, at, session) in turns.items():
        done = run("add", text, "--speaker", speaker, "--at", at, "--session", session, "--json")
        ids[name] = done.data["id"]
    return ids
