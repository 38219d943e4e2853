from __future__ import annotations

from pathlib import Path

import pytest

from mnemos.bench.results import load
from mnemos.bench.runner import run_task
from mnemos.core.errors import InvalidInput, NotFound


def test_recall_ranks_mixers_beside_chance_and_the_ceiling_of_a_window() -> None:
    result = run_task("recall", mixers=("attention", "swa"), steps=2, batch=2, dim=8, heads=1, rates=(1e-3,))
    names = [row["system"] for row in result.rows]
    assert sorted(names[:2]) == ["attention", "swa"]
    assert names[2:] == ["ceiling of a window of 16", "chance"]
    assert result.rows[3]["score"] == pytest.approx(2 / 128, abs=1e-4)
    assert {"state bytes", "tokens/s", "rate"} <= result.rows[0].keys()


def test_the_atlas_finds_what_theory_says_of_hebb_and_least_squares() -> None:
    result = run_task("recall_atlas", pairs=(8, 32, 64), memories=("Hebb", "Mesa"), draws=4)
    value = {(row["system"], row["pairs"]): row["cosine"] for row in result.rows}
    for pairs in (8, 32, 64):
        assert value["Hebb", pairs] == pytest.approx(value["theory of Hebb", pairs], abs=0.04)
        assert value["Mesa", pairs] == pytest.approx(value["theory of Mesa", pairs], abs=0.04)


def test_language_trains_and_decodes_with_every_mixer_named(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question. " * 60)
    result = run_task(
        "language", data=text, mixers=("swa", "titans-lmm+attention"), steps=2, hidden=8, context=16, batch=2
    )
    for row in result.rows:
        assert row["loss"] > 0
        assert row["state bytes"] > 0


def test_tasks_refuse_what_they_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="attention"):
        run_task("recall", mixers=("atention",))
    with pytest.raises(NotFound, match="mqar"):
        run_task("recall", task="mqaar")
    with pytest.raises(InvalidInput, match="--data"):
        run_task("language")
    with pytest.raises(InvalidInput, match="no memory"):
        run_task("recall_atlas", memories=("Heb",))


def test_a_run_goes_on_where_an_earlier_one_of_the_same_settings_ended(tmp_path: Path) -> None:
    settings = {"steps": 1, "batch": 2, "dim": 8, "heads": 1, "rates": (1e-3,)}
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    run_task("recall", mixers=("attention",), keep=(first,), **settings)
    (row,) = load(first).rows
    both = run_task("recall", mixers=("attention", "swa"), keep=(second, first), **settings)
    assert {r["system"]: r for r in both.rows}["attention"] == row
    assert {r["system"] for r in load(second).rows} == {"attention", "swa"}
    with pytest.raises(InvalidInput, match="with these settings"):
        run_task("recall", mixers=("swa",), keep=(first,), **settings | {"steps": 2})


def test_what_one_mixer_cannot_do_is_said_in_its_row(tmp_path: Path) -> None:
    result = run_task("recall", mixers=("lla", "swa"), steps=1, batch=2, dim=9, heads=9, rates=(1e-3,))
    failed = {row["system"]: row.get("failed", "") for row in result.rows}
    assert "even" in failed["swa"]
