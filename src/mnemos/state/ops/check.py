"""Refuses what no sequence operator can take, in one place and in one voice.

Axes: B batch, T tokens, H heads, K and V widths of keys and values, N packed sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.pack import check_cu_seqlens

_HALF = (torch.float16, torch.bfloat16)


def check_operands(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    decays: Mapping[str, Tensor] | None = None,
    per_channel: bool = False,
    gates: Mapping[str, Tensor] | None = None,
    states: Sequence[Tensor | None] = (),
    cu_seqlens: Tensor | None = None,
) -> Tensor | None:
    """`cu_seqlens` as int64, if all operands of a linear memory fit together.

    Args:
        q: [B, T, H, K].
        k: [B, T, H, K].
        v: [B, T, H, V].
        decays: log decays by name, [B, T, H], none above 0.
        per_channel: whether decays may also be [B, T, H, K].
        gates: other gates by name, [B, T, H].
        states: each None or [B, H, K, V]; with cu_seqlens [N, H, K, V].
        cu_seqlens: [N+1], or None.

    Raises:
        InvalidInput: says which value, and what it should be. Values are looked at on the CPU alone, since a look
            at the GPU would make it wait.
    """
    _check_shapes(q, k, v)
    _check_types(q, k, v)
    for name, gate in {**(decays or {}), **(gates or {})}.items():
        if gate.shape != k.shape[:3] and not (per_channel and name in (decays or {}) and gate.shape == k.shape):
            raise InvalidInput(f"{name} has shape {list(gate.shape)}: give {list(k.shape[:3])}, one per token and head")
        if not gate.is_floating_point() or gate.device != q.device:
            raise InvalidInput(f"{name} is {gate.dtype} on {gate.device}: give floating point on {q.device}, as q")
        check_values(name, gate, decay=name in (decays or {}))
    borders = None if cu_seqlens is None else check_cu_seqlens(cu_seqlens, q.shape[1], q.shape[0]).to(q.device)
    rows = q.shape[0] if borders is None else len(borders) - 1
    want = [rows, q.shape[2], q.shape[3], v.shape[3]]
    for state in states:
        if state is not None and (list(state.shape) != want or not state.is_floating_point()):
            raise InvalidInput(f"initial_state is {state.dtype} {list(state.shape)}: give floating point {want}")
        if state is not None and state.device != q.device:
            raise InvalidInput(f"initial_state is on {state.device}: move it to {q.device}, where q is")
    return borders


def check_values(name: str, gate: Tensor, *, decay: bool) -> None:
    """Refuse NaN, and a decay that grows; -inf, which forgets all, is a decay. Looks on the CPU alone."""
    if gate.device.type != "cpu" or not gate.numel():
        return
    low, high = (float(end) for end in gate.detach().aminmax())
    if decay and not high <= 0:
        raise InvalidInput(f"{name} rises to {high}: it is the LOG of a decay, so at most 0, and never NaN")
    if not decay and not (abs(low) < torch.inf and abs(high) < torch.inf):
        raise InvalidInput(f"{name} lies between {low} and {high}: give finite numbers")


def accurate(q: Tensor) -> torch.dtype:
    """The dtype that states are kept in: float64 for float64, else float32."""
    return torch.float64 if q.dtype == torch.float64 else torch.float32


def _check_shapes(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.ndim != 4 or k.ndim != 4 or v.ndim != 4:
        raise InvalidInput(f"q, k, v have {q.ndim}, {k.ndim}, {v.ndim} axes: give [B, T, H, K] twice and [B, T, H, V]")
    if k.shape != q.shape or v.shape[:3] != q.shape[:3]:
        raise InvalidInput(f"k {list(k.shape)} and v {list(v.shape)} do not fit q {list(q.shape)}: same B, T, H and K")
    if 0 in q.shape or 0 in v.shape:
        raise InvalidInput(f"q {list(q.shape)} or v {list(v.shape)} is empty: give at least one token")


def _check_types(q: Tensor, k: Tensor, v: Tensor) -> None:
    if not q.is_floating_point() or q.dtype != k.dtype or q.dtype != v.dtype:
        raise InvalidInput(f"q, k, v are {q.dtype}, {k.dtype}, {v.dtype}: give one floating-point type")
    if q.device != k.device or q.device != v.device:
        raise InvalidInput(f"q, k, v are on {q.device}, {k.device}, {v.device}: move them to one device")
    if q.device.type == "cpu" and q.dtype in _HALF:
        raise InvalidInput(f"q is {q.dtype} on the CPU, where half precision is slow and inexact: use float32")
