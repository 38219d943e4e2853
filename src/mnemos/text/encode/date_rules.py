"""How English writes dates: the expressions, the tense around them, the arithmetic of the calendar.

`dates` gives them their meaning. All days are ordinals of `datetime.date`; a quarter of one is six hours.
"""

from __future__ import annotations

import math
import re
from calendar import isleap, monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache

from mnemos.core.clock import Time
from mnemos.text.encode.analyse import by_trigger

EPOCH = 719163  # ordinal of 1970-01-01
FIRST, LAST = 1, 3652060  # ordinals of 0001-01-01 and of the day after 9999-12-31
DAY = 86400.0
Days = tuple[float, float]
"""An interval in days, as ordinals of `datetime.date`; a quarter is six hours."""

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_MONTH = {name[:3].lower(): i for i, name in enumerate(MONTHS, 1)}
WEEKDAY = {name: i for i, name in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))}
SEASON = {"spring": 3, "summer": 6, "fall": 9, "autumn": 9, "winter": 12}
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER = {word: i for i, word in enumerate(_NUMBERS, 1)}
_VAGUE = {"couple": (2, 3), "few": (2, 6), "several": (3, 8)}
ORDINAL = {
    "first": 0,
    "second": 1,
    "third": 2,
    "fourth": 3,
    "1st": 0,
    "2nd": 1,
    "3rd": 2,
    "4th": 3,
    "last": -1,
}
_PART = {"morning": (0.25, 0.5), "afternoon": (0.5, 0.75), "evening": (0.75, 1.0), "night": (0.75, 1.25)}
HOLIDAY = {
    "christmas": (12, 25),
    "christmas eve": (12, 24),
    "christmas day": (12, 25),
    "halloween": (10, 31),
    "new years eve": (12, 31),
    "new years day": (1, 1),
    "valentines day": (2, 14),
}


@dataclass(frozen=True, slots=True)
class Now:
    """The moment of speaking."""

    at: Time
    day: int
    hour: float

    @property
    def date(self) -> date:
        return date.fromordinal(self.day)


