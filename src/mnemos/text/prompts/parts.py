"""What prompts share: the two messages, and texts that stay data."""

from __future__ import annotations

from html import escape

from mnemos.core.clock import iso
from mnemos.text.results import Hit

Message = dict[str, str]

_LONGEST = 2000
"""Characters of a text that are shown."""


def messages(system: str, user: str) -> list[Message]:
    """What to do, and with what."""
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def data(text: str) -> str:
    """Text that cannot close the tag around it."""
    short = text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
    return escape(short, quote=False)


def told(hit: Hit) -> str:
    """What a model is shown of a hit: when it was said, by whom, and its text."""
    when = f"{iso(hit.at)} " if hit.at is not None else ""
    return f"{when}{hit.speaker}: {hit.text}" if hit.speaker else f"{when}{hit.text}"
