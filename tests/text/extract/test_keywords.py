"""keywords: the topic words of a session, deterministically."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput
from mnemos.text.encode.keywords import keywords

_SESSION = [
    "I signed up for a pottery class, it was great!",
    "A pottery class? Wow. My garden keeps me busy.",
    "Yes, the pottery class is on Mondays. How is the garden?",
    "The garden is fine, thanks.",
]


def test_repeated_phrases_and_words_lead() -> None:
    assert keywords(_SESSION, 2) == ["pottery class", "garden"]


def test_no_stop_words_and_no_word_twice() -> None:
    found = keywords(_SESSION, 20)
    words = " ".join(found).split()
    assert len(words) == len(set(words))
    assert not {"the", "i", "was", "thanks", "great"} & set(words)


def test_order_of_texts_does_not_matter() -> None:
    assert keywords(_SESSION) == keywords(_SESSION[::-1])


@pytest.mark.parametrize("texts", [[], [""], ["the and of", "!!!"]])
def test_nothing_to_say_gives_nothing(texts: list[str]) -> None:
    assert keywords(texts) == []


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(InvalidInput, match="k=-1"):
        keywords(["a"], -1)


@settings(derandomize=True)
@given(st.lists(st.text(max_size=100), max_size=5), st.integers(0, 10))
def test_any_texts_give_at_most_k(texts: list[str], k: int) -> None:
    found = keywords(texts, k)
    assert len(found) <= k
    assert len(set(found)) == len(found)
    assert found == keywords(list(texts), k)


@pytest.mark.parametrize("piece", ["a", "ab ", "pottery garden ", "'", "-a"])
def test_long_adversarial_text_is_finished(piece: str) -> None:
    keywords([(piece * 200_000)[:200_000]])
