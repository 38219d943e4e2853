"""Search: follow the store, seed, spread, rank, and say why."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Time
from mnemos.text.encode.fact_questions import asks_for, rests_on
from mnemos.text.index.corpus import Corpus
from mnemos.text.recall import query as reading
from mnemos.text.recall.confidence import confidence
from mnemos.text.recall.model import FEATURES, weights
from mnemos.text.recall.query import Query
from mnemos.text.recall.rank import Ranked, diversify, rank, reasons
from mnemos.text.recall.seed import Signals, seed
from mnemos.text.recall.spread import NAMES as SPREAD
from mnemos.text.recall.stated import Stated, sources
from mnemos.text.records import VERBATIM, Filter, Kind, Record, Scope
from mnemos.text.results import Hit
from mnemos.text.store import Store
from mnemos.text.write import Encoder

_GROUPS = (VERBATIM, (Kind.FACT, Kind.SUMMARY, Kind.SESSION, Kind.ENTITY))
"""Kinds that share statistics: what was said, and what was made of it."""
_OPEN_SCOPES = 64
_TOLD = 3
"""Statements of one fact that are brought forward, the latest."""
_NAMED = 10
"""Hits that the reasons of others may point to."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one search came to."""

    hits: list[Hit]
    query: Query | None
    """The question as read; None where nothing is stored."""
    seen: tuple[tuple[Query, Signals, Ranked], ...]
    """What each group of kinds was ranked by."""
    facts: tuple[Record, ...] = ()
    """Those that the question asks for, the latest first."""

    @property
    def confidence(self) -> float:
        """Estimated probability that the answer is in memory."""
        return max((confidence(*one) for one in self.seen), default=0.0)


