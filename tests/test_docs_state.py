"""The page of the state wing is right: its snippets run in order, its names exist, and its own memory is short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the state wing needs torch: pip install 'mnemos[neural]'")

import mnemos.state
from mnemos.state import mixer_names

PAGE = (Path(__file__).parents[1] / "docs" / "state.md").read_text("utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_snippets_run_one_after_the_other() -> None:
    names: dict = {}
    for snippet in SNIPPETS:
        exec(compile(snippet, "docs/state.md", "exec"), names)
    assert names["y"].shape == names["x"].shape


def test_a_new_memory_takes_fewer_than_twenty_lines() -> None:
    (own,) = [snippet for snippet in SNIPPETS if "class " in snippet]
    assert len([line for line in own.splitlines() if line.strip()]) < 20


def test_the_page_names_every_mixer_and_every_part() -> None:
    for name in mixer_names():
        assert re.search(rf"\b{name}\b", PAGE), name
    parts = {"structure", "objective", "retention", "rule"}
    for name, home in mnemos.state._HOMES.items():
        if home in parts:
            assert f"`{name}`" in PAGE, name
