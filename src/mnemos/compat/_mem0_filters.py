"""mem0's filters: the ids in them, and conditions on metadata.

{"user_id": "ada", "topic": "food", "n": {"gte": 3}, "OR": [{"a": 1}, {"b": {"in": [1, 2]}}]}
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from mnemos.core.errors import InvalidInput

IDS = ("user_id", "agent_id", "run_id")

_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "in": lambda value, wanted: value in wanted,
    "nin": lambda value, wanted: value not in wanted,
    "contains": lambda value, wanted: wanted in value,
    "icontains": lambda value, wanted: str(wanted).casefold() in str(value).casefold(),
}
_MISSING = object()


def split(filters: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """(ids by name, the conditions that are left).

    Ids are walls, so they stand at the top or within an AND, as plain values; "*" names none.

    Raises:
        InvalidInput: an id anywhere else, or an unknown operator.
    """
    ids: dict[str, str] = {}
    rest: dict[str, Any] = {}
    for name, wanted in filters.items():
        if name in IDS:
            wanted = wanted.get("eq", wanted) if isinstance(wanted, Mapping) else wanted
            if isinstance(wanted, Mapping | list):
                raise InvalidInput(f"filters[{name!r}] is {wanted!r}: give one id, and search once for each")
            if wanted is not None and wanted != "*":
                ids[name] = str(wanted)
        elif name == "AND":
            parts = [split(part) for part in _parts(name, wanted)]
            for found, _ in parts:
                if any(ids.get(key, value) != value for key, value in found.items()):
                    raise InvalidInput(f"filters name two different ids in one AND: {filters!r}")
                ids.update(found)
            rest["AND"] = [conditions for _, conditions in parts]
        else:
            _check(name, wanted)
            rest[name] = wanted
    return ids, rest


def matches(metadata: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    """Whether `metadata` meets all `conditions`; a name that it lacks meets only `ne` and `nin`."""
    return all(_meets(metadata, name, wanted) for name, wanted in conditions.items())


def _meets(metadata: Mapping[str, Any], name: str, wanted: Any) -> bool:
    if name == "AND":
        return all(matches(metadata, part) for part in wanted)
    if name == "OR":
        return any(matches(metadata, part) for part in wanted)
    if name == "NOT":
        return not any(matches(metadata, part) for part in _parts(name, wanted))
    value = metadata.get(name, _MISSING)
    if wanted == "*":
        return value is not _MISSING
    if not isinstance(wanted, Mapping):
        return value is not _MISSING and bool(value in wanted if isinstance(wanted, list) else value == wanted)
    for test, operand in wanted.items():
        if value is _MISSING and test not in ("ne", "nin"):
            return False
        try:
            if not _TESTS[test](value, operand):
                return False
        except TypeError:  # values that cannot be compared do not meet
            return False
    return True


def _check(name: str, wanted: Any) -> None:
    if name in ("OR", "NOT"):
        for part in _parts(name, wanted):
            if any(key in IDS for key in part):
                raise InvalidInput(f"filters[{name!r}] names an id: search once for each user, agent or run")
            for key, value in part.items():
                _check(key, value)
    elif name == "AND":
        for part in _parts(name, wanted):
            for key, value in part.items():
                _check(key, value)
    elif isinstance(wanted, Mapping):
        unknown = [test for test in wanted if test not in _TESTS]
        if unknown or not wanted:
            raise InvalidInput(f"filters[{name!r}] is {wanted!r}: choose from {', '.join(_TESTS)}")


def _parts(name: str, wanted: Any) -> list[Mapping[str, Any]]:
    parts = [wanted] if isinstance(wanted, Mapping) else wanted
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        raise InvalidInput(f"filters[{name!r}] is {wanted!r}: give a list of conditions")
    return parts
