"""A chat endpoint on this machine that says what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any


def completion(text: str | None, tokens: int | None = 42) -> bytes:
    """The body of a chat completion."""
    usage = {} if tokens is None else {"usage": {"total_tokens": tokens}}
    message = {"role": "assistant", "content": text}
    return json.dumps({
        "id": "1", "object": "chat.completion", "created": 0, "model": "toy",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}], **usage,
    }).encode()  # fmt: skip


@dataclass
class Answer:
    """One answer as it goes over the wire."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Hang up after so many bytes."""
    until: threading.Event | None = None
    """Send one byte at a time, slowly, until this is set."""


Script = str | Answer


class Endpoint:
    """Answers chat requests: `then` in turn, after that `by` of the request, or `status` and `body`; keeps what was
    asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes = b""
        self.by: Callable[[dict[str, Any]], Script] | None = None
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self._queue: deque[Script] = deque()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = outer._answer(asked, self.headers.get("Authorization", ""))
                self.send_response_only(answer.status)
                if "Date" not in answer.headers:
                    self.send_header("Date", self.date_time_string())
                for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                try:
                    outer._send(self.wfile, answer)
                except OSError:  # who asked has hung up
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def says(self, text: str | None, tokens: int | None = 42) -> None:
        """From now on reply `text` to everything."""
        self.status, self.body = 200, completion(text, tokens)

    def then(self, *answers: Script) -> None:
        """Give these answers, one to each request, before anything else."""
        self._queue.extend(answers)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @staticmethod
    def _send(out: IO[bytes], answer: Answer) -> None:
        if answer.cut is not None:
            out.write(answer.body[: answer.cut])
            raise ConnectionAbortedError
        for at in range(len(answer.body)) if answer.until else ():
            out.write(answer.body[at : at + 1])
            if answer.until is None or answer.until.wait(0.02):
                return
        out.write(answer.body)

    def _answer(self, asked: dict[str, Any], key: str) -> Answer:
        with self._lock:
            self.asked.append(asked)
            self.keys.append(key)
            said: Script | None = self._queue.popleft() if self._queue else None
        if said is None:
            said = self.by(asked) if self.by else Answer(self.status, self.body)
        return Answer(200, completion(said)) if isinstance(said, str) else said
