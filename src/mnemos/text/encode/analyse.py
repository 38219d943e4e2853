"""What the lexical index sees of a text: hashed stems, and a few traits.

Terms are kept as 32-bit hashes, so that the index holds no word of anybody's text and a hard
forget has no vocabulary to clean. Two of 100,000 words collide with probability 2e-5 each.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from enum import IntFlag
from functools import lru_cache

import numpy as np
import snowballstemmer
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_LONGEST_WORD = 64
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_POSSESSIVE = ("'s", "’s")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u0e00-\u0e7f\uac00-\ud7af]+")
"""Scripts written without spaces between words: indexed by character pairs."""

STOP_WORDS = frozenset(
    [
        "a",
        "about",
        "after",
        "again",
        "against",
        "all",
        "am",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "been",
        "before",
        "being",
        "below",
        "between",
        "both",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "doing",
        "don",
        "down",
        "during",
        "each",
        "few",
        "for",
        "from",
        "further",
        "had",
        "has",
        "have",
        "having",
        "he",
        "her",
        "here",
        "hers",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "itself",
        "just",
        "ll",
        "m",
        "me",
        "more",
        "most",
        "my",
        "no",
        "nor",
        "not",
        "now",
        "of",
        "off",
        "on",
        "once",
        "only",
        "or",
        "other",
        "our",
        "out",
        "over",
        "own",
        "re",
        "s",
        "same",
        "she",
        "should",
        "so",
        "some",
        "such",
        "t",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "through",
        "to",
        "too",
        "under",
        "until",
        "up",
        "ve",
        "very",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
        "yours",
    ]
)
"""Function words of English: they carry no topic, and questions are full of them."""


class Trait(IntFlag):
    """What the ranker wants to know of a text, in one integer."""

    QUESTION = 1
    """It asks something."""
    DATED = 2
    """It holds a date expression."""


@lru_cache(maxsize=200_000)
def _term(word: str) -> int:
    return zlib.crc32(_stem(word).encode("utf-8", "surrogatepass"))


_local = threading.local()


def _stem(word: str) -> str:
    if not word.isascii() or len(word) > _LONGEST_WORD:  # the stemmer is quadratic on endless words
        return word
    if not hasattr(_local, "stemmer"):  # a stemmer holds the word it works on
        _local.stemmer = snowballstemmer.stemmer("english")
    return str(_local.stemmer.stemWord(word))


def words(text: str) -> list[str]:
    """Case-folded words in order; unspaced scripts in overlapping character pairs."""
    if text.isascii():
        return [_owner(word) for word in _WORD.findall(text.lower())]
    found = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if not word.isascii() and _UNSPACED.search(word):
            found += _pairs(word)
        else:
            found.append(_owner(word))
    return found


def _owner(word: str) -> str:
    return word[:-2] if word.endswith(_POSSESSIVE) else word


def _pairs(word: str) -> list[str]:
    return [word[i : i + 2] for i in range(len(word) - 1)] or [word]


def content_words(text: str) -> list[str]:
    """The `words` of a text that are no `STOP_WORDS`."""
    return [word for word in words(text) if word not in STOP_WORDS]


def terms(text: str) -> NDArray[np.uint32]:
    """Hashed stems of the content words of `text`, in order, repetitions kept."""
    return np.array([*map(_term, content_words(text))], np.uint32)


def term_words(text: str | Sequence[str]) -> dict[int, str]:
    """The content words of `text`, or of its `words`, by their hashed stems: what a match can be explained with."""
    return {_term(w): w for w in (words(text) if isinstance(text, str) else text) if w not in STOP_WORDS}


def by_trigger(triggers: Iterable[str]) -> dict[str, list[int]]:
    """By word the numbers of the rules that it calls for; `triggers` are each rule's words, joined by spaces."""
    called: dict[str, list[int]] = {}
    for number, words_of_rule in enumerate(triggers):
        for word in words_of_rule.split():
            called.setdefault(word, []).append(number)
    return called


def numbers(text: str) -> list[str]:
    """The numbers of a text in order: near-duplicates that differ in one are not the same."""
    return _NUMBER.findall(text)


def name_hash(canonical: str) -> int:
    """The 32-bit hash of a canonical name."""
    return zlib.crc32(canonical.encode("utf-8", "surrogatepass"))


def text_hash(text: str) -> bytes:
    """16 bytes that identify a text up to case and white space."""
    plain = " ".join(text.casefold().split())
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest()
