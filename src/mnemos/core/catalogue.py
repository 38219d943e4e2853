"""The catalogue: one row per system, written where the system is implemented.

    @system("titans", title="Titans", paper="arXiv:2501.00663", year=2025, wing="state",
            choices=Spec(...), claim="...")
    class Titans: ...

Looking a system up imports the wings that are installed, never more than once.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args

from mnemos.core.errors import InvalidInput, MissingExtra, NotFound
from mnemos.core.spec import Spec

Wing = Literal[
    "text", "state", "weights", "attractor", "spiking", "world", "models", "learn", "serving", "cube", "bench"
]
T = TypeVar("T")

_MODULES = (
    "mnemos.text.memory",
    "mnemos.text.reason.coat",
    "mnemos.text.reason.olagpt",
    "mnemos.text.recipes.amem",
    "mnemos.text.recipes.brains",
    "mnemos.text.recipes.caim",
    "mnemos.text.recipes.hipporag2",
    "mnemos.text.recipes.mem_alpha",
    "mnemos.text.recipes.memgas",
    "mnemos.text.recipes.memorybank",
    "mnemos.text.recipes.memos",
    "mnemos.learn.muon",
    "mnemos.state.mixers.titans",
    "mnemos.state.mixers.miras",
    "mnemos.state.mixers.atlas",
    "mnemos.state.mixers.lla",
    "mnemos.state.mixers.mom",
    "mnemos.state.mixers.pavlovian",
)
"""Modules whose import registers their systems."""
_systems: dict[str, System] = {}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a system's paper says, in one sentence that a machine of this size can test."""

    statement: str
    """The comparison and its expected direction."""


@dataclass(frozen=True, slots=True)
class System:
    """One row of the catalogue."""

    slug: str
    title: str
    paper: str
    year: int
    wing: Wing
    choices: Spec
    claim: Claim | None
    target: str
    """Import path of the implementation, `module:name`."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def system(
    slug: str, *, title: str, paper: str, year: int, wing: Wing, choices: Spec, claim: str | None = None
) -> Callable[[T], T]:
    """Register the decorated class or function as the system `slug`.

    Raises:
        InvalidInput: a malformed or taken slug, or an unknown wing.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        raise InvalidInput(f"{slug!r} is no slug: lower-case letters, digits and underscores, letter first")
    if wing not in get_args(Wing):
        raise InvalidInput(f"{wing!r} is no wing: one of {', '.join(get_args(Wing))}")

    def register(target: T) -> T:
        path = f"{getattr(target, '__module__', '')}:{getattr(target, '__qualname__', '')}"
        known = _systems.get(slug)
        if known is not None and known.target != path:
            raise InvalidInput(f"the slug {slug!r} is taken by {known.target}: choose another for {path}")
        row = System(slug, title, paper, year, wing, choices, Claim(claim) if claim else None, path)
        _systems[slug] = row
        return target

    return register


def catalogue() -> list[System]:
    """All systems whose wings can be imported here, by slug."""
    for module in _MODULES:
        try:
            importlib.import_module(module)
        except MissingExtra:
            continue
    return sorted(_systems.values(), key=lambda row: row.slug)


def get_system(slug: str) -> System:
    """The row of `slug`.

    Raises:
        NotFound: no such system; the message offers the nearest names.
    """
    rows = {row.slug: row for row in catalogue()}
    if slug in rows:
        return rows[slug]
    near = get_close_matches(slug, rows, n=3) or sorted(rows)
    raise NotFound(f"no system {slug!r}: try {', '.join(near)}, or `mnemos systems` for all")
