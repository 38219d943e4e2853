from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.gates import Gates
from mnemos.state.memory import Memory
from mnemos.state.objective import KL, L2, Dot, Huber, HuberMixture, Lp, Robust
from mnemos.state.ops.newton_schulz import newton_schulz
from mnemos.state.retention import (
    SIGMOID,
    Decay,
    ElasticNet,
    FDivergence,
    KLSimplex,
    Lq,
    NoRetention,
    SoftThreshold,
    Sphere,
)
from mnemos.state.rule import (
    ClosedForm,
    GradientDescent,
    Implicit,
    Momentum,
    MultiStep,
    NonParametric,
    check_choices,
)
from mnemos.state.structure import MLP, GatedMLP, Matrix, Pairs, Vector

H, K = 2, 4
CLOSE = {"atol": 1e-10, "rtol": 1e-10}

STRUCTURES = [Matrix(), Vector(), MLP(expansion=2), GatedMLP(expansion=2, norm=True), Pairs()]
OBJECTIVES = [Dot(), L2(), Lp(p=3, clip=1.0), Huber(0.5), HuberMixture(), Robust(0.2), KL()]
RETENTIONS = [
    NoRetention(),
    Decay(0.9),
    KLSimplex(0.9),
    ElasticNet(0.01),
    SoftThreshold(0.01),
    Lq(q=4),
    SIGMOID,
    FDivergence("chi2"),
    Sphere(),
]
RULES = [
    GradientDescent(step=0.05),
    GradientDescent(step=0.05, window=3),
    GradientDescent(step=0.05, decay_first=True),
    Momentum(step=0.03, momentum=0.5),
    Momentum(step=0.03, window=2, orthogonalise=True),
    Implicit(),
    MultiStep(2, step=0.05),
    ClosedForm(),
    NonParametric(window=3),
]


def unit(seed: int, batch: int, tokens: int, heads: int = H, width: int = K) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(batch, tokens, heads, width, generator=draw, dtype=torch.float64), dim=-1)


def build(*choices: object, heads: int = H, key_dim: int = K, **sizes: int) -> Memory:
    torch.manual_seed(0)
    return Memory(*choices, heads=heads, key_dim=key_dim, **sizes).double()  # type: ignore[arg-type]


def allowed(*choices: object) -> bool:
    try:
        check_choices(*choices)  # type: ignore[arg-type]
    except InvalidInput:
        return False
    return True


COMBINATIONS = [c for c in itertools.product(STRUCTURES, OBJECTIVES, RETENTIONS, RULES, (1, 3)) if allowed(*c)]
RARE = [
    c for c in COMBINATIONS if isinstance(c[3], ClosedForm | Implicit | NonParametric) or isinstance(c[1], Dot | L2)
]
memories = st.sampled_from(COMBINATIONS) | st.sampled_from(RARE)


def choose(choices: tuple) -> Memory:
    return build(*choices[:4], chunk=choices[4])


@settings(deadline=None, max_examples=60)
@given(choices=memories, tokens=st.integers(1, 8), seed=st.integers(0, 99), cut=st.integers(1, 7))
def test_whole_pieces_and_token_by_token_agree_for_any_four_choices(
    choices: tuple, tokens: int, seed: int, cut: int
) -> None:
    memory = choose(choices)
    n = memory.rule.steps if isinstance(memory.rule, MultiStep) else 1
    q, k, v = unit(seed, 2, tokens), unit(seed + 1, 2, n * tokens), unit(seed + 2, 2, n * tokens)
    with torch.no_grad():
        whole, last = memory.scan(memory.init(2), q, k, v)
        assert whole.isfinite().all()
        edges = sorted({0, tokens, min(cut, tokens)})
        for borders in (edges, range(tokens + 1)):
            state, outputs = memory.init(2), []
            for a, b in itertools.pairwise(borders):
                o, state = memory.scan(state, q[:, a:b], k[:, n * a : n * b], v[:, n * a : n * b])
                outputs.append(o)
            torch.testing.assert_close(torch.cat(outputs, 1), whole, **CLOSE)
        written = memory.write(memory.init(2), k, v)
    assert state.tokens == written.tokens == last.tokens == tokens
    for other in (state, written):
        for ours, theirs in zip(other.tensors(), last.tensors(), strict=True):
            torch.testing.assert_close(ours, theirs, **CLOSE)


