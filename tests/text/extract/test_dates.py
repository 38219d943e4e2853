"""find_dates, question_window, format_span, wants_time: what each expression means, and what is no date."""

from __future__ import annotations

import json
import lzma
import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.clock import iso, parse_time
from mnemos.core.errors import InvalidInput
from mnemos.text.encode.dates import find_dates, format_span, question_window, wants_time
from mnemos.text.records import DateSpan

_LOCOMO = Path(__file__).resolve().parents[4] / "shared" / "data" / "locomo" / "locomo5.json.xz"
THURSDAY = "2023-05-25T13:14"


def _found(text: str, at: str | None) -> list[tuple[str, str]]:
    spans = find_dates(text, parse_time(at) if at else None)
    return [(iso(s.start).removesuffix("T00:00"), iso(s.end).removesuffix("T00:00")) for s in spans]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("yesterday", "2023-05-24", "2023-05-25"),
        ("Today's the day", "2023-05-25", "2023-05-26"),
        ("tomorrow", "2023-05-26", "2023-05-27"),
        ("tonight", "2023-05-25T18:00", "2023-05-26T06:00"),
        ("last night", "2023-05-24T18:00", "2023-05-25T06:00"),
        ("this morning", "2023-05-25T06:00", "2023-05-25T12:00"),
        ("yesterday afternoon", "2023-05-24T12:00", "2023-05-24T18:00"),
        ("the day before yesterday", "2023-05-23", "2023-05-24"),
        ("the day after tomorrow", "2023-05-27", "2023-05-28"),
        ("last Saturday", "2023-05-20", "2023-05-21"),
        ("last Thursday", "2023-05-18", "2023-05-19"),
        ("Last Fri I went", "2023-05-19", "2023-05-20"),
        ("last Saturday night", "2023-05-20T18:00", "2023-05-21T06:00"),
        ("next Tuesday", "2023-05-30", "2023-05-31"),
        ("next Thursday", "2023-06-01", "2023-06-02"),
        ("I went there on Friday", "2023-05-19", "2023-05-20"),
        ("I'll be there on Friday", "2023-05-26", "2023-05-27"),
        ("this past Sunday", "2023-05-21", "2023-05-22"),
        ("Friday of last week", "2023-05-19", "2023-05-20"),
        ("last week", "2023-05-15", "2023-05-22"),
        ("this week", "2023-05-22", "2023-05-29"),
        ("next week", "2023-05-29", "2023-06-05"),
        ("the week before last", "2023-05-08", "2023-05-15"),
        ("the past week", "2023-05-18", "2023-05-26"),
        ("over the last few weeks", "2023-04-13", "2023-05-26"),
        ("this weekend", "2023-05-27", "2023-05-29"),
        ("last weekend", "2023-05-20", "2023-05-22"),
        ("this past weekend", "2023-05-20", "2023-05-22"),
        ("two weekends ago", "2023-05-13", "2023-05-15"),
        ("last month", "2023-04-01", "2023-05-01"),
        ("next month", "2023-06-01", "2023-07-01"),
        ("last year", "2022-01-01", "2023-01-01"),
        ("two weeks ago", "2023-05-08", "2023-05-15"),
        ("3 days ago", "2023-05-22", "2023-05-23"),
        ("a few days ago", "2023-05-19", "2023-05-24"),
        ("a couple of days ago", "2023-05-22", "2023-05-24"),
        ("3 years ago", "2020-01-01", "2021-01-01"),
        ("a year or two ago", "2021-01-01", "2023-01-01"),
        ("a year and a half ago", "2021-11-01", "2021-12-01"),
        ("half a year ago", "2022-11-01", "2022-12-01"),
        ("two hours ago", "2023-05-25T10:44", "2023-05-25T11:44"),
        ("the other day", "2023-05-18", "2023-05-25"),
        ("in two weeks", "2023-06-05", "2023-06-12"),
        ("a month from now", "2023-06-01", "2023-07-01"),
        ("May 7th", "2023-05-07", "2023-05-08"),
        ("13 August", "2023-08-13", "2023-08-14"),
        ("I was born on 13 August", "2022-08-13", "2022-08-14"),
        ("I went in June", "2022-06-01", "2022-07-01"),
        ("I will go in June", "2023-06-01", "2023-07-01"),
        ("late in March", "2023-03-21", "2023-04-01"),
        ("last December", "2022-12-01", "2023-01-01"),
        ("last summer", "2022-06-01", "2022-09-01"),
        ("this summer", "2023-06-01", "2023-09-01"),
        ("last winter", "2022-12-01", "2023-03-01"),
        ("last Christmas", "2022-12-25", "2022-12-26"),
        ("since last summer", "2022-06-01", "2022-09-01"),
    ],
)
def test_relative_expression_resolves_against_the_moment(text: str, start: str, end: str) -> None:
    assert _found(text, THURSDAY) == [(start, end)]


