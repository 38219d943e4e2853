"""Feeds users to a memory system session by session, and probes it after each.

    add_dialogue → what was added covers the gold, and is so?      (extraction)
    retrieve(gold update) → does the new value stand?              (updating)
    answer(question), retrieve(question) → right? if not, why?     (answering, attribution)

The system holds the past only when it is asked. Whoever works asynchronously finishes in `add_dialogue`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from mnemos.bench.halumem.judges import Judge, Verdict
from mnemos.bench.halumem.metrics import Answered, Covered, Kept, Outcome, Stage, Updated
from mnemos.bench.halumem.schema import Fact, Point, Question, Session, User
from mnemos.bench.runner import Progress, silent

T = TypeVar("T")

UPDATE_K, QUESTION_K = 10, 20
"""Memories that are looked at for an update, and for a question."""


class System(Protocol):
    """A memory under test."""

    def add_dialogue(self, user: User, session: Session) -> Sequence[str]:
        """Take a session in; returns what was added to the store by it."""
        ...

    def retrieve(self, user: User, query: str, k: int) -> Sequence[str]:
        """At most `k` memories, best first."""
        ...

    def answer(self, user: User, question: str) -> str:
        """Empty, or a refusal, where memory does not say."""
        ...


def diff(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Texts of `after` that are new or changed: what a session added, for systems that do not say so."""
    return [text for key, text in after.items() if before.get(key) != text]


def run(system: System, users: Sequence[User], judge: Judge, progress: Progress = silent) -> Outcome:
    """Every probe of every session, judged."""
    outcome = Outcome()
    for number, user in enumerate(users):
        progress(user.id, number, len(users))
        _User(system, user, judge, outcome).run()
    return outcome


class _User:
    def __init__(self, system: System, user: User, judge: Judge, outcome: Outcome) -> None:
        self.system, self.user, self.judge, self.outcome = system, user, judge, outcome
        self.covered: dict[str, int] = {}
        """Of each gold point by content: how far its session's memories covered it, most lately."""
        self.became: dict[str, Verdict] = {}
        self.slipped: list[Point] = []
        """False points that were stored."""

    def run(self) -> None:
        for session in self.user.sessions:
            memories = self._timed("add_seconds", lambda s=session: self.system.add_dialogue(self.user, s))  # type: ignore[misc]
            if not session.unrelated:
                self._extraction(session, memories)
                for point in session.gold:
                    if point.is_update:
                        self._update(point)
            for question in session.questions:
                self._question(question)

    def _extraction(self, session: Session, memories: Sequence[str]) -> None:
        returned = bool(memories)
        for point in session.points:
            score = self.judge.integrity(self.user, point, memories)
            if point in session.interference:
                self.outcome.interference.append(Covered(point, score, returned))
                self.slipped += [point] if score else []
            else:
                self.outcome.gold.append(Covered(point, score, returned))
                self.covered[point.content] = score
                self.became.pop(point.content, None)
        for memory in memories:
            self.outcome.kept.append(Kept(memory, *self.judge.accuracy(self.user, session, memory)))

    def _update(self, point: Point) -> None:
        found = self._timed("retrieve_seconds", lambda: self.system.retrieve(self.user, point.content, UPDATE_K))
        verdict = self.judge.update(self.user, point, found)
        self.became[point.content] = verdict
        self.outcome.updates.append(Updated(point, verdict, bool(found)))

    def _question(self, question: Question) -> None:
        answer = self._timed("answer_seconds", lambda: self.system.answer(self.user, question.question))
        verdict = self.judge.answer(self.user, question, answer)
        stage = None if verdict == "correct" else self._stage(question, answer)
        self.outcome.answers.append(Answered(self.user.id, question, answer, verdict, stage, question.fact))

    def _stage(self, question: Question, answer: str) -> Stage:
        """Where the first error lies behind a wrong answer."""
        contents = [content for content, _ in question.evidence]
        if any(self.covered.get(content, 0) < 2 for content in contents):
            return "extraction"
        if any(_same_slot(point.fact, question.fact) and self._says(answer, point) for point in self.slipped):
            return "extraction"  # of something that was never so
        if any(self.became.get(content, "correct") != "correct" for content in contents):
            return "updating"
        found = self._timed("retrieve_seconds", lambda: self.system.retrieve(self.user, question.question, QUESTION_K))
        kept = [point for session in self.user.sessions for point in session.gold if point.content in contents]
        if any(self.judge.integrity(self.user, point, found) < 2 for point in kept):
            return "retrieval"
        return "answering"

    def _says(self, answer: str, point: Point) -> bool:
        if point.fact is not None:
            return point.fact.value.lower() in answer.lower()
        return self.judge.integrity(self.user, point, [answer]) > 0

    def _timed(self, what: str, call: Callable[[], T]) -> T:
        start = time.perf_counter()
        value = call()
        setattr(self.outcome, what, getattr(self.outcome, what) + time.perf_counter() - start)
        return value


def _same_slot(one: Fact | None, other: Fact | None) -> bool:
    return one is None or other is None or (one.subject, one.relation) == (other.subject, other.relation)