@settings(deadline=None, max_examples=25)
@given(choices=memories, seed=st.integers(0, 99))
def test_reading_a_state_gives_what_the_scan_read_last_and_changes_nothing(choices: tuple, seed: int) -> None:
    memory = choose(choices)
    n = memory.rule.steps if isinstance(memory.rule, MultiStep) else 1
    q, k, v = unit(seed, 1, 4), unit(seed + 1, 1, 4 * n), unit(seed + 2, 1, 4 * n)  # in the middle of a chunk of 3
    o, state = memory.scan(memory.init(1), q, k, v)
    before = [x.clone() for x in state.tensors()]
    torch.testing.assert_close(memory.read(state, q[:, -1:]), o[:, -1:], **CLOSE)
    for x, y in zip(before, state.tensors(), strict=True):
        torch.testing.assert_close(x, y, atol=0, rtol=0)


@settings(deadline=None, max_examples=25)
@given(choices=memories, seed=st.integers(0, 99))
def test_no_token_and_no_row_sees_another_that_it_should_not(choices: tuple, seed: int) -> None:
    memory = choose(choices)
    n = memory.rule.steps if isinstance(memory.rule, MultiStep) else 1
    q, k, v = unit(seed, 2, 5), unit(seed + 1, 2, 5 * n), unit(seed + 2, 2, 5 * n)
    with torch.no_grad():
        before, _ = memory.scan(memory.init(2), q, k, v)
        v[1, 3 * n] += 0.5
        after, _ = memory.scan(memory.init(2), q, k, v)
    torch.testing.assert_close(after[0], before[0], **CLOSE)
    torch.testing.assert_close(after[:, :3], before[:, :3], **CLOSE)


@pytest.mark.parametrize("structure", [Matrix(), MLP(expansion=2), GatedMLP(expansion=2)], ids=str)
@pytest.mark.parametrize("retention", [Decay(), KLSimplex(), ElasticNet(0.01), Lq(q=4)], ids=str)
@pytest.mark.parametrize("rule", [GradientDescent(window=2), Momentum(), Momentum(orthogonalise=True)], ids=str)
def test_a_chunk_takes_its_gradients_at_its_first_weights(structure: object, retention: object, rule: object) -> None:
    """The anchored memory, from single writes of memories that are cut back to the anchor."""
    chunk, tokens = 3, 7
    memory = build(structure, Huber(0.5), retention, rule, chunk=chunk)
    q, k, v = unit(0, 1, tokens), unit(1, 1, tokens), unit(2, 1, tokens)
    window = getattr(rule, "window", 1)
    keep = unit(3, 1, tokens)[..., 0].sigmoid().log()
    step, delta = 0.1 * unit(4, 1, tokens, width=window).sigmoid(), unit(5, 1, tokens)[..., 0].exp()
    o, _ = memory.scan(memory.init(1), q, k, v, Gates(log_keep=keep, step=step, delta=delta))

    def network(weights: list[Tensor], x: Tensor) -> Tensor:
        gain = None if memory.gain is None else memory.gain[:, None]
        return memory.structure.forward(lambda n, h: h @ weights[n], x, gain)

    link = memory.retention.link
    a = [memory.retention.start(w)[None] for w in memory.weights]
    m = [torch.zeros_like(w) for w in a]
    for t in range(tokens):
        if t % chunk == 0:
            anchor = [x.clone() for x in a]
        leaves = [memory.retention.weights(x).detach().requires_grad_() for x in anchor]
        loss = 0.0
        for j in range(min(window, t + 1)):
            prediction = memory.structure.forward(
                lambda n, h, w=leaves: h @ w[n],
                k[:, t - j, :, None],
                None if memory.gain is None else memory.gain[:, None],
            )
            each = memory.objective.loss(prediction, v[:, t - j, :, None], delta[:, t - j, :, None, None])
            loss = loss + (step[:, t, :, j, None] * each).sum()
        slopes = torch.autograd.grad(loss, leaves)
        mu = rule.momentum if isinstance(rule, Momentum) else 0.0
        m = [mu * x - s for x, s in zip(m, slopes, strict=True)]
        write = m
        if isinstance(rule, Momentum) and rule.orthogonalise:
            write = [rule.rate * newton_schulz(x) for x in m]
        a = [keep[:, t, :, None, None].exp() * x + w for x, w in zip(a, write, strict=True)]
        if link and link.scale and not getattr(rule, "orthogonalise", False):
            read = [link.scale(x) * y for x, y in zip(anchor, a, strict=True)]
        else:
            read = [memory.retention.weights(x) for x in a]
        torch.testing.assert_close(o[:, t], network(read, q[:, t, :, None])[:, :, 0], **CLOSE)


