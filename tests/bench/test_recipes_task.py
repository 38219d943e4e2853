"""The table of recipes: one row each, with quality and costs, on whatever set it is given."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from mnemos.bench.runner import run_task
from mnemos.core.errors import InvalidInput

_PASSAGES = {
    "Erik Hort": "Erik Hort was born in Montebello, a village.",
    "Montebello": "Montebello is a village in Rockland County, New York.",
    "Erik Satie": "Erik Satie was a French composer and pianist.",
    "Bees": "Bees make honey and live in hives.",
}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    corpus = [{"title": title, "text": text} for title, text in _PASSAGES.items()]
    asked = [{
        "question": "In which county was Erik Hort born?",
        "paragraphs": [
            {"title": title, "paragraph_text": text, "is_supporting": title in ("Erik Hort", "Montebello")}
            for title, text in _PASSAGES.items()
        ],
    }]  # fmt: skip
    (tmp_path / "q_corpus.json.xz").write_bytes(lzma.compress(json.dumps(corpus).encode()))
    (tmp_path / "q.json.xz").write_bytes(lzma.compress(json.dumps(asked).encode()))
    return tmp_path / "q.json.xz"


def test_a_row_per_recipe_with_quality_and_costs(questions: Path) -> None:
    result = run_task("recipes", data=("musique",), path=questions, recipes=("mnemos", "hipporag2"))
    assert [row["system"] for row in result.rows] == ["mnemos", "hipporag2"]
    for row in result.rows:
        assert row["recall@5"] == 1.0  # four passages: all come back
        assert row["quality"] == row["recall@5"]
        assert row["model calls"] == 0
        assert row["KB / memory"] > 0
        assert row["strings embedded / memory"] >= 1
    assert result.size == {"memories": 4, "questions": 1}


def test_an_unknown_recipe_or_set_is_refused_before_anything_runs(questions: Path) -> None:
    with pytest.raises(InvalidInput, match="hippo"):
        run_task("recipes", data=("musique",), path=questions, recipes=("hippo",))
    with pytest.raises(InvalidInput, match="musique"):
        run_task("recipes", data=("squad",))
