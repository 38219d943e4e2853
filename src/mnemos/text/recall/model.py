"""The linear models that recall scores with: what they look at, and their weights.

`mnemos.bench.ranker` makes `weights.json` from conversations with annotated evidence.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FEATURES = (
    "words", "coverage", "alike", "talk 2", "talk 4", "speaker", "answers", "answers words", "asks", "length",
    "mentions", "when dated", "dated", "in window", "place by talk", "meaning", "meaning z", "previous meaning",
    "next meaning", "session meaning", "answers meaning", "place by meaning",
)  # fmt: skip
"""What the first model looks at, candidate by candidate; the last seven are 0 without an embedder."""
PLACES = tuple(name for name in FEATURES if name.startswith("place"))
"""Those that compare a candidate with all others; the model that chooses candidates goes without."""


@dataclass(frozen=True, slots=True)
class Linear:
    """`(x - mean) / scale @ weight + bias`, x of one or more tables side by side."""

    mean: Floats
    scale: Floats
    weight: Floats
    bias: float = 0.0
    slope: Floats = field(init=False)
    """What one unit of each feature adds."""
    base: np.float32 = field(init=False)
    """The score where every feature is 0."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "slope", self.weight / self.scale)
        object.__setattr__(self, "base", np.float32(self.bias - self.mean @ self.slope))

    def __call__(self, *tables: Floats) -> Floats:
        """[n] scores of [n, features], in one table or several side by side."""
        start, scores = 0, np.float32(self.base)
        for x in tables:
            # not `x @ slope`, which may wake the threads of the BLAS for a product of microseconds
            scores = scores + np.einsum("nf,f->n", x, self.slope[start : start + x.shape[1]])
            start += x.shape[1]
        return np.asarray(scores, np.float32)

    def parts(self, x: Floats) -> Floats:
        """[features] what each one contributes to the score of one row."""
        return np.asarray((x - self.mean) / self.scale * self.weight, np.float32)


KINDS = ("hybrid", "static", "lexical")
"""What the shipped models were fitted to: vectors of a sentence encoder, those of the static table, none."""


def kind_of(embedder: str) -> str:
    """Which of `KINDS` fits an embedder of this name, empty for none."""
    if not embedder:
        return "lexical"
    return "static" if embedder.startswith("static-") else "hybrid"


@lru_cache(maxsize=1)
def weights() -> dict[str, Linear]:
    """The shipped models by name: for each of `KINDS` a `-rough`, an `-own`, a `-spread` and a `-confidence`."""
    data: dict[str, Any] = json.loads(resources.files(__package__).joinpath("weights.json").read_text())
    return {
        name: Linear(
            np.array(m["mean"], np.float32),
            np.array(m["scale"], np.float32),
            np.array(m["weight"], np.float32),
            m["bias"],
        )
        for name, m in data["models"].items()
    }


@lru_cache(maxsize=len(KINDS))
def slopes(name: str) -> dict[str, float]:
    """By feature, what one unit of it adds to the score of the shipped model `name`."""
    model = weights()[name]
    return dict(zip(FEATURES, model.slope.tolist(), strict=True))
