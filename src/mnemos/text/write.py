"""The way in: from what the user gives to what the store is given.

Everything here happens before the transaction: reading dates, names and facts out of a text,
cutting it into units, embedding those that were never embedded. The store then gets it whole.
"""

from __future__ import annotations

import hashlib
import logging
from base64 import b32encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.core.clock import Time, parse_time
from mnemos.core.errors import InvalidInput
from mnemos.text.encode import analyse
from mnemos.text.encode.chunk import passages
from mnemos.text.encode.dates import find_dates
from mnemos.text.encode.embedder import Embedder
from mnemos.text.encode.entities import canonical, entities
from mnemos.text.encode.facts import Fact, facts
from mnemos.text.records import VERBATIM, Edge, EdgeKind, Item, Kind, Record, Scope, dumps
from mnemos.text.store import Analysis, Store, Unit, Write

log = logging.getLogger(__name__)

LONGEST = 20_000_000
"""Characters one memory may have."""
_WHOLE = 1200
"""Characters up to which a text is embedded in one piece: about what the encoder reads."""
_UNITS = 128
"""Pieces of a long text that are embedded; words find the rest."""
_FACT_LIMIT = 4000
"""Characters beyond which a text is a document, not somebody telling about their life."""
_BATCH = 2048
"""Texts that are embedded together: of more, more are equally long."""
_FEW = 256
"""Records up to which nothing is embedded while they are read."""
_ITEM_FIELDS = ("text", "speaker", "at", "session", "metadata", "kind", "source", "key")


# -- what the user gives -------------------------------------------------------------------


def as_item(value: str | Mapping[str, Any] | Item) -> Item:
    """An `Item` of what `add` was given, checked and cleaned.

    Raises:
        InvalidInput: an unknown field, a wrong type, an empty or overlong text, an unreadable time.
    """
    if isinstance(value, Item):
        fields = {name: getattr(value, name) for name in _ITEM_FIELDS}
    elif isinstance(value, str):
        fields = {"text": value}
    elif isinstance(value, Mapping):
        unknown = set(value) - set(_ITEM_FIELDS)
        if unknown:
            raise InvalidInput(
                f"no field {sorted(unknown, key=str)[0]!r} in a memory: there are {', '.join(_ITEM_FIELDS)}"
            )
        fields = dict(value)
    else:
        raise InvalidInput(f"cannot remember a {type(value).__name__}: give text, a dict or an Item")
    text = clean(fields.get("text"), "text")
    if not text.strip():
        raise InvalidInput("text is empty: there is nothing to remember")
    if len(text) > LONGEST:
        raise InvalidInput(f"text has {len(text):,} characters, over {LONGEST:,}: `mnemos import` it as a document")
    at = fields.get("at")
    return Item(
        text=text,
        speaker=clean(fields.get("speaker", ""), "speaker"),
        at=None if at is None or at == "" else parse_time(at),
        session=clean(fields.get("session", ""), "session"),
        metadata=_metadata(fields.get("metadata")),
        kind=_kind(fields.get("kind", Kind.TURN)),
        source=clean(fields.get("source", "user"), "source") or "user",
        key=clean(fields.get("key", ""), "key"),
    )


