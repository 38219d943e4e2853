"""Users, sessions, memory points and questions in the form of HaluMem (2025), read and written.

The published files come under a licence of their own (CC BY-NC-ND 4.0) and are read from wherever the
reader keeps them. Beside their fields, ours hold `fact`: what a point or a question is about, as a
tuple, which is what the deterministic judge goes by.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mnemos.core.clock import Time, to_datetime
from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.importers.base import documents, open_bytes

TIME_FORMAT = "%b %d, %Y, %H:%M:%S"
"""Of every time in the files, such as "May 08, 2025, 13:56:00"."""
INTERFERENCE = "interference"
"""Source of points that are false or irrelevant, said by the assistant: they must not be stored."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What is said to hold: subject, relation, value."""

    subject: str
    relation: str
    value: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: str
    """user or assistant."""
    content: str
    at: Time
    number: int


@dataclass(frozen=True, slots=True)
class Point:
    """A memory that a session gives reason to keep; or, if its source is interference, not to keep."""

    index: int
    content: str
    kind: str
    """Persona Memory, Event Memory or Relationship Memory."""
    source: str
    """primary (the user said it), secondary (it follows), system (the assistant did it) or interference."""
    is_update: bool
    originals: tuple[str, ...]
    """What it takes the place of."""
    importance: float
    """In [0, 1]."""
    at: Time
    fact: Fact | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """Asked right after its session."""

    question: str
    answer: str
    evidence: tuple[tuple[str, str], ...]
    """(content, kind) of the points that it rests on."""
    difficulty: str
    kind: str
    """Its type: basic recall, multi-hop, update, boundary, generalisation, conflict."""
    fact: Fact | None = None
    """What the answer says; an empty value where the right answer is that nobody said."""


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation, its points and its questions."""

    start: Time
    end: Time
    turns: tuple[Turn, ...]
    points: tuple[Point, ...] = ()
    questions: tuple[Question, ...] = ()
    unrelated: bool = False
    """A distractor: questions and answers about the world, with nothing to remember."""

    @property
    def gold(self) -> list[Point]:
        """Points that should be stored."""
        return [point for point in self.points if point.source != INTERFERENCE]

    @property
    def interference(self) -> list[Point]:
        """Points that should not."""
        return [point for point in self.points if point.source == INTERFERENCE]


@dataclass(frozen=True, slots=True)
class User:
    """One person and the sessions in time order."""

    id: str
    persona: str
    sessions: tuple[Session, ...]


# -- reading -------------------------------------------------------------------------------


def load_halumem(path: Path) -> list[User]:
    """The users of a file: JSON lines, or one JSON array; .xz and .gz allowed.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is not in this form; says where.
    """
    path = Path(path)
    with open_bytes(path) as file:
        lines = file.read(1).lstrip() == b"{"
    if not lines:
        records = [record for _, value in documents(path) for record in (value if isinstance(value, list) else [value])]
    else:
        with open_bytes(path) as file:
            records = [_line(path, number, line) for number, line in enumerate(file, 1) if line.strip()]
    if not records:
        raise NotFound(f"{path} holds no user")
    return [user_of(record, f"{path.name}, user {number}") for number, record in enumerate(records, 1)]


def _line(path: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as why:
        raise InvalidInput(f"{path.name}, line {number} is not JSON ({why}): get the file again") from None


def user_of(record: Any, where: str = "the record") -> User:
    """One user of the file's data.

    Raises:
        InvalidInput: a field is missing or of the wrong kind.
    """
    try:
        sessions = sorted((_session(one) for one in record["sessions"]), key=lambda session: session.start)
        return User(str(record["uuid"]), str(record["persona_info"]), tuple(sessions))
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        raise InvalidInput(f"{where} is not in HaluMem's form ({type(why).__name__}: {why})") from None


def _session(data: Mapping[str, Any]) -> Session:
    return Session(
        start=_time(data["start_time"]),
        end=_time(data["end_time"]),
        turns=tuple(
            Turn(str(t["role"]), str(t["content"]), _time(t["timestamp"]), int(t["dialogue_turn"]))
            for t in data["dialogue"]
        ),
        points=tuple(_point(point) for point in data.get("memory_points") or ()),
        questions=tuple(_question(question) for question in data.get("questions") or ()),
        unrelated=_truth(data.get("is_generated_qa_session", False)),
    )


def _point(data: Mapping[str, Any]) -> Point:
    return Point(
        index=int(data["index"]),
        content=str(data["memory_content"]),
        kind=str(data["memory_type"]),
        source=str(data["memory_source"]),
        is_update=_truth(data["is_update"]),
        originals=tuple(map(str, data["original_memories"] or ())),
        importance=float(data["importance"]),
        at=_time(data["timestamp"]),
        fact=_fact(data.get("fact")),
    )


def _question(data: Mapping[str, Any]) -> Question:
    return Question(
        question=str(data["question"]),
        answer=str(data["answer"]),
        evidence=tuple((str(e["memory_content"]), str(e["memory_type"])) for e in data["evidence"] or ()),
        difficulty=str(data["difficulty"]),
        kind=str(data["question_type"]),
        fact=_fact(data.get("fact")),
    )


def _fact(data: Mapping[str, Any] | None) -> Fact | None:
    return None if data is None else Fact(str(data["subject"]), str(data["relation"]), str(data["value"]))


def _truth(value: Any) -> bool:
    """Truth values arrive as the words "True" and "False", which are both true to Python."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if isinstance(value, bool):
        return value
    raise ValueError(f"{value!r} is neither True nor False")


def _time(text: str) -> Time:
    return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC).timestamp()


# -- writing -------------------------------------------------------------------------------


def dump_halumem(users: Iterable[User], path: Path) -> None:
    """Write users as JSON lines in the published form."""
    lines = (json.dumps(record_of(user), ensure_ascii=False) for user in users)
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def record_of(user: User) -> dict[str, Any]:
    """The data of one user, as the files hold it."""
    sessions = [_session_data(session) for session in user.sessions]
    return {"uuid": user.id, "persona_info": user.persona, "sessions": sessions}


def _session_data(session: Session) -> dict[str, Any]:
    data: dict[str, Any] = {
        "start_time": said_time(session.start),
        "end_time": said_time(session.end),
        "dialogue_turn_num": len(session.turns),
        "dialogue": [
            {"role": t.role, "content": t.content, "timestamp": said_time(t.at), "dialogue_turn": t.number}
            for t in session.turns
        ],
        "memory_points": [
            {
                "index": p.index, "memory_content": p.content, "memory_type": p.kind, "memory_source": p.source,
                "is_update": str(p.is_update), "original_memories": list(p.originals), "importance": p.importance,
                "timestamp": said_time(p.at), **_fact_data(p.fact),
            }
            for p in session.points
        ],
        "questions": [
            {
                "question": q.question, "answer": q.answer,
                "evidence": [{"memory_content": text, "memory_type": kind} for text, kind in q.evidence],
                "difficulty": q.difficulty, "question_type": q.kind, **_fact_data(q.fact),
            }
            for q in session.questions
        ],
    }  # fmt: skip
    return data | ({"is_generated_qa_session": True} if session.unrelated else {})


def _fact_data(fact: Fact | None) -> dict[str, Any]:
    if fact is None:
        return {}
    return {"fact": {"subject": fact.subject, "relation": fact.relation, "value": fact.value}}


def said_time(at: Time) -> str:
    """A time as the files write it."""
    return to_datetime(at).strftime(TIME_FORMAT)
