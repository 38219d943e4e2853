"""`CaseMemory`: past cases that are asked for their likes. See the package's text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from mnemos.core.catalogue import system
from mnemos.core.clock import Clock, SystemClock, parse_time
from mnemos.core.errors import InvalidInput, NotFound
from mnemos.core.ids import IdGenerator
from mnemos.core.spec import Spec
from mnemos.text.recipes.brains.casefile import CaseFile
from mnemos.text.recipes.brains.decide import (
    Calibration,
    Case,
    Decision,
    Evidence,
    Fusion,
    Mask,
    Neighbour,
    Stacking,
    Visit,
    entropy,
    shares,
    vote,
)
from mnemos.text.recipes.brains.schema import Numeric, Profile, Schema
from mnemos.text.recipes.brains.space import Floats, Ints, Logistic, Scale, fit_logistic, names, raw, unit
from mnemos.text.write import clean

Encode = Callable[[Floats], Floats]
"""From standardised profiles [n, d] to vectors [n, e] whose cosines are to be compared."""

K = 15
"""Cases that decide."""
_CALIBRATED = 2000
"""Cases that calibrate, at most: evenly taken from all."""
_FOLDS = 5
_YEAR = 365.25 * 86400
_SHOWN = 3
"""Columns of a neighbour that are named."""


@dataclass(frozen=True)
class _Base:
    """Everything that is computed from the cases in force."""

    schema: Schema
    cases: tuple[Case, ...]
    base: Logistic | None
    encode: Encode | None

    @cached_property
    def rows(self) -> Floats:
        """[n, d] raw."""
        return raw(self.schema, [case.profile for case in self.cases])

    @cached_property
    def scale(self) -> Scale:
        return Scale.of(self.schema, self.rows)

    @cached_property
    def vectors(self) -> Floats:
        """[n, e] of unit length."""
        return self.encoded(self.rows)

    @cached_property
    def outcomes(self) -> Ints:
        """[n]"""
        return np.array([self.schema.outcomes.index(case.outcome) for case in self.cases], np.int64)

    @cached_property
    def subjects(self) -> Ints:
        """[n] the same number for the same subject; a case without one stands alone."""
        known: dict[str, int] = {}
        alone = (-1 - n for n in range(len(self.cases)))
        return np.array([
            known.setdefault(case.subject, len(known)) if case.subject else next(alone) for case in self.cases
        ], np.int64)  # fmt: skip

    def encoded(self, rows: Floats) -> Floats:
        """[m, e] raw rows as vectors of unit length."""
        x = self.scale(rows)
        return unit(self.encode(x) if self.encode else x * (self.base.importance() if self.base else 1.0))

    def nearest(self, vectors: Floats, k: int, out: Mask) -> tuple[Ints, Floats]:
        """([m, k] cases, most similar first and older first among equals; their cosines), without those in `out`."""
        # rounded, so that equal profiles are equal wherever they stand in the product
        cosines = np.round(vectors @ self.vectors.T, 9)
        cosines[out] = -np.inf
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        return best, np.take_along_axis(cosines, best, 1)

    def probabilities(self, rows: Floats) -> Floats:
        """[m, classes] of the base model; how often each outcome is where nothing was learned."""
        if self.base is not None:
            return self.base(self.scale(rows))
        counts = np.bincount(self.outcomes, minlength=len(self.schema.outcomes)) / len(self.cases)
        return np.tile(counts, (len(rows), 1))

    def held_out(self, k: int) -> tuple[Ints, Ints, Floats]:
        """Of up to 2,000 cases: their numbers [m], their k neighbours of other subjects [m, k], and the cosines."""
        if not self.cases:
            return np.empty(0, np.int64), np.empty((0, 0), np.int64), np.empty((0, 0))
        chosen = np.arange(0, len(self.cases), -(-len(self.cases) // _CALIBRATED))
        own = self.subjects[chosen][:, None] == self.subjects[None]
        k = min(k, int((~own).sum(1).min(initial=len(self.cases))))
        return chosen, *self.nearest(self.vectors[chosen], k, own)

    def votes(self, chosen: Ints, nearest: Ints, cosines: Floats) -> Floats:
        """[m, classes] of each case's neighbours."""
        gold = np.eye(len(self.schema.outcomes))[self.outcomes[nearest]]
        return np.asarray(np.einsum("mk,mkc->mc", shares(cosines), gold))

    def calibrated(self, k: int) -> Calibration:
        chosen, nearest, cosines = self.held_out(k)
        if not nearest.size:
            return Calibration(*(np.empty(0) for _ in range(3)))
        truth = self.votes(chosen, nearest, cosines)[np.arange(len(chosen)), self.outcomes[chosen]]
        x = self.scale(self.rows)
        far = np.linalg.norm(x[chosen] - x[nearest[:, 0]], axis=1)
        return Calibration(np.sort(1 - truth), np.sort(cosines.mean(1)), np.sort(far))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Cases with their neighbours among other subjects."""

    rows: Floats
    """[n, d] all cases in raw numbers, missing ones filled in."""
    scale: Scale
    outcomes: Ints
    """[n]"""
    subjects: Ints
    """[n]"""
    chosen: Ints
    """[m] which of them are asked about."""
    nearest: Ints
    """[m, k] their neighbours, most similar first."""
    votes: Floats
    """[m, classes] of the neighbours."""


@system(
    "brains_retrieval",
    title="BRAINS: case memory over tabular profiles",
    paper="BRAINS: A Retrieval-Augmented System for Alzheimer's Detection and Monitoring",
    year=2025,
    wing="text",
    choices=Spec(
        structure="past cases: profile, outcome, subject, source",
        objective="cosine in a space standardised by the cases in force",
        retention="curated; who is forgotten disappears everywhere",
        rule="a case is encoded and added; weights and fusion are learned offline",
    ),
    claim="cases of a new site, added without retraining, raise the accuracy there by 0.04 at least; splitting by "
    "visit, not by subject, flatters a nearest-neighbour classifier by 0.12 at least",
)
class CaseMemory:
    """Past cases of any schema (patients, machines, tickets), and decisions by those most like a new one.

    Not a medical device: for research on decision support.

        memory = CaseMemory(schema).add({"age": 76, "score": 27}, "well", subject="ana")
        memory.similar({"age": 74}, k=5)

    A write costs one line; a query O(n d) over n cases with d numbers each; space O(n d).

    Args:
        schema: what a case looks like.
        path: the file that keeps the cases; in memory only if None.
        encode: a trained encoder of standardised profiles; profiles weighted by what was learned if None.
        clock, seed: for the ids of cases that come without one.

    Raises:
        InvalidInput: the file holds cases of another schema.
    """

    def __init__(
        self,
        schema: Schema,
        path: str | Path | None = None,
        *,
        encode: Encode | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        self.schema = schema
        self._encode = encode
        self._file = None if path is None else CaseFile(Path(path), schema)
        self._lock = threading.RLock()
        cases, learned = self._file.load() if self._file else ([], None)
        self._cases = {case.id: case for case in cases}
        self._base = None if learned is None else Logistic(np.array(learned))
        # a seeded memory that is opened again must not make the ids of its first run once more
        self._ids = IdGenerator(clock or SystemClock(), None if seed is None else seed + (len(cases) << 64))
        self._held: _Base | None = None
        self._calibrations: dict[int, Calibration] = {}

    def __len__(self) -> int:
        return len(self._cases)

    # -- write -----------------------------------------------------------------------------

    def add(
        self, profile: Profile, outcome: str, *, subject: str = "", at: Any = None, source: str = "", id: str = ""
    ) -> Self:
        """Remember one case; durable on return. Returns the memory, so that calls can be chained.

        Args:
            profile: by column; None, NaN or left out where it is missing.
            subject: whom it is about: no case of a subject ever decides about that subject.
            at: when, as ISO 8601, epoch seconds or `datetime`.
            id: one of your own.

        Raises:
            InvalidInput: a value that the schema refuses, or an id that is taken; nothing was stored.
        """
        return self.add_all([Case(id, profile, outcome, subject, at, source)])

    def add_all(self, cases: Iterable[Case]) -> Self:
        """Remember many cases, all or nothing; an empty id is filled in."""
        with self._lock:
            fresh: dict[str, Case] = {}
            for number, case in enumerate(cases):
                try:
                    made = self._read(case)
                    if made.id in self._cases or made.id in fresh:
                        raise InvalidInput(f"the id {made.id!r} is taken: forget that case first")
                except InvalidInput as why:
                    raise InvalidInput(f"case {number}: {why}; none was stored") from None
                fresh[made.id] = made
            if self._file and fresh:
                self._file.append(fresh.values())
            self._cases |= fresh
            self._changed()
        return self

    def forget(self, id: str = "", *, subject: str = "") -> int:
        """Forget one case, or all of a subject, everywhere: cases, vectors, calibration and file. Returns how many.

        What was learned is a summary of all cases; `learn` makes it again without them.

        Raises:
            InvalidInput: neither, or both, are given.
            NotFound: there is no such case or subject.
        """
        if bool(id) == bool(subject):
            raise InvalidInput("forget what? Give the id of a case, or a subject")
        with self._lock:
            gone = [case.id for case in self._cases.values() if (case.id == id if id else case.subject == subject)]
            if not gone:
                raise NotFound(f"no case {id!r}" if id else f"no case of the subject {subject!r}")
            kept = {case.id: case for case in self._cases.values() if case.id not in set(gone)}
            self._save(kept, self._base)
            self._cases = kept
            self._changed()
        return len(gone)

    def learn(self) -> Self:
        """Fit the base model, whose coefficients weigh the columns, to the cases in force.

        Cases that come later count without it.

        Raises:
            InvalidInput: fewer than two outcomes among the cases.
        """
        with self._lock:
            held = self._state()
            if len({case.outcome for case in held.cases}) < 2:
                raise InvalidInput("there is nothing to tell apart: add cases of at least two outcomes first")
            base = fit_logistic(held.scale(held.rows), held.outcomes, len(self.schema.outcomes))
            self._save(self._cases, base)
            self._base = base
            self._changed()
        return self

    # -- read ------------------------------------------------------------------------------

    def get(self, id: str) -> Case:
        """A case. Raises NotFound."""
        if id not in self._cases:
            raise NotFound(f"no case {id!r}")
        return self._cases[id]

    def cases(self, subject: str = "") -> list[Case]:
        """All cases, or those of a subject, in order of adding."""
        return [case for case in self._cases.values() if not subject or case.subject == subject]

    def similar(self, profile: Profile, k: int = 5, *, subject: str = "") -> list[Neighbour]:
        """The `k` cases most like `profile`, best first, older first among equals; exact.

        Args:
            subject: whom it is about, so that no case of theirs is among them.

        Raises:
            InvalidInput: a value that the schema refuses, or k below 1.
        """
        with self._lock:
            return self._near(self._state(), profile, k, subject)[0]

    def predict(
        self, profile: Profile, k: int = K, *, subject: str = "", at: Any = None, fuse: Fusion = vote,
        alpha: float = 0.1,
    ) -> Decision:  # fmt: skip
        """What the `k` most similar cases say, with the cases, a set of stated coverage, and an honest abstention.

        Args:
            subject: whom it is about; their own cases never decide. Earlier ones are told with their changes per year.
            at: when, for the gaps to earlier visits.
            fuse: how cases and base model become one.
            alpha: how often the set may miss the outcome.

        Raises:
            InvalidInput: a value that the schema refuses, no cases yet, k below 1, or alpha outside (0, 1).
        """
        if not 0 < alpha < 1:
            raise InvalidInput(f"alpha is {alpha}: give how often the set may miss, between 0 and 1")
        with self._lock:
            held = self._state()
            if not held.cases:
                raise InvalidInput("there are no cases yet: add some first")
            near, evidence = self._near(held, profile, k, subject)
            if k not in self._calibrations:
                self._calibrations[k] = held.calibrated(k)
            calibration = self._calibrations[k]
        probabilities, weights = fuse(evidence)
        votes = vote(evidence)[0]
        support = float(evidence.similarities.mean()) if near else -1.0
        known = bool(near) and calibration.known(support, self._distance(held, evidence))
        limit = calibration.threshold(alpha)
        outcomes = self.schema.outcomes
        return Decision(
            label=outcomes[int(probabilities.argmax())] if known else None,
            probabilities=dict(zip(outcomes, probabilities.tolist(), strict=True)),
            base=dict(zip(outcomes, evidence.base.tolist(), strict=True)),
            among=tuple(name for name, p in zip(outcomes, votes.tolist(), strict=True) if 1 - p <= limit + 1e-12),
            neighbours=tuple(replace(one, weight=float(w)) for one, w in zip(near, weights, strict=True)),
            support=support,
            disagreement=entropy(evidence.outcomes, len(outcomes)),
            history=tuple(self.history(subject, profile, at)) if subject and at is not None else (),
            schema=self.schema.version,
        )

    def history(self, subject: str, profile: Profile, at: Any) -> list[Visit]:
        """The cases of `subject` before `at`, with what changed per year until `profile`; later ones never count."""
        now, read = parse_time(at), self.schema.read(profile)
        found = []
        for case in self.cases(subject) if subject else ():
            if case.at is None or case.at >= now:
                continue
            years = (now - case.at) / _YEAR
            change = {
                column.name: (float(here) - float(there)) / years
                for column in self.schema.columns
                if isinstance(column, Numeric)
                and (here := read[column.name]) is not None and (there := case.profile[column.name]) is not None
            }  # fmt: skip
            found.append(Visit(case, years, change))
        return sorted(found, key=lambda visit: -visit.years)

    def held_out(self, k: int = K) -> HeldOut:
        """What a fusion is trained on: up to 2,000 cases, each with its neighbours among other subjects.

        Raises:
            InvalidInput: fewer than ten cases, or one subject alone.
        """
        with self._lock:
            held = self._state()
        chosen, nearest, cosines = held.held_out(k)
        if len(chosen) < 10 or not nearest.size:
            raise InvalidInput(
                f"{len(held.cases)} cases are too few to fit a fusion: it takes ten, of several subjects"
            )
        assert not (held.subjects[chosen][:, None] == held.subjects[nearest]).any()
        return HeldOut(
            held.scale.filled(held.rows), held.scale, held.outcomes, held.subjects, chosen, nearest,
            held.votes(chosen, nearest, cosines),
        )  # fmt: skip

    def stacking(self, k: int = K) -> Stacking:
        """A fusion of base model and vote, fitted to the cases in force, each judged by other subjects alone.

        Raises:
            InvalidInput: as `held_out`.
        """
        some, classes = self.held_out(k), len(self.schema.outcomes)
        x, fold = some.scale(some.rows), some.subjects % _FOLDS
        base = np.empty((len(some.chosen), classes))
        for one in range(_FOLDS):
            mine = fold[some.chosen] == one
            if mine.any():
                model = fit_logistic(x[fold != one], some.outcomes[fold != one], classes)
                base[mine] = model(x[some.chosen[mine]])
        return Stacking.fit(base, some.votes, some.outcomes[some.chosen])

    # -- within ----------------------------------------------------------------------------

    def _near(self, held: _Base, profile: Profile, k: int, subject: str) -> tuple[list[Neighbour], Evidence]:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InvalidInput(f"k is {k!r}: give how many cases you want, at least 1")
        row = raw(self.schema, [self.schema.read(profile)])
        if not held.cases:
            nothing = np.zeros(0, np.int64)
            even = np.full(len(self.schema.outcomes), 1 / len(self.schema.outcomes))
            return [], Evidence(row[0], np.zeros((0, row.shape[1])), nothing, np.zeros(0), even)
        out = np.array([[bool(subject) and case.subject == subject for case in held.cases]])
        nearest, cosines = held.nearest(held.encoded(row), k, out)
        kept = nearest[0][np.isfinite(cosines[0])]
        similarities = cosines[0][: len(kept)]
        assert not any(subject and held.cases[n].subject == subject for n in kept)
        filled, columns = held.scale.filled(row)[0], names(self.schema)
        evidence = Evidence(
            filled, held.scale.filled(held.rows[kept]), held.outcomes[kept], similarities, held.probabilities(row)[0]
        )
        off = (filled - evidence.cases) / held.scale.deviation
        weights = shares(similarities) if len(kept) else similarities
        found = []
        for place, n in enumerate(kept.tolist()):
            most = np.argsort(-np.abs(off[place]), kind="stable")[:_SHOWN]
            differences = tuple((columns[m], float(off[place, m])) for m in most.tolist())
            found.append(Neighbour(held.cases[n], float(similarities[place]), float(weights[place]), differences))
        return found, evidence

    def _distance(self, held: _Base, evidence: Evidence) -> float:
        off = (evidence.query - evidence.cases[0]) / held.scale.deviation
        return float(np.linalg.norm(off))

    def _read(self, case: Case) -> Case:
        if not isinstance(case, Case):
            raise InvalidInput(f"cannot remember a {type(case).__name__}: give a Case")
        return Case(
            id=clean(case.id, "id") or self._ids(),
            profile=self.schema.read(case.profile),
            outcome=self.schema.outcome(case.outcome),
            subject=clean(case.subject, "subject"),
            at=None if case.at is None else parse_time(case.at),
            source=clean(case.source, "source"),
        )

    def _state(self) -> _Base:
        if self._held is None:
            self._held = _Base(self.schema, tuple(self._cases.values()), self._base, self._encode)
        return self._held

    def _changed(self) -> None:
        self._held = None
        self._calibrations = {}

    def _save(self, cases: dict[str, Case], base: Logistic | None) -> None:
        if self._file:
            self._file.rewrite(cases.values(), None if base is None else base.weights.tolist())