@cache
def grammar() -> tuple[Mapping[str, list[int]], tuple[tuple[str, re.Pattern[str]], ...]]:
    """By trigger word the numbers of the rules that it calls for, and per rule: its kind, the expression.
    Compiled on first use.

    Where a rule has a group `x`, the date begins there; what stands before only allows it.
    """
    months = " ".join([*MONTHS, *_MONTH, "sept"]).lower()
    units = "day week weekend month year decade"
    many = f"{units} days weeks months years decades fortnight fortnights nights weekends"
    digits = "0 1 2 3 4 5 6 7 8 9"
    rules: list[tuple[str, str, str]] = [
        (
            "near_day",
            "yesterday today tonight tomorrow night evening morning afternoon",
            rf"(?P<rel>yesterday|today|tomorrow|tonight)(?:{_S}(?P<part>morning|afternoon|evening|night))?"
            rf"|last{_S}(?P<night>night|evening)|this{_S}(?P<this>morning|afternoon|evening)",
        ),
        (
            "weekday",
            f"{_LONG} mon tue tues wed thu thur thurs fri sat sun".replace("|", " "),
            rf"(?:(?P<prep>on|by|until|till|since|from|before|after){_S})?"
            rf"(?P<x>{_DIR}(?P<wd>{_LONG}|{_SHORT})(?!\w)\.?(?:{_S}(?P<part>morning|afternoon|evening|night))?)"
            rf"(?!{_S}of\b)",
        ),
        (
            "calendar",
            units,
            rf"(?P<how>(?:the\s)?last|(?:the\s)?past|this\spast|this\scoming|this|next|coming){_S}"
            rf"(?P<unit>weekend|week|month|year|decade)(?!\w|{_S}(?:of|before|after)(?!\w))",
        ),
        (
            "rolling",
            many,
            rf"(?P<how>last|past|next|coming){_S}(?P<n>{_NUM}){_S}(?P<unit>day|week|month|year)s?",
        ),
        (
            "ago",
            "ago back now today",
            rf"(?:(?P<half>half)\s)?(?P<n>{_NUM})(?:\s?(?:-|–|or|to)\s?(?P<n2>\d{{1,3}}|{_N}))?"
            rf"(?P<plus>\sand\sa\shalf)?{_S}"
            r"(?P<unit>second|minute|hour|night|day|weekend|week|fortnight|month|year|decade)s?"
            r"(?:\sor\s(?:(?P<n3>two|three)|so)|(?P<more>\sand\sa\shalf))?"
            rf"{_S}(?P<way>ago|back|from\snow|from\stoday)(?!-)",
        ),
        (
            "ahead",
            many,
            rf"(?<!once\s)(?<!twice\s)(?<!times\s)(?<!time\s)in{_S}(?P<n>{_NUM}){_S}"
            r"(?P<unit>day|week|fortnight|month|year)s?(?:['’]?\stime)?",
        ),
        (
            "fixed",
            f"other {units} night",
            r"the\s(?P<other>other)\s(?:day|night)|(?:over|on|during)\s(?P<x>the\sweekend)"
            rf"|the\s(?P<unit>weekend|week|night|month|year)\sbefore\slast(?!{_S}(?:{_LONG}|{_FULL}|"
            r"week|month|year|night|summer|winter|spring|fall|autumn|christmas))",
        ),
        (
            "day_month",
            months,
            rf"(?<![\d.,:/$€£-])(?P<d>\d{{1,2}})(?P<o>{_TH})?"
            rf"(?:(?:\s(?P<m0>{_MON})\.?(?:,?\s(?P<y0>\d{{4}}))?)?{_TO}(?P<d2>\d{{1,2}})(?P<o2>{_TH})?)?"
            rf"{_S}(?:of\s)?(?P<m>{_MON})\.?(?:[,\s]{{1,3}}{_Y})?",
        ),
        (
            "day_month",
            months,
            rf"(?P<m0>{_MON})\.?{_S}(?:the\s)?(?P<d>\d{{1,2}})(?P<o>{_TH})?"
            rf"(?:(?:,?\s(?P<y0>\d{{4}}))?{_TO}(?:(?P<m>{_MON})\.?\s)?(?P<d2>\d{{1,2}})(?P<o2>{_TH})?)?"
            rf"(?!\d|[:/]\d|\s?[ap]\.?m\b|%)(?:,?{_S}(?:of\s)?{_Y})?",
        ),
        (
            "month_year",
            months,
            rf"(?:(?P<m0>{_MON}){_TO})?(?P<m>{_MON})\.?,?\s{{0,3}}(?:of\s)?{_Y}(?![.,:]\d)",
        ),
        (
            "bare_month",
            months,
            r"(?:(?P<prep>in|since|during|until|till|by|early|mid|late|"
            rf"(?:end|start|beginning|middle|weekend|week|day|{_LONG})\s(?:of|in))[\s-])?"
            rf"(?P<x>{_DIR}(?P<m>{_FULL}))(?!['’]s)(?!\s?\d)",
        ),
        (
            "season",
            "spring summer fall autumn winter",
            rf"(?:(?P<prep>in\sthe|in|during\sthe|over\sthe|since|of){_S})?"
            rf"(?P<x>{_DIR}(?P<s>spring|summer|fall|autumn|winter)(?!\w)(?:(?:\sof|,)?\s{_Y})?)",
        ),
        (
            "year",
            digits,
            r"(?:(?:in|since|of|by|from|until|till|during|around|circa|before|after|between|early|mid|late|"
            r"through|year)[\s-](?:the\s(?:year\s)?)?|\A\W{0,4})"
            rf"(?P<x>(?:(?P<y0>\d{{4}}){_TO})?(?P<y>(?:1[5-9]|20)\d\d))"
            rf"(?!\w|[.,:/-]\d|\s?[%$€£°]|\s(?:{_COUNTED})\b)",
        ),
        (
            "decade",
            digits,
            r"the\s(?:early|mid|late)?[\s-]?['’]?(?P<x>(?P<y>(?:1[5-9]|20)?\d0)['’]?s)",
        ),
        (
            "numeric",
            digits,
            r"(?<![.,/-])(?P<y>\d{4})(?P<s0>[-/.])(?P<m>\d{1,2})(?P=s0)(?P<d>\d{1,2})(?=\D|\Z)"
            r"|(?<![.,/-])(?P<a>\d{1,2})(?P<sep>[-/.])(?P<b>\d{1,2})(?P=sep)(?P<c>\d{4}|\d{2})"
            r"(?![/\w]|[-.]\d)",
        ),
        (
            "holiday",
            "christmas halloween eve valentine valentines year",
            rf"(?:(?P<prep>on|at|for|since|over|during|before|after|by){_S})?(?P<x>{_DIR}"
            r"(?P<h>christmas(?:\s(?:eve|day))?|halloween|new\syear['’]?s\s(?:eve|day)|valentine['’]?s\sday)"
            rf"(?!\w)(?:,?\s{_Y})?)",
        ),
    ]
    compiled: list[tuple[str, re.Pattern[str]]] = []
    for kind, _, pattern in rules:
        tail = "" if kind == "numeric" else r"(?!\w)"  # 2023-05-08T13:56
        compiled.append((kind, re.compile(rf"(?<!\w)(?:{pattern}){tail}", re.I)))
    return by_trigger(words for _, words, _ in rules), tuple(compiled)


