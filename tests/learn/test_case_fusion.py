"""The case fusion layer: a set function of the cases, the base model without them, a vote where it is made one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.learn.case_fusion import CaseFusion, train_fusion
from mnemos.text.recipes.brains import Case, CaseMemory, Numeric, Schema
from mnemos.text.recipes.brains.decide import Evidence

B, K, D, C = 4, 6, 5, 3


def some(k: int = K) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x, cases = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((B, D), (B, k, D)))
    return x, cases, torch.randint(C, (B, k), generator=draw)


def made() -> CaseFusion:
    return CaseFusion(D, C, width=8, seed=1).double()


def base(model: CaseFusion, x: Tensor) -> Tensor:
    out: Tensor = model.head(model.encoder(x))
    return out


def test_the_order_of_the_cases_changes_nothing() -> None:
    model, (x, cases, y) = made(), some()
    order = torch.randperm(K, generator=torch.Generator().manual_seed(2))
    one, attention = model(x, cases, y)
    two, mixed = model(x, cases[:, order], y[:, order])
    torch.testing.assert_close(one, two, atol=1e-6, rtol=0)
    torch.testing.assert_close(attention[:, order], mixed)


def test_one_case_has_all_the_attention() -> None:
    _, attention = made()(*some(1))
    torch.testing.assert_close(attention, torch.ones_like(attention))


def test_without_cases_it_is_exactly_the_base_model() -> None:
    model, (x, cases, y) = made(), some()
    torch.testing.assert_close(model(x, cases[:, :0], y[:, :0])[0], base(model, x), atol=0, rtol=0)
    nobody = torch.zeros(B, K, dtype=torch.bool)
    logits, attention = model(x, cases, y, nobody)
    torch.testing.assert_close(logits, base(model, x), atol=0, rtol=0)
    assert not attention.any()


def test_padding_counts_for_nothing_and_gives_finite_gradients() -> None:
    model, (x, cases, y) = made(), some()
    there = torch.tensor([True, True, False, True, False, False]).expand(B, K).clone()
    there[0] = False
    one, _ = model(x, cases, y, there)
    two, _ = model(x[1:], cases[1:, [0, 1, 3]], y[1:, [0, 1, 3]])
    torch.testing.assert_close(one[1:], two)
    one.sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_a_closed_gate_is_the_base_model() -> None:
    model, (x, cases, y) = made(), some()
    with torch.no_grad():
        model.gate.weight.zero_()
        model.gate.bias.fill_(-torch.inf)
    torch.testing.assert_close(model(x, cases, y)[0], base(model, x))


def test_with_identity_attention_and_outcomes_alone_it_is_a_softmax_weighted_vote() -> None:
    model, (x, cases, y) = CaseFusion(C, C, width=C).double(), some()
    x, cases = x[:, :C], cases[:, :, :C]
    eye, nothing = torch.eye(C, dtype=torch.float64), torch.zeros(C, C, dtype=torch.float64)
    with torch.no_grad():
        model.query.weight.copy_(eye)
        model.key.weight.copy_(eye)
        model.outcome.weight.copy_(eye)
        model.value.weight.copy_(torch.cat([nothing, eye], 1))
        model.gate.weight.zero_()
        model.gate.bias.fill_(torch.inf)
        model.head.weight.copy_(eye)
        model.head.bias.zero_()
    h, z = model.encoder(x), model.encoder(cases)
    weights = (torch.einsum("bw,bkw->bk", h, z) / C**0.5).softmax(-1)
    votes = torch.einsum("bk,bkc->bc", weights, eye[y])
    torch.testing.assert_close(model(x, cases, y)[0] - h, votes)


SCHEMA = Schema((Numeric("a"), Numeric("b")), ("no", "yes"))


def memory(n: int = 60) -> CaseMemory:
    draw = np.random.default_rng(0)
    made = CaseMemory(SCHEMA)
    for m in range(n):
        yes = bool(draw.random() < 0.5)
        made.add(
            {"a": float(draw.normal(3 * yes)), "b": float(draw.normal())}, SCHEMA.outcomes[yes], subject=str(m // 2)
        )
    return made.learn()


def test_a_trained_layer_decides_in_a_case_memory_and_no_case_of_the_subject_reaches_it() -> None:
    cases = memory()
    layer = train_fusion(cases.held_out(), 2, steps=120)
    seen: list[Evidence] = []

    def spy(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
        seen.append(evidence)
        return layer.decide(evidence)

    one = cases.predict({"a": 3.2, "b": 0.0}, k=5, subject="0", fuse=spy)
    other = cases.predict({"a": -0.5, "b": 0.0}, k=5, fuse=layer.decide)
    assert (one.label, other.label) == ("yes", "no")
    assert sum(n.weight for n in one.neighbours) == pytest.approx(1)
    own = {float(c.profile["a"] or 0) for c in cases.cases("0")}
    assert not own & set(seen[0].cases[:, 0].tolist())
    cases.forget(subject="1")
    gone = cases.predict({"a": 3.2, "b": 0.0}, k=58, fuse=spy)
    assert "1" not in {n.case.subject for n in gone.neighbours}
    assert len(seen[-1].cases) == 58


def test_training_is_the_same_for_the_same_seed_and_leaves_the_callers_random_state() -> None:
    held = memory().held_out()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two = (train_fusion(held, 2, steps=3, seed=4) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_cases_of_its_own_subject_are_never_among_what_it_is_trained_on() -> None:
    held = memory().held_out()
    assert not (held.subjects[held.chosen][:, None] == held.subjects[held.nearest]).any()


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 1"):
        CaseFusion(0, 2)
    with pytest.raises(InvalidInput, match="steps"):
        train_fusion(memory(20).held_out(), 2, steps=0)
    assert Case("a", {}, "no").subject == ""
