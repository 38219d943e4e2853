"""Where triples come from: a language model in two calls, the local extractor, or a file that somebody made."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mnemos.core.errors import EndpointError, InvalidInput, NotFound
from mnemos.text.encode.openie import Extractor
from mnemos.text.llm import BadReply, LanguageModel
from mnemos.text.prompts.hipporag2 import Names, Triples, name_messages, triple_messages
from mnemos.text.records import Record
from mnemos.text.store import Trace

LOCAL_BATCH = 256
"""Passages whose triples are made durable together."""
_MODEL_BATCH = 16
"""Passages whose triples are asked for before they are made durable."""
_MOST = 200
"""Names and triples that are kept of a passage."""


def by_extractor(records: Sequence[Record], extractor: Extractor) -> Iterator[list[Trace]]:
    """Traces of the local extractor."""
    for start in range(0, len(records), LOCAL_BATCH):
        yield extracted_here(records[start : start + LOCAL_BATCH], extractor)


def extracted_here(records: Sequence[Record], extractor: Extractor) -> list[Trace]:
    """One trace a record, by the local extractor; a turn is about who says it."""
    found = extractor.extract([r.text for r in records], [r.speaker for r in records])
    return [trace_of(r.id, one.entities, one.triples, "local") for r, one in zip(records, found, strict=True)]


def by_model(records: Sequence[Record], llm: LanguageModel, extractor: Extractor) -> Iterator[list[Trace]]:
    """Traces of a language model, two calls a record: its names, then its triples.

    A record whose replies cannot be read is extracted here instead, so that it is not asked for again and again.

    Raises:
        EndpointError: the model is gone; what it had answered of the batch was yielded before.
    """

    def ask(record: Record) -> Trace:
        text = f"{record.speaker}: {record.text}" if record.speaker else record.text
        names = _strings(llm.structured(name_messages(text), Names).entities)
        triples = llm.structured(triple_messages(text, names), Triples).triples
        return trace_of(record.id, names, triples, llm.model)

    for start in range(0, len(records), _MODEL_BATCH):
        batch = records[start : start + _MODEL_BATCH]
        replies = llm.map([lambda record=record: ask(record) for record in batch])  # type: ignore[misc]
        unreadable = [r for r, reply in zip(batch, replies, strict=True) if isinstance(reply, BadReply)]
        done = [reply for reply in replies if isinstance(reply, Trace)]
        if done or unreadable:
            yield [*done, *extracted_here(unreadable, extractor)]
        for reply in replies:
            if isinstance(reply, EndpointError) and not isinstance(reply, BadReply):
                raise reply


def trace_of(id: str, entities: Any, triples: Any, by: str) -> Trace:
    """The trace of one record: its names and triples as they were given, what is no text left out."""
    usable = [
        _strings(triple) for triple in _listed(triples)
        if isinstance(triple, Sequence) and not isinstance(triple, str) and len(triple) == 3
    ]  # fmt: skip
    body = {"entities": _strings(entities)[:_MOST], "triples": [t for t in usable if len(t) == 3][:_MOST]}
    return Trace(id, (id,), body, by)


def read_openie(path: str | Path) -> dict[str, Mapping[str, Any]]:
    """The documents of a file of triples, by each form of text that a record of it may have.

    Raises:
        InvalidInput: the file has another form.
        NotFound: no such file.
    """
    known: dict[str, Mapping[str, Any]] = {}
    for doc in _read(Path(path)):
        title, text = str(doc.get("title", "")), str(doc.get("text", ""))
        for form in (doc.get("passage"), f"{title}\n{text}", text):
            if isinstance(form, str) and form.strip():
                known.setdefault(form.strip(), doc)
    return known


def _read(path: Path) -> list[Mapping[str, Any]]:
    try:
        raw = path.read_bytes()
        data = json.loads(lzma.decompress(raw) if path.suffix == ".xz" else raw)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}: name a file of triples") from None
    except (OSError, ValueError, RecursionError, lzma.LZMAError) as why:
        raise InvalidInput(f"{path} is no JSON that can be read ({why})") from None
    docs = data.get("docs") if isinstance(data, Mapping) else None
    if not isinstance(docs, list) or not all(isinstance(doc, Mapping) for doc in docs):
        raise InvalidInput(f'{path} holds no triples: its form is {{"docs": [{{"passage", "extracted_triples"}}]}}')
    return docs


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _strings(value: Any) -> list[str]:
    # a lone surrogate, which JSON may hold, is no text
    return [one.encode("utf-8", "replace").decode() for one in _listed(value) if isinstance(one, str)]
