from __future__ import annotations

from typing import get_args

import pytest

from mnemos.bench.recall import needle
from mnemos.bench.recall.needle import Kind
from mnemos.core.errors import InvalidInput


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("size", [400, 2000])
def test_a_prompt_keeps_its_size_and_holds_every_answer_once(kind: Kind, size: int) -> None:
    made = needle(kind, size, seed=1)
    words = len(made.text.split()) + len(made.question.split())
    assert size - 200 < words + 128 <= size
    for answer in made.answers:
        assert made.text.count(f"{answer}.") == 1 or kind == "passkey"


@pytest.mark.parametrize(
    ("kind", "count"), [("single-1", 1), ("multikey-1", 4), ("multivalue", 4), ("multiquery", 4), ("single-3", 1)]
)
def test_as_many_needles_as_stated(kind: Kind, count: int) -> None:
    assert needle(kind, 1000, seed=2).text.count("special magic") == count


def test_a_reply_scores_the_share_of_answers_in_it() -> None:
    made = needle("multiquery", 500, seed=3)
    assert made.score(" ".join(made.answers).upper()) == 1.0
    assert made.score(made.answers[0]) == 0.25
    assert made.score("no idea") == 0.0


def test_the_same_seed_makes_the_same_prompt() -> None:
    assert needle("multikey-2", 500, seed=4) == needle("multikey-2", 500, seed=4)
    assert needle("multikey-2", 500, seed=4) != needle("multikey-2", 500, seed=5)


def test_a_haystack_too_small_for_its_needles_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot hold"):
        needle("multivalue", 140, seed=0)
