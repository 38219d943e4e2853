from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from mnemos.bench.results import load
from mnemos.bench.runner import claim_slugs, get_task, run_claim, run_task, task_names
from mnemos.core.clock import FixedClock
from mnemos.core.errors import InvalidInput, MissingExtra, NotFound

TASK = """
    from dataclasses import dataclass
    from mnemos.bench.results import Result
    from mnemos.bench.runner import TaskOptions, task

    @dataclass(frozen=True, kw_only=True)
    class Options(TaskOptions):
        words: int = 2

    @task("toytask", summary="Counts words", options=Options, plot=("system", "words"))
    def toytask(options, progress):
        for done in range(options.words):
            progress("counting", done + 1, options.words)
        return Result(name="toytask", measures={"words": options.words}, seeds=(options.seed,))
"""
CLAIM = """
    from mnemos.bench.results import Finding, Result

    SYSTEM = "toyclaim"

    def run(progress):
        return Result(name="toyclaim", measures={"f1": 0.5}, claim=Finding("a > b", 0.6, 0.5, 0.4, "partly"))
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch) -> Iterator[object]:
    """Puts modules beside the package's own tasks and claims, and takes them away again."""
    written = []

    def put(kind: str, name: str, text: str) -> None:
        package = importlib.import_module(f"mnemos.bench.{kind}")
        folder = tmp_path / "extra" / kind
        if str(folder) not in package.__path__:
            folder.mkdir(parents=True)
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        (folder / f"{name}.py").write_text(dedent(text))
        importlib.invalidate_caches()
        written.append((package, name))

    yield put
    for package, name in written:
        sys.modules.pop(f"{package.__name__}.{name}", None)
        if hasattr(package, name):
            delattr(package, name)


def test_names_are_read_without_importing_anything(write) -> None:
    write("tasks", "explodes", "raise RuntimeError('imported')")
    write("tasks", "_helper", "raise RuntimeError('imported')")
    write("claims", "bursts", "raise RuntimeError('imported')")
    assert "explodes" in task_names()
    assert "_helper" not in task_names()
    assert "bursts" in claim_slugs()


def test_a_task_gets_its_options_and_its_result_the_stamp(write) -> None:
    write("tasks", "toytask", TASK)
    seen: list[tuple[str, int, int]] = []
    clock = FixedClock("2025-01-02T03:04")
    result = run_task("toytask", progress=lambda *step: seen.append(step), clock=clock, words=3, seed=7)
    assert result.measures == {"words": 3}
    assert result.seeds == (7,)
    assert seen == [("counting", 1, 3), ("counting", 2, 3), ("counting", 3, 3)]
    assert result.started_at == clock.now()
    assert result.machine is not None
    assert result.seconds >= 0
    assert get_task("toytask").summary == "Counts words"


def test_an_unknown_task_or_claim_offers_the_nearest(write, tmp_path: Path) -> None:
    write("tasks", "toytask", TASK)
    write("claims", "toyclaim", CLAIM)
    with pytest.raises(NotFound, match=r"'toytusk': try toytask"):
        run_task("toytusk")
    with pytest.raises(NotFound, match=r"'toyclam': try toyclaim"):
        run_claim("toyclam", tmp_path)


@pytest.mark.parametrize("name", ["__init__", "..runner", "os", "", "_helper"])
def test_a_name_never_reaches_outside_the_tasks(write, name: str) -> None:
    write("tasks", "_helper", "raise RuntimeError('imported')")
    with pytest.raises(NotFound):
        run_task(name)


def test_a_misspelt_option_is_refused_with_the_right_one(write) -> None:
    write("tasks", "toytask", TASK)
    with pytest.raises(InvalidInput, match=r"no option 'wrods': try words"):
        run_task("toytask", wrods=3)


def test_a_module_without_its_task_says_what_it_lacks(write) -> None:
    write("tasks", "hollow", "")
    with pytest.raises(InvalidInput, match="defines no task 'hollow'"):
        get_task("hollow")


def test_a_result_under_another_name_is_refused(write) -> None:
    write("tasks", "toytask", TASK.replace('Result(name="toytask"', 'Result(name="other"'))
    with pytest.raises(InvalidInput, match="named 'toytask'"):
        run_task("toytask")


def test_a_missing_extra_passes_through(write) -> None:
    write("tasks", "needy", "from mnemos.core.errors import MissingExtra\nraise MissingExtra('needy', 'bench')")
    with pytest.raises(MissingExtra, match=r"mnemos\[bench\]"):
        run_task("needy")


def test_a_claim_leaves_one_complete_file(write, tmp_path: Path) -> None:
    write("claims", "toyclaim", CLAIM)
    folder = tmp_path / "benchmarks" / "results"
    result = run_claim("toyclaim", folder, clock=FixedClock("2025-01-02T03:04"))
    assert [path.name for path in folder.iterdir()] == ["toyclaim.json"]
    assert load(folder / "toyclaim.json") == result
    data = json.loads((folder / "toyclaim.json").read_text())
    assert data["claim"]["verdict"] == "partly"
    assert data["machine"]["cores"] >= 1


def test_an_interrupted_claim_leaves_nothing_and_keeps_the_last_result(write, tmp_path: Path) -> None:
    write("claims", "toyclaim", CLAIM.replace("return Result", "progress('half', 1, 2)\n        return Result"))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_claim("toyclaim", tmp_path / "fresh", progress=stop)
    assert not (tmp_path / "fresh").exists()

    kept = run_claim("toyclaim", tmp_path / "old", clock=FixedClock(0.0))
    with pytest.raises(KeyboardInterrupt):
        run_claim("toyclaim", tmp_path / "old", progress=stop)
    assert load(tmp_path / "old" / "toyclaim.json") == kept


def test_a_folder_that_cannot_be_written_is_found_before_the_run(write, tmp_path: Path) -> None:
    write(
        "claims",
        "toyclaim",
        CLAIM.replace("return Result", "raise RuntimeError('ran')\n        return Result"),
    )
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot write"):
        run_claim("toyclaim", tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CLAIM.replace('SYSTEM = "toyclaim"', 'SYSTEM = "other"'), "SYSTEM"),
        (CLAIM.replace("def run", "def walk"), "run"),
        (CLAIM.replace(', claim=Finding("a > b", 0.6, 0.5, 0.4, "partly")', ""), "Finding"),
        (CLAIM.replace("return Result", "return dict"), "must return a Result"),
    ],
)
def test_a_malformed_claim_says_what_it_lacks_and_writes_nothing(write, tmp_path: Path, text: str, says: str) -> None:
    write("claims", "toyclaim", text)
    with pytest.raises(InvalidInput, match=says):
        run_claim("toyclaim", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_task_of_the_package_can_be_described() -> None:
    pytest.importorskip("torch", reason="some tasks train: the extra 'neural' is not installed")
    for name in task_names():
        described = get_task(name)
        assert described.name == name
        assert described.summary
        assert replace(described.options(), seed=1).seed == 1