FAST = [GradientDescent(), GradientDescent(decay_first=True), Momentum(), Momentum(decay_first=True), MultiStep(1)]


@pytest.mark.parametrize(("objective", "rule"), [*itertools.product([Dot(), L2()], FAST), (L2(), Implicit())], ids=str)
def test_the_fast_path_of_a_matrix_equals_the_token_loop_in_values_and_gradients(
    objective: object, rule: object
) -> None:
    memory = build(Matrix(), objective, Decay(), rule, value_dim=3)
    tokens = 70
    q, k, v = unit(0, 2, tokens), unit(1, 2, tokens), unit(2, 2, tokens, width=3)
    keep, step = -unit(3, 2, tokens)[..., 0].exp(), unit(4, 2, tokens)[..., 0].sigmoid()
    momentum = -unit(5, 2, tokens)[..., 0].exp() if isinstance(rule, Momentum) else None
    inputs = [x.requires_grad_() for x in (q, k, v, keep, step, momentum) if x is not None]

    def gates(per_weight: bool) -> Gates:
        # a decay given per weight, all alike, goes through the loop
        wide = keep[..., None, None].expand(*keep.shape, K, 3) if per_weight else keep
        return Gates(log_keep=wide, step=step, log_momentum=momentum)

    results = []
    for per_weight in (False, True):
        o, state = memory.scan(memory.init(2), q, k, v, gates(per_weight))
        loss = (o * torch.linspace(-1, 1, o.numel()).double().view_as(o)).sum()
        results.append([o, state["weights0"], *torch.autograd.grad(loss, [*inputs, *memory.parameters()])])
    for fast, loop in zip(*results, strict=True):
        torch.testing.assert_close(fast, loop, **CLOSE)


@pytest.mark.parametrize("chunk", [1, 2])
def test_the_outer_gradient_flows_through_the_write(chunk: int) -> None:
    memory = build(MLP(expansion=1), HuberMixture(), KLSimplex(), GradientDescent(), heads=1, key_dim=3, chunk=chunk)
    q, k, v = (unit(n, 1, 3, 1, 3).requires_grad_() for n in range(3))
    keep, step, delta = (torch.full((1, 3, 1), x).double().requires_grad_() for x in (-0.1, 0.3, 1.2))

    def run(q: Tensor, k: Tensor, v: Tensor, keep: Tensor, step: Tensor, delta: Tensor, *_: Tensor) -> Tensor:
        return memory.scan(memory.init(1), q, k, v, Gates(log_keep=keep, step=step, delta=delta))[0]

    assert torch.autograd.gradcheck(run, (q, k, v, keep, step, delta, *memory.parameters()), atol=1e-6)


