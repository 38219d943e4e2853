"""Date expressions of a text, resolved against the moment it was said.

    find_dates("I ran a race last Saturday", parse_time("2023-05-25"))
    -> [DateSpan("last Saturday", 2023-05-20T00:00, 2023-05-21T00:00)]

A grammar of about fifteen regular expressions, each run only when one of its words occurs; every repeat
in them is bounded, so time is linear in the text. Against parsedatetime it keeps vagueness ("a few days
ago" is an interval), reads dates that hang on dates ("the Sunday before 25 May 2023") and leaves modal
verbs and names ("may", "June") alone.

Conventions, all UTC, all half-open: weeks start on Monday; "last week" is the calendar week before, "the
past week" the seven days up to today; "last Friday" is the latest Friday before today, "next Friday" the
first after it; 05/08/2023 is 8 May only where 5 cannot be the month: month first, as in US chat, else day
first; 5.8.2023 is day first; seasons are the northern meteorological ones, and winter 2022 starts in
December 2022; "since 2016" gives 2016, when it began; "for 4 years" is a duration and gives nothing.
A date without year or direction ("in June", "on Friday") follows the tense of its sentence, else it is the
nearest one.
"""

from __future__ import annotations

import itertools
import math
import re
from calendar import isleap, monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cache, partial

from mnemos.core.clock import Time, to_datetime
from mnemos.core.errors import InvalidInput
from mnemos.text.records import DateSpan

