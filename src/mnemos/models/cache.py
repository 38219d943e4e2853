"""The states of all layers, where Hugging Face keeps keys and values."""

from __future__ import annotations

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.value import State


class MnemosCache:
    """What a model carries from one call to the next: `cache` in and out of `forward` and `generate`.

    A forward pass replaces the states in it; the states themselves are values, so that `copy()` costs nothing
    and two continuations of one prompt do not disturb each other. Its size does not grow with the tokens unless
    a mixer's state does (attention).
    """

    is_compileable = False
    is_croppable = False

    def __init__(self) -> None:
        self.states: list[State] = []
        """One per layer; empty before the first call."""
        self.columns = 0
        """Tokens seen, padding included."""
        self.packed = False
        """Whether the rows stand at different positions, each with a state of its own."""

    def __len__(self) -> int:
        return len(self.states)

    @property
    def is_linear(self) -> list[bool]:
        """[False]: `generate` may be given the whole conversation again, and feeds what is new."""
        return [False]

    @property
    def is_initialized(self) -> bool:
        """Whether anything went in."""
        return bool(self.states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens seen, padding included."""
        return self.columns

    def nbytes(self) -> int:
        """Bytes of all states."""
        return sum(state.nbytes() for state in self.states)

    def copy(self) -> MnemosCache:
        """Another cache at the same point."""
        twin = MnemosCache()
        twin.states, twin.columns, twin.packed = list(self.states), self.columns, self.packed
        return twin

    def reset(self) -> None:
        """Forget everything."""
        self.states, self.columns, self.packed = [], 0, False

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep those rows of the batch, in that order: the beams that live on."""
        self.states = [_pick(state, beam_idx, self.packed) for state in self.states]

    batch_select_indices = reorder_cache

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row `repeats` times."""
        if self.states:
            rows = len(self.states[0]) if self.packed else self.states[0].batch
            self.reorder_cache(torch.arange(rows).repeat_interleave(repeats))

    def activate_past_recording(self) -> None:
        """Raises: InvalidInput: states overwrite their past, so that speculated tokens cannot be taken back."""
        raise InvalidInput("a state cannot be rolled back: generate without an assistant model")

    def crop(self, tokens_to_remove: int) -> None:
        """Raises: InvalidInput: states overwrite their past; keep a `copy()` of the point to go back to."""
        raise InvalidInput("a state cannot be rolled back: keep cache.copy() of the point to return to")

    def unpacked(self) -> list[State]:
        """One state per row, as a mixer takes them up with cu_seqlens."""
        if self.packed:
            return self.states
        return [
            State(
                f"packed {state.owner}",
                state.tokens * state.batch,
                {str(row): state.rows(torch.tensor([row])) for row in range(state.batch)},
            )
            for state in self.states
        ]


def _pick(state: State, index: Tensor, packed: bool) -> State:
    if not packed:
        return state.rows(index)
    rows = [state.parts[str(row)] for row in index.tolist()]
    return State(state.owner, state.tokens, {str(n): row for n, row in enumerate(rows)})


__all__ = ["MnemosCache"]