def nearest_year(m: re.Match[str], now: Now, month: int, day: int, vague: bool = False) -> int:
    """The year of a date that names none: by tense, else the nearest; 29 February needs a leap year.

    Tense yields where it asks for a date many times as far away as the other one: "I told you of the
    dinner on 18 July", said in June, is about this July. A whole month (`vague`) hangs on its verb.
    """
    year = now.date.year
    tense, trust = tense_of(m)
    leap = month == 2 and day == 29
    years = [y for y in range(max(1, year - 8), min(9999, year + 8) + 1) if not leap or isleap(y)]
    gaps = {y: date(y, month, day).toordinal() - now.day for y in years}
    nearest = min(gaps, key=lambda y: (abs(gaps[y]), y))
    if tense < 0:
        told = max(y for y, gap in gaps.items() if gap <= 0)
    elif tense > 0:
        told = min(y for y, gap in gaps.items() if gap >= 0)
    else:
        return nearest
    trust = math.inf if vague and trust > 1 else trust
    return told if abs(gaps[told]) <= trust * abs(gaps[nearest]) else nearest


def tense_of(m: re.Match[str]) -> tuple[int, float]:
    """What the clause of a date says of its time, and how far to trust it.

    Returns:
        -1 for the past, 1 for the future, 0 where the words do not say; and how many times as far away as
        the nearest reading the one they ask for may lie.
    """
    left = _BREAK.split(m.string[max(0, m.start() - 100) : m.start()])[-1]
    right = _BREAK.split(m.string[m.end() : m.end() + 60])[0]
    if m.group().endswith(".") and not _ABBREVIATED.search(m.group()):
        right = ""  # the match took the full stop with it
    on = m.group()[:3].lower() == "on " or _ON.search(left) is not None
    if _FRONTED.search(left):  # "On Friday, I went": the date belongs to what follows
        cue = _CUE.search(right)
        if cue:
            return _lean(cue, on), math.inf
    clause = left[max((c.start() for c in _SUBJECT.finditer(left)), default=0) :]
    cues = list(_CUE.finditer(clause))
    if not cues:
        # words behind the next comma or subject belong to another clause
        cue = _CUE.search(_ENDS.split(right)[0])
        return (_lean(cue, on), math.inf if cue.start() < 2 else _FAR) if cue else (0, 1)
    last = cues[-1]
    if last["past"] and _AHEAD.search(clause, last.end()):  # "bought a ticket for 3 May"
        return 1, _FAR
    if last["past"] and _ARRANGED.search(clause, last.start()):  # when it was arranged, or for when
        return -1, 1
    sure = (last["past"] or last["will"]) and _BARE.fullmatch(clause, last.end())
    return _lean(last, on), math.inf if sure else _FAR


