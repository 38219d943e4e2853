"""Where records live: the `Store` protocol and its SQLite implementation."""

from mnemos.text.store.base import Analysis, Columns, Receipt, ScopeSize, Snapshot, Store, Trace, Unit, Write
from mnemos.text.store.sqlite import SQLiteStore

__all__ = ["Analysis", "Columns", "Receipt", "SQLiteStore", "ScopeSize", "Snapshot", "Store", "Trace", "Unit", "Write"]
