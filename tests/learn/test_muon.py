from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mnemos.core import get_system
from mnemos.core.errors import InvalidInput, NotFound
from mnemos.learn import Muon, muon_groups, newton_schulz, orthogonalise
from mnemos.learn.biographies import Transformer
from mnemos.state.ops.newton_schulz import CONVERGENT, MUON

SHAPES = [(5, 5), (3, 7), (7, 3), (1, 4)]


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _rotation(n: int, seed: int) -> Tensor:
    return torch.linalg.qr(_random(n, n, seed=seed))[0]


def _trained(weight: Tensor, grads: list[Tensor], **settings: object) -> Tensor:
    parameter = nn.Parameter(weight.clone())
    optimiser = Muon([parameter], **settings)  # type: ignore[arg-type]
    for grad in grads:
        parameter.grad = grad.clone()
        optimiser.step()
    return parameter.detach()


# --- Newton-Schulz and the exact form ---------------------------------------------------------------------------


@pytest.mark.parametrize("coefficients", [MUON, CONVERGENT])
def test_singular_values_follow_the_scalar_map(coefficients: tuple[float, float, float]) -> None:
    sigma = torch.tensor([3.0, 1.0, 0.2, 0.0], dtype=torch.float64)
    a, b, c = coefficients
    expected = sigma / (sigma.norm() + 1e-7)
    for _ in range(5):
        expected = a * expected + b * expected**3 + c * expected**5
    assert torch.allclose(newton_schulz(sigma.diag(), 5, coefficients), expected.diag(), atol=1e-12)


def test_five_steps_bring_every_singular_value_above_a_five_hundredth_near_one() -> None:
    sigma = torch.linspace(0.002, 1, 4000, dtype=torch.float64)
    vector = newton_schulz(torch.stack([sigma, (1 - sigma**2).clamp_min(0).sqrt()], -1).diag_embed())
    landed = vector.diagonal(dim1=-2, dim2=-1)[:, 0]
    assert float(landed.min()) >= 0.68
    assert float(landed.max()) <= 1.21


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(0, 100))
def test_rotations_and_transposes_pass_through(shape: tuple[int, int], seed: int) -> None:
    x = _random(*shape, seed=seed)
    u, v = _rotation(shape[0], seed + 1), _rotation(shape[1], seed + 2)
    for orthogonal in (newton_schulz, orthogonalise):
        assert torch.allclose(orthogonal(u @ x @ v.mT), u @ orthogonal(x) @ v.mT, atol=1e-10)
        assert torch.allclose(orthogonal(x.mT), orthogonal(x).mT, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(SHAPES), st.floats(1e-2, 1e4))
def test_the_scale_of_a_gradient_does_not_matter(shape: tuple[int, int], scale: float) -> None:
    x = _random(*shape)
    assert torch.allclose(newton_schulz(scale * x), newton_schulz(x), atol=1e-4)
    assert torch.allclose(orthogonalise(scale * x), orthogonalise(x), atol=1e-12)


@pytest.mark.parametrize("orthogonal", [newton_schulz, orthogonalise])
def test_a_batch_is_its_matrices_one_by_one(orthogonal) -> None:
    x = _random(2, 3, 4, 6)
    single = torch.stack([torch.stack([orthogonal(one) for one in row]) for row in x])
    assert torch.allclose(orthogonal(x), single, atol=1e-13)


@pytest.mark.parametrize("orthogonal", [newton_schulz, orthogonalise])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_zero_stays_zero_beside_others_and_the_dtype_is_kept(orthogonal, dtype: torch.dtype) -> None:
    x = torch.stack([torch.zeros(3, 4), torch.eye(3, 4)]).to(dtype)
    y = orthogonal(x)
    assert y.dtype == dtype
    assert bool((y[0] == 0).all())
    assert bool((y[1].diagonal() > 0.6).all())


