from __future__ import annotations

import pytest
import torch

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.state.gates import Gates
from mnemos.state.memory import Memory
from mnemos.state.objective import L2, Dot
from mnemos.state.plasticity import RULES, Delta, Hebb, Rule
from mnemos.state.probes import (
    EXPECTED,
    PROBES,
    MemorySubject,
    Observation,
    RuleSubject,
    Subject,
    TwoLayers,
    TwoTimes,
    run_probes,
)
from mnemos.state.retention import Decay, NoRetention
from mnemos.state.rule import GradientDescent, Momentum, NonParametric
from mnemos.state.structure import MLP, Matrix, Pairs


def observe(subject: Subject, name: str, trials: int = 40, **more) -> Observation:
    (seen,) = run_probes(subject, [name], trials=trials, **more)
    return seen


def responses(rule: Rule, name: str, trials: int = 40) -> dict[str, float]:
    return dict(observe(RuleSubject(rule), name, trials).responses)


# -- what theory gives exactly, for orthonormal cues and an outcome of one -----------------------------------


@pytest.mark.parametrize("trials", [10, 40, 75])
def test_acquisition_of_the_delta_rule_is_exponential(trials: int) -> None:
    assert responses(Delta(0.2), "acquisition", trials)["A"] == pytest.approx(1 - 0.8**trials, abs=1e-6)


def test_extinction_is_complete_for_the_delta_rule_and_absent_for_hebb() -> None:
    assert responses(Delta(0.2), "extinction", 100)["A extinguished"] == pytest.approx(0, abs=1e-6)
    assert responses(Hebb(0.2), "extinction")["A extinguished"] == pytest.approx(8, abs=1e-6)


def test_blocking_is_complete_for_the_delta_rule_and_absent_for_hebb() -> None:
    blocked = responses(Delta(0.2), "blocking", 100)
    assert blocked == pytest.approx({"B": 0, "B without A before": 0.5}, abs=1e-6)
    assert responses(Hebb(0.2), "blocking")["B"] == pytest.approx(8, abs=1e-6)


def test_cues_share_a_response_by_the_squares_of_their_amplitudes() -> None:
    seen = responses(Delta(0.2), "overshadowing", 100)
    assert (seen["A"], seen["B"]) == pytest.approx((0.8, 0.2), abs=1e-6)


def test_two_predictions_of_one_outcome_come_down_to_a_half_each() -> None:
    seen = responses(Delta(0.2), "overexpectation", 100)
    assert (seen["A before"], seen["A"], seen["B"]) == pytest.approx((1, 0.5, 0.5), abs=1e-6)
    seen = responses(Hebb(0.2), "overexpectation")
    assert (seen["A"], seen["B"]) == pytest.approx((16, 16), abs=1e-6)


def test_a_conditioned_inhibitor_mirrors_the_excitor_and_hebb_has_none() -> None:
    assert responses(Delta(0.2), "conditioned_inhibition") == pytest.approx({"A": 1, "B": -1}, abs=1e-6)
    assert responses(Hebb(0.2), "conditioned_inhibition") == pytest.approx({"A": 40, "B": 0}, abs=1e-6)


# -- what each rule shows -------------------------------------------------------------------------------------


def test_every_rule_has_its_expectation() -> None:
    assert EXPECTED.keys() == RULES.keys()
    assert all(type(EXPECTED[name].rule) is rule for name, rule in RULES.items())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_rule_shows_what_it_should_and_nothing_else(name: str) -> None:
    seen = run_probes(RuleSubject(EXPECTED[name].rule), expected=name)
    assert [one.probe for one in seen] == list(PROBES)
    assert [one for one in seen if not one.agrees] == []


@pytest.mark.parametrize(
    ("subject", "probe"),
    [
        (TwoTimes(), "spontaneous_recovery"),
        (TwoTimes(), "savings"),
        (TwoLayers(Delta(0.2)), "second_order"),
    ],
)
def test_what_no_single_rule_shows_is_shown_by_two_times_or_two_layers(subject: Subject, probe: str) -> None:
    assert observe(subject, probe).shown
    assert not any(probe in expectation.shows for expectation in EXPECTED.values())


def test_second_order_needs_the_second_cue_to_come_after_the_first() -> None:
    class Unpaired(TwoLayers):
        follow = None

    assert not observe(Unpaired(Delta(0.2)), "second_order").shown


