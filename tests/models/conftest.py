"""Models so small that a test takes milliseconds, with a mixer of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from tiny_mixer import HOME, Build

from mnemos.models import MnemosConfig, MnemosForCausalLM
from mnemos.state.mixers import registry


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The mixer "tiny", and one thread."""
    monkeypatch.setitem(registry._HOMES, "tiny", HOME)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def build() -> Build:
    """Makes a two-layer model."""

    def made(**settings: Any) -> MnemosForCausalLM:
        torch.manual_seed(0)
        shape: dict[str, Any] = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_heads": 2}
        return MnemosForCausalLM(MnemosConfig(**{**shape, "mixer": "tiny", **settings}))

    return made
