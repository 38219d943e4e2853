from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.retention import (
    DIVERGENCES,
    SIGMOID,
    Decay,
    ElasticNet,
    FDivergence,
    KLSimplex,
    Lq,
    NoRetention,
    Retention,
    SoftThreshold,
    Sphere,
)

CLOSE = {"atol": 1e-10, "rtol": 1e-10}
ALL: list[Retention] = [
    NoRetention(),
    Decay(0.9),
    KLSimplex(0.9, total=2.0),
    ElasticNet(0.1),
    ElasticNet(0.1, smooth=True),
    SoftThreshold(0.1),
    Lq(q=4),
    Lq(q=3),
    Lq(q=1.5, map="mirror"),
    Lq(q=2),
    SIGMOID,
    Sphere(),
    *(FDivergence(kind) for kind in DIVERGENCES),  # type: ignore[arg-type]
]


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def on_simplex(w: Tensor, seed: int, size: float) -> Tensor:
    """w moved a little, with each slice's sum and the signs kept."""
    moved = (w * (1 + size * draw(seed, *w.shape)).clamp(min=0)).clamp(min=0)
    return moved * w.sum(-2, keepdim=True) / moved.sum(-2, keepdim=True)


def test_the_kl_update_minimises_its_objective_on_the_simplex() -> None:
    """<W, grad> + KL(W | W') / eta + sum W log W / alpha, each slice summing to c."""
    eta, alpha, c = 0.3, 2.0, 1.5
    grad, before = draw(0, 4, 3), c * draw(1, 4, 3).softmax(-2)

    def objective(w: Tensor) -> Tensor:
        logs = w.clamp(min=1e-300).log()
        return (w * grad + w * (logs - before.log()) / eta + w * logs / alpha).sum()

    share, step = 1 / alpha / (1 / alpha + 1 / eta), 1 / (1 / alpha + 1 / eta)
    retention = KLSimplex(keep=1 - share, total=c)
    w = retention.weights(retention.advance(before.log(), -step * grad, 1 - share, step))
    torch.testing.assert_close(w, c * ((1 - share) * before.log() - step * grad).softmax(-2), **CLOSE)
    torch.testing.assert_close(w.sum(-2), torch.full((3,), c).double(), **CLOSE)
    least = objective(w)
    for seed in range(500):
        assert objective(on_simplex(w, seed, 0.3 * 0.99**seed)) >= least - 1e-12


def test_the_elastic_net_update_minimises_its_objective() -> None:
    """<W, grad> + |W - W'|^2 / 2 eta + |W|^2 / 2 beta + |W|_1 / alpha, in the paper's own letters."""
    eta, beta, alpha = 0.4, 2.0, 3.0
    grad, before = draw(0, 4, 3), 0.5 * draw(1, 4, 3)

    def objective(w: Tensor) -> Tensor:
        kept = (w - before).square() / (2 * eta) + w.square() / (2 * beta) + w.abs() / alpha
        return (w * grad + kept).sum()

    keep = beta / (beta + eta)
    step = eta * keep
    w = SoftThreshold(sparsity=1 / alpha).advance(before, -step * grad, keep, step)
    threshold = eta * beta / (alpha * (eta + beta))
    moved = keep * before - step * grad
    torch.testing.assert_close(w, moved.sign() * (moved.abs() - threshold).clamp(min=0), **CLOSE)
    assert (w == 0).any()
    assert (w != 0).any()
    least = objective(w)
    assert all(objective(w + 0.99**seed * draw(seed, 4, 3)) >= least for seed in range(500))


def test_the_elastic_net_of_the_whole_past_minimises_its_objective() -> None:
    retention, a = ElasticNet(threshold=0.5), draw(0, 4, 3)
    w = retention.weights(a)

    def objective(w: Tensor) -> Tensor:
        return ((w - a).square() / 2 + 0.5 * w.abs()).sum()

    assert (w == 0).any()
    assert all(objective(w + 0.99**seed * draw(seed, 4, 3)) >= objective(w) for seed in range(500))