def test_newton_schulz_has_the_right_gradient_and_changes_nothing_in_place() -> None:
    x = _random(2, 3, 4).requires_grad_()
    before = x.detach().clone()
    assert torch.autograd.gradcheck(newton_schulz, x)
    assert torch.equal(x.detach(), before)
    zero = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    newton_schulz(zero).sum().backward()
    assert zero.grad is not None
    assert bool(torch.isfinite(zero.grad).all())


@pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3)])
def test_the_exact_form_is_orthogonal_and_meets_the_nuclear_norm(shape: tuple[int, int]) -> None:
    g = _random(*shape)
    o = orthogonalise(g)
    gram = o @ o.mT if shape[0] <= shape[1] else o.mT @ o
    assert torch.allclose(gram, torch.eye(min(shape), dtype=torch.float64), atol=1e-12)
    assert torch.allclose((g * o).sum(), torch.linalg.svdvals(g).sum())


def test_the_exact_form_gives_nothing_to_directions_that_are_not_there() -> None:
    u, v = _rotation(5, 1)[:, :2], _rotation(6, 2)[:, :2]
    assert torch.allclose(orthogonalise(u @ torch.tensor([5.0, 0.1]).double().diag() @ v.mT), u @ v.mT, atol=1e-12)


def test_convergent_coefficients_reach_the_exact_form() -> None:
    x = _random(4, 6)
    assert torch.allclose(newton_schulz(x, 20, CONVERGENT), orthogonalise(x), atol=1e-10)


@pytest.mark.parametrize("x", [torch.zeros(3), torch.zeros(2, 0), torch.ones(2, 2, dtype=torch.long)])
def test_what_is_no_matrix_is_refused(x: Tensor) -> None:
    for orthogonal in (newton_schulz, orthogonalise):
        with pytest.raises(InvalidInput):
            orthogonal(x)


def test_no_steps_and_gradients_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InvalidInput, match="steps = 0"):
        newton_schulz(torch.eye(2), 0)
    with pytest.raises(InvalidInput, match="NaN"):
        orthogonalise(torch.full((2, 2), torch.nan))


# --- the optimiser ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_two_steps_follow_the_published_formula(shape: tuple[int, int], nesterov: bool) -> None:
    weight, goal = _random(*shape, seed=1), _random(*shape, seed=2)
    expected, buffer, mu, lr, decay = weight.clone(), torch.zeros(shape, dtype=torch.float64), 0.95, 0.02, 0.1
    parameter = nn.Parameter(weight.clone())
    optimiser = Muon([parameter], lr, nesterov=nesterov, weight_decay=decay)
    for _ in range(2):
        optimiser.zero_grad()
        (parameter - goal).square().sum().backward()
        optimiser.step()
        grad = 2 * (expected - goal)
        buffer = mu * buffer + (1 - mu) * grad
        update = (1 - mu) * grad + mu * buffer if nesterov else buffer
        scaled = newton_schulz(update) * max(1, shape[0] / shape[1]) ** 0.5
        expected = (1 - lr * decay) * expected - lr * scaled
    assert torch.allclose(parameter, expected, atol=1e-12)


def test_the_gradient_is_not_written_to() -> None:
    parameter = nn.Parameter(_random(3, 3))
    parameter.grad = _random(3, 3, seed=1)
    before = parameter.grad.clone()
    Muon([parameter]).step()
    assert torch.equal(parameter.grad, before)


@pytest.mark.parametrize("exact", [False, True])
def test_muon_turns_with_the_basis_and_adam_does_not(exact: bool) -> None:
    u, v, weight = _rotation(4, 1), _rotation(6, 2), _random(4, 6)
    grads = [_random(4, 6, seed=seed) for seed in range(3, 8)]
    turned = [u @ grad @ v.mT for grad in grads]
    same = _trained(u @ weight @ v.mT, turned, exact=exact) - u @ _trained(weight, grads, exact=exact) @ v.mT
    assert float(same.abs().max()) < 1e-10
    adam = {"rule": "adamw", "lr": 0.02}
    different = _trained(u @ weight @ v.mT, turned, **adam) - u @ _trained(weight, grads, **adam) @ v.mT
    assert float(different.abs().max()) > 0.01