def test_an_implicit_step_is_the_argmin_it_claims_to_be() -> None:
    memory = build(Matrix(), L2(), Decay(), Implicit(), heads=1)
    beta, keep = torch.tensor([[[0.7]]]).double(), torch.tensor([[[-0.2]]]).double()
    with torch.no_grad():
        memory.weights[0].normal_()
    k, v = 2 * unit(0, 1, 1, 1), unit(1, 1, 1, 1)
    w = memory.write(memory.init(1), k, v, Gates(step=beta, log_keep=keep))["weights0"][0, 0].detach()
    before = keep.exp().squeeze() * memory.weights[0][0].detach()

    def objective(w: Tensor) -> Tensor:
        return (k[0, 0, 0] @ w - v[0, 0, 0]).square().sum() + (w - before).square().sum() / beta.squeeze()

    draw = torch.Generator().manual_seed(0)
    least = objective(w)
    assert all(objective(w + 0.98**n * torch.randn(K, K, generator=draw).double()) > least for n in range(500))


def test_without_a_past_a_memory_is_its_surprise() -> None:
    """alpha = 0 and mu = 0: W_t = -theta grad(W_{t-1}), taken before the decay."""
    memory = build(MLP(), L2(), Decay(), Momentum(), heads=1)
    k, v = unit(0, 1, 1, 1), unit(1, 1, 1, 1)
    never, theta = (torch.full((1, 1, 1), x, dtype=torch.float64) for x in (-torch.inf, 0.3))
    state = memory.write(memory.init(1), k, v, Gates(log_keep=never, log_momentum=never, step=theta))
    prediction = memory.structure.forward(lambda n, h: h @ memory.weights[n], k.transpose(1, 2), memory.gain[:, None])
    slopes = torch.autograd.grad((prediction - v.transpose(1, 2)).square().sum(), list(memory.weights))
    for n, slope in enumerate(slopes):
        torch.testing.assert_close(state[f"weights{n}"][0], -0.3 * slope, **CLOSE)


def test_no_step_leaves_the_memory_as_it_was() -> None:
    memory = build(MLP(), L2(), NoRetention(), Momentum(step=0.0), chunk=2)
    state = memory.write(memory.init(1), unit(0, 1, 5), unit(1, 1, 5))
    torch.testing.assert_close(state["weights0"][0], memory.weights[0], atol=0, rtol=0)


def test_moneta_with_p_and_q_of_2_is_the_l2_memory() -> None:
    q, k, v = (unit(n, 2, 6) for n in range(3))
    runs = []
    for objective, retention in ((Lp(p=2), Lq(q=2, keep=0.9)), (L2(), Decay(keep=0.9))):
        memory = build(MLP(), objective, retention, GradientDescent(), chunk=3)
        runs.append(memory.scan(memory.init(2), q, k, v)[0])
    torch.testing.assert_close(runs[0], runs[1], **CLOSE)


def test_a_vector_keeps_a_running_mean_of_the_values() -> None:
    memory = build(Vector(), L2(), NoRetention(), GradientDescent(step=0.25))
    q, k, v = (unit(n, 1, 6) for n in range(3))
    o, _ = memory.scan(memory.init(1), q, k, v)
    mean = torch.zeros(1, H, K).double()
    for t in range(6):
        mean = mean / 2 + v[:, t] / 2
        torch.testing.assert_close(o[:, t], mean, **CLOSE)


def test_values_gates_and_writes_may_differ_per_weight() -> None:
    memory = build(Matrix(), L2(), Decay(), GradientDescent(), value_dim=3)
    k, v = unit(0, 1, 1), unit(1, 1, 1, width=3)
    step, keep = unit(2, 1, 1, width=3)[:, :, :, None].exp(), -unit(3, 1, 1)[..., None].exp()
    with torch.no_grad():
        memory.weights[0].normal_()
    state = memory.write(memory.init(1), k, v, Gates(step=step, log_keep=keep))
    w, key = memory.weights[0], k[0, 0, :, :, None]
    expected = keep[0, 0].exp() * w - step[0, 0] * 2 * key * (key.mT @ w - v[0, 0, :, None])
    torch.testing.assert_close(state["weights0"][0], expected, **CLOSE)


