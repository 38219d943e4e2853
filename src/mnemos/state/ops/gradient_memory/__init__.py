"""A memory trained at test time: the weights of a small network, written by gradient steps, read by calling it."""

from __future__ import annotations

from mnemos.state.ops.gradient_memory.chunk import gradient_memory
from mnemos.state.ops.gradient_memory.mlp import TwoMatrices
from mnemos.state.ops.gradient_memory.trace import Forward, Gradient, Linear, Link, Trace

__all__ = ["Forward", "Gradient", "Linear", "Link", "Trace", "TwoMatrices", "gradient_memory"]
