"""The default recipe's walk: what counts as named, and that the walk starts there and at what is asked of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos import FixedClock, Memory, Settings
from mnemos.text.encode.embedder import resolve
from mnemos.text.recipes import named
from mnemos.text.recipes.hipporag2 import load_openie
from mnemos.text.recipes.hipporag2.index import phrase
from mnemos.text.recipes.hipporag2.walk import Starts
from mnemos.text.recipes.named import names_in
from mnemos.text.results import Hit

KNOWN = {
    "ada lovelace",
    "ada",
    "lovelace bridge",
    "rye",
    "the director",
    "1917",
    "les 1917",
    "film",
    "नई दिल्ली",
    "billing service",
}


def _known(name: str) -> str | None:
    return name if name in KNOWN else None


@pytest.mark.parametrize(
    ("text", "names", "rest"),
    [
        ("Who is older, Ada Lovelace or Rye?", ["ada lovelace", "rye"], "who is older or"),
        ("Ada Lovelace Bridge", ["ada lovelace"], "bridge"),
        ("Is Ada's bridge the Lovelace-Bridge?", ["lovelace bridge", "ada"], "is s bridge the"),
        ("Who is the director of the film?", [], "who is the director of the film"),
        ("The director of Les (1917)", ["les 1917"], "the director of"),
        ("Who was born in 1917?", [], "who was born in 1917"),
        ("where is ada lovelace from", ["ada lovelace"], "where is from"),
        ("is ada from rye?", [], "is ada from rye"),
        ("Who looks after the billing service?", ["billing service"], "who looks after the"),
        ("नई दिल्ली कहाँ है?", ["नई दिल्ली"], "कहाँ है"),
        ("Ada and Ada", ["ada"], "and"),
        ("?!", [], ""),
    ],
)
def test_the_longest_known_phrases_that_are_no_common_words_are_named(text: str, names: list[str], rest: str) -> None:
    assert names_in(text, _known) == (names, rest)


@given(st.lists(st.sampled_from(["Ada", "Lovelace", "Rye", "the", "film", "Bridge", "1917", "x-y", "?"])).map(" ".join))
def test_every_word_is_part_of_one_name_or_of_the_rest(text: str) -> None:
    names, rest = names_in(text, _known)
    assert set(names) <= KNOWN
    left = Counter(phrase(text).split()) - Counter(rest.split())
    assert set(left) == {word for name in names for word in name.split()}


_FILMS = {"Red Dust": "Ann Poe", "Blue Moon": "Max Rye", "Grey Mare": "Lou Dorn", "White Sea": "Eve Hall"}
_DIRECTORS = {"Ann Poe": "Hull", "Max Rye": "Cork", "Lou Dorn": "Bath", "Eve Hall": "York"}


@pytest.fixture
def films(tmp_path: Path) -> Memory:
    if resolve("auto") is None:
        pytest.skip("no embedder here, and the walk compares meanings")
    docs = [
        {
            "title": film,
            "text": f"{film} is a film with Joe Bly about director Sam Coe, made by {director}.",
            "extracted_triples": [[film, "is", "film"], [film, "directed by", director], [film, "stars", "Joe Bly"],
                                  [film, "is about", "Sam Coe"]],
        }
        for film, director in _FILMS.items()
    ]  # fmt: skip
    docs += [
        {"title": name, "text": f"{name} lives in {town}.", "extracted_triples": [[name, "lives in", town]]}
        for name, town in _DIRECTORS.items()
    ]
    docs += [
        {
            "title": f"Film {n}",
            "text": f"Film {n} came out first.",
            "extracted_triples": [[f"Film {n}", "was", "first"]],
        }
        for n in range(12)
    ]
    (tmp_path / "triples.json").write_text(json.dumps({"docs": docs}))
    memory = Memory(tmp_path / "m.mnemos", clock=FixedClock("2025-06-01"), seed=1, settings=Settings())
    memory.add([{"text": f"{doc['title']}\n{doc['text']}", "kind": "passage"} for doc in docs])
    assert load_openie(memory, tmp_path / "triples.json") == len(docs)
    return memory


def _titles(hits: list[Hit]) -> list[str]:
    return [hit.text.split("\n")[0] for hit in hits]


def test_both_of_two_named_things_are_found_and_what_is_asked_of_each(films: Memory) -> None:
    with films as memory:
        hits = memory.search("Which film has the director who died first, Red Dust or Blue Moon?", k=4)
        assert set(_titles(hits)) == {"Red Dust", "Blue Moon", "Ann Poe", "Max Rye"}
        why = {title: " ".join(hit.why) for title, hit in zip(_titles(hits), hits, strict=True)}
        assert "about what the question names" in why["Red Dust"]
        assert "the question ~ fact (blue moon, directed by, max rye) → max rye → “Max Rye" in why["Max Rye"]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Starts]:
    """What every walk starts from."""
    seen: list[Starts] = []
    real = named.NamedWalk.starts

    def spy(*arguments: Any) -> Starts:
        seen.append(real(*arguments))
        return seen[-1]

    monkeypatch.setattr(named.NamedWalk, "starts", spy)
    return seen


def test_what_many_passages_name_points_to_none(
    films: Memory, begun: list[Starts], monkeypatch: pytest.MonkeyPatch
) -> None:
    with films as memory:
        memory.search("Who is Joe Bly?")
        assert begun[-1].phrases["joe bly"] >= 1 / 4  # of four passages
        monkeypatch.setattr(named, "_COMMON", 3)
        memory.search("Who is Joe Bly?")
        assert begun[-1].phrases["joe bly"] < 1 / 4


def test_of_what_is_said_of_a_name_only_what_the_question_asks_is_a_start(films: Memory, begun: list[Starts]) -> None:
    with films as memory:
        memory.search("Who is the director of Red Dust?")
        assert begun[-1].phrases["ann poe"] == 3 / 2  # of two passages
        assert begun[-1].phrases["red dust"] == begun[-1].passages[next(iter(begun[-1].passages))] == 1
        assert begun[-1].phrases.get("sam coe", 0) < 1 / 2


def test_what_is_forgotten_is_no_start(films: Memory, begun: list[Starts]) -> None:
    with films as memory:
        (film,) = (hit.id for hit in memory.search("Red Dust", k=8) if hit.text.startswith("Red Dust"))
        assert film in begun[-1].passages
        memory.forget(film)
        memory.search("Red Dust")
        assert not begun[-1].passages
        assert "red dust" not in begun[-1].phrases
