"""The memory that Mem-alpha writes: one core text, semantic and episodic entries, and the tools that change them.

Source: Mem-alpha: Learning Memory Construction via Reinforcement Learning (2025), section 3.1. The tools are a
state machine without clock or chance: the same calls on the same memory give the same memory and the same
outcomes. Ids are digests of what was inserted by which chunk, not four hex digits that soon collide, so that a
log of calls can be replayed, whole or in part.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import InvalidInput
from mnemos.text.encode.analyse import STOP_WORDS
from mnemos.text.recipes.mem_alpha.statements import key_of

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
KINDS = ("semantic", "episodic")
"""What entries are: statements that hold, and events with their time."""
CORE_LIMIT = 512
"""Tokens of the core text, which is always in the reader's context."""
ENTRY_LIMIT = 2048
"""Tokens of an entry: more than a whole chunk is no entry."""
FOUND = 20
"""Entries that a search gives at most."""
CUT = " …[cut]"
"""Ends a core text that was too long."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool, as a policy makes it; nothing in it has to be valid."""

    tool: str
    """insert, update or delete."""
    type: str
    """core, semantic or episodic."""
    content: str = ""
    id: str = ""
    """Of the entry to update or delete."""

    @classmethod
    def from_function(cls, name: str, arguments: str | Mapping[str, Any]) -> Self:
        """The call of a function-calling model; never raises: what cannot be read fails when it is applied."""
        given: Any = arguments
        if isinstance(arguments, str):
            try:
                given = json.loads(arguments)
            except (ValueError, RecursionError):
                given = {}
        given = given if isinstance(given, Mapping) else {}
        read = {key: given.get(key, "") for key in ("memory_type", "content", "memory_id")}
        kind, content, id = (value if isinstance(value, str) else "" for value in read.values())
        tool = name.removeprefix("memory_") if isinstance(name, str) else ""
        return cls(tool, kind, "" if tool == "delete" else content, id)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call came to."""

    call: ToolCall
    ok: bool
    id: str = ""
    """The entry that was inserted, updated or deleted."""
    why: str = ""
    """Why it failed."""


class Entries:
    """Texts by id in order of arrival, with an inverted list that follows every change."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._ids: dict[str, str] = {}
        self._where: dict[str, dict[str, int]] = {}
        self._about: dict[str, dict[str, None]] = {}
        self._order: dict[str, int] = {}
        self._made = 0
        self._tokens = 0

    def __len__(self) -> int:
        return len(self.texts)

    def __contains__(self, text: str) -> bool:
        return text in self._ids

    def put(self, id: str, text: str) -> None:
        """Insert, or replace in place."""
        if id in self.texts:
            self._drop(id)
        else:
            self._order[id] = self._made = self._made + 1
        self.texts[id] = text
        self._ids.setdefault(text, id)
        for word, count in counts(text).items():
            self._where.setdefault(word, {})[id] = count
        if key := key_of(text):
            self._about.setdefault(key, {})[id] = None
        self._tokens += len(words(text))

    def remove(self, id: str) -> None:
        """Take an entry out."""
        self._drop(id)
        del self.texts[id], self._order[id]

    def _drop(self, id: str) -> None:
        text = self.texts[id]
        if self._ids.get(text) == id:
            del self._ids[text]
        for word in counts(text):
            holders = self._where[word]
            del holders[id]
            if not holders:
                del self._where[word]
        if key := key_of(text):
            del self._about[key][id]
            if not self._about[key]:
                del self._about[key]
        self._tokens -= len(words(text))

    def copy(self) -> Entries:
        """An independent copy."""
        made = Entries()
        made.texts, made._ids, made._tokens = dict(self.texts), dict(self._ids), self._tokens
        made._order, made._made = dict(self._order), self._made
        made._where = {word: dict(holders) for word, holders in self._where.items()}
        made._about = {key: dict(holders) for key, holders in self._about.items()}
        return made

    def about(self, key: str) -> str:
        """The id of the oldest entry with this key; empty where there is none."""
        return next(iter(self._about.get(key, ())), "")

    def nearest(self, text: str, k: int = 1) -> list[tuple[float, str]]:
        """(similarity, id) of the entries that share most content words with `text`, best first, older first.

        The similarity is the cosine of the sets of content words, in [0, 1]; entries without one are left out.
        """
        mine = content_words(text)
        shared: dict[str, int] = {}
        for word in mine:
            for id in self._where.get(word, ()):
                shared[id] = shared.get(id, 0) + 1
        if not shared:
            return []
        scored = ((n / math.sqrt(len(mine) * len(content_words(self.texts[id]))), id) for id, n in shared.items())
        return self._best(scored, k)

    def bm25(self, query: str, k: int = FOUND) -> list[tuple[float, str]]:
        """(BM25 score, id), best first, older first among equals; only entries that share a word."""
        scores: dict[str, float] = {}
        n, mean = len(self.texts), max(1.0, self._tokens / max(1, len(self.texts)))
        for word in dict.fromkeys(words(query)):
            holders = self._where.get(word)
            if not holders:
                continue
            idf = math.log1p((n - len(holders) + 0.5) / (len(holders) + 0.5))
            for id, count in holders.items():
                length = len(words(self.texts[id]))
                gain = count * (_K1 + 1) / (count + _K1 * (1 - _B + _B * length / mean))
                scores[id] = scores.get(id, 0.0) + idf * gain
        return self._best(((value, id) for id, value in scores.items()), k)

    def _best(self, scored: Iterable[tuple[float, str]], k: int) -> list[tuple[float, str]]:
        def place(pair: tuple[float, str]) -> tuple[float, int]:
            return -pair[0], self._order[pair[1]]

        if k == 1:
            best = min(scored, key=place, default=None)
            return [best] if best else []
        return sorted(scored, key=place)[:k]


