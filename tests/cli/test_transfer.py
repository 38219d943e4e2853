"""import and export, an interrupted import among them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import Run

from mnemos.cli.transfer import BATCH


def conversation(path: Path, count: int) -> Path:
    lines = [
        {"text": f"Turn {n}: the lamp of room {n} was lit", "speaker": "Ada", "session": "s"} for n in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_import_says_what_came_in_what_was_there_and_what_was_skipped(run: Run, home: Path) -> None:
    file = conversation(home / "talk.jsonl", 3)
    with file.open("a", encoding="utf-8") as more:
        more.write('{"text": ""}\nnot json\n')
    first = run("import", str(file), "--user", "ada", "--json")
    assert first.code == 0
    assert first.data["added"] == first.data["read"] == 3
    assert first.data["present"] == 0
    assert len(first.data["skipped"]) == 2
    assert all(one["where"] and one["why"] for one in first.data["skipped"])
    assert "remembering: 3 of 3" in first.err
    again = run("import", str(file), "--user", "ada")
    assert "0 came in, 3 were there already, 2 skipped" in again.out
    assert "skipped" in again.err
    assert len(run("list", "--user", "ada", "--json").data) == 3


def test_import_by_name_of_the_format(run: Run, home: Path) -> None:
    (home / "notes.txt").write_text("One thought.\n\nAnother thought.\n", encoding="utf-8")
    assert run("import", "notes.txt", "--format", "text").code == 0
    assert "thought" in run("list").out
    unknown = run("import", "notes.txt", "--format", "stone-tablet")
    assert unknown.code == 1
    assert "stone-tablet" in unknown.err


def test_more_than_one_batch_keeps_the_order(run: Run, home: Path) -> None:
    file = conversation(home / "talk.jsonl", BATCH + 3)
    assert run("import", str(file), "--json").data["added"] == BATCH + 3
    texts = [one["text"] for one in run("list", "--limit", "1000", "--json").data]
    assert texts == [f"Turn {n}: the lamp of room {n} was lit" for n in range(BATCH + 3)]


def test_an_export_comes_back_whole_under_import(run: Run, home: Path, told: dict[str, str]) -> None:
    run("add", "of somebody else", "--user", "bob")
    run("update", told["lisbon"], "I live in Porto")
    report = run("export", "all.jsonl", "--json").data
    assert report["bytes"] == (home / "all.jsonl").stat().st_size
    assert "operations" in run("export", "all.jsonl").out
    back = run("import", "all.jsonl", "--store", "copy.mnemos", "--json").data
    assert (back["format"], back["operations"]) == ("mnemos", report["operations"])
    for command in (["list"], ["list", "--user", "bob"], ["history", told["lisbon"]], ["operations"]):
        assert run(*command, "--json", "--store", "copy.mnemos").data == run(*command, "--json").data
    assert "here already" in run("import", "all.jsonl", "--store", "copy.mnemos").out


def test_export_does_not_write_over_the_memory_itself(run: Run, told: dict[str, str]) -> None:
    for name in ("memory.mnemos", "memory.mnemos-wal"):
        Path(name).touch()
        assert run("export", name).code == 2
    assert len(run("list", "--json").data) == 3


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02\xff" * 99, b'{"mnemos": 1, "model": ""}\n{"operation": 1'])
def test_a_file_that_cannot_be_imported_leaves_nothing(run: Run, home: Path, content: bytes) -> None:
    (home / "strange.bin").write_bytes(content)
    done = run("import", "strange.bin")
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert run("list", "--json").code == 1 or run("list", "--json").data == []


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to a process there")
def test_an_interrupted_import_is_whole_and_goes_on_with_nothing_doubled(process: Run, home: Path) -> None:
    total = 12 * BATCH
    file = conversation(home / "long.jsonl", total)
    command = [sys.executable, "-u", "-m", "mnemos", "import", str(file)]
    # a shell starts what runs in its background with interrupts ignored, and children inherit that
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        signal.signal(signal.SIGINT, before)
        first = running.stderr.readline()
        assert first.startswith("remembering: "), first
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "interrupted" in err
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert process("doctor").code == 0
    kept = process("stats", "--json").data["records"]["turn"]
    assert BATCH <= kept < total
    assert kept % BATCH == 0, "a batch is in whole or not at all"
    assert f"interrupted: {kept} of {total}" in err
    second = process("import", str(file), "--json").data
    assert (second["added"], second["present"]) == (total - kept, kept)
    assert process("stats", "--json").data["records"]["turn"] == total
