"""How the command line as a whole behaves: help, exit codes, errors, pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import Run

import mnemos

COMMANDS = (
    "demo",
    "add",
    "import",
    "search",
    "ask",
    "list",
    "show",
    "update",
    "history",
    "forget",
    "restore",
    "undo",
    "operations",
    "consolidate",
    "stats",
    "export",
    "doctor",
    "systems",
    "bench",
    "claim",
)


def test_help_names_every_command(run: Run) -> None:
    done = run("--help")
    assert done.code == 0
    assert all(f" {command} " in done.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(run: Run, command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    assert f"Example: mnemos {command}" in done.out
    assert "--json" in done.out


def test_version(run: Run) -> None:
    assert run("--version").out == f"mnemos {mnemos.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "no-such-id"], 1, "no-such-id"),
        (["history", "no-such-id"], 1, "no-such-id"),
        (["restore", "no-such-id"], 1, "no-such-id"),
        (["undo", "no-such-id"], 1, "no-such-id"),
        (["forget", "no-such-id"], 1, "no-such-id"),
        (["update", "no-such-id", "text"], 1, "no-such-id"),
        (["list", "--since", "yesterday-ish"], 2, "yesterday-ish"),
        (["add", "x", "--at", "32 May"], 2, "32 May"),
        (["list", "--kind", "poem"], 2, "poem"),
        (["search", "   "], 2, "empty"),
        (["add", ""], 2, "empty"),
        (["add", "x", "--meta", "nothing"], 2, "NAME=VALUE"),
        (["add", "x", "--embedder", "abacus"], 2, "abacus"),
        (["search", "x", "--store", "nowhere.mnemos"], 1, "nowhere.mnemos"),
        (["import", "nowhere.jsonl"], 1, "nowhere.jsonl"),
        (["list", "--store", "."], 1, "folder"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    run: Run, told: dict[str, str], arguments: list[str], code: int, said: str
) -> None:
    done = run(*arguments)
    assert done.code == code
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert said in done.err


@pytest.mark.parametrize("arguments", [["search"], ["list", "--limit", "0"], ["add", "x", "--colour"], ["sing"]])
def test_wrong_usage_is_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).code == 2


def test_reading_makes_no_file(run: Run, home: Path) -> None:
    for command in (["list"], ["search", "x"], ["ask", "x"], ["stats"], ["export", "out.jsonl"]):
        assert run(*command).code == 1
    assert list(home.iterdir()) == []


def test_a_wrong_configuration_is_one_line(run: Run, home: Path) -> None:
    (home / "mnemos.toml").write_text('colour = "red"\n', encoding="utf-8")
    done = run("add", "x")
    assert done.code == 2
    assert "colour" in done.err


def test_the_store_may_come_from_the_environment(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNEMOS_PATH", str(home / "other.mnemos"))
    assert run("add", "x").code == 0
    assert (home / "other.mnemos").is_file()


# -- in a process of its own ---------------------------------------------------------------


def test_a_foreign_file_is_told_in_one_line_and_left_untouched(process: Run, home: Path) -> None:
    (home / "letter.txt").write_text("Dear all,\n", encoding="utf-8")
    for command in (["add", "x"], ["list"]):
        done = process(*command, "--store", "letter.txt")
        assert done.code == 1
        assert done.out == ""
        assert done.err.startswith("error: letter.txt is not a mnemos store")
        assert "Traceback" not in done.err
    assert (home / "letter.txt").read_text(encoding="utf-8") == "Dear all,\n"


def test_processes_share_one_memory(process: Run) -> None:
    id = process("add", "-", "--speaker", "Ada", "--json", stdin="Grüße aus Łódź 🚲").data["id"]
    done = process("search", "Łódź", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.data[0]["id"] == id
    assert done.data[0]["text"] == "Grüße aus Łódź 🚲"


def test_a_terminal_that_knows_ascii_only_gets_the_same_json(process: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    process("add", "Grüße 🚲")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert process("list", "--json").data[0]["text"] == "Grüße 🚲"
    assert process("list").code == 0


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise there")
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_reader_that_goes_away_is_no_error(run: Run, home: Path, as_json: list[str]) -> None:
    (home / "talk.txt").write_text("\n\n".join(f"Line {n} of a long text" for n in range(900)), encoding="utf-8")
    run("import", "talk.txt")
    command = [sys.executable, "-m", "mnemos", "list", "--limit", "1000", *as_json]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_starting_up_imports_nothing_heavy() -> None:
    heavy = ("numpy", "scipy", "apsw", "pydantic", "onnxruntime")
    code = f"import sys, mnemos.cli; print(*sorted(m for m in {heavy} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
