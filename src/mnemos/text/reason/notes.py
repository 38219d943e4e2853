"""Notes on mistakes: questions that were answered wrongly, with the right answer and why, kept as records of a memory.

Notes are ordinary records, so they can be listed, edited, forgotten and restored like any other: a wrong explanation
is not repeated for ever. A note is written only when the right answer is known and another one was given.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mnemos.core.errors import InvalidInput
from mnemos.text.memory import Memory
from mnemos.text.reason.search import alike, same
from mnemos.text.reason.tree import normal
from mnemos.text.records import Kind, Record

Strategy = Literal["random", "retrieval", "combine"]
_NO_KIND = "general"
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Task:
    """A question to be answered."""

    question: str
    options: tuple[str, ...] = ()
    """Without their letters; empty for an open question."""
    kind: str = ""
    """Of problem, in a few words; found out where it is empty."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A task with its solution."""

    task: Task
    answer: str
    """The letter of the right option, or the answer itself."""
    rationale: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """One mistake, corrected."""

    id: str
    task: Task
    answer: str
    explanation: str
    uses: int = 0
    """How often it was shown, of those whose outcome is known."""
    wins: int = 0
    """How often the answer was right then."""

    @property
    def usefulness(self) -> float:
        """(wins + 1) / (uses + 2)."""
        return (self.wins + 1) / (self.uses + 2)


class ExperienceMemory:
    """A notebook of mistakes in a scope of `memory`.

    Args:
        memory: where notes are kept, of any recipe.
        user, agent: the scope.
        capacity: notes to keep; the least useful are forgotten beyond it.

    Raises:
        InvalidInput: no room for a note.
    """

    def __init__(self, memory: Memory, *, user: str = "", agent: str = "olagpt", capacity: int = 1000) -> None:
        if capacity < 1:
            raise InvalidInput(f"capacity is {capacity}: give 1 or more")
        self.memory, self.capacity = memory, capacity
        self._user, self._agent = user, agent

    def add_mistake(self, task: Task, answer: str | None, correct: str, explanation: str = "") -> str | None:
        """Write down that `answer` was wrong; returns the note's id, None where it was right.

        A note on (nearly) the same question is replaced, not doubled.

        Raises:
            InvalidInput: the right answer is not given.
        """
        if not correct.strip():
            raise InvalidInput("a mistake is noted with its right answer: give `correct`")
        if answer is not None and normal(answer) == normal(correct):
            return None
        metadata: dict[str, Any] = {
            "answer": correct, "explanation": explanation, "options": list(task.options), "uses": 0, "wins": 0,
        }  # fmt: skip
        notes = self.notes()
        for note in notes:
            if same(note.task.question, task.question):
                self.memory.update(
                    note.id,
                    metadata=metadata | {"uses": note.uses, "wins": note.wins},
                    user=self._user,
                    agent=self._agent,
                )
                return note.id
        least = sorted(notes, key=lambda note: (note.usefulness, note.id))
        for note in least[: max(0, len(notes) + 1 - self.capacity)]:
            self.memory.forget(note.id, user=self._user, agent=self._agent)
        return self.memory.add(
            task.question,
            kind=Kind.NOTE,
            session=task.kind or _NO_KIND,
            metadata=metadata,
            user=self._user,
            agent=self._agent,
        )

    def recall(self, task: Task, strategy: Strategy = "retrieval", n: int = 3, seed: int = 0) -> list[Note]:
        """`n` notes for a task, all there are if fewer; never one on the very same question.

        Args:
            strategy: "random": any; "combine": any of the nearest kind; "retrieval": of the nearest kind, those most
                like the question, by recall's score times usefulness.
            seed: fixes what is drawn, together with the question.

        Raises:
            InvalidInput: an unknown strategy, or n below 0.
        """
        if strategy not in ("random", "retrieval", "combine") or n < 0:
            raise InvalidInput(f"strategy {strategy!r}, n {n}: random, retrieval or combine, and n from 0")
        pool = [note for note in self.notes() if normal(note.task.question) != normal(task.question)]
        if strategy != "random" and pool:
            kind = self.nearest_kind(task.kind, sorted({note.task.kind for note in pool}))
            pool = [note for note in pool if note.task.kind == kind]
        if strategy != "retrieval":
            return random.Random(f"{seed}\x1f{normal(task.question)}").sample(pool, min(n, len(pool)))
        if not pool or not n:
            return []
        hits = self.memory.search(
            task.question, len(pool) + 1, session=pool[0].task.kind, kinds=Kind.NOTE, user=self._user, agent=self._agent
        )
        likeness = {hit.id: hit.score for hit in hits}
        return sorted(pool, key=lambda note: (-likeness.get(note.id, 0.0) * note.usefulness, note.id))[:n]

    def nearest_kind(self, kind: str, kinds: Sequence[str]) -> str:
        """The one of `kinds` that is most like `kind`, by meaning where the memory has an embedder, else by words."""
        if kind in kinds or not kind.strip():
            return kind if kind in kinds else kinds[0]
        embedder = self.memory._encoder.embedder
        if embedder is not None:
            vectors = embedder.embed([kind, *kinds])
            return kinds[int((vectors[1:] @ vectors[0]).argmax())]
        return max(kinds, key=lambda one: alike(one.casefold(), kind.casefold()))

    def note_outcome(self, notes: Sequence[Note], right: bool) -> None:
        """Count that `notes` were shown, and whether the answer was right then. Notes that are gone are left out."""
        known = {note.id: note for note in self.notes()}
        for id in (note.id for note in notes if note.id in known):
            note = known[id]
            metadata = dict(self.memory.get(id, user=self._user, agent=self._agent).metadata)
            self.memory.update(
                id,
                metadata=metadata | {"uses": note.uses + 1, "wins": note.wins + right},
                user=self._user,
                agent=self._agent,
            )

    def notes(self) -> list[Note]:
        """Every note, in the order of writing."""
        return [note for record in self._records() if (note := _note(record)) is not None]

    def leaks(self, tasks: Sequence[Task]) -> list[tuple[Task, Note]]:
        """Tasks that a note is (nearly) about: whoever is tested on them has seen the answer."""
        notes = self.notes()
        return [(task, note) for task in tasks for note in notes if same(task.question, note.task.question)]

    def _records(self) -> Iterator[Record]:
        after = ""
        while page := self.memory.list(kinds=Kind.NOTE, limit=_PAGE, after=after, user=self._user, agent=self._agent):
            yield from page
            after = page[-1].id


