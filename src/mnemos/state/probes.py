"""Conditioning experiments on any memory that can be written and read: what does it show of what animals show?

    for seen in run_probes(RuleSubject(Delta(0.2)), expected="delta"):
        print(seen.probe, seen.shown, seen.agrees, seen.responses)

A cue is a key, an outcome a value; a trial writes one pair, a test reads one cue. A response is measured along the
outcome, in units of it. Trials without an outcome write a zero value. Which phenomena a rule shows is known beforehand
(`EXPECTED`): the delta rule is Rescorla-Wagner, Hebb shows acquisition and nothing else.

Source: the conditioning view of linear attention (arXiv 2508.08289); the experiments are the textbook ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.state import plasticity as rules
from mnemos.state.gates import Gates
from mnemos.state.memory import Memory
from mnemos.state.plasticity import Rule, Trace, respond
from mnemos.state.value import State


class Subject(Protocol):
    """A memory in the laboratory. Traces are values, or copies: an earlier one must stay readable.

    Two more methods are used where there are any: `wait(trace, moments)`, time in which nothing happens, without which
    nothing changes; and `follow(trace, cue, after)`, a cue followed by another within one trial, without which both are
    written one after the other, without outcome.
    """

    def start(self, cue: Tensor, outcome: Tensor) -> Any:
        """An empty trace for cues like `cue` [K] and outcomes like `outcome` [V]."""

    def write(self, trace: Any, cue: Tensor, outcome: Tensor) -> Any:
        """The trace after one trial."""

    def read(self, trace: Any, cue: Tensor) -> Tensor:
        """The response [V]; nothing is learned by it."""


@dataclass(frozen=True)
class Observation:
    """What came of one experiment."""

    probe: str
    shown: bool
    """Whether the phenomenon was there."""
    responses: Mapping[str, float]
    """What was measured, in units of the outcome."""
    expected: bool | None
    """Whether it should have been there; None if nothing was expected."""

    @property
    def agrees(self) -> bool:
        """Whether it came as expected; true where nothing was."""
        return self.expected in (None, self.shown)


def run_probes(
    subject: Subject,
    names: Collection[str] | None = None,
    *,
    expected: str | Collection[str] | None = None,
    cues: Tensor | None = None,
    outcome: Tensor | None = None,
    trials: int = 40,
) -> list[Observation]:
    """Run experiments on `subject`, each on a fresh one.

    Args:
        subject: see `Subject`; `RuleSubject` and `MemorySubject` make one of a plasticity rule and of a `Memory`.
        names: some of `PROBES`; None runs all.
        expected: the phenomena that it should show, or the name of a rule in `EXPECTED`.
        cues: [2, K], orthogonal or nearly so; None takes two orthonormal ones with K = 2.
        outcome: [V]; None takes [1.0].
        trials: of a phase; that of conditioned inhibition is five times as long.

    Raises:
        NotFound: no such probe or rule.
        InvalidInput: cues or outcome of another shape, or too few trials.
    """
    names = list(PROBES) if names is None else list(names)
    if isinstance(expected, str):
        if expected not in EXPECTED:
            raise NotFound(f"no rule {expected!r} in EXPECTED: there are {', '.join(EXPECTED)}")
        expected = EXPECTED[expected].shows
    wrong = [name for name in [*names, *(expected or ())] if name not in PROBES]
    if wrong:
        raise NotFound(f"no probe {wrong[0]!r}: there are {', '.join(PROBES)}")
    lab = Lab(
        subject,
        torch.eye(2, dtype=torch.float64) if cues is None else cues,
        torch.ones(1, dtype=torch.float64) if outcome is None else outcome,
        trials,
    )
    found = []
    for name in names:
        responses, shown = PROBES[name](lab)
        found.append(Observation(name, bool(shown), responses, None if expected is None else name in expected))
    return found


# -- subjects ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RuleSubject:
    """A plasticity rule. While it waits, pairs of nothing are written: traces that fade go on fading."""

    rule: Rule

    def start(self, cue: Tensor, outcome: Tensor) -> Trace:
        """Empty."""
        return self.rule.start(cue, outcome)

    def write(self, trace: Trace, cue: Tensor, outcome: Tensor) -> Trace:
        """One step."""
        return self.rule.step(trace, cue, outcome)

    def read(self, trace: Trace, cue: Tensor) -> Tensor:
        """S^T cue."""
        return respond(trace, cue)

    def wait(self, trace: Trace, moments: int) -> Trace:
        """Steps without cue or outcome."""
        memory = trace["memory"]
        for _ in range(moments):
            trace = self.rule.step(trace, torch.zeros_like(memory[:, 0]), torch.zeros_like(memory[0]))
        return trace


@dataclass(frozen=True)
class MemorySubject:
    """A `Memory` with one head, written one pair at a time.

    Raises:
        InvalidInput: more than one head.
    """

    memory: Memory
    gates: Gates | None = None
    """Of one token, [1, 1, 1]; None for the constants of the memory's parts."""

    def __post_init__(self) -> None:
        if self.memory.heads != 1:
            raise InvalidInput(f"the memory has {self.memory.heads} heads: a cue has one key, give a memory of one")

    def start(self, cue: Tensor, outcome: Tensor) -> State:
        """Empty, for one sequence."""
        return self.memory.init(1, cue)

    @torch.no_grad()
    def write(self, trace: State, cue: Tensor, outcome: Tensor) -> State:
        """One token."""
        return self.memory.write(trace, cue[None, None, None], outcome[None, None, None], self.gates)

    @torch.no_grad()
    def read(self, trace: State, cue: Tensor) -> Tensor:
        """One query."""
        return self.memory.read(trace, cue[None, None, None])[0, 0, 0]


