"""Facts that a person states, by rules: "I moved to Boston" is (speaker, lives in, Boston).

Only plain present or past statements with the subject right before the verb count, so negation ("I don't
live in"), modals ("I might move to") and habits of the past ("I used to love") match nothing; questions,
conditions, reported and quoted speech are left out on top. What a rule cannot read surely it leaves to a
language model. `single_valued` relations hold one object at a time: a later one supersedes it (the update
test of HaluMem, 2025). "I love" and "I enjoy" are both `likes`: relations are few, so that two ways of
saying one thing meet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from mnemos.core.clock import Time
from mnemos.text.encode.chunk import sentences
from mnemos.text.encode.entities import NO_NAMES
from mnemos.text.encode.fact_rules import KIN, PET, Rule, Sentence, kind_of, rules


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement."""

    subject: str
    relation: str
    object: str
    span: tuple[int, int]
    """Where the text says it, from the subject to the end of the object."""
    valid_from: Time | None
    """Since when: a past date of the same sentence, else when it was said."""
    single_valued: bool
    """Whether a newer object takes the place of an older one."""


def facts(text: str, speaker: str = "", at: Time | None = None) -> list[Fact]:
    """The facts stated in `text`, in order; never raises.

    Args:
        text: one turn of a conversation, or a passage.
        speaker: who says it, the subject of "I", "we" and "my"; "I" where empty.
        at: when it was said, UTC seconds.
    """
    triggers, known = rules()
    called = {n for word in triggers.keys() & _WORDS.findall(text.lower()) for n in triggers[word]}
    if not called:
        return []
    active = [known[n] for n in sorted(called)]
    out: list[Fact] = []
    for start, end in sentences(text):
        sentence = text[start:end]
        if len(sentence) > _LONGEST or _ASKS.search(sentence[-8:]) or _JOKE.search(sentence):
            continue
        said = Sentence(sentence, start, speaker or "I", at)
        taken: list[tuple[int, int]] = []
        for rule in active:
            for match in rule.pattern.finditer(sentence):
                verb = match.start("o")
                if any(a <= verb <= b for a, b in taken) or not _stated(sentence, match):
                    continue
                found = list(_read(rule, match, said))
                if found:
                    taken.append((match.start(), verb))
                    out += found
    out.sort(key=lambda fact: fact.span[0])
    return out


_LONGEST = 2000
"""Characters; a longer sentence is no speech, and the work within one grows faster than its length."""


def asks_for(question: str) -> set[str]:
    """The relations whose current object answers `question`: {"lives in"} for "Where is Ann living now?".

    Only whole questions count: "Which street does Ann live in?", "Where did Ann live in 2019?" and "Who
    does Ann live with?" ask for something else. Whose it is, the caller has to see to. Never raises.
    """
    found: set[str] = set()
    for part in _PARTS.split(question[:_LONGEST]):
        plain = _LEAD.sub("", " ".join(part.replace("’", "'").split()), count=1)
        plain = _NOWADAYS.sub("", plain)
        for relations, pattern in _questions() if plain else ():
            match = pattern.fullmatch(plain)
            if match is None:
                continue
            kind = (match.groupdict().get("x") or "").lower()
            if "favourite" in relations:
                kind = "" if _VAGUE_KIND.match(kind) else kind_of(kind)
            elif kind:
                kind = _SAME.get(kind, kind)
            if kind or "{}" not in relations:
                found |= {relation.format(kind) for relation in relations.split(", ")}
            break
    return found


def _read(rule: Rule, match: re.Match[str], said: Sentence) -> Iterator[Fact]:
    groups = match.groupdict()
    subject = _subject(groups.get("s") or "", said, groups.get("v") or "")
    raw = match["o"]
    objects = rule.objects(raw, said) if subject else []
    if not objects:
        return
    relation = rule.relation
    if groups.get("x"):
        kind = " ".join(groups["x"].lower().split())
        if _VAGUE_KIND.match(kind):
            return
        if "favourite" in relation:
            kind = kind_of(kind)
        relation = relation.format(kind)
    tail = raw.find(objects[-1]) + len(objects[-1]) if objects[-1] in raw else len(raw.rstrip())
    stop = match.end() if match.start("s") > match.start("o") else match.start("o") + tail
    span = (said.offset + match.start(), said.offset + stop)
    since = said.at if relation in {"birthday", "born in"} else _since(said)
    for thing in objects:
        named = f"{thing} ({groups['p'].lower()})" if groups.get("p") else thing
        yield Fact(subject, relation, named, span, since, rule.single)


