"""Mixers on a CPU: the training step of Titans beside titans-pytorch, and the cost of a token far into a sequence.

    pip install -e ".[neural]" titans-pytorch
    python benchmarks/mixers.py

Training: forward and backward of one memory layer, B 4, T 1024, D 256, 4 heads, depth 2, chunk 64. One process per
system and round, in turn, with as many threads each; memory is the largest resident size above that before the first
step. titans-pytorch runs twice: as it comes, where every gradient of the sequence is taken at the first weights, and
with batch_size=64, where the weights move on after each chunk, as ours do. "Compiled" is by `torch.compile` (its
memory with the compiler's own).

Every mixer: training tokens per second of one layer, B 8, T 128, D 64, two heads, median of five steps.

Decoding: milliseconds per token after 1,024 and after 65,536 tokens, medians of 64, and the bytes of the state.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mnemos.bench.results import Result, save, this_commit, this_machine
from mnemos.core.clock import SystemClock
from mnemos.state.mixers.registry import make_mixer, mixer_names

BATCH, TOKENS, WIDTH, HEADS, CHUNK = 4, 1024, 256, 4, 64
SYSTEMS = ("mnemos", "titans-pytorch", "titans-pytorch, batch_size 64", "mnemos, compiled", "titans-pytorch, compiled")
DECODED = ("linear", "retnet", "gla", "mamba2", "deltanet", "gated-deltanet", "swa", "titans-lmm", "titans-mac", "yaad")
NEAR, FAR, STEPS = 1024, 65_536, 64


def main() -> None:
    """Measure, print and save `mixers.json`."""
    options = _options()
    if options.only:
        print(json.dumps(_step(options.only, options.threads, options.repeats)))
        return
    began, start, commit = SystemClock().now(), time.perf_counter(), this_commit()
    rows = _training(options) + [_decoding(name) for name in DECODED] + [_speed(name) for name in mixer_names()]
    ours, compiled = rows[0], rows[3:5]
    measures = {f"step, times faster than {row['system']}": row["step ms"] / ours["step ms"] for row in rows[1:3]}
    measures |= {f"memory, share of {row['system']}": ours["peak MB"] / row["peak MB"] for row in rows[1:3]}
    measures["compiled step, share of the eager one"] = compiled[0]["step ms"] / ours["step ms"]
    measures["compiled step, times faster than titans-pytorch's"] = compiled[1]["step ms"] / compiled[0]["step ms"]
    measures |= {
        f"far over near, {row['system']}": row["far over near"]
        for row in rows[len(SYSTEMS) : len(SYSTEMS) + len(DECODED)]
    }
    config = {
        "threads": options.threads, "rounds": options.rounds, "repeats": options.repeats, "torch": torch.__version__,
        "titans-pytorch": version("titans-pytorch"), "step": "B 4, T 1024, D 256, H 4, depth 2, chunk 64",
        "decoding": "B 1, D 64, H 2", "layer": "B 8, T 128, D 64, H 2",
    }  # fmt: skip
    result = Result(name="mixers", measures=measures, rows=rows, config=config)
    seconds = round(time.perf_counter() - start, 1)
    result = replace(result, seconds=seconds, machine=this_machine(), commit=commit, started_at=began)
    print(json.dumps(measures, indent=2), save(result, options.out))


def _training(options: argparse.Namespace) -> list[dict[str, Any]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SYSTEMS}
    for _ in range(options.rounds):
        for name in SYSTEMS:
            command = [sys.executable, __file__, "--only", name, "--threads", str(options.threads)]
            command += ["--repeats", str(options.repeats)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    return [
        {"system": name, **{key: round(statistics.median(one[key] for one in runs), 1) for key in runs[0]}}
        for name, runs in found.items()
    ]


def _step(name: str, threads: int, repeats: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layer = _layer(name)
    if name.endswith("compiled"):
        layer = torch.compile(layer)
    x = torch.randn(BATCH, TOKENS, WIDTH)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for repeat in range(repeats + 2):
        start = time.perf_counter()
        layer(x.clone().requires_grad_())[0].square().mean().backward()
        if repeat > 1:
            times.append(time.perf_counter() - start)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    best = statistics.median(times)
    return {"step ms": 1e3 * best, "tokens/s": BATCH * TOKENS / best, "peak MB": peak}


def _layer(name: str) -> Callable[..., Any]:
    if name.startswith("mnemos"):
        return make_mixer("titans-lmm", WIDTH, HEADS, memory_depth=2, chunk=CHUNK)
    from titans_pytorch import NeuralMemory

    each = CHUNK if "batch_size" in name else None
    model = {"depth": 2, "expansion_factor": 4.0}
    size = {"dim": WIDTH, "heads": HEADS, "dim_head": WIDTH // HEADS, "chunk_size": CHUNK}
    layer: Callable[..., Any] = NeuralMemory(**size, batch_size=each, default_model_kwargs=model)
    return layer


@torch.no_grad()
def _decoding(name: str) -> dict[str, Any]:
    torch.manual_seed(0)
    mixer = make_mixer(name, 64, 2)
    state, costs, sizes = None, [], []
    done = 0
    for until in (NEAR, FAR):
        while done < until:
            _, state = mixer(torch.randn(1, NEAR, 64), state)
            done += NEAR
        times, ahead = [], state
        for _ in range(STEPS):
            token = torch.randn(1, 1, 64)
            start = time.perf_counter()
            _, ahead = mixer(token, ahead)
            times.append(time.perf_counter() - start)
        costs.append(1e3 * statistics.median(times))
        assert state is not None
        sizes.append(state.nbytes())
    return {
        "system": name,
        "ms/token at 1k": round(costs[0], 3),
        "ms/token at 64k": round(costs[1], 3),
        "far over near": round(costs[1] / costs[0], 2),
        "state bytes at 1k": sizes[0],
        "state bytes at 64k": sizes[1],
    }


def _speed(name: str) -> dict[str, Any]:
    torch.manual_seed(0)
    mixer, x = make_mixer(name, 64, 2), torch.randn(8, 128, 64)
    times = []
    for repeat in range(6):
        start = time.perf_counter()
        mixer(x.clone().requires_grad_())[0].square().mean().backward()
        if repeat:
            times.append(time.perf_counter() - start)
    return {"system": name, "layer tokens/s": round(x.shape[0] * x.shape[1] / statistics.median(times))}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", choices=SYSTEMS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
