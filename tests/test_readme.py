"""The README is right: its snippet runs and prints what it says, its commands exist, and nothing is left out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer

import mnemos
from mnemos.cli import app
from mnemos.text.encode.embedder import resolve

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_snippet_answers_what_its_comments_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if resolve("auto") is None:
        pytest.skip("no embedder here, and the snippet's answers are those of the default")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    claims = re.findall(r"^    (mem\.ask\(.*?\)\.text)\s+# ('.*')$", code, re.M)
    assert len(claims) == 5
    checks = "".join(f"    assert {call} == {ast.literal_eval(said)!r}, {call}\n" for call, said in claims)
    before, after = code.split("    hit = mem.search")
    exec(before + checks + "    hit = mem.search" + after + "    assert receipt.verified\n", {})


def test_every_command_is_in_the_readme() -> None:
    group = typer.main.get_command(app)
    for name in group.commands:  # type: ignore[attr-defined]
        assert re.search(rf"`{name}`|mnemos {name}", README), name


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_public_names_are_exactly_those_that_load() -> None:
    assert sorted(mnemos.__all__) == sorted(mnemos._HOMES)
    for name in mnemos.__all__:
        assert getattr(mnemos, name).__name__
    with pytest.raises(AttributeError, match="Memory"):
        _ = mnemos.Memroy
