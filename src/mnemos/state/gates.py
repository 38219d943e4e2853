"""Gates: what a sequence model sets per token instead of the constants of retention and rule.

Axes: B batch, H heads, T tokens, K and V widths of keys and values, c the rule's window.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.state.ops.check import check_values


@dataclass(frozen=True, eq=False)
class Gates:
    """Values per token; None takes the constant of the retention, rule or objective."""

    log_keep: Tensor | None = None
    """[B, T, H] log alpha, at most 0. For a Matrix also per key channel, [B, T, H, K], or per weight: whatever
    broadcasts to [B, T, H, K, V]."""
    step: Tensor | None = None
    """[B, T, H] step size; [B, T, H, c] with a window: step[..., j] weighs the gradient of the token j back. For a
    Matrix also whatever broadcasts to [B, T, H, K, V]."""
    log_momentum: Tensor | None = None
    """[B, T, H] log of the momentum kept, at most 0."""
    rate: Tensor | None = None
    """[B, T, H] weight of the orthogonalised momentum."""
    delta: Tensor | None = None
    """[B, T, H] threshold of the objective, positive."""
    erase: Tensor | None = None
    """[B, T, H, K]: a key whose value is removed besides the write, W - (erase_step * erase) (erase W) (RWKV-7)."""
    erase_step: Tensor | None = None
    """[B, T, H] or [B, T, H, K]."""

    def __post_init__(self) -> None:
        if (self.erase is None) != (self.erase_step is None):
            raise InvalidInput("erase and erase_step are the key and the strength of one removal: give both or none")

    def given(self) -> dict[str, Tensor]:
        """Those that are not None, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: gate for name, gate in values.items() if gate is not None}

    def check(self, batch: int, tokens: int, heads: int, *, steps: int = 1) -> None:
        """Refuse gates that do not belong to these tokens, or (on the CPU) have values that no gate can have.

        Raises:
            InvalidInput: names the gate.
        """
        for name, gate in self.given().items():
            count = tokens * steps if name in ("step", "delta") else tokens
            if gate.shape[:3] != (batch, count, heads):
                raise InvalidInput(
                    f"gates.{name} has shape {list(gate.shape)}: it starts with [{batch}, {count}, {heads}]"
                )
            check_values(f"gates.{name}", gate, decay=name.startswith("log_"))
            if name == "delta" and gate.device.type == "cpu" and not bool((gate > 0).all()):
                raise InvalidInput("gates.delta is not positive everywhere: use softplus")


class Filled(NamedTuple):
    """Gates with the constants put in where nothing was given."""

    log_keep: Tensor
    """[B, T, H], or what broadcasts to [B, T, H, K, V]."""
    step: Tensor
    """[B, T, H, c], or what broadcasts to [B, T, H, K, V]."""
    log_momentum: Tensor
    """[B, T, H]."""
    rate: Tensor
    """[B, T, H]."""
    erase: tuple[Tensor, Tensor] | None
    """[B, T, H, K] the key, and its strength."""

    @property
    def per_head(self) -> bool:
        """Whether no gate tells the weights of a head apart."""
        return self.log_keep.ndim == 3 and self.step.ndim == 4 and self.erase is None

    def cut(self, first: int, last: int) -> Filled:
        """Those of tokens first to last - 1."""
        part = slice(first, last)
        return Filled(
            self.log_keep[:, part],
            self.step[:, part],
            self.log_momentum[:, part],
            self.rate[:, part],
            None if self.erase is None else (self.erase[0][:, part], self.erase[1][:, part]),
        )
