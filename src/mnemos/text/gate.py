"""The write gate: what may enter, what waits, and what has come round in a circle.

Sources vouch for what they say. People and documents are believed; what an assistant claims about
somebody waits in quarantine until the person says it too (HaluMem, 2025: planted claims must not
become memories); text that this memory itself has just given out is not taken back as new.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable

from mnemos.text.encode.analyse import text_hash
from mnemos.text.encode.chunk import sentences
from mnemos.text.encode.facts import Fact
from mnemos.text.records import Item, Record, Scope

TRUSTED = frozenset({"user", "import"})
"""Sources whose statements become facts at once."""
_REMEMBERED = 10_000
_SHORT = 24
"""Characters below which a sentence ("You're welcome!") proves nothing."""
_ECHO = 0.8


class LoopGuard:
    """Recognises text that recall gave out (mem0 issue 4573: recalled text stored again as new).

    Knows the texts of the latest `_REMEMBERED` hits; safe between threads. A search only notes
    them; they are cut into sentences when a machine's text comes in to be compared.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: OrderedDict[str, tuple[Scope, str]] = OrderedDict()
        self._pieces: dict[tuple[Scope, bytes], str] = {}
        self._fresh: list[str] = []

    def gave(self, scope: Scope, hits: Iterable[tuple[str, str]]) -> None:
        """Remember that the (id, text) of these hits of `scope` went out."""
        with self._lock:
            for id, text in hits:
                if self._given.get(id) != (scope, text):
                    self._given[id] = (scope, text)
                    self._fresh.append(id)
                self._given.move_to_end(id)
            if len(self._given) > _REMEMBERED:
                for _ in range(_REMEMBERED // 10):
                    self._given.popitem(last=False)
                self._start_over()

    def forget(self, ids: set[str]) -> None:
        """Drop everything of erased records."""
        with self._lock:
            self._given = OrderedDict((id, given) for id, given in self._given.items() if id not in ids)
            self._start_over()

    def _start_over(self) -> None:
        self._pieces.clear()
        self._fresh = list(self._given)

    def _read(self) -> None:
        for id in self._fresh:
            scope, text = self._given[id]
            for piece in _pieces(text):
                self._pieces[scope, text_hash(piece)] = id
        self._fresh.clear()

    def echo(self, scope: Scope, item: Item) -> str | None:
        """The id that `item` repeats, if it is from a machine and mostly recalled text; else None."""
        if item.source in TRUSTED:
            return None
        pieces = _pieces(item.text)
        # short sentences prove nothing beside long ones; alone they must all have been given out
        long = [p for p in pieces if len(p) >= _SHORT]
        with self._lock:
            self._read()
            origins = [(self._pieces.get((scope, text_hash(p))), len(p)) for p in long or pieces]
        if not long and not all(origin for origin, _ in origins):
            return None
        known = sum(size for origin, size in origins if origin)
        if not pieces or known < _ECHO * sum(size for _, size in origins):
            return None
        return max((o for o in origins if o[0]), key=lambda o: o[1])[0]


def waits(fact: Fact, record: Record) -> bool:
    """Whether a fact must wait for the person it is about: somebody else's machine claims it."""
    return record.source not in TRUSTED and fact.subject.casefold() != record.speaker.casefold()


_MARK = re.compile(r"^(?:[-*•–>]|\(?\d{1,3}[.)])\s+")
"""How an item of a list begins."""
_LEAD = re.compile(r"^[^:\n]{1,40}:\s+(?=\S)")
"""What goes before a quotation: "As you told me: ..."."""


def _pieces(text: str) -> list[str]:
    """The sentences of a text, without what lists and lead-ins put before them."""
    found = (text[a:b].strip() for a, b in sentences(text[:20_000]))
    return [_LEAD.sub("", _MARK.sub("", piece)) for piece in found]
