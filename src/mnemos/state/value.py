"""The state of a sequence memory, as a value: goes in, comes out changed, is never changed in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class State(Mapping[str, Any]):
    """What a memory carries from one call to the next.

    A mapping of names to tensors, batch first ([B, ...]), or to states of the parts it is made of.
    """

    owner: str
    """Signature of the mixer or memory that made it; no other one accepts it."""
    tokens: int
    """How many tokens went into it, the same for every row of the batch."""
    parts: Mapping[str, Tensor | State]

    def __getitem__(self, name: str) -> Any:
        return self.parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def batch(self) -> int:
        """Rows of the batch; 0 where there is no tensor."""
        return next((tensor.shape[0] for tensor in self.tensors()), 0)

    def tensors(self) -> Iterator[Tensor]:
        """All tensors, depth first."""
        for part in self.parts.values():
            if isinstance(part, State):
                yield from part.tensors()
            else:
                yield part

    def map(self, change: Callable[[Tensor], Tensor]) -> State:
        """The state with `change` applied to each tensor."""
        parts = {
            name: part.map(change) if isinstance(part, State) else change(part) for name, part in self.parts.items()
        }
        return State(self.owner, self.tokens, parts)

    def detach(self) -> State:
        """Cut from the graph: gradients end here (truncated backpropagation through time)."""
        return self.map(torch.Tensor.detach)

    def to(self, *args: Any, **kwargs: Any) -> State:
        """Moved or cast as `Tensor.to` would; integers keep their type."""
        device_only = [arg for arg in args if not isinstance(arg, torch.dtype)]
        kept = {name: value for name, value in kwargs.items() if name != "dtype"}
        return self.map(lambda t: t.to(*args, **kwargs) if t.is_floating_point() else t.to(*device_only, **kept))

    def rows(self, index: Tensor) -> State:
        """Those rows of the batch, in that order: for beam search, or to drop finished sequences."""
        return self.map(lambda tensor: tensor.index_select(0, index.to(tensor.device)))

    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors())

    def check(self, owner: str, batch: int) -> None:
        """Refuse a state that another memory, or another batch, made.

        Raises:
            InvalidInput: says whose it is, and how to get the right one.
        """
        if self.owner != owner:
            raise InvalidInput(
                f"this state belongs to {self.owner}, not to {owner}: pass None or the state it returned"
            )
        if len(self) and self.batch != batch:
            raise InvalidInput(
                f"the state holds {self.batch} sequences and x has {batch}: state.rows(index) picks some"
            )
