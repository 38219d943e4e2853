"""Embeddings from any OpenAI-compatible endpoint, through the official client.

Timeouts and retries are the client's. Requests are cut to what such endpoints accept, and an answer is
checked before it is believed: as many vectors as texts, all of one length, finite, none zero.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

import numpy as np

from mnemos.core.errors import EndpointError, InvalidInput, MissingExtra
from mnemos.text.encode.embedder import Vectors, checked, installed, normalised

MAX_CHARACTERS = 24_000
"""Of one text: what surely fits into 8,191 tokens of prose. The rest is not sent."""
BATCH_TEXTS, BATCH_CHARACTERS = 256, 400_000
"""Of one request."""


class Endpoint:
    """An embedding model behind HTTP; safe to share between threads.

    Args:
        model: its name at the endpoint.
        dim: dimensions to ask for; the model's own if None, learnt from its first answer.
        base_url: such as "http://localhost:11434/v1"; the client's default if None.
        api_key: the key; `OPENAI_API_KEY` if None. Endpoints at a `base_url` may need none.
        timeout: seconds for one attempt.
        retries: further attempts after a timeout, a lost connection, 429 or 5xx.

    Raises:
        InvalidInput: `dim` is not positive.
    """

    def __init__(
        self,
        model: str,
        *,
        dim: int | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 2,
    ) -> None:
        if dim is not None and dim < 1:
            raise InvalidInput(f"dim {dim} is not positive")
        self.model = model
        self._asked, self._dim = dim, dim
        self._base_url, self._api_key = base_url, api_key
        self._timeout, self._retries = timeout, retries
        self._lock = Lock()
        self._opened: Any = None

    @property
    def name(self) -> str:
        """`openai:<model>@<dim>`. Asks the endpoint if the dimension is not yet known."""
        return f"openai:{self.model}@{self.dim}"

    @property
    def dim(self) -> int:
        """Length of a vector. Asks the endpoint if it is not yet known."""
        if self._dim is None:
            self._request(["dimension"])
        assert self._dim is not None
        return self._dim

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors [n, dim] of unit length, one request per 256 texts or 400,000 characters.

        Raises:
            InvalidInput: `texts` is not a sequence of strings.
            EndpointError: no key, no answer, or an answer that cannot be used.
            MissingExtra: the client is not installed.
        """
        # endpoints refuse an empty text; a space says as much
        texts = [text[:MAX_CHARACTERS] or " " for text in checked(texts)]
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        return np.concatenate([self._request(batch) for batch in _batches(texts)])

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _request(self, texts: list[str]) -> Vectors:
        client = self._client()
        asked = {} if self._asked is None else {"dimensions": self._asked}
        try:
            answer = client.embeddings.create(model=self.model, input=texts, encoding_format="float", **asked)
            entries = sorted(answer.data, key=lambda entry: entry.index)
            places = [entry.index for entry in entries]
            vectors = np.array([entry.embedding for entry in entries], np.float32)
        except Exception as why:  # the client's, and whatever a malformed answer makes of its objects
            status = f" {why.status_code}" if hasattr(why, "status_code") else ""  # not every client's text has it
            raise self._error(f"{type(why).__name__}{status}: {why}") from None
        if places != list(range(len(texts))):
            raise self._error(f"{len(places)} vectors for {len(texts)} texts, or their indices are wrong")
        if vectors.ndim != 2 or not vectors.shape[1]:
            raise self._error(f"vectors of shape {vectors.shape}")
        if not (np.isfinite(vectors).all() and vectors.any(axis=1).all()):
            raise self._error("a vector is zero or not finite")
        with self._lock:
            self._dim = self._dim or vectors.shape[1]
        if vectors.shape[1] != self._dim:
            raise self._error(f"{vectors.shape[1]} dimensions where {self._dim} were expected")
        return normalised(vectors)

    def _client(self) -> Any:
        if not installed("openai"):
            raise MissingExtra(f"the embedder 'openai:{self.model}'", "llm")
        import openai

        with self._lock:
            if self._opened is None:
                try:
                    self._opened = openai.OpenAI(
                        api_key=self._api_key or _environment_key() or ("none" if self._base_url else None),
                        base_url=self._base_url,
                        timeout=self._timeout,
                        max_retries=self._retries,
                    )
                except openai.OpenAIError:
                    raise EndpointError(
                        f"no key for the embedding model {self.model!r}: set OPENAI_API_KEY, give api_key, "
                        "or give the base_url of an endpoint that needs none"
                    ) from None
            return self._opened

    def _error(self, why: str) -> EndpointError:
        """What went wrong, where, without the key."""
        for key in (self._api_key, _environment_key()):
            why = why.replace(key, "***") if key else why
        why = re.sub(r"\bsk-[\w*-]+", "***", why)
        where = re.sub(r"//[^/@]*@", "//", self._base_url or "its default endpoint")
        return EndpointError(f"the embedding model {self.model!r} at {where} failed: {why[:300]}")


def _environment_key() -> str | None:
    return os.environ.get("OPENAI_API_KEY")


def _batches(texts: list[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and (len(batch) == BATCH_TEXTS or size + len(text) > BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    yield batch
