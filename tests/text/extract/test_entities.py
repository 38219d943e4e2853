"""entities and canonical: what counts as a name, and when two are the same."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mnemos.text.encode.entities import canonical, entities


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Hey Zoe! I went to the Louvre in Paris with Rob's kids.", ["Zoe", "Louvre", "Paris", "Rob"]),
        ("Visited Rome. Loving Paris", ["Rome", "Paris"]),
        (
            "We read The Lord of the Rings at University of Texas",
            ["Lord of the Rings", "University of Texas"],
        ),
        (
            'I read "The Quiet Shore" and a book called "nothing is lost".',
            ["The Quiet Shore", "nothing is lost"],
        ),
        ("I met Jane O'Brien, Dr. Ann Lee and Mary-Kate", ["Jane O'Brien", "Ann Lee", "Mary-Kate"]),
        ("J. K. Doe and J.R.R. Roe write", ["J. K. Doe", "J.R.R. Roe"]),
        ("The NASA team works for IBM", ["NASA", "IBM"]),
        ("my iPhone and a Coca-Cola", ["iPhone", "Coca-Cola"]),
        ("Anna said hi. Pottery is relaxing", ["Anna"]),
        ("Luna is here. I fed Luna", ["Luna"]),
        ("Ich war mit Jürgen in München", ["Jürgen", "München"]),
        ("Я видел, как Анна Каренина уехала", ["Анна Каренина"]),
        ("我读了《红楼梦》。", ["红楼梦"]),
    ],
)
def test_names_are_found(text: str, names: list[str]) -> None:
    assert entities(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "Wow, thanks! That's great. I'm glad. Yesterday I ran.", "See you on Friday in May, OK? LOL",
         "Pottery is so relaxing.",
        "I AM SO HAPPY TODAY", '"I love you" she said', "no names here", "", "He said: "
        "Nothing.", "Congrats! 😊 Nature heals",
    ],
)  # fmt: skip
def test_openers_weekdays_and_shouting_are_no_names(text: str) -> None:
    assert entities(text) == []


def test_the_speakers_name_counts_where_it_opens_a_sentence() -> None:
    assert entities("Zed is me") == []
    assert entities("Zed is me", speaker="Zed Roe") == ["Zed"]
    assert entities("I am here", speaker="Zed Roe") == []


def test_each_name_comes_once() -> None:
    assert entities("I like Rome, and ROME, and Rome's streets") == ["Rome"]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Rome's", "rome"),
        ("“The Quiet Shore”", "the quiet shore"),
        ("Ｒｏｍｅ", "ROME"),
        ("Straße", "STRASSE"),
        ("A  B", "a b"),
        ("C++", "c++"),
    ],
)
def test_canonical_joins_spellings(a: str, b: str) -> None:
    assert canonical(a) == canonical(b)


def test_canonical_keeps_what_differs() -> None:
    assert len({canonical(n) for n in ("C", "C++", "C#", "Rome", "Roma")}) == 5


@settings(derandomize=True)
@given(st.text(max_size=80))
@example("'s's")
@example("\u0345'S")
def test_canonical_is_idempotent(name: str) -> None:
    assert canonical(canonical(name)) == canonical(name)


@settings(derandomize=True)
@given(st.text(max_size=300), st.text(max_size=20))
@example('"Aa" “Bb” Aa. Aa\ud800 \x00 \u202eAa 😊 I.', "Aa")
def test_any_text_gives_distinct_names_that_it_holds(text: str, speaker: str) -> None:
    found = entities(text, speaker)
    assert len({canonical(n) for n in found}) == len(found)
    flat = " ".join(text.split())
    assert all(n.strip() and " ".join(n.split()) in flat for n in found)


@pytest.mark.parametrize(
    "piece", ['"Aa" ', "Aa. ", "Aa Bb ", "A", "A-", "O'", "“", "J. ", "Aa of the ", "İ", "«Aa» Aa "]
)
def test_long_adversarial_text_is_finished(piece: str) -> None:
    entities((piece * 200_000)[:200_000])
