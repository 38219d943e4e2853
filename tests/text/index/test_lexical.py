"""Postings: batch equals increments, and BM25 is the textbook's."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mnemos.text.index.lexical import K1, B, Postings, saturate

documents = st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=40)


def _arrays(docs: list[list[int]]) -> list[np.ndarray]:
    return [np.array(d, np.uint32) for d in docs]


@given(documents, st.integers(0, 40))
def test_adding_in_two_parts_equals_adding_at_once(docs: list[list[int]], cut: int) -> None:
    whole = Postings(_arrays(docs))
    parts = Postings(_arrays(docs[:cut]))
    parts.extend(_arrays(docs[cut:]))
    for term in range(31):
        assert whole[term].rows.tolist() == parts[term].rows.tolist()
        assert whole[term].counts.tolist() == parts[term].counts.tolist()
    assert whole.lengths.tolist() == parts.lengths.tolist()


@given(documents)
def test_sorting_the_tail_in_changes_no_posting(docs: list[list[int]]) -> None:
    waiting = Postings(_arrays(docs))
    before = {term: (waiting[term].rows.tolist(), waiting[term].counts.tolist()) for term in range(31)}
    waiting._sort()
    assert before == {term: (waiting[term].rows.tolist(), waiting[term].counts.tolist()) for term in range(31)}


@given(documents, documents, st.integers(0, 40), st.booleans(), st.sets(st.integers(0, 40)))
def test_what_was_removed_was_never_there(
    docs: list[list[int]], later: list[list[int]], cut: int, look: bool, gone: set[int]
) -> None:
    postings = Postings(_arrays(docs[:cut]))
    postings._sort()
    postings.extend(_arrays(docs[cut:]))
    if look:  # then what waits is sorted already
        postings.matches(range(31))
    which = np.array([n not in gone for n in range(len(docs))], bool)
    postings.keep(which)
    postings.extend(_arrays(later))
    fresh = Postings(_arrays([doc for doc, stays in zip(docs, which, strict=True) if stays] + later))
    found, expected = postings.matches(range(31)), fresh.matches(range(31))
    for name in ("share", "term", "rows", "counts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert postings.lengths.tolist() == fresh.lengths.tolist()
    assert postings.mean_length == fresh.mean_length


@given(documents)
def test_a_posting_counts_what_the_documents_hold(docs: list[list[int]]) -> None:
    postings = Postings(_arrays(docs))
    for term in range(31):
        expected = {n: d.count(term) for n, d in enumerate(docs) if term in d}
        found = postings[term]
        assert dict(zip(found.rows.tolist(), found.counts.tolist(), strict=True)) == expected
        n = len(docs)
        assert math.isclose(postings.idf(found), math.log1p((n - len(expected) + 0.5) / (len(expected) + 0.5)))


@given(documents, st.integers(0, 40), st.lists(st.integers(0, 35), max_size=8))
def test_where_terms_occur_is_what_a_scan_finds(docs: list[list[int]], cut: int, terms: list[int]) -> None:
    postings = Postings(_arrays(docs[:cut]))
    postings._sort()
    postings.extend(_arrays(docs[cut:]))
    found = [
        (n, row)
        for rows, sizes in postings.rows(np.array(terms, np.uint32))
        for n, row in zip(np.arange(len(terms)).repeat(sizes).tolist(), rows.tolist(), strict=True)
    ]
    assert sorted(found) == [(n, row) for n, term in enumerate(terms) for row, doc in enumerate(docs) if term in doc]


def test_the_term_weight_is_bm25s() -> None:
    counts, lengths = np.array([1, 3], np.float32), np.array([10, 30], np.float32)
    expected = [tf * (K1 + 1) / (tf + K1 * (1 - B + B * dl / 20)) for tf, dl in ((1, 10), (3, 30))]
    assert np.allclose(saturate(counts, lengths, 20.0), expected)
