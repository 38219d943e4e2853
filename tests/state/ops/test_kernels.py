"""Few tokens: the Triton kernel in its interpreter, who gets it, and the steps in torch where nobody does.

Triton reads TRITON_INTERPRET when it is imported, so the kernel runs in a process of its own: this file as a script.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.state.ops import steps
from mnemos.state.ops.delta_rule import delta_rule, gated_delta_rule, oja_rule
from mnemos.state.ops.delta_rule.reference import gated_delta_rule_reference
from mnemos.state.ops.linear_attention import linear_attention
from mnemos.state.ops.linear_attention.reference import linear_attention_reference
from mnemos.state.ops.momentum_delta_rule import momentum_delta_rule


def drawn(seed: int) -> dict:
    draw = random.Random(seed)
    sizes = {name: draw.randint(1, 3) for name in ("batch", "heads")}
    widths = {name: draw.randint(1, 20) for name in ("width", "wide")}
    flags = {name: draw.random() < 0.5 for name in ("correct", "state", "forget")}
    decay = "scalar" if flags["correct"] else "vector"
    return sizes | widths | flags | {"tokens": draw.randint(2, 9), "decay": decay}


KERNEL_CASES: dict[str, dict] = {
    "gated delta rule": {},
    "one token": {"tokens": 1},
    "one of everything": {"batch": 1, "tokens": 1, "heads": 1, "width": 1, "wide": 1},
    "powers of two": {"width": 8, "wide": 16},
    "wider than a block": {"width": 33, "wide": 19},
    "from nothing": {"state": False},
    "delta rule": {"decay": ""},
    "linear attention": {"decay": "", "correct": False},
    "linear attention, scalar decay": {"correct": False},
    "linear attention, vector decay": {"decay": "vector", "correct": False},
    "forgets all": {"forget": True},
    "forgets all, vector decay": {"decay": "vector", "correct": False, "forget": True},
    "packed": {"batch": 1, "tokens": 9, "borders": [0, 1, 6, 9]},
    "packed from nothing": {"batch": 1, "tokens": 5, "borders": [0, 4, 5], "state": False},
    "strided": {"strided": True},
    "float64": {"dtype": torch.float64},
    "bfloat16": {"dtype": torch.bfloat16},
    **{f"drawn by {seed}": drawn(seed) for seed in range(8)},
}


def problem(
    batch: int = 2,
    tokens: int = 6,
    heads: int = 3,
    width: int = 5,
    wide: int = 7,
    decay: str = "scalar",
    correct: bool = True,
    state: bool = True,
    forget: bool = False,
    strided: bool = False,
    borders: list[int] | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[list[Tensor | None], Tensor | None]:
    """[q, k, v, g, beta, state], and the borders."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    q, k, v = (normal(batch, tokens, heads, n) for n in (width, width, wide))
    if strided:
        q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v))
    g = F.logsigmoid(3 * normal(batch, tokens, heads, *[width] * (decay == "vector")) + 2)
    if forget:
        g[:, tokens // 2] = -math.inf
    beta = normal(batch, tokens, heads).sigmoid()
    start = normal(batch if borders is None else len(borders) - 1, heads, width, wide)
    operands = [q, F.normalize(k, dim=-1), v, g if decay else None, beta if correct else None]
    kept = start.to(torch.promote_types(dtype, torch.float32)) if state else None
    return [None if x is None else x.to(dtype) for x in operands] + [kept], None if borders is None else torch.tensor(
        borders
    )


def recurrence(operands: list[Tensor | None], borders: Tensor | None) -> list[Tensor]:
    """What the kernel must return, in float64."""
    *rows, state = (None if x is None else x.double() for x in operands)
    pieces = [(0, rows[0].shape[1])] if borders is None else list(itertools.pairwise(borders.tolist()))
    runs = []
    for n, (a, b) in enumerate(pieces):
        q, k, v, g, beta = (None if x is None else x[:, a:b] for x in rows)
        start = state if state is None or borders is None else state[n : n + 1]
        if beta is None:
            runs.append(linear_attention_reference(q, k, v, g, 0.3, start))
        else:
            runs.append(gated_delta_rule_reference(q, k, v, g, beta, 0.3, start))
    return [torch.cat([o for o, _ in runs], 1), torch.cat([after for _, after in runs])]


def run_in_interpreter() -> dict[str, list[float]]:
    """Largest relative difference of outputs and of states, and how much the given state changed, by case."""
    from mnemos.state.ops.delta_rule.kernel import recurrent

    found = {}
    for name, case in KERNEL_CASES.items():
        (*rows, state), borders = problem(**case)
        before = None if state is None else state.clone()
        results = recurrent(*rows, 0.3, state, borders)
        assert results[0].dtype == rows[2].dtype
        exact = recurrence([*rows, before], borders)
        apart = [float((a.double() - b).abs().max() / b.abs().max()) for a, b in zip(results, exact, strict=True)]
        found[name] = [*apart, 0.0 if state is None else float((state - before).abs().max())]
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, list[float]]:
    if find_spec("triton") is None:
        pytest.skip("the kernel needs Triton: pip install 'mnemos[kernels]'")
    script = [sys.executable, "-W", "error", __file__]
    done = subprocess.run(script, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", KERNEL_CASES)
def test_the_kernel_is_the_recurrence_and_leaves_the_given_state_alone(found: dict, name: str) -> None:
    output, state, changed = found[name]
    dtype = KERNEL_CASES[name].get("dtype", torch.float32)
    rounding = 2**-7  # the interpreter cuts to bfloat16 where a GPU rounds
    assert output <= {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: rounding}[dtype]
    assert state <= (1e-14 if dtype == torch.float64 else 1e-6)
    assert changed == 0


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Takes every tensor for one that the kernel can be launched on, and lists the launches."""
    calls: list[tuple] = []

    def recurrent(*operands: Tensor | None) -> tuple[Tensor, Tensor]:
        calls.append(operands)
        return operands[2], operands[2]

    monkeypatch.setattr(steps, "_launches", lambda q: True)
    monkeypatch.setitem(sys.modules, "mnemos.state.ops.delta_rule.kernel", SimpleNamespace(recurrent=recurrent))
    return calls


@pytest.mark.parametrize(("tokens", "launched"), [(1, 3), (64, 3), (65, 0)])
def test_few_tokens_take_one_launch(launches: list[tuple], tokens: int, launched: int) -> None:
    (q, k, v, g, beta, _), _ = problem(tokens=tokens)
    o, _ = gated_delta_rule(q, k, v, g, beta)
    delta_rule(q, k, v, beta)
    linear_attention(q, k, v, g)
    oja_rule(q, k, v, beta)  # has no kernel
    assert [call[3:5] for call in launches] == [(g, beta), (None, beta), (g, None)][:launched]
    assert (o is v) == bool(launched)


def test_few_tokens_are_those_of_the_longest_packed_sequence(launches: list[tuple]) -> None:
    (q, k, v, g, beta, _), _ = problem(batch=1, tokens=100)
    gated_delta_rule(q, k, v, g, beta, cu_seqlens=torch.tensor([0, 36, 100]))
    assert len(launches) == 1
    gated_delta_rule(q, k, v, g, beta, cu_seqlens=torch.tensor([0, 35, 100]))
    assert len(launches) == 1


@pytest.mark.parametrize("which", range(6))
def test_the_kernel_has_no_gradients_and_is_not_asked_for_any(launches: list[tuple], which: int) -> None:
    operands, _ = problem()
    operands[which].requires_grad_()
    *rows, state = operands
    gated_delta_rule(*rows, initial_state=state)[0].sum().backward()
    assert operands[which].grad is not None
    assert not launches
    with torch.no_grad():
        gated_delta_rule(*rows, initial_state=state)
    assert len(launches) == 1


@pytest.mark.parametrize(
    ("gpu", "installed", "launched"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_the_kernel_needs_a_gpu_and_triton(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, installed: bool, launched: bool
) -> None:
    monkeypatch.setattr(steps, "_has_triton", lambda: installed)
    assert steps._launches(SimpleNamespace(is_cuda=gpu)) == launched


OPERATORS = {
    "gated delta rule": lambda q, k, v, g, beta, **rest: gated_delta_rule(q, k, v, g, beta, **rest),
    "delta rule": lambda q, k, v, g, beta, **rest: delta_rule(q, k, v, beta, **rest),
    "oja rule": lambda q, k, v, g, beta, **rest: oja_rule(q, k, v, beta, g, **rest),
    "linear attention": lambda q, k, v, g, beta, **rest: linear_attention(q, k, v, g, **rest),
    "momentum delta rule": lambda q, k, v, g, beta, initial_state=None, **rest: momentum_delta_rule(
        q,
        k,
        v,
        g,
        g / 2,
        beta,
        initial_state=None if initial_state is None else (initial_state, -initial_state),
        **rest,
    ),
}
every_operator = pytest.mark.parametrize("op", OPERATORS.values(), ids=OPERATORS)


def tensors(result: tuple) -> list[Tensor]:
    o, state = result
    return [o, *(state if isinstance(state, tuple) else (state,))]


@every_operator
def test_steps_without_gradients_change_no_operand_and_give_what_those_with_gradients_give(op) -> None:
    operands, _ = problem(tokens=4, forget=True, dtype=torch.float64)
    *rows, state = (x.clone() for x in operands)
    plain = tensors(op(*rows, initial_state=state, output_final_state=True))
    assert all(torch.equal(x, y) for x, y in zip((*rows, state), operands, strict=True))
    *rows, state = (x.clone().requires_grad_() for x in operands)
    torch.testing.assert_close(plain, tensors(op(*rows, initial_state=state, output_final_state=True)))


@every_operator
def test_packed_steps_stop_at_the_end_of_their_sequence(op) -> None:
    (*rows, state), borders = problem(batch=1, tokens=7, borders=[0, 1, 4, 7], dtype=torch.float64)
    packed = tensors(op(*rows, initial_state=state, output_final_state=True, cu_seqlens=borders))
    single = [
        tensors(op(*(x[:, a:b] for x in rows), initial_state=state[n : n + 1], output_final_state=True))
        for n, (a, b) in enumerate([(0, 1), (1, 4), (4, 7)])
    ]
    o, *states = zip(*single, strict=True)
    torch.testing.assert_close(packed, [torch.cat(o, 1), *(torch.cat(s) for s in states)])


@every_operator
@pytest.mark.parametrize("tokens", [2, 20])
def test_autocast_leaves_states_in_full_precision(op, tokens: int) -> None:
    (*rows, state), _ = problem(tokens=tokens)
    plain = tensors(op(*rows, initial_state=state, output_final_state=True))
    with torch.autocast("cpu", torch.bfloat16):
        cast = tensors(op(*rows, initial_state=state, output_final_state=True))
    assert all(torch.equal(x, y) for x, y in zip(plain, cast, strict=True))


if __name__ == "__main__":
    print(json.dumps(run_in_interpreter()))