@pytest.mark.parametrize(
    ("text", "at", "start"),
    [
        ("The interview is on 27 March. I have one good jacket.", "2025-03-13", "2025-03-27"),
        ("The interview is on 27 March, I had a call.", "2025-03-13", "2025-03-27"),
        ("I booked it, I land on 18 July.", "2025-06-27", "2025-07-18"),
        ("She said she lands on 18 July.", "2025-06-27", "2025-07-18"),
        ("I was tired, but on Friday I will sleep.", "2025-10-18", "2025-10-24"),
        ("I love autumn, and on Friday we met.", "2025-10-23", "2025-10-17"),
        ("I cannot sleep; on Friday I sang.", "2025-10-23", "2025-10-17"),
        ("I have to leave on Friday, sadly. I slept well.", "2025-10-18", "2025-10-24"),
        ("He paid me on Friday. I will pay him soon.", "2025-10-23", "2025-10-17"),
        ("On Sat. we slept.", "2025-10-23", "2025-10-18"),
        ("Where were you on Friday?", "2025-10-23", "2025-10-17"),
    ],
)
def test_tense_is_that_of_the_clause_of_the_date(text: str, at: str, start: str) -> None:
    assert [begin for begin, _ in _found(text, at)] == [start]


@pytest.mark.parametrize(
    ("text", "at", "start"),
    [
        ("I signed up for the half marathon on 18 May.", "2025-01-12", "2025-05-18"),
        ("We bought tickets for 3 May.", "2025-01-12", "2025-05-03"),
        ("They moved it to 12 October.", "2025-04-18", "2025-10-12"),
        ("I told you about the dinner on 18 July.", "2025-06-27", "2025-07-18"),
        ("I ran a half marathon on 18 May.", "2025-01-12", "2024-05-18"),
        ("On 18 May, I ran a half marathon.", "2025-01-12", "2024-05-18"),
        ("I was excited on 18 May.", "2025-05-20", "2025-05-18"),
        ("I visited Rome in June.", "2023-05-25", "2022-06-01"),
    ],
)
def test_tense_yields_to_a_much_nearer_date_and_arranging_looks_ahead(text: str, at: str, start: str) -> None:
    assert [begin for begin, _ in _found(text, at)] == [start]


@pytest.mark.parametrize(
    "verb",
    ["sent", "sold", "caught", "broke", "built", "wore", "paid", "knew", "chose", "kept", "lent", "stole"],
)
def test_irregular_pasts_speak_of_the_past(verb: str) -> None:
    assert _found(f"I {verb} it on Tuesday.", "2025-10-19") == [("2025-10-14", "2025-10-15")]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("I sat there on Tuesday", "2025-10-14"),
        ("We sang on Tuesday", "2025-10-14"),
        ("I have an exam on Saturday", "2025-10-25"),
        ("On Saturday I have an exam", "2025-10-25"),
        ("I have been there on Tuesday", "2025-10-14"),
        ("It will be finished on Saturday", "2025-10-25"),
        ("The wedding is planned on Saturday", "2025-10-25"),
    ],
)
def test_auxiliaries_count_with_what_follows_them(text: str, start: str) -> None:
    assert [begin for begin, _ in _found(text, "2025-10-19")] == [start]