def test_robust_objectives_survive_outliers_that_ruin_least_squares() -> None:
    """A small stream: 10% of the values are thrown off by 10 N(0, I)."""
    draw = torch.Generator().manual_seed(0)
    d, tokens, seeds = 16, 300, 4
    truth = torch.randn(seeds, 1, d, d, generator=draw).double() / d**0.5
    k = F.normalize(torch.randn(seeds, tokens, 1, d, generator=draw).double(), dim=-1)
    v = torch.einsum("bthk,bhkv->bthv", k, truth) + 0.05 * torch.randn(seeds, tokens, 1, d, generator=draw)
    hit = torch.rand(seeds, tokens, 1, 1, generator=draw) < 0.1
    v = v + hit * 10 * torch.randn(seeds, tokens, 1, d, generator=draw)

    def error(objective: object) -> float:
        """Of the best step, averaged over the second half of the stream."""
        best = torch.inf
        for step in (0.02, 0.1, 0.3):
            memory = build(Matrix(), objective, NoRetention(), GradientDescent(step=step), heads=1, key_dim=d)
            with torch.no_grad():
                state, errors = memory.write(memory.init(seeds), k[:, : tokens // 2], v[:, : tokens // 2]), []
                for t in range(tokens // 2, tokens, 10):
                    state = memory.write(state, k[:, t : t + 10], v[:, t : t + 10])
                    errors.append((state["weights0"] - truth).square().sum() / truth.square().sum())
            best = min(best, float(torch.stack(errors).mean()))
        return best

    l2 = error(L2())
    assert l2 > 20 * error(HuberMixture(delta=0.3))
    assert l2 > 20 * error(Huber(delta=0.3, kind="norm"))


def test_weights_on_a_simplex_stay_bounded_where_plain_descent_explodes() -> None:
    draw = torch.Generator().manual_seed(0)
    k, v = (3 * torch.randn(1, 300, 1, 8, generator=draw).double() for _ in range(2))
    norms = []
    for retention in (KLSimplex(keep=0.99), NoRetention()):
        memory = build(Matrix(), L2(), retention, GradientDescent(step=0.2), heads=1, key_dim=8)
        with torch.no_grad():
            state = memory.write(memory.init(1), k, v)
            norms.append(memory.retention.weights(state["weights0"]).norm())
    assert norms[0] <= 8**0.5 + 1e-9
    assert not norms[1] < 1e6


def test_float32_stays_within_its_precision_of_float64() -> None:
    memory = build(MLP(), Huber(), ElasticNet(0.01, keep=0.95), Momentum(), chunk=4)
    q, k, v = (unit(n, 2, 30) for n in range(3))
    exact, _ = memory.scan(memory.init(2), q, k, v)
    single = memory.float()
    o, state = single.scan(single.init(2), q.float(), k.float(), v.float())
    assert o.dtype == state["weights0"].dtype == torch.float32
    assert (o - exact).norm() / exact.norm() < 1e-4


def test_the_state_knows_its_size_and_takes_gradients_to_the_first_weights() -> None:
    memory = build(MLP(expansion=2), L2(), Decay(), Momentum(window=3), chunk=4)
    state = memory.write(memory.init(2), unit(0, 2, 9), unit(1, 2, 9))
    matrices, window = 3 * 2 * H * K * 2 * K, 2 * H * 2 * K
    assert state.nbytes() == memory.init(2).nbytes() == 8 * 2 * (matrices + window)
    memory.read(state, unit(2, 2, 1)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in memory.parameters())


def test_a_new_memory_takes_a_few_lines() -> None:
    memory = Memory(
        structure=MLP(depth=2),
        objective=Huber(delta=1.0),
        retention=ElasticNet(threshold=1e-3, keep=0.99),
        rule=Momentum(step=0.1, momentum=0.8),
    )
    k, v, q = torch.randn(3, 2, 5, 1, 64)
    state = memory.init(batch=2)
    state = memory.write(state, k, v, Gates(step=torch.full((2, 5, 1), 0.2)))
    assert memory.read(state, q).shape == (2, 5, 1, 64)


def test_bad_input_is_named() -> None:
    memory = build(MLP(), Huber(), Decay(), Momentum(window=2))
    state, x = memory.init(2), unit(0, 2, 3)
    ok = torch.zeros(2, 3, H).double()
    for k, v, gates, match in (
        (x[0], x, None, r"k has shape \[3, 2, 4\]"),
        (x[:, :0], x[:, :0], None, "holds no tokens"),
        (x, x[:, :2], None, "the same B and T"),
        (x.float(), x, None, "give one floating-point type"),
        (x.long(), x.long(), None, "give one floating-point type"),
        (x.half(), x.half(), None, "half precision"),
        (x[:1], x[:1], None, "state.rows"),
        (x, x, Gates(log_keep=ok + 0.1), "gates.log_keep rises to 0.1"),
        (x, x, Gates(log_momentum=ok + torch.nan), "gates.log_momentum rises to nan"),
        (x, x, Gates(step=ok[..., None] + torch.nan), "gates.step lies between nan"),
        (x, x, Gates(step=ok[:, :2]), "step has shape"),
        (x, x, Gates(step=torch.zeros(2, 3, H, 3).double()), "window of 2"),
        (x, x, Gates(delta=ok), "delta is not positive"),
        (x, x, Gates(rate=ok), "orthogonalise=True"),
        (x, x, Gates(log_keep=ok[..., None].expand(2, 3, H, K)), "per channel needs a Matrix"),
        (x, x, Gates(erase=x, erase_step=ok), "erase needs a Matrix"),
    ):
        with pytest.raises(InvalidInput, match=match):
            memory.write(state, k, v, gates)
    with pytest.raises(InvalidInput, match="both or none"):
        Gates(erase=x)
    with pytest.raises(InvalidInput, match="belongs to Memory"):
        build(MLP(), L2(), Decay(), Momentum()).read(state, x)
    with pytest.raises(InvalidInput, match="one q per token"):
        memory.scan(state, x[:, :2], x, x)
    with pytest.raises(InvalidInput, match="at least 1"):
        build(Matrix(), L2(), Decay(), GradientDescent(), key_dim=0)


def test_gates_that_the_parts_do_not_have_are_refused() -> None:
    x, ok = unit(0, 1, 3), torch.full((1, 3, H), -0.1).double()
    for choices, gates, match in (
        ((Matrix(), L2(), NoRetention(), GradientDescent()), Gates(log_keep=ok), "take Decay"),
        ((Matrix(), L2(), SIGMOID, GradientDescent()), Gates(log_keep=ok), "take Decay"),
        ((Matrix(), L2(), Decay(), GradientDescent()), Gates(delta=-ok), "take Huber"),
        ((Matrix(), L2(), Decay(), GradientDescent()), Gates(log_momentum=ok), r"needs Momentum\(\)"),
        ((Pairs(), L2(), NoRetention(), NonParametric()), Gates(step=ok), "give no gates"),
        ((Matrix(), L2(), Decay(), ClosedForm()), Gates(log_keep=ok[..., None].expand(1, 3, H, K)), "per channel"),
    ):
        memory = build(*choices)
        with pytest.raises(InvalidInput, match=match):
            memory.write(memory.init(1), x, x, gates)


def test_a_mean_over_no_pairs_is_refused() -> None:
    memory = build(Pairs(), L2(), NoRetention(), NonParametric())
    with pytest.raises(InvalidInput, match="write first"):
        memory.read(memory.init(1).to(torch.float64), unit(0, 1, 1))
