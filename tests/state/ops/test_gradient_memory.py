from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.gradient_memory import Linear, Link, TwoMatrices, gradient_memory
from mnemos.state.ops.gradient_memory.reference import gradient_memory_reference
from mnemos.state.ops.newton_schulz import newton_schulz

D, WIDE, HEADS = 4, 6, 2
CLOSE = {"atol": 1e-10, "rtol": 1e-10}


def mlp(linear: Linear, x: Tensor) -> Tensor:
    return x + F.layer_norm(linear(1, F.gelu(linear(0, x))), (D,))


def squared(prediction: Tensor, v: Tensor) -> Tensor:
    return 2 * (prediction - v)


NETWORK = {"forward": mlp, "gradient": squared}
SOFTMAX = Link(lambda a: a.softmax(-2))
LENGTH = Link(lambda a: a / a.norm(dim=(-2, -1), keepdim=True), lambda a: 1 / a.norm(dim=(-2, -1), keepdim=True))
VARIANTS: dict[str, dict[str, object]] = {
    "plain": {},
    "momentum": {"momentum": True},
    "window": {"window": 3},
    "window wider than the chunk": {"window": 7, "momentum": True},
    "link built per token": {"link": SOFTMAX, "momentum": True},
    "link with a frozen scale": {"link": LENGTH},
    "orthogonalised momentum": {"transform": newton_schulz, "momentum": True, "window": 2},
}


def problem(tokens: int, seed: int, batch: int = 2, window: int = 1, momentum: bool = False, **rest: object) -> tuple:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    q, k, v = (normal(batch, tokens, HEADS, D) for _ in range(3))
    log_keep, log_momentum = (F.logsigmoid(normal(batch, tokens, HEADS) + 2) for _ in range(2))
    step = 0.2 * normal(batch, tokens, HEADS, window).sigmoid()
    rate = normal(batch, tokens, HEADS).sigmoid() if "transform" in rest else None
    tensors = [q, k, v, log_keep, step if window > 1 else step[..., 0]]
    weights = [normal(HEADS, D, WIDE) / 2, normal(HEADS, WIDE, D) / 2]
    return tensors, {"weights": weights, "log_momentum": log_momentum if momentum else None, "rate": rate, **rest}


def cut(tensors: list[Tensor], options: dict, first: int, last: int) -> tuple[list[Tensor], dict]:
    gates = {name: None if options[name] is None else options[name][:, first:last] for name in ("log_momentum", "rate")}
    return [x[:, first:last] for x in tensors], options | gates


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("chunk_size", [1, 4])
def test_the_chunk_form_equals_the_recurrence_in_values_and_gradients(variant: str, chunk_size: int) -> None:
    def run(op: Callable) -> list[Tensor]:
        tensors, options = problem(9, 0, **VARIANTS[variant])
        inputs = [
            *tensors,
            *options["weights"],
            *[options[n] for n in ("log_momentum", "rate") if options[n] is not None],
        ]
        for x in inputs:
            x.requires_grad_()
        o = op(*tensors, **options, **NETWORK, chunk_size=chunk_size)
        o = o[0] if isinstance(o, tuple) else o
        return [o, *torch.autograd.grad((o * torch.linspace(-1, 1, o.numel()).double().view_as(o)).sum(), inputs)]

    for ours, oracle in zip(run(gradient_memory), run(gradient_memory_reference), strict=True):
        torch.testing.assert_close(ours, oracle, **CLOSE)


def finish(u: Tensor, x: Tensor, gain: Tensor | None) -> Tensor:
    o = F.layer_norm(u, (D,))
    return x + (o if gain is None else o * gain)


@pytest.mark.parametrize("tokens", [8, 11])
@pytest.mark.parametrize("with_gain", [True, False])
@pytest.mark.parametrize("through_state", [True, False])
def test_a_known_network_differentiated_by_hand_equals_the_recurrence(
    tokens: int, with_gain: bool, through_state: bool
) -> None:
    def run(op: Callable) -> list[Tensor]:
        tensors, options = problem(tokens, 7, momentum=True)
        gain = torch.linspace(0.5, 2, HEADS * D, dtype=torch.float64).view(HEADS, 1, D).requires_grad_()
        network = TwoMatrices(finish, gain if with_gain else None)
        inputs = [*tensors, options["log_momentum"], *options["weights"], *[gain] * with_gain]
        for x in inputs:
            x.requires_grad_()
        o = op(*tensors, **options, forward=network, gradient=squared, chunk_size=4)
        o = o[0] if isinstance(o, tuple) else o
        # the last tokens alone are reached through the state of the chunks before
        o = o[:, 6:] if through_state else o
        return [o, *torch.autograd.grad((o * torch.linspace(-1, 1, o.numel()).double().view_as(o)).sum(), inputs)]

    for ours, oracle in zip(run(gradient_memory), run(gradient_memory_reference), strict=True):
        torch.testing.assert_close(ours, oracle, **CLOSE)


def test_gradients_by_hand_are_those_of_finite_differences_in_outputs_and_last_state() -> None:
    tensors, options = problem(4, 8, batch=1, momentum=True)
    gain = torch.linspace(0.5, 2, HEADS * D, dtype=torch.float64).view(HEADS, 1, D)

    def run(*x: Tensor) -> tuple[Tensor, ...]:
        q, k, v, log_keep, step, log_momentum, first, second, gain = x
        o, last = gradient_memory(
            q, k, v, log_keep, step,
            weights=[first, second], log_momentum=log_momentum, forward=TwoMatrices(finish, gain), gradient=squared,
            chunk_size=2, output_final_state=True,
        )  # fmt: skip
        return o, *last.weights, *last.momentum

    inputs = [*tensors, options["log_momentum"], *options["weights"], gain]
    assert torch.autograd.gradcheck(run, [x.requires_grad_() for x in inputs], fast_mode=True)


