"""LongMemEval: chat histories of a user with an assistant, and questions that need the right session.

Paper: Wu et al., LongMemEval: Benchmarking Chat Assistants on Long-Term Interactive Memory (2024).
Reads the official files (oracle, S, M), and the variant with several questions per history, whose fields
are plural: questions, answers, and a list of answer_session_ids for each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mnemos.core.clock import Time
from mnemos.core.errors import InvalidInput
from mnemos.text.importers.base import Report, Skipped, checked, digest, documents, key_of, listed, top_keys
from mnemos.text.records import Item

_ROLES = ("user", "assistant")


class LongMemEval:
    """Every message as one item, sessions in the order of their dates."""

    name = "longmemeval"
    description = "LongMemEval benchmark histories (oracle, S, M; also .xz or .gz)"

    def detects(self, path: Path) -> bool:
        # the head of a file with long histories may end before the sessions do
        return {"question_id", "question_type"} <= top_keys(path)

    def read(self, path: Path, skipped: Report) -> Iterator[Item]:
        for name, instance in _instances(path):
            if not isinstance(instance, dict):
                skipped(Skipped(name, "not an object"))
                continue
            for session in _sessions(name, instance, skipped):
                yield from session.items(skipped)


@dataclass(frozen=True, slots=True)
class HaystackQuestion:
    """One question about a history."""

    question: str
    answer: str
    asked_at: Time | None
    gold_sessions: tuple[str, ...]
    gold_turns: tuple[tuple[str, int], ...]
    """(session, index of the message in it) of messages of gold sessions that are marked as the answer."""
    abstention: bool
    """The history does not hold the answer; retrieval metrics leave it out."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One history with its questions."""

    id: str
    type: str
    items: list[Item]
    questions: list[HaystackQuestion]


def load_longmemeval(path: str | Path) -> list[Instance]:
    """The histories of a LongMemEval file; one question each in the official files.

    Raises:
        NotFound: there is no such file.
        InvalidInput: damaged, or a message or question cannot be used: nothing is left out silently.
    """
    path = Path(path)

    def refuse(what: Skipped) -> None:
        raise InvalidInput(f"{path.name}, {what.where}: {what.why}")

    return [_instance(name, raw, refuse) for name, raw in _instances(path)]


# -- parts ---------------------------------------------------------------------------------

_DATE = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(?:\s*\(\w+\))?(?:\s+(\d{1,2}):(\d{2}))?")


def history_time(value: Any) -> Time | None:
    """UTC seconds of "2023/07/12 (Wed) 10:14"; None if it is anything else."""
    match = _DATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    year, month, day, hour, minute = (int(part or 0) for part in match.groups())
    try:
        return datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class _Session:
    id: str
    at: Time | None
    messages: list[Any]
    where: str

    def items(self, skipped: Report) -> Iterator[Item]:
        for index, message in enumerate(self.messages):
            where = f"{self.where}, message {index + 1}"
            role = message.get("role") if isinstance(message, dict) else None
            if role not in _ROLES:
                skipped(Skipped(where, f"role {role}: only user and assistant are remembered"))
                continue
            text = message.get("content")
            # the same session serves in many histories: in one memory, and at the same time, it is one
            key = key_of("longmemeval", self.id, self.at, index, digest(str(text)))
            fields = {
                "text": text, "speaker": role, "source": role, "session": self.id, "at": self.at,
                "metadata": {"turn": index}, "key": key,
            }  # fmt: skip
            item = checked(fields, where, skipped)
            if item is not None:
                yield item

    def marked(self) -> list[tuple[str, int]]:
        """The messages that are said to hold an answer."""
        return [
            (self.id, i) for i, m in enumerate(self.messages) if isinstance(m, dict) and m.get("has_answer") is True
        ]


def _instances(path: Path) -> Iterator[tuple[str, Any]]:
    for name, value in documents(path):
        for number, raw in enumerate(listed(value, name, "LongMemEval"), 1):
            label = raw.get("question_id") if isinstance(raw, dict) else None
            yield str(label or f"instance {number}"), raw


def _sessions(name: str, raw: Mapping[str, Any], skipped: Report) -> list[_Session]:
    """The sessions of a history in the order of their dates; undated ones stay behind their neighbour."""
    lists = [raw.get(key) for key in ("haystack_session_ids", "haystack_dates", "haystack_sessions")]
    ids, dates, histories = (value if isinstance(value, list) else None for value in lists)
    if ids is None or dates is None or histories is None or not len(ids) == len(dates) == len(histories):
        skipped(Skipped(name, "haystack_session_ids, haystack_dates, haystack_sessions are not lists of one length"))
        return []
    out: list[tuple[Time, _Session]] = []
    last = float("-inf")
    for id, date, messages in zip(ids, dates, histories, strict=True):
        where = f"{name}, session {id}"
        if not isinstance(id, str) or not isinstance(messages, list):
            skipped(Skipped(where, "it needs an id and a list of messages"))
            continue
        at = history_time(date)
        if at is None:
            skipped(Skipped(f"{where}, date", f"{date!r} is no date; its messages have no time"))
        last = last if at is None else at
        out.append((last, _Session(id, at, messages, where)))
    return [session for _, session in sorted(out, key=lambda pair: pair[0])]


def _instance(name: str, raw: Any, refuse: Report) -> Instance:
    if not isinstance(raw, dict):
        raise InvalidInput(f"{name} is a JSON {type(raw).__name__}, not an object with a question and its haystack")
    sessions = _sessions(name, raw, refuse)
    marked = [turn for session in sessions for turn in session.marked()]
    asked_at = history_time(raw.get("question_date"))
    questions = []
    for question, answer, gold in _asked(name, raw):
        turns = tuple(turn for turn in marked if turn[0] in gold)
        # the id speaks of the benchmark's own question, which a list of questions need not hold
        abstention = not gold if "questions" in raw else name.endswith("_abs")
        questions.append(HaystackQuestion(question, answer, asked_at, gold, turns, abstention))
    items = [item for session in sessions for item in session.items(refuse)]
    return Instance(name, str(raw.get("question_type", "")), items, questions)


def _asked(name: str, raw: Mapping[str, Any]) -> list[tuple[str, str, tuple[str, ...]]]:
    """(question, answer, ids of the sessions that hold it) of one history."""
    if "questions" in raw:
        columns = [raw.get("questions"), raw.get("answers"), raw.get("answer_session_ids")]
    else:
        columns = [[raw.get("question")], [raw.get("answer")], [raw.get("answer_session_ids", [])]]
    texts, answers, golds = (column if isinstance(column, list) else [] for column in columns)
    if not texts or not len(texts) == len(answers) == len(golds):
        raise InvalidInput(f"{name}: questions, answers and answer_session_ids are not lists of one length")
    for text, gold in zip(texts, golds, strict=True):
        if not isinstance(text, str) or not isinstance(gold, list) or not all(isinstance(id, str) for id in gold):
            raise InvalidInput(
                f"{name}: a question needs a text and a list of answer session ids, not {text!r}, {gold!r}"
            )
    return [(q, "" if a is None else str(a), tuple(gold)) for q, a, gold in zip(texts, answers, golds, strict=True)]
