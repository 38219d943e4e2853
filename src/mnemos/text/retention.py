"""What a memory gives up over time: one policy per scope, exceptions per record.

The forgetting curve is MemoryBank's (2023) after Ebbinghaus: R = exp(-t / S), with t the days since
a record was written or last used in an answer, and S its strength in days. Use resets t and adds to S. The curve
is evaluated at the moment of the sweep alone, so that sweeping often forgets no faster than
sweeping once (the reference multiplies survival at each load).
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from mnemos.core.clock import Time
from mnemos.core.errors import InvalidInput, StoreFull, StoreReadOnly
from mnemos.text.records import Record, Scope, dumps
from mnemos.text.store import Store

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How one scope ages. Pinned records and legal holds are exempt.

    Raises:
        InvalidInput: a number out of its range.
    """

    strength: float | None = None
    """Days S of a new record's forgetting curve; None for no decay."""
    gain: float = 5.0
    """Days that each use adds to S."""
    threshold: float = 0.1
    """Retention R below which `consolidate` forgets a record (softly)."""
    ttl: float | None = None
    """Seconds after which every record expires; None for never."""
    quarantine: tuple[str, ...] = ()
    """Sources whose texts are kept but not recalled until released, such as ("tool", "web")."""

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("strength", self.strength, 0, math.inf),
            ("ttl", self.ttl, 0, math.inf),
            ("threshold", self.threshold, 0, 1),
        ):
            if value is not None and not (isinstance(value, int | float) and low < value < high):
                raise InvalidInput(f"{name} is {value!r}: give a number above {low} and below {high}")
        if isinstance(self.quarantine, str) or not all(isinstance(source, str) for source in self.quarantine):
            raise InvalidInput(f"quarantine is {self.quarantine!r}: give a tuple of sources, such as ('tool',)")
        if not 0 <= self.gain < math.inf:
            raise InvalidInput(f"gain is {self.gain!r}: give days, at least 0")

    def retention(self, age: float, uses: int) -> float:
        """R in [0, 1] of a record last used (or written) `age` seconds ago and used `uses` times."""
        if self.strength is None:
            return 1.0
        return math.exp(-max(0.0, age) / _DAY / (self.strength + self.gain * uses))

    def fading(self, records: Iterable[Record], used: dict[str, tuple[int, Time]], now: Time) -> list[Record]:
        """Those of `records` that this policy gives up at `now`."""
        gone = []
        for record in records:
            if record.retention.pin or record.retention.hold:
                continue
            uses, last = used.get(record.id, (0, record.recorded_at))
            expired = self.ttl is not None and now - record.recorded_at >= self.ttl
            if expired or self.retention(now - max(last, record.recorded_at), uses) < self.threshold:
                gone.append(record)
        return gone

    def save(self, store: Store, scope: Scope) -> None:
        """Keep the policy in the store, for a scope."""
        store.setting(_name("policy", scope), dumps(asdict(self)))

    @classmethod
    def load(cls, store: Store, scope: Scope) -> Policy:
        """The policy of a scope; the one that keeps everything where none was set."""
        data = store.setting(_name("policy", scope))
        values = json.loads(data) if data else {}
        return cls(**{**values, "quarantine": tuple(values.get("quarantine", ()))})


def note_use(store: Store, ids: Sequence[str], now: Time) -> None:
    """Count a use of records: they were part of an answer. Reading alone never counts, or what is
    often found would crowd out everything else."""
    # an answer from a file that cannot be written is still an answer
    with contextlib.suppress(StoreReadOnly, StoreFull):
        store.touch(ids, now)


def _name(what: str, scope: Scope) -> str:
    return f"{what}:{dumps([scope.user, scope.agent])}"
