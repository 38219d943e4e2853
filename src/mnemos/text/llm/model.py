"""`LanguageModel`: one chat model behind any OpenAI-compatible endpoint, through the official client."""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

from mnemos.core.errors import EndpointError, InvalidInput, MissingExtra, NotFound
from mnemos.text.llm.budget import Budget, BudgetSpent
from mnemos.text.llm.cache import ReplyCache
from mnemos.text.llm.reply import BadReply, Message, Reply, Shape, Unreadable, read, with_mistake, with_schema

T = TypeVar("T")

LARGEST = 1_000_000
"""Bytes of an answer that are read; what is larger is no reply to a question of ours."""
PATIENCE = 60.0
"""Seconds that an endpoint may ask us to wait before the next attempt."""
_NO_SCHEMAS = (400, 422, 501)
"""Statuses by which endpoints refuse a `response_format` that they do not know."""


class LanguageModel:
    """One chat model; safe to share between threads.

    Args:
        model: its name at the endpoint.
        base_url: the endpoint; the client's default if None.
        api_key: its key; the client's environment variable if None. Endpoints of one's own often need none.
        timeout: seconds to wait for a reply.
        retries: further attempts after a time-out, a lost connection, 408, 409, 429 or 5xx, each after a longer
            wait, or after the one that the endpoint asks for.
        budget: what may be spent; `budget.used` says what was.
        cache: a folder that keeps replies; the same question then has the same reply, at any temperature.
        replay: answer from the cache alone; a question that was never recorded raises `NotFound`.
        concurrency: requests under way at the same time.
        sleep: how to wait, in seconds.

    Raises:
        InvalidInput: replay without a cache, or a number out of range.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        budget: Budget | None = None,
        cache: str | Path | None = None,
        replay: bool = False,
        concurrency: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if replay and cache is None:
            raise InvalidInput("replay needs the folder of a recording: give cache=")
        if retries < 0 or concurrency < 1:
            raise InvalidInput(f"retries {retries}, concurrency {concurrency}: at least 0 and 1")
        self.model = model
        self._budgets: tuple[Budget, ...] = (budget or Budget(),)
        self._base_url = base_url
        self._api_key = api_key or ("none" if base_url else None)
        self._timeout, self._retries, self._sleep = timeout, retries, sleep
        self._cache = None if cache is None else ReplyCache(Path(cache))
        self._replay, self._concurrency = replay, concurrency
        self._slots = threading.BoundedSemaphore(concurrency)
        self._lock = threading.Lock()
        self._without_schemas = threading.Event()
        self._clients: list[Any] = []

    @property
    def budget(self) -> Budget:
        """What may be spent, and was."""
        return self._budgets[-1]

    def within(self, budget: Budget) -> LanguageModel:
        """This model for one task: the same connections, and `budget` beside its own."""
        other = copy.copy(self)
        other._budgets = (*self._budgets, budget)
        return other

    def chat(self, messages: list[Message], *, temperature: float = 0.0, max_tokens: int | None = None) -> Reply:
        """The model's reply.

        Args:
            messages: {"role": ..., "content": ...} each.
            max_tokens: longest reply to ask for.

        Raises:
            EndpointError: no connection, a refusal, too many failures; BadReply: an answer that is empty, malformed
                or larger than `LARGEST`; BudgetSpent: the call was not made.
            NotFound: replay, and this was never recorded.
            MissingExtra: the client is not installed.
        """
        asked = {"messages": _clean(messages), "temperature": temperature, "max_tokens": max_tokens}
        key = self._key(asked, None)
        reply = self._cache.get(key) if self._cache else None
        if reply is None:
            reply = self._ask(asked)
            self._keep(key, reply)
        return reply

    def structured(
        self, messages: list[Message], shape: type[Shape], *, temperature: float = 0.0, max_tokens: int | None = None
    ) -> Shape:
        """The model's reply as a `shape`, a pydantic model.

        The endpoint is asked to enforce its JSON schema; one that refuses to is asked in words. A reply that does
        not fit goes back to the model once, with what is wrong about it.

        Raises:
            BadReply: the second reply does not fit either. Others as `chat`.
        """
        schema = shape.model_json_schema()
        said = with_schema(_clean(messages), schema)
        asked = {"messages": said, "temperature": temperature, "max_tokens": max_tokens}
        key = self._key(asked, schema)
        if self._cache and (kept := self._cache.get(key)):
            return self._read(kept, shape)
        reply = self._ask(asked, shape.__name__, schema)
        try:
            value = read(reply.text, shape)
        except Unreadable as why:
            reply = self._ask(asked | {"messages": with_mistake(said, reply.text, why)}, shape.__name__, schema)
            value = self._read(reply, shape)
        self._keep(key, reply)
        return value

    def map(self, calls: Sequence[Callable[[], T]]) -> list[T | EndpointError]:
        """The results of `calls` in their order, several at a time; an `EndpointError` stands where one was raised.

        Other errors are raised, the first one in order.
        """

        def one(call: Callable[[], T]) -> T | EndpointError:
            try:
                return call()
            except EndpointError as why:
                return why

        if len(calls) < 2:
            return [one(call) for call in calls]
        with ThreadPoolExecutor(min(self._concurrency, len(calls)), "mnemos-llm") as pool:
            return list(pool.map(one, calls))

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            clients, self._clients[:] = self._clients[:], []
        for client in clients:
            client.close()

    # -- asking ----------------------------------------------------------------------------

    def _ask(self, asked: dict[str, Any], name: str = "", schema: dict[str, Any] | None = None) -> Reply:
        """One call on the budget, with the schema enforced where the endpoint does that."""
        if self._replay:
            last = asked["messages"][-1]["content"] if asked["messages"] else ""
            raise NotFound(f"{self.model}: no recorded reply to {last[-80:]!r}: record it with replay=False")
        prompt = sum(len(message["content"]) for message in asked["messages"]) // 4 + 1
        reserved = prompt + (asked["max_tokens"] or 0)
        self._reserve(reserved)
        taken = prompt
        try:
            with self._slots:
                enforced = schema is not None and not self._without_schemas.is_set()
                reply = self._shaped(asked, name, schema) if enforced else self._tried(asked)
            taken = reply.tokens or prompt + len(reply.text) // 4 + 1
        finally:
            for budget in self._budgets:
                budget.settle(reserved, taken)
        return reply

    def _reserve(self, tokens: int) -> None:
        """A call on every budget, or on none."""
        held: list[Budget] = []
        try:
            for budget in self._budgets:
                budget.reserve(tokens)
                held.append(budget)
        except BudgetSpent:
            for budget in held:
                budget.release(tokens)
            raise

    def _shaped(self, asked: dict[str, Any], name: str, schema: dict[str, Any] | None) -> Reply:
        form = {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
        try:
            return self._tried(asked | {"response_format": form})
        except _Refused as why:
            if why.status not in _NO_SCHEMAS:
                raise
        reply = self._tried(asked)
        self._without_schemas.set()
        return reply

    def _tried(self, asked: dict[str, Any]) -> Reply:
        """The reply, after as many attempts as it takes and we allow."""
        attempt = 0
        while True:
            try:
                return self._read_body(self._body(asked))
            except _Again as why:
                wait = 0.5 * 2**attempt if why.wait is None else why.wait
                if attempt == self._retries or wait > PATIENCE:
                    raise
            self._sleep(wait)
            attempt += 1

    def _body(self, asked: dict[str, Any]) -> bytes:
        """The endpoint's answer to one attempt."""
        try:
            import openai
        except ImportError:
            raise MissingExtra("a language model", "llm") from None
        given = {name: value for name, value in asked.items() if value is not None}
        body, deadline = bytearray(), time.monotonic() + self._timeout
        try:
            create = self._opened().chat.completions.with_streaming_response.create
            with create(model=self.model, **given) as answer:
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > LARGEST:
                        raise BadReply(f"{self.model}: the answer is larger than {LARGEST} bytes and was dropped")
                    if time.monotonic() > deadline:  # the client's time-out is for each piece
                        raise _Again(f"{self.model}: the answer took longer than {self._timeout:g} s")
        except openai.APIStatusError as why:
            # the body may repeat the key: only the status is told
            said = f"{self.model}: the endpoint answered {why.status_code}: check model, key and base_url"
            if _passing(why.status_code, why.response.headers):
                raise _Again(said, _wanted_wait(why.response.headers)) from None
            raise _Refused(said, why.status_code) from None
        except EndpointError:
            raise
        except Exception as why:  # while a body is read, the client's transport raises errors of its own
            said = f"{self.model}: no usable reply ({type(why).__name__}): is the endpoint up?"
            lost = isinstance(why, openai.APIConnectionError) or not isinstance(why, openai.OpenAIError)
            raise _Again(said) if lost else EndpointError(said) from None
        return bytes(body)

    def _read_body(self, body: bytes) -> Reply:
        try:
            answer = json.loads(body)
            text = answer["choices"][0]["message"]["content"]
            tokens = (answer.get("usage") or {}).get("total_tokens") or 0
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError):
            raise BadReply(f"{self.model}: the answer is no chat completion: is base_url right?") from None
        if not isinstance(text, str) or not text.strip():
            raise BadReply(f"{self.model}: the reply is empty")
        return Reply(text, tokens if type(tokens) is int and tokens > 0 else 0)

    def _opened(self) -> Any:
        import openai

        with self._lock:
            if not self._clients:
                made = openai.OpenAI(
                    base_url=self._base_url, api_key=self._api_key, timeout=self._timeout, max_retries=0
                )
                self._clients.append(made)
            return self._clients[0]

    # -- keeping ---------------------------------------------------------------------------

    def _key(self, asked: dict[str, Any], schema: dict[str, Any] | None) -> str:
        return ReplyCache.key(model=self.model, schema=schema, **asked)

    def _keep(self, key: str, reply: Reply) -> None:
        if self._cache:
            self._cache.put(key, self.model, reply)

    def _read(self, reply: Reply, shape: type[Shape]) -> Shape:
        try:
            return read(reply.text, shape)
        except Unreadable as why:
            raise BadReply(f"{self.model}: no {shape.__name__} in the reply: {why}") from None


class _Again(EndpointError):
    """A failure that may pass; `wait`: the seconds that the endpoint asks for, if it does."""

    def __init__(self, said: str, wait: float | None = None) -> None:
        super().__init__(said)
        self.wait = wait


class _Refused(EndpointError):
    """A failure that will not pass."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
        self.status = status


def _passing(status: int, headers: Mapping[str, str]) -> bool:
    told = headers.get("x-should-retry")
    return told == "true" if told in ("true", "false") else status in (408, 409, 429) or status >= 500


def _wanted_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds of Retry-After, given as a number or as a date beside the answer's own."""
    told = headers.get("retry-after", "")
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(told) - parsedate_to_datetime(headers.get("date", ""))).total_seconds())
    except (TypeError, ValueError):
        return None


def _clean(messages: Sequence[Message]) -> list[Message]:
    """Messages that can be sent: half a surrogate pair has no bytes."""
    return [{name: text.encode("utf-8", "replace").decode() for name, text in message.items()} for message in messages]