def test_the_smooth_threshold_hides_small_weights_and_keeps_their_slope() -> None:
    a = torch.tensor([-5.0, -0.01, 0.0, 0.01, 5.0]).double().requires_grad_()
    w = ElasticNet(0.1, smooth=True).weights(a)
    torch.testing.assert_close(w[[0, 4]], torch.tensor([-4.94, 4.94]).double(), atol=0.01, rtol=0)
    assert (w[1:4].abs() < 0.001).all()
    (slope,) = torch.autograd.grad(w.sum(), a)
    assert slope[3] > 0.01
    assert torch.autograd.grad(ElasticNet(0.1).weights(a).sum(), a)[0][3] == 0


@pytest.mark.parametrize("kind", sorted(DIVERGENCES))
def test_each_f_divergence_update_minimises_its_objective_on_the_simplex(kind: str) -> None:
    f = {
        "kl": lambda t: t * t.clamp(min=1e-300).log(),
        "chi2": lambda t: (t - 1).square(),
        "hellinger": lambda t: (t.sqrt() - 1).square(),
        "reverse_kl": lambda t: -t.log(),
    }[kind]
    retention = FDivergence(kind, total=1.5)  # type: ignore[arg-type]
    before, write = retention.start(draw(0, 5, 3)), 0.7 * draw(1, 5, 3)
    w = retention.advance(before, write, 1.0, 1.0)
    assert (w >= 0).all()
    torch.testing.assert_close(w.sum(-2), torch.full((3,), 1.5).double(), **CLOSE)

    def objective(w: Tensor) -> Tensor:
        return (before * f(w / before) - w * write).sum()

    assert all(objective(on_simplex(w, seed, 0.3 * 0.99**seed)) >= objective(w) - 1e-12 for seed in range(500))


def test_the_kl_divergence_is_the_simplex_without_decay() -> None:
    raw, write = draw(0, 5, 3), draw(1, 5, 3)
    w = FDivergence("kl").advance(FDivergence("kl").start(raw), write, 1.0, 1.0)
    torch.testing.assert_close(w, KLSimplex().weights(KLSimplex().start(raw) + write), **CLOSE)


@pytest.mark.parametrize("kind", sorted(DIVERGENCES))
def test_gradients_pass_through_the_multiplier_of_an_f_divergence(kind: str) -> None:
    state = (0.2 + draw(0, 4, 2).softmax(-2)).requires_grad_()
    write = (0.3 * draw(1, 4, 2)).requires_grad_()
    retention = FDivergence(kind, total=1.8)  # type: ignore[arg-type]
    assert torch.autograd.gradcheck(lambda s, w: retention.advance(s, w, 1.0, 1.0), (state, write), atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 30))
