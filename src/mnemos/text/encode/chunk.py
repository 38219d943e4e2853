"""Where a text may be cut: sentences, and passages of whole sentences.

Rules, no model: a terminal mark ends a sentence unless an abbreviation, an initial or a number says
otherwise; CJK marks need no space after them; a line break ends a sentence unless the next line goes on in
lower case or the line before it was full (hard-wrapped prose). One pass with possessive repeats, so linear
in the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from mnemos.core.errors import InvalidInput

Span = tuple[int, int]
"""Character positions [start, end)."""


def sentences(text: str) -> list[Span]:
    """The sentences of `text`, trimmed of whitespace, in order, covering everything else."""
    spans: list[Span] = []
    start = 0
    for match in _BORDER.finditer(text):
        if _ends(text, match):
            _append(spans, text, start, match.end())
            start = match.end()
    _append(spans, text, start, len(text))
    return spans


def titled(text: str, title: str = "") -> tuple[str, str]:
    """Title and body of `text`: its first line where that is `title`, or reads like one if none is known."""
    first, _, rest = text.partition("\n")
    first = " ".join(first.split())
    heading = 0 < len(first) <= 100 and first[-1] not in ".!?:;,…。！？"
    if rest.strip() and (first == title or (not title and heading)):
        return first, rest
    return title, text


def passages(text: str, *, limit: int = 1000, overlap: int = 0) -> list[Span]:
    """Spans of at most `limit` characters that begin and end with sentences and cover all of `text`.

    Paragraphs stay whole where they fit, a Markdown heading always starts a passage, and a sentence longer
    than `limit` is cut at a space where it has one.

    Args:
        text: plain text or Markdown.
        limit: most characters in a passage.
        overlap: a passage repeats up to that many characters, in whole sentences, of the one before it
            under the same heading.

    Raises:
        InvalidInput: `limit` below 1, or `overlap` negative or not below `limit`.
    """
    if limit < 1:
        raise InvalidInput(f"limit={limit} leaves no room: give at least 1 character")
    if not 0 <= overlap < limit:
        raise InvalidInput(f"overlap={overlap} must be at least 0 and below limit={limit}")
    breaks = [m.end() for m in _PARAGRAPH.finditer(text)]
    headings = _headings(text)
    units = [piece for span in _split(sentences(text), headings) for piece in _cut(text, span, limit)]
    paragraph = [bisect_right(breaks, start) for start, _ in units]
    section = [bisect_right(headings, start) for start, _ in units]
    ends = _ends_of_runs(units, paragraph)
    out: list[Span] = []
    first = 0
    for i in range(1, len(units) + 1):
        if i < len(units) and section[i] == section[first]:
            begins = paragraph[i] != paragraph[i - 1]
            fits = units[i][1] - units[first][0] <= limit
            whole = ends[i] - units[first][0] <= limit or ends[i] - units[i][0] > limit
            if fits and (not begins or whole or 2 * (units[i - 1][1] - units[first][0]) < limit):
                continue
        if first < i:
            out.append((units[first][0], units[i - 1][1]))
        same = i < len(units) and section[i] == section[i - 1]
        first = _step_back(units, first, i, limit, overlap) if same else i
    return out


_ABBREVIATIONS = frozenset(
    """mr mrs ms dr prof st jr sr rev gen sen rep gov capt col lt sgt mt ft vs viz cf al fig figs eq no
    nos vol pp ed eds approx dept est inc ltd corp co bros ave blvd rd apt tel ext e.g i.e jan feb
    mar apr jun jul aug sep sept oct nov dec u.s u.k u.n d.c bzw z.b d.h""".split()
)
_BEFORE_SMALL = frozenset("etc a.m p.m inc ltd co corp jr sr u.s u.k ph.d".split())
_EMOJI = "\u2600-\u27bf\u2b50\u2b55\ufe0f\u200d\U0001f000-\U0001faff"
_BORDER = re.compile(
    rf"(?<![.!?…])[.!?…]++[\"'”’»)\]}}*_]*+(?:[ \t]?[{_EMOJI}]++)?+"  # Latin, with what clings to it
    r"|[。！？｡؟۔।॥]++[」』”’）]*+"
    rf"|(?<![{_EMOJI}])[{_EMOJI}]++"
    r"|[\r\n\u2028\u2029\x0b\x0c\x85]++"
)
_PARAGRAPH = re.compile(r"\n[ \t\r]*+\n\s*+|\u2029")
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+\S", re.MULTILINE)
_OPENING = re.compile(r" {0,3}[`\"'“‘(]?")
"""What may stand before the first letter of a line that goes on."""
_FULL = 60
"""Characters of a line that was broken because it was full."""
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_LAST_WORD = re.compile(r"[^\W\d_][\w.]{0,11}\Z")


def _ends(text: str, match: re.Match[str]) -> bool:
    mark, after = match.group(), text[match.end() : match.end() + 2]
    if not after:
        return True
    head = mark[0]
    if head in "。！？｡؟۔।॥":
        return True
    if head in "\r\n\u2028\u2029\x0b\x0c\x85":
        return _line_ends(text, match)
    if not after[0].isspace():
        return False
    follows = text[match.end() : match.end() + 8].lstrip()
    small = follows[:1].islower()
    if head not in ".!?…":  # an emoji between two sentences
        return follows[:1].isupper()
    if mark[-1] in "\"'”’»)" and small:  # "What?" he said
        return False
    if head == "…" or mark.startswith(".."):
        return not small
    return not (head == "." and mark[:2] in {".", "'"} and _abbreviated(text, match.start(), small))


def _line_ends(text: str, match: re.Match[str]) -> bool:
    if match.group().count("\n") > 1 or "\u2029" in match.group():
        return True
    line = text.rfind("\n", 0, match.start()) + 1
    if text.startswith("#", line):
        return True
    follows = _OPENING.match(text, match.end())
    after = text[follows.end() : follows.end() + 1] if follows else ""
    # the first line may be a title, however long
    full = line > 0 and match.start() - line >= _FULL and not text.startswith("|", line)
    return not (after.islower() or (full and after.isalpha()))


def _abbreviated(text: str, dot: int, small: bool) -> bool:
    word = _LAST_WORD.search(text[max(0, dot - 13) : dot])
    if word is None:  # "3." opens a list
        line = text.rfind("\n", max(0, dot - 4), dot) + 1
        return text[line if line else max(0, dot - 4) : dot].strip().isdigit() and (line > 0 or dot < 4)
    name = word.group()
    single = len(name) == 1 and name.isupper() and name != "I"
    return single or name.lower() in _ABBREVIATIONS or (small and name.lower() in _BEFORE_SMALL)


def _append(spans: list[Span], text: str, start: int, end: int) -> None:
    """Add text[start:end] without the whitespace around it, if anything is left."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        spans.append((start, end))


