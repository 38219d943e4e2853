"""The endpoint embedder against a real HTTP server: good answers, bad answers, and no leaked key."""

from __future__ import annotations

import json
import threading
import traceback
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from mnemos.core.errors import EndpointError, InvalidInput
from mnemos.text.encode import endpoint
from mnemos.text.encode.embedder import resolve
from mnemos.text.encode.endpoint import Endpoint

KEY = "sk-very-secret-0123456789"


def vector(text: str, dim: int) -> list[float]:
    return np.random.default_rng(zlib.crc32(text.encode())).normal(size=dim).tolist()


class Server(ThreadingHTTPServer):
    """Answers as `self.answer(request)` says: a status and a JSON value, or a raw body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.answer = good

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.keys.append(self.headers["Authorization"])
        status, content = self.server.answer(body)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args) -> None:
        pass


def good(body):
    dim = body.get("dimensions", 6)
    entries = [
        {"object": "embedding", "index": i, "embedding": vector(text, dim)} for i, text in enumerate(body["input"])
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return 200, {"object": "list", "model": body["model"], "data": entries[::-1], "usage": usage}


@pytest.fixture(autouse=True)
def _no_key_of_the_user(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as it:
        thread = threading.Thread(target=it.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield it
        it.shutdown()
        thread.join()


@pytest.fixture
def model(server) -> Iterator[Endpoint]:
    it = Endpoint("m", base_url=server.url, api_key=KEY, retries=0)
    yield it
    it.close()


def unit(text, dim=6):
    v = np.array(vector(text, dim))
    return v / np.linalg.norm(v)


def test_vectors_come_in_order_of_the_texts_and_of_unit_length(model):
    texts = ["one", "two", "three"]
    np.testing.assert_allclose(model.embed(texts), [unit(t) for t in texts], atol=1e-6)
    assert model.embed(texts).dtype == np.float32


def test_the_dimension_is_learnt_once(model, server):
    assert model.name == "openai:m@6"
    assert model.dim == 6
    assert model.embed([]).shape == (0, 6)
    assert len(server.requests) == 1


def test_a_given_dimension_is_asked_for(server):
    model = resolve("openai:m@4", base_url=server.url, api_key=KEY)
    assert model.name == "openai:m@4"
    assert not server.requests
    assert model.embed(["x"]).shape == (1, 4)
    assert server.requests[0]["dimensions"] == 4
    model.close()


def test_an_unasked_dimension_is_not_sent_and_the_key_is(model, server):
    model.embed(["x"])
    assert "dimensions" not in server.requests[0]
    assert server.keys == [f"Bearer {KEY}"]


def test_a_local_endpoint_needs_no_key(server):
    model = Endpoint("m", base_url=server.url)
    assert model.embed(["x"]).shape == (1, 6)
    model.close()


def test_many_texts_are_split_by_count_and_by_size(model, server, monkeypatch):
    monkeypatch.setattr(endpoint, "BATCH_TEXTS", 4)
    monkeypatch.setattr(endpoint, "BATCH_CHARACTERS", 20)
    texts = ["a", "b", "c", "d", "e", "f" * 15, "g" * 15, "h" * 30, "i"]
    np.testing.assert_allclose(model.embed(texts), [unit(t) for t in texts], atol=1e-6)
    assert [len(r["input"]) for r in server.requests] == [4, 2, 1, 1, 1]


def test_empty_long_and_broken_texts_are_made_acceptable(model, server):
    model.embed(["", "x" * 1_000_000, "a\ud800"])
    assert [len(text) for text in server.requests[0]["input"]] == [1, endpoint.MAX_CHARACTERS, 2]


def test_a_failure_that_passes_is_retried(server):
    model = Endpoint("m", base_url=server.url, api_key=KEY, retries=1)
    server.answer = lambda body: (500, {"error": "busy"}) if len(server.requests) < 2 else good(body)
    assert model.embed(["x"]).shape == (1, 6)
    assert len(server.requests) == 2
    model.close()


def data(*vectors, indices=None):
    places = indices or range(len(vectors))
    return {
        "object": "list",
        "model": "m",
        "data": [{"index": i, "embedding": v} for i, v in zip(places, vectors, strict=True)],
    }


@pytest.mark.parametrize(
    ("status", "content", "says"),
    [
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}."}}, "401"),
        (401, {"error": {"message": "Incorrect API key provided: sk-ver***789."}}, "401"),
        (429, {"error": {"message": "slow down"}}, "429"),
        (500, {"error": {"message": "oops"}}, "500"),
        (500, b"<html>", "500"),
        (200, b"{not json", "JSON"),
        (200, b"", ""),
        (200, [], ""),
        (200, {}, ""),
        (200, {"data": None}, ""),
        (200, data(), ""),
        (200, data([1, 2]), "1 vectors for 2 texts"),
        (200, data([1, 2], [3, 4], [5, 6]), "3 vectors for 2 texts"),
        (200, data([1, 2], [3, 4], indices=[1, 1]), "indices"),
        (200, data([1, 2], [3]), ""),
        (200, data([], []), "shape"),
        (200, data([0, 0], [1, 2]), "zero"),
        (200, data([float("nan"), 1], [1, 2]), "finite"),
        (200, data(["a", "b"], [1, 2]), ""),
        (200, data(None, None), ""),
    ],
)  # fmt: skip
def test_an_unusable_answer_is_an_endpoint_error_without_the_key(model, server, status, content, says):
    server.answer = lambda body: (status, content)
    with pytest.raises(EndpointError) as caught:
        model.embed(["one", "two"])
    message = str(caught.value)
    assert "'m'" in message
    assert server.url in message
    assert says in message
    assert "very-secret" not in message
    assert "sk-ver" not in message
    assert "very-secret" not in "".join(traceback.format_exception(caught.value))


def test_a_changed_dimension_is_an_error(model, server):
    model.embed(["x"])
    server.answer = lambda body: (200, data([1, 2]))
    with pytest.raises(EndpointError, match="2 dimensions where 6 were expected"):
        model.embed(["x"])


def test_nobody_listening_is_an_endpoint_error():
    with Server() as closed:
        url = closed.url
    model = Endpoint("m", base_url=url, api_key=KEY, retries=0)
    with pytest.raises(EndpointError, match="Connection"):
        model.embed(["x"])
    model.close()


def test_no_key_says_what_to_set():
    with pytest.raises(EndpointError, match="OPENAI_API_KEY"):
        Endpoint("m").embed(["x"])


def test_credentials_in_the_address_stay_out_of_messages():
    with Server() as closed:
        url = closed.url.replace("//", "//user:pass-word@")
    model = Endpoint("m", base_url=url, retries=0)
    with pytest.raises(EndpointError) as caught:
        model.embed(["x"])
    assert "pass-word" not in str(caught.value)
    model.close()


def test_a_dimension_that_is_none_is_refused():
    with pytest.raises(InvalidInput, match="dim 0"):
        Endpoint("m", dim=0)


def test_the_key_is_in_no_repr(model):
    model.embed(["x"])
    assert KEY not in repr(model)
