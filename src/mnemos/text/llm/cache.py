"""Replies on disk, one JSON file for each question; what was recorded can be replayed.

Files are written whole or not at all, so processes may share a folder. They hold the model's name
and its reply: neither the question nor any key.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from mnemos.core.errors import InvalidInput
from mnemos.text.llm.reply import Reply


class ReplyCache:
    """Replies by the hash of everything that asks for them.

    Args:
        folder: where the files go; made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def key(**asked: Any) -> str:
        """The name of a question: SHA-256 of its model, messages, schema, temperature and length."""
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> Reply | None:
        """The reply kept under `key`; None if there is none, or its file is damaged."""
        try:
            kept = json.loads(self._file(key).read_text("utf-8"))
            text, tokens = kept["text"], kept["tokens"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Reply(text, tokens) if isinstance(text, str) and isinstance(tokens, int) else None

    def put(self, key: str, model: str, reply: Reply) -> None:
        """Keep `reply` under `key`.

        Raises:
            InvalidInput: the folder cannot be written.
        """
        file = self._file(key)
        temporary = ""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump({"model": model, "text": reply.text, "tokens": reply.tokens}, out, ensure_ascii=True)
            Path(temporary).replace(file)
        except OSError as why:
            if temporary:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink()
            raise InvalidInput(f"cannot keep replies in {self.folder}: {why.strerror}: choose another cache") from None

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"
