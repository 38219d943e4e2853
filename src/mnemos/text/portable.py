"""Export and import: everything a store knows, in one file that any program can read.

JSON lines: a header, then every operation of the log in order with the records it left, then the
settings, the vectors (float16, base64), and what recipes derived. Reading it into an empty store gives
the same ids, times, history and search results.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnemos.core.errors import InvalidInput, NotFound, StoreFull
from mnemos.text.facts import slot_of
from mnemos.text.index.corpus import Corpus
from mnemos.text.records import VERBATIM, Operation, OperationKind, Record, Scope, dumps, from_dict
from mnemos.text.store import Analysis, Store, Trace, Unit, Write
from mnemos.text.write import Encoder

if TYPE_CHECKING:
    from mnemos.text.recall.search import Recall

FORMAT = 1


def export(store: Store, path: Path, model: str, progress: Callable[[int], None] | None = None) -> int:
    """Write the store to `path`, whole or not at all. Returns the number of operations.

    Raises:
        StoreFull: the file could not be written; nothing is left of it.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    count = 0
    try:
        with temporary.open("wb") as file, store.reading():
            digest = hashlib.blake2b(digest_size=16)

            def put(line: dict[str, Any]) -> None:
                data = (dumps(line) + "\n").encode()
                digest.update(data)
                file.write(data)

            put({"mnemos": FORMAT, "model": model})
            for operation, records, keys in store.log():
                put(_line(operation, records, keys))
                count += 1
                if progress:
                    progress(count)
            for name, value in store.settings():
                put({"setting": name, "value": value})
            for name, id, hash, vector in store.all_vectors():
                row = {
                    "vector": b64encode(vector.tobytes()).decode(),
                    "of": id,
                    "model": name,
                    "hash": hash.hex(),
                }
                put(row)
            for scope, recipe, trace in store.all_traces():
                put(_trace_line(scope, recipe, trace))
            put({"end": digest.hexdigest()})
        temporary.replace(path)
    except OSError as why:
        temporary.unlink(missing_ok=True)
        raise StoreFull(f"{path} cannot be written ({why.strerror}): free some space or choose another place") from None
    return count


def _line(operation: Operation, records: list[dict[str, Any]], keys: Mapping[str, str]) -> dict[str, Any]:
    return {
        "operation": operation.id, "kind": str(operation.kind), "at": operation.at, "user": operation.scope.user,
        "agent": operation.scope.agent, "note": dict(operation.note), "records": records, "keys": dict(keys),
    }  # fmt: skip


def _trace_line(scope: Scope, recipe: str, trace: Trace) -> dict[str, Any]:
    line: dict[str, Any] = {
        "trace": trace.key, "recipe": recipe, "user": scope.user, "agent": scope.agent, "of": list(trace.sources),
        "body": dict(trace.body), "by": trace.by,
    }  # fmt: skip
    if trace.vectors is not None:
        vectors = b64encode(trace.vectors.tobytes()).decode()
        line |= {"model": trace.model, "dim": trace.vectors.shape[1], "vectors": vectors}
    return line


def _read_trace(line: Mapping[str, Any]) -> tuple[Scope, str, Trace]:
    vectors = None
    if "vectors" in line:
        vectors = np.frombuffer(b64decode(line["vectors"]), np.float16).reshape(-1, line["dim"])
    trace = Trace(line["trace"], tuple(line["of"]), line["body"], line["by"], vectors, line.get("model", ""))
    return Scope(line["user"], line["agent"]), line["recipe"], trace


def import_(store: Store, path: Path, encoder: Encoder, progress: Callable[[int], None] | None = None) -> int:
    """Read an export into the store: operations that are there already are left out. All or nothing.

    Raises:
        InvalidInput: not an export, damaged, or made by a newer version; nothing came in.
    """
    vectors = _vectors(path)
    count = 0
    with store.writing():
        known = {operation.id for operation, _, _ in store.log()}
        derived = {(scope, recipe, trace.key) for scope, recipe, trace in store.all_traces()}
        for number, line in _lines(path):
            if "setting" in line:
                if store.setting(line["setting"]) is None:
                    store.setting(line["setting"], line["value"])
            elif "trace" in line:
                try:
                    scope, recipe, trace = _read_trace(line)
                except (KeyError, TypeError, ValueError) as why:
                    raise InvalidInput(f"{path}, line {number}: damaged trace ({why}); nothing was imported") from None
                if (scope, recipe, trace.key) not in derived:
                    store.put_traces(scope, recipe, [trace])
            elif "operation" in line and line["operation"] not in known:
                try:
                    operation, found = _operation(line, encoder, vectors)
                    writes = iter(found)
                except (KeyError, TypeError, ValueError) as why:
                    raise InvalidInput(f"{path}, line {number}: damaged ({why}); nothing was imported") from None
                store.commit(operation, ())  # also where nothing is left of it
                for erased, run in groupby(line["records"], lambda data: "erased" in data):
                    part = list(run)
                    if erased:
                        store.commit(operation, (), [data["id"] for data in part])
                    else:
                        store.commit(operation, [next(writes) for _ in part])
                count += 1
                if progress:
                    progress(count)
    return count


