"""mnemos: memory for AI. Four verbs, four choices, one container, one bench.

    from mnemos import Memory
    with Memory("notes.mnemos") as mem:
        mem.add("I moved to Lisbon last week", speaker="Ada", at="2025-03-02")
        print(mem.search("Where does Ada live?")[0].text)

Names load on first use: importing the package reads no file and imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnemos.core.catalogue import catalogue
    from mnemos.core.clock import FixedClock
    from mnemos.core.config import Settings
    from mnemos.core.errors import MnemosError
    from mnemos.core.spec import Spec
    from mnemos.text import Answer, Hit, Item, Kind, LanguageModel, Memory, Policy, Receipt, Record
    from mnemos.text.aio import AsyncMemory

__version__ = "0.1.0"

_HOMES = {
    "Answer": "mnemos.text",
    "AsyncMemory": "mnemos.text.aio",
    "FixedClock": "mnemos.core",
    "Hit": "mnemos.text",
    "Item": "mnemos.text",
    "Kind": "mnemos.text",
    "LanguageModel": "mnemos.text",
    "Memory": "mnemos.text",
    "MnemosError": "mnemos.core.errors",
    "Policy": "mnemos.text",
    "Receipt": "mnemos.text",
    "Record": "mnemos.text",
    "Settings": "mnemos.core.config",
    "Spec": "mnemos.core",
    "catalogue": "mnemos.core",
}

__all__ = [
    "Answer",
    "AsyncMemory",
    "FixedClock",
    "Hit",
    "Item",
    "Kind",
    "LanguageModel",
    "Memory",
    "MnemosError",
    "Policy",
    "Receipt",
    "Record",
    "Settings",
    "Spec",
    "catalogue",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mnemos' has no attribute {name!r}: there are {', '.join(__all__)}")
