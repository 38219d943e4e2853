"""The four choices that describe any memory."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mnemos.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Spec:
    """A memory in four choices, each one phrase (MIRAS, section 3, widened beyond tensors).

    Raises:
        InvalidInput: a choice is left empty.
    """

    structure: str
    """What holds the trace: a matrix, an MLP, records in a database."""
    objective: str
    """What counts as a good match between a cue and a trace."""
    retention: str
    """What is given up over time."""
    rule: str
    """How a write changes the trace."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not str(getattr(self, field.name)).strip():
                raise InvalidInput(f"Spec.{field.name} is empty: say it in one phrase, 'none' if there is none")
