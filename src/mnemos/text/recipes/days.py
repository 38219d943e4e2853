"""Days of a conversation, summed up: what happened, and what it says about the person.

Source: MemoryBank (2023), sections 2.1 and 2.2: event summaries and personality notes per day, and a digest of
each over all days. With a language model these are two calls per day and two per person. Without one, events
are the sentences that cover a day's keywords best, and a portrait is what people state about themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mnemos.core.errors import EndpointError
from mnemos.text.encode.analyse import term_words, terms
from mnemos.text.encode.chunk import sentences
from mnemos.text.encode.facts import facts
from mnemos.text.encode.keywords import keywords
from mnemos.text.llm import LanguageModel
from mnemos.text.prompts.memorybank import (
    REPLY_TOKENS,
    TEMPERATURE,
    Message,
    Said,
    event_messages,
    history_messages,
    person_messages,
    portrait_messages,
)

_LONGEST = 2000
"""Characters of a model's reply that are kept."""
_EVENTS = 8
_STATED = 8
_DIGEST_DAYS = 10
"""Days that the offline digest names, the last ones."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What was noted of a day, or of all days."""

    events: str
    portrait: str
    by: str
    """"local", or the language model's name."""


class DayConsolidator:
    """Notes of days, by a language model, or by extraction where there is none.

    Raises:
        EndpointError: from every method, where the model fails; nothing is half done.
    """

    def __init__(self, llm: LanguageModel | None) -> None:
        self.llm = llm

    @property
    def by(self) -> str:
        """Who makes the notes."""
        return self.llm.model if self.llm else "local"

    def day(self, date: str, said: Sequence[Said], own: Sequence[Said]) -> Notes:
        """The notes of one day's turns, `own` of which are the user's."""
        if self.llm is None:
            return Notes(main_sentences(said), portrait(own), self.by)
        events, person = self._ask(event_messages(date, said), portrait_messages(date, said))
        return Notes(events, person, self.by)

    def digest(self, days: Sequence[tuple[str, Notes]]) -> Notes:
        """One note over (date, notes) pairs in the order of dates."""
        events = [(date, notes.events) for date, notes in days if notes.events]
        portraits = [(date, notes.portrait) for date, notes in days if notes.portrait]
        if self.llm is not None:
            history, person = self._ask(history_messages(events), person_messages(portraits))
            return Notes(history, person, self.by)
        first = [f"{date}: {text.splitlines()[0]}" for date, text in events[-_DIGEST_DAYS:]]
        # what was stated on several days, or last, is what lasts
        stated = [line for _, text in reversed(portraits) for line in text.splitlines()]
        lasting = sorted(dict.fromkeys(stated), key=lambda line: -stated.count(line))
        return Notes("\n".join(first), "\n".join(lasting[:_STATED]), self.by)

    def _ask(self, *questions: list[Message]) -> list[str]:
        """The replies, asked for at the same time."""
        llm = self.llm
        assert llm is not None
        replies = llm.map([partial(llm.chat, q, temperature=TEMPERATURE, max_tokens=REPLY_TOKENS) for q in questions])
        texts = []
        for reply in replies:
            if isinstance(reply, EndpointError):
                raise reply
            texts.append(reply.text.strip()[:_LONGEST])
        return texts


def main_sentences(said: Sequence[Said], most: int = _EVENTS) -> str:
    """The statements that cover the keywords of a conversation best, one a line, in the order of telling."""
    wanted = {term for word in keywords([text for _, text in said], 4 * most) for term in terms(word).tolist()}
    told = []
    for speaker, text in said:
        for start, end in sentences(text):
            sentence = " ".join(text[start:end].split())
            if sentence and not sentence.endswith("?"):
                told.append((f"{speaker}: {sentence}" if speaker else sentence, term_words(sentence).keys()))
    chosen: list[int] = []
    while len(chosen) < most and wanted:
        # long sentences cover more for being long: each new keyword counts against the words it costs
        gain = [len(found & wanted) / (6 + len(found)) for _, found in told]
        best = max(range(len(told)), key=gain.__getitem__, default=-1)
        if best < 0 or not gain[best]:
            break
        chosen.append(best)
        wanted -= told[best][1]
    return "\n".join(told[n][0] for n in sorted(chosen))[:_LONGEST]


def portrait(said: Sequence[Said]) -> str:
    """What the speakers state about themselves, one statement a line."""
    stated = dict.fromkeys(
        f"{fact.subject} {fact.relation} {fact.object}" for speaker, text in said for fact in facts(text, speaker)
    )
    return "\n".join(list(stated)[:_STATED])[:_LONGEST]