def test_the_sizes_of_the_gradients_do_not_matter_to_muon() -> None:
    grads = [_random(4, 4, seed=seed) for seed in range(4)]
    small = _trained(torch.zeros(4, 4).double(), grads)
    large = _trained(torch.zeros(4, 4).double(), [1000 * grad for grad in grads])
    assert torch.allclose(small, large, atol=1e-5)


def test_a_zero_gradient_moves_only_by_weight_decay() -> None:
    weight = _random(3, 5)
    assert torch.equal(_trained(weight, [torch.zeros(3, 5).double()]), weight)
    decayed = _trained(weight, [torch.zeros(3, 5).double()], lr=0.1, weight_decay=0.5)
    assert torch.allclose(decayed, 0.95 * weight)


def test_matching_adams_size_gives_every_entry_a_fifth_in_the_mean() -> None:
    update = _trained(torch.zeros(8, 32).double(), [_random(8, 32)], lr=1.0, exact=True, scale="match_adam_rms")
    assert float(update.square().mean().sqrt()) == pytest.approx(0.2)


def test_a_convolution_is_one_matrix_and_experts_are_many() -> None:
    grad = _random(4, 3, 2, 2)
    flat = _trained(torch.zeros(4, 12).double(), [grad.flatten(1)])
    assert torch.allclose(_trained(torch.zeros_like(grad), [grad]).flatten(1), flat)
    grad = _random(3, 4, 5)
    single = [_trained(torch.zeros(4, 5).double(), [one]) for one in grad]
    assert torch.allclose(_trained(torch.zeros_like(grad), [grad]), torch.stack(single))
    flat = _trained(torch.zeros(3, 20).double(), [grad.flatten(1)])
    assert torch.allclose(_trained(torch.zeros_like(grad), [grad], conv1d=True).flatten(1), flat)


@pytest.mark.parametrize(("axis", "parts", "sizes"), [(0, 3, (4, 4, 4)), (0, (6, 2, 4), (6, 2, 4)), (1, 2, (4, 4))])
def test_fused_matrices_are_orthogonalised_block_by_block(axis: int, parts, sizes: tuple[int, ...]) -> None:
    grad = _random(12, 8)
    blocks = [_trained(torch.zeros_like(block), [block]) for block in grad.split(sizes, axis)]
    assert torch.allclose(_trained(torch.zeros_like(grad), [grad], split=(axis, parts)), torch.cat(blocks, axis))


def test_the_adamw_rule_is_torchs_adamw() -> None:
    ours, theirs = (nn.Parameter(_random(3, 4)) for _ in range(2))
    settings_ = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-10, "weight_decay": 0.1}
    one = Muon([{"params": [ours], "rule": "adamw", **settings_}])
    other = torch.optim.AdamW([theirs], **settings_)  # type: ignore[arg-type]
    for seed in range(5):
        ours.grad = theirs.grad = _random(3, 4, seed=seed)
        one.step()
        other.step()
    assert torch.allclose(ours, theirs, atol=1e-13)


def _both_rules() -> tuple[nn.Module, Muon]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4))
    return model, Muon(muon_groups(model))


def _step(model: nn.Module, optimiser: Muon) -> None:
    optimiser.zero_grad()
    model(torch.ones(2, 4)).square().sum().backward()
    optimiser.step()


def test_resumed_from_json_it_goes_on_bit_for_bit() -> None:
    model, optimiser = _both_rules()
    _step(model, optimiser)
    copied, resumed = _both_rules()
    copied.load_state_dict(copy.deepcopy(model.state_dict()))
    saved = copy.deepcopy(optimiser.state_dict())
    saved["param_groups"] = json.loads(json.dumps(saved["param_groups"]))
    resumed.load_state_dict(saved)
    for _ in range(3):
        _step(model, optimiser)
        _step(copied, resumed)
    for one, other in zip(model.parameters(), copied.parameters(), strict=True):
        assert torch.equal(one, other)