class CoreSemanticEpisodicMemory:
    """Core text, semantic entries, episodic entries. `apply` is the only way to change it.

    Time per call O(words of the text); space O(words held).

    Args:
        core_limit: tokens of the core text; what is longer is cut, and says so.
        embed: [n, dim] unit vectors of n texts, for the search by meaning.
    """

    def __init__(self, core_limit: int = CORE_LIMIT, embed: Embed | None = None) -> None:
        if core_limit < 1:
            raise InvalidInput(f"core_limit is {core_limit}: give the tokens that the core text may have, at least 1")
        self.core = ""
        self.core_limit = core_limit
        self.embed = embed
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self.entries = {kind: Entries() for kind in KINDS}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CoreSemanticEpisodicMemory) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]

    @property
    def semantic(self) -> Mapping[str, str]:
        """Statements by id, oldest first."""
        return self.entries["semantic"].texts

    @property
    def episodic(self) -> Mapping[str, str]:
        """Events by id, oldest first."""
        return self.entries["episodic"].texts

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data in order: what two equal memories agree in."""
        return {"core": self.core, **{kind: list(held.texts.items()) for kind, held in self.entries.items()}}

    def copy(self) -> CoreSemanticEpisodicMemory:
        """An independent copy."""
        made = CoreSemanticEpisodicMemory(self.core_limit, self.embed)
        made.core = self.core
        made.entries = {kind: held.copy() for kind, held in self.entries.items()}
        return made

    def texts(self) -> Iterator[str]:
        """Everything held, core first."""
        if self.core:
            yield self.core
        for held in self.entries.values():
            yield from held.texts.values()

    def tokens(self) -> int:
        """Tokens held in all."""
        return sum(count_tokens(text) for text in self.texts())

    def apply(self, call: ToolCall, chunk: str = "", id: str = "") -> Outcome:
        """Do what `call` says, or nothing; one outcome either way, and never an error.

        Args:
            chunk: what the call was made for; goes into the id of an inserted entry.
            id: the id that an insert shall have, in a replay.
        """
        if call.tool == "insert":
            return self._insert(call, chunk, id)
        if call.tool == "update":
            return self._update(call)
        if call.tool == "delete":
            return self._delete(call)
        return Outcome(call, False, why=f"no tool {call.tool[:40]!r}: insert, update, delete")

    def apply_all(self, calls: Iterable[ToolCall], chunk: str = "") -> list[Outcome]:
        """One outcome per call, in order. Calls may come lazily: each is asked for when the one before is done."""
        return [self.apply(call, chunk) for call in calls]

    def search(self, type: str, query: str, method: str = "bm25") -> list[tuple[str, str]]:
        """(id, text) of up to 20 entries of a kind, best first: by words ("bm25") or by meaning ("dense").

        Raises:
            InvalidInput: an unknown kind or method, or "dense" without an embedder.
        """
        if type not in KINDS:
            raise InvalidInput(f"cannot search {type!r}: semantic or episodic; the core is always in view")
        if method not in ("bm25", "dense"):
            raise InvalidInput(f"cannot search by {method!r}: bm25 or dense")
        texts = self.entries[type].texts
        found = self._dense(query, texts) if method == "dense" else [id for _, id in self.entries[type].bm25(query)]
        return [(id, texts[id]) for id in found]

    def _dense(self, query: str, texts: Mapping[str, str]) -> list[str]:
        if self.embed is None:
            raise InvalidInput("a search by meaning needs an embedder: give embed=")
        if not texts:
            return []
        self._vectors = {text: self._vectors[text] for text in self.texts() if text in self._vectors}
        fresh = [text for text in dict.fromkeys(texts.values()) if text not in self._vectors]
        self._vectors.update(zip(fresh, self.embed(fresh), strict=True) if fresh else ())
        cosines = np.array([self._vectors[text] for text in texts.values()]) @ self.embed([query])[0]
        return [list(texts)[n] for n in np.argsort(-cosines, kind="stable")[:FOUND].tolist()]

    def _insert(self, call: ToolCall, chunk: str, id: str) -> Outcome:
        if call.type == "core":
            return Outcome(call, False, why="the core is updated, not inserted into")
        if why := _unfit(call):
            return Outcome(call, False, why=why)
        held = self.entries[call.type]
        if call.content in held:
            return Outcome(call, False, why="skipped: it is there already")
        made = id or self._free(call, chunk)
        if made in held.texts:
            return Outcome(call, False, why=f"the id {made} is taken")
        held.put(made, call.content)
        return Outcome(call, True, made)

    def _update(self, call: ToolCall) -> Outcome:
        if why := _unfit(call):
            return Outcome(call, False, why=why)
        if call.type == "core":
            self.core = _cut(call.content, self.core_limit)
            return Outcome(call, True)
        if call.id not in self.entries[call.type].texts:
            return Outcome(call, False, why=f"no {call.type} entry {call.id[:40]!r}")
        self.entries[call.type].put(call.id, call.content)
        return Outcome(call, True, call.id)

    def _delete(self, call: ToolCall) -> Outcome:
        if call.type not in KINDS:
            return Outcome(call, False, why=f"cannot delete {call.type[:40]!r}: semantic or episodic entries")
        if call.id not in self.entries[call.type].texts:
            return Outcome(call, False, why=f"no {call.type} entry {call.id[:40]!r}")
        self.entries[call.type].remove(call.id)
        return Outcome(call, True, call.id)

    def _free(self, call: ToolCall, chunk: str) -> str:
        number = 0
        while (id := _digest(chunk, call.type, call.content, str(number))) in self.entries[call.type].texts:
            number += 1  # the same text was inserted by this chunk before, and has been changed since
        return id


def tool_schemas(search: bool = False) -> list[dict[str, Any]]:
    """The tools as JSON schemas for a function-calling model; `ToolCall.from_function` reads its calls.

    Args:
        search: with the tool that the reader has, and the writer has not.
    """
    tools = [
        _tool("insert", "Add a new entry.", ("memory_type", "content"), kinds=KINDS),
        _tool("update", "Replace the core text, or the entry with this id.", ("memory_type", "content", "memory_id"),
              kinds=("core", *KINDS), needed=("memory_type", "content")),
        _tool("delete", "Remove the entry with this id.", ("memory_type", "memory_id"), kinds=KINDS),
    ]  # fmt: skip
    if search:
        search_tool = _tool("search", f"Find up to {FOUND} entries.", ("memory_type", "query", "method"), kinds=KINDS)
        search_tool["function"]["parameters"]["properties"]["method"]["enum"] = ["bm25", "dense"]
        tools.append(search_tool)
    return tools


_SAYS = {
    "memory_type": "semantic: a statement that holds; episodic: an event, beginning with its time; core: who the "
    "user is and what they want, one short text",
    "content": "the text to be kept",
    "memory_id": "the id of an entry that is shown",
    "query": "what to look for",
    "method": "bm25: by words; dense: by meaning",
}


def _tool(
    name: str, says: str, takes: Sequence[str], kinds: Sequence[str], needed: Sequence[str] = ()
) -> dict[str, Any]:
    properties: dict[str, Any] = {one: {"type": "string", "description": _SAYS[one]} for one in takes}
    properties["memory_type"]["enum"] = list(kinds)
    parameters = {
        "type": "object", "properties": properties, "required": [*(needed or takes)], "additionalProperties": False,
    }  # fmt: skip
    return {"type": "function", "function": {"name": f"memory_{name}", "description": says, "parameters": parameters}}


# -- words -----------------------------------------------------------------------------------

_K1, _B = 1.2, 0.75
_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"\w+|[^\w\s]")


@lru_cache(maxsize=20_000)
def words(text: str) -> tuple[str, ...]:
    """Lower-cased runs of word characters, in order."""
    return tuple(_WORD.findall(text.lower()))


@lru_cache(maxsize=20_000)
def counts(text: str) -> Mapping[str, int]:
    """How often each word occurs."""
    found: dict[str, int] = {}
    for word in words(text):
        found[word] = found.get(word, 0) + 1
    return found


@lru_cache(maxsize=20_000)
def content_words(text: str) -> tuple[str, ...]:
    """The distinct words that carry a topic, in order."""
    found = dict.fromkeys(words(text))
    return tuple(word for word in found if word not in STOP_WORDS) or tuple(found)


@lru_cache(maxsize=20_000)
def count_tokens(text: str) -> int:
    """Words and marks: the measure of every limit and of the compression reward."""
    return len(_TOKEN.findall(text))


def _cut(text: str, limit: int) -> str:
    for number, match in enumerate(_TOKEN.finditer(text), 1):
        if number == limit:
            rest = text[match.end() :]
            return text[: match.end()] + CUT if rest.strip() else text
    return text


def _unfit(call: ToolCall) -> str:
    if call.type not in ("core", *KINDS):
        return f"no memory {call.type[:40]!r}: core, semantic or episodic"
    if not call.content.strip():
        return "no content"
    if call.type != "core" and len(call.content) > 4 * ENTRY_LIMIT and count_tokens(call.content) > ENTRY_LIMIT:
        return f"more than {ENTRY_LIMIT} tokens: an entry is one statement"
    return ""


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


__all__ = [
    "CORE_LIMIT", "FOUND", "KINDS", "CoreSemanticEpisodicMemory", "Entries", "Outcome", "ToolCall", "content_words",
    "count_tokens", "counts", "tool_schemas", "words",
]  # fmt: skip
