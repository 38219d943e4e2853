"""What every mixer must pass, in one call: `check_mixer(GatedDeltaNet(dim=64, heads=4))`."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.base import Mixer
from mnemos.state.value import State

TOLERANCE = 1e-5
"""Largest difference in float32, relative to the largest value."""


def check_mixer(mixer: Mixer, *, tokens: int = 37, batch: int = 2, seed: int = 0, constant_state: bool = False) -> None:
    """Assert what holds for every mixer, on random input.

    Whole, in pieces and token by token agree in output and state; no token sees a later one; rows of a batch do not
    meet; packed sequences equal single ones; a state is a value; every parameter gets a gradient; a foreign state,
    another batch, a wrong shape and half precision are refused.

    Args:
        mixer: in float32, of any training state; it is not changed.
        tokens: length T of the sequences, at least 4; one that no chunk size divides shows most.
        batch: rows of the batch, at least 2.
        seed: of the input.
        constant_state: also that the state has as many bytes empty as after any number of tokens: a memory of fixed
            size, without a window that fills up or a cache that grows.

    Raises:
        AssertionError: says what does not hold, and by how much.
    """
    if tokens < 4 or batch < 2:
        raise InvalidInput(f"tokens {tokens}, batch {batch}: cuts and rows need at least 4 and 2")
    mixer = copy.deepcopy(mixer).float()
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, tokens, mixer.dim, generator=draw).to(next(mixer.parameters()).device)
    with torch.no_grad():
        y, state = mixer(x)
        assert y.shape == x.shape, f"y has shape {list(y.shape)} and x {list(x.shape)}: they must agree"
        assert bool(torch.isfinite(y).all()), "y holds NaN or infinity"
        _check_pieces(mixer, x, y, state, constant_state)
        _check_causality(mixer, x, y, draw)
        _check_rows(mixer, x, y, state)
        _check_packed(mixer, x)
        _check_values(mixer, x)
        _check_refusals(mixer, x, state)
    _check_gradients(mixer, x)


def _check_pieces(mixer: Mixer, x: Tensor, y: Tensor, state: State, constant_state: bool) -> None:
    tokens = x.shape[1]
    assert state.tokens == tokens, f"the state counts {state.tokens} tokens of {tokens}"
    third = tokens // 3
    ways = {"in two pieces": [third, tokens - third], "in pieces": [1, third, 1, tokens - third - 2]}
    for way, sizes in {**ways, "token by token": [1] * tokens}.items():
        outputs, carried, seen = [], mixer.init_state(len(x)), []
        for piece in x.split(sizes, dim=1):
            out, carried = mixer(piece, carried)
            outputs.append(out)
            seen.append(carried.nbytes())
        _close(torch.cat(outputs, 1), y, f"y {way} and whole")
        _close_states(carried, state, f"the state {way} and whole")
        if constant_state:
            assert len({*seen, mixer.init_state(len(x)).nbytes()}) == 1, f"the state has {seen} bytes, fed {way}"


def _check_causality(mixer: Mixer, x: Tensor, y: Tensor, draw: torch.Generator) -> None:
    for token in sorted({1, x.shape[1] // 2, x.shape[1] - 1}):
        other = x.clone()
        other[:, token:] = torch.randn(other[:, token:].shape, generator=draw).to(x.device)
        again, _ = mixer(other)
        _close(again[:, :token], y[:, :token], f"y before token {token}, with other tokens from there on,")
        assert not torch.equal(again[:, token], y[:, token]), f"y at token {token} does not depend on that token"


def _check_rows(mixer: Mixer, x: Tensor, y: Tensor, state: State) -> None:
    for row in (0, len(x) - 1):
        alone, after = mixer(x[row : row + 1])
        _close(alone, y[row : row + 1], f"y of row {row} alone and in the batch")
        _close_states(after, state.rows(torch.tensor([row])), f"the state of row {row} alone and in the batch")
    turned = torch.arange(len(x)).flip(0)
    half = x.shape[1] // 2
    _, before = mixer(x[:, :half])
    rest, _ = mixer(x[turned][:, half:], before.rows(turned))
    _close(rest, y[turned][:, half:], "y with the rows of the state reordered")


def _check_packed(mixer: Mixer, x: Tensor) -> None:
    tokens = x.shape[1]
    borders = torch.tensor([0, 1, tokens // 2, tokens])
    y, state = mixer(x[:1], cu_seqlens=borders)
    again, _ = mixer(x[1:2], state, cu_seqlens=borders)
    for n, (first, last) in enumerate(itertools.pairwise(borders.tolist())):
        alone, after = mixer(x[:1, first:last])
        _close(y[:, first:last], alone, f"y of packed sequence {n} and alone")
        more, _ = mixer(x[1:2, first:last], after)
        _close(again[:, first:last], more, f"y of packed sequence {n} and alone, with a state,")


def _check_values(mixer: Mixer, x: Tensor) -> None:
    """A state is a value: the call that takes it leaves it as it was."""
    half = x.shape[1] // 2
    _, state = mixer(x[:, :half])
    kept = state.map(torch.clone)
    first, _ = mixer(x[:, half:], state)
    _close_states(state, kept, "the state that was handed in, after and before the call,")
    second, _ = mixer(x[:, half:], state)
    _close(second, first, "y of two calls with the same state")


def _check_gradients(mixer: Mixer, x: Tensor) -> None:
    half = x.shape[1] // 2
    x = x.clone().requires_grad_()
    y, state = mixer(x[:, :half])
    rest, _ = mixer(x[:, half:], state)
    draw = torch.Generator().manual_seed(1)
    loss = sum((part * torch.randn(part.shape, generator=draw).to(x.device)).sum() for part in (y, rest))
    names, parameters = zip(*((n, p) for n, p in mixer.named_parameters() if p.requires_grad), strict=True)
    grads = torch.autograd.grad(loss, [x, *parameters], allow_unused=True)
    for name, grad in zip(("x", *names), grads, strict=True):
        assert grad is not None, f"{name} takes no part in the output"
        assert bool(grad.any()), f"the gradient of {name} is zero"
        assert bool(torch.isfinite(grad).all()), f"the gradient of {name} holds NaN or infinity"
    later = torch.autograd.grad(mixer(x[:, half:], mixer(x[:, :half])[1])[0].square().sum(), x)[0]
    assert bool(later[:, :half].any()), "no gradient goes back through the state"


def _check_refusals(mixer: Mixer, x: Tensor, state: State) -> None:
    foreign = State("Other(dim=1)", state.tokens, state.parts)
    _refuses(mixer, "the state of another mixer", x, foreign)
    _refuses(mixer, "a state of another batch", torch.cat([x, x]), state)
    _refuses(mixer, "x without a batch", x[0])
    _refuses(mixer, "x of another width", torch.cat([x, x], -1))
    _refuses(mixer, "no tokens", x[:, :0])
    _refuses(mixer, "token ids", x.long())
    if x.device.type == "cpu":
        _refuses(mixer, "half precision on the CPU", x.bfloat16())


def _refuses(mixer: Mixer, what: str, *args: Tensor | State) -> None:
    try:
        mixer(*args)
    except InvalidInput:
        return
    except Exception as why:
        raise AssertionError(f"{what} must raise InvalidInput, not {type(why).__name__}: {why}") from why
    raise AssertionError(f"{type(mixer).__name__} took {what}: it must raise InvalidInput")


def _close_states(a: State, b: State, what: str) -> None:
    assert a.keys() == b.keys(), f"{what} have other parts: {sorted(a)} and {sorted(b)}"
    for name, part in a.items():
        if isinstance(part, State):
            _close_states(part, b[name], f"{what} (in {name!r})")
        else:
            _close(part, b[name], f"{what} ({name!r})")


def _close(a: Tensor, b: Tensor, what: str) -> None:
    assert a.shape == b.shape, f"{what} have shapes {list(a.shape)} and {list(b.shape)}"
    if not a.numel():
        return
    off = float((a - b).abs().max()) / max(float(b.abs().max()), 1e-3)
    assert off <= TOLERANCE, f"{what} differ by {off:.1e} of the largest value: at most {TOLERANCE:.0e}"
