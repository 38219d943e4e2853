"""Rotary positions: q . k of rotated vectors depends on their distance only.

Source: Su et al., RoFormer (arXiv:2104.09864), in the layout of GPT-NeoX and Llama: channel i turns with i + K/2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput


def rotary(x: Tensor, positions: Tensor, base: float = 10000.0) -> Tensor:
    """Turn each pair of channels by position times base^(-2i/K).

    Args:
        x: [B, T, H, K], K even.
        positions: [T] or [B, T], of any number type.
        base: the slowest pair turns once in about 2 pi base tokens.

    Raises:
        InvalidInput: K is odd, or positions do not match x.
    """
    if x.ndim != 4 or x.shape[-1] % 2:
        raise InvalidInput(f"x of shape {list(x.shape)} cannot be turned: give [B, T, H, K] with an even K")
    if positions.shape not in (x.shape[1:2], x.shape[:2]):
        raise InvalidInput(f"positions {list(positions.shape)} do not fit x {list(x.shape)}: give [T] or [B, T]")
    half = x.shape[-1] // 2
    # float64: in float32 the fast pairs are off by 0.004 rad at position 64k
    speed = base ** -torch.linspace(0, 1, half + 1, dtype=torch.float64, device=x.device)[:half]
    angle = positions.to(x.device, torch.float64)[..., None, None] * speed
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
