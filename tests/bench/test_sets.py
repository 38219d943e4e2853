"""Question sets: every gold name is that of a memory, and files that are missing or broken say so."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from mnemos.bench.sets import Case, passage_text, question_set, set_names
from mnemos.core.errors import InvalidInput, NotFound

DATA = Path("../shared/data")


@pytest.mark.parametrize("name", set_names())
def test_every_gold_name_is_that_of_a_memory(name: str) -> None:
    chosen = question_set(name)
    if not chosen.path.exists():
        pytest.skip(f"{chosen.path} is not here: bring your own copy")
    cases = list(chosen.read(chosen.path))
    assert cases
    for case in cases:
        assert len(case.items) == len(case.names)
        assert case.asked
        for asked in case.asked:
            assert asked.gold
            assert asked.gold <= set(case.names)


def test_equal_passages_count_as_one(tmp_path: Path) -> None:
    (case,) = _musique(tmp_path)
    assert case.names == (passage_text("A", "one"), passage_text("B", "two"))
    assert case.asked[0].gold == {passage_text("B", "two")}


@pytest.mark.parametrize("form", [dict, list])
def test_evidence_may_be_titles_as_in_hotpotqa(tmp_path: Path, form: type) -> None:
    corpus = {"A": ["One. ", "Two."], "B": ["Three."]}
    passages = [{"title": title, "text": "".join(sentences)} for title, sentences in corpus.items()]
    (tmp_path / "h_corpus.json").write_text(json.dumps(corpus if form is dict else passages))
    question = {"question": "Which?", "supporting_facts": [["A", 0], ["A", 1], ["gone", 0]], "context": []}
    (tmp_path / "h.json").write_text(json.dumps([question]))
    (case,) = question_set("hotpotqa").read(tmp_path / "h.json")
    assert case.names == (passage_text("A", "One. Two."), passage_text("B", "Three."))
    assert case.asked[0].gold == {passage_text("A", "One. Two.")}


def test_a_missing_file_says_what_to_bring(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="bring your own copy"):
        list(question_set("musique").read(tmp_path / "none.json"))


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q_corpus.json").write_text("[")
    with pytest.raises(InvalidInput, match="q_corpus"):
        list(question_set("musique").read(tmp_path / "q.json"))


def test_a_set_of_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q_corpus.json").write_text('[{"title": "A", "text": "one"}]')
    (tmp_path / "q.json").write_text('[{"question": "Which?"}]')
    with pytest.raises(InvalidInput, match="neither MuSiQue's form nor HotpotQA's"):
        list(question_set("musique").read(tmp_path / "q.json"))


def test_an_unknown_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match="musique"):
        question_set("nothing")


def _musique(folder: Path) -> list[Case]:
    passages = [{"title": "A", "text": "one"}, {"title": "B", "text": "two"}, {"title": "A", "text": "one"}]
    (folder / "q_corpus.json.xz").write_bytes(lzma.compress(json.dumps(passages).encode()))
    question = {
        "question": "Which is two?",
        "paragraphs": [
            {"title": "A", "paragraph_text": "one", "is_supporting": False},
            {"title": "B", "paragraph_text": "two", "is_supporting": True},
        ],
    }
    (folder / "q.json.xz").write_bytes(lzma.compress(json.dumps([question]).encode()))
    return list(question_set("musique").read(folder / "q.json.xz"))
