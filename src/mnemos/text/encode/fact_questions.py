"""Questions that facts answer: "Where does Ann live?" asks for (Ann, lives in).

The counterpart of `fact_rules`: a pattern for each way to ask, and whom it is asked of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import NamedTuple

from mnemos.text.encode.fact_rules import KIN, PET, VAGUE_KIND, kind_of


class Slot(NamedTuple):
    """What a fact tells: ("Ann", "lives in")."""

    who: str
    """The asker and theirs are "I" and "I's sister"."""
    relation: str
    before: bool = False
    """Whether the last object before the present one is meant: where Ann lived before."""


def asks_for(question: str) -> set[Slot]:
    """The slots whose object answers `question`: {("Ann", "lives in")} for "Where is Ann living now?".

    Only whole questions count: "Which street does Ann live in?", "Where did Ann live in 2019?" and "Who
    does Ann live with?" ask for something else. Never raises.
    """
    found: set[Slot] = set()
    for part in _PARTS.split(question[:_LONGEST]):
        plain = _LEAD.sub("", " ".join(part.replace("’", "'").split()), count=1)
        plain = _NOWADAYS.sub("", plain)
        earlier = _EARLIER.sub(r"\1", plain)
        before = earlier != plain
        if before:
            plain = _PAST.sub(lambda verb: _PRESENT[verb.group().lower()], earlier)
        for relations, pattern in _questions() if plain else ():
            match = pattern.fullmatch(plain)
            if match is None:
                continue
            kind = (match.groupdict().get("x") or "").lower()
            if "favourite" in relations:
                kind = "" if VAGUE_KIND.match(kind) else kind_of(kind)
            elif kind:
                kind = _SAME.get(kind, kind)
            if kind or "{}" not in relations:
                names = [relation.format(kind) for relation in relations.split(", ")]
                found |= {Slot(who, name, before) for who in _asked_of(match) for name in names}
            break
    return found


def rests_on(question: str) -> set[Slot]:
    """The slots that an answer to `question` starts from: those that it asks for, and of whose age it speaks: the
    asker's in "How many years will I be when Ann marries?". Never raises."""
    found, plain = asks_for(question), question[:_LONGEST].replace("’", "'")
    if any(word in plain.lower() for word in ("old", "young", "years", "age")):
        aged = {who for match in _on_age().finditer(plain) for who in _asked_of(match)}
        found |= {Slot(who, relation) for who in aged for relation in _AGES}
    return found


def _asked_of(match: re.Match[str]) -> Iterator[str]:
    for group, words in match.groupdict().items():
        if group != "x" and words:
            first, _, rest = words.partition(" ")
            if first.lower() not in _ASKER:
                yield words
            elif not rest:
                yield "I"
            else:  # as `_subject` names them: my brother Tom is Tom
                kin, _, name = rest.partition(" ")
                yield name or f"I's {kin.lower()}"


_LONGEST = 2000
"""Characters of a question that are read."""
_PARTS = re.compile(r"[.?!…\n]+(?:\s+|\Z)")
_LEAD = re.compile(
    r"(?:(?:so|and|but|hey|hi|ok|okay|well|also|please|remind me|tell me|(?:do|can|could|would) you "
    r"(?:please )?(?:know|remember|recall|tell me|remind me)),? ){0,3}",
    re.IGNORECASE,
)
_NOWADAYS = re.compile(
    r",? (?:(?:right )?now|nowadays|currently|these days|today|at (?:the moment|present)|again|please)\Z",
    re.IGNORECASE,
)
_EARLIER = re.compile(
    r",? (?:before(?: (?:that|this|now))?|previously|formerly)\Z"
    r"|( (?:my|our|[\w'-]+['’]s?)) (?:previous|former|last|old)\b",
    re.IGNORECASE,
)
_PAST, _PRESENT = re.compile(r"\b(?:did|was|were)\b", re.IGNORECASE), {"did": "does", "was": "is", "were": "are"}
_ASKER = frozenset({"i", "me", "my", "we", "us", "our"})
_AGES = ("age", "birthday", "born in")
_SAME = {"hobbies": "hobby", "home town": "hometown"}


