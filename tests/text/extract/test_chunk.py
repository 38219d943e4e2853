"""sentences and passages: where they cut, and that nothing is lost."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput
from mnemos.text.encode.chunk import passages, sentences


def _cut(text: str) -> list[str]:
    return [text[a:b] for a, b in sentences(text)]


_FULL_LINE = "The weights that come with the package were all fitted with the"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Hi there. How are you? Fine!", ["Hi there.", "How are you?", "Fine!"]),
        ("Dr. Smith paid $3.50 to Mrs. Jones.", ["Dr. Smith paid $3.50 to Mrs. Jones."]),
        ("J. K. Rowling wrote it. I read it.", ["J. K. Rowling wrote it.", "I read it."]),
        ("He left... then came back! Really.", ["He left... then came back!", "Really."]),
        ("We ate at 5 p.m. and left.", ["We ate at 5 p.m. and left."]),
        ("i went home. then i slept", ["i went home.", "then i slept"]),
        ('"What?" he said. "Go!" She went.', ['"What?" he said.', '"Go!"', "She went."]),
        ("So good 😊 I went. Wow! 😊 Next", ["So good 😊", "I went.", "Wow! 😊", "Next"]),
        ("Wait?! No way.", ["Wait?!", "No way."]),
        ("今日は。元気？はい", ["今日は。", "元気？", "はい"]),
        ("hard wrapped\nprose goes on.\nNew line", ["hard wrapped\nprose goes on.", "New line"]),
        ("the static table and\n`none` have weights", ["the static table and\n`none` have weights"]),
        ("- an item that\n  goes on\n- another", ["- an item that\n  goes on", "- another"]),
        (f"Title\n{_FULL_LINE}\nMiniLM once.", ["Title", f"{_FULL_LINE}\nMiniLM once."]),
        (f"{_FULL_LINE}\nMiniLM is a model.", [_FULL_LINE, "MiniLM is a model."]),  # the first line may be a title
        (f"Title\n{_FULL_LINE}\n- MiniLM", ["Title", _FULL_LINE, "- MiniLM"]),
        (f"Title\n| {_FULL_LINE}\nMiniLM", ["Title", f"| {_FULL_LINE}", "MiniLM"]),
        ("one\n\ntwo", ["one", "two"]),
        ("1. First\n2. Second", ["1. First", "2. Second"]),
        ("# Head\nbody text", ["# Head", "body text"]),
        ("see example.com and v1.2.3 now", ["see example.com and v1.2.3 now"]),
        ("", []),
        (" \n\t ", []),
    ],
)
def test_sentence_borders(text: str, parts: list[str]) -> None:
    assert _cut(text) == parts


def test_a_passage_takes_whole_sentences_up_to_the_limit() -> None:
    text = "One two. Three four. Five six."
    assert [text[a:b] for a, b in passages(text, limit=20)] == ["One two. Three four.", "Five six."]


def test_a_heading_starts_a_passage_but_not_inside_fenced_code() -> None:
    text = "# One\nBody one.\n\n## Two\nBody two.\n```\n# a comment\n```\n"
    assert [text[a:b] for a, b in passages(text)] == [
        "# One\nBody one.",
        "## Two\nBody two.\n```\n# a comment\n```",
    ]


def test_a_paragraph_that_fits_alone_is_not_torn() -> None:
    text = f"{'A' * 30}. {'B' * 30}.\n\n{'C' * 30}. {'D' * 30}."
    assert [text[a] for a, _ in passages(text, limit=100)] == ["A", "C"]


def test_a_sentence_beyond_the_limit_is_cut_at_a_space() -> None:
    text = "alpha beta gamma delta"
    assert [text[a:b] for a, b in passages(text, limit=12)] == ["alpha beta", "gamma delta"]


def test_overlap_repeats_whole_sentences() -> None:
    text = "Aa aa. Bb bb. Cc cc. Dd dd."
    assert [text[a:b] for a, b in passages(text, limit=13, overlap=6)] == [
        "Aa aa. Bb bb.",
        "Bb bb. Cc cc.",
        "Cc cc. Dd dd.",
    ]


@pytest.mark.parametrize(("limit", "overlap"), [(0, 0), (-1, 0), (10, 10), (10, -1)])
def test_impossible_sizes_are_refused(limit: int, overlap: int) -> None:
    with pytest.raises(InvalidInput, match=r"limit=|overlap="):
        passages("text", limit=limit, overlap=overlap)


_TEXT = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            [
                "Aa",
                "b. ",
                ". ",
                "...",
                "?!",
                "\n",
                "\n\n",
                "# H",
                "```\n",
                "。",
                "😊",
                "Dr. ",
                " ",
                "3.5",
                '"',
                "\ud800",
                "\u2029",
            ]
        ),
        max_size=60,
    ).map("".join),
)


@settings(max_examples=300, derandomize=True)
@given(_TEXT, st.integers(1, 60), st.integers(0, 59))
def test_spans_cover_all_but_whitespace_in_order_and_within_the_limit(text: str, limit: int, overlap: int) -> None:
    overlap = min(overlap, limit - 1)
    for spans in (sentences(text), passages(text, limit=limit, overlap=overlap), passages(text, limit=limit)):
        covered = set()
        for start, end in spans:
            assert 0 <= start < end <= len(text)
            assert text[start:end] == text[start:end].strip()
            covered |= set(range(start, end))
        assert {i for i, c in enumerate(text) if not c.isspace()} <= covered
        assert spans == sorted(spans)
    assert all(b - a <= limit for a, b in passages(text, limit=limit, overlap=overlap))
    plain = passages(text, limit=limit)
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(plain))


@pytest.mark.parametrize("piece", ["a", ". ", "\n", " ", "😊", '"', "# a\n", "...", "Dr. ", "\n ", "```\n", "。"])
def test_long_adversarial_text_is_finished(piece: str) -> None:
    text = (piece * 200_000)[:200_000]
    sentences(text)
    passages(text, overlap=100)


def test_a_million_characters_without_punctuation_are_cut_to_size() -> None:
    assert len(passages("x" * 1_000_000)) == 1000
