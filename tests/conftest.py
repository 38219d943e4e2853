"""What all tests share: one numeric thread, a small memory whose clock stands still, a scripted language model."""

from __future__ import annotations

import os

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # before numpy and torch load: more are slower

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from llm_server import Endpoint
from mnemos import FixedClock, LanguageModel, Memory, Settings

_TRAINED = ("atlas", "brains_retrieval", "local_linear_attention", "mem_alpha", "miras", "mixture_of_memories",
            "pavlovian_attention", "titans")  # fmt: skip
if find_spec("torch") is None:  # what does without the extra 'neural' is tested without it
    collect_ignore_glob = ["state/*", "learn/*", "models/*", "bench/recall/*", "bench/test_neural_tasks.py"]
    collect_ignore_glob += [f"bench/claims/test_{name}_claim.py" for name in _TRAINED]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock("2025-06-01")


@pytest.fixture
def memory(tmp_path: Path, clock: FixedClock) -> Iterator[Memory]:
    """A memory that works by words alone, in a fresh folder."""
    with Memory(tmp_path / "m.mnemos", embedder=None, clock=clock, seed=1, settings=Settings()) as made:
        yield made


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A chat endpoint on this machine; script it with `says`, `then` or `by`."""
    made = Endpoint()
    yield made
    made.close()


@pytest.fixture
def model(endpoint: Endpoint) -> Iterator[LanguageModel]:
    """A model at `endpoint` that never really waits."""
    pytest.importorskip("openai", reason="the extra 'llm' is not installed")
    made = LanguageModel("toy", base_url=endpoint.url, api_key="sk-canary-0123456789", timeout=5, sleep=lambda _: None)
    yield made
    made.close()