def test_schedulers_turn_both_kinds_of_group() -> None:
    model, optimiser = _both_rules()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5**step)
    _step(model, optimiser)
    schedule.step()
    assert {group["rule"]: group["lr"] for group in optimiser.param_groups} == {"muon": 0.01, "adamw": 1.5e-4}


def test_a_closure_runs_with_gradients_and_its_loss_comes_back() -> None:
    parameter = nn.Parameter(torch.eye(2))
    optimiser = Muon([parameter])

    def closure() -> float:
        loss = parameter.square().sum()
        loss.backward()
        return float(loss.detach())

    assert optimiser.step(closure) == 2.0
    assert not torch.equal(parameter.detach(), torch.eye(2))


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    parameter = nn.Parameter(torch.eye(2))
    optimiser = Muon([parameter], weight_decay=0.1)
    optimiser.step()
    assert torch.equal(parameter.detach(), torch.eye(2))
    assert not optimiser.state


def test_vectors_are_refused_by_muon_and_taken_by_adamw() -> None:
    with pytest.raises(InvalidInput, match="rule='adamw'"):
        Muon([nn.Parameter(torch.ones(3))])
    group = Muon([{"params": [nn.Parameter(torch.ones(3))], "rule": "adamw"}], lr=0.5, weight_decay=0.5).param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (3e-4, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": -1}, {"lr": float("nan")}, {"momentum": 1.0}, {"ns_steps": 0}, {"weight_decay": -0.1}, {"rule": "sgd"},
        {"scale": "none"}, {"betas": (0.9, 1.0)}, {"split": (0, 3)}, {"split": (2, 1)}, {"split": (1, (1, 2))},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Muon([nn.Parameter(torch.ones(4, 4))], **wrong)  # type: ignore[arg-type]


def test_a_misspelt_setting_of_a_group_is_refused_and_the_group_not_added() -> None:
    optimiser = Muon([nn.Parameter(torch.ones(2, 2))])
    with pytest.raises(InvalidInput, match="'wd'"):
        optimiser.add_param_group({"params": [nn.Parameter(torch.ones(2, 2))], "wd": 1})
    with pytest.raises(InvalidInput, match="takes matrices"):
        optimiser.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    assert len(optimiser.param_groups) == 1


def test_a_sparse_gradient_is_refused() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(InvalidInput, match="sparse"):
        Muon(table.parameters()).step()


# --- groups -----------------------------------------------------------------------------------------------------


def _names(model: nn.Module, targets: str, **more: object) -> tuple[set[str], set[str]]:
    groups = muon_groups(model, targets, **more)  # type: ignore[arg-type]
    both = {rule: {n for g in groups if g["rule"] == rule for n, _ in g["params"]} for rule in ("muon", "adamw")}
    every = {name for name, _ in model.named_parameters()}
    assert both["muon"] | both["adamw"] == every
    assert not both["muon"] & both["adamw"]
    return both["muon"], both["adamw"]


@pytest.mark.parametrize(
    ("targets", "chosen"),
    [("none", ""), ("qk", "q k"), ("vo", "v o"), ("ffn", "ffn"), ("vo_ffn", "v o ffn"), ("all", "q k v o ffn")],
)
def test_targets_choose_weights_by_their_part(targets: str, chosen: str) -> None:
    muon, adamw = _names(Transformer(20, 7, dim=8, layers=1, heads=2), targets)
    assert {name.split(".")[2] for name in muon} == set(chosen.split())
    assert {"embed.weight", "positions", "head.weight", "norm.weight"} <= adamw


def test_tied_heads_depthwise_filters_tables_and_thin_matrices_go_to_adamw() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(5, 4)
            self.project = nn.Linear(4, 5, bias=False)
            self.project.weight = self.embed.weight
            self.depthwise = nn.Conv1d(4, 4, 3, groups=4)
            self.conv = nn.Conv1d(4, 6, 3)
            self.scalar = nn.Linear(4, 1)
            self.persistent = nn.Parameter(torch.ones(3, 4))
            self.token_mixer = nn.Linear(4, 4)
            self.frozen = nn.Parameter(torch.ones(3, 4), requires_grad=False)

    groups = muon_groups(Odd())
    muon = {name for group in groups if group["rule"] == "muon" for name, _ in group["params"]}
    assert muon == {"conv.weight", "token_mixer.weight"}
    assert [group["conv1d"] for group in groups if "conv.weight" in dict(group["params"])] == [True]
    Muon(groups)


def test_fused_projections_are_split_and_never_halved_between_rules() -> None:
    model = nn.ModuleDict({"attn": nn.MultiheadAttention(6, 2), "ffn": nn.Linear(6, 6)})
    groups = muon_groups(model)
    assert {name: group["split"] for group in groups if group["rule"] == "muon" for name, _ in group["params"]} == {
        "attn.in_proj_weight": (0, 3),
        "attn.out_proj.weight": None,
        "ffn.weight": None,
    }
    with pytest.raises(InvalidInput, match="fuses q, k and v"):
        muon_groups(model, "vo_ffn")
    assert _names(model, "ffn")[0] == {"ffn.weight"}


def test_a_module_that_tells_its_split_is_cut_by_it() -> None:
    from mnemos.state.mixers.parts import Projections

    model = nn.ModuleDict({"project": Projections(8, 2, 4, 8)})
    muon = [group for group in muon_groups(model) if group["rule"] == "muon"]
    assert [group["split"] for group in muon] == [(0, (8, 8, 16))]
    assert [name for name, _ in muon[0]["params"]] == ["project.linear.weight"]


def test_heads_are_orthogonalised_one_by_one() -> None:
    model = Transformer(20, 7, dim=8, layers=1, heads=2)
    splits = {
        name.split(".")[2]: group["split"]
        for group in muon_groups(model, heads=2)
        if group["rule"] == "muon"
        for name, _ in group["params"]
    }
    assert splits == {"q": (0, (4, 4)), "k": (0, (4, 4)), "v": (0, (4, 4)), "o": (1, (4, 4)), "ffn": None}
    with pytest.raises(InvalidInput, match="3 heads"):
        muon_groups(model, heads=3)


def test_targets_that_name_nothing_are_refused() -> None:
    with pytest.raises(InvalidInput, match="one of all"):
        muon_groups(nn.Linear(3, 3), "everything")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="no weight"):
        muon_groups(nn.Linear(3, 3), "qk")


