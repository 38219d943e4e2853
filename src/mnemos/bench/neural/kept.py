"""Rows of earlier runs that need not be made again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnemos.bench.results import load
from mnemos.core.errors import InvalidInput


def kept_rows(path: Path | None, name: str, config: Mapping[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    """By system, the rows of the result at `path`; none without a path.

    Raises:
        NotFound: no such file.
        InvalidInput: it is the result of another task, or of other settings.
    """
    if path is None:
        return {}
    result = load(path)
    if result.name != name or dict(result.config) != dict(config) or list(result.seeds) != [seed]:
        raise InvalidInput(
            f"{path} is no result of {name} with these settings: give the same ones, or leave --keep out"
        )
    return {row["system"]: dict(row) for row in result.rows}
