"""Every error that mnemos raises on purpose.

    MnemosError
    ├── InvalidInput        a value that cannot be used; nothing was changed
    ├── NotFound            an id, slug or operation that does not exist
    ├── MissingExtra        an optional part whose packages are not installed
    ├── EndpointError       a model endpoint that did not answer usefully
    ├── HeldError           a legal hold, or a pin, forbids this
    └── StoreError          the file under the memory
        ├── StoreBusy       another writer held it for too long
        ├── StoreFull       no space left; the transaction was rolled back
        ├── StoreReadOnly   the file or its folder cannot be written
        ├── StoreDamaged    the file is a mnemos store, and broken
        └── StoreForeign    the file is something else, or from a newer mnemos

Each message names the value, says why, and says what to do.
"""

from __future__ import annotations


class MnemosError(Exception):
    """Base of all errors raised on purpose by mnemos."""


class InvalidInput(MnemosError, ValueError):
    """A value cannot be used. Nothing was changed."""


class NotFound(MnemosError, KeyError):
    """The named thing does not exist."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class MissingExtra(MnemosError, ImportError):
    """An optional part was used whose packages are not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs packages that are not installed: pip install 'mnemos[{extra}]'")
        self.extra = extra


class EndpointError(MnemosError):
    """A model endpoint failed, timed out or sent something unusable."""


class HeldError(MnemosError):
    """A retention policy (legal hold) forbids the operation."""


class StoreError(MnemosError):
    """Something is wrong with the file under the memory."""


class StoreBusy(StoreError):
    """Another writer held the store for longer than we wait."""


class StoreFull(StoreError):
    """No space left on the device; the transaction was rolled back whole."""


class StoreReadOnly(StoreError):
    """The store cannot be written."""


class StoreDamaged(StoreError):
    """The store is ours and is broken."""


class StoreForeign(StoreError):
    """The file is not a mnemos store, or comes from a newer version."""
