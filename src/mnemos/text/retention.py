"""What a memory gives up over time: one policy per scope, exceptions per record.

The forgetting curve is MemoryBank's (2023) after Ebbinghaus: R = exp(-t / S), with t the days since
a record was written or last used in an answer, and S its strength in days. Use resets t and adds to S.

Three ways to give up by it, which may be combined: below a threshold of R; by chance, with survival R (the hazard
form); and over a budget, lowest R first. None forgets faster for being asked more often, where the reference, which
draws anew with the whole of R at each load, keeps exp(-n (n + 1) / 2S) instead of exp(-n / S) after n daily loads.
The hazard form needs no note of the last sweep: each record has one draw u, uniform in [0, 1), for the time since its
last use, and goes once R falls to u. That it outlives the time t has probability R(t), and that it outlives a sweep,
having outlived the one before, R(now) / R(then).
"""

from __future__ import annotations

import contextlib
import hashlib
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
    """Retention R below which `consolidate` forgets a record (softly); not looked at where a seed is given."""
    ttl: float | None = None
    """Seconds after which every record expires; None for never."""
    quarantine: tuple[str, ...] = ()
    """Sources whose texts are kept but not recalled until released, such as ("tool", "web")."""
    seed: int | None = None
    """Forget by chance: a record outlives t days of no use with probability R(t). The same seed, the same survivors."""
    budget: int | None = None
    """Records that the scope may hold; beyond, those of lowest R go. Exempt ones count, and stay."""

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
        for name, whole in (("seed", self.seed), ("budget", self.budget)):
            if whole is not None and (not isinstance(whole, int) or isinstance(whole, bool) or whole < 0):
                raise InvalidInput(f"{name} is {whole!r}: give a whole number, at least 0")
            if whole is not None and self.strength is None:
                raise InvalidInput(f"{name} is {whole}, and strength None: give a strength too, or no record fades")

    def retention(self, age: float, uses: int) -> float:
        """R in [0, 1] of a record last used (or written) `age` seconds ago and used `uses` times."""
        return math.exp(-self._faded(age, uses))

    def fading(self, records: Iterable[Record], used: dict[str, tuple[int, Time]], now: Time) -> list[Record]:
        """Those of `records` that this policy gives up at `now`.

        Args:
            records: all that the scope shows; the budget counts them.
            used: (how often, when last) by id, of those that were ever used.
        """
        gone, staying, exempt = [], [], 0
        for record in records:
            if record.retention.pin or record.retention.hold:
                exempt += 1
                continue
            uses, last = used.get(record.id, (0, record.recorded_at))
            faded = self._faded(now - max(last, record.recorded_at), uses)
            expired = self.ttl is not None and now - record.recorded_at >= self.ttl
            if expired or self._lost(faded, record.id, uses):
                gone.append(record)
            else:
                staying.append((-faded, record.recorded_at, record.id, record))
        if self.budget is not None and (over := exempt + len(staying) - self.budget) > 0:
            gone += [entry[-1] for entry in sorted(staying, key=lambda entry: entry[:-1])[:over]]
        return gone

    def _faded(self, age: float, uses: int) -> float:
        """t / S, which is -log R, and tells apart what R rounds to 0."""
        return 0.0 if self.strength is None else max(0.0, age) / _DAY / (self.strength + self.gain * uses)

    def _lost(self, faded: float, id: str, uses: int) -> bool:
        if self.strength is None:
            return False
        left = math.exp(-faded)
        return left < self.threshold if self.seed is None else left <= _draw(self.seed, id, uses)

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


def _draw(seed: int, id: str, uses: int) -> float:
    """Uniform in [0, 1): the same for one record until it is used again."""
    drawn = hashlib.blake2b(f"{seed}\x1f{id}\x1f{uses}".encode(), digest_size=8).digest()
    return (int.from_bytes(drawn) >> 11) * 2.0**-53


def _name(what: str, scope: Scope) -> str:
    return f"{what}:{dumps([scope.user, scope.agent])}"
