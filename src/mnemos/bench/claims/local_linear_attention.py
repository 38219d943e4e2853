"""Where a sequence switches between linear maps, local linear attention follows and uses what the segment has shown.

Keys of a segment lie around a random unit centre, values are a linear map of them that changes from segment to
segment. Each value is predicted from its key and all pairs before it: by local linear attention, by softmax attention,
and by one ridge regression on all pairs (the Mesa layer). Every method takes the bandwidth and the ridge that are best
on other sequences than those it is judged on.

Source: Local Linear Attention, arXiv:2510.01450, test-time regression on piecewise linear data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.bench.results import Finding, Result, Verdict
from mnemos.bench.runner import Progress
from mnemos.state.ops.lla import lla
from mnemos.state.ops.softmax_attention import softmax_attention

SYSTEM = "local_linear_attention"
_WANTED = {128: 1.3, 256: 2.0}
"""Softmax's error over ours, by length of a segment."""


@dataclass(frozen=True, slots=True)
class Size:
    """What is predicted, and the settings to choose from."""

    widths: tuple[int, ...] = (16, 32)
    segments: tuple[int, ...] = (64, 128, 256)
    length: int = 1024
    training: int = 4
    """Sequences on which settings are chosen."""
    test: int = 8
    scales: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Bandwidths, of unit keys."""
    ridges: tuple[float, ...] = (1e-3, 1e-2, 1e-1)
    """On the mean over pairs; the Mesa layer, whose ridge is on their sum, may take larger ones as well."""
    seed: int = 0


FULL = Size()
SMOKE = Size(widths=(4,), segments=(16,), length=48, training=1, test=2, scales=(4, 16), ridges=(1e-2,))


@torch.no_grad()
def run(progress: Progress, size: Size = FULL) -> Result:
    """Mean squared errors over whole sequences, and by segment."""
    rows: list[dict[str, Any]] = []
    profiles: list[dict[str, Any]] = []
    cases = list(product(size.widths, size.segments))
    for done, (width, segment) in enumerate(cases):
        progress(f"width {width}, segments of {segment}", done, len(cases))
        training = piecewise_linear(size.training, size.length, width, segment, seed=size.seed + 1000)
        k, v = piecewise_linear(size.test, size.length, width, segment, seed=size.seed)
        for name, settings in _methods(size).items():
            chosen = min(settings, key=lambda one: _errors(name, one, *training).mean().item())
            errors = _errors(name, chosen, k, v)
            case = {"system": name, "width": width, "segment": segment}
            found = {
                "error": errors.mean().item(),
                "standard error": errors.mean(1).std().item() / len(errors) ** 0.5,
                "error after the first segment": errors[:, segment:].mean().item(),
            }
            rows.append({**case, **found, **chosen})
            profiles.append({**case, "second halves": _second_halves(errors, segment)})
    return _result(size, rows, profiles)


def piecewise_linear(sequences: int, length: int, width: int, segment: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Unit keys and their values, both float32 [N, length, width]; each segment has its own centre and linear map."""
    draw = torch.Generator().manual_seed(seed)
    count = -(-length // segment)
    centre = F.normalize(torch.randn(sequences, count, 1, width, generator=draw), dim=-1)
    maps = torch.randn(sequences, count, width, width, generator=draw) / width**0.5
    noise = torch.randn(sequences, count, segment, width, generator=draw) / width**0.5
    keys = F.normalize(centre + noise, dim=-1)
    return tuple(x.flatten(1, 2)[:, :length] for x in (keys, keys @ maps))  # type: ignore[return-value]


def _methods(size: Size) -> dict[str, list[dict[str, float]]]:
    """The settings that each may take."""
    return {
        "LLA": [{"scale": scale, "ridge": ridge} for scale in size.scales for ridge in size.ridges],
        "softmax": [{"scale": scale} for scale in size.scales],
        "Mesa": [{"ridge": ridge} for ridge in (*size.ridges, 1.0, 10.0, 100.0)],
    }


def _errors(name: str, settings: Mapping[str, float], k: Tensor, v: Tensor) -> Tensor:
    """[N, length]: mean squared error of each value given the pairs before it; the first is predicted as 0."""
    q, pairs = k[:, 1:, None], (k[:, :-1, None], v[:, :-1, None])
    if name == "LLA":
        guess = lla(q, *pairs, scale=settings["scale"], lam=settings["ridge"])[:, :, 0]
    elif name == "softmax":
        guess = softmax_attention(q, *pairs, scale=settings["scale"])[:, :, 0]
    else:
        guess = _ridge_regression(k, v, settings["ridge"])
    return (F.pad(guess, (0, 0, 1, 0)) - v).square().mean(-1)


def _ridge_regression(k: Tensor, v: Tensor, ridge: float) -> Tensor:
    """v_{t+1} from the map with the least squared error on all pairs up to t."""
    k, v = k.double(), v.double()
    square, cross = (torch.einsum("ntk,ntv->ntkv", k, x)[:, :-1].cumsum(1) for x in (k, v))
    maps = torch.linalg.solve(square + ridge * torch.eye(k.shape[-1], dtype=k.dtype), cross)
    return torch.einsum("ntk,ntkv->ntv", k[:, 1:], maps).float()


def _second_halves(errors: Tensor, segment: int) -> list[float]:
    """Mean error of the second half of each whole segment."""
    whole = errors[:, : errors.shape[1] // segment * segment]
    return whole.reshape(len(errors), -1, segment)[..., segment // 2 :].mean((0, 2)).tolist()


def _result(size: Size, rows: list[dict[str, Any]], profiles: list[dict[str, Any]]) -> Result:
    found, late = (
        {(row["width"], row["segment"], row["system"]): row[measure] for row in rows}
        for measure in ("error", "error after the first segment")
    )
    halves = {(row["width"], row["segment"], row["system"]): row["second halves"] for row in profiles}
    cases = list(product(size.widths, size.segments))
    ratios, late_ratios = (
        {case: errors[*case, "softmax"] / errors[*case, "LLA"] for case in cases} for errors in (found, late)
    )
    order = ("LLA", "softmax", "Mesa")
    held = {
        "LLA below softmax below Mesa": all(
            found[*case, "LLA"] < found[*case, "softmax"] < found[*case, "Mesa"] for case in cases
        ),
        "so late in every segment after the first": all(
            ours < soft < mesa
            for case in cases
            for ours, soft, mesa in zip(*(halves[*case, name][1:] for name in order), strict=True)
        ),
        "ratio to softmax": all(ratio >= _WANTED.get(segment, 1.0) for (_, segment), ratio in ratios.items()),
    }
    verdict: Verdict = "holds" if all(held.values()) else "partly" if min(ratios.values()) > 1 else "fails"
    listed = ", ".join(
        f"{segment}: {ratio:.2f} ({late_ratios[width, segment]:.2f} after the first)"
        for (width, segment), ratio in ratios.items()
        if width == size.widths[0]
    )
    return Result(
        name=SYSTEM,
        measures={
            **{f"softmax / LLA, width {width}, segments of {segment}": r for (width, segment), r in ratios.items()},
            **{
                f"softmax / LLA after the first segment, width {width}, segments of {segment}": r
                for (width, segment), r in late_ratios.items()
            },
            **{f"holds: {name}": float(value) for name, value in held.items()},
        },
        rows=[*({"part": "error", **row} for row in rows), *({"part": "profile", **row} for row in profiles)],
        config=asdict(size),
        size={"sequences": size.test, "tokens": size.length, "cases": len(cases)},
        seeds=[size.seed],
        claim=Finding(
            statement="on piecewise linear sequences the error of LLA is below softmax attention's, which is below "
            "that of ridge regression on all pairs, over the whole and in the second half of every segment after the "
            "first; softmax has at least 1.3 times the error with segments of 128, twice with 256. "
            f"Held: {', '.join(name for name, value in held.items() if value) or 'nothing'}",
            paper="LLA improves with data within a segment, MesaNet is best in the first only, softmax does not profit",
            ours=f"softmax / LLA at width {size.widths[0]} by segment: {listed}",
            baseline=", ".join(f"{name} {found[size.widths[0], size.segments[-1], name]:.4f}" for name in order),
            verdict=verdict,
        ),
    )
