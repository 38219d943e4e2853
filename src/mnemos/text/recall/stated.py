"""Facts by their slot: what holds of whom a question names."""

from __future__ import annotations

from collections.abc import Collection

from mnemos.core.clock import Time
from mnemos.text.encode.analyse import words
from mnemos.text.encode.fact_questions import Slot
from mnemos.text.records import EdgeKind, Filter, Record
from mnemos.text.store import Store
from mnemos.text.write import fact_slot

_ASKERS = ("I", "user")
"""Whom the asker may be: a speaker without a name, or what chat exports call the person whose memory this is."""

_ALIKE = {
    word: words
    for words in (
        ("mother", "mom", "mum"), ("father", "dad"), ("grandmother", "grandma"), ("grandfather", "grandpa"),
        ("roommate", "flatmate"), ("neighbour", "neighbor"), ("fiancé", "fiance"), ("fiancée", "fiancee"),
        ("dog", "puppy", "pup"), ("cat", "kitten", "kitty"), ("rabbit", "bunny"),
    )
    for word in words
}  # fmt: skip


def stated(question: str, slots: Collection[Slot], where: Filter, now: Time, store: Store) -> list[Record]:
    """What `question` asks of these slots: facts that `where` admits and that hold, at `where.as_of` or now, or held
    before; the latest first. A fact about a cat is none where a dog is asked for."""
    if not slots:
        return []
    wanted = {
        Slot(name, alike, slot.before)
        for slot in slots
        for name in _names(slot.who, where, now, store)
        for alike in _ALIKE.get(slot.relation, (slot.relation,))
    }
    kinds = {"", *(alike for word in words(question) for alike in _ALIKE.get(word, (word,)))}
    facts = [fact for fact in _facts(wanted, where, now, store) if kinds & {named(fact)[1], "pet", "pets"}]
    return sorted(facts, key=lambda fact: -(fact.valid_from or 0.0))


def named(fact: Record) -> tuple[str, str]:
    """The object of a fact, and its kind if it says one: ("Juno", "cat")."""
    name, _, kind = str(fact.data["object"]).removesuffix(")").partition(" (")
    return name, kind


def sources(fact: Record) -> list[str]:
    """Ids of the records that state `fact`, the latest told last."""
    return [edge.to for edge in fact.edges if edge.kind is EdgeKind.DERIVED_FROM]


def _names(who: str, where: Filter, now: Time, store: Store) -> list[str]:
    """What facts may call them: "I's mother" also "user's mum", and "Tina" if that is her name."""
    owner, apart, kin = who.partition("'s ")
    owners = _ASKERS if owner == "I" else (owner,)
    if not kin:
        return [*owners]
    theirs = [Slot(one, alike) for one in owners for alike in _ALIKE.get(kin, (kin,))]
    called = _facts(theirs, where, now, store)
    return [*(one.who + apart + one.relation for one in theirs), *(named(fact)[0] for fact in called)]


def _facts(slots: Collection[Slot], where: Filter, now: Time, store: Store) -> list[Record]:
    keys = {fact_slot(slot.who, slot.relation): slot for slot in slots}
    found = []
    for key, chain in store.slots(where.scope, sorted(keys)).items():
        admitted = [fact for fact in chain if _admitted(fact, where, now)]
        if keys[key].before:
            ended = [fact for fact in admitted if fact.valid_to is not None and fact.valid_to <= _moment(where, now)]
            found += sorted(ended, key=lambda fact: fact.valid_to or 0.0)[-1:]
        else:
            found += [fact for fact in admitted if _holds(fact, where, now)]
    return found


def _moment(where: Filter, now: Time) -> Time:
    return now if where.as_of is None else where.as_of


def _holds(fact: Record, where: Filter, now: Time) -> bool:
    if where.as_of is not None:
        return fact.holds_at(where.as_of)
    return fact.valid_to is None or fact.valid_to > now


def _admitted(fact: Record, where: Filter, now: Time) -> bool:
    at, expires = fact.at, fact.retention.expires_at
    return (
        not fact.quarantined
        and (expires is None or expires > now)
        and where.session in (None, fact.session)
        and (where.speaker is None or where.speaker.casefold() == fact.speaker.casefold())
        and (where.since is None or (at is not None and at >= where.since))
        and (where.until is None or (at is not None and at < where.until))
    )