@pytest.mark.parametrize(
    ("text", "at", "start", "end"),
    [
        ("yesterday", "2023-01-01T09:00", "2022-12-31", "2023-01-01"),
        ("yesterday", "2024-03-01", "2024-02-29", "2024-03-01"),
        ("tomorrow", "2024-02-28T23:59", "2024-02-29", "2024-03-01"),
        ("last week", "2023-01-01", "2022-12-19", "2022-12-26"),
        ("last month", "2024-03-31", "2024-02-01", "2024-03-01"),
        ("next month", "2023-12-31", "2024-01-01", "2024-02-01"),
        ("three months ago", "2023-01-31", "2022-10-01", "2022-11-01"),
        ("the past month", "2024-03-31", "2024-02-29", "2024-04-01"),
        ("last year", "2024-02-29", "2023-01-01", "2024-01-01"),
        ("last Sunday", "2023-01-01", "2022-12-25", "2022-12-26"),
        ("last weekend", "2023-07-22", "2023-07-15", "2023-07-17"),
        ("tonight", "2023-05-25T01:30", "2023-05-24T18:00", "2023-05-25T06:00"),
        ("last night", "2023-05-25T01:30", "2023-05-24T18:00", "2023-05-25T06:00"),
        ("we met on 29 February", "2023-06-01", "2020-02-29", "2020-03-01"),
        ("last summer", "2023-10-02", "2023-06-01", "2023-09-01"),
        ("over the weekend", "2023-05-22", "2023-05-20", "2023-05-22"),
    ],
)
def test_month_ends_year_ends_and_leap_days(text: str, at: str, start: str, end: str) -> None:
    assert _found(text, at) == [(start, end)]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("on 7 May 2023", "2023-05-07", "2023-05-08"),
        ("the 7th of May, 2023", "2023-05-07", "2023-05-08"),
        ("February 24, 2023", "2023-02-24", "2023-02-25"),
        ("1:56 pm on 8 May, 2023", "2023-05-08", "2023-05-09"),
        ("2023-05-08", "2023-05-08", "2023-05-09"),
        ("2023-05-08T13:56", "2023-05-08", "2023-05-09"),
        ("2023/05/08", "2023-05-08", "2023-05-09"),
        ("05/08/2023", "2023-05-08", "2023-05-09"),
        ("25/08/2023", "2023-08-25", "2023-08-26"),
        ("8.5.2023", "2023-05-08", "2023-05-09"),
        ("5/8/23", "2023-05-08", "2023-05-09"),
        ("May 2023", "2023-05-01", "2023-06-01"),
        ("April.2023", "2023-04-01", "2023-05-01"),
        ("early May 2023", "2023-05-01", "2023-05-11"),
        ("the end of 2022", "2022-09-02", "2023-01-01"),
        ("in 2022", "2022-01-01", "2023-01-01"),
        ("2022", "2022-01-01", "2023-01-01"),
        ("since 2016", "2016-01-01", "2017-01-01"),
        ("between 2019 and 2021", "2019-01-01", "2022-01-01"),
        ("the 1990s", "1990-01-01", "2000-01-01"),
        ("back in the '80s", "1980-01-01", "1990-01-01"),
        ("The summer of 2022", "2022-06-01", "2022-09-01"),
        ("winter 2022", "2022-12-01", "2023-03-01"),
        ("12–14 May 2023", "2023-05-12", "2023-05-15"),
        ("May 12-14, 2023", "2023-05-12", "2023-05-15"),
        ("May 30 to June 2, 2023", "2023-05-30", "2023-06-03"),
        ("the week before 9 June 2023", "2023-06-02", "2023-06-09"),
        ("The week of 23 August 2023", "2023-08-21", "2023-08-28"),
        ("The sunday before 25 May 2023", "2023-05-21", "2023-05-22"),
        ("The Friday before 14 August 2023", "2023-08-11", "2023-08-12"),
        ("the day after 9 June 2023", "2023-06-10", "2023-06-11"),
        ("the weekend before 17 July 2023", "2023-07-15", "2023-07-17"),
        ("two weekends before 17 July 2023", "2023-07-08", "2023-07-10"),
        ("the weekend after 17 July 2023", "2023-07-22", "2023-07-24"),
        ("Two weeks before 11 August 2023", "2023-07-24", "2023-07-31"),
        ("first weekend of August 2023", "2023-08-05", "2023-08-07"),
        ("the last Friday of May 2023", "2023-05-26", "2023-05-27"),
        ("Halloween 2021", "2021-10-31", "2021-11-01"),
    ],
)
def test_absolute_expression_needs_no_moment(text: str, start: str, end: str) -> None:
    assert _found(text, None) == [(start, end)]
    assert _found(text, "1999-11-30") == [(start, end)]


@pytest.mark.parametrize(
    "text",
    [
        "We may go, and you may too", "I march on", "Hey May, how are you?", "April said hi to June", "the "
        "sun sat on us",
        "every Friday night", "on Fridays", "I have known them for 4 years", "Seven years now", "2000 steps",
        "in 2000 words", "version 3.11.20", "call 555-1234", "it costs $2022", "the last time we spoke",
        "a decade-long plan", "10.0.0.2023", "I wrote it in two weeks", "twice in a year", "at last",
        "I may 7 times", "99/99/2023",
        "30 February 2023, in words",
    ],
)  # fmt: skip
def test_no_date_is_found_where_there_is_none(text: str) -> None:
    assert [s.phrase for s in find_dates(text, parse_time(THURSDAY)) if s.phrase != "February 2023"] == []