def test_a_known_network_takes_a_loss_that_does_not_look_at_the_prediction() -> None:
    tensors, options = problem(8, 9, momentum=True)
    outputs = [
        gradient_memory(*tensors, **options, forward=forward, gradient=lambda p, v: -v, chunk_size=4)[0]
        for forward in (TwoMatrices(finish), mlp)
    ]
    torch.testing.assert_close(*outputs, **CLOSE)


@settings(deadline=None, max_examples=12)
@given(
    tokens=st.integers(1, 11),
    batch=st.integers(1, 2),
    chunk_size=st.integers(1, 6),
    variant=st.sampled_from(sorted(VARIANTS)),
    borders=st.lists(st.integers(1, 10), max_size=3),
)
def test_whole_pieces_and_token_by_token_agree(
    tokens: int, batch: int, chunk_size: int, variant: str, borders: list[int]
) -> None:
    tensors, options = problem(tokens, 1, batch, **VARIANTS[variant])
    with torch.no_grad():
        whole, last = gradient_memory(*tensors, **options, **NETWORK, chunk_size=chunk_size, output_final_state=True)
        edges = sorted({0, tokens, *(b for b in borders if b < tokens)})
        for cuts in (edges, list(range(tokens + 1))):
            state, outputs = None, []
            for first, end in itertools.pairwise(cuts):
                piece, gates = cut(tensors, options, first, end)
                o, state = gradient_memory(
                    *piece, **gates, **NETWORK, chunk_size=chunk_size, initial_state=state, output_final_state=True
                )
                outputs.append(o)
            torch.testing.assert_close(torch.cat(outputs, 1), whole, **CLOSE)
            for ours, other in zip(state.weights, last.weights, strict=True):
                torch.testing.assert_close(ours, other, **CLOSE)


def test_packed_sequences_equal_single_runs() -> None:
    tensors, options = problem(9, 2, batch=1, window=2, momentum=True)
    packed, states = gradient_memory(
        *tensors, **options, **NETWORK, chunk_size=4, cu_seqlens=torch.tensor([0, 2, 9]), output_final_state=True
    )
    for (first, last), state in zip([(0, 2), (2, 9)], states, strict=True):
        piece, gates = cut(tensors, options, first, last)
        o, single = gradient_memory(*piece, **gates, **NETWORK, chunk_size=4, output_final_state=True)
        torch.testing.assert_close(packed[:, first:last], o, **CLOSE)
        torch.testing.assert_close(state.weights[0], single.weights[0], **CLOSE)


def test_no_token_sees_a_later_one() -> None:
    tensors, options = problem(9, 3, window=3, momentum=True)
    before, _ = gradient_memory(*tensors, **options, **NETWORK, chunk_size=4)
    for x in tensors[:3]:
        x[:, 6] += 1
    after, _ = gradient_memory(*tensors, **options, **NETWORK, chunk_size=4)
    torch.testing.assert_close(after[:, :6], before[:, :6], atol=0, rtol=0)
    assert not torch.allclose(after[:, 6], before[:, 6])


def test_a_token_with_weight_zero_in_every_window_leaves_no_trace() -> None:
    tensors, options = problem(8, 4, window=3)
    step = tensors[4]
    for j in range(3):
        step[:, 4 + j, :, j] = 0
    before, _ = gradient_memory(*tensors, **options, **NETWORK, chunk_size=4)
    tensors[2][:, 4] += 100
    after, _ = gradient_memory(*tensors, **options, **NETWORK, chunk_size=4)
    torch.testing.assert_close(after, before, atol=0, rtol=0)


def test_without_steps_the_memory_stays_as_it_was() -> None:
    tensors, options = problem(7, 5, momentum=True)
    tensors[3].zero_()
    tensors[4].zero_()
    _o, state = gradient_memory(*tensors, **options, **NETWORK, chunk_size=3, output_final_state=True)
    for ours, first in zip(state.weights, options["weights"], strict=True):
        torch.testing.assert_close(ours, first.expand_as(ours), atol=0, rtol=0)


def test_float32_stays_within_its_precision_of_float64() -> None:
    tensors, options = problem(40, 6, momentum=True)
    exact, _ = gradient_memory(*tensors, **options, **NETWORK, chunk_size=16)
    single = {n: x.float() if isinstance(x, Tensor) else x for n, x in options.items()}
    single["weights"] = [w.float() for w in options["weights"]]
    o, _ = gradient_memory(*[x.float() for x in tensors], **single, **NETWORK, chunk_size=16)
    assert (o - exact).norm() / exact.norm() < 2e-5


def test_shapes_that_do_not_fit_are_named() -> None:
    tensors, options = problem(4, 0)
    with pytest.raises(InvalidInput, match="log_keep has shape"):
        gradient_memory(*tensors[:3], tensors[3][:, :2], tensors[4], **options, **NETWORK)
    with pytest.raises(InvalidInput, match="half precision"):
        gradient_memory(*[x.half() for x in tensors], **options, **NETWORK)
    with pytest.raises(InvalidInput, match="a transform works on the momentum"):
        gradient_memory(*tensors, **options | {"transform": newton_schulz}, **NETWORK)
    with pytest.raises(InvalidInput, match="weights of 1 heads"):
        gradient_memory(*tensors, **options | {"weights": [w[:1] for w in options["weights"]]}, **NETWORK)
