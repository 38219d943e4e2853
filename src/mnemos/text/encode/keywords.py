"""What a session is about, in a few words or phrases.

RAKE (Rose, Engel, Cramer and Cowley, 2010, section 1.2): stop words and punctuation cut the text into
candidate phrases; a word's degree is the number of words it stands with in candidates, itself included, and
its score degree over frequency. On chat, where the longest accidental phrase would win, the score of a
candidate is weighted by the number of texts in which it occurs, and a phrase of two or three words counts
only when it occurs twice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from mnemos.core.errors import InvalidInput
from mnemos.text.encode.analyse import STOP_WORDS


def keywords(texts: Sequence[str], k: int = 8) -> list[str]:
    """The `k` best keywords of `texts`, best first, in lower case; fewer where there are no more.

    The same texts give the same keywords in the same order. A phrase stands for its words.

    Args:
        texts: the turns of a session, or the passages of a document.
        k: how many.

    Raises:
        InvalidInput: `k` is negative.
    """
    if k < 0:
        raise InvalidInput(f"k={k} keywords cannot be given: say 0 or more")
    counts: Counter[tuple[str, ...]] = Counter()
    spread: Counter[tuple[str, ...]] = Counter()
    frequency: Counter[str] = Counter()
    degree: Counter[str] = Counter()
    for text in texts:
        seen: set[tuple[str, ...]] = set()
        for phrase in _candidates(text):
            for word in phrase:
                frequency[word] += 1
                degree[word] += min(len(phrase), _LONGEST)
            grams = list(_grams(phrase))
            counts.update(grams)
            seen.update(grams)
        spread.update(seen)
    scored = [
        (-sum(degree[w] / frequency[w] for w in gram) * spread[gram] * len(gram) ** 0.5, gram)
        for gram, count in counts.items()
        if len(gram) == 1 or count > 1
    ]
    return _pick(sorted(scored), k)


_LONGEST = 3
_PIECE = re.compile(r"[^\W\d_][\w'’-]{0,40}|[^\s\w]")
_CHAT = frozenset(
    """yeah yes yep hey hi hello wow thanks thank thx please sorry ok okay oh ah haha lol omg btw great
    good nice cool awesome amazing glad happy sounds sound really actually definitely absolutely totally
    super pretty lot lots thing things stuff something anything everything someone everyone way ways bit
    kind sort got get gets getting go goes going gone went come comes coming came make makes making made
    take takes taking took know knows think thinks thought feel feels feeling felt want wants wanted need
    needs see sees seen saw look looks looking looked say says said tell told let keep keeps keeping much
    many also still even ever never always maybe well right sure back around first last next new one two
    three time times day days week weeks month months year years today yesterday tomorrow like likes love
    loves loved would could might may us im ive dont cant can't don't i'm i've i'll i'd it's that's what's
    you're you've we're we've they're let's there's he's she's isn't wasn't won't didn't doesn't couldn't
    wouldn't been since though although another every hope wish guess since catch chat talk talked long
    help helps helped believe remember excited proud take care check gonna wanna""".split()
)


def _candidates(text: str) -> Iterator[list[str]]:
    """Runs of content words between stop words and punctuation."""
    run: list[str] = []
    for match in _PIECE.finditer(text.lower()):
        word = match.group().strip("'’-_").replace("’", "'").removesuffix("'s")
        if (len(word) < 2 and word.isascii()) or word in STOP_WORDS or word in _CHAT:
            if run:
                yield run
            run = []
        else:
            run.append(word)
    if run:
        yield run


def _grams(phrase: list[str]) -> Iterator[tuple[str, ...]]:
    for size in range(1, _LONGEST + 1):
        for i in range(len(phrase) - size + 1):
            yield tuple(phrase[i : i + size])


def _pick(scored: list[tuple[float, tuple[str, ...]]], k: int) -> list[str]:
    """The best, without those whose words an earlier one holds."""
    out: list[str] = []
    taken: set[str] = set()
    for _, gram in scored:
        if len(out) >= k:
            break
        if not taken.issuperset(gram):
            out.append(" ".join(gram))
            taken.update(gram)
    return out