_NO_NAME = (
    "the|an?|my|your|our|his|her|their|its?|this|that|there|who|whom|what|everyone|everybody|anyone|anybody|"
    "someone|somebody|nobody|people|one|not|to|do|does|did|is|are|was|were|has|have"
)
_FIRST_NAME = rf"(?!(?:{_NO_NAME})\b)[^\W\d_](?:[\w-]|\.(?=\s)|'(?!s\b)){{0,30}}"
_ONE = (
    rf"(?:(?:my|your|our|his|her|their) (?:{KIN})(?: (?-i:[^\W\d_a-z])[\w-]{{0,30}})?"
    rf"|{_FIRST_NAME}(?: (?-i:[^\W\d_a-z])[\w'-]{{0,30}}?){{0,2}}(?:'s (?:{KIN}))?)"
)
_WHO = f"(?P<who>{_ONE})"
_WHOSE = rf"(?P<who>my|your|our|his|her|their|{_ONE}(?='s )|{_FIRST_NAME}(?<=s)(?=' ))(?:'s?)? "


def _compiled(pattern: str) -> re.Pattern[str]:
    """`pattern`, each of whose groups `who` gets a name of its own."""
    number = count()
    return re.compile(re.sub(r"\(\?P<who>", lambda _: f"(?P<who{next(number)}>", pattern), re.IGNORECASE)


@cache
def _on_age() -> re.Pattern[str]:
    is_ = "(?:is|are|am|was|were|will|would|shall)"
    return _compiled(
        rf"\bhow (?:old|many years old) {is_} {_WHO}\b(?!')"
        rf"|\bhow many years (?:will|would|shall) {_WHO} be\b(?! \w+ing\b)"
        rf"|\b{_WHOSE}age\b|\b{is_} {_WHO} (?:\w+ years |much )?(?:older|younger) than {_WHO}\b(?!')"
    )


