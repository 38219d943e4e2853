"""LoCoMo: very long conversations of two people, with questions and the turns that answer them.

Paper: Maharana et al., Evaluating Very Long-Term Conversational Memory of LLM Agents (2024).
Categories: 1 multi-hop, 2 temporal, 3 open-domain, 4 single-hop, 5 adversarial.
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

_SHAPES = ({"conversation", "sample_id"}, {"conversation", "qa"})


class Locomo:
    """Every turn as one item, with the caption of the image it shares."""

    name = "locomo"
    description = "LoCoMo benchmark conversations (locomo10.json, also .xz or .gz)"

    def detects(self, path: Path) -> bool:
        keys = top_keys(path)
        return any(shape <= keys for shape in _SHAPES)

    def read(self, path: Path, skipped: Report) -> Iterator[Item]:
        for name, sample in _samples(path):
            if not isinstance(sample, dict):
                skipped(Skipped(name, "not an object"))
                continue
            yield from _turns(name, sample, skipped)


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a conversation; `evidence` are ids of turns, as in `Item.metadata["dia_id"]`."""

    question: str
    answer: str | None
    adversarial: str | None
    """The tempting wrong answer of category 5."""
    category: int
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One LoCoMo sample."""

    sample_id: str
    speakers: tuple[str, ...]
    items: list[Item]
    questions: list[Question]
    unresolved: tuple[str, ...] = ()
    """Evidence that names no turn, and is therefore in no question's `evidence`."""


def load_locomo(path: str | Path) -> list[Conversation]:
    """The conversations of a LoCoMo file with their questions, evidence ids normalised.

    Raises:
        NotFound: there is no such file.
        InvalidInput: damaged, or a turn or question cannot be used: nothing is left out silently.
    """
    path = Path(path)

    def refuse(what: Skipped) -> None:
        raise InvalidInput(f"{path.name}, {what.where}: {what.why}")

    return [_conversation(name, sample, refuse) for name, sample in _samples(path)]


def normalise_evidence(evidence: Any) -> list[str]:
    """Turn ids of a question's raw evidence: "D8:6; D9:17", "D:11:26" and "D30:05" become ids, "D" nothing.

    Pieces that are no id of any shape come back as they are, to be listed as unresolved.
    """
    found: dict[str, None] = {}
    for raw in evidence if isinstance(evidence, list) else [evidence]:
        for piece in re.split(r"[;,\s]+", raw) if isinstance(raw, str) else []:
            match = _DIA_ID.fullmatch(piece)
            if match:
                found[f"D{int(match[1])}:{int(match[2])}"] = None
            elif piece.strip("D:"):
                found[piece] = None
    return list(found)


# -- parts ---------------------------------------------------------------------------------

_DIA_ID = re.compile(r"D:?(\d{1,9}):(\d{1,9})")
_SESSION = re.compile(r"session_(\d{1,9})")
_DATE = re.compile(r"(\d{1,2}):(\d{2})\s*([ap])\.?m\.?\s+on\s+(\d{1,2})\s+(\w+),?\s+(\d{4})", re.IGNORECASE)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def session_time(value: Any) -> Time | None:
    """UTC seconds of "1:56 pm on 8 May, 2023"; None if it is anything else."""
    match = _DATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    hour, minute, half, day, month, year = match.groups()
    try:
        number = _MONTHS.index(month[:3].lower()) + 1
        if not 1 <= int(hour) <= 12:
            return None
        clock = int(hour) % 12 + (12 if half.lower() == "p" else 0)
        return datetime(int(year), number, int(day), clock, int(minute), tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _samples(path: Path) -> Iterator[tuple[str, Any]]:
    for name, value in documents(path):
        for number, sample in enumerate(listed(value, name, "LoCoMo"), 1):
            label = sample.get("sample_id") if isinstance(sample, dict) else None
            yield str(label or f"sample {number}"), sample


def _turns(name: str, sample: Mapping[str, Any], skipped: Report) -> Iterator[Item]:
    conversation = sample.get("conversation")
    if not isinstance(conversation, dict):
        skipped(Skipped(name, "no conversation object"))
        return
    numbers = sorted(int(m[1]) for key in conversation if (m := _SESSION.fullmatch(key)))
    for number in numbers:
        session = f"{name}/session_{number}"
        turns = conversation.get(f"session_{number}")
        if not isinstance(turns, list):
            skipped(Skipped(session, "not a list of turns"))
            continue
        date = conversation.get(f"session_{number}_date_time")
        at = session_time(date)
        if at is None and turns:
            skipped(Skipped(f"{session}, date", f"{date!r} is no date; its turns have no time"))
        for place, turn in enumerate(turns, 1):
            item = _item(name, session, at, place, turn, skipped)
            if item is not None:
                yield item


def _item(name: str, session: str, at: Time | None, place: int, turn: Any, skipped: Report) -> Item | None:
    where = f"{session}, turn {place}"
    if not isinstance(turn, dict) or not all(isinstance(turn.get(name), str) for name in ("text", "dia_id")):
        skipped(Skipped(where, "no object with a text and a dia_id"))
        return None
    text, caption, dia_id = turn["text"], turn.get("blip_caption"), turn.get("dia_id")
    if isinstance(caption, str) and caption.strip():
        text = f"{text} [shares {caption}]"
    metadata = {"dia_id": dia_id, "sample_id": name}
    fields = {
        "text": text, "speaker": turn.get("speaker"), "session": session, "at": at, "metadata": metadata,
        "key": key_of("locomo", session, dia_id, digest(text)),
    }  # fmt: skip
    return checked(fields, where, skipped)


def _conversation(name: str, sample: Any, refuse: Report) -> Conversation:
    if not isinstance(sample, dict):
        raise InvalidInput(f"{name} is a JSON {type(sample).__name__}, not an object with conversation and qa")
    items = list(_turns(name, sample, refuse))
    ids = {item.metadata["dia_id"] for item in items}
    qa = sample.get("qa", [])
    if not isinstance(qa, list):
        raise InvalidInput(f"{name}: qa is no list of questions")
    questions: list[Question] = []
    unresolved: dict[str, None] = {}
    for number, raw in enumerate(qa, 1):
        if (
            not isinstance(raw, dict)
            or not isinstance(raw.get("question"), str)
            or type(raw.get("category")) is not int
        ):
            raise InvalidInput(f"{name}, question {number}: it needs a question (text) and a category (number)")
        evidence = normalise_evidence(raw.get("evidence"))
        unresolved |= {id: None for id in evidence if id not in ids}
        questions.append(Question(
            raw["question"], _text(raw.get("answer")), _text(raw.get("adversarial_answer")), raw["category"],
            tuple(id for id in evidence if id in ids),
        ))  # fmt: skip
    conversation = sample["conversation"]
    speakers = tuple(s for side in ("speaker_a", "speaker_b") if isinstance(s := conversation.get(side), str))
    return Conversation(name, speakers, items, questions, tuple(unresolved))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
