"""The kernel memories token by token, from their definition: the oracle."""

from __future__ import annotations

import torch
from torch import Tensor


def kernel_delta_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    g: Tensor | None = None,
    scale: float = 1.0,
    correct: bool = True,
    normalize: bool = False,
) -> Tensor:
    """y [B, T, H, V] itself, without a scale taken out; arguments as `kernel_delta`."""
    beta = beta if beta.ndim == 4 else beta[..., None]
    u, outputs = torch.zeros_like(v), []
    for t in range(q.shape[1]):
        window = range(max(0, t + 1 - beta.shape[3]), t + 1)
        writes = [torch.zeros_like(v[:, 0])] * v.shape[1]
        for i in window:
            kernel = (scale * torch.einsum("bhk,bshk->bsh", k[:, i], k)).exp()
            wrong = torch.einsum("bsh,bshv->bhv", kernel, u) if correct else 0
            writes[i] = beta[:, t, :, t - i, None] * (v[:, i] - wrong)
        keep = 1.0 if g is None else g[:, t].exp()[:, None, :, None]
        u = keep * u + torch.stack(writes, 1)
        kernel = (scale * torch.einsum("bhk,bshk->bsh", q[:, t], k[:, : t + 1])).exp()
        y = torch.einsum("bsh,bshv->bhv", kernel, u[:, : t + 1])
        outputs.append(y / kernel.sum(1)[..., None] if normalize else y)
    return torch.stack(outputs, 1)
