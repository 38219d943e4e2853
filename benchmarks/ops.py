"""Linear memories on a CPU: against flash-linear-attention's own CPU forms, against T, against the matmul roofline.

    pip install -e ".[neural]" flash-linear-attention einops triton
    python benchmarks/ops.py

All times are of a forward and a backward pass in one process, alternating, as medians of paired ratios. Peers are the
functions of `fla.ops.*.naive`: the chunk forms, where there is one, and the recurrent ones.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.bench.results import Result, save, this_commit, this_machine
from mnemos.bench.timing import paired
from mnemos.core.clock import SystemClock
from mnemos.state.ops.chunks import size_of
from mnemos.state.ops.delta_rule import delta_rule, gated_delta_rule, oja_rule
from mnemos.state.ops.linear_attention import linear_attention
from mnemos.state.ops.momentum_delta_rule import momentum_delta_rule

Op = Callable[..., Any]

# name: our operator, letters of its gates (g log decay, c log decay by channel, b step)
OURS: dict[str, tuple[Op, str]] = {
    "linear attention": (linear_attention, ""),
    "linear attention, scalar decay": (linear_attention, "g"),
    "gated linear attention": (linear_attention, "c"),
    "delta rule": (delta_rule, "b"),
    "gated delta rule": (gated_delta_rule, "gb"),
    "oja rule": (oja_rule, "b"),
    "momentum delta rule": (momentum_delta_rule, "ggb"),
}
MATMULS = {  # products of 2 C^2 K, 2 C^2 V and 2 C K V per chunk of C tokens, forward; the backward pass has twice them
    "linear attention": (1, 1, 2),
    "linear attention, scalar decay": (1, 1, 2),
    "gated linear attention": (1, 1, 2),
    "delta rule": (3, 2, 3),
    "gated delta rule": (3, 2, 3),
    "oja rule": (3, 2, 3),
    "momentum delta rule": (4, 2, 6),
}


def main() -> None:
    """Measure, print a table and save `ops.json`."""
    options = _options()
    torch.set_num_threads(options.threads)
    began, clock = SystemClock().now(), time.perf_counter()
    commit = this_commit()
    rows = against_peers(options.repeats) + along_time(options.repeats) + roofline(options.repeats)
    measures = {f"{row['measure']}: {row['system']}": row["value"] for row in rows}
    config = {
        "threads": options.threads, "repeats": options.repeats, "dtype": "float32", "torch": torch.__version__,
        "flash-linear-attention": version("flash-linear-attention"),
        "peers": "B 4, T 1024, H 4, K = V = 64", "growth": "B 1, H 2, K = V = 64", "roofline": "B 2, T 1024",
    }  # fmt: skip
    result = Result(name="ops", measures=measures, rows=rows, config=config)
    seconds = round(time.perf_counter() - clock, 1)
    result = replace(result, seconds=seconds, machine=this_machine(), commit=commit, started_at=began)
    print(save(result, options.out))


def against_peers(repeats: int) -> list[dict[str, Any]]:
    """How many times faster than each peer; recurrent ones, which take seconds, run a quarter as often."""
    rows = []
    for name, peers in _peers().items():
        mine, x = _ours(name, 4, 1024, 4, 64)
        for kind, (peer, heads_first, order) in peers.items():
            other = [x[letter] for letter in order]
            if heads_first:
                other = [y.detach().transpose(1, 2).contiguous().requires_grad_() for y in other]
            few = max(1, repeats // 4) if kind == "recurrent" else repeats
            times = paired(partial(step, peer, other, heads_first), mine, repeats=few)
            rows.append(_row(f"times faster than fla, {kind}", name, times.ratio, times.ratio_low, times.ratio_high))
    return rows


def along_time(repeats: int) -> list[dict[str, Any]]:
    """Time, and bytes kept for the backward pass, at T = 16k over T = 1k."""
    rows = []
    for name in OURS:
        (short, x), (long, y) = (_ours(name, 1, tokens, 2, 64) for tokens in (1024, 16384))
        times = paired(long, short, repeats=max(3, repeats // 2))
        rows.append(_row("time, T 16k over 1k", name, times.ratio, times.ratio_low, times.ratio_high))
        op, _ = OURS[name]
        kept = [_kept(op, list(z.values())) for z in (x, y)]
        rows.append(_row("kept for backward, T 16k over 1k", name, kept[1] / kept[0]))
    return rows


def roofline(repeats: int) -> list[dict[str, Any]]:
    """Useful matrix products per second over those of a large torch.matmul, next to it in time."""
    a = torch.randn(1024, 1024)
    rows = []
    for name in OURS:
        for heads, width in ((4, 128), (1, 512)):
            mine, _ = _ours(name, 2, 1024, heads, width)
            times = paired(mine, lambda: a @ a, repeats=repeats, warmup=2)
            flops = 3 * 2 * 1024 * heads * _per_token(name, width)
            share = flops / times.ratio / (2 * 1024**3)
            rows.append(_row(f"share of matmul, {heads} heads of {width}", name, share))
    return rows


def step(op: Op, inputs: list[Tensor], heads_first: bool = False) -> None:
    """One forward and backward pass."""
    o = op(*inputs)
    o = o[0] if isinstance(o, tuple) else o
    torch.autograd.grad(o, inputs, torch.ones_like(o))


def _ours(name: str, batch: int, tokens: int, heads: int, width: int) -> tuple[Callable[[], None], dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(0)
    op, letters = OURS[name]

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, tokens, heads, *shape, generator=draw)

    x = {"q": normal(width), "k": F.normalize(normal(width), dim=-1), "v": normal(width)}
    for place, letter in enumerate(letters):
        gate = normal(width) if letter == "c" else normal()
        x[letter if letter not in x else f"{letter}{place}"] = (
            gate.sigmoid() if letter == "b" else F.logsigmoid(gate + 3)
        )
    x = {key: y.requires_grad_() for key, y in x.items()}
    return partial(step, op, list(x.values())), x


def _peers() -> dict[str, dict[str, tuple[Op, bool, str]]]:
    """Operator: {kind: (peer, whether heads come before tokens, order of its arguments)}."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a GPU
        from fla.ops.delta_rule.naive import delta_rule_chunkwise, delta_rule_recurrence
        from fla.ops.gated_delta_rule.naive import naive_chunk_gated_delta_rule, naive_recurrent_gated_delta_rule
        from fla.ops.gla.naive import naive_recurrent_gla
        from fla.ops.linear_attn.naive import naive_chunk_linear_attn, naive_recurrent_linear_attn
        from fla.ops.simple_gla.naive import naive_chunk_simple_gla, naive_recurrent_simple_gla
    return {
        "linear attention": {
            "chunk": (naive_chunk_linear_attn, False, "qkv"),
            "recurrent": (naive_recurrent_linear_attn, False, "qkv"),
        },
        "linear attention, scalar decay": {
            "chunk": (naive_chunk_simple_gla, False, "qkvg"),
            "recurrent": (naive_recurrent_simple_gla, False, "qkvg"),
        },
        "gated linear attention": {"recurrent": (naive_recurrent_gla, False, "qkvc")},
        "delta rule": {
            "chunk": (delta_rule_chunkwise, True, "qkvb"),
            "recurrent": (delta_rule_recurrence, True, "qkvb"),
        },
        "gated delta rule": {
            "chunk": (naive_chunk_gated_delta_rule, False, "qkvgb"),
            "recurrent": (naive_recurrent_gated_delta_rule, False, "qkvbg"),
        },
    }


def _per_token(name: str, width: int) -> float:
    chunk, (keys, values, states) = size_of(1024, width), MATMULS[name]
    return 2 * chunk * width * (keys + values) + 2 * states * width * width


def _kept(op: Op, inputs: list[Tensor]) -> int:
    """Bytes that autograd keeps, each storage once."""
    storages: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        o = op(*inputs)[0]
    assert o.requires_grad
    return sum(storages.values())


def _row(
    measure: str, system: str, value: float, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    spread = {} if low is None or high is None else {"low": round(low, 3), "high": round(high, 3)}
    print(f"{measure:44} {system:32} {value:8.2f}  {spread or ''}", flush=True)
    return {"measure": measure, "system": system, "value": round(value, 3), **spread}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
