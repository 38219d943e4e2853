"""What turns text into vectors: one narrow protocol, and the names that choose an implementation.

    resolve("auto")                          the best local one that can run here, or None
    resolve("minilm")                        all-MiniLM-L6-v2; "minilm-int8", "minilm-f32" fix the precision
    resolve("fast")                          a static table distilled from it on this machine
    resolve("openai:text-embedding-3-small") any OpenAI-compatible endpoint; "...@512" asks for 512 of them
    resolve("none")                          no vectors: the memory works by words, entities and time

Loading is lazy: `resolve` reads no weights and opens no connection, the first `embed` does.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import InvalidInput, MissingExtra

Vectors = NDArray[np.float32]

NAMES = ("auto", "none", "minilm", "minilm-int8", "minilm-f32", "fast", "openai:<model>")
"""What `resolve` understands."""


@runtime_checkable
class Embedder(Protocol):
    """Anything that turns texts into vectors whose dot product is their similarity."""

    @property
    def name(self) -> str:
        """Identifies the model and its precision; stored beside every vector, and two vectors are
        compared only if their names are equal."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors [n, dim] in the order of `texts`, rows of unit L2 norm; [0, dim] for no texts."""
        ...


def resolve(
    name: str | Embedder | None,
    *,
    cache_dir: Path | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
) -> Embedder | None:
    """The embedder called `name`, unloaded; None for "none", None, or "auto" where nothing local can run.

    Args:
        name: one of `NAMES`, or a ready embedder, which is returned as it is.
        cache_dir: where composed graphs and distilled tables are kept; `default_cache_dir()` if None.
        base_url: the endpoint of "openai:<model>"; the client's default if None.
        api_key: its key; the client's environment variable if None.

    Raises:
        InvalidInput: no such name.
        MissingExtra: a name was given whose packages are not installed ("auto" never raises).
    """
    if name is None or name == "none":
        return None
    if not isinstance(name, str):
        if isinstance(name, Embedder):
            return name
        raise InvalidInput(f"{name!r} is no embedder: it needs `name`, `dim` and `embed(texts)`")
    folder = cache_dir or default_cache_dir()
    if name == "auto":
        return _auto(folder)
    if name in ("minilm", "minilm-int8", "minilm-f32"):
        from mnemos.text.encode.minilm import MiniLM, best_precision

        precision = name.partition("-")[2] or best_precision()
        _require(name, "local", "tokenizers", "safetensors", *(_ONNX if precision == "int8" else ()))
        return MiniLM("int8" if precision == "int8" else "f32", cache_dir=folder)
    if name == "fast":
        from mnemos.text.encode.static import Static

        _require(name, "local", "tokenizers", "safetensors")
        return Static(cache_dir=folder)
    if name.startswith("openai:"):
        from mnemos.text.encode.endpoint import Endpoint

        _require(name, "llm", "openai")
        model, dim = _model_and_dim(name)
        return Endpoint(model, dim=dim, base_url=base_url, api_key=api_key)
    raise InvalidInput(f"no embedder {name!r}: choose one of {', '.join(NAMES)}")


def default_cache_dir() -> Path:
    """The user's cache folder for mnemos, by the custom of the platform. It is not created."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mnemos"


_ONNX = ("onnxruntime", "onnx")


def installed(*packages: str) -> bool:
    """Whether all `packages` can be imported, without importing them."""
    return all(find_spec(package) is not None for package in packages)


def _auto(folder: Path) -> Embedder | None:
    if not installed("tokenizers", "safetensors"):
        return None
    from mnemos.text.encode.minilm import MiniLM, best_precision, find_weights

    weights = find_weights()
    return MiniLM(best_precision(), cache_dir=folder, weights=weights) if weights else None


def _require(name: str, extra: str, *packages: str) -> None:
    if not installed(*packages):
        raise MissingExtra(f"the embedder {name!r}", extra)


def _model_and_dim(name: str) -> tuple[str, int | None]:
    model, at, dim = name.removeprefix("openai:").rpartition("@")
    if not at:
        model, dim = dim, ""
    if not model or (at and not (dim.isdecimal() and int(dim) > 0)):
        raise InvalidInput(f"{name!r} names no model: write 'openai:<model>' or 'openai:<model>@<dimensions>'")
    return model, int(dim) if dim else None


def checked(texts: Sequence[str]) -> list[str]:
    """`texts` as a list that every tokenizer takes: lone surrogates become U+FFFD.

    Raises:
        InvalidInput: a single string instead of a sequence, or an element that is no string.
    """
    if isinstance(texts, str):
        raise InvalidInput(f"embed takes a sequence of texts, got one string: write embed([{texts[:40]!r}])")
    out = []
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(f"texts[{position}] is {type(text).__name__}, not str: {str(text)[:80]!r}")
        try:
            text.encode()
            out.append(text)
        except UnicodeEncodeError:  # halves of a pair that belong together are joined, the rest replaced
            out.append(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return out


def normalised(vectors: Vectors) -> Vectors:
    """`vectors` [n, dim] with rows of unit L2 norm."""
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32, copy=False)


def write_sealed(path: Path, data: bytes) -> None:
    """Put `data` and its checksum at `path` in one step, so that no reader ever sees half a file.

    A folder that cannot be written is no error: the caller goes on with what it has in memory.
    """
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.write(hashlib.sha256(data).digest())
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)


def read_sealed(path: Path) -> bytes | None:
    """What `write_sealed` put at `path`; None if there is nothing, or it is damaged."""
    try:
        sealed = path.read_bytes()
    except OSError:
        return None
    data, seal = sealed[:-32], sealed[-32:]
    return data if hashlib.sha256(data).digest() == seal else None