def test_an_unexpected_outcome_is_told() -> None:
    seen = {one.probe: one for one in run_probes(RuleSubject(Hebb(0.2)), expected="delta")}
    assert seen["acquisition"].agrees
    assert not seen["blocking"].agrees
    assert all(one.agrees for one in run_probes(RuleSubject(Hebb(0.2)), ["blocking"]))


# -- any memory -----------------------------------------------------------------------------------------------


def test_a_memory_of_the_machine_is_its_rule() -> None:
    memory = Memory(Matrix(), L2(), NoRetention(), GradientDescent(step=0.1), key_dim=2, value_dim=1).double()
    names = ["acquisition", "extinction", "blocking", "conditioned_inhibition"]
    ours = run_probes(MemorySubject(memory), names, expected="delta")
    plain = run_probes(RuleSubject(Delta(0.2)), names)
    for one, other in zip(ours, plain, strict=True):
        assert one.agrees
        assert one.responses == pytest.approx(other.responses, abs=1e-9)


def test_gates_set_the_rate_of_a_memory() -> None:
    memory = Memory(Matrix(), L2(), NoRetention(), GradientDescent(), key_dim=2, value_dim=1).double()
    gates = Gates(step=torch.full((1, 1, 1), 0.15, dtype=torch.float64))
    seen = observe(MemorySubject(memory, gates), "acquisition", 10)
    assert seen.responses["A"] == pytest.approx(1 - 0.7**10)


@pytest.mark.parametrize(
    ("choices", "shows", "not_shows"),
    [
        ((Matrix(), Dot(), NoRetention(), GradientDescent(step=0.2)), {"acquisition"}, {"blocking", "extinction"}),
        ((Matrix(), Dot(), Decay(0.9), GradientDescent(step=0.2)), {"acquisition", "extinction"}, {"blocking"}),
        ((Matrix(), L2(), NoRetention(), Momentum(step=0.05, momentum=0.3)), {"acquisition", "blocking"}, set()),
        ((MLP(depth=2, expansion=2), L2(), NoRetention(), GradientDescent(step=0.05)), {"acquisition"}, set()),
        ((Pairs(), L2(), NoRetention(), NonParametric(scale=8.0)), {"acquisition"}, {"extinction"}),
    ],
)
def test_memories_with_other_choices_go_through_the_same_experiments(choices, shows: set, not_shows: set) -> None:
    torch.manual_seed(0)
    memory = Memory(*choices, key_dim=4).double()
    cues, outcome = torch.eye(4, dtype=torch.float64)[:2], torch.eye(4, dtype=torch.float64)[3]
    seen = run_probes(MemorySubject(memory), shows | not_shows, cues=cues, outcome=outcome)
    assert {one.probe for one in seen if one.shown} == shows


def test_anything_with_write_and_read_is_a_subject() -> None:
    class Notebook:
        """Remembers the last outcome of each cue, word for word."""

        def start(self, cue, outcome):
            return {}

        def write(self, trace, cue, outcome):
            return {**trace, tuple(cue.tolist()): outcome}

        def read(self, trace, cue):
            return trace.get(tuple(cue.tolist()), torch.zeros(1, dtype=torch.float64))

    shown = {one.probe for one in run_probes(Notebook()) if one.shown}
    assert shown == {"acquisition", "extinction", "reversal"}


# -- bad input ------------------------------------------------------------------------------------------------


def test_wrong_names_and_shapes_are_refused() -> None:
    subject = RuleSubject(Delta())
    with pytest.raises(NotFound, match="blocking"):
        run_probes(subject, ["bloking"])
    with pytest.raises(NotFound, match="pearce-hall"):
        run_probes(subject, expected="pearce")
    with pytest.raises(NotFound, match="no probe 'x'"):
        run_probes(subject, expected=["x"])
    for wrong in ({"cues": torch.eye(3)}, {"outcome": torch.zeros(1)}, {"trials": 5}):
        with pytest.raises(InvalidInput):
            run_probes(subject, **wrong)
    with pytest.raises(InvalidInput, match="2 heads"):
        MemorySubject(Memory(Matrix(), L2(), NoRetention(), GradientDescent(), heads=2, key_dim=4))