@dataclass(frozen=True)
class TwoTimes:
    """S = fast + slow: both learn from the error of their sum, one forgets. Recovers, and saves.

    The least that spontaneous recovery and savings need: extinction is learned by the fast part, which time takes away.
    """

    slow: float = 0.05
    fast: float = 0.3
    keep: float = 0.9
    """Of the fast part, per write and per moment of waiting."""

    def start(self, cue: Tensor, outcome: Tensor) -> tuple[Tensor, Tensor]:
        """(fast, slow), empty."""
        empty = cue.new_zeros(*cue.shape, *outcome.shape)
        return empty, empty

    def write(self, trace: tuple[Tensor, Tensor], cue: Tensor, outcome: Tensor) -> tuple[Tensor, Tensor]:
        """The fast part fades, then both correct a share of the common error."""
        fast, slow = self.keep * trace[0], trace[1]
        change = rules.outer(cue, outcome - self.read((fast, slow), cue))
        return fast + self.fast * change, slow + self.slow * change

    def read(self, trace: tuple[Tensor, Tensor], cue: Tensor) -> Tensor:
        """(fast + slow)^T cue."""
        return cue @ (trace[0] + trace[1])

    def wait(self, trace: tuple[Tensor, Tensor], moments: int) -> tuple[Tensor, Tensor]:
        """The fast part fades."""
        return self.keep**moments * trace[0], trace[1]


@dataclass(frozen=True)
class TwoLayers:
    """Cues call up cues, and these outcomes: two associations in a chain. Shows second-order conditioning."""

    rule: Rule

    def start(self, cue: Tensor, outcome: Tensor) -> tuple[Trace, Trace]:
        """(cue to cue, cue to outcome), empty."""
        return self.rule.start(cue, cue), self.rule.start(cue, outcome)

    def write(self, trace: tuple[Trace, Trace], cue: Tensor, outcome: Tensor) -> tuple[Trace, Trace]:
        """No cue follows: the second layer alone learns."""
        return trace[0], self.rule.step(trace[1], cue, outcome)

    def follow(self, trace: tuple[Trace, Trace], cue: Tensor, after: Tensor) -> tuple[Trace, Trace]:
        """The first layer learns what follows; the second that no outcome came with it."""
        nothing = torch.zeros_like(trace[1]["memory"][0])
        return self.rule.step(trace[0], cue, after), self.rule.step(trace[1], after, nothing)

    def read(self, trace: tuple[Trace, Trace], cue: Tensor) -> Tensor:
        """The response to the cue and to what it calls up."""
        return respond(trace[1], cue + respond(trace[0], cue))


# -- experiments -----------------------------------------------------------------------------------

Phase = Sequence[tuple[Tensor, float]]
"""Trials that take turns: (cue, size of the outcome)."""