def test_a_network_trains_under_both_rules() -> None:
    torch.manual_seed(0)
    model = Transformer(20, 7, dim=16, layers=1, heads=2)
    optimiser = Muon(muon_groups(model, lr=0.05, adamw_lr=0.01))
    tokens = torch.randint(20, (16, 8))
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, -2:].flatten())
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]


# --- the package ------------------------------------------------------------------------------------------------


def test_the_system_is_in_the_catalogue() -> None:
    row = get_system("muon_tail")
    assert (row.target, row.wing) == ("mnemos.learn.muon:Muon", "learn")


def test_without_torch_the_wing_names_its_extra_and_the_catalogue_skips_it() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from mnemos.core import catalogue\n"
        "assert 'mnemos' in {row.slug for row in catalogue()}\n"
        "assert 'muon_tail' not in {row.slug for row in catalogue()}\n"
        "try:\n    import mnemos.learn\n"
        "except ImportError as why:\n    print(type(why).__name__, why)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingExtra mnemos.learn")
    assert "mnemos[neural]" in done.stdout


def test_the_wing_loads_torch_only_when_a_name_is_used() -> None:
    program = "import sys, mnemos.learn; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    import mnemos.learn

    assert all(getattr(mnemos.learn, name) is not None for name in mnemos.learn.__all__)
    with pytest.raises(AttributeError, match="there are"):
        _ = mnemos.learn.adam
    with pytest.raises(NotFound):
        get_system("adam")
