from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mnemos.bench.claims.olagpt import FULL, SMOKE, STRATEGIES, TEMPLATES, Size, interval, read_predictions, run
from mnemos.bench.runner import silent
from mnemos.core.errors import InvalidInput

_FEW = Size(resamples=300)


def shipped(folder: Path, questions: int = 40, skill: float = 0.5) -> Path:
    """Files in the repository's form; templates with notes are right more often by 0.3."""
    draw = np.random.default_rng(0)
    correct = ["ABCDE"[n] for n in draw.integers(5, size=questions)]
    for name in TEMPLATES:
        for strategy, suffix in STRATEGIES.items():
            share = skill + 0.3 * (strategy != "no notes")
            rows = []
            for n, letter in enumerate(correct):
                said = letter if draw.random() < share else "ABCDE"[draw.integers(5)]
                output = f"Thought: it follows.\n{{Answer: {said}}}\n" if draw.random() < 0.9 else "I cannot say\n"
                rows.append({"question_id": n, "input": "{}", "answer": f"{letter}){n}", "output": output})
            file = folder / name / f"aqua_predict{suffix}.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps({"predictions": rows[::-1]}), "utf-8")
    return folder


def test_shipped_predictions_are_read_voted_and_judged(tmp_path: Path) -> None:
    result = run(silent, _FEW, shipped(tmp_path))
    assert result.claim is not None
    assert result.claim.verdict in ("holds", "partly")
    assert "replay" in result.config["part"]
    rows = {(row["system"], row["notes"]): row for row in result.rows}
    assert len(rows) == (len(TEMPLATES) + 2) * len(STRATEGIES)
    file = json.loads((tmp_path / "st" / "aqua_predict.json").read_text("utf-8"))["predictions"]
    right = sum(f"{{Answer: {row['answer'][0]}}}" in row["output"] for row in file)
    assert rows["st", "no notes"]["accuracy"] == pytest.approx(100 * right / len(file))
    assert rows["st", "no notes"]["unread"] == pytest.approx(sum("cannot" in row["output"] for row in file) / len(file))
    assert result.measures["vote, retrieval notes - none low"] <= result.measures["vote, retrieval notes - none"]


def test_questions_are_paired_by_their_ids(tmp_path: Path) -> None:
    written = read_predictions(shipped(tmp_path), "dt", "combine")
    assert written.ids == tuple(range(40))
    file = tmp_path / "dt" / "aqua_predict.json"
    data = json.loads(file.read_text("utf-8"))
    data["predictions"].pop()
    file.write_text(json.dumps(data), "utf-8")
    with pytest.raises(InvalidInput, match="different questions"):
        run(silent, _FEW, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"predictions": [{"question_id": 1}]}', '{"predictions": 3}'])
def test_a_file_without_predictions_is_named(tmp_path: Path, text: str) -> None:
    (shipped(tmp_path) / "pt" / "aqua_predict_few_shot_random.json").write_text(text, "utf-8")
    with pytest.raises(InvalidInput, match=r"pt/aqua_predict_few_shot_random\.json"):
        run(silent, _FEW, tmp_path)
    with pytest.raises(InvalidInput, match="holds no predictions"):
        run(silent, _FEW, tmp_path / "nowhere")


def test_an_interval_holds_its_mean_and_shrinks_with_the_questions() -> None:
    draw = np.random.default_rng(1)
    few, many = draw.normal(0.1, 1, 50), draw.normal(0.1, 1, 5000)
    (mean, low, high), (_, lower, higher) = interval(few, 500), interval(many, 500)
    assert low < mean < high
    assert higher - lower < (high - low) / 5
    assert interval(np.ones(9), 50) == (1.0, 1.0, 1.0)


def test_without_predictions_digits_are_read_and_the_finding_says_so() -> None:
    pytest.importorskip("sklearn", reason="the extra 'bench' is not installed")
    result = run(silent, SMOKE)
    assert result.claim is not None
    assert "without the paper's predictions" in result.claim.statement
    assert "not run here" in str(result.claim.paper)
    noted = [row for row in result.rows if row["system"] == "noted mistakes"]
    assert [row["seen"] for row in noted] == list(SMOKE.stages)
    assert [row["notes"] for row in noted] == sorted(row["notes"] for row in noted)
    assert noted[0]["notes"] == 0 < noted[-1]["notes"]
    assert FULL.stages[0] == 0
