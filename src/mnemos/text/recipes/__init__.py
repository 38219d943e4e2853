"""Published agent memories, each a wiring of the same parts: `Memory(path, recipe="hipporag2")`.

Names load on first use.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

from mnemos.core.errors import InvalidInput
from mnemos.text.recipes.base import Parts, Recipe
from mnemos.text.recipes.default import Mnemos

DEFAULT = "mnemos"
"""The recipe of a memory that names none."""
_HOMES = {
    "hipporag2": "mnemos.text.recipes.hipporag2:HippoRAG2",
    "amem": "mnemos.text.recipes.amem:AMem",
    "memgas": "mnemos.text.recipes.memgas:MemGAS",
    "memorybank": "mnemos.text.recipes.memorybank:MemoryBank",
    "caim": "mnemos.text.recipes.caim:CAIM",
    "mem_alpha": "mnemos.text.recipes.mem_alpha:MemAlpha",
    "memos": "mnemos.text.recipes.memos:MemOS",
}


def recipe_names() -> list[str]:
    """Every recipe, the default first."""
    return [DEFAULT, *_HOMES]


def make_recipe(name: str, parts: Parts) -> Recipe[Any] | Mnemos | None:
    """The recipe `name`, wired from `parts`; None for the default without an embedder, which recalls by words.

    Raises:
        InvalidInput: no such recipe; the message offers the nearest names.
        MissingExtra: it needs an embedder, and there is none.
    """
    if name == DEFAULT:
        return Mnemos(parts) if parts.encoder.embedder else None
    if name not in _HOMES:
        near = get_close_matches(str(name), recipe_names(), n=3) or recipe_names()
        raise InvalidInput(f"there is no recipe {name!r}: try {', '.join(near)}")
    module, _, attribute = _HOMES[name].partition(":")
    made: Recipe[Any] = getattr(import_module(module), attribute)(parts)
    return made


__all__ = ["DEFAULT", "Mnemos", "Parts", "Recipe", "make_recipe", "recipe_names"]
