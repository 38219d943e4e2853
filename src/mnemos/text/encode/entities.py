"""Names and things that a text mentions, by how they are written: capitals, quotes, acronyms.

No gazetteer and no model. A capital inside a sentence is evidence of a name; at the start of one it is
only where something else speaks for it (a second capitalised word, the same name elsewhere, a verb that
only persons do). Precision comes before recall: a wrong entity links what has nothing to do with each other.
Scripts without capitals (CJK, Arabic, Hindi) give entities only inside their quotation marks.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache


def entities(text: str, speaker: str = "") -> list[str]:
    """The names in `text` as written, in order, each once by its `canonical` form.

    Args:
        text: one turn or passage.
        speaker: who says it; that name is known, so it counts wherever it stands (never added by itself).
    """
    plain = text.isascii()
    if plain and text.islower() and '"' not in text:
        return []
    known = {canonical(part) for part in speaker.split()} if speaker else set()
    titles = _quoted(text) if any(mark in text for mark in _QUOTES) else []
    tokens = _outside(_tokens(text, plain), titles)
    within = {t[2] for t in tokens if not t[3]}
    shouting = any(len(t[2]) > 1 and t[2].isupper() for t in tokens) and _shouts(text)
    names, run = titles, list[_Token]()
    for token in tokens:
        weak = _weak(token, shouting) and canonical(token[2]) not in known
        if run and (weak or not _joined(text, run[-1], token)):
            names += _name(run, text, known, within)
            run = []
        if not weak:
            run.append(token)
    names += _name(run, text, known, within)
    seen: dict[str, str] = {}
    for _, name in sorted(names):
        seen.setdefault(canonical(name), name)
    seen.pop("", None)
    return list(seen.values())


@lru_cache(maxsize=50_000)
def unaccented(name: str) -> str:
    """`name` without accents: "Aschenbrödel" as "Aschenbrodel"."""
    if name.isascii():
        return name
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", name)))


def canonical(name: str) -> str:
    """The form by which two mentions are the same: NFKC, case-folded, no possessive, no punctuation around.

    Applying it twice changes nothing.
    """
    if name.isascii():
        return _strip(name.lower())
    for _ in range(8):  # folding can undo normalising and the other way round: until it settles
        folded = _strip(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()))
        if folded == name:
            break
        name = folded
    return name


_Token = tuple[int, int, str, bool, bool]
"""Start, end, word without possessive, whether it opens a sentence, whether it is an initial."""

_CAPITAL = re.compile(r"(?<![\w'’#@])[A-Z][A-Za-z0-9]{0,40}(?:[.&'’-][A-Za-z0-9]{1,40}){0,4}")
_CASED = re.compile(r"(?<![\w'’#@])[^\W\d_a-z][^\W_]{0,40}(?:[.&'’-][^\W_]{1,40}){0,4}")
_MIXED = re.compile(r"(?<![\w'’#@.])[a-z]{1,2}[A-Z][A-Za-z]{2,20}(?!\w)")  # iPhone, eBay
_OPENS = re.compile(
    r"(?:\A|[.!?…:;\n\r。！？*•(\[{\"“«>~|/]|[\u2600-\u27bf\U0001f000-\U0001faff\ufe0f]|\s[-–—]\s*)"
    r"\s*[\"“'‘(*_#-]{0,3}\Z"
)
_LINK = re.compile(
    r"[ \t\u00a0](?:(?:of(?: the)?|de(?: la| los)?|del|la|le|van(?: der)?|von|der|di|da|dos|bin|al|du|y|&|"
    r"for the|in the)[ \t])?"
)
_ACCENTS = re.compile("[\u0300-\u036f]")
_LONGEST = 8
"""More capitalised words in a row are a headline."""
_QUOTES = '"“«「『《'
_QUOTED = re.compile(
    r"\"([^\"\n]{2,70})\"|“([^”\n]{2,70})”|«([^»\n]{2,70})»|「([^」\n]{1,40})」|『([^』\n]{1,40})』|"
    r"《([^》\n]{1,40})》"
)
_CUED = re.compile(
    r"(?:book|movie|film|song|album|novel|show|series|game|called|named|titled|entitled|read(?:ing)?|"
    r"watch(?:ed|ing)?)[ ,:]{1,2}\Z",
    re.IGNORECASE,
)
_PERSONAL = re.compile(
    r"[ ](?:(?:and|&)[ ](?:I|[A-Z][a-z]+)\b|(?:just[ ]|also[ ]|really[ ]|still[ ]|recently[ ])?"
    r"(?:went|said|says|told|tells|loves?|likes?|hates?|works?|lives?|moved|asked|asks|thinks?|thought|wants?|"
    r"wanted|knows|knew|gave|married|adopted|visited|joined|enjoys?|called|texted|invited|introduced|helped|"
    r"taught|bought|recommended|got|met)\b)"
)
_SMALL_WORDS = frozenset("a an the and or of to in on at for with from by is as but de la my your".split())

NO_NAMES = frozenset(
    """i i'm i've i'd i'll im ive id ill a an the this that these those it it's its he he's she she's we
    we're we've we'll they they're you you're you've your yours my mine our ours his her hers their me us
    him them who what what's whats when where why which how how's whose there there's here here's and or
    but so if then than because since though although while until unless as at by for from in into of off
    on onto out over to up with without about after before between during through under not no nor nope
    yes yeah yep yup yay yo hey hi hello hiya howdy bye goodbye welcome wow whoa woah woohoo woo ooh oh
    ohh ah aw aww awww haha hahaha hah lol lmao omg btw fyi asap imo imho tbh idk ngl brb ttyl rip pls plz
    thx ty congrats congratulations thank thanks thankfully please sorry sure ok okay alright right well
    cool nice great good awesome amazing wonderful fantastic lovely beautiful gorgeous perfect excellent
    incredible sweet glad happy sad true absolutely definitely certainly exactly totally really actually
    honestly seriously finally lately recently currently sometimes always never maybe perhaps hopefully
    unfortunately luckily basically literally anyway anyways also too just still yet even once again
    already now today tonight tomorrow yesterday monday tuesday wednesday thursday friday saturday sunday
    mon tue tues wed thu thurs fri sat sun january february march april may june july august september
    october november december jan feb mar apr jun jul aug sep sept oct nov dec spring summer autumn fall
    winter morning evening night am pm last next every each some any all both most many much more other
    another such same one two three four five six seven eight nine ten first second third good let let's
    lets can can't could would should will won't do don't does did didn't is isn't are aren't was were
    wasn't have haven't has had be been being am get got go going gonna gotta wanna take look looks
    looking check see seeing guess tell keep make makes try hope wish love loved miss need want think
    thought know remember believe imagine bet feel feels sounds seems stay take thinking thankful grateful
    proud excited speaking talk god gosh goodness jeez damn dude man guys girl bro buddy mate folks
    everyone everybody everything someone something anything nothing nobody people friends family mom mum
    dad mommy daddy grandma grandpa mother father sir madam ma'am mr mrs ms dr miss etc met saw went took
    made bought found got tried started finished way oof yum cheers bummer agreed appreciate long trust
    stuff almost hard moments events whenever together little big life art books having doing getting tv
    pc diy faq ps qa id url pdf ceo cto hr ok' x'mas t-shirt t-shirts x-ray e.g i.e p.s a.m p.m aka eta
    rsvp user assistant system human note edit update question answer image photo pic video step""".split()
)
"""Words that are capitalised for other reasons than being a name: openers, weekdays, chat abbreviations."""


def _tokens(text: str, plain: bool) -> list[_Token]:
    """The capitalised words."""
    out: list[_Token] = []
    for match in (_CAPITAL if plain else _CASED).finditer(text):
        word, start = match.group(), match.start()
        if not plain and not (word[0].isupper() or word[0].istitle()):
            continue
        word = _bare(word)
        opens = _OPENS.search(text[max(0, start - 6) : start]) is not None if start else True
        initial = len(word) == 1 and word != "I" and text.startswith(". ", start + 1)
        out.append((start, start + len(word), word, opens, initial))
    for match in _MIXED.finditer(text):
        out.append((match.start(), match.end(), match.group(), False, False))
    out.sort()
    return out


def _bare(word: str) -> str:
    """`word` without a possessive or a contracted verb."""
    for mark in ("'", "’"):
        head, found, tail = word.rpartition(mark)
        if found and tail.lower() in {"s", "ll", "d", "re", "ve", "m", "t"} and head.lower() not in {"o", "d"}:
            return head if tail.lower() != "t" else word
    return word


def _joined(text: str, left: _Token, right: _Token) -> bool:
    """Whether two capitalised words belong to one name."""
    gap = text[left[1] : right[0]]
    if gap == ". ":  # J. K. Rowling
        return left[2].rpartition(".")[2].isupper() and len(left[2].rpartition(".")[2]) == 1
    return 0 < len(gap) <= 10 and _LINK.fullmatch(gap) is not None


def _weak(token: _Token, shouting: bool) -> bool:
    word = token[2]
    lower = word.lower().replace("’", "'")
    if lower in NO_NAMES or (len(word) == 1 and not token[4]):
        return True
    return word.isupper() and (shouting or (len(word) > 6 and word.isalpha()))


def _shouts(text: str) -> bool:
    """Whether most letters are capitals: words of such a text are no acronyms."""
    return sum(map(str.isupper, text)) * 2 > sum(map(str.isalpha, text))


def _outside(tokens: list[_Token], titles: list[tuple[int, str]]) -> list[_Token]:
    """The tokens that stand in no quoted title."""
    if not titles:
        return tokens
    starts = [start for start, _ in titles]
    out = []
    for token in tokens:
        i = bisect_right(starts, token[0]) - 1
        if i < 0 or token[0] > starts[i] + len(titles[i][1]) + 1:
            out.append(token)
    return out


def _name(run: list[_Token], text: str, known: set[str], within: set[str]) -> list[tuple[int, str]]:
    """Where the name that `run` spells begins, and the name; nothing where it is none."""
    if not run or len(run) > _LONGEST:
        return []
    first = run[0]
    if len(run) == 1 and first[3] and canonical(first[2]) not in known and not _vouched(first, text, within):
        return []
    if len(run) > 1 and first[3] and first[2].lower().endswith(("ing", "ly", "ed")) and first[2] != "United":
        run = run[1:]  # "Visiting Boston", "Apparently Anna"
    if run[-1][4]:
        return []  # an initial without its name
    return [(run[0][0], " ".join(text[run[0][0] : run[-1][1]].split()))]


def _vouched(token: _Token, text: str, within: set[str]) -> bool:
    """Whether a word that opens a sentence is a name all the same."""
    word, end = token[2], token[1]
    if (word.isupper() and len(word) > 1) or any(c.isupper() or c.isdigit() for c in word[1:]) or word in within:
        return True
    return not word.lower().endswith(("ing", "ly", "ed")) and _PERSONAL.match(text[end : end + 40]) is not None


def _quoted(text: str) -> list[tuple[int, str]]:
    """Titles in quotation marks: every longer word capitalised, or announced by "book", "called", ..."""
    out = []
    for match in _QUOTED.finditer(text):
        title = next(g for g in match.groups() if g is not None).strip().rstrip(".,")
        words = title.split()
        if not words or len(words) > 9 or title[-1] in "?!…,;:":
            continue
        cased = [w for w in words if w.lower() not in _SMALL_WORDS]
        # a quoted word of a script without case needs the marks that titles have in it
        titled = bool(cased) and all(w[0].isupper() or w[0].isdigit() or w[0] > "\u0600" for w in cased)
        alone = len(words) == 1 and words[0].lower() in NO_NAMES
        if (titled and not alone) or _CUED.search(text[max(0, match.start() - 12) : match.start()]):
            out.append((match.start(), title))
    return out


def _strip(name: str) -> str:
    """Whitespace collapsed; punctuation around and a final possessive gone."""
    name = " ".join(name.split())
    while True:
        start, end = 0, len(name)
        while start < end and not _kept(name[start]):
            start += 1
        while end > start and not _kept(name[end - 1]):
            end -= 1
        name = name[start:end]
        if len(name) > 2 and name.endswith(("'s", "’s")):
            name = name[:-2]
        else:
            return name


def _kept(char: str) -> bool:
    return char.isalnum() or unicodedata.category(char)[0] == "M" or char in "+#"
