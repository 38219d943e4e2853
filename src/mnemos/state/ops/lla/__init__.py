"""Local linear attention: around each query a small ridge regression on the pairs, weighted as softmax would.

With p the softmax weights, k' = sum p k, v' = sum p v, and the weighted covariances of keys and values:

    min over b, W of 1/2 sum_j p_j |v_j - b - W (k_j - q)|^2 + lam/2 |W|^2,   output b
    C = Cov_p(k, k) + lam I,   C r = k' - q,   o = sum_j p_j (1 - (k_j - k') . r) v_j = v' + Cov_p(v, k) C^-1 (q - k')

Softmax attention plus a local slope: lam to infinity is softmax, lam to 0 reproduces any affine map, scale 0 is
ridge regression with intercept on all pairs. r given from outside instead is Parallax.
Structure: all pairs. Objective: kernel-weighted squared error, intercept and slope. Retention: none, or a window.
Rule: closed form per query.

Axes: B batch, T queries, S keys, H heads, K and V widths of keys and values.
Source: Local Linear Attention, arXiv:2510.01450, section 3, in centred form (same estimator, no division by a
difference that can vanish); Parallax: Yifei-Zuo/Parallax.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.lla.chunk import local_linear
from mnemos.state.ops.pack import check_cu_seqlens, pack, unpack
from mnemos.state.ops.softmax_attention import check_attention
from mnemos.state.ops.whole import whole

__all__ = ["lla"]


@whole
def lla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    lam: float | Tensor = 0.1,
    probe: Tensor | Literal["solve"] = "solve",
    window: int | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Attend with a local linear fit, causally.

    The last query stands at the last key, so S - T keys lie before the first query: a cache.
    Time O(T S K (2 + iterations)) as attention, memory O((T + S) K) forward and backward. Keys up to K = 48 wide are
    solved directly, wider ones by conjugate gradients to the precision of the type (some 25 iterations at lam 0.1).

    Args:
        q: [B, T, H, K].
        k: [B, S, H, K].
        v: [B, S, H, V].
        scale: factor of q . k in the weights; K^-0.5 if None.
        lam: ridge on the slope, against keys' variance: a number, or [H]. Rows of fewer than K + 1 keys are
            determined by it alone: they carry |q| |k| / lam roundings (1e-4 in float32 at lam 0.1, K = 64).
        probe: r [B, T, H, K], or "solve" for the exact one.
        window: a query sees this many of the last keys, its own among them; None sees all.
        cu_seqlens: int64 [N+1], borders of N sequences packed into one row; needs S = T.

    Returns:
        o [B, T, H, V]. The weights sum to 1 and may be negative.

    Raises:
        InvalidInput: shapes or types that do not fit, lam not above 0, a window below 1.
    """
    check_attention(q, k, v, window=window)
    heads, scale = q.shape[2], q.shape[-1] ** -0.5 if scale is None else float(scale)
    given = None if isinstance(probe, str) else probe
    if given is None and probe != "solve":
        raise InvalidInput(f'probe {probe!r}: "solve", or a tensor like q')
    if given is not None and given.shape != q.shape:
        raise InvalidInput(f"probe {list(given.shape)} does not fit q {list(q.shape)}: one per query")
    ridge = _ridge(lam, heads, q)
    if cu_seqlens is None:
        return _rows(q, k, v, given, ridge, scale, window)
    borders = check_cu_seqlens(cu_seqlens, q.shape[1], q.shape[0])
    if k.shape[1] != q.shape[1]:
        raise InvalidInput(f"{q.shape[1]} packed queries and {k.shape[1]} keys: no cache with cu_seqlens")
    q, k, v = (unpack(x, borders) for x in (q, k, v))  # zeros at each end, where causality hides them
    given = None if given is None else unpack(given, borders)
    return pack(_rows(q, k, v, given, ridge, scale, window), borders)


def _ridge(lam: float | Tensor, heads: int, like: Tensor) -> Tensor:
    ridge = torch.as_tensor(lam, dtype=_exact(like), device=like.device)
    if ridge.ndim > 1 or ridge.numel() not in (1, heads):
        raise InvalidInput(f"lam of shape {list(ridge.shape)} does not fit {heads} heads: give a number or [{heads}]")
    if not bool((ridge > 0).all()):
        raise InvalidInput(f"lam {ridge.tolist()} must be above 0: without it the first rows have no slope")
    return ridge.expand(heads)


def _rows(
    q: Tensor, k: Tensor, v: Tensor, probe: Tensor | None, ridge: Tensor, scale: float, window: int | None
) -> Tensor:
    batch, _, heads, _ = q.shape

    def fold(x: Tensor) -> Tensor:
        return x.to(_exact(x)).transpose(1, 2).flatten(0, 1)

    with torch.autocast(q.device.type, enabled=False):  # half precision leaves nothing of a small ridge
        o = local_linear(
            fold(q), fold(k), fold(v), None if probe is None else fold(probe), ridge.repeat(batch), scale, window
        )
    return o.to(q.dtype).reshape(batch, heads, *o.shape[1:]).transpose(1, 2)


def _exact(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
