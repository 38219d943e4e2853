"""The default recipe: the library's own recall, and for documents an associative walk beside it.

Own recall ranks everything by words, meaning, time and neighbourhood. Where it meets passages of
documents, HippoRAG 2's walk over local triples, begun also at what the question names (`recipes.named`), ranks
them too, and own recall fills in behind its first three: a passage stands by the better of its two places
(MuSiQue, recall@5 and @20: own .601 and .842, both .785 and .907, as the walk alone within .005; before the walk
began at names, both found more than either). So what no triples were found in, or no walk leads to, is still found.
Conversations are untouched by this: their turns carry no triples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from mnemos.core.clock import Time
from mnemos.text.recall.rank import UNEXPLAINED
from mnemos.text.recall.search import Found
from mnemos.text.recipes.base import Parts
from mnemos.text.records import Filter, Kind, Scope
from mnemos.text.results import Hit

if TYPE_CHECKING:
    from mnemos.text.recipes.named import NamedWalk

_FIRST, _PACE = 2.5, 2.0
"""Place of own recall's best hit among those of the walk, and of each further one behind it."""


class Mnemos:
    """See the module's text; it answers to what `Memory` asks of a `Recipe`."""

    name = "mnemos"
    kinds = (Kind.PASSAGE,)

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    @cached_property
    def _walk(self) -> NamedWalk:
        from mnemos.text.recipes.named import NamedWalk  # memories without documents never need it

        walk = NamedWalk(self.parts)
        walk.kinds = self.kinds
        return walk

    def absorb(self, scope: Scope, progress: Callable[[int], None] | None = None) -> int:
        """Derive the triples of new passages; returns how many still wait, because a model failed."""
        return self._walk.absorb(scope, progress)

    def consolidate(self, scope: Scope, now: Time) -> int:
        """`absorb`."""
        return self._walk.consolidate(scope, now)

    def keeping(self, scope: Scope) -> AbstractContextManager[None]:
        """As of any recipe."""
        return self._walk.keeping(scope) if self.parts.store.packed(scope) else nullcontext()

    def pending(self, scope: Scope) -> int:
        """How many passages have no triples yet."""
        return self._walk.pending(scope)

    def search(self, text: str, where: Filter, k: int, now: Time, explain: bool) -> list[Hit]:
        """Own recall's hits; with passages among them, in turns with those of the walk."""
        return self._found(text, where, k, now, explain).hits

    def found(self, text: str, where: Filter, k: int, now: Time) -> Found:
        """The hits of `search`, beside how own recall reads the question and how sure it is."""
        return self._found(text, where, k, now, explain=False)

    def _found(self, text: str, where: Filter, k: int, now: Time, explain: bool) -> Found:
        recall = self.parts.recall
        own = recall.search(text, recall.embedded(text, where.scope), where, k, now, explain=explain)
        if not any(hit.kind is Kind.PASSAGE for hit in own.hits):
            return own
        walked = self._walk.search(text, replace(where, kinds=self.kinds), k, now, explain)
        return replace(own, hits=in_turns(own.hits, walked)[:k])


def in_turns(own: Sequence[Hit], walked: Sequence[Hit]) -> list[Hit]:
    """Both lists in one, each hit at the better of its two places, with the reasons of both.

    Scores are own recall's where it found the hit, and never rise on the way down.
    """
    rank = {hit.id: _FIRST + _PACE * n for n, hit in enumerate(own)}
    for n, hit in enumerate(walked):
        rank[hit.id] = min(n, rank.get(hit.id, n))
    mine, theirs = ({hit.id: hit for hit in hits} for hits in (own, walked))
    lowest, merged = 1.0, []
    for id in sorted(rank, key=rank.__getitem__):
        hit = mine.get(id) or theirs[id]
        lowest = min(lowest, hit.score)
        both = id in mine and id in theirs
        why = (*(one for one in hit.why if one != UNEXPLAINED), *theirs[id].why) if both else hit.why
        parts = {**hit.parts, **theirs[id].parts} if both else hit.parts
        merged.append(replace(hit, score=lowest, why=why, parts=parts))
    return merged
