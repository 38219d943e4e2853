from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.delta_rule import delta_rule, gated_delta_rule, oja_rule
from mnemos.state.ops.linear_attention import linear_attention
from mnemos.state.ops.momentum_delta_rule import momentum_delta_rule
from mnemos.state.plasticity import (
    BCM,
    RULES,
    AntiHebb,
    Covariance,
    Delta,
    GatedDelta,
    Hebb,
    HebbDecay,
    Implicit,
    Mackintosh,
    Momentum,
    NormalisedDelta,
    Oja,
    OjaByOutput,
    PearceHall,
    RecursiveLeastSquares,
    Rule,
    Trace,
    respond,
)

PAIRS, K, V = 11, 5, 4


def pairs(seed: int = 0, count: int = PAIRS, unit: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    k = torch.randn(count, K, generator=draw, dtype=torch.float64)
    v = torch.randn(count, V, generator=draw, dtype=torch.float64)
    return (F.normalize(k, dim=-1) if unit else k), v


def learn(rule: Rule, k: torch.Tensor, v: torch.Tensor, rate: torch.Tensor | None = None) -> Trace:
    trace = rule.start(k[0], v[0])
    for t in range(len(k)):
        trace = rule.step(trace, k[t], v[t], None if rate is None else rate[t])
    return trace


# -- rules that are operators of sequence models ---------------------------------------------


def _operator(name: str, k: torch.Tensor, v: torch.Tensor, eta: torch.Tensor) -> torch.Tensor:
    q, k, v = (x[None, :, None] for x in (k, k, v))
    eta, log = eta[None, :, None], torch.full_like(eta[None, :, None], math.log(0.9))
    mu = torch.full_like(eta, math.log(0.5))
    more = {"output_final_state": True}
    if name == "hebb":
        return linear_attention(q, k, eta[..., None] * v, **more)[1]
    if name == "hebb-decay":
        return linear_attention(q, k, eta[..., None] * v, log, **more)[1]
    if name == "delta":
        return delta_rule(q, k, v, eta, **more)[1]
    if name == "gated-delta":
        return gated_delta_rule(q, k, v, log, eta, **more)[1]
    if name == "oja":
        return oja_rule(q, k, v, eta, **more)[1]
    return momentum_delta_rule(q, k, v, log, mu, eta, **more)[1][0]


@pytest.mark.parametrize("name", ["hebb", "hebb-decay", "delta", "gated-delta", "oja", "momentum"])
def test_a_rule_is_the_operator_that_sequence_models_know(name: str) -> None:
    k, v = pairs()
    eta = torch.rand(PAIRS, dtype=torch.float64)
    fading = {"keep": 0.9} if name in ("hebb-decay", "gated-delta", "momentum") else {}
    trace = learn(RULES[name](**fading), k, v, eta)
    torch.testing.assert_close(trace["memory"], _operator(name, k, v, eta)[0, 0], rtol=1e-10, atol=1e-10)


# -- what each rule promises --------------------------------------------------------------------


def test_hebb_recalls_orthonormal_cues_exactly() -> None:
    k = torch.linalg.qr(torch.randn(K, K, dtype=torch.float64)).Q
    v = torch.randn(K, V, dtype=torch.float64)
    torch.testing.assert_close(respond(learn(Hebb(), k, v), k[:, None, :])[:, 0], v)


def test_anti_hebb_takes_back_what_hebb_wrote() -> None:
    (k, v), (k2, v2) = pairs(0), pairs(1)
    both = learn(Hebb(rate=0.3), torch.cat([k, k2]), torch.cat([v, v2]))
    for t in range(len(k)):
        both = AntiHebb(rate=0.3).step(both, k[t], v[t])
    torch.testing.assert_close(both["memory"], learn(Hebb(rate=0.3), k2, v2)["memory"])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 0.9))
