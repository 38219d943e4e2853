"""The text wing: memory that an agent can read, in a real database.

Names load on first use, so that whoever wants the embedder alone does not wait for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnemos.text.encode.embedder import Embedder, resolve
    from mnemos.text.llm import LanguageModel
    from mnemos.text.memory import Memory
    from mnemos.text.recipes.brains import CaseMemory, Categorical, Numeric, Schema
    from mnemos.text.records import DateSpan, Edge, EdgeKind, Item, Kind, Operation, Record, Scope, Version
    from mnemos.text.results import NOT_IN_MEMORY, Answer, Hit
    from mnemos.text.retention import Policy
    from mnemos.text.store import Receipt

_HOMES = {
    "Answer": "mnemos.text.results",
    "CaseMemory": "mnemos.text.recipes.brains",
    "Categorical": "mnemos.text.recipes.brains",
    "DateSpan": "mnemos.text.records",
    "Edge": "mnemos.text.records",
    "EdgeKind": "mnemos.text.records",
    "Embedder": "mnemos.text.encode.embedder",
    "Hit": "mnemos.text.results",
    "Item": "mnemos.text.records",
    "Kind": "mnemos.text.records",
    "LanguageModel": "mnemos.text.llm",
    "Memory": "mnemos.text.memory",
    "NOT_IN_MEMORY": "mnemos.text.results",
    "Numeric": "mnemos.text.recipes.brains",
    "Operation": "mnemos.text.records",
    "Policy": "mnemos.text.retention",
    "Receipt": "mnemos.text.store",
    "Record": "mnemos.text.records",
    "Schema": "mnemos.text.recipes.brains",
    "Scope": "mnemos.text.records",
    "Version": "mnemos.text.records",
    "resolve": "mnemos.text.encode.embedder",
}

__all__ = [
    "NOT_IN_MEMORY",
    "Answer",
    "CaseMemory",
    "Categorical",
    "DateSpan",
    "Edge",
    "EdgeKind",
    "Embedder",
    "Hit",
    "Item",
    "Kind",
    "LanguageModel",
    "Memory",
    "Numeric",
    "Operation",
    "Policy",
    "Receipt",
    "Record",
    "Schema",
    "Scope",
    "Version",
    "resolve",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mnemos.text' has no attribute {name!r}: there are {', '.join(__all__)}")
