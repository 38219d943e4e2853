"""Vectors on disk: the same ones, embedded once, whatever happened to the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mnemos.bench.embeddings import CachedEmbedder
from mnemos.core.errors import InvalidInput
from mnemos.text.encode.embedder import Embedder


class Counted:
    """An embedder that tells what it was asked for."""

    def __init__(self, name: str = "counted", dim: int = 3) -> None:
        self.name, self.dim = name, dim
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        rows = [np.random.default_rng(sum(map(ord, t)) + len(t)).standard_normal(self.dim) for t in texts]
        return np.array(rows, np.float32).reshape(len(texts), self.dim)


def test_it_is_an_embedder_with_the_same_name_and_the_same_vectors(tmp_path: Path) -> None:
    plain, cached = Counted(), CachedEmbedder(Counted(), tmp_path)
    assert isinstance(cached, Embedder)
    assert (cached.name, cached.dim) == (plain.name, plain.dim)
    texts = ["one", "two", "one", "日本"]
    for _ in range(2):
        assert np.array_equal(cached.embed(texts), plain.embed(texts))
    assert cached.embed([]).shape == (0, 3)


def test_each_string_is_embedded_once_over_all_runs(tmp_path: Path) -> None:
    first, second = Counted(), Counted()
    CachedEmbedder(first, tmp_path).embed(["one", "two", "one"])
    again = CachedEmbedder(second, tmp_path)
    again.embed(["two", "three"])
    again.embed(["three", "one"])
    assert (first.asked, second.asked) == (["one", "two"], ["three"])


def test_embedders_do_not_share_vectors(tmp_path: Path) -> None:
    other = Counted("other")
    CachedEmbedder(Counted(), tmp_path).embed(["one"])
    CachedEmbedder(other, tmp_path).embed(["one"])
    assert other.asked == ["one"]


def test_a_file_that_was_cut_or_damaged_costs_its_own_vectors_alone(tmp_path: Path) -> None:
    CachedEmbedder(Counted(), tmp_path).embed(["one", "two", "three"])
    (file,) = tmp_path.rglob("*.vectors")
    data = bytearray(file.read_bytes())
    size = len(data) // 3
    data[size + 17] ^= 1  # inside the second record
    file.write_bytes(data[:-5])
    again = Counted()
    vectors = CachedEmbedder(again, tmp_path).embed(["one", "two", "three"])
    assert again.asked == ["two", "three"]
    assert np.array_equal(vectors, Counted().embed(["one", "two", "three"]))


def test_what_is_no_text_is_refused_and_a_folder_that_is_none_too(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        CachedEmbedder(Counted(), tmp_path).embed([1])  # type: ignore[list-item]
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="choose another folder"):
        CachedEmbedder(Counted(), tmp_path / "file").embed(["one"])