@pytest.mark.parametrize(
    "text", ["yesterday", "last week", "in June", "two weeks ago", "7 May", "on Friday", "tonight"]
)
@pytest.mark.parametrize("at", [None, math.nan, math.inf, -1e18, 1e18])
def test_relative_expression_without_a_usable_moment_stays_open(text: str, at: float | None) -> None:
    assert find_dates(text, at) == []


@pytest.mark.parametrize("at", ["0001-01-01", "9999-12-31T23:59", "0001-01-08", "9999-12-01"])
def test_the_ends_of_the_calendar_do_not_raise(at: str) -> None:
    text = (
        "yesterday tomorrow tonight last week, next week, next month, last year, 999 years ago, in 99 "
        "months, last June, "
        "next May, last winter, next summer, 29 February, the past 900 years, last Christmas, two decades "
        "ago, 31 December"
    )
    for span in find_dates(text, parse_time(at)):
        assert format_span(span)


def test_phrases_come_in_order_without_overlap() -> None:
    text = "On 7 May 2023 we met; last Friday, the week before 9 June 2023, we parted."
    phrases = [s.phrase for s in find_dates(text, parse_time(THURSDAY))]
    assert phrases == ["7 May 2023", "last Friday", "the week before 9 June 2023"]


@settings(derandomize=True)
@given(st.text(max_size=300), st.one_of(st.none(), st.floats()))
def test_any_text_and_any_moment_is_answered(text: str, at: float | None) -> None:
    for span in find_dates(text, at):
        assert span.start < span.end
        assert span.phrase in text
    question_window(text, at)
    wants_time(text)


_PIECES = """the last next this past week month year weekend day before after of since in on by early late 7
    31 29th 2023 May February Friday sun Sat. summer winter ago a few two couple yesterday tonight
    morning and – to , . ? ſunday Kelvin ıf İ \ud800 \x00 \u202e שלום 😊 1990s christmas half an hour
    0000 9999-12-31 00/00/0000""".split()


@settings(max_examples=300, derandomize=True)
@given(st.lists(st.sampled_from(_PIECES), max_size=25), st.floats(-7e10, 2.6e11))
def test_any_mix_of_date_words_gives_sound_intervals(pieces: list[str], at: float) -> None:
    text = " ".join(pieces)
    position = 0
    for span in find_dates(text, at):
        assert span.start < span.end
        position = text.index(span.phrase, position) + len(span.phrase)
        assert format_span(span)
    question_window(text, at)


_DAYS = st.dates(date(1500, 1, 1), date(2080, 12, 31))


def _at(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


@settings(derandomize=True)
@given(_DAYS, st.integers(1, 400))
def test_what_is_formatted_reads_back(day: date, length: int) -> None:
    start, end = _at(day), _at(day + timedelta(days=length))
    text = format_span((start, end))
    assert [(s.start, s.end) for s in find_dates(text)] == [(start, end)], text


@settings(derandomize=True)
@given(_DAYS, st.sampled_from([1, 2, 3, 6, 12, 24, 120]))
def test_whole_months_read_back(day: date, months: int) -> None:
    first = day.replace(day=1, month=1 if months > 11 else day.month)
    index = first.year * 12 + first.month - 1 + months
    start, end = _at(first), _at(date(index // 12, index % 12 + 1, 1))
    text = format_span((start, end))
    assert [(s.start, s.end) for s in find_dates(text)] == [(start, end)], text


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        ("2023-05-07", "2023-05-08", "7 May 2023"),
        ("2023-05-07T18:00", "2023-05-08T06:00", "7 May 2023"),
        ("2023-05-01", "2023-06-01", "May 2023"),
        ("2022-01-01", "2023-01-01", "2022"),
        ("2023-06-05", "2023-06-12", "the week of 5 June 2023"),
        ("2023-05-12", "2023-05-15", "12–14 May 2023"),
        ("2023-05-30", "2023-06-03", "30 May – 2 June 2023"),
        ("2022-12-30", "2023-01-03", "30 December 2022 – 2 January 2023"),
        ("2022-06-01", "2022-09-01", "summer 2022"),
        ("2022-12-01", "2023-03-01", "winter 2022"),
        ("1990-01-01", "2000-01-01", "the 1990s"),
        ("2019-01-01", "2022-01-01", "2019–2021"),
        ("2023-05-01", "2023-07-01", "May–June 2023"),
    ],
)
def test_format_span_is_short(start: str, end: str, text: str) -> None:
    assert format_span((parse_time(start), parse_time(end))) == text
    assert format_span(DateSpan("", parse_time(start), parse_time(end))) == text


@pytest.mark.parametrize("span", [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0)])
def test_format_span_refuses_an_empty_interval(span: tuple[float, float]) -> None:
    with pytest.raises(InvalidInput, match="no interval"):
        format_span(span)