def read_problems(path: Path) -> list[Problem]:
    """Problems of a JSON-lines file: {question, options, answer (or correct), rationale}.

    Raises:
        InvalidInput: the file cannot be read, or a line is no problem; the message says which.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as why:
        raise InvalidInput(f"cannot read problems from {path}: {why}") from None
    problems = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            problems.append(_problem(json.loads(line)))
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as why:
            raise InvalidInput(f"line {number} of {path} is no problem ({type(why).__name__}: {why})") from None
    return problems


def _problem(row: Mapping[str, Any]) -> Problem:
    options = tuple(without_letter(str(option)) for option in row.get("options") or ())
    answer = str(row["answer"] if "answer" in row else row["correct"]).strip()
    return Problem(Task(str(row["question"]), options, str(row.get("kind", ""))), answer, str(row.get("rationale", "")))


def without_letter(option: str) -> str:
    """An option without the letter in front of it."""
    return option[2:].strip() if len(option) > 1 and option[0].isalpha() and option[1] in ").:" else option.strip()


def _note(record: Record) -> Note | None:
    """The note of a record; None where somebody put something else there."""
    data = record.metadata
    answer, explanation, options = data.get("answer"), data.get("explanation", ""), data.get("options", ())
    counts = (data.get("uses", 0), data.get("wins", 0))
    sound = isinstance(answer, str) and isinstance(explanation, str) and isinstance(options, list | tuple)
    if not sound or not all(type(count) is int and count >= 0 for count in counts):
        return None
    task = Task(record.text, tuple(str(option) for option in options), record.session)
    return Note(record.id, task, str(answer), str(explanation), *counts)
