"""Facts by their slot: what holds of whom a question names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mnemos.core.clock import Time
from mnemos.text.encode.analyse import words
from mnemos.text.encode.entities import canonical
from mnemos.text.encode.fact_questions import Slot
from mnemos.text.recall.query import PARTS, ROLES
from mnemos.text.records import EdgeKind, Filter, Record
from mnemos.text.store import Store
from mnemos.text.write import fact_slot

_ALIKE = {
    word: words
    for words in (
        ("mother", "mom", "mum"), ("father", "dad"), ("grandmother", "grandma"), ("grandfather", "grandpa"),
        ("roommate", "flatmate"), ("neighbour", "neighbor"), ("fiancé", "fiance"), ("fiancée", "fiancee"),
        ("dog", "puppy", "pup"), ("cat", "kitten", "kitty"), ("rabbit", "bunny"),
    )
    for word in words
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stated:
    """Looks facts up.

    Args:
        store: where they are.
        where: which of them may be seen, and at which moment.
        now: the moment where `where` names none.
        speakers: who speaks in this memory: they may be called by a part of their name, and "I" is the only one.
    """

    store: Store
    where: Filter
    now: Time
    speakers: Sequence[str]

    def facts(self, question: str, slots: Collection[Slot]) -> list[Record]:
        """What `question` asks of these slots: facts that hold, or held before; the latest first. A fact about a cat
        is none where a dog is asked for."""
        wanted = {
            Slot(name, alike, slot.before)
            for slot in slots
            for name in self._names(slot.who)
            for alike in _ALIKE.get(slot.relation, (slot.relation,))
        }
        kinds = {"", *(alike for word in words(question) for alike in _ALIKE.get(word, (word,)))}
        facts = [fact for fact in self._in(wanted) if kinds & {named(fact)[1], "pet", "pets"}]
        return sorted(facts, key=lambda fact: -(fact.valid_from or 0.0))

    def _names(self, who: str) -> list[str]:
        """What facts may call them: "I's mother" also "user's mum", and "Tina" if that is her name."""
        owner, apart, kin = who.partition("'s ")
        owners = self._people(owner)
        if not kin:
            return owners
        theirs = [Slot(one, alike) for one in owners for alike in _ALIKE.get(kin, (kin,))]
        called = self._in(theirs)
        return [*(one.who + apart + one.relation for one in theirs), *(named(fact)[0] for fact in called)]

    def _people(self, name: str) -> list[str]:
        people = [one for one in self.speakers if one and one.casefold() not in PARTS]
        if name == "I":
            return ["I", *ROLES, *(people if len(people) == 1 else ())]
        full = [one for one in people if canonical(name) in canonical(one).split()]
        return [name, *(full if len(full) == 1 else ())]

    def _in(self, slots: Collection[Slot]) -> list[Record]:
        keys = {fact_slot(slot.who, slot.relation): slot for slot in slots}
        moment = self.now if self.where.as_of is None else self.where.as_of
        found = []
        for key, chain in self.store.slots(self.where.scope, sorted(keys)).items() if keys else ():
            admitted = [fact for fact in chain if self._admits(fact)]
            if keys[key].before:
                ended = [fact for fact in admitted if fact.valid_to is not None and fact.valid_to <= moment]
                found += sorted(ended, key=lambda fact: fact.valid_to or 0.0)[-1:]
            else:
                found += [fact for fact in admitted if self._holds(fact)]
        return found

    def _holds(self, fact: Record) -> bool:
        if self.where.as_of is not None:
            return fact.holds_at(self.where.as_of)
        return fact.valid_to is None or fact.valid_to > self.now

    def _admits(self, fact: Record) -> bool:
        where, at, expires = self.where, fact.at, fact.retention.expires_at
        return (
            not fact.quarantined
            and (expires is None or expires > self.now)
            and where.session in (None, fact.session)
            and (where.speaker is None or where.speaker.casefold() == fact.speaker.casefold())
            and (where.since is None or (at is not None and at >= where.since))
            and (where.until is None or (at is not None and at < where.until))
        )


def named(fact: Record) -> tuple[str, str]:
    """The object of a fact, and its kind if it says one: ("Juno", "cat")."""
    name, _, kind = str(fact.data["object"]).removesuffix(")").partition(" (")
    return name, kind


def sources(fact: Record) -> list[str]:
    """Ids of the records that state `fact`, the latest told last."""
    return [edge.to for edge in fact.edges if edge.kind is EdgeKind.DERIVED_FROM]