def _operation(
    line: Mapping[str, Any], encoder: Encoder, vectors: Mapping[str, list[tuple[str, Unit]]]
) -> tuple[Operation, list[Write]]:
    scope = Scope(line["user"], line["agent"])
    operation = Operation(line["operation"], OperationKind(line["kind"]), line["at"], scope, line["note"])
    records = [from_dict(data) for data in line["records"] if "erased" not in data]
    plain = Encoder(None)
    writes = []
    for record, analysis in zip(records, plain.analyse(records, None), strict=True):
        units = [unit for model, unit in vectors.get(record.id, ()) if model == encoder.model]
        analysis = Analysis(analysis.terms, analysis.traits, analysis.mentions, encoder.model, tuple(units))
        writes.append(Write(record, analysis, line["keys"].get(record.id, ""), slot_of(record)))
    return operation, writes


def _vectors(path: Path) -> dict[str, list[tuple[str, Unit]]]:
    found: dict[str, list[tuple[str, Unit]]] = {}
    for number, line in _lines(path):
        if "vector" in line:
            try:
                unit = Unit(bytes.fromhex(line["hash"]), np.frombuffer(b64decode(line["vector"]), np.float16))
                found.setdefault(line["of"], []).append((line["model"], unit))
            except (KeyError, ValueError) as why:
                raise InvalidInput(f"{path}, line {number}: damaged vector ({why}); nothing was imported") from None
    return found


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    digest, end = hashlib.blake2b(digest_size=16), None
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                try:
                    line = json.loads(text.decode())
                except (ValueError, RecursionError):
                    line = None
                if not isinstance(line, dict) or (number == 1 and "mnemos" not in line):
                    what = "is no mnemos export" if number == 1 else f"is cut off or damaged at line {number}"
                    raise InvalidInput(f"{path} {what}; nothing was imported (other formats: `mnemos import`)")
                if number == 1 and line["mnemos"] != FORMAT:
                    raise InvalidInput(
                        f"{path} has format {line['mnemos']}, this version reads {FORMAT}: upgrade mnemos"
                    )
                end = line.get("end", "") if "mnemos" not in line else None
                if end and end != digest.hexdigest():
                    raise InvalidInput(f"{path} was changed since it was written; nothing was imported")
                digest.update(text)
                yield number, line
        if not end:
            raise InvalidInput(f"{path} is cut off at its end; nothing was imported")
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as why:
        raise InvalidInput(f"{path} cannot be read ({why}); nothing was imported") from None


def rewritten(record: Record, encoder: Encoder) -> Write:
    """The write that makes a record's tables again."""
    (analysis,) = encoder.analyse([record], None)
    return Write(record, analysis, slot=slot_of(record))


def check_index(store: Store, recall: Recall, encoder: Encoder) -> list[str]:
    """Where the index that recall holds differs from one made afresh."""
    problems = []
    for size in store.scopes():
        with store.reading(), recall._lock:
            held = recall.corpus(size.scope)
            fresh = Corpus(size.scope, VERBATIM, encoder.model)
            fresh.sync(store)
        name = f"the index of {size.scope.user or 'the unnamed user'}"
        if sorted(held.ids) != sorted(fresh.ids):
            problems.append(f"{name} holds {len(held)} records, the store {len(fresh)}")
        elif sorted(held.vectors.keys.tolist()) != sorted(fresh.vectors.keys.tolist()):
            problems.append(f"{name} holds {len(held.vectors)} vectors, the store {len(fresh.vectors)}")
        if encoder.model and (missing := len(fresh) - len(np.unique(fresh.vectors.owners))):
            problems.append(f"{missing} records have no vector by {encoder.model} yet: `mnemos consolidate` makes them")
    return problems
