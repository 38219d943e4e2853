"""The page of recipes is right: its snippets run in order, and every recipe is in its table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mnemos.text.encode.embedder import resolve
from mnemos.text.recipes import recipe_names

PAGE = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text("utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_snippets_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if resolve("auto") is None:
        pytest.skip("no embedder here, and recipes compare meanings")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for snippet in SNIPPETS:
        exec(compile(snippet, "docs/recipes.md", "exec"), names)
    assert "the question ~ fact (erik hort, born in, montebello) → montebello" in names["county"].why[0]
    assert any(name.startswith("way 1: montebello") for name in names["county"].parts)
    assert names["found"].text.startswith("Montebello")
    assert names["similar"][0].case.outcome == "fails"


def test_every_recipe_is_on_the_page() -> None:
    for name in recipe_names():
        assert re.search(rf"^\| `{name}`", PAGE, re.M), name
