"""The sentences that state facts, and how their objects are read.

`facts` applies them. A rule gives a relation, whether it holds one object at a time, a pattern, and a reader
for the words behind the verb: a name, a noun phrase, a list of them, a date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from mnemos.core.clock import Time
from mnemos.text.encode.analyse import by_trigger
from mnemos.text.encode.dates import find_dates, format_span
from mnemos.text.encode.entities import NO_NAMES
from mnemos.text.records import DateSpan


@dataclass(frozen=True)
class Sentence:
    """One that was said at `at` by `speaker`, `offset` characters into its text."""

    text: str
    offset: int
    speaker: str
    at: Time | None

    @cached_property
    def dates(self) -> list[DateSpan]:
        return find_dates(self.text, self.at)


_Objects = Callable[[str, Sentence], list[str]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to state a relation."""

    relation: str
    single: bool
    objects: _Objects
    """What the words after the verb name."""
    pattern: re.Pattern[str]


_NAME = r"[^\W\d_a-z][^\W\d_]{1,25}(?:[-'’][^\W\d_]{2,25})?(?:\s[^\W\d_a-z][^\W\d_]{1,25}){0,2}"
_ONLY = "mother|mom|mum|father|dad|wife|husband|partner|boyfriend|girlfriend|fianc[eé]e?|boss"
_SEVERAL = (
    "sister|brother|son|daughter|aunt|uncle|cousin|niece|nephew|grandmother|grandma|grandfather|grandpa|roommate|"
    "flatmate|neighbou?r|colleague|friend"
)
KIN = f"{_ONLY}|{_SEVERAL}"
PET = (
    "dog|puppy|pup|cat|kitten|kitty|rabbit|bunny|hamster|guinea pig|parrot|bird|horse|pony|turtle|tortoise|"
    "snake|lizard|fish|ferret"
)
VAGUE_KIND = re.compile(r"(?:part|thing|one|moment|memory|bit|way|time)\b")
"""Kinds that are none: "my favourite part"."""
_JOB = (
    "nurse|teacher|doctor|engineer|developer|programmer|lawyer|chef|cook|baker|writer|author|journalist|artist|"
    "musician|singer|dancer|actor|actress|designer|architect|scientist|researcher|professor|student|accountant|"
    "consultant|manager|mechanic|electrician|plumber|carpenter|farmer|firefighter|officer|pilot|driver|dentist|"
    "pharmacist|therapist|psychologist|counselor|counsellor|veterinarian|vet|photographer|librarian|barista|"
    "bartender|waiter|waitress|analyst|banker|realtor|nutritionist|paramedic|surgeon|translator|editor|producer|"
    "director|entrepreneur"
)
_ADVERB = (
    "now|currently|just|recently|finally|also|really|absolutely|actually|still|already|always|totally|truly|both|"
    "only|even|happily|newly|originally|officially|severely|very|highly|deathly|super|quite|so|mostly"
)
_S = rf"(?<![\w'’])(?P<s>[Ii](?![\w.-])|[Ww]e|(?:[Mm]y|[Oo]ur)\s(?:{KIN})(?:\s{_NAME})?|{_NAME})"
_MY = rf"(?<![\w'’])(?P<s>[Mm]y|{_NAME}(?=['’]s\s))(?:['’]s)?\s"
_MINE = (
    r"(?<![\w'’])(?P<s>[Mm]y|[Oo]ur)\s(?:(?:older|younger|eldest|youngest|little|big|twin|late|best|good|old|new)\s)?"
)
_AUX = rf"(?:['’](?:ve|s|m|re))?(?:\s(?:have|has|am|is|are|been|got|{_ADVERB})){{0,4}}\s"
_HAVE = rf"(?:['’]ve|\shave|\shas)?(?:\s(?:{_ADVERB})){{0,3}}\s"
_BE = rf"(?:['’](?:m|s|re)|\sam|\sis|\sare)(?:\s(?:{_ADVERB})){{0,2}}\s"
_IS = r"(?:\sis|['’]s)(?:\snow)?"
_CALLED = r"(?:['’]s\sname(?:\sis|['’]s)|\sis\s(?:named|called))\s"
_GAIN = (
    r"(?:got|landed|started|accepted|took|have|has|found)\s(?:an?|my|the|his|her)\s(?:\w{2,12}\s){0,2}?"
    r"(?:job|position|role)\s"
)
_MOVED = r"(?:moved|relocated|emigrated|immigrated)(?:\s(?:back|here|over|out|away|again|house)){0,2}"
_O = r"(?P<o>(?:[^.,;:!?…\n()\"“”]|(?<=St|Dr|Mt|Mr)\.(?=\s)|(?<=[A-Z])\.(?=[A-Z])){1,70})"
_OS = r"(?P<o>[^.;:!?…\n()\"“”]{1,120})"
_END = r"(?=[.,;!)]|\s*\Z|\s(?:and|but|because|so|now|again|since|last|in|with|to|too|of|at|by|for|who|here)\b)"


