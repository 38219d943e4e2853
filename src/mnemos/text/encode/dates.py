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
A date without year or direction ("in June", "on Friday") follows the tense of its clause, unless that leads
much further away than the other reading; where the clause does not say, it is the nearest one.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial

from mnemos.core.clock import Time, to_datetime
from mnemos.core.errors import InvalidInput
from mnemos.text.encode.date_rules import (
    DAY,
    EPOCH,
    FIRST,
    HABIT,
    HOLIDAY,
    LAST,
    ORDINAL,
    PREFIX,
    SEASON,
    WEEKDAY,
    WORDS,
    Days,
    Now,
    amount,
    day_text,
    days_text,
    grammar,
    month_no,
    month_of,
    nearest_year,
    part_of,
    plain,
    shifted,
    sure_month,
    tense_of,
    unit_at,
    weekday_of,
)
from mnemos.text.records import DateSpan


def find_dates(text: str, at: Time | None = None) -> list[DateSpan]:
    """Every date expression of `text`, left to right, without overlaps.

    Args:
        text: anything; never raises.
        at: when it was said, UTC seconds; without it only absolute expressions resolve.
    """
    return [DateSpan(text[h.begin : h.stop], _seconds(h.days[0]), _seconds(h.days[1])) for h in _hits(text, at)]


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
    if before == ["before"] or (before == ["until"] and best.days[0] > FIRST):
        return _span(question, best.begin, best.stop, (FIRST, best.days[0]))
    since = question[best.begin : best.stop].lower().startswith("since")
    if since or before == ["after"]:
        start = best.days[0] if since else best.days[1]
        return _span(question, best.begin, best.stop, (start, max(start + 1, now.day + 1 if now else LAST)))
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
    lo = min(max(math.floor(max(start, -1e12) / DAY) + EPOCH, FIRST), LAST - 1)
    hi = min(max(math.ceil(min(end, 1e12) / DAY) + EPOCH, lo + 1), LAST)
    if end - start <= DAY:
        hi = lo + 1
    if lo == FIRST and hi < LAST:
        return f"before {day_text(hi)}"
    if hi == LAST and hi - lo > 366:
        return f"since {day_text(lo)}"
    return days_text(lo, hi)


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
class _Hit:
    begin: int
    stop: int
    days: Days


def _hits(text: str, at: Time | None) -> list[_Hit]:
    triggers, rules = grammar()
    called = {n for word in triggers.keys() & WORDS.findall(text.lower()) for n in triggers[word]}
    if not called:
        return []
    now = _now(at)
    found: list[_Hit] = []
    for kind, pattern in (rules[n] for n in sorted(called)):
        for match in pattern.finditer(text):
            days = _checked(_MEANING[kind], match, now)
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


def _checked(resolve: _Resolve, match: re.Match[str], now: Now | None) -> Days | None:
    try:
        days = resolve(match, now)
    except (ValueError, OverflowError, KeyError):  # 31 June, the year 0, a dotless i that matched an i
        return None
    return days if days and FIRST <= days[0] < days[1] <= LAST else None


def _widen(text: str, hit: _Hit, floor: int) -> _Hit:
    """Apply what stands before a date: "late May", "the Sunday before 25 May", "since 2016"."""
    for _ in range(2):
        left = max(floor, hit.begin - 40)
        match = PREFIX.search(text[left : hit.begin])
        days = _checked(partial(_prefix, days=hit.days), match, None) if match else None
        if match is None or days is None:
            return hit
        hit = _Hit(left + match.start(), hit.stop, days)
    return hit


def _prefix(m: re.Match[str], now: Now | None, days: Days) -> Days | None:
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
        return _nth(ORDINAL[m["nth"].lower()], m["of"].lower(), lo, hi) if size >= 28 else None
    if m["wd"]:
        day = WEEKDAY[m["wd"][:3].lower()]
        if relation == "of":
            return (lo + day, lo + day + 1) if size == 7 else None
        start = lo - 1 - (weekday_of(lo - 1) - day) % 7 if relation == "before" else hi + (day - weekday_of(hi)) % 7
        return (start, start + 1)
    low, high = amount(m["n"]) if m["n"] else (1, 1)
    if relation == "of":
        return unit_at(lo, unit, 0) if unit in {"week", "weekend"} and size == 1 and not m["n"] else None
    if unit == "week" and not m["n"]:
        return (lo - 7, lo) if relation == "before" else (hi, hi + 7)
    if relation == "before":
        return unit_at(lo, unit, -high)[0], unit_at(lo, unit, -low)[1]
    shift = 1 if unit == "weekend" and weekday_of(hi) < 6 else 0  # the weekend ahead may lie in the same week
    return unit_at(hi - 1, unit, low - shift)[0], unit_at(hi - 1, unit, high - shift)[1]


