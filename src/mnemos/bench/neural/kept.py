"""Rows that survive an interruption: each is written when it is made, and not made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mnemos.bench.results import Result, load, to_dict
from mnemos.core.errors import InvalidInput, MnemosError

Row = dict[str, Any]


class Kept:
    """The rows of a run by system, backed by files.

    Args:
        run: name, config and seeds of the run; its rows do not matter.
        paths: results of the same run, as far as it came; what is made is added to the first.

    Raises:
        InvalidInput: a file is the result of another task, or of other settings.
    """

    def __init__(self, run: Result, paths: Sequence[Path]) -> None:
        self._run, self._path = run, paths[0] if paths else None
        self.rows: dict[str, Row] = {}
        for path in (path for path in paths if path.exists()):
            earlier = load(path)
            if (earlier.name, earlier.config, list(earlier.seeds)) != (run.name, run.config, list(run.seeds)):
                raise InvalidInput(
                    f"{path} is no result of {run.name} with these settings: give the same, or no --keep"
                )
            self.rows |= {row["system"]: dict(row) for row in earlier.rows}

    def make(self, system: str, make: Callable[[], Row]) -> None:
        """The row of `system`, unless it is there; an error is said in the row, and the run goes on."""
        if system in self.rows:
            return
        try:
            self.rows[system] = {"system": system, **make()}
        except MnemosError as why:
            self.rows[system] = {"system": system, "failed": str(why)}
        if self._path is not None:
            data = to_dict(replace(self._run, rows=tuple(self.rows.values())))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_name(f".{self._path.name}.part")
            part.write_text(json.dumps(data, indent=2), encoding="utf-8")
            part.replace(self._path)
