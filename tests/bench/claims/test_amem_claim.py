from __future__ import annotations

import re

from mnemos.bench.claims.amem import DENSE, EVOLVED, FULL, LINKS, NOTES, SMOKE, run, stream
from mnemos.bench.runner import silent
from words_embedder import Words


def test_the_claim_runs_at_smoke_size_and_links_find_what_dense_search_does_not() -> None:
    result = run(silent, SMOKE, Words(256))
    assert [row["system"] for row in result.rows] == [DENSE, NOTES, LINKS, EVOLVED]
    assert result.claim is not None
    assert result.measures[f"stream recall@10, {LINKS}"] > result.measures[f"stream recall@10, {DENSE}"]


def test_only_the_first_note_of_a_pair_shares_words_with_its_question() -> None:
    notes, questions = stream(FULL, 0)
    assert len(notes) == len(set(notes)) == FULL.topics * FULL.notes
    assert len(questions) == len(notes) // 2
    common = {"is", "the", "that", "to", "in", "a", "by", "was", "about"}
    for question in questions:
        asked, first, second = (
            set(re.findall(r"\w+", text.lower())) - common for text in (question.text, *question.evidence)
        )
        assert asked & first
        assert not asked & second
        assert first & second  # the name
