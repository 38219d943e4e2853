"""Who says whether a memory covers a point, is true, was updated, and whether an answer is right.

`SlotJudge` goes by slots: it finds the values that a text names, whose they are, and whether the text
says that they hold. It knows what is true of a user at each moment from the points told until then.
Points without a `fact` (the published files) are judged by their content words, which is cruder.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mnemos.bench.halumem.schema import INTERFERENCE, Fact, Point, Question, Session, User
from mnemos.bench.halumem.world import Slot, slot_of_value, slots, value_pattern
from mnemos.core.clock import Time
from mnemos.text.encode.analyse import term_words

Verdict = Literal["correct", "hallucination", "omission", "other"]
VERDICTS: tuple[Verdict, ...] = ("correct", "hallucination", "omission", "other")

_FULL, _PARTLY = 0.8, 0.5
"""Shares of a point's content words that count as covered, wholly and in part, where there are no slots."""
_REFUSAL = re.compile(
    r"not in memory|never (?:said|mentioned|told)|not mentioned|no information|no (?:record|memory|idea)|unknown"
    r"|(?:do|does|did)(?: not|n['’]t) (?:know|say|mention|tell|have)"
    r"|not (?:sure|known|told|stated)|cannot (?:tell|say|answer)",
    re.IGNORECASE,
)
_ANY_PERSON = r"i|i['’]\w+|me|my|mine|we|our|you|your|yours|user|the user|he|she|they|his|her|their"
_GONE_BEFORE = re.compile(
    r"\bnot\b|n['’]t\b|\bnever\b|\bno longer\b|\bused to\b|\bit was\b|\bformerly\b"
    r"|\bpreviously\b|\bmoved from\b|\bswitched from\b|\binstead of\b|\brather than\b|\bgave up\b|\bstopped\b|\bquit\b",
    re.IGNORECASE,
)
_GONE_AFTER = re.compile(
    r"\bany ?more\b|\bno longer\b|\(?\buntil\b|\bsuperseded\b|\boutdated\b|\bformerly\b", re.IGNORECASE
)
_CURRENT = re.compile(r"\(current\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_CLAUSE = re.compile(r"[,;:–—]")


class Judge(Protocol):
    """The four judgements."""

    name: str

    def integrity(self, user: User, point: Point, memories: Sequence[str]) -> int:
        """2 if the memories cover the point wholly, 1 in part, 0 not at all."""
        ...

    def accuracy(self, user: User, session: Session, memory: str) -> tuple[int, bool]:
        """(2 if all that a memory says is so by then, 1 some of it, 0 none; whether it is about a gold point)."""
        ...

    def update(self, user: User, point: Point, found: Sequence[str]) -> Verdict:
        """What became of an updated point, by the memories that its content finds."""
        ...

    def answer(self, user: User, question: Question, answer: str) -> Verdict:
        """Whether an answer is right, wrong, or missing."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """One value that a text names."""

    subject: str
    """Whose; empty where the text does not say."""
    slot: Slot
    value: str
    """In lower case."""
    holds: bool
    """False where the text says that it does not, or no longer."""
    cued: bool
    """Whether a word tells what the value is to the subject."""
    current: bool
    """Whether it is marked as the one that holds now."""


@dataclass
class _Life:
    """What was told of one user, in order."""

    user: str
    people: dict[str, str] = field(default_factory=dict)
    """Role or name, in lower case → name."""
    told: list[tuple[Time, Fact]] = field(default_factory=list)
    read: dict[str, list[Said]] = field(default_factory=dict)
    """What each text that was judged says."""

    def holds(self, at: Time) -> dict[tuple[str, str], set[str]]:
        """Values by subject and relation, as of `at`; of slots with one value the latest."""
        now: dict[tuple[str, str], set[str]] = {}
        for when, fact in self.told:
            if when <= at:
                value = fact.value.lower()
                known = slots().get(fact.relation)
                key = (fact.subject, fact.relation)
                now[key] = {*now.get(key, ()), value} if known and known.many else {value}
        return now


class SlotJudge:
    """The deterministic judge; remembers nothing but what is true of each user."""

    name = "slots"

    def __init__(self) -> None:
        self._lives: dict[str, _Life] = {}

    def integrity(self, user: User, point: Point, memories: Sequence[str]) -> int:
        """Subject, cue and value: 2; subject and one of them: 1. Of interference only the value counts, since a true
        value of the same slot is no trace of the false one."""
        if point.fact is None or point.fact.relation not in slots():
            return max((_covered(point.content, memory) for memory in memories), default=0)
        return max((self._integrity(user, point.fact, point.source, memory) for memory in memories), default=0)

    def _integrity(self, user: User, fact: Fact, source: str, memory: str) -> int:
        life, best = self._life(user), 0
        wanted, value = slots()[fact.relation], fact.value.lower()
        for said in self.said(user, memory):
            if said.value == value and said.holds and said.subject == fact.subject:
                best = max(best, 2 if said.cued else 1)
        if not best and source != INTERFERENCE:
            for sentence in _SENTENCE.split(memory):
                whom = _whom(sentence, life, memory)
                if fact.subject in whom and _cued(wanted, sentence) and not sentence.endswith("?"):
                    return 1
        return best

    def accuracy(self, user: User, session: Session, memory: str) -> tuple[int, bool]:
        """Every value that is said to hold must hold, and none that is said to be past; what names no value must be
        in the words of dialogue and gold."""
        gold = {(p.fact.subject, p.fact.relation) for p in session.gold if p.fact}
        said = self.said(user, memory)
        if not said:
            about = any(_covered(p.content, memory) for p in session.gold)
            told = [*(t.content for t in session.turns), *(p.content for p in session.gold), user.persona]
            return 2 * _within(memory, told), about
        now = self._life(user).holds(session.start)
        right = [(one.value in now.get((one.subject, one.slot.name), ())) is one.holds for one in said]
        about = any((one.subject, one.slot.name) in gold for one in said)
        return (2 if all(right) else 1 if any(right) else 0), about

    def update(self, user: User, point: Point, found: Sequence[str]) -> Verdict:
        """Correct: the new value stands, and no other beside it unless the new one is marked as current. Omission:
        an old value still stands, or none. Hallucination: one stands that never was. Other: the new value, but not
        as the subject's."""
        if point.fact is None or point.fact.relation not in slots():
            covered = max((_covered(point.content, memory) for memory in found), default=0)
            kept = max((_covered(old, memory) for old in point.originals for memory in found), default=0)
            return "correct" if covered == 2 and kept < 2 else "omission" if covered != 1 or kept == 2 else "other"
        fact, value = point.fact, point.fact.value.lower()
        said = [one for memory in found for one in self.said(user, memory) if one.slot.name == fact.relation]
        mine = [one for one in said if one.subject == fact.subject and one.holds]
        stands = {one.value for one in mine}
        before = {
            old.value.lower() for at, old in self._life(user).told
            if at < point.at and (old.subject, old.relation) == (fact.subject, fact.relation)
        }  # fmt: skip
        if value in stands and (stands == {value} or any(one.current for one in mine if one.value == value)):
            return "correct"
        if stands & before:
            return "omission"
        if stands - {value}:
            return "hallucination"
        return "other" if any(one.value == value and one.holds for one in said) else "omission"

    def answer(self, user: User, question: Question, answer: str) -> Verdict:
        """Correct: the value, and no other of its slot; or a refusal where nobody said. Omission: a refusal or
        nothing. Hallucination: anything else."""
        text = answer.strip()
        refused = not text or bool(_REFUSAL.search(text))
        if question.fact is None or question.fact.relation not in slots():
            if _covered(question.answer, text) == 2 and text:
                return "correct"
            boundary = bool(_REFUSAL.search(question.answer))
            return ("correct" if boundary else "omission") if refused else "hallucination"
        values = {one.value for one in self.said(user, text) if one.holds and one.slot.name == question.fact.relation}
        if not question.fact.value:
            return "correct" if refused and not values else "hallucination"
        if values == {question.fact.value.lower()}:
            return "correct"
        return "omission" if refused and not values else "hallucination"

    # -- reading ---------------------------------------------------------------------------

    def said(self, user: User, text: str) -> list[Said]:
        """Every value that `text` names; questions say nothing."""
        life = self._life(user)
        if text not in life.read:
            life.read[text] = [
                one for sentence in _SENTENCE.split(text.strip()) for one in _named(sentence, life, text)
            ]
        return life.read[text]

    def _life(self, user: User) -> _Life:
        if user.id not in self._lives:
            life = _Life(_name(user))
            for session in user.sessions:
                for point in session.gold:
                    if point.fact:
                        life.told.append((session.start, point.fact))
            for role, name in re.findall(r"; (\w+): (\w+)", user.persona):
                life.people |= {role.lower(): name, name.lower(): name}
            self._lives[user.id] = life
        return self._lives[user.id]


def cohen_kappa(one: Sequence[object], other: Sequence[object]) -> float:
    """Agreement of two judges on the same cases beyond chance (Cohen, 1960): 1 for all, 0 for none, below for less.

    1 where both give one and the same verdict throughout.
    """
    cases = len(one)
    same = sum(a == b for a, b in zip(one, other, strict=True)) / max(cases, 1)
    chance = sum(one.count(label) * other.count(label) for label in {*one, *other}) / max(cases, 1) ** 2
    return 1.0 if chance == 1 or not cases else (same - chance) / (1 - chance)


# -- words ---------------------------------------------------------------------------------


def _name(user: User) -> str:
    found = re.match(r"Name: (\w+)", user.persona)
    return found[1] if found else ""


def _named(sentence: str, life: _Life, text: str) -> Iterator[Said]:
    matches = [] if sentence.endswith("?") else list(value_pattern().finditer(sentence))
    for number, match in enumerate(matches):
        start = matches[number - 1].end() if number else 0
        end = matches[number + 1].start() if number + 1 < len(matches) else len(sentence)
        before = _CLAUSE.split(sentence[start : match.start()])[-1]
        after = _CLAUSE.split(sentence[match.end() : end])[0]
        slot = slot_of_value()[match[0].lower()]
        yield Said(
            subject=_subject(sentence[: match.start()], sentence, life, text),
            slot=slot,
            value=match[0].lower(),
            holds=not (_GONE_BEFORE.search(before) or _GONE_AFTER.search(after)),
            cued=_cued(slot, sentence),
            current=bool(_CURRENT.search(sentence)),
        )


def _subject(before: str, sentence: str, life: _Life, text: str) -> str:
    """Who a value belongs to: the person named last before it, else one named after it, else the user."""
    for part in (before, sentence):
        named = [life.people[word] for word in re.findall(r"\w+", part.lower()) if word in life.people]
        if named:
            return named[-1]
    return life.user if _whom(sentence, life, text) else ""


def _whom(sentence: str, life: _Life, text: str) -> Collection[str]:
    named = {life.people[word] for word in re.findall(r"\w+", sentence.lower()) if word in life.people}
    if named:
        return named
    return {life.user} if re.search(rf"(?<!\w)(?:{_ANY_PERSON}|{re.escape(life.user)})(?!\w)", text, re.I) else ()


def _cued(slot: Slot, sentence: str) -> bool:
    return re.search(rf"(?<!\w)(?:{slot.cues})", sentence, re.IGNORECASE) is not None


def _covered(content: str, text: str) -> int:
    """By content words: 2, 1 or 0."""
    wanted: Mapping[int, str] = term_words(content)
    share = len(wanted.keys() & term_words(text).keys()) / max(len(wanted), 1)
    return 2 if share >= _FULL else 1 if share >= _PARTLY else 0


def _within(memory: str, texts: Sequence[str]) -> bool:
    heard = {term for text in ("user assistant", *texts) for term in term_words(text)}
    return term_words(memory).keys() <= heard