class Recall:
    """Finds records; holds one corpus per scope and group of kinds, the latest used ones.

    Args:
        store: what the corpora follow.
        encoder: what embeds questions.
        index_path: prefix of the files that keep large vector indexes.
    """

    def __init__(self, store: Store, encoder: Encoder, index_path: Path) -> None:
        self._store = store
        self._encoder = encoder
        self._index_path = index_path
        self._lock = threading.RLock()
        self._corpora: OrderedDict[tuple[Scope, tuple[Kind, ...]], Corpus] = OrderedDict()

    def embedded(self, text: str, scope: Scope) -> NDArray[np.float32] | None:
        """[dim] the question as the speakers of `scope` would put it (`as_told`); None without an embedder."""
        if self._encoder.embedder is None:
            return None
        with self._store.reading():
            speakers = self.corpus(scope).speakers.names
        return self._encoder.embed_query(reading.as_told(text, speakers))

    def search(
        self,
        text: str,
        vector: NDArray[np.float32] | None,
        where: Filter,
        k: int,
        now: Time,
        *,
        explain: bool = False,
    ) -> Found:
        """The `k` best records for `text`, best first. The index and the texts are of one moment.

        Args:
            vector: what `embedded` makes of `text`; None to look for its words alone.
        """
        hits: list[Hit] = []
        seen: list[tuple[Query, Signals, Ranked]] = []
        with self._store.reading(), self._lock:
            facts, told = self._facts(text, where, now)
            for group in _GROUPS:
                kinds = tuple(kind for kind in where.kinds if kind in group)
                corpus = self.corpus(where.scope, group) if kinds else ()
                if isinstance(corpus, Corpus) and len(corpus):
                    narrower = where if kinds == where.kinds else replace(where, kinds=kinds)
                    ranked = self.rank(text, vector, corpus, narrower, now, k, told)
                    hits += self._hits(corpus, *ranked, k, explain)
                    seen.append(ranked)
        if len({kind in VERBATIM for kind in where.kinds}) > 1:
            hits.sort(key=lambda hit: -hit.score)
        return Found(hits[:k], seen[0][0] if seen else None, tuple(seen), tuple(facts))

    def _facts(self, text: str, where: Filter, now: Time) -> tuple[list[Record], dict[str, str]]:
        """The facts that answer `text`; and those that an answer starts from, by the id of a record that states one."""
        slots = rests_on(text)
        if not slots:
            return [], {}
        asked = asks_for(text)
        stated = Stated(self._store, where, now, self.corpus(where.scope).speakers.names)
        facts = stated.facts(text, asked)
        premises = stated.facts(text, slots - asked)
        return facts, {id: fact.text for fact in (*premises, *facts) for id in sources(fact)[-_TOLD:]}

    def _hits(self, corpus: Corpus, query: Query, signals: Signals, ranked: Ranked, k: int, explain: bool) -> list[Hit]:
        chosen = diversify(ranked.scores, corpus.block[signals.places], k)
        rows = signals.rows[chosen]
        versions = corpus.version[rows].tolist()
        bodies = self._store.bodies(versions)
        said = [bodies[version] for version in versions]
        named = dict(zip(rows[:_NAMED].tolist(), said, strict=False))
        why = reasons(query, corpus, signals, ranked, chosen, named)
        odds = ranked.scores[chosen].astype(np.float64)
        scores = 1 / (1 + np.exp(np.maximum(-odds, -50)))
        parts = [_parts(signals, ranked, n) if explain else {} for n in chosen.tolist()]
        return [
            Hit(
                body["id"], body["text"], score, Kind(body["kind"]), body.get("speaker", ""), body.get("at"),
                body.get("session", ""), body.get("metadata", {}), reason, part,
            )
            for body, score, reason, part in zip(said, scores.tolist(), why, parts, strict=True)
        ]  # fmt: skip

    def rank(
        self,
        text: str,
        vector: NDArray[np.float32] | None,
        corpus: Corpus,
        where: Filter,
        now: Time,
        k: int,
        told: Mapping[str, str],
    ) -> tuple[Query, Signals, Ranked]:
        """The question as read, its candidates with their signals, and their scores."""
        query = reading.read(text, corpus, now, vector, told)
        signals = seed(query, corpus, corpus.mask(where, now), k)
        return query, signals, rank(query, corpus, signals)

    def corpus(self, scope: Scope, group: tuple[Kind, ...] = VERBATIM) -> Corpus:
        """The corpus of a scope, caught up with the store. To be called within `store.reading()`."""
        with self._lock:
            corpus = self._corpora.get((scope, group))
            if corpus is None:
                model = self._encoder.model if group == VERBATIM else ""
                corpus = self._corpora[scope, group] = Corpus(scope, group, model)
            self._corpora.move_to_end((scope, group))
            while len(self._corpora) > _OPEN_SCOPES:
                self._corpora.popitem(last=False)
            if corpus.sync(self._store) or corpus.vectors.ivf is None:
                self._keep_index(corpus)
            return corpus

    def _keep_index(self, corpus: Corpus) -> None:
        if not corpus.vectors.due():
            return
        path = self._index_file(corpus)
        if (
            corpus.vectors.ivf is None
            and corpus.vectors.load(path, self._stamp(path, corpus))
            and not corpus.vectors.due()
        ):
            return
        if corpus.vectors.build():
            corpus.vectors.save(path, self._stamp_now(corpus))

    def _stamp(self, path: Path, corpus: Corpus) -> bytes:
        """What a usable index file must carry: its model, and an operation that this log has too."""
        try:
            with path.open("rb") as file:
                file.readline()
                number = int(file.readline().split(b" ")[0])
        except (OSError, ValueError, IndexError):
            return b"none"
        return self._mark(corpus, number)

    def _stamp_now(self, corpus: Corpus) -> bytes:
        return self._mark(corpus, int(corpus.version[-1]))

    def _mark(self, corpus: Corpus, number: int) -> bytes:
        return f"{number} {self._store.mark(number)} {corpus.model}".encode()

    def _index_file(self, corpus: Corpus) -> Path:
        name = hashlib.blake2b(f"{corpus.scope.user}\x1f{corpus.scope.agent}".encode(), digest_size=8).hexdigest()
        return self._index_path.with_name(f"{self._index_path.name}-index-{name}")

    def index_files(self) -> list[Path]:
        """The index files on disk, of every scope."""
        return sorted(self._index_path.parent.glob(f"{self._index_path.name}-index-*"))

    def drop_index_files(self) -> int:
        """Remove them: after a hard forget nothing may hold what they were made of."""
        files = self.index_files()
        for file in files:
            file.unlink(missing_ok=True)
        with self._lock:
            self._corpora.clear()
        return len(files)


def hit_of(record: Record, score: float, why: tuple[str, ...], parts: Mapping[str, float] | None = None) -> Hit:
    """`record` as a hit."""
    return Hit(
        record.id, record.text, score, record.kind, record.speaker, record.at, record.session, record.metadata, why,
        parts or {},
    )  # fmt: skip


def _parts(signals: Signals, ranked: Ranked, n: int) -> dict[str, float]:
    model = weights()[f"{signals.kind}-spread"]
    values = model.parts(np.concatenate([ranked.first[n], ranked.second[n]]))
    names: Sequence[str] = (*FEATURES, *(f"around: {name}" for name in SPREAD))
    found = {name: round(float(value), 4) for name, value in zip(names, values, strict=True)}
    return found | {name: round(float(more[n]), 4) for name, more in ranked.more.items() if more[n]}
