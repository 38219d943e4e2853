from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.bench import results
from mnemos.bench.results import (
    Finding,
    Machine,
    Result,
    check_writable,
    from_dict,
    load,
    load_all,
    save,
    this_commit,
    this_machine,
    to_dict,
)
from mnemos.core.clock import parse_time
from mnemos.core.errors import InvalidInput, NotFound

MACHINE = Machine("Some CPU", 2, "3.11.9", "Linux x86_64", {"numpy": "2.0"})
RESULT = Result(
    name="locomo",
    measures={"recall@10": 0.52, "recall@10 low": 0.5},
    rows=({"system": "mnemos", "category": "1", "recall@10": 0.52},),
    config={"ks": [5, 10], "embedder": None},
    size={"questions": 999},
    seeds=(0, 1),
    seconds=12.5,
    machine=MACHINE,
    commit="0" * 40,
    started_at=parse_time("2025-01-02T03:04:05"),
)
CLAIM = replace(
    RESULT,
    name="memgas",
    claim=Finding("fusion beats dense", "+5 points", 0.52, baseline=0.43, verdict="holds"),
)


@pytest.mark.parametrize("result", [RESULT, CLAIM, Result(name="bare", measures={})])
def test_what_was_saved_is_what_is_loaded(tmp_path: Path, result: Result) -> None:
    path = save(result, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / f"{result.name}.json"
    assert load(path) == result


@given(
    st.dictionaries(st.text(max_size=8), st.floats(allow_nan=False, allow_infinity=False) | st.integers(), max_size=4),
    st.lists(st.dictionaries(st.text(max_size=5), st.none() | st.text(max_size=5) | st.booleans()), max_size=3),
)
def test_any_numbers_and_rows_survive_json(measures: dict[str, float], rows: list[dict[str, object]]) -> None:
    result = Result(name="x", measures=measures, rows=tuple(rows))
    assert from_dict(json.loads(json.dumps(to_dict(result)))) == result


def test_numpy_numbers_and_paths_become_plain_json(tmp_path: Path) -> None:
    result = Result(
        name="x",
        measures={"a": np.float32(0.5), "b": np.int64(3)},
        rows=({"v": np.arange(2)},),
        config={"data": Path("in/here")},
    )
    back = load(save(result, tmp_path))
    assert back.measures == {"a": 0.5, "b": 3}
    assert back.rows == ({"v": [0, 1]},)
    assert back.config == {"data": str(Path("in/here"))}


def test_claim_fields_lie_in_the_file_by_their_names(tmp_path: Path) -> None:
    data = json.loads(save(CLAIM, tmp_path).read_text())
    assert data["claim"] == {
        "statement": "fusion beats dense",
        "paper": "+5 points",
        "ours": 0.52,
        "baseline": 0.43,
        "verdict": "holds",
    }
    assert data["started_at"] == "2025-01-02T03:04:05"
    assert (data["seconds"], data["seeds"], data["size"]) == (12.5, [0, 1], {"questions": 999})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "0.5", None])
def test_a_measure_that_is_no_finite_number_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidInput, match="'recall'"):
        Result(name="x", measures={"recall": value})


@pytest.mark.parametrize("name", ["", "Upper", "../up", "a b", "1st"])
def test_a_name_that_would_not_make_a_file_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="slug"):
        Result(name=name, measures={})


@pytest.mark.parametrize(
    "bad",
    [{"verdict": "maybe"}, {"statement": " "}, {"ours": float("nan")}, {"paper": None}, {"baseline": [1]}],
)
def test_a_finding_without_its_parts_is_refused(bad: dict[str, object]) -> None:
    good = {"statement": "a beats b", "paper": 1.0, "ours": 1.0, "baseline": 0.5, "verdict": "holds"}
    Finding(**good)
    with pytest.raises(InvalidInput, match=next(iter(bad))):
        Finding(**good | bad)


def test_rows_that_json_cannot_hold_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    for value in (float("nan"), object()):
        with pytest.raises(InvalidInput, match="not JSON"):
            save(replace(RESULT, rows=({"v": value},)), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError("disk full")])
