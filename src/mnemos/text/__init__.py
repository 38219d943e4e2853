"""The text wing: memory that an agent can read, in a real database."""

from mnemos.text.encode.embedder import Embedder, resolve
from mnemos.text.llm import LanguageModel
from mnemos.text.memory import Memory
from mnemos.text.records import DateSpan, Edge, EdgeKind, Item, Kind, Operation, Record, Scope, Version
from mnemos.text.results import NOT_IN_MEMORY, Answer, Hit
from mnemos.text.retention import Policy
from mnemos.text.store import Receipt

__all__ = [
    "NOT_IN_MEMORY",
    "Answer",
    "DateSpan",
    "Edge",
    "EdgeKind",
    "Embedder",
    "Hit",
    "Item",
    "Kind",
    "LanguageModel",
    "Memory",
    "Operation",
    "Policy",
    "Receipt",
    "Record",
    "Scope",
    "Version",
    "resolve",
]
