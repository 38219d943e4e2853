"""What is put to the test: any `Memory`, by what it says verbatim or by what it derived."""

from __future__ import annotations

from typing import Literal

from mnemos.bench.halumem.run import diff
from mnemos.bench.halumem.schema import Session, User
from mnemos.core.clock import FixedClock
from mnemos.text.memory import Memory
from mnemos.text.recipes import Recipe
from mnemos.text.records import VERBATIM, Item, Kind, Scope

_ALL = 10**6
View = Literal["turns", "derived"]


class MemorySystem:
    """A `Memory`, one scope a user.

    Args:
        memory: any recipe.
        clock: the memory's; it is set forward to each session's end.
        view: what counts as its memories: the turns that it keeps word by word, or what it derived from them (facts,
            and the strings of its recipe's traces).
    """

    def __init__(self, memory: Memory, clock: FixedClock, view: View = "derived") -> None:
        self._memory, self._clock, self._view = memory, clock, view

    def add_dialogue(self, user: User, session: Session) -> list[str]:
        """Add every turn; what the store holds more than before is what the session added."""
        self._clock.advance(max(0.0, session.end + 60 - self._clock.now()))
        before = self.snapshot(user)
        name = f"{user.id} {session.start:.0f}"
        self._memory.add(
            [
                Item(turn.content, _speaker(user, turn.role), turn.at, name, source=_source(turn.role))
                for turn in session.turns
            ],
            user=user.id,
        )
        if isinstance(self._memory.recipe, Recipe):
            self._memory.consolidate(user=user.id)  # whatever waits for a model is made now
        return diff(before, self.snapshot(user))

    def snapshot(self, user: User) -> dict[str, str]:
        """The memories of a user that are visible now, by key."""
        memory = self._memory
        kinds = VERBATIM if self._view == "turns" else (Kind.FACT,)
        records = memory.list(user=user.id, limit=_ALL, kinds=kinds)
        found = {record.id: _shown(record.speaker, record.text) for record in records}
        if self._view == "derived" and isinstance(memory.recipe, Recipe):
            _, traces, _ = memory._store.traces(Scope(user.id), memory.recipe.name)
            for trace in traces:
                for number, text in enumerate(memory.recipe.texts(trace)):
                    found[f"{trace.key} {number}"] = text
        return found

    def retrieve(self, user: User, query: str, k: int) -> list[str]:
        """What `search` finds: among facts where the view is of them and no recipe is set, else among turns."""
        facts = self._view == "derived" and not isinstance(self._memory.recipe, Recipe)
        hits = self._memory.search(query, k, user=user.id, kinds=(Kind.FACT,) if facts else VERBATIM)
        return [_shown(hit.speaker, hit.text) for hit in hits]

    def answer(self, user: User, question: str) -> str:
        """What `ask` says."""
        answer = self._memory.ask(question, user=user.id)
        return answer.text if answer.found else ""


def _speaker(user: User, role: str) -> str:
    """The user's own name, where the persona tells it: facts are then about somebody."""
    name = user.persona.removeprefix("Name: ").split(";")[0].strip()
    known = user.persona.startswith("Name: ") and name.isalnum()
    return role if role != "user" or not known else name


def _source(role: str) -> str:
    return "assistant" if role == "assistant" else "user"


def _shown(speaker: str, text: str) -> str:
    return f"{speaker}: {text}" if speaker else text
