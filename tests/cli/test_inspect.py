"""stats, doctor, systems, bench, claim, demo."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import Run

from mnemos.bench import runner
from mnemos.bench.results import Finding, Result
from mnemos.cli.demo import choose, conversation


def test_stats_counts_this_scope_and_names_the_others(run: Run, told: dict[str, str]) -> None:
    run("add", "of ada", "--user", "ada")
    data = run("stats", "--json").data
    assert data["records"]["turn"] == 3
    assert {(one["user"], one["verbatim"]) for one in data["scopes"]} == {("", 3), ("ada", 1)}
    shown = run("stats").out
    for part in ("turn", "memory.mnemos", "ada", "file_bytes"):
        assert part in shown


def test_doctor_finds_a_sound_memory_sound(run: Run, told: dict[str, str]) -> None:
    data = run("doctor", "--json").data
    assert data["sound"] is True
    assert data["problems"] == []
    assert data["store"]["memories"] == 3
    assert {"mnemos", "python", "sqlite"} <= set(data["versions"])
    shown = run("doctor")
    assert shown.code == 0
    assert "all is sound" in shown.out


def test_doctor_rebuilds_and_the_memory_is_the_same(run: Run, told: dict[str, str]) -> None:
    before = run("list", "--json").data
    assert run("doctor", "--rebuild", "--json").data["store"]["rebuilt"] >= 3
    assert run("list", "--json").data == before


def test_doctor_without_a_memory_is_no_problem_unless_one_was_named(run: Run) -> None:
    assert run("doctor", "--json").data["store"]["exists"] is False
    assert run("doctor", "--store", "nowhere.mnemos").code == 1


@pytest.mark.parametrize("content", [b"plain text, no database\n", b"SQLite format 3\x00" + b"\x00" * 20])
def test_doctor_tells_a_broken_store_with_exit_code_1(run: Run, home: Path, content: bytes) -> None:
    (home / "memory.mnemos").write_bytes(content)
    done = run("doctor", "--json")
    assert done.code == 1
    assert done.data["sound"] is False
    assert "memory.mnemos" in done.data["problems"][0]
    assert (home / "memory.mnemos").read_bytes() == content
    assert "wrong" in run("doctor").out


def test_doctor_tells_an_embedder_that_cannot_be(run: Run, told: dict[str, str]) -> None:
    done = run("doctor", "--embedder", "abacus", "--json")
    assert done.code == 1
    assert "abacus" in done.data["problems"][0]
    assert done.data["store"]["memories"] == 3, "the store is looked at all the same"


def test_systems_prints_the_catalogue_with_the_four_choices(run: Run) -> None:
    rows = run("systems", "--json").data
    assert any(row["slug"] == "mnemos" for row in rows)
    shown = run("systems", "mnemos").out
    for part in ("structure", "objective", "retention", "rule"):
        assert part in shown
        assert part in rows[0]["choices"]
    assert run("systems", "mnemo").code == 1


# -- bench and claim -----------------------------------------------------------------------


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """One task and two claims, in place of those that take minutes."""

    @dataclass(frozen=True, kw_only=True)
    class Options(runner.TaskOptions):
        keep: tuple[str, ...] = ()

    @runner.task("tiny", summary="Counts", options=Options, plot=("system", "count"))
    def tiny(options: Options, progress: runner.Progress) -> Result:
        progress("counting", 1, 1)
        measures = {"count": float(options.seed)} | dict.fromkeys(options.keep, 1.0)
        return Result(name="tiny", measures=measures, seeds=(options.seed,))

    class Claims:
        SYSTEM = "good"

        @staticmethod
        def run(progress: runner.Progress) -> Result:
            finding = Finding("ours beats theirs", 0.5, 0.6, 0.4, "holds")
            return Result(name="good", measures={"score": 0.6}, claim=finding)

    class Bad(Claims):
        SYSTEM = "bad"

        @staticmethod
        def run(progress: runner.Progress) -> Result:
            return Result(name="bad", measures={})

    modules = {"tiny": type("M", (), {"tiny": tiny}), "good": Claims, "bad": Bad}
    names = {"mnemos.bench.tasks": ["tiny"], "mnemos.bench.claims": ["bad", "good"]}
    known = runner._module

    def module(package: str, name: str, what: str) -> object:
        return modules[name] if name in names[package] else known(package, name, what)

    monkeypatch.setattr(runner, "_modules", lambda package: names[package])
    monkeypatch.setattr(runner, "_module", module)


@pytest.mark.usefixtures("bench")
def test_bench_lists_and_runs_a_task_with_its_options(run: Run, home: Path) -> None:
    assert run("bench", "--list", "--json").data == [{"task": "tiny", "summary": "Counts", "options": ["seed", "keep"]}]
    assert "Counts" in run("bench").out
    done = run("bench", "tiny", "--seed", "7", "--results", "kept", "--json")
    assert done.data[0]["measures"] == {"count": 7.0}
    assert "counting" in done.err
    assert json.loads((home / "kept" / "tiny.json").read_text())["measures"] == {"count": 7.0}
    assert "tiny" in run("bench", "tiny").out


@pytest.mark.usefixtures("bench")
def test_a_list_given_in_parts_is_one_list(run: Run) -> None:
    done = run("bench", "tiny", "--keep", "a,b", "--keep=c", "--json")
    assert done.data[0]["measures"].keys() == {"count", "a", "b", "c"}


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    "words",
    [["--seed", "many"], ["--sead=1"], ["--seed"], ["--seed", "--sead"], ["seed"], ["--seed", "1", "--seed", "2"]],
)
def test_bench_refuses_an_option_that_cannot_be(run: Run, words: list[str]) -> None:
    assert run("bench", "tiny", *words).code == 2


@pytest.mark.usefixtures("bench")
def test_an_unknown_task_or_claim_is_answered_with_the_nearest(run: Run) -> None:
    for command in (["bench", "tinny"], ["claim", "goood"]):
        done = run(*command)
        assert done.code == 1
        assert "try " in done.err


@pytest.mark.usefixtures("bench")
def test_claim_keeps_paper_ours_and_verdict_in_a_file(run: Run, home: Path) -> None:
    assert run("claim", "--list", "--json").data == ["bad", "good"]
    assert run("claim").out.split() == ["bad", "good"]
    done = run("claim", "good", "--results", "kept", "--json")
    assert done.data[0]["claim"]["verdict"] == "holds"
    assert (home / "kept" / "good.json").is_file()
    assert "holds" in run("claim", "good", "--results", "kept").out
    assert run("claim", "bad", "--results", "kept").code == 2
    assert run("claim", "good", "--all").code == 2


@pytest.mark.usefixtures("bench")
def test_one_claim_that_cannot_run_does_not_stop_the_others(run: Run) -> None:
    done = run("claim", "--all", "--results", "kept", "--json")
    assert done.code == 1
    assert [one["name"] for one in done.data] == ["good"]
    assert "bad" in done.err


# -- demo ----------------------------------------------------------------------------------


def test_demo_questions_have_a_past_a_present_and_an_absent_one() -> None:
    turns, questions = conversation()
    refs = {turn["metadata"]["ref"] for turn in turns}
    chosen = choose(questions, 12)
    assert len(chosen) == 12
    past = [q for q in chosen if q.get("as_of")]
    assert past
    for q in past:
        assert any(p["question"] == q["question"] and not p.get("as_of") for p in chosen)
    assert sum(not q["answerable"] for q in chosen) == 2
    assert len({q["kind"] for q in chosen}) >= 4
    assert all(ref in refs for q in chosen for ref in q["evidence"])


def test_demo_asks_and_says_why_and_leaves_nothing(run: Run, home: Path) -> None:
    done = run("demo")
    assert done.code == 0
    assert done.out.count("confidence") == 12
    for part in ("why", "as of 2025-", "not in memory", "Try next", "declined"):
        assert part in done.out
    assert all(len(line) <= 100 for line in done.out.splitlines())
    assert "turns" in done.err
    assert list(home.iterdir()) == []


def test_demo_as_json_and_with_a_store_that_stays(run: Run, home: Path) -> None:
    done = run("demo", "--json", "--store", "demo.mnemos", "-n", "10")
    assert len(done.data["questions"]) == 10
    assert {"question", "expected", "answer", "evidence_rank"} <= set(done.data["questions"][0])
    count = run("stats", "--store", "demo.mnemos", "--json").data["records"]["turn"]
    assert count == done.data["turns"]
    assert run("demo", "--json", "--store", "demo.mnemos", "-n", "10").code == 0
    assert run("stats", "--store", "demo.mnemos", "--json").data["records"]["turn"] == count
