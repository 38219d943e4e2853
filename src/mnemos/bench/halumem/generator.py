"""Made-up users in HaluMem's form: a life is drawn first, then told, session by session.

Truth comes from the life, never from the words: every slot's later values are drawn beforehand, values
that the assistant may wrongly claim are never true of that user, and some slots are never told at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from mnemos.bench.halumem import world
from mnemos.bench.halumem.schema import INTERFERENCE, Fact, Point, Question, Session, Turn, User, said_time
from mnemos.bench.halumem.world import DEEDS, EVENT, ROLES, Slot, event, persona, related
from mnemos.core.clock import Time
from mnemos.core.errors import InvalidInput

_DAY = 86400.0
_START = 1735725600.0
"""Jan 01, 2025, 10:00."""
_FALSE = 2
"""Values of a slot that are kept for false claims."""
_SILENT = 3
"""Slots of a person that are never told."""
_IMPORTANCE = {"primary": (0.5, 1.0), "secondary": (0.3, 0.7), "system": (0.2, 0.5), INTERFERENCE: (0.1, 0.3)}

BASIC, HOPS, UPDATE = "Basic Fact Recall", "Multi-hop Inference", "Dynamic Update"
BOUNDARY, CHOICE, CONFLICT = "Memory Boundary", "Generalization & Application", "Memory Conflict"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is told.

    Raises:
        InvalidInput: a number that cannot be.
    """

    users: int = 3
    sessions: int = 10
    turns: int = 12
    """Messages of a session, half of them the user's."""
    facts: tuple[int, int] = (4, 8)
    """Facts that the user states in a session, from to."""
    hints: tuple[int, int] = (1, 2)
    """Facts of a session that follow from what the user says."""
    claims: tuple[int, int] = (1, 2)
    """False memories that the assistant lets slip in."""
    unrelated: int = 0
    """Sessions of questions about the world, among the others."""
    slots: int = 20
    """Slots of the person that are used."""
    phrasings: int = 6
    people: int = 5
    deeds: bool = True
    """Whether there are events, and things that the assistant did."""
    questions: tuple[int, int] = (2, 3)

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("users", self.users, 1, 10**6), ("sessions", self.sessions, 1, 10**4), ("turns", self.turns, 4, 10**4),
            ("unrelated", self.unrelated, 0, 10**4), ("slots", self.slots, 1, len(persona())),
            ("phrasings", self.phrasings, 1, 6), ("people", self.people, 0, len(ROLES)),
        ):  # fmt: skip
            if not low <= value <= high:
                raise InvalidInput(f"{name} is {value}: choose from {low} to {high}")


SIZES = {
    "tiny": Plan(),
    "medium": Plan(users=20, sessions=70, turns=22),
    "long": Plan(users=20, sessions=70, turns=22, unrelated=50),
}
"""By the name a task is given; medium and long have the published sizes."""


def generate(plan: Plan = SIZES["tiny"], seed: int = 0) -> list[User]:
    """`plan.users` users; the same seed, the same words."""
    return [_Life(plan, number, Random(f"{seed} {number}")).user() for number in range(plan.users)]


@dataclass
class _Held:
    """One slot of one subject, through a life."""

    slot: Slot
    subject: str
    whose: str
    """"Ada's", or "Ada's sister Mia's"."""
    who: str
    """How the user says it: "" of the person, "my sister Mia" of another."""
    true: list[str]
    false: list[str]
    told: list[Point] = field(default_factory=list)
    changed: int = -1
    """The session that told the latest value."""

    @property
    def noun(self) -> str:
        return self.slot.name.removesuffix(" of a person")

    def content(self, value: str) -> str:
        return f"{self.whose} {self.noun} is {value}."

    def fact(self, value: str) -> Fact:
        return Fact(self.subject, self.slot.name, value)


