"""One cache folder for all embedder tests, so that each graph is composed once."""

from __future__ import annotations

import os

# two spinning BLAS threads on busy cores are many times slower than one; read when numpy loads
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import pytest

from mnemos.text.encode.minilm import MiniLM, find_weights

SENTENCES = [
    "Where did Caroline go last summer?",
    "ok",
    "The quick brown fox jumps over the lazy dog.",
    "I moved to Lisbon in 2019 and have been teaching chemistry at a secondary school since then.",
    "Energy is stored in glucose by plants that turn light into sugar.",
    "for x in range(10): print(x ** 2)",
    "Das Wetter war gestern viel besser als heute.",
    "we should totally go hiking again!! the view was AMAZING",
    "Net income fell 3.4% year on year, to $1.2m, as shipping costs rose.",
    "東京は日本の首都です。",
    "Her sister, who had never liked boats, agreed after some persuasion to cross the bay, though only "
    "in daylight and only if the captain promised to turn back at the first sign of rain.",
    "",
]


@pytest.fixture(scope="session")
def weights() -> Path:
    folder = find_weights()
    if folder is None:
        pytest.skip("the weights of all-MiniLM-L6-v2 are not on this machine")
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mnemos-cache")


@pytest.fixture(scope="session")
def f32(weights: Path, cache: Path) -> MiniLM:
    return MiniLM("f32", cache_dir=cache, weights=weights)


@pytest.fixture(scope="session")
def int8(weights: Path, cache: Path) -> MiniLM:
    return MiniLM("int8", cache_dir=cache, weights=weights)


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    return list(SENTENCES)
