"""Reading helpers shared by the importer tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnemos.text.importers import Skipped, importers
from mnemos.text.records import Item

Read = Callable[[str, Path], tuple[list[Item], list[Skipped]]]


@pytest.fixture
def read() -> Read:
    """(items, what was skipped) of a path by a named importer."""

    def call(name: str, path: Path) -> tuple[list[Item], list[Skipped]]:
        skipped: list[Skipped] = []
        return list(importers()[name].read(path, skipped.append)), skipped

    return call


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Writes bytes, text, or a value as JSON into a file."""

    def call(name: str, value: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(value, bytes):
            value = (value if isinstance(value, str) else json.dumps(value)).encode()
        path.write_bytes(value)
        return path

    return call
