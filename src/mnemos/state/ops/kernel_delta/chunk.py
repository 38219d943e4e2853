"""Kernel memories by chunks, heads first.

Axes: B batch, H heads, C tokens of a chunk, P tokens before it, c window, K and V widths.
Each step t of a chunk writes c times, (t, n) to token t - n. With A_{ts} the decay from step s to t and kappa the
kernel, the corrections of a chunk solve one unit lower triangular system of C c rows:

    e_{tn} = v_{t-n} - A_{t-1,0} kappa(k_{t-n}, past) u
           - sum_{s<t, m<c} A_{t-1,s} kappa(k_{t-n}, k_{s-m}) beta_{sm} e_{sm}
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.state.ops.decay import decay_matrix

_ROWS = 128
"""Writes of a chunk: its system has so many rows."""


class KernelState(NamedTuple):
    """What kernel memories keep; grows with the tokens as the cache of attention does."""

    k: Tensor
    """[B, S, H, K], all keys."""
    u: Tensor
    """[B, S, H, V]: what each key holds, S = sum_i phi(k_i) u_i^T."""
    v: Tensor
    """[B, min(S, c - 1), H, V]: values of the tokens that the window will reach again."""


def kernel_chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    state: KernelState,
    scale: float,
    correct: bool,
    normalize: bool,
) -> tuple[Tensor, Tensor, KernelState]:
    """o [B, H, T, V], log_scale [B, H, T] and the state; inputs and state [B, H, T, ...], beta [B, H, T, c]."""
    outputs = []
    size = max(1, _ROWS // beta.shape[3])
    for start in range(0, q.shape[2], size):
        part = slice(start, start + size)
        decay = torch.zeros_like(beta[:, :, part, 0]) if g is None else g[:, :, part]
        o, log_scale, state = _chunk(
            q[:, :, part], k[:, :, part], v[:, :, part], beta[:, :, part], decay, state, scale, correct, normalize
        )
        outputs.append((o, log_scale))
    return torch.cat([o for o, _ in outputs], 2), torch.cat([m for _, m in outputs], 2), state


def _chunk(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor,
    state: KernelState,
    scale: float,
    correct: bool,
    normalize: bool,
) -> tuple[Tensor, Tensor, KernelState]:
    (tokens, window), past = beta.shape[2:], state.k.shape[2]
    across, keep = decay_matrix(g), g.cumsum(-1).exp()
    recent_k, recent_v = _recent(state.k, k, window), _recent(state.v, v, window)
    keys, writes = (_windows(x, window) for x in (recent_k, recent_v))  # [B, H, C c, K or V]
    real = torch.arange(past, past + tokens, device=q.device)[:, None] >= torch.arange(window, device=q.device)
    step = (beta * real).flatten(2)[..., None]
    writes = _corrected(keys, writes, state, across, keep, scale, step) if correct else step * writes

    logits = scale * q @ torch.cat([state.k, k], 2).mT
    logits = logits.masked_fill(~_lower(tokens, past + tokens, past, q), -torch.inf)
    top = logits.detach().amax(-1, keepdim=True)
    hidden = ~(_lower(tokens, tokens, 0, q).repeat_interleave(window, 1) & real.flatten())
    kernel = ((scale * q @ keys.mT).masked_fill(hidden, -torch.inf) - top).exp()
    o = keep[..., None] * ((logits[..., :past] - top).exp() @ state.u)
    o = o + (kernel * across.repeat_interleave(window, -1)) @ writes

    last = across[..., -1, :, None, None] * writes.unflatten(2, (tokens, window))
    after = KernelState(
        torch.cat([state.k, k], 2),
        _collect(keep[..., -1, None, None] * state.u, last),
        recent_v[:, :, recent_v.shape[2] - min(past + tokens, window - 1) :],
    )
    if normalize:
        return o / (logits - top).exp().sum(-1, keepdim=True), torch.zeros_like(top[..., 0]), after
    return o, top[..., 0], after


def _corrected(
    keys: Tensor, values: Tensor, state: KernelState, across: Tensor, keep: Tensor, scale: float, step: Tensor
) -> Tensor:
    """beta e of all writes, [B, H, C c, V]."""
    tokens, window = across.shape[-1], keys.shape[2] // across.shape[-1]
    # a step corrects what the one before it left: its decays are those of t - 1
    before = F.pad(keep, (1, 0), value=1.0)[..., :-1].repeat_interleave(window, -1)[..., None]
    earlier = F.pad(across, (0, 0, 1, 0))[..., :-1, :].repeat_interleave(window, -2).repeat_interleave(window, -1)
    hidden = ~_lower(tokens, tokens, -1, keys).repeat_interleave(window, 0).repeat_interleave(window, 1)
    system = step * earlier * (scale * keys @ keys.mT).masked_fill(hidden, -torch.inf).exp()
    wrong = before * ((scale * keys @ state.k.mT).exp() @ state.u)
    solved: Tensor = torch.linalg.solve_triangular(system, step * (values - wrong), upper=False, unitriangular=True)
    return solved


def _collect(held: Tensor, last: Tensor) -> Tensor:
    """u of all tokens: what the past ones held [B, H, P, V], and step s's write [B, H, C, c, V] to token s - n."""
    past, window = held.shape[2], last.shape[3]
    shifted = [F.pad(last[:, :, :, n], (0, 0, window - 1 - n, n)) for n in range(window)]
    reached = min(past, window - 1)
    recent = torch.stack(shifted).sum(0)[:, :, window - 1 - reached :]
    return F.pad(held, (0, 0, 0, last.shape[2])) + F.pad(recent, (0, 0, past - reached, 0))


def _recent(past: Tensor, new: Tensor, window: int) -> Tensor:
    """The chunk after the c - 1 tokens before it, zeros where there were none: [B, H, c - 1 + C, ...]."""
    tail = past[:, :, max(0, past.shape[2] - window + 1) :]
    return F.pad(torch.cat([tail, new], 2), (0, 0, window - 1 - tail.shape[2], 0))


def _windows(recent: Tensor, window: int) -> Tensor:
    """[B, H, C c, ...]: for each step its own token, then those of one, two, ... tokens back."""
    return recent.unfold(2, window, 1).flip(-1).mT.flatten(2, 3)


def _lower(rows: int, columns: int, diagonal: int, like: Tensor) -> Tensor:
    return torch.ones(rows, columns, dtype=torch.bool, device=like.device).tril(diagonal)
