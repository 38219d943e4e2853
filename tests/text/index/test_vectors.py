"""Vectors: exact and approximate agree, removal is real, a file is used only if it is ours and whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnemos.text.index import vectors as module
from mnemos.text.index.vectors import Vectors

DIM = 32


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Vectors:
    pytest.importorskip("faiss")
    monkeypatch.setattr(module, "CROSSOVER", 1000)
    return _vectors(4000)


def _vectors(n: int, first_key: int = 0) -> Vectors:
    rng = np.random.default_rng(n)
    centres = rng.normal(size=(40, DIM))
    x = centres[rng.integers(0, 40, n)] + 0.4 * rng.normal(size=(n, DIM))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return Vectors(np.arange(n), np.arange(n) * 256 + first_key, x.astype(np.float16))


def _query(seed: int) -> np.ndarray:
    q = np.random.default_rng(seed).normal(size=DIM)
    return (q / np.linalg.norm(q)).astype(np.float32)


def test_below_the_crossover_the_nearest_are_exact() -> None:
    some = _vectors(500)
    assert not some.build()
    scores = some.matrix.astype(np.float32) @ _query(1)
    assert set(some.nearest(_query(1), 10)) == set(np.argsort(-scores)[:10])


def test_beyond_the_crossover_nearly_all_true_neighbours_are_found(many: Vectors) -> None:
    exact = [set(np.argsort(-(many.matrix.astype(np.float32) @ _query(s)))[:10]) for s in range(20)]
    assert many.build()
    found = [set(many.nearest(_query(s), 30)) for s in range(20)]
    assert np.mean([len(a & b) / 10 for a, b in zip(exact, found, strict=True)]) >= 0.95


def test_scores_are_exact_whichever_index_names_the_candidates(many: Vectors) -> None:
    which = np.array([3, 77, 1234])
    before = many.some(_query(2), which)
    many.build()
    assert np.allclose(many.some(_query(2), which), before)
    assert np.allclose(before, many.matrix[which].astype(np.float32) @ _query(2), atol=1e-6)


def test_what_was_removed_is_never_found_again(many: Vectors) -> None:
    many.build()
    query = many.matrix[17].astype(np.float32)
    assert 17 in many.nearest(query, 5)
    keep = np.ones(len(many), bool)
    keep[17] = False
    gone = many.keys[17]
    many.keep(keep, np.arange(len(many) - 1))
    assert gone not in many.keys[many.nearest(query, 50)]
    assert many.ivf.ntotal == len(many)


def test_what_was_added_since_is_found_at_once(many: Vectors) -> None:
    many.build()
    new = _query(9).astype(np.float16)[None]
    many.extend(np.array([len(many)]), many.keys[-1:] + 256, new)
    assert len(many) - 1 in many.nearest(_query(9), 5)


def test_a_kept_file_gives_the_same_neighbours(many: Vectors, tmp_path: Path) -> None:
    many.build()
    many.save(tmp_path / "index", b"stamp")
    again = _vectors(4000)
    assert again.load(tmp_path / "index", b"stamp")
    assert set(again.nearest(_query(4), 20)) == set(many.nearest(_query(4), 20))


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other stamp", "missing", "text"])
def test_a_file_that_is_not_whole_or_not_ours_is_not_used(many: Vectors, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "index"
    many.build()
    many.save(path, b"stamp")
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    changed = {"empty": b"", "cut": bytes(data[: len(data) // 2]), "text": b"hello\n" * 9}.get(damage, bytes(data))
    path.write_bytes(changed)
    if damage == "missing":
        path.unlink()
    again = _vectors(4000)
    assert not again.load(path, b"another" if damage == "other stamp" else b"stamp")
    assert again.exact


def test_without_the_library_search_stays_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CROSSOVER", 10)
    monkeypatch.setattr(module, "_faiss", lambda: None)
    some = _vectors(100)
    assert some.due()
    assert not some.build()
    assert len(some.nearest(_query(1), 5)) == 5


def test_what_comes_in_pieces_is_what_came_at_once_and_earlier_views_stay_as_they_were() -> None:
    whole, query = _vectors(90).matrix, _query(3)
    held = Vectors(np.arange(4), np.arange(4), whole[:4])
    seen, size = [], 4
    for step in (1, 1, 2, 7, 1, 30, 1, 1, 42):
        numbers = np.arange(size, size + step)
        held.extend(numbers, numbers, whole[numbers])
        size += step
        seen.append((held.matrix, held.matrix.copy(), held.all(query)))
    for view, copy, _ in seen:
        np.testing.assert_array_equal(view, copy)
    once = _vectors(90).all(query)
    np.testing.assert_array_equal(seen[-1][2], once)
    held.keep(np.arange(90) % 2 == 0, np.arange(45))
    held.extend(np.arange(45, 46), np.arange(90, 91), whole[:1])
    np.testing.assert_array_equal(held.all(query), [*once[::2], once[0]])


def test_a_rough_cosine_is_close_and_knows_what_was_added_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SKETCH", 24)
    some, more = _vectors(900), _vectors(901)
    for _ in range(2):
        exact = some.matrix.astype(np.float32) @ _query(5)
        assert np.corrcoef(some.rough(_query(5)), exact)[0, 1] > 0.9
        some.extend(np.arange(900, 1801), more.keys + int(some.keys[-1]) + 1, more.matrix)
    exact = some.matrix.astype(np.float32) @ _query(5)
    keep = np.arange(len(some)) % 3 != 0
    some.keep(keep, np.arange(keep.sum()))
    assert np.corrcoef(some.rough(_query(5)), exact[keep])[0, 1] > 0.9


def test_a_sketch_of_all_dimensions_is_exact() -> None:
    some = _vectors(900)
    assert np.allclose(some.rough(_query(6)), some.all(_query(6)), atol=1e-5)


def test_moments_are_those_of_all_cosines() -> None:
    some = _vectors(800)
    cosines = some.matrix.astype(np.float64) @ _query(3)
    mean, deviation = some.spread(_query(3))
    assert abs(mean - cosines.mean()) < 1e-3
    assert abs(deviation - cosines.std()) < 1e-3