@dataclass(frozen=True)
class Lab:
    """Two cues A and B, an outcome, and a way to train a fresh subject.

    Raises:
        InvalidInput: see `run_probes`.
    """

    subject: Subject
    cues: Tensor
    outcome: Tensor
    trials: int

    def __post_init__(self) -> None:
        if self.cues.ndim != 2 or len(self.cues) != 2 or self.outcome.ndim != 1 or not self.outcome.any():
            raise InvalidInput(
                f"cues {list(self.cues.shape)}, outcome {list(self.outcome.shape)}: give two cues [2, K] and one [V] "
                "that is not zero"
            )
        if self.trials < 10:
            raise InvalidInput(f"trials = {self.trials}: a phase has at least 10, or nothing is learned in a tenth")

    def after(self, *phases: Phase) -> Any:
        """The trace of a fresh subject after these phases, each trial repeated `trials` times."""
        trace = self.subject.start(self.cues[0], self.outcome)
        for phase in phases:
            trace = self.on(trace, phase, self.trials)
        return trace

    def on(self, trace: Any, phase: Phase, trials: int) -> Any:
        """A trace after more trials."""
        for _ in range(trials):
            for cue, size in phase:
                trace = self.subject.write(trace, cue, size * self.outcome)
        return trace

    def extinguish(self, trace: Any, cue: Tensor) -> Any:
        """A trace after trials without outcome: until a fiftieth of the response is left, at most a phase."""
        learned = self.response(trace, cue)
        for _ in range(self.trials):
            if abs(self.response(trace, cue)) < 0.02 * abs(learned):
                break
            trace = self.on(trace, [(cue, 0)], 1)
        return trace

    def wait(self, trace: Any) -> Any:
        """A trace after a long time, if time does anything to it."""
        wait: Callable[[Any, int], Any] | None = getattr(self.subject, "wait", None)
        return trace if wait is None else wait(trace, 5 * self.trials)

    def response(self, trace: Any, cue: Tensor) -> float:
        """Along the outcome, in units of it."""
        return float(self.subject.read(trace, cue) @ self.outcome / self.outcome.square().sum())


Outcome = tuple[dict[str, float], bool]


def _acquisition(lab: Lab) -> Outcome:
    a, _ = lab.cues
    learned = lab.response(lab.after([(a, 1)]), a)
    return {"A": learned}, learned > 0.5


def _extinction(lab: Lab) -> Outcome:
    a, _ = lab.cues
    trace = lab.after([(a, 1)])
    learned, left = lab.response(trace, a), lab.response(lab.on(trace, [(a, 0)], lab.trials), a)
    return {"A": learned, "A extinguished": left}, learned > 0.5 and left < 0.25 * learned


def _blocking(lab: Lab) -> Outcome:
    """A+, then AB+: B is redundant."""
    a, b = lab.cues
    blocked = lab.response(lab.after([(a, 1)], [(a + b, 1)]), b)
    control = lab.response(lab.after([(a + b, 1)]), b)
    return {"B": blocked, "B without A before": control}, control > 0.1 and blocked < 0.5 * control


def _overshadowing(lab: Lab) -> Outcome:
    """B at half A's amplitude, in a compound and alone."""
    a, b = lab.cues[0], 0.5 * lab.cues[1]
    trace = lab.after([(a + b, 1)])
    strong, weak = lab.response(trace, a), lab.response(trace, b)
    alone = lab.response(lab.after([(b, 1)]), b)
    return {"A": strong, "B": weak, "B alone": alone}, alone > 0.1 and weak < 0.5 * min(alone, strong)


def _overexpectation(lab: Lab) -> Outcome:
    """A+ and B+, then AB+: two predictions of one outcome."""
    a, b = lab.cues
    trace = lab.after([(a, 1), (b, 1)])
    before = lab.response(trace, a)
    trace = lab.on(trace, [(a + b, 1)], lab.trials)
    after, other = lab.response(trace, a), lab.response(trace, b)
    return {"A before": before, "A": after, "B": other}, before > 0.5 and after < 0.75 * before


def _conditioned_inhibition(lab: Lab) -> Outcome:
    """A+ and AB-: B tells that the outcome stays away."""
    a, b = lab.cues
    trace = lab.on(lab.after(), [(a, 1), (a + b, 0)], 5 * lab.trials)
    inhibitor = lab.response(trace, b)
    return {"A": lab.response(trace, a), "B": inhibitor}, inhibitor < -0.25


def _latent_inhibition(lab: Lab) -> Outcome:
    """A- first, then a few A+: what was there for nothing is learned late."""
    a, _ = lab.cues
    few = lab.trials // 10
    exposed = lab.response(lab.on(lab.after([(a, 0)]), [(a, 1)], few), a)
    naive = lab.response(lab.on(lab.after(), [(a, 1)], few), a)
    return {"A": exposed, "A if new": naive}, naive > 0.1 and exposed < 0.75 * naive


