"""Neighbours of words: the shipped table, and what it is made by."""

from __future__ import annotations

import numpy as np
import pytest

from mnemos.bench.alike import nearest, vectors
from mnemos.text.encode.alike import LEAST, STEPS, neighbours
from mnemos.text.encode.analyse import terms
from mnemos.text.encode.minilm import MiniLM, find_weights


def _stem(word: str) -> int:
    return int(terms(word)[0])


@pytest.mark.parametrize(
    ("word", "likes"), [("dog", "puppy"), ("sibling", "brother"), ("wedding", "marry"), ("hobby", "leisure")]
)
def test_words_of_one_meaning_are_neighbours(word: str, likes: str) -> None:
    found = neighbours([_stem(word)])
    assert _stem(likes) in found.terms


def test_neighbours_rise_in_likeness_and_an_unknown_stem_has_none() -> None:
    asked = [_stem("dog"), 7, _stem("wedding")]
    found = neighbours(asked)
    for n, term in enumerate(asked):
        mine = found.of == n
        assert term not in found.terms[mine]
        assert (np.diff(found.likeness[mine]) >= 0).all()
        assert ((found.likeness[mine] > LEAST) & (found.likeness[mine] < 1)).all()
    assert set(found.of) == {0, 2}  # no stem has the hash 7


def test_no_question_has_no_neighbours() -> None:
    assert [len(part) for part in neighbours([])] == [0, 0, 0]


def test_the_nearest_are_those_of_all_cosines() -> None:
    draw = np.random.default_rng(0)
    unit = draw.normal(size=(40, 4)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    table = nearest(np.arange(40, dtype=np.uint32), unit, 6)
    for n in range(40):
        cosine = unit @ unit[n]
        cosine[n] = -1
        best = np.argsort(cosine, kind="stable")[-6:]
        assert table.near[n].tolist() == best.tolist()
        steps = np.clip((cosine[best] - LEAST) / (1 - LEAST) * STEPS, 0, STEPS)
        assert np.abs(table.likeness[n] - steps).max() <= 0.5 + 1e-3


@pytest.mark.skipif(find_weights() is None, reason="MiniLM's weights are not on this machine")
def test_the_shipped_table_is_what_the_words_vectors_give(monkeypatch: pytest.MonkeyPatch) -> None:
    known = ["dog", "dogs", "puppy", "train", "the", "ing"]
    monkeypatch.setattr(
        "mnemos.bench.alike.WordPieces.vocabulary",
        property(lambda self: {word: self._whole.get_vocab()[word] for word in known}),
    )
    stems, unit = vectors(MiniLM("f32"))
    assert stems.tolist() == sorted(_stem(word) for word in ("dog", "puppy", "train", "ing"))
    assert np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-5)
    cosine = dict(zip(stems.tolist(), unit @ unit[stems.tolist().index(_stem("dog"))], strict=True))
    assert cosine[_stem("puppy")] > cosine[_stem("train")]
