"""The recognition filter is trained on signals, and judged by questions that it has not seen."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from mnemos.bench.recognition import LEAST, SIGNALS, WEIGHTS, Example, fit, held_out
from mnemos.text.recipes.filters import Candidate, trained_filter


def drawn(count: int, seed: int = 0) -> list[Example]:
    """Questions whose facts are gold where the first signal is high."""
    draw = np.random.default_rng(seed)
    signals = draw.standard_normal((count, 20, len(SIGNALS)))
    return [Example(s, (s[:, 0] + 0.3 * draw.standard_normal(20) > 1).astype(float)) for s in signals]


def judged(signals: Sequence[float]) -> Candidate:
    return Candidate("", signals=dict(zip(SIGNALS, signals, strict=True)))


def test_it_learns_which_signal_tells() -> None:
    model = fit(drawn(40))
    assert np.argmax(np.abs(model.weight)) == 0
    weights = model("", [judged([3, 0, 0, 0, 0, 0]), judged([-3, 0, 0, 0, 0, 0])])
    assert weights[0] > 0.9
    assert weights[1] == 0


def test_a_question_is_judged_by_a_filter_that_never_saw_it() -> None:
    data = drawn(12)
    judges = held_out(data, seed=0, folds=4)
    for number, judge in enumerate(judges):
        others = [e for n, e in enumerate(data) if judges[n] != judge]
        assert len(others) == 9
        assert np.allclose(fit(others).weight, judge.weight)
        changed = [*data]
        changed[number] = Example(data[number].signals, 1 - data[number].gold)
        assert held_out(changed, seed=0, folds=4)[number].weight == judge.weight


def test_what_ships_is_what_the_script_writes() -> None:
    data = json.loads(WEIGHTS.read_text("utf-8"))
    model = trained_filter()
    assert tuple(data["weight"]) == model.names == SIGNALS
    assert data["least"] == model.least == LEAST
    assert set(data["held out by question"]) == {"recall@2", "recall@5"}
