from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mnemos.core.catalogue import get_system
from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.check import check_mixer
from mnemos.state.mixers.pavlovian import PavlovianAttention, Tokens, _by_token, learn
from mnemos.state.plasticity import RULES

FADING = ("hebb-decay", "gated-delta", "momentum")


@pytest.mark.parametrize("rule", RULES)
def test_keeps_the_contract_of_a_mixer(rule: str) -> None:
    torch.manual_seed(0)
    check_mixer(PavlovianAttention(8, 2, rule=rule), tokens=21, constant_state=True)


def _tokens(seed: int, tokens: int, width: int = 3) -> Tokens:
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(2, tokens, 2, width, generator=draw, dtype=torch.float64) for _ in range(3))
    k, v = (x / x.norm(dim=-1, keepdim=True) for x in (k, v))
    return Tokens(q, k, v, torch.rand(2, tokens, 2, generator=draw, dtype=torch.float64))


@pytest.mark.parametrize("name", RULES)
def test_the_form_for_many_tokens_is_the_rule_step_by_step(name: str) -> None:
    log_keep = torch.tensor([0.9, 0.6], dtype=torch.float64).log()
    rule = RULES[name]()
    told = replace(rule, keep=log_keep.exp()) if name in FADING else rule
    first = _tokens(0, 9)
    trace = plain = rule.start(first.k[:, 0], first.v[:, 0])
    for tokens in (first, _tokens(1, 40)):  # the second from a trace that is not empty
        o, trace = learn(rule, trace, tokens, log_keep)
        steps, plain = _by_token(told, plain, tokens)
        torch.testing.assert_close(o, steps, rtol=1e-9, atol=1e-10)
        assert trace.keys() == plain.keys()
        for key, part in plain.items():
            torch.testing.assert_close(trace[key], part, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["hebb", "delta", "bcm", "covariance", "oja", "momentum"])
def test_gradients_of_the_form_for_many_tokens_are_those_of_the_steps(name: str) -> None:
    log_keep = torch.tensor([0.9, 0.6], dtype=torch.float64).log()
    rule = RULES[name]()
    told = replace(rule, keep=log_keep.exp()) if name in FADING else rule
    tokens = Tokens(*(part.requires_grad_() for part in _tokens(2, 7)))
    start = rule.start(tokens.k[:, 0].detach(), tokens.v[:, 0].detach())
    ours, steps = (
        torch.autograd.grad(o.sin().sum() + after["memory"].cos().sum(), tokens)
        for o, after in (learn(rule, start, tokens, log_keep), _by_token(told, start, tokens))
    )
    for grad, plain in zip(ours, steps, strict=True):
        torch.testing.assert_close(grad, plain, rtol=1e-8, atol=1e-9)


def test_rules_differ() -> None:
    tokens, log_keep = _tokens(0, 12), torch.tensor([0.9, 0.6], dtype=torch.float64).log()
    outputs = []
    for rule in (make() for make in RULES.values()):
        outputs.append(learn(rule, rule.start(tokens.k[:, 0], tokens.v[:, 0]), tokens, log_keep)[0])
    same = {
        (a, b)
        for i, a in enumerate(RULES)
        for j, b in enumerate(RULES)
        if i < j and torch.allclose(outputs[i], outputs[j], atol=1e-3)
    }
    assert same == {("delta", "nlms")}  # keys have unit length here


@pytest.mark.parametrize(("rule", "unit"), [("delta", True), ("rls", True), ("nlms", False), ("implicit", False)])
def test_keys_have_unit_length_where_the_rule_wants_it(rule: str, unit: bool) -> None:
    torch.manual_seed(0)
    mixer, x = PavlovianAttention(8, 2, rule=rule), torch.randn(1, 5, 8)
    lengths = mixer.inputs(x, mixer.inputs.start(1, x))[1].norm(dim=-1)
    assert torch.allclose(lengths, torch.ones(1, 5, 2), atol=1e-3) is unit


@pytest.mark.parametrize("rule", RULES)
def test_outputs_and_state_stay_finite_on_large_input_and_one_token_repeated(rule: str) -> None:
    torch.manual_seed(0)
    mixer = PavlovianAttention(8, 2, rule=rule)
    x = 30 * torch.cat([torch.randn(1, 100, 8), torch.randn(1, 1, 8).expand(1, 100, 8)], 1)
    with torch.no_grad():
        y, state = mixer(x)
    assert bool(torch.isfinite(y).all())
    assert all(bool(torch.isfinite(part).all()) for part in state.tensors())


def test_an_unknown_rule_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match="pearce-hall"):
        PavlovianAttention(8, 2, rule="pearce")


def test_a_state_of_another_rule_is_refused() -> None:
    x = torch.randn(1, 3, 8)
    _, state = PavlovianAttention(8, 2, rule="hebb")(x)
    with pytest.raises(InvalidInput, match="belongs to"):
        PavlovianAttention(8, 2, rule="delta")(x, state)


def test_it_is_in_the_catalogue() -> None:
    assert get_system("pavlovian_attention").target.endswith("PavlovianAttention")