def _lean(cue: re.Match[str], on: bool) -> int:
    """-1, 0 or 1; a present verb with "on" announces: "I have an exam on Friday"."""
    return -1 if cue["past"] else 1 if cue["future"] or on else 0


def day_text(day: int) -> str:
    """ "7 May 2023" """
    d = date.fromordinal(day)
    return f"{d.day} {MONTHS[d.month - 1]} {d.year:04}"


def days_text(lo: int, hi: int) -> str:
    """The shortest way to write the days from `lo` up to, not including, `hi`."""
    first, last = date.fromordinal(lo), date.fromordinal(hi - 1)
    after = date.fromordinal(hi) if hi < LAST else None
    if hi - lo == 1:
        return day_text(lo)
    if first.day == 1 and (after is None or after.day == 1):
        months = (last.year - first.year) * 12 + last.month - first.month + 1
        if months == 1:
            return f"{MONTHS[first.month - 1]} {first.year:04}"
        if first.month == 1 and months % 12 == 0:
            if months == 120 and first.year % 10 == 0 and 1500 <= first.year < 2100:
                return f"the {first.year}s"
            return f"{first.year:04}" if months == 12 else f"{first.year:04}–{last.year:04}"
        if months == 3 and first.month % 3 == 0:
            return f"{('spring', 'summer', 'autumn', 'winter')[first.month // 3 - 1]} {first.year:04}"
        if months < 12:
            return f"{MONTHS[first.month - 1]}–{MONTHS[last.month - 1]} {last.year:04}"
    if hi - lo == 7 and weekday_of(lo) == 0:
        return f"the week of {day_text(lo)}"
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{day_text(hi - 1)}"
    year = "" if first.year == last.year else f" {first.year:04}"
    return f"{first.day} {MONTHS[first.month - 1]}{year} – {day_text(hi - 1)}"


def plain(text: str | None) -> str:
    return " ".join((text or "").lower().split())


def amount(text: str) -> tuple[int, int]:
    """The least and the greatest number that a count may mean."""
    for word in text.lower().split():
        if word in _VAGUE:
            return _VAGUE[word]
    n = 1 if text.lower() in {"a", "an"} else _NUMBER.get(text.lower(), -1)
    n = int(text) if n < 0 else n
    return n, n


def sure_month(name: str, sure: bool) -> bool:
    """Whether `name` can only be a month here: "may" and "march" in lower case are verbs."""
    return sure or name[0].isupper() or name.lower() not in {"may", "march", "mar"}


def month_no(name: str) -> int:
    return _MONTH[name[:3].lower()]


def month_of(year: int, month: int) -> Days:
    first = date(year, month, 1).toordinal()
    return first, first + monthrange(year, month)[1]


def weekday_of(day: int) -> int:
    return (day + 6) % 7


def unit_at(day: int, unit: str, n: int) -> Days:
    """The calendar unit that lies `n` units from the one holding `day`."""
    if unit in {"day", "night"}:
        return day + n, day + n + 1
    monday = day - weekday_of(day) + 7 * n * (2 if unit == "fortnight" else 1)
    if unit in {"week", "fortnight"}:
        return monday, monday + 7
    if unit == "weekend":
        return monday + 5, monday + 7
    today = date.fromordinal(day)
    if unit == "month":
        years, month = divmod(today.month - 1 + n, 12)
        return month_of(today.year + years, month + 1)
    low, high = (n, n) if unit == "year" else (10 * n - 1, 10 * n + 1)
    return date(today.year + low, 1, 1).toordinal(), date(today.year + high, 12, 31).toordinal() + 1