def clean(value: Any, name: str) -> str:
    """A string that UTF-8 can hold: lone surrogates become U+FFFD, everything else stays.

    Raises:
        InvalidInput: not a string.
    """
    if value is None and name != "text":
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} is {value!r}: give a string")
    return value if value.isascii() else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def counted(value: Any, name: str) -> int:
    """A number of records to return. Raises InvalidInput for anything but an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name} is {value!r}: give how many records you want, at least 1")
    return min(value, 2**62)


def _metadata(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"metadata is {value!r}: give a dict that JSON can hold")
    try:
        dumps(dict(value)).encode()
    except (TypeError, ValueError, RecursionError) as why:
        raise InvalidInput(f"metadata is not JSON ({why}): look at the values of {[*value][:9]}") from None
    return dict(value)


def _kind(value: Any) -> Kind:
    if value not in VERBATIM:
        names = ", ".join(VERBATIM)
        raise InvalidInput(f"kind is {value!r}: what you add is one of {names}; the other kinds are derived")
    return Kind(value)


# -- what the store gets -------------------------------------------------------------------


class Encoder:
    """Turns records into writes: analysis, vectors, derived records.

    Args:
        embedder: None for a memory that works by words alone.
    """

    def __init__(self, embedder: Embedder | None) -> None:
        self.embedder = embedder
        self._asked: tuple[str, NDArray[np.float32]] | None = None

    @property
    def model(self) -> str:
        """The embedder's name; empty without one."""
        return self.embedder.name if self.embedder else ""

    def read(self, record: Record) -> Record:
        """`record` with what can be read out of its text: dates, and edges to the things it names."""
        if record.kind not in VERBATIM or len(record.text) > LONGEST:
            return record
        dates = find_dates(record.text, record.at)
        names = entities(record.text[: _FACT_LIMIT * 4], record.speaker)
        data: dict[str, Any] = dict(record.data)
        data.pop("dates", None)
        data.pop("entities", None)
        if dates:
            data["dates"] = [[d.phrase, d.start, d.end] for d in dates]
        if names:
            data["entities"] = names
        edges = [e for e in record.edges if e.kind is not EdgeKind.MENTIONS]
        edges += [Edge(EdgeKind.MENTIONS, entity_id(record.scope, name)) for name in names]
        return replace(record, data=data, edges=tuple(dict.fromkeys(edges)))

    def analyse(self, records: Sequence[Record], store: Store | None) -> list[Analysis]:
        """The index's view of each record; texts that `store` knows vectors of are not embedded again."""
        return self._analyses(records, [_seen(r) for r in records], self._units(_texts(records), store)())

    def _analyses(
        self, records: Sequence[Record], seen: Sequence[_Seen], units: Mapping[str, tuple[Unit, ...]]
    ) -> list[Analysis]:
        return [Analysis(*s, self.model, units.get(r.id, ())) for r, s in zip(records, seen, strict=True)]

    def _units(
        self,
        texts: Mapping[str, str],
        store: Store | None,
        pool: Executor | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Callable[[], dict[str, tuple[Unit, ...]]]:
        """The units of texts by their ids; with a `pool`, they are embedded there until this is called."""
        embedder = self.embedder
        if embedder is None:
            return dict
        pieces = {id: [(_unit_hash(piece), piece) for piece in cut(text)] for id, text in texts.items()}
        hashed = {h: piece for parts in pieces.values() for h, piece in parts}
        known = store.cached(self.model, list(hashed)) if store else {}
        missing = [h for h in hashed if h not in known]
        batches = [missing[start : start + _BATCH] for start in range(0, len(missing), _BATCH)]
        vectors = (pool.map if pool else map)(embedder.embed, [[hashed[h] for h in batch] for batch in batches])

        def finish() -> dict[str, tuple[Unit, ...]]:
            for n, (batch, found) in enumerate(zip(batches, vectors, strict=True), 1):
                known.update(zip(batch, found.astype(np.float16), strict=True))
                if progress and n < len(batches):
                    progress(len(texts) * n // len(batches))
            return {id: tuple(Unit(h, known[h]) for h, _ in parts) for id, parts in pieces.items()}

        return finish

    def prepare(
        self,
        fresh: Mapping[str, Item],
        make: Callable[[str, Item], Record],
        store: Store,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[list[Write], dict[str, list[Fact]]]:
        """New memories by id as writes, read and embedded; and the facts that each states, by id.

        Args:
            make: the record of an id and an item.
            progress: called with how many of them the embedder has done, and with all at the end.
        """
        with ExitStack() as stack:
            pool = None
            if len(fresh) > _FEW:
                pool = ThreadPoolExecutor(1)
                stack.callback(pool.shutdown, cancel_futures=True)
            # every text is on its way to the embedder before the first one is read
            units = self._units({id: item.text for id, item in fresh.items()}, store, pool, progress)
            records = [self.read(make(id, item)) for id, item in fresh.items()]
            seen = [_seen(record) for record in records]
            stated = {record.id: derive(record) for record in records}
            analyses = self._analyses(records, seen, units())
        if progress and fresh:
            progress(len(fresh))
        return list(map(Write, records, analyses, (item.key for item in fresh.values()))), stated

    def embed_query(self, text: str) -> NDArray[np.float32] | None:
        """[dim] of a question; None without an embedder. The last one is remembered: two ways of recall may ask."""
        if self.embedder is None:
            return None
        asked = self._asked
        if asked is None or asked[0] != text:
            self._asked = asked = text, self.embedder.embed([text])[0]
        return asked[1]


_Seen = tuple[NDArray[np.uint32], int, NDArray[np.uint32]]
"""Terms, traits and mentions."""


def _seen(record: Record) -> _Seen:
    names = [analyse.name_hash(canonical(name)) for name in record.data.get("entities", ())]
    return analyse.terms(record.text), _traits(record), np.array(names, np.uint32)


def _texts(records: Sequence[Record]) -> dict[str, str]:
    """What of `records` is embedded, by id."""
    return {record.id: record.text for record in records if record.kind in VERBATIM}


def cut(text: str) -> list[str]:
    """The pieces of a text that get a vector each."""
    if len(text) <= _WHOLE:
        return [text]
    spans = passages(text, limit=1000)
    if len(spans) > _UNITS:
        log.warning(
            "a text of %s characters is found by meaning in its first part only, by words in all",
            f"{len(text):,}",
        )
    return [text[a:b] for a, b in spans[:_UNITS]] or [text[:1000]]


def derive(record: Record) -> list[Fact]:
    """The facts that a verbatim record states."""
    if record.kind is not Kind.TURN or record.quarantined or len(record.text) > _FACT_LIMIT:
        return []
    return facts(record.text, record.speaker, record.at)


def entity_record(record: Record, name: str, now: Time) -> Record:
    """The entity of a `name` that `record` mentions."""
    return Record(
        id=entity_id(record.scope, name), kind=Kind.ENTITY, text=name, scope=record.scope, source=record.source,
        recorded_at=now, data={"canonical": canonical(name)},
    )  # fmt: skip


@lru_cache(maxsize=50_000)
def entity_id(scope: Scope, name: str) -> str:
    """The id of an entity: a digest of its canonical name within its scope."""
    return "E" + _digest(scope.user, scope.agent, canonical(name))


def fact_slot(subject: str, relation: str) -> str:
    """What two facts share when the newer one supersedes the older."""
    return _digest(canonical(subject), canonical(relation))


def _digest(*parts: str) -> str:
    whole = hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=15).digest()
    return b32encode(whole).decode()


def _unit_hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _traits(record: Record) -> int:
    traits = analyse.Trait(0)
    if "?" in record.text or "？" in record.text or "؟" in record.text:
        traits |= analyse.Trait.QUESTION
    if record.data.get("dates"):
        traits |= analyse.Trait.DATED
    return int(traits)