@cache
def _questions() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Relations, and a question for them; compiled on first use. The first that fits counts.

    Groups: `x` a part of the relation, `who0`, `who1`, ... of whom.
    """
    who, whose = _WHO, _WHOSE
    now = "(?:(?:currently|now|actually|still) )?"
    town = "(?:city|town|village|place)"
    firm = "(?:company|firm|business|organi[sz]ation|employer)"
    less = "about|of|in|on|at|to|for|from|with|when|that|and|or|before|after|than|do|does|is|are|was|the|a"
    kind = rf"(?P<x>(?!(?:{less})\b)[a-z-]{{2,20}}(?: (?!(?:{less})\b)[a-z-]{{2,20}}){{0,2}})"
    is_, be = "(?:is|are|am)", "(?: is| are|'s)"
    rows = [
        ("lives in", rf"where (?:do|does) {who} {now}(?:live|reside|call home)|where {is_} {who}"
         rf" {now}(?:living|based|residing)"),
        ("lives in", rf"where (?:did {who} {now}(?:move|relocate)|(?:has|have) {who} (?:moved"
         rf"|relocated))(?: to)?|where {who} lives?"),
        ("lives in", rf"(?:which|what) {town} (?:(?:do|does) {who} {now}live in|{is_} {who}"
         rf" {now}(?:living|based) in)"),
        ("lives in", rf"in (?:which|what) {town} (?:(?:do|does) {who} {now}live|{is_} {who}"
         rf" {now}(?:living|based))"),
        ("lives in", rf"(?:which|what) {town} did {who} (?:move|relocate) to|to (?:which|what) {town}"
         rf" did {who} move"),
        ("works at", rf"where (?:do|does) {who} {now}work(?: at)?|where {is_} {who} {now}(?:working"
         rf"|employed)|where {who} works?"),
        ("works at", rf"whom? (?:(?:do|does) {who} {now}work|{is_} {who} {now}working) for|for whom"
         rf" (?:do|does) {who} {now}work"),
        ("works at", rf"(?:which|what) {firm} (?:(?:do|does) {who} {now}work|{is_} {who}"
         rf" {now}working) (?:for|at)"),
        ("works at", rf"(?:for|at) (?:which|what) {firm} (?:do|does) {who} {now}work"),
        ("works at", rf"wh(?:o|at|ere){be} {whose}(?:(?:current|new|present) )?(?:employer|workplace)"),
        ("works as, job, profession", rf"what (?:do|does) {who} {now}do (?:for (?:a living|work)"
         rf"|professionally|as a job)"),
        ("works as, job, profession", rf"what (?:do|does) {who} {now}work as|what {is_} {who} {now}working as"),
        ("works as, job, profession", rf"what{be} {whose}(?:(?:current|new|present) )?(?:job(?: title)?|profession"
         rf"|occupation|line of work)"),
        ("works as, job, profession", rf"what (?:kind|sort|type) of work (?:do|does) {who} do"),
        ("favourite {}", rf"(?:what|which|who){be} {whose}(?:(?:current|new|absolute|all-time)"
         rf" )?favou?rite {kind}"),
        ("favourite {}", rf"(?:what|which) {kind} {is_} {whose}(?:(?:current|new|absolute|all-time)"
         rf" )?favou?rite"),
        ("favourite {}", rf"(?:what|which) {kind} (?:do|does) {who} (?:like|love) (?:best|most|the"
         rf" (?:best|most))"),
        ("favourite {}", rf"what{be} the favou?rite {kind} of {who}"),
        ("phone", rf"what{be} {whose}(?:(?:current|new) )?(?:(?:(?:tele)?phone|mobile|cell)(?:"
         rf" phone)?(?: number)?|number)"),
        ("email", rf"what{be} {whose}(?:(?:current|new) )?e-?mail(?: address)?"),
        ("address", rf"what{be} {whose}(?:(?:current|new|home) )?address"),
        ("birthday", rf"(?:when|on (?:what|which) (?:day|date)){be} {whose}birthday|what{be}"
         rf" {whose}(?:birthday|date of birth)"),
        ("birthday", rf"(?:what|which) (?:day|date) {is_} {whose}birthday(?: on)?"),
        ("age", rf"how old {is_} {who}|what{be} {whose}age"),
        ("comes from", rf"where (?:do|does) {who} (?:originally )?come from|where {is_} {who}"
         rf" (?:originally )?from"),
        ("has pet", rf"what{be} (?:{whose}(?:pet )?(?:{PET}|pet)(?: called| named|'s name)|the name"
         rf" of {whose}(?:{PET}|pet))"),
        ("has pet", rf"what {is_} the (?:{PET}) of {who} (?:called|named)|(?:what|which) pets? (?:do"
         rf"|does) {who} have"),
        ("married to", rf"whom? (?:{is_} {who} married to|did {who} marry)|to whom {is_} {who} married"),
        ("husband, wife, married to", rf"who{be} {whose}spouse|what{be} the name of {whose}spouse"),
        ("{}, married to", rf"(?:who{be} |what{be} the name of ){whose}(?P<x>husband|wife)"),
        ("{}, married to", rf"what{be} {whose}(?P<x>husband|wife)(?: called| named|'s name)"),
        ("{}", rf"(?:who{be} |what{be} the name of ){whose}(?P<x>{KIN})"),
        ("{}", rf"what{be} {whose}(?P<x>{KIN})(?: called| named|'s name)"),
        ("name", rf"what{be} {whose}(?:full )?name"),
        ("engaged to", rf"whom? {is_} {who} engaged to|who{be} {whose}fianc[eé]e?"),
        ("dating", rf"whom? {is_} {who} {now}(?:dating|seeing|going out with)"),
        ("marital status", rf"what{be} {whose}(?:marital|relationship) status"),
        ("allergic to", rf"what {is_} {who} allergic to|(?:what|which) allerg(?:y|ies) (?:do|does)"
         rf" {who} have"),
        ("likes", rf"what (?:do|does) {who} (?:like|love|enjoy)"),
        ("dislikes", rf"what (?:do|does) {who} (?:dislike|hate|detest)|what (?:doesn't|don't) {who} like"),
        ("car", rf"(?:what|which)(?: kind of)? car (?:do|does) {who} (?:drive|have|own)"),
        ("{}", rf"what{be} {whose}(?P<x>home ?town|dream job|major|nickname|car|hobby|hobbies)"),
    ]  # fmt: skip
    return tuple((relation, _compiled(pattern)) for relation, pattern in rows)
