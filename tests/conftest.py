"""What all tests share: one numeric thread, and a small memory whose clock stands still."""

from __future__ import annotations

import os

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # before numpy and torch load: more are slower

from collections.abc import Iterator
from pathlib import Path

import pytest

from mnemos import FixedClock, Memory, Settings


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock("2025-06-01")


@pytest.fixture
def memory(tmp_path: Path, clock: FixedClock) -> Iterator[Memory]:
    """A memory that works by words alone, in a fresh folder."""
    with Memory(tmp_path / "m.mnemos", embedder=None, clock=clock, seed=1, settings=Settings()) as made:
        yield made
