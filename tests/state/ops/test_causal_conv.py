from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mnemos.state.ops.causal_conv import causal_conv


@pytest.mark.parametrize("tokens", [1, 128, 131])
@pytest.mark.parametrize("width", [1, 4])
def test_it_is_a_depthwise_convolution_with_silu_in_values_and_gradients(tokens: int, width: int) -> None:
    draw = torch.Generator().manual_seed(0)
    padded = torch.randn(2, tokens + width - 1, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, width, generator=draw, dtype=torch.float64, requires_grad=True)
    ours, oracle = causal_conv(padded, weight), F.silu(F.conv1d(padded.mT, weight[:, None], groups=5).mT)
    torch.testing.assert_close(ours, oracle, atol=1e-12, rtol=1e-12)
    grad = torch.randn(ours.shape, generator=draw, dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad(ours, (padded, weight), grad),
        torch.autograd.grad(oracle, (padded, weight), grad),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)
