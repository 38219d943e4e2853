"""What a language model may cost, and what it has cost."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from mnemos.core.errors import EndpointError, InvalidInput


class BudgetSpent(EndpointError):
    """The next call would pass the budget. It was not made."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What was spent."""

    calls: int
    """Requests sent; an attempt repeated after a failure is the same request."""
    tokens: int
    """Prompts and replies, as the endpoint counts; about four characters each where it does not."""


class Budget:
    """A limit on calls and tokens; safe to share between threads and between models.

    A call is let through if it could stay within the limit: its prompt, estimated, and the longest
    reply that it asks for (`max_tokens`). Without `max_tokens` one reply can overshoot, and the next call is refused.

    Args:
        calls, tokens: the most that may be spent; None for no limit.

    Raises:
        InvalidInput: a negative limit.
    """

    def __init__(self, calls: int | None = None, tokens: int | None = None) -> None:
        for name, limit in (("calls", calls), ("tokens", tokens)):
            if limit is not None and limit < 0:
                raise InvalidInput(f"{name} is {limit}: give 0 or more, or None for no limit")
        self.calls, self.tokens = calls, tokens
        self._lock = threading.Lock()
        self._calls = self._tokens = self._promised = 0

    @property
    def used(self) -> Usage:
        """What was spent so far."""
        with self._lock:
            return Usage(self._calls, self._tokens)

    def reserve(self, tokens: int) -> None:
        """Count one call that may take `tokens`; `settle` it with what it took.

        Raises:
            BudgetSpent: it would pass the limit.
        """
        with self._lock:
            if self.calls is not None and self._calls >= self.calls:
                raise BudgetSpent(f"all {self.calls} calls of the budget are made: raise `calls` to go on")
            total = self._tokens + self._promised + tokens
            if self.tokens is not None and total > self.tokens:
                raise BudgetSpent(
                    f"{self._tokens} of {self.tokens} tokens are spent and the next call may take {tokens} beside "
                    f"{self._promised} under way: raise `tokens` to go on"
                )
            self._calls += 1
            self._promised += tokens

    def release(self, reserved: int) -> None:
        """Take back a reserved call that was not made."""
        with self._lock:
            self._calls -= 1
            self._promised -= reserved

    def settle(self, reserved: int, taken: int) -> None:
        """Replace what was reserved for a call by the tokens it took."""
        with self._lock:
            self._promised -= reserved
            self._tokens += taken