def test_the_delta_rule_on_compounds_is_rescorla_wagner_on_cues(seed: int, rate: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    salience = torch.rand(K, generator=draw, dtype=torch.float64)
    present = (torch.rand(20, K, generator=draw) < 0.5).double()
    outcome = torch.rand(20, 1, generator=draw, dtype=torch.float64)
    keys = torch.linalg.qr(torch.randn(K, K, generator=draw, dtype=torch.float64)).Q * salience[:, None]
    trace = learn(Delta(rate), present @ keys, outcome)
    strength = torch.zeros(K, dtype=torch.float64)
    for there, lam in zip(present, outcome[:, 0], strict=True):
        strength = strength + rate * salience.square() * there * (lam - (strength * there).sum())
    torch.testing.assert_close(respond(trace, keys[:, None, :])[:, 0, 0], strength, rtol=1e-12, atol=1e-12)


def test_rls_is_ridge_regression_whatever_the_order() -> None:
    k, v = pairs(unit=False)
    trace = learn(RecursiveLeastSquares(ridge=0.7), k, v)
    ridge = torch.linalg.solve(k.T @ k + 0.7 * torch.eye(K, dtype=k.dtype), k.T @ v)
    torch.testing.assert_close(trace["memory"], ridge, rtol=1e-8, atol=1e-8)
    turned = torch.randperm(PAIRS, generator=torch.Generator().manual_seed(3))
    again = learn(RecursiveLeastSquares(ridge=0.7), k[turned], v[turned])
    torch.testing.assert_close(again["memory"], trace["memory"], rtol=1e-8, atol=1e-8)


def test_rls_without_a_ridge_is_the_pseudo_inverse_and_recalls_as_many_pairs_as_keys_are_wide() -> None:
    k, v = pairs(count=K)
    trace = learn(RecursiveLeastSquares(ridge=1e-10), k, v)
    torch.testing.assert_close(trace["memory"], torch.linalg.pinv(k) @ v, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(respond(trace, k[:, None, :])[:, 0], v, rtol=1e-6, atol=1e-6)


def test_rls_weighs_pairs_by_their_rate_and_by_their_age() -> None:
    k, v = pairs(unit=False)
    weight = torch.rand(PAIRS, dtype=torch.float64)
    trace = learn(RecursiveLeastSquares(ridge=0.7, forget=0.9), k, v, weight)
    aged = (weight * 0.9 ** torch.arange(PAIRS - 1, -1, -1))[:, None]
    prior = 0.7 * 0.9**PAIRS * torch.eye(K, dtype=k.dtype)
    torch.testing.assert_close(trace["memory"], torch.linalg.solve(k.T @ (aged * k) + prior, k.T @ (aged * v)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_oja_with_unit_values_stays_bounded_and_leaves_orthogonal_values_alone(seed: int, rate: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    memory, k = torch.randn(K, V, generator=draw), torch.randn(K, generator=draw)
    v, other = torch.linalg.qr(torch.randn(V, 2, generator=draw)).Q.T
    after = Oja(rate).step({"memory": memory}, k, v)["memory"]
    assert (after @ v).norm() <= max((memory @ v).norm(), k.norm()) + 1e-5
    torch.testing.assert_close(after @ other, memory @ other, rtol=1e-4, atol=1e-5)


def test_both_forms_of_oja_agree_on_one_output() -> None:
    k, v = pairs()
    one, other = learn(Oja(0.3), k, v[:, :1]), learn(OjaByOutput(0.3), k, v[:, :1])
    torch.testing.assert_close(one["memory"], other["memory"])


def test_oja_by_output_tends_to_the_mean_of_the_cues_that_come_with_the_output() -> None:
    k, _ = pairs(count=400)
    trace = learn(OjaByOutput(0.02), k + 1, torch.ones(400, 1, dtype=torch.float64))
    torch.testing.assert_close(trace["memory"][:, 0], (k + 1).mean(0), atol=0.15, rtol=0)


def test_nlms_and_the_implicit_step_are_stable_for_long_keys() -> None:
    k, v = pairs(unit=False)
    for t in range(PAIRS):
        trace = NormalisedDelta().step({"memory": torch.randn(K, V, dtype=torch.float64)}, 100 * k[t], v[t])
        torch.testing.assert_close(respond(trace, 100 * k[t]), v[t], rtol=1e-6, atol=1e-6)
    before = {"memory": torch.randn(K, V, dtype=torch.float64)}
    trace = Implicit(5.0).step(before, k[0], v[0])
    gradient = k[0][:, None] * (respond(trace, k[0]) - v[0])[None]
    torch.testing.assert_close(trace["memory"], before["memory"] - 5.0 * gradient)


def test_bcm_slides_its_threshold_to_the_mean_square_and_then_writes_nothing() -> None:
    k, _ = pairs()
    rule = BCM(rate=0.1, tau=5.0)
    trace = rule.start(k[0], torch.ones(1, dtype=torch.float64))
    for _ in range(200):
        trace = rule.step(trace, k[0], torch.ones(1, dtype=torch.float64))
    torch.testing.assert_close(trace["threshold"], torch.ones(1, dtype=torch.float64))
    torch.testing.assert_close(rule.step(trace, k[1], torch.ones(1).double())["memory"], trace["memory"])
    weaker = rule.step(trace, k[1], torch.full((1,), 0.5).double())["memory"]
    assert bool((respond({"memory": weaker - trace["memory"]}, k[1]) < 0).all())


def test_the_covariance_rule_is_the_sum_of_products_of_deviations() -> None:
    k, v = pairs(unit=False)
    trace = learn(Covariance(), k + 3, v - 2)
    torch.testing.assert_close(trace["memory"], (k - k.mean(0)).T @ (v - v.mean(0)))


def test_the_covariance_rule_sees_contingency_where_hebb_sees_contiguity() -> None:
    cue = torch.tensor([1.0, 0, 1, 0] * 10)[:, None]
    unrelated, related = torch.ones(40, 1), cue.clone()
    assert respond(learn(Covariance(), cue, unrelated), cue[0]).abs() < 1e-6
    assert respond(learn(Covariance(), cue, related), cue[0]) > 5
    assert respond(learn(Hebb(), cue, unrelated), cue[0]) > 5


def test_mackintosh_attends_to_the_cue_that_predicts() -> None:
    good, noise = torch.eye(2, dtype=torch.float64)
    trace = Mackintosh(0.2).start(good, good[:1])
    draw = torch.Generator().manual_seed(0)
    for _ in range(80):
        a, b = torch.randint(2, (2,), generator=draw)
        trace = Mackintosh(0.2).step(trace, a * good + b * noise, a.double()[None])
    assert trace["gain"][0] > 0.9 > 0.2 > trace["gain"][1]


def test_pearce_hall_attends_to_what_surprises() -> None:
    cue = torch.ones(1, dtype=torch.float64)
    rule = PearceHall(0.5, gamma=0.3)
    trace = rule.start(cue, cue)
    trace = rule.step(trace, cue, torch.zeros_like(cue))
    torch.testing.assert_close(trace["gain"], torch.full((1,), 0.7).double())
    for _ in range(60):
        trace = rule.step(trace, cue, cue)
    assert trace["gain"] < 0.05
    assert rule.step(trace, cue, -cue)["gain"] > 0.25


def test_gains_belong_to_the_cues_that_are_present() -> None:
    k = torch.tensor([1.0, 0.0])
    for rule in (Mackintosh(), PearceHall()):
        trace = rule.step(rule.start(k, k), k, torch.zeros(2))
        assert trace["gain"][0] != rule.gain
        assert trace["gain"][1] == rule.gain


def test_momentum_goes_on_after_the_error_is_gone() -> None:
    k, v = torch.ones(1), torch.ones(1)
    trace = learn(Momentum(0.5, momentum=0.5), k[None], v[None])
    after = Momentum(0.5, momentum=0.5).step(trace, torch.zeros(1), torch.zeros(1))
    assert respond(after, k) == pytest.approx(0.75)


# -- every rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_a_batch_is_its_rows_and_a_step_changes_nothing_in_place(name: str) -> None:
    (k, v), (k2, v2) = pairs(0), pairs(1)
    rule = RULES[name](rate=0.4)
    both = rule.start(torch.stack([k[0], k2[0]]), torch.stack([v[0], v2[0]]))
    for t in range(PAIRS):
        kept = {key: x.clone() for key, x in both.items()}
        after = rule.step(both, torch.stack([k[t], k2[t]]), torch.stack([v[t], v2[t]]))
        assert all(torch.equal(both[key], x) for key, x in kept.items())
        both = after
    for row, (rk, rv) in enumerate([(k, v), (k2, v2)]):
        alone = learn(rule, rk, rv)
        assert alone.keys() == both.keys() == rule.start(rk[0], rv[0]).keys()
        for key, x in alone.items():
            torch.testing.assert_close(both[key][row], x)


@pytest.mark.parametrize("name", RULES)
def test_a_rate_given_with_the_pair_replaces_the_rules_own(name: str) -> None:
    k, v = pairs()
    told = learn(RULES[name](rate=5.0), k, v, torch.full((PAIRS,), 0.3, dtype=k.dtype))
    torch.testing.assert_close(told["memory"], learn(RULES[name](rate=0.3), k, v)["memory"])
    still = learn(RULES[name](rate=0.0), k, v)["memory"]
    assert not still.any()


@pytest.mark.parametrize("name", RULES)
def test_gradients_reach_cues_and_outcomes(name: str) -> None:
    k, v = (x.requires_grad_() for x in pairs())
    for grad in torch.autograd.grad(learn(RULES[name](rate=0.4), k, v)["memory"].square().sum(), (k, v)):
        assert bool(torch.isfinite(grad).all())
        assert bool(grad.any())


def test_a_share_kept_may_differ_by_head() -> None:
    k, v = pairs()
    keep = torch.tensor([0.9, 0.5], dtype=k.dtype)
    rows = torch.stack([k, k], 1), torch.stack([v, v], 1)
    both = learn(HebbDecay(keep=keep), *rows)["memory"]
    for head in range(2):
        torch.testing.assert_close(both[head], learn(HebbDecay(keep=float(keep[head])), k, v)["memory"])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Delta(rate=-1.0),
        lambda: Hebb(rate=math.nan),
        lambda: GatedDelta(keep=1.1),
        lambda: Momentum(momentum=-0.1),
        lambda: RecursiveLeastSquares(ridge=0.0),
        lambda: RecursiveLeastSquares(forget=0.0),
        lambda: BCM(tau=0.5),
        lambda: Mackintosh(gain=0.01),
        lambda: PearceHall(gamma=2.0),
    ],
)
def test_constants_that_no_rule_can_have_are_refused(wrong) -> None:
    with pytest.raises(InvalidInput):
        wrong()