@cache
def rules() -> tuple[Mapping[str, list[int]], tuple[Rule, ...]]:
    """By trigger word the numbers of the rules that it calls for; and the rules, the more special first.
    Compiled on first use.

    Groups: `s` the subject, `v` a verb that must agree with it, `x` a part of the relation, `p` a kind of
    pet, `o` the object.
    """
    rows: list[tuple[str, bool, _Objects, str, str]] = [
        ("{}", True, _proper, _words(_ONLY), rf"{_MINE}(?P<x>{_ONLY})\s(?P<o>{_NAME})"),
        ("{}", False, _proper, _words(_SEVERAL), rf"{_MINE}(?P<x>{_SEVERAL})\s(?P<o>{_NAME})"),
        (
            "lives in",
            True,
            _proper,
            "live lives living based reside resides",
            rf"{_S}{_AUX}(?P<v>live|lives|living|reside|resides|based)(?:\s(?:here|alone|together|now|out|over))?"
            rf"\s(?:in|at)\s{_O}",
        ),
        (
            "lives in",
            True,
            _proper,
            "moved relocated emigrated immigrated",
            rf"{_S}{_AUX}{_MOVED}(?:\sfrom\s[^.;:!?\n]{{1,40}}?)?\sto\s{_O}",
        ),
        (
            "lives in",
            True,
            _proper,
            "left",
            rf"{_S}{_AUX}left\s[^.,;:!?\n]{{1,40}}?\sand\s(?:now\s)?(?P<v>live|lives)\s(?:in|at)\s{_O}",
        ),
        (
            "moved from",
            False,
            _proper,
            "from",
            rf"{_S}{_AUX}{_MOVED}(?:\sto\s[^.,;:!?\n]{{1,40}}?)?\sfrom\s(?:my\s[\w\s]{{1,20}},\s)?{_O}",
        ),
        (
            "comes from",
            True,
            _proper,
            "from",
            rf"{_S}(?:{_BE}|{_AUX}(?P<v>come|comes|hail|hails)\s)from\s{_O}",
        ),
        (
            "works at",
            True,
            _organisation,
            "work works working",
            rf"{_S}{_AUX}(?:started\s|began\s)?(?P<v>work|works|working)\s(?:at|for)\s{_O}",
        ),
        ("works at", True, _organisation, "job position role", rf"{_S}{_AUX}{_GAIN}(?:at|with)\s{_O}"),
        (
            "works as",
            True,
            _role,
            "work works working",
            rf"{_S}{_AUX}(?:started\s|began\s)?(?P<v>work|works|working)\sas\s{_O}",
        ),
        ("works as", True, _role, "job position role", rf"{_S}{_AUX}{_GAIN}as\s{_O}"),
        (
            "works as",
            True,
            _as_is,
            _words(_JOB),
            rf"{_S}{_BE}an?\s(?P<o>(?:[a-z-]{{2,20}}\s){{0,2}}(?:{_JOB})){_END}",
        ),
        (
            "works at",
            True,
            _proper,
            _words(_JOB),
            rf"{_S}(?:{_BE}|{_AUX}(?P<v>work|works|working)\sas\s)an?\s(?:[a-z-]{{2,20}}\s){{0,2}}(?:{_JOB})\s"
            rf"(?:at|for|with)\s{_O}",
        ),
        (
            "favourite {}",
            True,
            _phrase,
            "favorite favourite",
            rf"{_MY}(?:(?:absolute|all-time|new|current|own)\s){{0,2}}[Ff]avou?rite\s"
            r"(?P<x>[a-z]{2,20}(?:\s[a-z]{2,20}){0,2}?)(?:\s(?:is|are|(?:has|have)\s(?:always\s)?been)|['’]s)\s"
            rf"(?:(?:now|definitely|still|the\sone)\s){{0,2}}{_O}",
        ),
        (
            "favourite {}",
            True,
            _phrase,
            "favorite favourite",
            r"(?:(?<=\A)|(?<=[,;]\s)|(?<=and\s)|(?<=but\s))(?P<o>[^.,;:!?\n]{2,50}?)(?:['’]s|\sis|\sare)\s"
            rf"(?:\w{{3,10}}\s)?(?P<s>my|{_NAME}(?=['’]s\s))(?:['’]s)?\s(?:(?:absolute|all-time|new|current)\s)?"
            rf"favou?rite\s(?P<x>[a-z]{{2,20}}){_END}",
        ),
        (
            "has pet",
            False,
            _proper,
            "named called name",
            rf"{_S}{_AUX}(?:(?P<v>have|has|own|owns)|got|adopted|bought|rescued)\s(?:an?|our|another|this)\s"
            rf"(?:[a-z-]{{2,15}}\s){{0,3}}?(?P<p>{PET})\s(?:named|called)\s{_O}",
        ),
        (
            "has pet",
            False,
            _proper,
            "named called name",
            rf"{_MY}(?:[a-z-]{{2,15}}\s){{0,3}}?(?P<p>{PET}){_CALLED}{_O}",
        ),
        (
            "has pet",
            False,
            _as_is,
            "have has own owns got",
            rf"{_S}{_AUX}(?:(?P<v>have|has|own|owns)|got)\san?\s(?:new\s|pet\s|little\s)?(?P<o>{PET})"
            r"(?!\w|\s[a-z])",
        ),
        ("married to", True, _proper, "married", rf"{_S}{_AUX}married\s(?:to\s)?{_O}"),
        ("engaged to", True, _proper, "engaged", rf"{_S}{_AUX}engaged\sto\s{_O}"),
        ("dating", True, _proper, "dating", rf"{_S}{_BE}dating\s{_O}"),
        (
            "marital status",
            True,
            _as_is,
            "single married divorced engaged widowed",
            rf"{_S}(?:{_BE}|{_AUX}(?:got|getting)\s)(?P<o>single|married|divorced|engaged|widowed){_END}",
        ),
        ("{}", True, _proper, "name named called", rf"{_MY}(?P<x>{_ONLY}){_CALLED}{_O}"),
        ("{}", False, _proper, "name named called", rf"{_MY}(?P<x>{_SEVERAL}){_CALLED}{_O}"),
        (
            "birthday",
            True,
            _day,
            "birthday",
            rf"{_MY}(?:\d\dth\s)?birthday(?:{_IS}|\sfalls|\swas)\s(?:on\s)?{_OS}",
        ),
        (
            "birthday",
            True,
            _day,
            "turn turns turned turning",
            rf"{_S}(?:\swill|['’]ll)?(?:\sturns?|\sturned|{_BE}turning)\s\d{{1,3}}\son\s{_OS}",
        ),
        ("birthday", True, _day, "born", rf"{_S}\swas\sborn\son\s{_OS}"),
        ("born in", True, _year_or_place, "born", rf"{_S}\swas\sborn\s(?:and\sraised\s)?in\s{_O}"),
        ("allergic to", False, _list, "allergic", rf"{_S}{_BE}allergic\sto\s{_OS}"),
        (
            "likes",
            False,
            _list,
            "love loves like likes enjoy enjoys adore adores into fan passionate fond",
            rf"{_S}(?:{_HAVE}(?P<v>love|loves|like|likes|enjoy|enjoys|adore|adores)"
            rf"|{_BE}(?:into|an?\s(?:\w{{2,10}}\s)?fan\sof|passionate\sabout|fond\sof))\s{_OS}",
        ),
        (
            "dislikes",
            False,
            _list,
            "hate hates dislike dislikes detest detests loathe stand",
            rf"{_S}{_HAVE}(?:(?P<v>hate|hates|dislike|dislikes|detest|detests|loathe)|(?:can['’]?t|cannot)\sstand)"
            rf"\s{_OS}",
        ),
        ("name", True, _proper, "name", rf"(?<![\w'’])(?P<s>[Mm]y)\s(?:full\s)?name{_IS}\s{_O}"),
        (
            "name",
            True,
            _proper,
            "hi hello hey",
            r"\A(?:[Hh]i|[Hh]ello|[Hh]ey)(?:\sthere|\sall|\severyone)?[,!.]?\s(?P<s>I)(?:['’]m|\sam)\s"
            r"(?![A-Z][a-z]{1,20}(?:ish|ese)\b)(?P<o>[A-Z][a-z]{1,20}(?=[.,!]|\Z|\sand\s(?:I|my)\b))",
        ),
        (
            "phone",
            True,
            _as_is,
            "number",
            rf"{_MY}(?:\w{{3,8}}\s){{0,2}}number{_IS}[:\s]{{1,3}}(?P<o>\+?[\d(][\d\s().-]{{4,24}}\d)",
        ),
        (
            "email",
            True,
            _as_is,
            "email mail",
            rf"{_MY}(?:\w{{3,8}}\s){{0,2}}e-?mail(?:\saddress)?{_IS}[:\s]{{1,3}}"
            r"(?P<o>[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4})",
        ),
        ("age", True, _as_is, "old", rf"{_S}{_BE}(?P<o>\d{{1,3}})\syears?\sold"),
        ("age", True, _as_is, "old", r"(?<![\w'’])(?P<s>I)(?:['’]m|\sam)\san?\s(?P<o>\d{1,3})[-\s]year[-\s]old\b"),
        (
            "age",
            True,
            _as_is,
            " ".join(map(str, range(10, 100))),
            r"(?<![\w'’])(?<![Ww]hen\s)(?<![Uu]ntil\s)(?<![Tt]ill\s)(?<![Oo]nce\s)(?<![Bb]efore\s)(?<!time\s)"
            rf"(?P<s>I|[Mm]y\s(?:{KIN})(?:\s{_NAME})?){_BE}(?P<o>[1-9]\d)"
            r"(?=[.,;!]?\s*\Z|[,;]\s(?![\d$]|or\b)|\s(?:and|but|so|now)\s(?![\d$]))",
        ),
        (
            "{}",
            True,
            _phrase,
            "hometown job profession major nickname address car hobby",
            rf"{_MY}(?:new\s|current\s|main\s)?"
            rf"(?P<x>hometown|dream\sjob|job|profession|major|nickname|address|car|hobby){_IS}\s{_O}",
        ),
        (
            "{}",
            False,
            _phrase,
            "started joined bought adopted visited signed graduated",
            rf"{_S}{_AUX}(?P<x>started|joined|bought|adopted|visited|signed\sup\sfor|graduated\sfrom)\s{_O}",
        ),
        ("visited", False, _proper, "been", rf"{_S}(?:['’]ve|\shave|\shas|['’]s)\sbeen\sto\s{_O}"),
    ]
    return by_trigger(row[3] for row in rows), tuple(
        Rule(relation, single, objects, re.compile(pattern)) for relation, single, objects, _, pattern in rows
    )