class _Life:
    """One user: what is true, and the telling of it."""

    def __init__(self, plan: Plan, number: int, draw: Random) -> None:
        self.plan, self.draw = plan, draw
        self.name = world.USERS[number % len(world.USERS)] + (
            str(number // len(world.USERS) + 1) if number >= len(world.USERS) else ""
        )
        self.id = f"made-up-{number}"
        names = draw.sample([name for name in world.PEOPLE if name != self.name], plan.people)
        self.people = dict(zip(ROLES, names, strict=False))
        own = [self._held(slot, self.name, f"{self.name}'s", "") for slot in persona()[: plan.slots]]
        draw.shuffle(own)
        silent = _SILENT if plan.slots > 2 * _SILENT + 2 else 0
        self.silent, own = own[:silent], own[silent:]
        others = [
            self._held(slot, name, f"{self.name}'s {role} {name}'s", f"my {role} {name}")
            for role, name in self.people.items() for slot in related()
        ]  # fmt: skip
        self.held = own + others
        draw.shuffle(self.held)
        self.deeds = draw.sample(sorted(DEEDS), len(DEEDS)) if plan.deeds else []
        self.events: list[Point] = []
        self.count = 0

    def _held(self, slot: Slot, subject: str, whose: str, who: str) -> _Held:
        values = self.draw.sample(slot.values, len(slot.values))
        return _Held(slot, subject, whose, who, values[_FALSE:], values[:_FALSE])

    def user(self) -> User:
        """The whole of it."""
        sessions, at = [], _START
        total = self.plan.sessions + self.plan.unrelated
        unrelated = set(self.draw.sample(range(1, total), self.plan.unrelated)) if self.plan.unrelated else set()
        for number in range(total):
            sessions.append(self._trivia(at) if number in unrelated else self._session(number, at))
            at += 3 * _DAY + self.draw.randrange(7200)
        people = "".join(f"; {role}: {name}" for role, name in self.people.items())
        return User(self.id, f"Name: {self.name}{people}", tuple(sessions))

    # -- one session -----------------------------------------------------------------------

    def _session(self, number: int, at: Time) -> Session:
        draw, plan = self.draw, self.plan
        said: list[str] = []
        points = self._stated(number, at, draw.randint(*plan.facts), "primary", said)
        points += self._stated(number, at, draw.randint(*plan.hints), "secondary", said)
        slipped: list[str] = []
        if plan.deeds and draw.random() < 0.25:
            deed = draw.choice(world.SYSTEM_DEEDS)
            slipped.append(f"I have {deed} for you.")
            points.append(self._point(f"The assistant {deed} for {self.name}.", EVENT, "system", at))
        for held in draw.sample(self._claimable(), min(draw.randint(*plan.claims), len(self._claimable()))):
            value = draw.choice(held.false)
            it = held.content(value)[:-1].replace(f"{self.name}'s", "your")
            slipped.append(draw.choice(world.CLAIMS).format(it=it))
            points.append(self._point(held.content(value), held.slot.kind, INTERFERENCE, at, held.fact(value)))
        turns = self._talk(said, slipped, at)
        return Session(at, turns[-1].at, tuple(turns), tuple(points), tuple(self._questions(number)))

    def _claimable(self) -> list[_Held]:
        return self.silent + [held for held in self.held if not held.who]

    def _point(
        self, content: str, kind: str, source: str, at: Time, fact: Fact | None = None, originals: tuple[str, ...] = ()
    ) -> Point:
        self.count += 1
        weight = round(self.draw.uniform(*_IMPORTANCE[source]), 2)
        return Point(self.count, content, kind, source, bool(originals), originals, weight, at, fact)

    def _stated(self, number: int, at: Time, count: int, source: str, said: list[str]) -> list[Point]:
        """Facts for the user to tell, with the sentences that do."""
        points: list[Point] = []
        while len(points) < count:
            fresh = [held for held in self.held if not held.told and (source == "primary" or held.slot.hints)]
            older = [held for held in self.held if held.told and not held.slot.fixed and held.changed < number]
            chance = self.draw.random()
            if source == "primary" and self.deeds and chance < 0.2:
                points.append(self._event(at, said))
            elif older and (chance < 0.6 or not fresh) and source == "primary":
                points.append(self._told(self.draw.choice(older), number, at, source, said))
            elif fresh:
                points.append(self._told(fresh[0], number, at, source, said))
            else:
                break
        return points

    def _told(self, held: _Held, number: int, at: Time, source: str, said: list[str]) -> Point:
        old = held.told[-1] if held.told else None
        before = old.fact.value if old and old.fact else ""
        value = self.draw.choice([value for value in held.true if value != before])
        if source == "secondary":
            said.append(self.draw.choice(held.slot.hints).format(v=value))
        else:
            sentence = self.draw.choice(held.slot.said[: self.plan.phrasings]).format(v=value, who=held.who)
            sentence = sentence[0].upper() + sentence[1:]
            if before and self.plan.phrasings == 6 and self.draw.random() < 0.5:
                sentence = self.draw.choice(world.CHANGES).format(said=sentence, old=before)
            said.append(sentence)
        originals = (old.content,) if old else ()
        point = self._point(held.content(value), held.slot.kind, source, at, held.fact(value), originals)
        held.told.append(point)
        held.changed = number
        return point

    def _event(self, at: Time, said: list[str]) -> Point:
        value = self.deeds.pop()
        said.append(self.draw.choice(event().said).format(did=DEEDS[value]))
        day = said_time(at).rsplit(",", 1)[0]
        content = f"{self.name} {DEEDS[value].replace(' my ', ' the ')} on {day}."
        point = self._point(content, EVENT, "primary", at, Fact(self.name, event().name, value))
        self.events.append(point)
        return point

    def _talk(self, said: Sequence[str], slipped: Sequence[str], at: Time) -> list[Turn]:
        """The messages: half of the user's tell something, the assistant's claims fall anywhere."""
        draw, pairs = self.draw, self.plan.turns // 2
        telling = sorted(draw.sample(range(pairs), max(1, pairs // 2)))
        mine: list[list[str]] = [[] for _ in range(pairs)]
        for place, sentence in enumerate(said):
            mine[telling[place * len(telling) // max(1, len(said))]].append(sentence)
        theirs: list[list[str]] = [[draw.choice(world.REPLIES)] for _ in range(pairs)]
        for sentence in slipped:
            draw.choice(theirs).append(sentence)
        texts = [text for pair in zip(mine, theirs, strict=True) for text in pair]
        return [
            Turn(
                "assistant" if n % 2 else "user", " ".join(text) or draw.choice(world.CHATTER), at + 30 * n, n // 2 + 1
            )
            for n, text in enumerate(texts)
        ]

    def _trivia(self, at: Time) -> Session:
        turns = []
        for n in range(self.plan.turns // 2):
            asked, answer = self.draw.choice(world.TRIVIA)
            turns += [Turn("user", asked, at + 60 * n, n + 1), Turn("assistant", answer, at + 60 * n + 30, n + 1)]
        return Session(at, turns[-1].at, tuple(turns), unrelated=True)

    # -- questions -------------------------------------------------------------------------

    def _questions(self, number: int) -> list[Question]:
        """A few, each of a type that this moment allows."""
        makers = [self._basic, self._hops, self._update, self._boundary, self._choice, self._conflict]
        self.draw.shuffle(makers)
        made = [question for maker in makers if (question := maker(number)) is not None]
        return made[: self.draw.randint(*self.plan.questions)]

    def _basic(self, number: int) -> Question | None:
        if self.events and self.draw.random() < 0.3:
            point = self.draw.choice(self.events)
            alone = [p for p in self.events if p.at == point.at]
            if len(alone) == 1:
                day = said_time(point.at).rsplit(",", 1)[0]
                return _asked(f"What did {self.name} do on {day}?", point.content, [point], "easy", BASIC, point.fact)
        known = [held for held in self.held if not held.who and len(held.told) == 1]
        return self._what(known, "easy", BASIC)

    def _hops(self, number: int) -> Question | None:
        known = [held for held in self.held if held.who and held.told]
        if not known:
            return None
        held = self.draw.choice(known)
        role = held.who.split()[1]
        question = f"What is the {held.noun} of {self.name}'s {role}?"
        return _asked(question, held.told[-1].content, held.told[-1:], "medium", HOPS, held.told[-1].fact)

    def _update(self, number: int) -> Question | None:
        return self._what([held for held in self.held if not held.who and len(held.told) > 1], "medium", UPDATE)

    def _what(self, known: Sequence[_Held], difficulty: str, kind: str) -> Question | None:
        if not known:
            return None
        held = self.draw.choice(known)
        question = f"What is {held.whose} {held.noun} now?" if kind == UPDATE else f"What is {held.whose} {held.noun}?"
        return _asked(question, held.told[-1].content, held.told[-1:], difficulty, kind, held.told[-1].fact)

    def _boundary(self, number: int) -> Question | None:
        if not self.silent:
            return None
        held = self.draw.choice(self.silent)
        question, answer = f"What is {held.whose} {held.noun}?", f"{self.name} never said."
        return _asked(question, answer, [], "medium", BOUNDARY, held.fact(""))

    def _choice(self, number: int) -> Question | None:
        known = [held for held in self.held if held.slot.prefers and held.told]
        if not known:
            return None
        held = self.draw.choice(known)
        point = held.told[-1]
        assert point.fact is not None
        other = self.draw.choice([value for value in held.slot.values if value != point.fact.value])
        one, two = self.draw.sample([point.fact.value, other], 2)
        question = f"Which would make {self.name} happier, {one} or {two}?"
        return _asked(question, point.fact.value, [point], "hard", CHOICE, point.fact)

    def _conflict(self, number: int) -> Question | None:
        known = [held for held in self.held if not held.who and held.told]
        if not known:
            return None
        held = self.draw.choice(known)
        point = held.told[-1]
        question = f"I take it that {held.whose} {held.noun} is {self.draw.choice(held.false)}. Is that right?"
        return _asked(question, f"No. {point.content}", [point], "hard", CONFLICT, point.fact)


def _asked(
    question: str, answer: str, evidence: Sequence[Point], difficulty: str, kind: str, fact: Fact | None
) -> Question:
    return Question(question, answer, tuple((p.content, p.kind) for p in evidence), difficulty, kind, fact)
