"""Questions made from passages: the pairs that they rest on, their form, and that the bench reads them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mnemos.bench import hops
from mnemos.bench.sets import question_set
from mnemos.core.errors import InvalidInput

TEXTS = {
    "Red Dust (film)": "Red Dust is a 1950 film directed by Ann Poe. It stars Joe Bly.",
    "Blue Moon": "Blue Moon is a film directed by Max Rye (1900-1950).",
    "White Sea": "White Sea is a film directed by Lou Dorn.",
    "Ann Poe": "Ann Poe was a daughter of King Lou Dorn.",
    "Max Rye": "Max Rye married Ann Poe, a film director.",
    "Lou Dorn": "Lou Dorn was a king.",
    "Joe Bly": "Joe Bly recorded the song Grey Mare.",
    "Grey Mare": "Grey Mare is a song by American singer Joe Bly.",
    "Sam Coe (poet)": "Sam Coe was a son of Eve Hall.",
    "Sam Coe (actor)": "Sam Coe acted in a film directed by Sam Coe.",
}


def test_a_pair_is_a_passage_and_the_one_that_it_names_behind_a_relation() -> None:
    assert set(hops.pairs(TEXTS)) == {
        ("film", "Red Dust (film)", "Ann Poe"),
        ("film", "Blue Moon", "Max Rye"),
        ("film", "White Sea", "Lou Dorn"),
        ("child", "Ann Poe", "Lou Dorn"),
        ("spouse", "Max Rye", "Ann Poe"),
        ("song", "Grey Mare", "Joe Bly"),
    }


def test_questions_name_their_first_passages_and_rest_on_what_these_lead_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "MOST", {"film": 1, "song": 1, "child": 1, "spouse": 1})
    made = hops.questions(TEXTS)
    assert {question["type"] for question in made} == {"compositional", "inference", "bridge comparison"}
    (both,) = (question for question in made if question["type"] == "bridge comparison")
    titles = [title for title, _ in both["supporting_facts"]]
    assert {("film", *titles[:2]), ("film", *titles[2:])} <= set(hops.pairs(TEXTS))
    for question in made:
        named = [title for title, _ in question["supporting_facts"]][::2]
        assert all(title in question["question"] for title in named)
    assert made == hops.questions(TEXTS)


def test_what_is_written_is_what_the_bench_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, out = tmp_path / "corpus.json", tmp_path / "made" / "hops.json"
    corpus.write_text(json.dumps([{"title": title, "text": text} for title, text in TEXTS.items()]))
    monkeypatch.setattr(sys, "argv", ["hops", str(corpus), str(out)])
    hops.main()
    (case,) = question_set("2wiki").read(out)
    assert len(case.items) == len(TEXTS)
    assert len(case.asked) == len(json.loads(out.read_text()))
    assert all(asked.gold <= set(case.names) for asked in case.asked)


def test_a_file_of_another_form_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / "corpus.json"
    corpus.write_text('["a", "b"]')
    monkeypatch.setattr(sys, "argv", ["hops", str(corpus), str(tmp_path / "out.json")])
    with pytest.raises(InvalidInput, match="no list of titles"):
        hops.main()
    assert not (tmp_path / "out.json").exists()
