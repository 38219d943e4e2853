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

from mnemos.core.clock import Time
from mnemos.text.encode.chunk import sentences
from mnemos.text.encode.entities import NO_NAMES
from mnemos.text.encode.fact_rules import VAGUE_KIND, Rule, Sentence, kind_of, rules


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
    spans = sentences(text)
    if len(spans) > 1 and _HELLO.fullmatch(text, *spans[0]):  # who greets may say next who it is
        spans[:2] = [(spans[0][0], spans[1][1])]
    for start, end in spans:
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
        if VAGUE_KIND.match(kind):
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
_HELLO = re.compile(r"(?:hi|hello|hey)(?: there| all| everyone)?[!.]", re.IGNORECASE)
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
_THIRD = re.compile(r"(?:lives|works|loves|likes|hates|enjoys|adores|dislikes|has|owns|resides|comes|is)\Z", re.I)
_FIRST = re.compile(r"(?:live|work|love|like|hate|enjoy|adore|dislike|have|own|reside|come|am)\Z", re.I)
