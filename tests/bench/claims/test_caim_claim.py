from __future__ import annotations

import pytest

from mnemos.bench.claims.caim import (
    ARMS,
    FULL,
    OWN,
    PLAIN,
    REVIEWED,
    SMOKE,
    TURNS,
    TWIN,
    fitted_gate,
    gate_cases,
    gate_figures,
    life,
    run,
)  # fmt: skip
from mnemos.bench.runner import silent
from mnemos.text.encode.minilm import MiniLM, find_weights
from mnemos.text.recipes.caim_gate import FITTED
from words_embedder import Words


def test_the_claim_runs_at_smoke_size_with_every_arm() -> None:
    result = run(silent, SMOKE, Words(256))
    assert {row["system"] for row in result.rows} == {*ARMS, TURNS, PLAIN, REVIEWED, OWN}
    assert result.claim is not None
    arms = {row["system"]: row for row in result.rows}
    assert arms[TWIN]["stored"] < arms["CAIM, no review"]["stored"] < arms[TURNS]["stored"] == 1


def test_a_life_has_one_fact_and_one_thing_done_a_session_and_values_change() -> None:
    one = life(FULL, 0, 0)
    assert len(one.said) == 30 * 10
    assert (
        sum(bool(said.slot) for said in one.said)
        == sum(bool(said.thought and not said.slot) for said in one.said)
        == 30
    )
    assert any(question.stale for question in one.asked)
    assert {question.kind for question in one.asked} == {"current", "time", "never"}
    for question in one.asked:
        assert not question.gold & question.stale


def test_gate_cases_are_balanced_and_judged_on_families_that_were_not_fitted() -> None:
    cases = gate_cases(0, 5, ("home", "work"))
    assert [case.kind for case in cases[:4]] == ["session", "memory", "never", "talk"]
    assert [case.needs for case in cases[:4]] == [False, True, True, False]
    figures = gate_figures(Words(256), 0)
    assert set(figures) == {"gate recall", "gate reads per turn", "gate reads on small talk"}


def test_the_weights_of_the_gate_are_those_that_fitting_gives() -> None:
    if find_weights() is None:
        pytest.skip("the weights of all-MiniLM-L6-v2 are not on this machine")
    fitted = fitted_gate(MiniLM("int8"))
    assert fitted.weights == pytest.approx(FITTED.weights, abs=0.02)
    assert fitted.bias == pytest.approx(FITTED.bias, abs=0.05)
    assert fitted.threshold == pytest.approx(FITTED.threshold, abs=0.02)