_EPOCH = 719163  # ordinal of 1970-01-01
_FIRST, _LAST = 1, 3652060  # ordinals of 0001-01-01 and of the day after 9999-12-31
_DAY = 86400.0
_Days = tuple[float, float]
"""An interval in days, as ordinals of `datetime.date`; a quarter is six hours."""

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_MONTH = {name[:3].lower(): i for i, name in enumerate(_MONTHS, 1)}
_WEEKDAY = {name: i for i, name in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))}
_SEASON = {"spring": 3, "summer": 6, "fall": 9, "autumn": 9, "winter": 12}
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER = {word: i for i, word in enumerate(_NUMBERS, 1)}
_VAGUE = {"couple": (2, 3), "few": (2, 6), "several": (3, 8)}
_ORDINAL = {
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
_HOLIDAY = {
    "christmas": (12, 25),
    "christmas eve": (12, 24),
    "christmas day": (12, 25),
    "halloween": (10, 31),
    "new years eve": (12, 31),
    "new years day": (1, 1),
    "valentines day": (2, 14),
}


def find_dates(text: str, at: Time | None = None) -> list[DateSpan]:
    """Every date expression of `text`, left to right, without overlaps.

    Args:
        text: anything; never raises.
        at: when it was said, UTC seconds; without it only absolute expressions resolve.
    """
    return [
        DateSpan(text[h.begin : h.stop], _seconds(h.days[0]), _seconds(h.days[1])) for h in _hits(text, at)
    ]


def question_window(question: str, asked_at: Time | None = None) -> DateSpan | None:
    """The time that a question itself names ("What did Gina do in May 2023?"), to seed a search with.

    "Between X and Y" and "from X to Y" span both; "before X" and "after X" are open to one side, as far as
    dates go or to `asked_at`. Among several dates the narrowest counts. None where it names no time.
    """
    hits = _hits(question, asked_at)
    if not hits:
        return None
    for first, second in itertools.pairwise(hits):
        link = question[first.stop : second.begin].strip().lower()
        if link in {"and", "to", "until", "till", "-", "–", "through"} and first.days[0] < second.days[1]:
            return _span(question, first.begin, second.stop, (first.days[0], second.days[1]))
    best = min(hits, key=lambda h: h.days[1] - h.days[0])
    before = question[max(0, best.begin - 12) : best.begin].lower().split()[-1:]
    now = _now(asked_at)
    if before == ["before"] or (before == ["until"] and best.days[0] > _FIRST):
        return _span(question, best.begin, best.stop, (_FIRST, best.days[0]))
    since = question[best.begin : best.stop].lower().startswith("since")
    if since or before == ["after"]:
        start = best.days[0] if since else best.days[1]
        return _span(question, best.begin, best.stop, (start, max(start + 1, now.day + 1 if now else _LAST)))
    return _span(question, best.begin, best.stop, best.days)


def format_span(span: DateSpan | tuple[Time, Time]) -> str:
    """A short answer: "7 May 2023", "May 2023", "summer 2022", "the week of 5 June 2023", "12–14 May 2023".

    Parts of a day are rounded to the day on which they start. `find_dates` reads all of it back.

    Raises:
        InvalidInput: the end is not after the start, or one of them is not a number.
    """
    start, end = (span.start, span.end) if isinstance(span, DateSpan) else span
    if not start < end:
        raise InvalidInput(f"({start}, {end}) is no interval: the end must come after the start")
    lo = min(max(math.floor(max(start, -1e12) / _DAY) + _EPOCH, _FIRST), _LAST - 1)
    hi = min(max(math.ceil(min(end, 1e12) / _DAY) + _EPOCH, lo + 1), _LAST)
    if end - start <= _DAY:
        hi = lo + 1
    if lo == _FIRST and hi < _LAST:
        return f"before {_day_text(hi)}"
    if hi == _LAST and hi - lo > 366:
        return f"since {_day_text(lo)}"
    return _format(lo, hi)


def wants_time(question: str) -> bool:
    """Whether the answer is a date: "when", "what date", "which year", "how long ago", "since when"."""
    return _QUESTION.search(question) is not None and _WHEN_CLAUSE.search(question) is None


_QUESTION = re.compile(
    r"(?:^|[.!?,;:\n]\s{0,3}|\b(?:and|so|or|but|since|until|till|by|know|remember|recall|tell me)\s)"
    r"when\b(?!ever)|\b(?:what|which)(?:\s(?:exact|specific|other))?\s(?:date|day|year|month|week|weekend|"
    r"season|"
    r"decade|century|time)\b|\bhow (?:long|recently|many (?:days|weeks|months|years|hours) ago)(?:\sago)?\b"
    r"(?<!how long)|\bon (?:what|which) (?:date|day)\b",
    re.IGNORECASE,
)
_WHEN_CLAUSE = re.compile(
    r"(?:^|[.!?]\s{0,3})when\b[^?.,]{1,200},\s?(?:what|who|whom|whose|where|how|why|which|did|do|does|was|"
    r"is|are|were)\b",
    re.IGNORECASE,
)  # "When Jon lost his job, what did he do?" asks for no date


@dataclass(frozen=True, slots=True)
class _Now:
    """The moment of speaking."""

    at: Time
    day: int
    hour: float

    @property
    def date(self) -> date:
        return date.fromordinal(self.day)


@dataclass(frozen=True, slots=True)
class _Hit:
    begin: int
    stop: int
    days: _Days


_Resolve = Callable[[re.Match[str], _Now | None], _Days | None]


def _hits(text: str, at: Time | None) -> list[_Hit]:
    words = set(_WORDS.findall(text.lower()))
    all_triggers, rules = _grammar()
    if all_triggers.isdisjoint(words):
        return []
    now = _now(at)
    found: list[_Hit] = []
    for triggers, pattern, resolve in rules:
        if triggers.isdisjoint(words):
            continue
        for match in pattern.finditer(text):
            days = _checked(resolve, match, now)
            if days:
                core = match.start("x") if "x" in pattern.groupindex else -1
                begin = core if core >= 0 else match.start()
                stop = match.end() - (text[match.end() - 1] == ".")
                found.append(_Hit(begin, stop, days))
    found.sort(key=lambda h: (h.begin, -h.stop))
    out: list[_Hit] = []
    for hit in found:
        if out and hit.begin < out[-1].stop:
            continue
        floor = out[-1].stop if out else 0
        out.append(_widen(text, hit, floor))
    return out


def _checked(resolve: _Resolve, match: re.Match[str], now: _Now | None) -> _Days | None:
    try:
        days = resolve(match, now)
    except (ValueError, OverflowError, KeyError):  # 31 June, the year 0, a dotless i that matched an i
        return None
    return days if days and _FIRST <= days[0] < days[1] <= _LAST else None


def _widen(text: str, hit: _Hit, floor: int) -> _Hit:
    """Apply what stands before a date: "late May", "the Sunday before 25 May", "since 2016"."""
    for _ in range(2):
        left = max(floor, hit.begin - 40)
        match = _PREFIX.search(text[left : hit.begin])
        days = _checked(partial(_prefix, days=hit.days), match, None) if match else None
        if match is None or days is None:
            return hit
        hit = _Hit(left + match.start(), hit.stop, days)
    return hit


def _prefix(m: re.Match[str], now: _Now | None, days: _Days) -> _Days | None:
    lo, hi = int(days[0]), math.ceil(days[1])
    size = hi - lo
    unit, relation = (m["unit"] or "").lower(), (m["rel"] or "").lower()
    if m["since"]:
        return days
    if m["third"]:
        third = {"ear": 0, "beg": 0, "sta": 0, "mid": 1, "lat": 2, "end": 2}[m["third"][:3].lower()]
        cut = [lo, lo + size // 3, lo + size - size // 3, hi]
        if 28 <= size <= 31:  # a month falls into ten, ten and the rest
            cut = [lo, lo + 10, lo + 20, hi]
        return (cut[third], cut[third + 1]) if size >= 7 else None
    if m["nth"]:
        return _nth(_ORDINAL[m["nth"].lower()], m["of"].lower(), lo, hi) if size >= 28 else None
    if m["wd"]:
        day = _WEEKDAY[m["wd"][:3].lower()]
        if relation == "of":
            return (lo + day, lo + day + 1) if size == 7 else None
        start = lo - 1 - (_dow(lo - 1) - day) % 7 if relation == "before" else hi + (day - _dow(hi)) % 7
        return (start, start + 1)
    low, high = _count(m["n"]) if m["n"] else (1, 1)
    if relation == "of":
        return _unit(lo, unit, 0) if unit in {"week", "weekend"} and size == 1 and not m["n"] else None
    if unit == "week" and not m["n"]:
        return (lo - 7, lo) if relation == "before" else (hi, hi + 7)
    if relation == "before":
        return _unit(lo, unit, -high)[0], _unit(lo, unit, -low)[1]
    shift = 1 if unit == "weekend" and _dow(hi) < 6 else 0  # the weekend ahead may lie in the same week
    return _unit(hi - 1, unit, low - shift)[0], _unit(hi - 1, unit, high - shift)[1]


def _nth(n: int, of: str, lo: int, hi: int) -> _Days:
    if of == "week":
        return (lo + 7 * n, lo + 7 * n + 7) if n >= 0 else (hi - 7, hi)
    if of == "day":
        return (lo + n, lo + n + 1) if n >= 0 else (hi - 1, hi)
    day = 5 if of == "weekend" else _WEEKDAY[of[:3]]
    start = lo + (day - _dow(lo)) % 7 + 7 * n if n >= 0 else hi - 1 - (_dow(hi - 1) - day) % 7
    return (start, start + (2 if of == "weekend" else 1))


def _near_day(m: re.Match[str], now: _Now | None) -> _Days | None:
    if now is None:
        return None
    word = m["rel"].lower() if m["rel"] else ("yesterday" if m["night"] else "today")
    part = (m["part"] or m["night"] or m["this"] or "").lower()
    day = now.day + {"yesterday": -1, "tomorrow": 1}.get(word, 0)
    if word == "tonight":
        part, day = "night", day - (now.hour < 5)
    return _part(day, part)


def _weekday(m: re.Match[str], now: _Now | None) -> _Days | None:
    name, how = m["wd"], _words(m["dir"] or m["prep"])
    short = len(name) < 6
    if now is None or (not how and (short or not m["part"])):
        return None
    if short and name[0].islower() and (not m["dir"] or name in {"mon", "wed", "sat", "sun"}):
        return None
    if not how and _HABIT.search(m.string[max(0, m.start() - 10) : m.start()]):
        return None
    day = _WEEKDAY[name[:3].lower()]
    past = now.day - 1 - (_dow(now.day - 1) - day) % 7
    coming = now.day + 1 + (day - _dow(now.day + 1)) % 7
    if "last" in how or "past" in how:
        found = past
    elif how in {"next", "this coming", "coming"}:
        found = coming
    else:
        tense = _tense(m)
        if how == "this":
            past, coming, tense = past, (now.day if _dow(now.day) == day else coming), tense or 1
        near = past if now.day - past <= coming - now.day else coming
        found = past if tense < 0 else coming if tense > 0 else near
    return _part(found, _words(m["part"]))


def _calendar(m: re.Match[str], now: _Now | None) -> _Days | None:
    """ "last week" is a week of the calendar; "the last week", "this past week" the seven days up to now."""
    if now is None:
        return None
    unit, how = m["unit"].lower(), _words(m["how"])
    if unit != "weekend" and how in {"the last", "the past", "this past", "past"}:
        return _shift(now.day, unit, -1), now.day + 1
    return _unit(now.day, unit, 0 if how == "this" else 1 if "next" in how or "coming" in how else -1)


def _rolling(m: re.Match[str], now: _Now | None) -> _Days | None:
    if now is None:
        return None
    high, unit = _count(m["n"])[1], m["unit"].lower()
    if m["how"].lower() in {"next", "coming"}:
        return now.day, _shift(now.day, unit, high) + 1
    return _shift(now.day, unit, -high), now.day + 1


def _ago(m: re.Match[str], now: _Now | None) -> _Days | None:
    if now is None:
        return None
    low, high = _count(m["n"])
    unit, sign = m["unit"].lower(), -1 if m["way"].lower() in {"ago", "back"} else 1
    high = max([high, *(_count(m[n])[1] for n in ("n2", "n3") if m[n])])
    if m["half"] or m["plus"] or m["more"]:
        unit, size = {"decade": ("year", 10), "year": ("month", 12), "hour": ("minute", 60)}.get(
            unit, ("", 0)
        )
        low, high = (size // 2 if m["half"] else n * size + size // 2 for n in (low, high))
    if unit in {"hour", "minute", "second"}:
        size = {"h": 3600, "m": 60, "s": 1}[unit[0]]
        ends = sorted((now.at + sign * (low - 0.5) * size, now.at + sign * (high + 0.5) * size))
        return ends[0] / _DAY + _EPOCH, ends[1] / _DAY + _EPOCH
    near, far = _unit(now.day, unit, sign * low), _unit(now.day, unit, sign * high)
    return min(near[0], far[0]), max(near[1], far[1])


def _ahead(m: re.Match[str], now: _Now | None) -> _Days | None:
    unit = m["unit"].lower()
    brief = m["n"].lower() in {"a", "an", "one"} and unit in {"day", "year"}
    if now is None or brief or _tense(m) < 0:  # "I wrote it in two weeks" is a duration
        return None
    low, high = _count(m["n"])
    return _unit(now.day, unit, low)[0], _unit(now.day, unit, high)[1]


def _fixed(m: re.Match[str], now: _Now | None) -> _Days | None:
    """ "the other day", "over the weekend", "the week before last"."""
    if now is None:
        return None
    if m["unit"]:
        unit = m["unit"].lower()
        return _part(now.day - 2, "night") if unit == "night" else _unit(now.day, unit, -2)
    if m["other"]:
        return now.day - 7, now.day
    return _unit(now.day, "weekend", -1 if _dow(now.day) < 4 and _tense(m) <= 0 else 0)


def _day_month(m: re.Match[str], now: _Now | None) -> _Days | None:
    name0, name = m["m0"] or m["m"], m["m"] or m["m0"]
    if not _sure_month(name, bool(m["y"] or m["o"] or m["o2"])):
        return None
    month0, month, first, last = _month_no(name0), _month_no(name), int(m["d"]), int(m["d2"] or m["d"])
    if not m["y"] and now is None:
        return None
    year = int(m["y"]) if m["y"] or now is None else _nearest(m, now, month, last)
    start = date(int(m["y0"] or year - (month0 > month)), month0, first)
    return start.toordinal(), date(year, month, last).toordinal() + 1


def _month_year(m: re.Match[str], now: _Now | None) -> _Days | None:
    year, last = int(m["y"]), _month_no(m["m"])
    first = _month_no(m["m0"]) if m["m0"] else last
    return _month(year - (first > last), first)[0], _month(year, last)[1]


def _bare_month(m: re.Match[str], now: _Now | None) -> _Days | None:
    name, how = m["m"], _words(m["dir"] or m["prep"])
    named = name.lower() in {"april", "may", "june", "august"}  # names of people too
    if (
        now is None
        or not how
        or (named and how == "by")
        or not _sure_month(name, how in {"in", "early", "mid", "late"})
    ):
        return None
    if how == "this" and name == "May" and m.start() == 0:
        return None  # "This May be"
    month, today = _month_no(name), now.date
    if "last" in how or "past" in how:
        return _month(today.year - (month >= today.month), month)
    if "next" in how or "coming" in how:
        return _month(today.year + (month <= today.month), month)
    if how == "this":
        return _month(today.year, month)
    return _month(_nearest(m, now, month, today.day if month == today.month else 15), month)


def _season(m: re.Match[str], now: _Now | None) -> _Days | None:
    month, how = _SEASON[m["s"].lower()], _words(m["dir"] or m["prep"])

    def of(year: int) -> _Days:
        return _month(year, month)[0], _month(year + (month == 12), month % 12 + 2)[1]

    if m["y"]:
        return of(int(m["y"]))
    if now is None or not how or how in {"in", "of"}:
        return None
    year = now.date.year
    options = [of(y) for y in (year - 2, year - 1, year, year + 1)]
    if "last" in how:
        return [o for o in options if o[1] <= now.day][-1]
    if "past" in how:
        return [o for o in options if o[0] <= now.day][-1]
    if "next" in how:
        return next(o for o in options if o[0] > now.day)
    tense = _tense(m)
    if how != "this" and tense < 0:
        return [o for o in options if o[0] <= now.day][-1]
    if how != "this" and tense > 0:
        return next(o for o in options if o[1] > now.day)
    return min(options, key=lambda o: (abs((o[0] + o[1]) / 2 - now.day), o))


def _year(m: re.Match[str], now: _Now | None) -> _Days | None:
    last = int(m["y"])
    return date(int(m["y0"] or last), 1, 1).toordinal(), date(last, 12, 31).toordinal() + 1


def _decade(m: re.Match[str], now: _Now | None) -> _Days | None:
    year = int(m["y"])
    year += 0 if year > 99 else 1900 if year > 20 else 2000
    return date(year, 1, 1).toordinal(), date(year + 9, 12, 31).toordinal() + 1


def _numeric(m: re.Match[str], now: _Now | None) -> _Days | None:
    if m["y"]:
        year, month, day = int(m["y"]), int(m["m"]), int(m["d"])
    elif len(m["c"]) == 2 and m["sep"] != "/":
        return None  # 3.11.20 is a version
    else:
        first, second, year = int(m["a"]), int(m["b"]), int(m["c"])
        year += 0 if len(m["c"]) == 4 else 2000 if year < 70 else 1900
        month, day = (second, first) if m["sep"] == "." or first > 12 else (first, second)
    start = date(year, month, day).toordinal()
    return start, start + 1


def _holiday(m: re.Match[str], now: _Now | None) -> _Days | None:
    month, day = _HOLIDAY[re.sub("['’]", "", _words(m["h"]))]
    how = _words(m["dir"] or m["prep"])
    if m["y"]:
        year = int(m["y"])
    elif now is None or not how:
        return None
    elif how in {"last", "next"}:
        ahead = date(now.date.year, month, day).toordinal() >= now.day
        year = now.date.year + (how == "next") - ahead
    else:
        year = _nearest(m, now, month, day)
    start = date(year, month, day).toordinal()
    return start, start + 1


def _nearest(m: re.Match[str], now: _Now, month: int, day: int) -> int:
    """The year of a date that names none: by tense, else the nearest; 29 February needs a leap year."""
    year, tense = now.date.year, _tense(m)
    leap = month == 2 and day == 29
    years = [y for y in range(max(1, year - 8), min(9999, year + 8) + 1) if not leap or isleap(y)]
    gaps = {y: date(y, month, day).toordinal() - now.day for y in years}
    if tense < 0:
        return max(y for y, gap in gaps.items() if gap <= 0)
    if tense > 0:
        return min(y for y, gap in gaps.items() if gap >= 0)
    return min(gaps, key=lambda y: (abs(gaps[y]), y))


def _tense(m: re.Match[str]) -> int:
    """-1 where the words around speak of the past, 1 of the future, 0 where they do not say."""
    left = re.split(r"[.!?\n]\s", m.string[max(0, m.start() - 100) : m.start()])[-1]
    right = re.split(r"[.!?\n]", m.string[m.end() : m.end() + 60])[0]
    for piece in (left, right):
        cues = list(_CUE.finditer(piece))
        if cues:
            cue = cues[-1] if piece is left else cues[0]
            return 1 if cue["future"] else -1
    return 0


def _words(text: str | None) -> str:
    return " ".join((text or "").lower().split())


def _count(text: str) -> tuple[int, int]:
    """The least and the greatest number that a count may mean."""
    for word in text.lower().split():
        if word in _VAGUE:
            return _VAGUE[word]
    n = 1 if text.lower() in {"a", "an"} else _NUMBER.get(text.lower(), -1)
    n = int(text) if n < 0 else n
    return n, n


def _sure_month(name: str, sure: bool) -> bool:
    """Whether `name` can only be a month here: "may" and "march" in lower case are verbs."""
    return sure or name[0].isupper() or name.lower() not in {"may", "march", "mar"}


def _month_no(name: str) -> int:
    return _MONTH[name[:3].lower()]


def _month(year: int, month: int) -> _Days:
    first = date(year, month, 1).toordinal()
    return first, first + monthrange(year, month)[1]


def _dow(day: int) -> int:
    return (day + 6) % 7


def _unit(day: int, unit: str, n: int) -> _Days:
    """The calendar unit that lies `n` units from the one holding `day`."""
    if unit in {"day", "night"}:
        return day + n, day + n + 1
    monday = day - _dow(day) + 7 * n * (2 if unit == "fortnight" else 1)
    if unit in {"week", "fortnight"}:
        return monday, monday + 7
    if unit == "weekend":
        return monday + 5, monday + 7
    today = date.fromordinal(day)
    if unit == "month":
        years, month = divmod(today.month - 1 + n, 12)
        return _month(today.year + years, month + 1)
    low, high = (n, n) if unit == "year" else (10 * n - 1, 10 * n + 1)
    return date(today.year + low, 1, 1).toordinal(), date(today.year + high, 12, 31).toordinal() + 1


def _shift(day: int, unit: str, n: int) -> int:
    """`day` moved by `n` units, in months to the last day that exists."""
    if unit in {"day", "week"}:
        return day + n * (7 if unit == "week" else 1)
    today = date.fromordinal(day)
    years, month = divmod(today.month - 1 + n * {"month": 1, "year": 12, "decade": 120}[unit], 12)
    year = today.year + years
    return date(year, month + 1, min(today.day, monthrange(year, month + 1)[1])).toordinal()


def _part(day: int, part: str) -> _Days:
    low, high = _PART.get(part, (0.0, 1.0))
    return day + low, day + high


def _now(at: Time | None) -> _Now | None:
    try:
        moment = to_datetime(at) if at is not None else None
    except (ValueError, OverflowError, OSError):
        return None
    return _Now(at, moment.toordinal(), moment.hour) if moment and at is not None else None


def _seconds(day: float) -> Time:
    return float(round((day - _EPOCH) * _DAY))


def _span(text: str, begin: int, stop: int, days: _Days) -> DateSpan:
    return DateSpan(text[begin:stop], _seconds(days[0]), _seconds(days[1]))


def _day_text(day: int) -> str:
    d = date.fromordinal(day)
    return f"{d.day} {_MONTHS[d.month - 1]} {d.year:04}"


def _format(lo: int, hi: int) -> str:
    first, last = date.fromordinal(lo), date.fromordinal(hi - 1)
    after = date.fromordinal(hi) if hi < _LAST else None
    if hi - lo == 1:
        return _day_text(lo)
    if first.day == 1 and (after is None or after.day == 1):
        months = (last.year - first.year) * 12 + last.month - first.month + 1
        if months == 1:
            return f"{_MONTHS[first.month - 1]} {first.year:04}"
        if first.month == 1 and months % 12 == 0:
            if months == 120 and first.year % 10 == 0 and 1500 <= first.year < 2100:
                return f"the {first.year}s"
            return f"{first.year:04}" if months == 12 else f"{first.year:04}–{last.year:04}"
        if months == 3 and first.month % 3 == 0:
            return f"{('spring', 'summer', 'autumn', 'winter')[first.month // 3 - 1]} {first.year:04}"
        if months < 12:
            return f"{_MONTHS[first.month - 1]}–{_MONTHS[last.month - 1]} {last.year:04}"
    if hi - lo == 7 and _dow(lo) == 0:
        return f"the week of {_day_text(lo)}"
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{_day_text(hi - 1)}"
    year = "" if first.year == last.year else f" {first.year:04}"
    return f"{first.day} {_MONTHS[first.month - 1]}{year} – {_day_text(hi - 1)}"


_WORDS = re.compile(r"[a-z]+|[0-9]")
_HABIT = re.compile(r"(?:every|each|a|any|most|some)\s*\Z", re.IGNORECASE)
_CUE = re.compile(
    r"(?P<future>\b(?:will|won['’]t|shall|gonna|going\sto|plan(?:s|ned|ning)?|upcoming|coming|hop(?:e|ing)\sto|"
    r"want\sto|need\sto|can['’]t\swait|looking\sforward|see\syou|excited|due|starts|opens)\b"
    r"|['’]ll\b|(?:['’]m|['’]re|\bam|\bare|\bis)\s\w{2,20}ing\b)"
    r"|(?P<past>\b(?:was|were|did|had|went|got|took|saw|met|came|made|gave|found|left|bought|won|lost|ran|told|"
    r"said|heard|felt|spent|ate|drove|flew|began|held|taught|wrote|been|has|have|"
    r"(?!need|feed|indeed)\w{2,20}ed)\b|['’]ve\b)",
    re.IGNORECASE,
)
_S = r"\s{1,3}"
_N = "|".join(_NUMBERS)
_NUM = rf"\d{{1,3}}|an?|{_N}|(?:a\s)?(?:couple(?:\sof)?|few)|several"
_MON = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)(?!\w)"
)
_FULL = "|".join(_MONTHS)
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
_PREFIX = re.compile(
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


@cache
def _grammar() -> tuple[frozenset[str], tuple[tuple[frozenset[str], re.Pattern[str], _Resolve], ...]]:
    """All trigger words, and per rule: its own, the expression, and what it means. Compiled on first use.

    Where a rule has a group `x`, the date begins there; what stands before only allows it.
    """
    months = " ".join([*_MONTHS, *_MONTH, "sept"]).lower()
    units = "day week weekend month year decade"
    many = f"{units} days weeks months years decades fortnight fortnights nights weekends"
    digits = "0 1 2 3 4 5 6 7 8 9"
    rules: list[tuple[_Resolve, str, str]] = [
        (
            _near_day,
            "yesterday today tonight tomorrow night evening morning afternoon",
            rf"(?P<rel>yesterday|today|tomorrow|tonight)(?:{_S}(?P<part>morning|afternoon|evening|night))?"
            rf"|last{_S}(?P<night>night|evening)|this{_S}(?P<this>morning|afternoon|evening)",
        ),
        (
            _weekday,
            f"{_LONG} mon tue tues wed thu thur thurs fri sat sun".replace("|", " "),
            rf"(?:(?P<prep>on|by|until|till|since|from|before|after){_S})?"
            rf"(?P<x>{_DIR}(?P<wd>{_LONG}|{_SHORT})(?!\w)\.?(?:{_S}(?P<part>morning|afternoon|evening|night))?)"
            rf"(?!{_S}of\b)",
        ),
        (
            _calendar,
            units,
            rf"(?P<how>(?:the\s)?last|(?:the\s)?past|this\spast|this\scoming|this|next|coming){_S}"
            rf"(?P<unit>weekend|week|month|year|decade)(?!\w|{_S}(?:of|before|after)(?!\w))",
        ),
        (
            _rolling,
            many,
            rf"(?P<how>last|past|next|coming){_S}(?P<n>{_NUM}){_S}(?P<unit>day|week|month|year)s?",
        ),
        (
            _ago,
            "ago back now today",
            rf"(?:(?P<half>half)\s)?(?P<n>{_NUM})(?:\s?(?:-|–|or|to)\s?(?P<n2>\d{{1,3}}|{_N}))?"
            rf"(?P<plus>\sand\sa\shalf)?{_S}"
            r"(?P<unit>second|minute|hour|night|day|weekend|week|fortnight|month|year|decade)s?"
            r"(?:\sor\s(?:(?P<n3>two|three)|so)|(?P<more>\sand\sa\shalf))?"
            rf"{_S}(?P<way>ago|back|from\snow|from\stoday)(?!-)",
        ),
        (
            _ahead,
            many,
            rf"(?<!once\s)(?<!twice\s)(?<!times\s)(?<!time\s)in{_S}(?P<n>{_NUM}){_S}"
            r"(?P<unit>day|week|fortnight|month|year)s?(?:['’]?\stime)?",
        ),
        (
            _fixed,
            f"other {units} night",
            r"the\s(?P<other>other)\s(?:day|night)|(?:over|on|during)\s(?P<x>the\sweekend)"
            rf"|the\s(?P<unit>weekend|week|night|month|year)\sbefore\slast(?!{_S}(?:{_LONG}|{_FULL}|"
            r"week|month|year|night|summer|winter|spring|fall|autumn|christmas))",
        ),
        (
            _day_month,
            months,
            rf"(?<![\d.,:/$€£-])(?P<d>\d{{1,2}})(?P<o>{_TH})?"
            rf"(?:(?:\s(?P<m0>{_MON})\.?(?:,?\s(?P<y0>\d{{4}}))?)?{_TO}(?P<d2>\d{{1,2}})(?P<o2>{_TH})?)?"
            rf"{_S}(?:of\s)?(?P<m>{_MON})\.?(?:[,\s]{{1,3}}{_Y})?",
        ),
        (
            _day_month,
            months,
            rf"(?P<m0>{_MON})\.?{_S}(?:the\s)?(?P<d>\d{{1,2}})(?P<o>{_TH})?"
            rf"(?:(?:,?\s(?P<y0>\d{{4}}))?{_TO}(?:(?P<m>{_MON})\.?\s)?(?P<d2>\d{{1,2}})(?P<o2>{_TH})?)?"
            rf"(?!\d|[:/]\d|\s?[ap]\.?m\b|%)(?:,?{_S}(?:of\s)?{_Y})?",
        ),
        (
            _month_year,
            months,
            rf"(?:(?P<m0>{_MON}){_TO})?(?P<m>{_MON})\.?,?\s{{0,3}}(?:of\s)?{_Y}(?![.,:]\d)",
        ),
        (
            _bare_month,
            months,
            r"(?:(?P<prep>in|since|during|until|till|by|early|mid|late|"
            rf"(?:end|start|beginning|middle|weekend|week|day|{_LONG})\s(?:of|in))[\s-])?"
            rf"(?P<x>{_DIR}(?P<m>{_FULL}))(?!['’]s)(?!\s?\d)",
        ),
        (
            _season,
            "spring summer fall autumn winter",
            rf"(?:(?P<prep>in\sthe|in|during\sthe|over\sthe|since|of){_S})?"
            rf"(?P<x>{_DIR}(?P<s>spring|summer|fall|autumn|winter)(?!\w)(?:(?:\sof|,)?\s{_Y})?)",
        ),
        (
            _year,
            digits,
            r"(?:(?:in|since|of|by|from|until|till|during|around|circa|before|after|between|early|mid|late|"
            r"through|year)[\s-](?:the\s(?:year\s)?)?|\A\W{0,4})"
            rf"(?P<x>(?:(?P<y0>\d{{4}}){_TO})?(?P<y>(?:1[5-9]|20)\d\d))"
            rf"(?!\w|[.,:/-]\d|\s?[%$€£°]|\s(?:{_COUNTED})\b)",
        ),
        (
            _decade,
            digits,
            r"the\s(?:early|mid|late)?[\s-]?['’]?(?P<x>(?P<y>(?:1[5-9]|20)?\d0)['’]?s)",
        ),
        (
            _numeric,
            digits,
            r"(?<![.,/-])(?P<y>\d{4})(?P<s0>[-/.])(?P<m>\d{1,2})(?P=s0)(?P<d>\d{1,2})(?=\D|\Z)"
            r"|(?<![.,/-])(?P<a>\d{1,2})(?P<sep>[-/.])(?P<b>\d{1,2})(?P=sep)(?P<c>\d{4}|\d{2})"
            r"(?![/\w]|[-.]\d)",
        ),
        (
            _holiday,
            "christmas halloween eve valentine valentines year",
            rf"(?:(?P<prep>on|at|for|since|over|during|before|after|by){_S})?(?P<x>{_DIR}"
            r"(?P<h>christmas(?:\s(?:eve|day))?|halloween|new\syear['’]?s\s(?:eve|day)|valentine['’]?s\sday)"
            rf"(?!\w)(?:,?\s{_Y})?)",
        ),
    ]
    compiled = []
    for resolve, words, pattern in rules:
        tail = "" if resolve is _numeric else r"(?!\w)"  # 2023-05-08T13:56
        compiled.append((frozenset(words.split()), re.compile(rf"(?<!\w)(?:{pattern}){tail}", re.I), resolve))
    return frozenset[str]().union(*(row[0] for row in compiled)), tuple(compiled)