def _headings(text: str) -> list[int]:
    """Where Markdown headings start, those in fenced code left out."""
    fences = [m.start() for m in _FENCE.finditer(text)]
    return [m.start() for m in _HEADING.finditer(text) if bisect_right(fences, m.start()) % 2 == 0]


def _split(spans: list[Span], headings: list[int]) -> list[Span]:
    """Cut sentences that run across the start of a heading."""
    out: list[Span] = []
    for start, end in spans:
        while (i := bisect_right(headings, start)) < len(headings) and headings[i] < end:
            out.append((start, headings[i]))
            start = headings[i]
        out.append((start, end))
    return out


def _cut(text: str, span: Span, limit: int) -> list[Span]:
    """`span` in pieces of at most `limit`, at the last space of each where there is one."""
    pieces: list[Span] = []
    start, end = span
    while end - start > limit:
        stop = start + limit
        if not text[stop].isspace():
            stop = next((i for i in range(stop, start, -1) if text[i - 1].isspace()), stop)
        _append(pieces, text, start, stop)
        start = stop
        while start < end and text[start].isspace():
            start += 1
    _append(pieces, text, start, end)
    return pieces


def _ends_of_runs(units: list[Span], paragraph: list[int]) -> list[int]:
    """For each unit, where its paragraph ends."""
    ends = [end for _, end in units]
    for i in range(len(units) - 2, -1, -1):
        if paragraph[i] == paragraph[i + 1]:
            ends[i] = ends[i + 1]
    return ends


def _step_back(units: list[Span], first: int, i: int, limit: int, overlap: int) -> int:
    """The first unit of the passage that goes on at `i`."""
    begin = i
    while begin - 1 > first and units[i - 1][1] - units[begin - 1][0] <= overlap:
        if units[i][1] - units[begin - 1][0] > limit:
            break
        begin -= 1
    return begin