def shifted(day: int, unit: str, n: int) -> int:
    """`day` moved by `n` units, in months to the last day that exists."""
    if unit in {"day", "week"}:
        return day + n * (7 if unit == "week" else 1)
    today = date.fromordinal(day)
    years, month = divmod(today.month - 1 + n * {"month": 1, "year": 12, "decade": 120}[unit], 12)
    year = today.year + years
    return date(year, month + 1, min(today.day, monthrange(year, month + 1)[1])).toordinal()


def part_of(day: int, part: str) -> Days:
    low, high = _PART.get(part, (0.0, 1.0))
    return day + low, day + high


WORDS = re.compile(r"[a-z]+|[0-9]")
HABIT = re.compile(r"(?:every|each|a|any|most|some)\s*\Z", re.IGNORECASE)

_FAR = 8.0
"""A cue is trusted up to a date this many times as far away as the other reading."""
_BREAK = re.compile(r"[.!?…]+[\s\"”’)]+|[;\n]|[.!?…]+\Z")
_ABBREVIATED = re.compile(
    r"\b(?:jan|feb|mar|apr|aug|sept?|oct|nov|dec|mon|tues?|wed|thu(?:rs?)?|fri|sat|sun)\.\Z", re.I
)
_SUBJECT = re.compile(
    r"\b(?:(?:did|was|were|had|will|shall)\s)?(?:I|we|he|she|they)\b(?!\.)"
    r"|(?:[,–—]\s|\b(?:and|but|so|because|if|when|while|that)\s)(?:you|it|there)\b",
    re.IGNORECASE,
)
"""Where a clause begins: pronouns that are never objects."""
_ENDS = re.compile(r",|\s[-–—]\s|\b(?:I|we|he|she|they|and|but|so|because|when|while)\b", re.IGNORECASE)
_FRONTED = re.compile(
    r"(?:\A|[,–—:])\W{0,3}(?:(?:and|but|so|then|well|back|just|also|only|early|late|on|in|at|by|the)\s*){0,4}\Z",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"(?:\s(?:born|there|here|back|home|out|up|off|away|over|together|again|married|it|this|that|him|her|them|"
    r"us|held|on|in|at|by|during|early|late|mid|the|just|only|first)){0,5}\s*",
    re.IGNORECASE,
)
"""What may stand between a verb and its own date."""
_ON = re.compile(r"\bon\s(?:the\s)?\Z", re.IGNORECASE)
_AHEAD = re.compile(r"\s(?:for|to)\s(?:the\s)?\Z", re.IGNORECASE)
_ARRANGED = re.compile(
    r"\b(?:(?:re)?booked|(?:re)?scheduled|signed\s(?:\w+\s)?up|registered|enroll?ed|arranged|reserved|invited|"
    r"confirmed|postponed|tickets?|seats?|slots?|appointments?|invitations?|reservations?|deadlines?)\b",
    re.IGNORECASE,
)
_ED = (
    r"(?!need\b|feed|indeed|hundred|speed|seed|weed|shed\b|bleed|breed|greed|exceed|proceed|succeed|sacred)"
    r"\w{2,20}ed"
)
_PASTS = (
    "was|were|did|had|been|became|began|bent|bled|blew|bought|bred|broke|brought|built|burnt|came|caught|chose|"
    "clung|crept|dealt|dreamt|drank|drew|drove|dug|ate|fell|felt|fled|flew|flung|forgave|forgot|fought|found|"
    "froze|gave|got|grew|heard|held|hid|hung|kept|knelt|knew|laid|leapt|learnt|led|left|lent|lit|lost|made|"
    "meant|met|misunderstood|mistook|overcame|paid|ran|rang|rebuilt|rode|said|sang|sank|(?-i:sat)|saw|sent|shone|"
    "shook|shrank|slept|slid|sold|sought|sped|spelt|spent|spoke|sprang|stank|stole|stood|strode|struck|stuck|"
    "stung|swam|swept|swore|swung|taught|thought|threw|told|took|tore|underwent|understood|went|wept|withdrew|"
    "woke|won|wore|wove|wrote"
)
"""Irregular pasts, without those that are also presents (put, read) or common nouns (bit, shot, rose)."""
_CUE = re.compile(
    r"(?P<future>(?P<will>\b(?:will|won['’]t|shall|gonna|going\sto|plan(?:s|ned|ning)?|hop(?:e|ing)\sto|(?:have|has)\sto|"
    r"want\sto|need\sto)\b|['’]ll\b)(?:(?:\s(?:not|\w{2,12}ly|also|be|get|have|been)){1,3}\s\w{2,20}ed\b)?"
    r"|\b(?:upcoming|coming|can['’]t\swait|looking\sforward|see\syou|excited|due|starts|opens)\b"
    r"|(?:['’]m|['’]re|\bam|\bare|\bis)\s\w{2,20}ing\b)"
    r"|(?P<past>\b(?:(?:have|has)(?:\s(?!to\b)\w{2,12}ly|\s(?:just|already|never|ever|also|always))?\s(?:been|had|gone|done|"
    r"seen|taken|given|eaten|written|come|become|begun|known|grown|flown|driven|fallen|broken|chosen|spoken|"
    rf"(?:{_PASTS})|{_ED})|{_PASTS}|{_ED})\b|['’]ve\b)"
    r"|(?P<present>(?:['’][ms]|['’]re|\bam|\bis|\bare)(?:\s(?:\w{2,12}ly|so|now|already|all))?\s\w{2,20}ed\b"
    r"|\b(?:am|is|are|has|have|do|does)\b|\b(?:it|that|there|here|what|when)['’]s\b)",
    re.IGNORECASE,
)
"""The last verb before a date speaks for it; a present one, too, keeps those further off from speaking."""
_S = r"\s{1,3}"
_N = "|".join(_NUMBERS)
_NUM = rf"\d{{1,3}}|an?|{_N}|(?:a\s)?(?:couple(?:\sof)?|few)|several"
_MON = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)(?!\w)"
)
_FULL = "|".join(MONTHS)
_LONG = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_SHORT = "mon|tues?|wed|thu(?:rs?)?|fri|sat|sun"
_TH = "(?:st|nd|rd|th)"
_TO = r"\s?(?:[-–—]|to|and|until|through)\s?"
_DIR = rf"(?:(?P<dir>this\spast|this\scoming|last|past|this|next|coming){_S})?"
_Y = r"(?P<y>\d{4})(?!\d)"
_COUNTED = (
    "words|people|times|steps|miles|met(?:er|re)s|km|kilomet(?:er|re)s|feet|ft|dollars|bucks|euros|pounds|"
    "calories|pages|pieces|hours|minutes|days|weeks|months|years|square|kg|ml|lbs|students|users|members|"
    "followers|points"
)
PREFIX = re.compile(
    r"(?<!\w)(?:"
    r"(?:the\s)?(?P<third>early|mid|late|(?:beginning|start|end|middle)\sof)[\s-]{1,2}(?:in\s)?(?:the\s)?"
    rf"|(?P<since>(?:ever\s)?since){_S}(?:the\s)?"
    r"|(?:the\s)?(?P<nth>first|second|third|fourth|last|1st|2nd|3rd|4th)\s"
    rf"(?P<of>weekend|week|day|{_LONG})\s(?:of|in){_S}"
    rf"|(?:the\s)?(?:(?P<wd>{_LONG}|{_SHORT})"
    rf"|(?:(?P<n>{_NUM})\s)?(?P<unit>day|night|weekend|week|month|year)s?)\s"
    rf"(?:just\s|right\s)?(?P<rel>before|after|of){_S}(?:the\s)?"
    r")\Z",
    re.IGNORECASE,
)
