from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.objective import KL, L2, Dot, Huber, HuberMixture, Lp, Objective, Robust

EXACT: list[Objective] = [
    Dot(),
    L2(),
    Lp(p=1, kappa=None),
    Lp(p=1.5, kappa=None),
    Lp(p=2),
    Lp(p=3),
    Lp(p=4),
    Lp(p=3, clip=0.5),
    Huber(delta=0.7),
    Huber(delta=0.7, kind="norm"),
    HuberMixture(delta=2.0, kappa=None),
    HuberMixture(delta=2.0, scale=0.5, kappa=None),
    Robust(shift=0.3),
    KL(tau=0.5),
]


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("objective", EXACT, ids=str)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_the_gradient_is_the_losses_derivative(objective: Objective, seed: int, scale: float) -> None:
    prediction, v = (scale * draw(seed, 5, 4)).requires_grad_(), draw(seed + 1, 5, 4)
    (slope,) = torch.autograd.grad(objective.loss(prediction, v).sum(), prediction)
    torch.testing.assert_close(objective.gradient(prediction, v).detach(), slope, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("objective", [Lp(p=1), Lp(p=1.5), HuberMixture(delta=0.1)], ids=str)
def test_smoothing_changes_only_the_neighbourhood_of_the_kink(objective: Lp | HuberMixture) -> None:
    sharp = Lp(objective.p, kappa=None) if isinstance(objective, Lp) else HuberMixture(objective.delta, kappa=None)
    r = torch.tensor([[0.6, -0.8, 3.0, -20.0]]).double()
    zero = torch.zeros_like(r)
    torch.testing.assert_close(objective.gradient(r, zero), sharp.gradient(r, zero), atol=1e-4, rtol=1e-4)
    at_kink = torch.full((1, 4), 1e-3 if isinstance(objective, Lp) else 0.06, dtype=torch.float64, requires_grad=True)
    (outer,) = torch.autograd.grad(objective.gradient(at_kink, zero).sum(), at_kink)
    (dead,) = torch.autograd.grad(
        sharp.gradient(at_kink, zero).sum(), at_kink, allow_unused=True, materialize_grads=True
    )
    assert (outer > 0.1).all()
    assert (outer < 1e3).all()
    if isinstance(objective, HuberMixture) or objective.p == 1:
        assert (dead == 0).all()


@pytest.mark.parametrize("objective", [*EXACT[:3], Lp(p=1), Lp(p=1.5), *EXACT[4:], HuberMixture()], ids=str)
def test_the_outer_gradient_is_finite_where_the_match_is_perfect(objective: Objective) -> None:
    r = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    g = objective.gradient(r, torch.zeros_like(r))
    slopes = torch.autograd.grad(g.sum() + 0 * r.sum(), r)
    assert slopes[0].isfinite().all()


@pytest.mark.parametrize("kind", ["coordinate", "norm"])
def test_huber_becomes_half_l2_for_large_delta_and_delta_times_l1_far_out(kind: str) -> None:
    near, far, zero = draw(0, 3, 4), 1e4 * draw(1, 3, 4), torch.zeros(3, 4).double()
    objective = Huber(delta=1e6, kind=kind)  # type: ignore[arg-type]
    torch.testing.assert_close(2 * objective.gradient(near, zero), L2().gradient(near, zero))
    tight = Huber(delta=0.3, kind=kind)  # type: ignore[arg-type]
    expected = 0.3 * (far.sign() if kind == "coordinate" else far / far.norm(dim=-1, keepdim=True))
    torch.testing.assert_close(tight.gradient(far, zero), expected)
    length = far.abs().sum(-1) if kind == "coordinate" else far.norm(dim=-1)
    torch.testing.assert_close(tight.loss(far, zero), 0.3 * length, rtol=1e-3, atol=0)


def test_the_mixture_chooses_per_token() -> None:
    r = torch.tensor([[0.1, 0.2], [3.0, -4.0]]).double()
    g = HuberMixture(delta=1.0).gradient(r, torch.zeros_like(r))
    torch.testing.assert_close(g[0], 2 * r[0])
    torch.testing.assert_close(g[1], torch.tensor([1.0, -1.0]).double())


def test_the_robust_loss_is_the_worst_case_over_the_ball() -> None:
    prediction, v, shift = draw(0, 6, 3), draw(1, 6, 3), 0.5
    directions = draw(2, 20_000, 1, 3)
    inside = shift * directions / directions.norm(dim=-1, keepdim=True)
    worst = ((prediction - v - inside).square().sum(-1) / 2).amax(0)
    loss = Robust(shift).loss(prediction, v)
    assert (worst <= loss + 1e-6).all()
    torch.testing.assert_close(worst, loss, rtol=1e-3, atol=1e-3)


def test_kl_is_zero_with_zero_gradient_where_the_scores_agree() -> None:
    v = draw(0, 3, 5)
    torch.testing.assert_close(KL(tau=1.0).loss(v + 7, v), torch.zeros(3).double())
    torch.testing.assert_close(KL(tau=1.0).gradient(v + 7, v), torch.zeros(3, 5).double())
    torch.testing.assert_close(KL(tau=0.5).gradient(2 * v, v), torch.zeros(3, 5).double())


@pytest.mark.parametrize("objective", [Huber(), Huber(kind="norm"), HuberMixture(), Robust()], ids=str)
def test_a_threshold_per_token_equals_that_constant_and_learns(objective: Objective) -> None:
    prediction, v = 3 * draw(0, 4, 3), draw(1, 4, 3)
    delta = torch.tensor([0.2, 0.5, 1.0, 2.0]).double()[:, None].requires_grad_()
    together = objective.gradient(prediction, v, delta)
    name = "shift" if isinstance(objective, Robust) else "delta"
    for n, value in enumerate(delta.flatten().tolist()):
        rest = {"kind": objective.kind} if isinstance(objective, Huber) else {}
        one = type(objective)(**{name: value}, **rest)
        torch.testing.assert_close(together[n], one.gradient(prediction[n], v[n]))
        torch.testing.assert_close(objective.loss(prediction, v, delta)[n], one.loss(prediction[n], v[n]))
    assert torch.autograd.grad(together.square().sum(), delta)[0].abs().sum() > 0


def test_a_clip_bounds_what_an_outlier_pulls() -> None:
    outlier, zero = torch.full((1, 3), 1e6).double(), torch.zeros(1, 3).double()
    torch.testing.assert_close(Lp(p=3, clip=2.0).gradient(outlier, zero), torch.full((1, 3), 12.0).double())


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Lp(p=0.5), "non-convex"),
        (lambda: Lp(clip=0), "clip = 0"),
        (lambda: Huber(delta=-1), "delta = -1"),
        (lambda: Huber(kind="both"), "one of coordinate, norm"),
        (lambda: HuberMixture(scale=0), "scale = 0"),
        (lambda: Robust(shift=float("nan")), "shift = nan"),
        (lambda: KL(tau=0), "tau = 0"),
    ],
)
def test_impossible_settings_are_refused(make: object, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        make()  # type: ignore[operator]
