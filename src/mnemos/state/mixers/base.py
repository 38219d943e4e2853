"""What every mixer keeps: x [B, T, D] in, y [B, T, D] and the state out; whole, in pieces or token by token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.pack import check_cu_seqlens
from mnemos.state.value import State

Parts = Mapping[str, Any]
"""Tensors, batch first, or states, by name."""


class Mixer(nn.Module, ABC):
    """A block that mixes tokens along time through a memory.

    A subclass stores its settings, calls `super().__init__(dim, **settings)` and gives `start` and `mix`.
    Its first law: feeding a sequence whole, in pieces or token by token gives the same output.

    Raises:
        InvalidInput: `dim` is not a positive multiple of `heads`.
    """

    def __init__(self, dim: int, **settings: object) -> None:
        super().__init__()
        heads = settings.get("heads", 1)
        if not isinstance(heads, int) or heads < 1 or dim < 1 or dim % heads:
            raise InvalidInput(f"dim {dim} is no positive multiple of heads {heads}: change one of them")
        self.dim = dim
        self.signature = (
            f"{type(self).__name__}({', '.join([f'dim={dim}', *(f'{k}={v}' for k, v in settings.items())])})"
        )
        """Tells mixers apart that cannot read each other's state."""

    @abstractmethod
    def start(self, batch: int, like: Tensor) -> Parts:
        """The parts of an empty state for `batch` sequences, on the device and in the dtype of `like`."""

    @abstractmethod
    def mix(self, x: Tensor, parts: Parts, tokens: int) -> tuple[Tensor, Parts]:
        """y [B, T, D] and the parts after x [B, T, D], of which `tokens` tokens went before."""

    def init_state(self, batch: int, like: Tensor | None = None) -> State:
        """An empty state for `batch` sequences; device and dtype of `like`, or of the parameters."""
        like = next(self.parameters()) if like is None else like
        return State(self.signature, 0, self.start(batch, like))

    def forward(
        self, x: Tensor, state: State | None = None, *, cu_seqlens: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Mix x.

        Args:
            x: [B, T, D]; [1, T, D] with cu_seqlens.
            state: what an earlier call returned; None starts afresh.
            cu_seqlens: int64 [N+1], borders of N sequences packed into one row.

        Returns:
            (y [B, T, D], state). With cu_seqlens the state holds one state per sequence ("0", "1", ...) and only
            a call with as many sequences takes it up again.

        Raises:
            InvalidInput: wrong shape or dtype, no tokens, or a state of another mixer or batch.
        """
        self._check(x)
        if cu_seqlens is not None:
            return self._packed(x, state, check_cu_seqlens(cu_seqlens, x.shape[1], x.shape[0]))
        if state is None:
            state = self.init_state(x.shape[0], x)
        state.check(self.signature, x.shape[0])
        y, parts = self.mix(x, state.parts, state.tokens)
        return y, State(self.signature, state.tokens + x.shape[1], parts)

    def _packed(self, x: Tensor, state: State | None, borders: Tensor) -> tuple[Tensor, State]:
        # sequences of different lengths stand at different positions: one state each, side by side
        owner, pieces = f"packed {self.signature}", torch.split(x, borders.diff().tolist(), dim=1)
        if state is not None:
            state.check(owner, 1)
            if len(state) != len(pieces):
                raise InvalidInput(
                    f"the state holds {len(state)} sequences and cu_seqlens cuts {len(pieces)}: same number"
                )
        before = [None] * len(pieces) if state is None else state.values()
        results = [self(piece, row) for piece, row in zip(pieces, before, strict=True)]
        after = {str(n): row for n, (_, row) in enumerate(results)}
        return torch.cat([y for y, _ in results], dim=1), State(owner, int(borders[-1]), after)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 3 or x.shape[-1] != self.dim:
            raise InvalidInput(f"{type(self).__name__} takes x of shape [B, T, {self.dim}], not {list(x.shape)}")
        if 0 in x.shape:
            raise InvalidInput(f"x of shape {list(x.shape)} holds no tokens: give at least one")
        if not x.is_floating_point():
            raise InvalidInput(f"x is {x.dtype}: give floating-point features, not token ids")
        if x.device.type == "cpu" and x.dtype in (torch.float16, torch.bfloat16):
            raise InvalidInput(f"x is {x.dtype} on the CPU, where half precision is slow and inexact: use float32")