def _nth(n: int, of: str, lo: int, hi: int) -> Days:
    if of == "week":
        return (lo + 7 * n, lo + 7 * n + 7) if n >= 0 else (hi - 7, hi)
    if of == "day":
        return (lo + n, lo + n + 1) if n >= 0 else (hi - 1, hi)
    day = 5 if of == "weekend" else WEEKDAY[of[:3]]
    start = lo + (day - weekday_of(lo)) % 7 + 7 * n if n >= 0 else hi - 1 - (weekday_of(hi - 1) - day) % 7
    return (start, start + (2 if of == "weekend" else 1))


def _near_day(m: re.Match[str], now: Now | None) -> Days | None:
    if now is None:
        return None
    word = m["rel"].lower() if m["rel"] else ("yesterday" if m["night"] else "today")
    part = (m["part"] or m["night"] or m["this"] or "").lower()
    day = now.day + {"yesterday": -1, "tomorrow": 1}.get(word, 0)
    if word == "tonight":
        part, day = "night", day - (now.hour < 5)
    return part_of(day, part)


def _weekday(m: re.Match[str], now: Now | None) -> Days | None:
    name, how = m["wd"], plain(m["dir"] or m["prep"])
    short = len(name) < 6
    if now is None or (not how and (short or not m["part"])):
        return None
    if short and name[0].islower() and (not m["dir"] or name in {"mon", "wed", "sat", "sun"}):
        return None
    if not how and HABIT.search(m.string[max(0, m.start() - 10) : m.start()]):
        return None
    day = WEEKDAY[name[:3].lower()]
    past = now.day - 1 - (weekday_of(now.day - 1) - day) % 7
    coming = now.day + 1 + (day - weekday_of(now.day + 1)) % 7
    if "last" in how or "past" in how:
        found = past
    elif how in {"next", "this coming", "coming"}:
        found = coming
    else:
        tense, _ = tense_of(m)
        if how == "this":
            past, coming, tense = past, (now.day if weekday_of(now.day) == day else coming), tense or 1
        near = past if now.day - past <= coming - now.day else coming
        found = past if tense < 0 else coming if tense > 0 else near
    return part_of(found, plain(m["part"]))


def _calendar(m: re.Match[str], now: Now | None) -> Days | None:
    """ "last week" is a week of the calendar; "the last week", "this past week" the seven days up to now."""
    if now is None:
        return None
    unit, how = m["unit"].lower(), plain(m["how"])
    if unit != "weekend" and how in {"the last", "the past", "this past", "past"}:
        return shifted(now.day, unit, -1), now.day + 1
    return unit_at(now.day, unit, 0 if how == "this" else 1 if "next" in how or "coming" in how else -1)


def _rolling(m: re.Match[str], now: Now | None) -> Days | None:
    if now is None:
        return None
    high, unit = amount(m["n"])[1], m["unit"].lower()
    if m["how"].lower() in {"next", "coming"}:
        return now.day, shifted(now.day, unit, high) + 1
    return shifted(now.day, unit, -high), now.day + 1