def _second_order(lab: Lab) -> Outcome:
    """A+, then B followed by A without outcome, with A+ in between to keep it up."""
    a, b = lab.cues
    trace = lab.after([(a, 1)])
    follow: Callable[[Any, Tensor, Tensor], Any] | None = getattr(lab.subject, "follow", None)
    for _ in range(lab.trials):
        trace = lab.on(trace, [(b, 0), (a, 0)], 1) if follow is None else follow(trace, b, a)
        trace = lab.on(trace, [(a, 1)], 1)
    second = lab.response(trace, b)
    return {"A": lab.response(trace, a), "B": second}, second > 0.25


def _spontaneous_recovery(lab: Lab) -> Outcome:
    """Extinction, then time in which nothing happens."""
    a, _ = lab.cues
    trace = lab.after([(a, 1)])
    learned = lab.response(trace, a)
    trace = lab.extinguish(trace, a)
    left, later = lab.response(trace, a), lab.response(lab.wait(trace), a)
    shown = learned > 0.5 and later > left + 0.1 * learned
    return {"A": learned, "A extinguished": left, "A later": later}, shown


def _reversal(lab: Lab) -> Outcome:
    """A+ and B-, then A- and B+."""
    a, b = lab.cues
    trace = lab.after([(a, 1), (b, 0)], [(a, 0), (b, 1)])
    first, second = lab.response(trace, a), lab.response(trace, b)
    return {"A": first, "B": second}, second > 0.5 and first < 0.25 * second


def _savings(lab: Lab) -> Outcome:
    """Learned, extinguished, and after a pause learned again: faster than at first, and than what was left explains?"""
    a, _ = lab.cues
    few = lab.trials // 10
    naive = lab.response(lab.on(lab.after(), [(a, 1)], few), a)
    trace = lab.extinguish(lab.after([(a, 1)]), a)
    left = lab.response(trace, a)
    again = lab.response(lab.on(lab.wait(trace), [(a, 1)], few), a)
    return {"A at first": naive, "A extinguished": left, "A again": again}, naive > 0.1 and again > naive + abs(left)


PROBES: dict[str, Callable[[Lab], Outcome]] = {
    "acquisition": _acquisition,
    "extinction": _extinction,
    "blocking": _blocking,
    "overshadowing": _overshadowing,
    "overexpectation": _overexpectation,
    "conditioned_inhibition": _conditioned_inhibition,
    "latent_inhibition": _latent_inhibition,
    "second_order": _second_order,
    "spontaneous_recovery": _spontaneous_recovery,
    "reversal": _reversal,
    "savings": _savings,
}
"""Name to experiment."""


@dataclass(frozen=True)
class Expectation:
    """A rule, with constants for the default trials, and the phenomena it must show; all others it must not."""

    rule: Rule
    shows: frozenset[str]


_COMPETITION = {"blocking", "overshadowing", "overexpectation", "conditioned_inhibition"}
"""What follows from one error shared by all cues present."""
_CORRECTION = frozenset({"acquisition", "extinction", "reversal", *_COMPETITION})

EXPECTED: dict[str, Expectation] = {
    name: Expectation(rule, frozenset(shows))
    for name, rule, shows in (
        ("hebb", rules.Hebb(0.2), {"acquisition"}),
        ("anti-hebb", rules.AntiHebb(0.2), set[str]()),
        # passive forgetting looks like extinction, and makes room for what is newer
        ("hebb-decay", rules.HebbDecay(0.2, keep=0.9), {"acquisition", "extinction", "reversal"}),
        ("delta", rules.Delta(0.2), _CORRECTION),
        ("gated-delta", rules.GatedDelta(0.2, keep=0.99), _CORRECTION),
        ("nlms", rules.NormalisedDelta(0.2), _CORRECTION),
        ("implicit", rules.Implicit(0.2), _CORRECTION),
        ("momentum", rules.Momentum(0.2), _CORRECTION),
        # all trials weigh the same: what was is averaged with what is, and early trials for nothing keep their weight
        ("rls", rules.RecursiveLeastSquares(), {"acquisition", "latent_inhibition", *_COMPETITION}),
        # a trial without outcome erases nothing; the next cue of the same outcome erases the last
        ("oja", rules.Oja(0.2), {"acquisition", "reversal"}),
        ("oja-output", rules.OjaByOutput(0.2), {"acquisition", "reversal"}),
        ("bcm", rules.BCM(0.2), {"acquisition"}),
        # a cue that is always there predicts nothing; one that comes with the outcome's absence does
        ("covariance", rules.Covariance(0.2), {"conditioned_inhibition"}),
        ("mackintosh", rules.Mackintosh(0.2), {*_CORRECTION, "latent_inhibition"}),
        ("pearce-hall", rules.PearceHall(0.2), {*_CORRECTION, "latent_inhibition"}),
    )
}
"""By name of the rule, for the default number of trials."""