def _subject(words: str, said: Sentence, verb: str) -> str:
    """Who is meant; "" where it is nobody, or the verb does not agree."""
    first = words.lower()
    if first in {"i", "we", "my", "our", ""}:
        return "" if first == "i" and _THIRD.match(verb) else said.speaker
    if first.startswith(("my ", "our ")):
        kin, _, name = words.split(None, 1)[1].partition(" ")
        return name or f"{said.speaker}'s {kin.lower()}"
    if _FIRST.match(verb):
        return ""
    names = words.split()
    while names and names[0].lower().replace("’", "'") in NO_NAMES:
        del names[0]
    if not names or any(not n[0].isupper() for n in names) or names[0].lower().endswith(("ing", "ly")):
        return ""
    return "" if names[-1].lower() in NO_NAMES else " ".join(names)


def _stated(sentence: str, match: re.Match[str]) -> bool:
    """Whether the words before leave it a plain statement, in the speaker's own words."""
    before = sentence[max(0, match.start() - 160) : match.start()]
    quoted = before.count('"') % 2 or before.count("“") > before.count("”")
    return not quoted and _UNREAL.search(before) is None


def _since(said: Sentence) -> Time | None:
    starts = [d.start for d in said.dates]
    if said.at is None:
        return starts[0] if starts else None
    return next((start for start in starts if start <= said.at), said.at)


_WORDS = re.compile(r"[a-z]+|[0-9]+")
_ASKS = re.compile(r"\?[\s\"”’)]*\Z|\?!")
_JOKE = re.compile(r"\b(?:kidding|joking|hypothetical(?:ly)?|role[- ]?play)\b", re.IGNORECASE)
_UNREAL = re.compile(
    r"\b(?:(?:if|whether|unless|suppos(?:e|ing)|imagin(?:e|ing)|pretend(?:ed|ing)?|says?|said|as\sthough|in\scase)\b"
    r"[^.!?;]{0,150}"
    r"|(?:wish|hop(?:e|ing)|dream(?:s|ed|t|ing)?|maybe|perhaps|possibly|probably|tells|told|thinks?|thought|"
    r"assum(?:e|es|ed)|doubt|rumou?r|guess|wonder(?:ing)?|ask(?:s|ed)|lest|nobody|not\s(?:true|that)|whenever)\b"
    r"[^.!?;,]{0,100}"
    r"|(?:do|does|did|didn['’]t|don['’]t|has|have|could|would|should|might|may|will|can)\s)\Z",
    re.IGNORECASE,
)
_VAGUE_KIND = re.compile(r"(?:part|thing|one|moment|memory|bit|way|time)\b")
_THIRD = re.compile(r"(?:lives|works|loves|likes|hates|enjoys|adores|dislikes|has|owns|resides|comes|is)\Z", re.I)
_FIRST = re.compile(r"(?:live|work|love|like|hate|enjoy|adore|dislike|have|own|reside|come|am)\Z", re.I)


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
_SAME = {"hobbies": "hobby", "home town": "hometown"}


@cache
def _questions() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Relations, and a question for them; compiled on first use. The first that fits counts.

    Groups: `x` a part of the relation.
    """
    no_name = (
        "the|an?|my|your|our|his|her|their|its?|this|that|there|who|whom|what|everyone|everybody|anyone|anybody|"
        "someone|somebody|nobody|people|one|not|to|do|does|did|is|are|was|were|has|have"
    )
    first = rf"(?!(?:{no_name})\b)[^\W\d_](?:[\w-]|\.(?=\s)|'(?!s\b)){{0,30}}"
    name = rf"{first}(?: (?-i:[^\W\d_a-z])[\w'-]{{0,30}}?){{0,2}}"
    who = rf"(?:(?:my|your|our|his|her|their) (?:{KIN})(?: {first})?|{name}(?:'s (?:{KIN}))?)"
    whose = rf"(?:my|your|our|his|her|their|{who}'s|{first}(?<=s)') "
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
        ("works as", rf"what (?:do|does) {who} {now}do (?:for (?:a living|work)|professionally|as a job)"),
        ("works as", rf"what (?:do|does) {who} {now}work as|what {is_} {who} {now}working as"),
        ("works as", rf"what{be} {whose}(?:(?:current|new|present) )?(?:job(?: title)?|profession"
         rf"|occupation|line of work)"),
        ("works as", rf"what (?:kind|sort|type) of work (?:do|does) {who} do"),
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
    return tuple((relation, re.compile(pattern, re.IGNORECASE)) for relation, pattern in rows)
