"""Linear attention, the delta rules, Oja's rule and the momentum delta rule: chunks against the plain recurrence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.delta_rule import delta_rule, gated_delta_rule, oja_rule
from mnemos.state.ops.delta_rule.reference import gated_delta_rule_reference, oja_rule_reference
from mnemos.state.ops.linear_attention import linear_attention
from mnemos.state.ops.linear_attention.reference import linear_attention_reference
from mnemos.state.ops.momentum_delta_rule import momentum_delta_rule
from mnemos.state.ops.momentum_delta_rule.reference import momentum_delta_rule_reference

Draw = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """`op(q, k, v, *gates, **options)` and its plain recurrence, both returning o and a list of states."""

    op: Callable[..., tuple[Tensor, list[Tensor]]]
    reference: Callable[..., tuple[Tensor, list[Tensor]]]
    gates: str
    """One letter each: g log decay, v vector of log decays, s strong vector of them, b step."""
    states: int = 1


def one_state(op: Callable) -> Callable[..., tuple[Tensor, list[Tensor]]]:
    def run(*tensors: Tensor, state: list[Tensor] | None = None, **options: object) -> tuple[Tensor, list[Tensor]]:
        if "_reference" not in op.__name__:
            options["output_final_state"] = True
        o, after = op(*tensors, initial_state=None if state is None else state[0], **options)
        return o, [after]

    return run


def two_states(op: Callable, **fixed: object) -> Callable[..., tuple[Tensor, list[Tensor]]]:
    def run(*tensors: Tensor, state: list[Tensor] | None = None, **options: object) -> tuple[Tensor, list[Tensor]]:
        if "_reference" not in op.__name__:
            options["output_final_state"] = True
        o, after = op(*tensors, initial_state=None if state is None else tuple(state), **fixed, **options)
        return o, list(after)

    return run


def plain_reference(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, **options: object) -> tuple[Tensor, list[Tensor]]:
    return one_state(gated_delta_rule_reference)(q, k, v, None, beta, **options)


ATTENTION = one_state(linear_attention), one_state(linear_attention_reference)
OJA = one_state(oja_rule), one_state(oja_rule_reference)


def momentum(decay_first: bool) -> tuple[Callable, Callable]:
    pair = momentum_delta_rule, momentum_delta_rule_reference
    return tuple(two_states(op, decay_first=decay_first) for op in pair)


CASES = {
    "linear attention": Case(*ATTENTION, ""),
    "linear attention, scalar decay": Case(*ATTENTION, "g"),
    "linear attention, vector decay": Case(*ATTENTION, "v"),
    "linear attention, strong vector decay": Case(*ATTENTION, "s"),
    "delta rule": Case(one_state(delta_rule), plain_reference, "b"),
    "gated delta rule": Case(one_state(gated_delta_rule), one_state(gated_delta_rule_reference), "gb"),
    "oja rule": Case(*OJA, "b"),
    "oja rule, decay": Case(*OJA, "bg"),
    "momentum delta rule": Case(*momentum(False), "ggb", 2),
    "momentum delta rule, decay first": Case(*momentum(True), "ggb", 2),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def problem(
    case: Case, batch: int, tokens: int, heads: int, width: int, wide: int, seed: int, states: int | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    draw = {
        "g": lambda: F.logsigmoid(3 * normal(batch, tokens, heads) + 2),
        "v": lambda: F.logsigmoid(3 * normal(batch, tokens, heads, width) + 2),
        "s": lambda: -20 * torch.rand(batch, tokens, heads, width, generator=generator, dtype=torch.float64) ** 4,
        "b": lambda: normal(batch, tokens, heads).sigmoid(),
    }
    q = normal(batch, tokens, heads, width)
    k, v = (F.normalize(normal(batch, tokens, heads, n), dim=-1) for n in (width, wide))
    gates = [draw[letter]() for letter in case.gates]
    return [q, k, v, *gates], [normal(states or batch, heads, width, wide) for _ in range(case.states)]


def results(run: Callable, tensors: list[Tensor], state: list[Tensor], **options: object) -> list[Tensor]:
    """Output, states and the gradients of all inputs, for one fixed loss of them."""
    leaves = [x.clone().requires_grad_() for x in (*tensors, *state)]
    o, after = run(*leaves[: len(tensors)], state=leaves[len(tensors) :], **options)
    generator = torch.Generator().manual_seed(7)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in (o, *after)]
    loss = sum((x * w).sum() for x, w in zip((o, *after), weights, strict=True))
    return [x.detach() for x in (o, *after, *torch.autograd.grad(loss, leaves))]


def distance(ours: list[Tensor], exact: list[Tensor], least: float = 1e-12) -> float:
    """Largest difference over all tensors, relative to the largest value of each, or to `least` where that is more."""
    pairs = zip(ours, exact, strict=True)
    return max(float((a.double() - b).abs().max() / b.abs().max().clamp_min(least)) for a, b in pairs)


shapes = st.tuples(
    st.integers(1, 2), st.sampled_from([1, 2, 3, 31, 32, 33, 65, 80]), st.integers(1, 2), st.sampled_from([1, 3, 8])
)


@every_case
@settings(deadline=None, max_examples=10)
@given(shape=shapes, wide=st.sampled_from([1, 5, 8]), seed=st.integers(0, 10_000))
def test_chunks_equal_the_recurrence_in_values_and_all_gradients(
    case: Case, shape: tuple[int, int, int, int], wide: int, seed: int
) -> None:
    tensors, state = problem(case, *shape, wide, seed)
    exact = results(case.reference, tensors, state)
    assert distance(results(case.op, tensors, state), exact) <= 1e-10
    single = [[x.float() for x in one] for one in (tensors, state)]
    # unit vectors of one channel are all parallel: then gradients vanish by cancellation, and have no relative error
    parallel = min(shape[3], wide) == 1
    assert distance(results(case.op, *single), exact, 1.0 if parallel else 1e-12) <= 2e-5


@every_case
def test_packed_sequences_equal_single_ones_in_values_and_gradients(case: Case) -> None:
    borders = torch.tensor([0, 1, 40, 45, 78])
    tensors, state = problem(case, 1, 78, 2, 3, 4, 0, states=4)
    packed = results(case.op, tensors, state, cu_seqlens=borders)

    def one_by_one(*args: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        runs = []
        for n, (a, b) in enumerate(itertools.pairwise(borders)):
            runs.append(case.reference(*(x[:, a:b] for x in args), state=[s[n : n + 1] for s in state]))
        return torch.cat([o for o, _ in runs], 1), [torch.cat(rows) for rows in zip(*(s for _, s in runs), strict=True)]

    assert distance(packed, results(one_by_one, tensors, state)) <= 1e-10


@every_case
def test_whole_pieces_and_token_by_token_agree(case: Case) -> None:
    tensors, _ = problem(case, 2, 41, 2, 4, 3, 1)
    whole, final = case.op(*tensors)
    for sizes in ([20, 21], [1, 39, 1], [1] * 41):
        pieces, state = [], None
        for part in zip(*(x.split(sizes, 1) for x in tensors), strict=True):
            o, state = case.op(*part, state=state)
            pieces.append(o)
        assert distance([torch.cat(pieces, 1), *state], [whole, *final]) <= 1e-12


@every_case
def test_gradients_pass_the_numerical_check(case: Case) -> None:
    tensors, state = problem(case, 1, 5, 1, 2, 2, 2)
    leaves = [x.requires_grad_() for x in (*tensors, *state)]

    def run(*args: Tensor) -> tuple[Tensor, ...]:
        o, after = case.op(*args[: len(tensors)], state=list(args[len(tensors) :]))
        return (o, *after)

    assert torch.autograd.gradcheck(run, leaves)


@every_case
def test_no_token_sees_a_later_one_and_rows_do_not_meet(case: Case) -> None:
    tensors, _ = problem(case, 2, 50, 1, 4, 4, 3)
    other, _ = problem(case, 2, 50, 1, 4, 4, 4)
    mixed = [torch.cat([a[:, :35], b[:, 35:]], 1) for a, b in zip(tensors, other, strict=True)]
    o, _ = case.op(*tensors)
    assert torch.equal(case.op(*mixed)[0][:, :35], o[:, :35])
    torch.testing.assert_close(case.op(*(x[1:] for x in tensors))[0], o[1:], atol=1e-13, rtol=0)


def test_without_momentum_decay_first_is_the_gated_delta_rule_and_without_decay_the_delta_rule() -> None:
    (q, k, v, g, beta), _ = problem(CASES["gated delta rule"], 2, 70, 2, 4, 3, 5)
    still = torch.full_like(g, -math.inf)
    o, (state, momentum) = momentum_delta_rule(q, k, v, g, still, beta, decay_first=True, output_final_state=True)
    gated, after = gated_delta_rule(q, k, v, g, beta, scale=1.0, output_final_state=True)
    torch.testing.assert_close((o, state), (gated, after))
    plain, _ = delta_rule(q, k, v, beta, scale=1.0)
    torch.testing.assert_close(momentum_delta_rule(q, k, v, torch.zeros_like(g), still, beta)[0], plain)
    last = torch.einsum("bhk,bhv->bhkv", beta[:, -1, :, None] * k[:, -1], torch.ones_like(v[:, -1]))
    assert bool((momentum / last).diff(dim=2).abs().max() < 1e-9)  # M holds the last write alone: rank one along k


def test_a_memory_that_forgets_all_reads_its_last_write() -> None:
    (q, k, v, beta), _ = problem(CASES["delta rule"], 2, 40, 2, 4, 3, 6)
    forget = torch.full_like(beta, -math.inf)
    last = beta[..., None] * (q * k).sum(-1, keepdim=True) * v
    torch.testing.assert_close(gated_delta_rule(q, k, v, forget, beta, scale=1.0)[0], last)
    torch.testing.assert_close(linear_attention(q, k, v, forget, scale=1.0)[0], (q * k).sum(-1, keepdim=True) * v)
    vector = forget[..., None].expand_as(k)
    torch.testing.assert_close(linear_attention(q, k, v, vector, scale=1.0)[0], (q * k).sum(-1, keepdim=True) * v)


def test_steps_of_zero_change_nothing() -> None:
    (q, k, v, beta), (state,) = problem(CASES["delta rule"], 2, 40, 2, 4, 3, 7)
    _, after = delta_rule(q, k, v, torch.zeros_like(beta), initial_state=state, output_final_state=True)
    assert torch.equal(after, state)
    still = torch.zeros_like(beta)
    pair = (state, torch.zeros_like(state))
    _, (after, moving) = momentum_delta_rule(q, k, v, still, still, still, initial_state=pair, output_final_state=True)
    assert torch.equal(after, state)
    assert not moving.any()


def test_a_vector_of_equal_decays_is_the_scalar_decay() -> None:
    (q, k, v, g), _ = problem(CASES["linear attention, scalar decay"], 2, 40, 2, 4, 3, 8)
    torch.testing.assert_close(linear_attention(q, k, v, g[..., None].expand_as(k)), linear_attention(q, k, v, g))


def test_a_full_step_on_unit_keys_stores_the_pair_and_orthogonal_keys_keep_theirs() -> None:
    keys = torch.eye(8, dtype=torch.float64)[None, :, None]
    values = torch.randn(1, 8, 1, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ones = torch.ones(1, 8, 1, dtype=torch.float64)
    _, state = delta_rule(keys, keys, values, ones, output_final_state=True)
    torch.testing.assert_close(state[0, 0], values[0, :, 0])
    _, again = delta_rule(keys, keys, 2 * values, ones, initial_state=state, output_final_state=True)
    torch.testing.assert_close(again, 2 * state)  # corrected, not added


def test_oja_with_unit_values_keeps_responses_bounded_and_orthogonal_values_untouched() -> None:
    (q, k, v, beta), (state,) = problem(CASES["oja rule"], 1, 1, 1, 6, 6, 9)
    _, after = oja_rule(q, k, v, beta, initial_state=state, output_final_state=True)
    value = v[0, 0, 0]
    before, now = (s[0, 0] @ value for s in (state, after))
    assert now.norm() <= max(before.norm(), k[0, 0, 0].norm()) + 1e-12
    other = torch.ones_like(value) - value.sum() * value
    torch.testing.assert_close(after[0, 0] @ other, state[0, 0] @ other)


def test_memory_for_training_grows_by_a_state_per_chunk_and_not_per_token() -> None:
    (q, k, v, g, beta), _ = problem(CASES["gated delta rule"], 1, 256, 1, 32, 32, 10)
    saved: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes() // x.element_size()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        gated_delta_rule(q.requires_grad_(), k, v, g, beta)
    per_token = sum(saved.values()) / 256
    assert per_token < 32 * 32  # one state per token would be that much alone


def _operands() -> dict[str, Tensor]:
    (q, k, v, g, beta), (state,) = problem(CASES["gated delta rule"], 2, 6, 2, 4, 3, 11)
    return {"q": q, "k": k, "v": v, "g": g, "beta": beta, "initial_state": state}


def _with_nan(x: Tensor) -> Tensor:
    return torch.where(torch.arange(x.numel()).view(x.shape) == 3, torch.nan, x)


BAD: dict[str, tuple[Callable[[dict], dict], str]] = {
    "three axes": (lambda x: {"q": x["q"][0]}, "axes"),
    "keys of another width": (lambda x: {"k": x["k"][..., :2]}, "same B, T, H and K"),
    "values of another length": (lambda x: {"v": x["v"][:, :3]}, "same B, T, H and K"),
    "no tokens": (lambda x: {n: y[:, :0] for n, y in x.items() if n != "initial_state"}, "empty"),
    "two types": (lambda x: {"v": x["v"].float()}, "one floating-point type"),
    "integers": (lambda x: {n: x[n].long() for n in "qkv"}, "one floating-point type"),
    "half precision on the CPU": (lambda x: {n: x[n].half() for n in "qkv"}, "use float32"),
    "a gate per channel": (lambda x: {"beta": x["k"]}, "one per token and head"),
    "a decay per channel": (lambda x: {"g": -x["k"].abs()}, "one per token and head"),
    "a gate without heads": (lambda x: {"g": x["g"][..., 0]}, "one per token and head"),
    "a gate of integers": (lambda x: {"beta": x["beta"].long()}, "floating point"),
    "NaN in a step": (lambda x: {"beta": _with_nan(x["beta"])}, "finite"),
    "NaN in a decay": (lambda x: {"g": _with_nan(x["g"])}, "NaN"),
    "a decay that grows": (lambda x: {"g": -x["g"]}, "LOG of a decay"),
    "an infinite step": (lambda x: {"beta": x["beta"] / 0}, "finite"),
    "a state of another batch": (lambda x: {"initial_state": x["initial_state"][:1]}, "initial_state"),
    "a state on another device": (lambda x: {"initial_state": x["initial_state"].to("meta")}, "move it"),
    "a state transposed": (lambda x: {"initial_state": x["initial_state"].mT}, "initial_state"),
    "packing of two rows": (lambda x: {"cu_seqlens": torch.tensor([0, 6])}, "one row"),
}


@pytest.mark.parametrize(("change", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_with_its_reason(change: Callable[[dict], dict], says: str) -> None:
    good = _operands()
    with pytest.raises(InvalidInput, match=says):
        gated_delta_rule(**good | change(good))


@pytest.mark.parametrize("borders", [[0, 3], [0, 3, 3, 6], [1, 6], [0, 4, 2, 6]])
def test_borders_that_do_not_cut_the_row_are_refused(borders: list[int]) -> None:
    good = {name: x[:1] for name, x in _operands().items() if name != "initial_state"}
    with pytest.raises(InvalidInput, match="cu_seqlens"):
        gated_delta_rule(**good, cu_seqlens=torch.tensor(borders))


def test_packed_states_need_one_row_per_sequence() -> None:
    good = {name: x[:1] for name, x in _operands().items()}
    with pytest.raises(InvalidInput, match=r"\[2, 2, 4, 3\]"):
        gated_delta_rule(**good, cu_seqlens=torch.tensor([0, 2, 6]))


def test_the_momentum_rule_takes_a_pair_of_states() -> None:
    x = _operands()
    with pytest.raises(InvalidInput, match="pair"):
        momentum_delta_rule(x["q"], x["k"], x["v"], x["g"], x["g"], x["beta"], initial_state=x["initial_state"])