def _ago(m: re.Match[str], now: Now | None) -> Days | None:
    if now is None:
        return None
    low, high = amount(m["n"])
    unit, sign = m["unit"].lower(), -1 if m["way"].lower() in {"ago", "back"} else 1
    high = max([high, *(amount(m[n])[1] for n in ("n2", "n3") if m[n])])
    if m["half"] or m["plus"] or m["more"]:
        unit, size = {"decade": ("year", 10), "year": ("month", 12), "hour": ("minute", 60)}.get(unit, ("", 0))
        low, high = (size // 2 if m["half"] else n * size + size // 2 for n in (low, high))
    if unit in {"hour", "minute", "second"}:
        size = {"h": 3600, "m": 60, "s": 1}[unit[0]]
        ends = sorted((now.at + sign * (low - 0.5) * size, now.at + sign * (high + 0.5) * size))
        return ends[0] / DAY + EPOCH, ends[1] / DAY + EPOCH
    near, far = unit_at(now.day, unit, sign * low), unit_at(now.day, unit, sign * high)
    return min(near[0], far[0]), max(near[1], far[1])


def _ahead(m: re.Match[str], now: Now | None) -> Days | None:
    unit = m["unit"].lower()
    brief = m["n"].lower() in {"a", "an", "one"} and unit in {"day", "year"}
    if now is None or brief or tense_of(m)[0] < 0:  # "I wrote it in two weeks" is a duration
        return None
    low, high = amount(m["n"])
    return unit_at(now.day, unit, low)[0], unit_at(now.day, unit, high)[1]


def _fixed(m: re.Match[str], now: Now | None) -> Days | None:
    """ "the other day", "over the weekend", "the week before last"."""
    if now is None:
        return None
    if m["unit"]:
        unit = m["unit"].lower()
        return part_of(now.day - 2, "night") if unit == "night" else unit_at(now.day, unit, -2)
    if m["other"]:
        return now.day - 7, now.day
    return unit_at(now.day, "weekend", -1 if weekday_of(now.day) < 4 and tense_of(m)[0] <= 0 else 0)


def _day_month(m: re.Match[str], now: Now | None) -> Days | None:
    name0, name = m["m0"] or m["m"], m["m"] or m["m0"]
    if not sure_month(name, bool(m["y"] or m["o"] or m["o2"])):
        return None
    month0, month, first, last = month_no(name0), month_no(name), int(m["d"]), int(m["d2"] or m["d"])
    if not m["y"] and now is None:
        return None
    year = int(m["y"]) if m["y"] or now is None else nearest_year(m, now, month, last)
    start = date(int(m["y0"] or year - (month0 > month)), month0, first)
    return start.toordinal(), date(year, month, last).toordinal() + 1


def _month_year(m: re.Match[str], now: Now | None) -> Days | None:
    year, last = int(m["y"]), month_no(m["m"])
    first = month_no(m["m0"]) if m["m0"] else last
    return month_of(year - (first > last), first)[0], month_of(year, last)[1]


def _bare_month(m: re.Match[str], now: Now | None) -> Days | None:
    name, how = m["m"], plain(m["dir"] or m["prep"])
    named = name.lower() in {"april", "may", "june", "august"}  # names of people too
    if now is None or not how or (named and how == "by") or not sure_month(name, how in {"in", "early", "mid", "late"}):
        return None
    if how == "this" and name == "May" and m.start() == 0:
        return None  # "This May be"
    month, today = month_no(name), now.date
    if "last" in how or "past" in how:
        return month_of(today.year - (month >= today.month), month)
    if "next" in how or "coming" in how:
        return month_of(today.year + (month <= today.month), month)
    if how == "this":
        return month_of(today.year, month)
    return month_of(nearest_year(m, now, month, today.day if month == today.month else 15, vague=True), month)


def _season(m: re.Match[str], now: Now | None) -> Days | None:
    month, how = SEASON[m["s"].lower()], plain(m["dir"] or m["prep"])

    def of(year: int) -> Days:
        return month_of(year, month)[0], month_of(year + (month == 12), month % 12 + 2)[1]

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
    tense, _ = tense_of(m)
    if how != "this" and tense < 0:
        return [o for o in options if o[0] <= now.day][-1]
    if how != "this" and tense > 0:
        return next(o for o in options if o[1] > now.day)
    return min(options, key=lambda o: (abs((o[0] + o[1]) / 2 - now.day), o))


def _year(m: re.Match[str], now: Now | None) -> Days | None:
    last = int(m["y"])
    return date(int(m["y0"] or last), 1, 1).toordinal(), date(last, 12, 31).toordinal() + 1


def _decade(m: re.Match[str], now: Now | None) -> Days | None:
    year = int(m["y"])
    year += 0 if year > 99 else 1900 if year > 20 else 2000
    return date(year, 1, 1).toordinal(), date(year + 9, 12, 31).toordinal() + 1


def _numeric(m: re.Match[str], now: Now | None) -> Days | None:
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


def _holiday(m: re.Match[str], now: Now | None) -> Days | None:
    month, day = HOLIDAY[re.sub("['’]", "", plain(m["h"]))]
    how = plain(m["dir"] or m["prep"])
    if m["y"]:
        year = int(m["y"])
    elif now is None or not how:
        return None
    elif how in {"last", "next"}:
        ahead = date(now.date.year, month, day).toordinal() >= now.day
        year = now.date.year + (how == "next") - ahead
    else:
        year = nearest_year(m, now, month, day)
    start = date(year, month, day).toordinal()
    return start, start + 1


def _now(at: Time | None) -> Now | None:
    try:
        moment = to_datetime(at) if at is not None else None
    except (ValueError, OverflowError, OSError):
        return None
    return Now(at, moment.toordinal(), moment.hour) if moment and at is not None else None


def _seconds(day: float) -> Time:
    return float(round((day - EPOCH) * DAY))


def _span(text: str, begin: int, stop: int, days: Days) -> DateSpan:
    return DateSpan(text[begin:stop], _seconds(days[0]), _seconds(days[1]))


_Resolve = Callable[[re.Match[str], Now | None], Days | None]
_MEANING: dict[str, _Resolve] = {
    "near_day": _near_day,
    "weekday": _weekday,
    "calendar": _calendar,
    "rolling": _rolling,
    "ago": _ago,
    "ahead": _ahead,
    "fixed": _fixed,
    "day_month": _day_month,
    "month_year": _month_year,
    "bare_month": _bare_month,
    "season": _season,
    "year": _year,
    "decade": _decade,
    "numeric": _numeric,
    "holiday": _holiday,
}
