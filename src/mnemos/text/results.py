"""What recall gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mnemos.core.clock import Time, iso
from mnemos.text.records import Kind


@dataclass(frozen=True, slots=True)
class Hit:
    """A record that recall found, and why."""

    id: str
    text: str
    score: float
    """Estimated probability that it is evidence for the question, in [0, 1]; higher is better."""
    kind: Kind
    speaker: str
    at: Time | None
    session: str
    metadata: Mapping[str, Any]
    why: tuple[str, ...]
    """Reasons in words: the seeds that named it, and the path that led to it."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """What each feature added to the log odds; filled by `search(..., explain=True)`."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data; `at` in ISO 8601."""
        data = asdict(self)
        data["kind"] = str(self.kind)
        data["at"] = None if self.at is None else iso(self.at)
        data["score"] = round(self.score, 4)
        if not self.parts:
            del data["parts"]
        return data


@dataclass(frozen=True, slots=True)
class Answer:
    """What `ask` says."""

    text: str
    """The answer, or `NOT_IN_MEMORY`."""
    hits: tuple[Hit, ...]
    confidence: float
    """Estimated probability that memory holds the answer, in [0, 1]."""
    found: bool
    """False where the answer is `NOT_IN_MEMORY`."""
    citations: tuple[str, ...] = ()
    """Ids of the records that the text rests on."""
    tokens: int = 0
    """Tokens that a language model was paid for; 0 without one."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "text": self.text,
            "confidence": round(self.confidence, 4),
            "found": self.found,
            "citations": list(self.citations),
            "tokens": self.tokens,
            "hits": [hit.as_dict() for hit in self.hits],
        }


NOT_IN_MEMORY = "not in memory"