def _words(choices: str) -> str:
    """The trigger words of alternatives: every one that some text may hold."""
    return choices.replace("fianc[eé]e?", "fianc").replace("neighbou?r", "neighbor|neighbour").replace("|", " ")


def _proper(raw: str, said: Sentence) -> list[str]:
    """A name in capitals; a single word where the whole text has none."""
    raw = _dateless(raw, said)
    match = _PROPER.match(raw)
    if match:
        name = match.group().rstrip(".")
        head = name.split()[-1]
        return [] if head.lower() in NO_NAMES else [name]
    if said.text.islower():
        word = _SMALL.match(_trim(raw))
        return [word.group()] if word and not _NO_PLACE.match(word.group()) else []
    return []


def _organisation(raw: str, said: Sentence) -> list[str]:
    named = _proper(raw, said)
    return named or (_phrase(raw, said) if _ARTICLE.match(raw) else [])


def _phrase(raw: str, said: Sentence) -> list[str]:
    """A short noun phrase."""
    words = _trim(_dateless(raw, said))
    if not words or len(words.split()) > 8 or _EMPTY.match(words):
        return []
    return [words]


def _role(raw: str, said: Sentence) -> list[str]:
    return [_ARTICLE.sub("", words) for words in _phrase(raw, said)]


def _list(raw: str, said: Sentence) -> list[str]:
    """Noun phrases joined by commas and "and", as far as they are some."""
    out: list[str] = []
    raw = _dateless(raw, said)
    if _LISTED.search(raw) is None:  # "a safe, inviting place" is one thing
        raw = raw.partition(",")[0]
    for part in _AND.split(raw):
        words = _trim(part)
        if not words or len(words.split()) > 6 or _EMPTY.match(words) or (out and _CLAUSE.search(words)):
            break
        out.append(words)
    return out