def test_a_scan_of_the_dual_equals_the_multiplicative_steps(seed: int, steps: int) -> None:
    keep, total = 0.9, 2.0
    simplex = KLSimplex(keep=keep, total=total)
    a, b = simplex.start(draw(seed, 4, 3)), draw(seed, 4, 3)
    w, s = simplex.weights(a), SIGMOID.weights(b)
    for t in range(steps):
        write = 0.3 * draw(seed + t, 4, 3)
        a, b = simplex.advance(a, write, keep, 1.0), SIGMOID.advance(b, write, 1.0, 1.0)
        w = total * (keep * w.log() + write).softmax(-2)
        s = torch.sigmoid(torch.logit(s) + write)
        assert (w >= 0).all()
        torch.testing.assert_close(w.sum(-2), torch.full((3,), total).double(), **CLOSE)
    torch.testing.assert_close(simplex.weights(a), w, **CLOSE)
    torch.testing.assert_close(SIGMOID.weights(b), s, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("q", [1.5, 3.0, 4.0])
def test_the_mirror_map_minimises_its_objective_and_the_printed_one_does_not(q: float) -> None:
    a, other = draw(0, 4, 3), q / (q - 1)

    def objective(w: Tensor) -> Tensor:
        return (w.abs() ** other).sum() ** (2 / other) / 2 - (a * w).sum()

    w = Lq(q, map="mirror").weights(a)
    assert all(objective(w + 0.98**seed * draw(seed, 4, 3)) >= objective(w) for seed in range(500))
    assert objective(Lq(q, map="paper").weights(a)) > objective(w) + 1e-3


def test_q_equal_2_is_the_identity_and_q_equal_4_shrinks_what_grows() -> None:
    a = draw(0, 2, 4, 3)
    torch.testing.assert_close(Lq(q=2).weights(a), a, **CLOSE)
    torch.testing.assert_close(Lq(q=2, map="mirror").weights(a), a, **CLOSE)
    torch.testing.assert_close(Lq(q=4).weights(10 * a), Lq(q=4).weights(a) / 10, **CLOSE)
    norms = (a**4).sum((-2, -1), keepdim=True) ** 0.25
    torch.testing.assert_close(Lq(q=4).weights(a), a / norms**2, **CLOSE)


@pytest.mark.parametrize("retention", [Lq(q=4), Lq(q=1.5), Lq(q=4, map="mirror"), ElasticNet(0.3), Decay()], ids=str)
def test_a_memory_starts_at_the_weights_it_was_given(retention: Retention) -> None:
    raw = draw(0, 2, 4, 3)
    torch.testing.assert_close(retention.weights(retention.start(raw)), raw, **CLOSE)


def test_where_the_norm_is_fixed_a_memory_starts_at_the_same_direction() -> None:
    raw = draw(0, 2, 4, 3)
    w = Lq(q=3).weights(Lq(q=3).start(raw))
    norms = (raw.abs() ** 3).sum((-2, -1), keepdim=True) ** (1 / 3)
    torch.testing.assert_close(w, raw / norms, **CLOSE)


@pytest.mark.parametrize("retention", ALL, ids=str)
def test_a_links_factor_is_the_link(retention: Retention) -> None:
    link, a = retention.link, draw(0, 2, 4, 3)
    if link is not None and link.scale is not None:
        torch.testing.assert_close(link.scale(a) * a, link.apply(a), **CLOSE)
        assert link.scale(a).shape == (2, 1, 1)
    if link is not None:
        assert retention.linear


@pytest.mark.parametrize("retention", ALL, ids=str)
def test_a_zero_state_and_a_zero_write_stay_finite_in_value_and_gradient(retention: Retention) -> None:
    raw = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    w = retention.weights(retention.advance(retention.start(raw), 0 * raw, 1.0, 0.1))
    assert w.isfinite().all()
    assert torch.autograd.grad(w.sum(), raw)[0].isfinite().all()


def test_a_slot_on_the_sphere_takes_only_what_is_new_to_it() -> None:
    slots = Sphere().start(draw(0, 3, 4))
    torch.testing.assert_close(slots.norm(dim=-1), torch.ones(3).double(), **CLOSE)
    torch.testing.assert_close(Sphere().advance(slots, 5 * slots, 1.0, 1.0), slots, **CLOSE)
    after = Sphere().advance(slots, draw(1, 3, 4), 1.0, 1.0)
    torch.testing.assert_close(after.norm(dim=-1), torch.ones(3).double(), **CLOSE)
    assert not torch.allclose(after, slots)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Decay(1.1), "above 1 explodes"),
        (lambda: KLSimplex(keep=2.0), "above 1 explodes"),
        (lambda: KLSimplex(total=0), "total = 0"),
        (lambda: ElasticNet(threshold=0), "threshold = 0"),
        (lambda: SoftThreshold(sparsity=-1), "sparsity = -1"),
        (lambda: Lq(q=1), "needs q > 1"),
        (lambda: Lq(map="exact"), "'paper' or 'mirror'"),
        (lambda: FDivergence("js"), "one of kl, chi2"),
    ],
)
def test_impossible_settings_are_refused(make: object, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        make()  # type: ignore[operator]
