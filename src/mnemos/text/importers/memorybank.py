"""MemoryBank's JSON, both ways: per user a dated log of exchanges, summaries and portraits of days, and of all days.

    {user: {"name", "history": {date: [{"query", "response"}]}, "summary": {date: text}, "personality": {date: text},
            "overall_history": text, "overall_personality": text}}

Paper: Zhong et al., MemoryBank (2023); the files are those of zhongwanjun/MemoryBank-SiliconFriend. Dates are
YYYY-MM-DD; a summary may also be {"content": text}. Names come with stray spaces, which are taken off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnemos.core.clock import iso, parse_time
from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.importers.base import UNREADABLE, Report, Skipped, checked, digest, documents, head, key_of, open_bytes
from mnemos.text.records import Item

ASSISTANT = "AI"
"""Speaker of the responses."""


class MemoryBankLog:
    """Both turns of every exchange as an item each; one session per user and day."""

    name = "memorybank"
    description = "MemoryBank's users with dated exchanges (memory_bank_en.json, also .xz or .gz)"

    def detects(self, path: Path) -> bool:
        try:
            return _SHAPE.search(head(path).decode("utf-8", "replace")) is not None
        except (InvalidInput, NotFound, OSError):
            return False

    def read(self, path: Path, skipped: Report) -> Iterator[Item]:
        for name, user in _users(path):
            yield from _items(name, user, skipped)


@dataclass(frozen=True, slots=True)
class Person:
    """One user of such a file."""

    name: str
    items: list[Item]
    """Turns in order; the assistant's have the source "assistant"."""
    summaries: Mapping[str, str] = field(default_factory=dict)
    """By date, as `portraits`."""
    portraits: Mapping[str, str] = field(default_factory=dict)
    history: str = ""
    """What happened, over all days."""
    portrait: str = ""
    """Who it is, over all days."""


def load_memorybank(path: str | Path) -> list[Person]:
    """The users of a file.

    Raises:
        NotFound: there is no such file.
        InvalidInput: damaged, or an exchange cannot be used: nothing is left out silently.
    """
    path = Path(path)

    def refuse(what: Skipped) -> None:
        raise InvalidInput(f"{path.name}, {what.where}: {what.why}")

    return [_person(name, user, refuse) for name, user in _users(path)]


def save_memorybank(people: Sequence[Person], path: str | Path) -> None:
    """Write `people` as such a file; `load_memorybank` reads the same back.

    Raises:
        InvalidInput: two people of one name, a turn without a time, or a file that cannot be written.
    """
    names = [person.name for person in people]
    if twice := next((name for n, name in enumerate(names) if name in names[:n]), None):
        raise InvalidInput(f"two people are called {twice!r}: the file keeps them by name, rename one")
    data = {person.name: _as_json(person) for person in people}
    try:
        Path(path).write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
    except OSError as why:
        raise InvalidInput(f"{path} cannot be written ({why.strerror}): choose another place") from None


def load_probes(path: str | Path) -> dict[str, list[str]]:
    """Questions by user, from JSON lines of {user: [question]}.

    Raises:
        NotFound: there is no such file.
        InvalidInput: damaged, or a line of another shape.
    """
    path = Path(path)
    found: dict[str, list[str]] = {}
    try:
        with open_bytes(path) as file:
            lines = [json.loads(line) for line in file if line.strip()]
    except UNREADABLE as why:
        raise InvalidInput(f"{path} cannot be read ({why}): it is damaged or cut off, get it again") from None
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict) or not all(_texts(questions) for questions in line.values()):
            raise InvalidInput(f"{path.name}, line {number}: it must be an object of users with lists of questions")
        for name, questions in line.items():
            found.setdefault(name.strip(), []).extend(questions)
    return found


# -- parts ---------------------------------------------------------------------------------

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SHAPE = re.compile(r'"history"\s*:\s*\{\s*"\d{4}-\d{2}-\d{2}"\s*:\s*\[\s*\{[^{}]{0,200}?"query"\s*:')


def _users(path: Path) -> Iterator[tuple[str, Any]]:
    for name, value in documents(path):
        if not isinstance(value, dict):
            raise InvalidInput(f"{name} holds a JSON {type(value).__name__}: MemoryBank keeps an object of users")
        for user, data in value.items():
            yield user.strip(), data


def _items(name: str, user: Any, skipped: Report) -> Iterator[Item]:
    history = user.get("history") if isinstance(user, dict) else None
    if not isinstance(history, dict):
        skipped(Skipped(name, "no object with a history of dates"))
        return
    for date, exchanges in history.items():
        if not _DATE.fullmatch(date) or not isinstance(exchanges, list):
            skipped(Skipped(f"{name}, {date}", "not a date (YYYY-MM-DD) with a list of exchanges"))
            continue
        for number, exchange in enumerate(exchanges, 1):
            if not isinstance(exchange, dict):
                skipped(Skipped(f"{name}, {date}, exchange {number}", "no object with query and response"))
                continue
            yield from _turns(name, date, number, exchange, skipped)


def _turns(name: str, date: str, number: int, exchange: Mapping[str, Any], skipped: Report) -> Iterator[Item]:
    for side, speaker, source in (("query", name, "user"), ("response", ASSISTANT, "assistant")):
        text = exchange.get(side)
        if text == "":  # somebody who did not answer
            continue
        fields = {
            "text": text, "speaker": speaker, "source": source, "session": f"{name}/{date}", "at": date,
            "metadata": {"user": name, "exchange": number},
            "key": key_of("memorybank", name, date, number, side, digest(str(text))),
        }  # fmt: skip
        item = checked(fields, f"{name}, {date}, exchange {number}, {side}", skipped)
        if item is not None:
            yield item


def _person(name: str, user: Any, refuse: Report) -> Person:
    items = list(_items(name, user, refuse))
    return Person(
        name, items, _by_date(name, user, "summary"), _by_date(name, user, "personality"),
        _text(user.get("overall_history")), _text(user.get("overall_personality")),
    )  # fmt: skip


def _by_date(name: str, user: Mapping[str, Any], what: str) -> dict[str, str]:
    days = user.get(what) or {}
    if not isinstance(days, dict):
        raise InvalidInput(f"{name}: {what} is no object of dates")
    return {date: text for date, value in days.items() if (text := _text(value))}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _as_json(person: Person) -> dict[str, Any]:
    history: dict[str, list[dict[str, str]]] = {}
    for item in person.items:
        if item.at is None:
            raise InvalidInput(f"{person.name}: {item.text[:60]!r} has no time, and MemoryBank keeps turns by date")
        day = history.setdefault(iso(parse_time(item.at))[:10], [])
        answer = item.source == "assistant"
        if answer and day and not day[-1]["response"]:
            day[-1]["response"] = item.text
        else:
            day.append({"query": "", "response": item.text} if answer else {"query": item.text, "response": ""})
    return {
        "name": person.name, "summary": dict(person.summaries), "personality": dict(person.portraits),
        "overall_history": person.history, "overall_personality": person.portrait, "history": history,
    }  # fmt: skip