@settings(derandomize=True)
@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_format_span_reaches_beyond_the_calendar(a: float, b: float) -> None:
    if a < b:
        assert format_span((a, b))


@pytest.mark.parametrize(
    ("question", "window"),
    [
        ("What did Gina do in May 2023?", ("2023-05-01", "2023-06-01")),
        ("Where was Jon on 1 February, 2023?", ("2023-02-01", "2023-02-02")),
        ("What did I do last week?", ("2023-05-15", "2023-05-22")),
        ("What happened between May 2023 and July 2023?", ("2023-05-01", "2023-08-01")),
        ("What happened after May 2022?", ("2022-06-01", "2023-05-26")),
        ("What changed since 2021?", ("2021-01-01", "2023-05-26")),
        ("What happened before 2 May 2022?", ("0001-01-01", "2022-05-02")),
    ],
)
def test_question_window(question: str, window: tuple[str, str]) -> None:
    span = question_window(question, parse_time(THURSDAY))
    assert span is not None
    assert (iso(span.start)[:10], iso(span.end)[:10]) == window


@pytest.mark.parametrize("question", ["What does Gina like?", "When did Jon move?", ""])
def test_a_question_without_a_time_has_no_window(question: str) -> None:
    assert question_window(question, parse_time(THURSDAY)) is None


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("When did Caroline go?", True),
        ("When Jon has lost his job as a banker?", True),
        ("Do you know when Jon moved?", True),
        ("Since when does she paint?", True),
        ("What date was the party?", True),
        ("Which year did they meet?", True),
        ("How long ago was Caroline's birthday?", True),
        ("How many weeks ago did she call?", True),
        ("When Jon lost his job, what did he do?", False),
        ("What did he say when he left?", False),
        ("How long is the river?", False),
        ("Who is Jon?", False),
        ("Whenever you like?", False),
    ],
)
def test_wants_time(question: str, wanted: bool) -> None:
    assert wants_time(question) is wanted


@pytest.mark.parametrize(
    "piece", ["last ", "7 ", "May ", "2023-", "the week before ", "12–", "yesterday ", "a", " ", "1/"]
)
def test_long_adversarial_text_is_finished(piece: str) -> None:
    find_dates((piece * 200_000)[:200_000], parse_time(THURSDAY))
    wants_time((piece * 200_000)[:200_000])


def _agrees(found: DateSpan, gold: DateSpan) -> bool:
    """Whether they overlap and the found one lies within the gold one or is at most twice as long."""
    overlap = min(found.end, gold.end) - max(found.start, gold.start)
    length = found.end - found.start
    return overlap > 0 and (overlap >= length or length <= 2 * (gold.end - gold.start))


def agreement(conversations: list[dict[str, Any]]) -> tuple[int, int, int]:
    """Temporal questions with a date as answer; those whose evidence holds a date; those that agree."""
    asked = dated = agreed = 0
    for conversation in conversations:
        turns: dict[str, tuple[str, float]] = {}
        for name, value in conversation["conversation"].items():
            if isinstance(value, list):
                stamp = conversation["conversation"][f"{name}_date_time"]
                said = datetime.strptime(f"{stamp} +0000", "%I:%M %p on %d %B, %Y %z").timestamp()
                turns |= {t["dia_id"]: (t["text"], said) for t in value}
        for question in conversation["qa"]:
            evidence = [turns[e] for e in question["evidence"] if e in turns]
            if question["category"] != 2 or not evidence:
                continue
            gold = find_dates(str(question["answer"]), evidence[0][1])
            found = [span for text, at in evidence for span in find_dates(text, at)]
            if gold:
                asked += 1
                dated += bool(found)
                agreed += any(_agrees(span, gold[0]) for span in found)
    return asked, dated, agreed


def test_dates_of_evidence_turns_agree_with_gold_answers() -> None:
    if not _LOCOMO.exists():
        pytest.skip("the LoCoMo conversations are not beside the repository")
    with lzma.open(_LOCOMO) as file:
        conversations = json.load(file)
    asked, dated, agreed = agreement(conversations[:3])
    assert asked >= 80
    assert agreed / asked >= 0.75
    assert agreed / dated >= 0.93
