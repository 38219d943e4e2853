"""Local linear attention with whole matrices: the oracles. Weights w [..., T, S] >= 0 of any scale, 0 where masked.

Autograd goes through both forms. Memory O(T S K).
"""

from __future__ import annotations

import torch
from torch import Tensor


def lla_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    lam: float | Tensor = 0.1,
    probe: Tensor | None = None,
    window: int | None = None,
) -> Tensor:
    """As `lla`, without cu_seqlens; probe None solves."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    w = (scale * q @ k.mT).masked_fill(~visible(q.shape[-2], k.shape[-2], window), -torch.inf).softmax(-1)
    ridge = torch.as_tensor(lam, dtype=q.dtype).reshape(-1, 1, 1, 1)
    r = centred_probe(w, q, k, ridge) if probe is None else probe.transpose(1, 2)
    return (centred_weights(w, k, r) @ v).transpose(1, 2)


def visible(queries: int, keys: int, window: int | None = None) -> Tensor:
    """[T, S]: which keys a query sees; the last query stands at the last key."""
    ones = torch.ones(queries, keys, dtype=torch.bool)
    seen = ones.tril(keys - queries)
    return seen if window is None else seen & ones.triu(keys - queries - window + 1)


def paper_weights(w: Tensor, q: Tensor, k: Tensor, lam: float | Tensor) -> Tensor:
    """s [..., T, S] as the paper writes it (its equations of section 3), with the ridge lam sum_j w_j.

    z_j = k_j - q, mu = sum w z, rho = (sum w z z^T + ridge)^-1 mu, s_j = w_j (1 - z_j . rho) / (sum w - mu . rho).
    """
    z = k[..., None, :, :] - q[..., :, None, :]
    total = w.sum(-1, keepdim=True)
    mu = (w[..., None, :] @ z).squeeze(-2)
    sigma = (w[..., None] * z).mT @ z + lam * total[..., None] * torch.eye(q.shape[-1], dtype=q.dtype)
    rho = torch.linalg.solve(sigma, mu)
    s: Tensor = w * (1 - (z @ rho[..., None]).squeeze(-1)) / (total - (mu * rho).sum(-1, keepdim=True))
    return s


def centred_probe(w: Tensor, q: Tensor, k: Tensor, lam: float | Tensor) -> Tensor:
    """r [..., T, K] of the module's equations."""
    p = w / w.sum(-1, keepdim=True)
    mean = p @ k
    centred = k[..., None, :, :] - mean[..., :, None, :]
    covariance = (p[..., None] * centred).mT @ centred + lam * torch.eye(q.shape[-1], dtype=q.dtype)
    r: Tensor = torch.linalg.solve(covariance, mean - q)
    return r


def centred_weights(w: Tensor, k: Tensor, r: Tensor) -> Tensor:
    """s [..., T, S]: p_j (1 - (k_j - k') . r)."""
    p = w / w.sum(-1, keepdim=True)
    slope = r @ k.mT
    return p * (1 - slope + (p * slope).sum(-1, keepdim=True))
