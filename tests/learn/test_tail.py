from __future__ import annotations

import pytest
import torch

from mnemos.bench.claims import muon_tail
from mnemos.core.errors import InvalidInput
from mnemos.learn import Muon, balance_bench
from mnemos.learn.biographies import biographies, component_bench
from mnemos.learn.tail import OPTIMISERS, RULES, OneLayer, one_step, two_groups, zipf


@pytest.mark.parametrize("embedding", ["identity", "random"])
def test_the_closed_gradient_is_autograds(embedding) -> None:
    model = OneLayer(zipf(9), embedding, seed=3)
    torch.nn.init.normal_(model.weight)
    model.loss().backward()
    assert model.weight.grad is not None
    assert torch.allclose(model.gradient(), model.weight.grad, atol=1e-12)


@pytest.mark.parametrize("embedding", ["identity", "random"])
def test_keys_and_answers_are_orthonormal(embedding) -> None:
    model = OneLayer(zipf(12), embedding)
    for table in (model.keys, model.answers):
        assert torch.allclose(table.mT @ table, torch.eye(12, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("facts", [64, 256])
@pytest.mark.parametrize("embedding", ["identity", "random"])
def test_one_step_of_gradient_descent_loses_the_tail_as_the_theorem_says(facts: int, embedding) -> None:
    p = two_groups(facts)
    r = float(p.min() / p.max())
    worst = one_step(RULES["GD"], OneLayer(p, embedding)).worst
    assert worst == pytest.approx(0.1**-r * facts ** (r - 1), rel=0.1)


@pytest.mark.parametrize("embedding", ["identity", "random"])
def test_one_step_of_exact_muon_is_balanced_in_any_embedding(embedding) -> None:
    found = one_step(RULES["exact Muon"], OneLayer(two_groups(64), embedding))
    assert found.worst > 0.89
    assert found.entropy > 0.99
    assert one_step(RULES["Muon"], OneLayer(two_groups(64), embedding)).worst > 0.75


def test_one_step_of_sign_descent_depends_on_the_embedding() -> None:
    assert one_step(RULES["SignGD"], OneLayer(two_groups(64), "identity")).worst == pytest.approx(0.9, abs=1e-3)
    assert one_step(RULES["SignGD"], OneLayer(two_groups(64), "random")).worst < 0.03


@pytest.mark.parametrize("name", ["exact Muon", "Muon", "GD"])
def test_uniform_facts_are_learned_alike_by_all(name: str) -> None:
    uniform = torch.full((32,), 1 / 32, dtype=torch.float64)
    assert one_step(RULES[name], OneLayer(uniform)).worst == pytest.approx(0.9, abs=0.01)


def test_many_steps_keep_the_tail_under_muon_and_lose_it_under_adam_and_sgd() -> None:
    model = OneLayer(zipf(64))
    muon = balance_bench(OPTIMISERS["Muon"](0.1), model)
    assert muon.reached
    assert muon.rare > 0.4
    assert muon.entropy > 0.95
    for name, rates in {"Adam": (0.003, 0.03), "SGD": (1.0, 30.0)}.items():
        for rate in rates:
            other = balance_bench(OPTIMISERS[name](rate), model)
            assert other.reached
            assert other.rare < 0.05


def test_the_moment_lies_between_steps_so_a_large_step_gains_nothing() -> None:
    found = balance_bench(OPTIMISERS["SGD"](1e6), OneLayer(zipf(32)))
    assert found.steps == 1
    assert found.worst == pytest.approx(one_step(RULES["GD"], OneLayer(zipf(32))).worst, abs=1e-3)


def test_the_same_seed_draws_the_same_batches_and_starts_anew() -> None:
    model = OneLayer(zipf(16))

    def run(seed: int) -> object:
        return balance_bench(lambda weights: Muon(weights, 0.1), model, batch=8, seed=seed)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_an_optimiser_that_never_gets_there_says_so() -> None:
    found = balance_bench(lambda weights: torch.optim.SGD(weights, 1e-9), OneLayer(zipf(8)), max_steps=2)
    assert (found.reached, found.steps) == (False, 2)
    assert found.worst == pytest.approx(1 / 8, abs=1e-3)


@pytest.mark.parametrize("p", [torch.ones(4), torch.tensor([1.0]), torch.tensor([1.5, -0.5]), torch.ones(2, 2) / 4])
def test_frequencies_that_are_none_are_refused(p: torch.Tensor) -> None:
    with pytest.raises(InvalidInput):
        OneLayer(p)


def test_other_bad_settings_are_refused() -> None:
    with pytest.raises(InvalidInput, match="identity or random"):
        OneLayer(zipf(4), "onehot")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="epsilon"):
        balance_bench(OPTIMISERS["SGD"](1.0), OneLayer(zipf(4)), epsilon=1.0)
    with pytest.raises(InvalidInput, match="group empty"):
        two_groups(4, share=0.01)
    with pytest.raises(InvalidInput, match="multiple of the groups"):
        biographies(people=10, groups=4)
    with pytest.raises(InvalidInput, match="max_steps"):
        component_bench("all", biographies(4, 2), lr=0.01, steps=5, max_steps=3)


def test_biographies_are_asked_by_group_and_answered_by_attribute() -> None:
    data = biographies(people=32, groups=16, attributes=6, seed=1)
    assert data.tokens.shape == (192, 8)
    assert float(data.frequency.sum()) == pytest.approx(1)
    ratio = data.frequency[data.group == 3].mean() / data.frequency[data.group == 7].mean()
    assert float(ratio) == pytest.approx(16)
    questions = {tuple(row.tolist()) for row in data.tokens[:, :-2]}
    assert len(questions) == 192  # no two people share a name, no two attributes a template
    assert int(data.tokens.max()) < data.vocabulary
    template = (data.tokens[:, :-2] > 0).sum(1) - 2
    assert set(template.tolist()) <= {2, 3, 4}
    assert torch.equal(data.tokens, biographies(32, 16, 6, seed=1).tokens)
    assert not torch.equal(data.tokens, biographies(32, 16, 6, seed=2).tokens)


def test_the_transformer_learns_frequent_people_first() -> None:
    found = component_bench("all", biographies(16, 4, 2), lr=0.02, steps=30, max_steps=100, batch=32)
    assert found.reached is not None
    assert found.at_level[0] + found.at_level[1] >= 2 * 0.9
    assert len(found.at_level) == len(found.at_steps) == 4
    assert found.at_level[0] > found.at_level[3]


def test_the_claim_runs_whole_at_a_small_size() -> None:
    seen = []
    result = muon_tail.run(lambda *step: seen.append(step), muon_tail.SMOKE)
    assert result.name == muon_tail.SYSTEM
    assert result.claim is not None
    assert {row["part"] for row in result.rows} == {"one step", "many steps", "components"}
    assert {what for what, _, _ in seen} == {"one step", "many steps", "components"}
    assert all(done < total for _, done, total in seen)
