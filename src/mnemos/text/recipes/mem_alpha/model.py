"""A language model as write policy, and as judge of what was written.

Source: Mem-alpha (2025), sections 3.2 and 3.3. The paper shows the last five entries of each kind, so that older
ones can never be updated; here the five nearest to the chunk are shown, and the last five where it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from mnemos.core.errors import InvalidInput
from mnemos.text.llm import BadReply, LanguageModel
from mnemos.text.prompts.mem_alpha import Message, Verdict, Writes, judge_messages, write_messages
from mnemos.text.recipes.mem_alpha.policy import Decision, MemoryPolicy
from mnemos.text.recipes.mem_alpha.rewards import Judge
from mnemos.text.recipes.mem_alpha.statements import Chunk
from mnemos.text.recipes.mem_alpha.store import KINDS, CoreSemanticEpisodicMemory, ToolCall, count_tokens

SHOWN = 5
"""Entries of each kind in view."""
PROMPT_TOKENS = 6144
"""Tokens of a prompt; fewer entries are shown where it would be longer."""
_REPLY_TOKENS = 2048
_CALLS = 64
"""Calls per chunk that are carried out; more is no decision."""


@dataclass(frozen=True, slots=True)
class View:
    """What a policy is shown of a memory."""

    core: str
    entries: Mapping[str, list[tuple[str, str]]]
    """By kind, (id, text) of the entries in view, in order of arrival."""

    def numbered(self, kind: str) -> list[tuple[str, str]]:
        """(number, text): short names that a model copies without mistakes."""
        return [(f"{kind[0].upper()}{n}", text) for n, (_, text) in enumerate(self.entries[kind], 1)]

    def id(self, kind: str, number: str) -> str:
        """The id of a number; what is none comes back as it is, and fails when it is used."""
        named = {f"{kind[0].upper()}{n}": id for n, (id, _) in enumerate(self.entries.get(kind, ()), 1)}
        return named.get(number.strip("[] ").upper(), number)


def view(
    memory: CoreSemanticEpisodicMemory, chunk: Chunk, shown: int = SHOWN, by: Literal["nearest", "last"] = "nearest"
) -> View:
    """The core, and `shown` entries of each kind: those nearest to the chunk, or the last ones.

    Raises:
        InvalidInput: `by` is neither.
    """
    if by not in ("nearest", "last"):
        raise InvalidInput(f"cannot view by {by!r}: nearest or last")
    entries = {}
    for kind in KINDS:
        held = memory.entries[kind]
        order = {id: n for n, id in enumerate(held.texts)}
        chosen = [id for _, id in held.bm25(chunk.text, shown)] if by == "nearest" else []
        recent = list(reversed(held.texts))[: shown if by == "last" else 2 * shown]
        chosen = list(dict.fromkeys([*chosen, *recent]))[:shown]
        entries[kind] = [(id, held.texts[id]) for id in sorted(chosen, key=order.__getitem__)]
    return View(memory.core, entries)


class LLMPolicy:
    """Asks a language model once per chunk.

    A reply that cannot be used, even after the model was told why, leaves the chunk to `otherwise`.

    Args:
        llm: which model.
        otherwise: who decides where the model's reply is of no use.
    """

    def __init__(self, llm: LanguageModel, otherwise: MemoryPolicy) -> None:
        self.llm = llm
        self.otherwise = otherwise

    def act(self, chunk: Chunk, memory: CoreSemanticEpisodicMemory) -> Iterator[Decision]:
        seen, messages = _prompt(chunk, memory)
        try:
            writes = self.llm.structured(messages, Writes, max_tokens=_REPLY_TOKENS)
        except BadReply:
            yield from self.otherwise.act(chunk, memory)
            return
        for call in writes.calls[:_CALLS]:
            id = seen.id(call.memory_type, call.memory_id)
            yield Decision(ToolCall(call.tool, call.memory_type, call.content, id), by=self.llm.model)


def judge_by(llm: LanguageModel) -> Judge:
    """The content reward's verdict by a language model.

    Raises:
        EndpointError: from the judge, where the model fails.
    """
    return lambda call: llm.structured(judge_messages(call.type, call.content), Verdict, max_tokens=20).belongs


def _prompt(chunk: Chunk, memory: CoreSemanticEpisodicMemory) -> tuple[View, list[Message]]:
    shown = SHOWN
    while True:
        seen = view(memory, chunk, shown)
        messages = write_messages(chunk.text, seen.core, seen.numbered("semantic"), seen.numbered("episodic"))
        if not shown or sum(count_tokens(message["content"]) for message in messages) <= PROMPT_TOKENS:
            return seen, messages
        shown //= 2
