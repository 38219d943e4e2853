"""How the extractor reads: words, what they look like, and windows that the encoder can take.

The encoder is uncased, so capitals, digits and punctuation come as features beside its states.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.text.encode.chunk import sentences

WINDOW = 254
"""Word pieces in a window, its title included."""
TITLE_PIECES, WORD_PIECES, WORD_CHARACTERS = 32, 8, 60
"""What is read of a title, and of one word."""

SHAPES = 18
"""Features of a word's look, see `_shape`."""


@dataclass(frozen=True, slots=True)
class Window:
    """Some sentences of a text, after its title."""

    words: list[str]
    """Title words first."""
    spans: list[tuple[int, int]]
    """Where each body word stands in the body; title words have their place in the title."""
    title: int
    """How many of `words` are the title's."""
    sentence: NDArray[np.int64]
    """[words] the sentence that a word is in; -1 in the title."""
    shapes: NDArray[np.float32]
    """[words, SHAPES]"""
    ids: list[int]
    """Word pieces, framed: [CLS] title [SEP] body [SEP]."""
    owner: NDArray[np.int64]
    """[pieces] the word of each piece; -1 for the frame."""


class Reader:
    """Cuts texts into windows.

    Args:
        tokenizer: the encoder's, from the `tokenizers` package.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        vocabulary = tokenizer.get_vocab()
        self._cls, self._sep, self._unknown = (vocabulary[name] for name in ("[CLS]", "[SEP]", "[UNK]"))

    def read(self, title: str, body: str) -> list[Window]:
        """The windows of a body; whole sentences, except where one alone is too long."""
        head = [(m.start(), m.end()) for m in WORD.finditer(title)]
        head_words = [title[a:b] for a, b in head]
        head_pieces = self._pieces(head_words)
        while sum(map(len, head_pieces)) > TITLE_PIECES:
            for parts in (head_pieces, head_words, head):
                parts.pop()
        spans: list[tuple[int, int]] = []
        number: list[int] = []
        for n, (start, end) in enumerate(sentences(body)):
            found = [(m.start(), m.end()) for m in WORD.finditer(body, start, end)]
            spans += found
            number += [n] * len(found)
        words = [body[a:b] for a, b in spans]
        pieces = self._pieces(words)
        room = WINDOW - 3 - sum(map(len, head_pieces))
        shapes = _shapes(words, spans, number, body, {w.lower() for w in head_words})
        head_shapes = _shapes(head_words, head, [-1] * len(head), title, set())
        out = []
        for first, last in _cuts(list(map(len, pieces)), number, room):
            count = len(head_words)
            own = head_pieces + pieces[first:last]
            own.insert(count, [self._sep])
            ids = [id for word in own for id in word]
            owner = [i - (i > count) if i != count else -1 for i, word in enumerate(own) for _ in word]
            out.append(
                Window(
                    head_words + words[first:last],
                    head + spans[first:last],
                    count,
                    np.array([-1] * count + number[first:last]),
                    np.concatenate([head_shapes, shapes[first:last]]),
                    [self._cls, *ids, self._sep],
                    np.array([-1, *owner, -1]),
                )
            )
        return out

    def _pieces(self, words: Sequence[str]) -> list[list[int]]:
        if not words:
            return []
        short = [word[:WORD_CHARACTERS] for word in words]
        encoding = self._tokenizer.encode(short, is_pretokenized=True, add_special_tokens=False)
        out: list[list[int]] = [[] for _ in words]
        for id, word in zip(encoding.ids, encoding.word_ids, strict=True):
            if len(out[word]) < WORD_PIECES:
                out[word].append(id)
        return [pieces or [self._unknown] for pieces in out]


WORD = re.compile(r"['’]s\b|[^\W_]+(?:(?:[.'’-](?!s\b))[^\W_]+)*(?:(?<=\b[A-Z])\.)?|[^\w\s]|_+")
_MONTHS = frozenset("january february march april may june july august september october november december".split())
_QUOTES = frozenset('"“”«»„')


def _cuts(sizes: Sequence[int], number: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Runs of words that fit into `room` pieces; they end with sentences where they can."""
    out: list[tuple[int, int]] = []
    first = 0
    while first < len(sizes):
        used, last, good = 0, first, first
        while last < len(sizes) and used + sizes[last] <= room:
            used += sizes[last]
            last += 1
            if last == len(sizes) or number[last] != number[last - 1]:
                good = last
        last = good if good > first else last
        out.append((first, last))
        first = last
    return out


def _shapes(
    words: Sequence[str], spans: Sequence[tuple[int, int]], number: Sequence[int], text: str, title: set[str]
) -> NDArray[np.float32]:
    out = np.zeros((len(words), SHAPES), np.float32)
    inner = {w for w, n, p in zip(words[1:], number[1:], number, strict=False) if n == p and w[0].isupper()}
    quoted = False
    depth = 0
    for i, word in enumerate(words):
        first, fresh = word[0], i == 0 or number[i] != number[i - 1]
        if fresh:
            quoted, depth = False, 0
        lower = word.lower()
        out[i] = (
            number[i] < 0,
            fresh,
            first.isupper(),
            len(word) > 1 and word.isupper(),
            any(c.isupper() for c in word[1:]) and not word.isupper(),
            any(c.isdigit() for c in word),
            word.isdecimal(),
            word.isdecimal() and len(word) == 4,
            not any(c.isalnum() for c in word),
            word == ",",
            "-" in word and len(word) > 1,
            word in _QUOTES,
            quoted,
            depth > 0,
            lower in _MONTHS and first.isupper(),
            lower in title,
            fresh and word in inner,
            i > 0 and spans[i][0] == spans[i - 1][1],
        )
        if word in _QUOTES:
            quoted = not quoted
        depth = max(0, depth + (word == "(") - (word == ")"))
    return out