def test_an_interrupted_save_keeps_the_old_file_and_no_litter(tmp_path: Path, monkeypatch, failure) -> None:
    save(RESULT, tmp_path)

    def fail(_: int) -> None:
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((KeyboardInterrupt, InvalidInput)):
        save(replace(RESULT, measures={"recall@10": 0.9}), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["locomo.json"]
    assert load(tmp_path / "locomo.json") == RESULT


def test_a_folder_that_is_a_file_is_refused_before_and_while_saving(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for attempt in (lambda path: check_writable(path), lambda path: save(RESULT, path)):
        with pytest.raises(InvalidInput, match=r"cannot write.*file"):
            attempt(tmp_path / "file" / "results")


def test_checking_a_folder_does_not_make_it(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def _broken(**changes: object) -> str:
    return json.dumps(to_dict(CLAIM) | changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not a benchmark result"),
        ("[]", "mapping"),
        ("\x00", "not a benchmark result"),
        (_broken(schema=2), "schema 2"),
        ("{}", "schema None"),
        (_broken(seconds="5"), "seconds"),
        (_broken(seconds=True), "seconds"),
        (_broken(rows=[1]), "row"),
        (_broken(measures={"x": "high"}), "'x'"),
        (_broken(extra=1), "extra"),
        (_broken(machine={"cpu": "x"}), "machine lacks cores"),
        (_broken(claim=to_dict(CLAIM)["claim"] | {"verdict": "perhaps"}), "perhaps"),
        (_broken(started_at="yesterday"), "yesterday"),
        (json.dumps({"schema": 1, "name": "x"}), "lacks measures"),
    ],
)
def test_a_foreign_or_damaged_file_says_what_is_wrong_and_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=says) as caught:
        load(path)
    assert "bad.json" in str(caught.value)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.json"):
        load(tmp_path / "gone.json")


def test_all_results_of_a_folder_come_by_name(tmp_path: Path) -> None:
    assert load_all(tmp_path / "nowhere") == []
    save(CLAIM, tmp_path)
    save(RESULT, tmp_path)
    (tmp_path / "notes.txt").write_text("not a result")
    assert load_all(tmp_path) == [RESULT, CLAIM]


def test_the_machine_names_the_hardware_and_versions_but_no_host() -> None:
    machine = this_machine()
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.packages["numpy"] == np.__version__
    told = to_dict(replace(RESULT, machine=machine))["machine"]
    assert set(told) == {"cpu", "cores", "python", "platform", "packages"}
    assert told["platform"] == f"{platform.system()} {platform.machine()}"


def _fake_git(monkeypatch, answers: dict[str, tuple[int, str]]) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        code, out = next(answer for verb, answer in answers.items() if verb in command)
        return subprocess.CompletedProcess(command, code, out, "")

    monkeypatch.setattr(results.subprocess, "run", run)


@pytest.mark.parametrize(("status", "expected"), [("", "abc123"), (" M metrics.py\n", "abc123+changed")])
def test_the_commit_says_whether_the_code_differed_from_it(monkeypatch, status: str, expected: str) -> None:
    _fake_git(monkeypatch, {"ls-files": (0, "x.py\n"), "rev-parse": (0, "abc123\n"), "status": (0, status)})
    assert this_commit() == expected


@pytest.mark.parametrize(
    "answers",
    [
        {"ls-files": (128, ""), "rev-parse": (128, ""), "status": (128, "")},  # no repository
        {"ls-files": (0, ""), "rev-parse": (0, "other\n"), "status": (0, "")},  # inside somebody else's
        {"ls-files": (0, "x.py\n"), "rev-parse": (128, "HEAD\n"), "status": (0, "")},  # no commit yet
    ],
)
def test_there_is_no_commit_where_the_code_is_not_committed(monkeypatch, answers) -> None:
    _fake_git(monkeypatch, answers)
    assert this_commit() is None


@pytest.mark.parametrize("failure", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 10)])
def test_a_missing_or_hanging_git_is_no_failure(monkeypatch, failure: Exception) -> None:
    def run(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(results.subprocess, "run", run)
    assert this_commit() is None