def _as_is(raw: str, said: Sentence) -> list[str]:
    return [raw.strip()]


def _day(raw: str, said: Sentence) -> list[str]:
    """A birthday: day and month."""
    found = find_dates(raw, 0.0 if said.at is None else said.at)
    if not found or found[0].end - found[0].start > 86400 or (said.at is None and not _MONTH_NAME.search(raw)):
        return []
    return [" ".join(format_span(found[0]).split()[:2])]


def _year_or_place(raw: str, said: Sentence) -> list[str]:
    year = re.match(r"(?:1[89]|20)\d\d\b", raw)
    return [year.group()] if year else _proper(raw, said)


def _dateless(raw: str, said: Sentence) -> str:
    """`raw` up to the first date expression and its preposition."""
    for found in said.dates:
        where = raw.find(found.phrase)
        if where >= 0:
            raw = _DANGLING.sub("", raw[:where])
    return raw


def _trim(raw: str) -> str:
    """Cut a clause off behind a noun phrase, and adverbs, emoji and spaces around it."""
    words = _CUT.split(raw, maxsplit=1)[0]
    while True:
        shorter = _TRAILING.sub("", words).strip(" \t-–—~*'’\u200d\ufe0f")
        if shorter == words:
            return words
        words = shorter


_EMPTY = re.compile(
    r"(?:it|that|this|these|those|them|their|him|his|her|its|you|your|me|us|how|when|what|why|where|who|if|"
    r"the\s(?:way|idea|thought|fact|most)|seeing|being|to\s(?:see|hear|know|think|feel|be)|(?:to|in)\Z|so|too|very|as|here|there|"
    r"one|some|something|everything|anything|but|and|cause|because|especially|particularly|not|no|nothing|is|are|"
    r"was|were|makes|like|off|over|out|up|on|all|both|each|more|every|a\slot|"
    r"(?:making|getting|doing|having|taking|giving|putting)\Z)(?![\w-])",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"\b(?:i|we|you|he|she|it|they|am|is|are|was|were|have|has|had|do|does|did|can|will|my|our|her|his|me|us)\b",
    re.IGNORECASE,
)
_AND = re.compile(r",\s(?:and\s)?|\s(?:and|&|plus|or)\s")
_LISTED = re.compile(r"\s(?:and|&|plus|or)\s")
_CUT = re.compile(
    r"\s['’]?(?:and|but|so|because|cause|what|how|why|since|when|where|while|who|which|that|with|as|if|though|"
    r"although|to\s(?:be|help|get)|i|we|he|she|they|you|it|instead|after|before|during|for|until|thanks|last|next|"
    r"this|at\sthe\smoment|[-–—])\b|\s[-–—]|"
    r"\s(?:about\s)?(?:\d{1,3}|[a-z]{1,8})\s(?:day|week|month|year)s?\b",
    re.IGNORECASE,
)
_TRAILING = re.compile(
    r"(?:\s(?:now|too|recently|lately|currently|again|together|anymore|btw|also|today|already|though|lol|haha|"
    r"right|so\smuch|a\slot|as\swell|very\smuch|ago|years?|in|on|at|of|from|the|a|an))\Z|[^\w)’']+\Z",
    re.IGNORECASE,
)
_DANGLING = re.compile(
    r"\s(?:back\s)?(?:in|on|since|at|by|for|around|about|from|until|during|over|the)(?:\sthe)?\s*\Z",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"(?:an?|the|my)\s", re.IGNORECASE)
_SMALL = re.compile(r"[^\W\d_]{3,}(?=\Z)")
_NO_PLACE = re.compile(
    r"(?:the|that|this|there|here|bed|home|town|general|peace|fear|hell|heaven|danger|love|fact|work|you)\Z"
)
_CAP = r"[^\W\d_a-z][^\W_]*(?:[.&'’-][^\W_]+)*"
_PROPER = re.compile(rf"(?:the\s)?{_CAP}(?:\.?\s(?:(?:of|de|la|le|the|and\sthe|du|van|von|&)\s)?{_CAP}){{0,5}}")
_MONTH_NAME = re.compile(r"\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\b", re.IGNORECASE)


def kind_of(words: str) -> str:
    """The one spelling of what somebody has a favourite of: "colors" is "colour"."""
    return re.sub(r"(?<=[^s])s$", "", words).replace("color", "colour")
