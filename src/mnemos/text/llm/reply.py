"""Replies, and how a shape is read out of whatever a model wrote.

A reply is data from outside. It is searched for JSON in one pass (fences and prose around it are
skipped; trailing commas, single quotes and Python's constants are forgiven) and then held against
a pydantic model; nothing in it is ever evaluated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mnemos.core.errors import EndpointError

Shape = TypeVar("Shape", bound=BaseModel)
Message = dict[str, str]

_STARTS = 8
"""Places that are tried as the start of JSON: more hints at noise, and each costs a pass over the text."""
_DEEPEST = 100
"""Levels of nesting beyond which it is no shape of ours."""
_ERRORS = 8
"""Mistakes that are told to the model at once."""
_OPEN = re.compile(r"[{\[]")
_TOKEN = re.compile(
    r"""(?P<double>"(?:[^"\\]++|\\.)*+(?:"|\Z))"""
    # an apostrophe inside a single-quoted string does not end it: what ends it is followed by JSON's punctuation
    r"""|(?P<single>'(?:[^'\\]++|\\.|'(?!\s*+[,:}\]]))*+(?:'|\Z))"""
    r"""|(?P<spare>,(?=\s*+[}\]]))|(?P<open>[{\[])|(?P<close>[}\]])|(?P<word>\b(?:True|False|None)\b)""",
    re.DOTALL,
)
_WORDS = {"True": "true", "False": "false", "None": "null"}


class BadReply(EndpointError):
    """The model answered, and the answer cannot be used."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, and what it cost."""

    text: str
    tokens: int
    """Prompt and completion together, as the endpoint counts; 0 if it does not say."""


class Unreadable(ValueError):
    """No JSON of the wanted shape. The message is written for the model that made the mistake."""


def read(text: str, shape: type[Shape]) -> Shape:
    """The first JSON value in `text` that fits `shape`. Time and space are linear in the text.

    Raises:
        Unreadable: there is none.
    """
    first: ValidationError | None = None
    for value in _values(text):
        try:
            return shape.model_validate(value)
        except ValidationError as why:
            first = first or why
        except RecursionError:
            continue
    if first is None:
        raise Unreadable("The reply holds no complete JSON value.")
    told = [
        f"{'.'.join(str(step) for step in error['loc']) or 'the whole'}: {error['msg']}"
        for error in first.errors(include_url=False, include_context=False, include_input=False)[:_ERRORS]
    ]
    raise Unreadable("; ".join(line[:200] for line in told))


def with_schema(messages: list[Message], schema: dict[str, Any]) -> list[Message]:
    """`messages`, told to answer in JSON of `schema`: endpoints that cannot enforce it only know it from here."""
    ask = f"Reply with JSON that fits this schema, and nothing else:\n{json.dumps(schema, ensure_ascii=False)}"
    if messages and messages[0]["role"] == "system":
        return [{"role": "system", "content": f"{messages[0]['content']}\n\n{ask}"}, *messages[1:]]
    return [{"role": "system", "content": ask}, *messages]


def with_mistake(messages: list[Message], reply: str, why: Unreadable) -> list[Message]:
    """`messages` with the reply that could not be used, and what was wrong with it."""
    return [
        *messages,
        {"role": "assistant", "content": reply[:4000]},
        {"role": "user", "content": f"That cannot be used. {why} Reply again, with the corrected JSON only."},
    ]


def _values(text: str) -> Iterator[Any]:
    for span in islice(_spans(text), _STARTS):
        try:
            yield json.loads(span, strict=False, parse_constant=_no_number)
        except (ValueError, RecursionError):
            continue


def _spans(text: str) -> Iterator[str]:
    """Balanced stretches of JSON in `text`, mended."""
    at = starts = 0
    while starts < _STARTS and (start := _OPEN.search(text, at)):
        starts += 1
        mended, end = _mended(text, start.start())
        at = end or start.end()
        if end:
            yield mended


def _mended(text: str, start: int) -> tuple[str, int]:
    """The value that opens at `start` as strict JSON, and where it ends; 0 if it does not, or is too deep."""
    out: list[str] = []
    depth, at = 0, start
    for token in _TOKEN.finditer(text, start):
        out.append(text[at : token.start()])
        at, found = token.end(), token.group()
        kind = token.lastgroup
        if kind == "single":
            out.append(_requoted(found))
        elif kind == "word":
            out.append(_WORDS[found])
        elif kind != "spare":
            out.append(found)
        depth += (kind == "open") - (kind == "close")
        if not depth:
            return "".join(out), at
        if depth > _DEEPEST:
            break
    return "", 0


def _requoted(single: str) -> str:
    inner = single[1:-1].replace("\\'", "'")
    return '"' + re.sub(r'\\.|"', lambda m: '\\"' if m.group() == '"' else m.group(), inner, flags=re.DOTALL) + '"'


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
