"""What the commands share: their options, opening a memory, and putting data on a screen or into JSON.

Results go to stdout, everything said about them to stderr. Text that a memory holds is foreign: it is
never read as markup, and its control characters are shown as a sign, not sent to the terminal.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemos.core.clock import iso
from mnemos.core.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from mnemos.text.memory import Memory
    from mnemos.text.records import Operation, Record

_WHO, _WHICH = "Whose memory", "Which records"

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", "-s", metavar="PATH", help="The memory's file. Default: MNEMOS_PATH, or memory.mnemos."),
]
UserOption = Annotated[str, typer.Option("--user", help="Whose memory it is.", rich_help_panel=_WHO)]
AgentOption = Annotated[str, typer.Option("--agent", help="The agent it is kept with.", rich_help_panel=_WHO)]
EmbedderOption = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        metavar="NAME",
        help="auto, none, minilm, fast or openai:<model>. Default: MNEMOS_EMBEDDER, or auto.",
    ),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="How it derives and recalls: mnemos, hipporag2, amem, memgas, memorybank, caim or mem_alpha. "
        "Default: MNEMOS_RECIPE, or mnemos.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, times in ISO 8601 (UTC).")]
SessionOption = Annotated[str | None, typer.Option("--session", help="Of this conversation.", rich_help_panel=_WHICH)]
SpeakerOption = Annotated[str | None, typer.Option("--speaker", help="Said by this person.", rich_help_panel=_WHICH)]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Said at or after, such as 2023-05-08.", rich_help_panel=_WHICH),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Said before.", rich_help_panel=_WHICH)
]
KindOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="turn, passage, note, fact, entity, session or summary; may be repeated.",
        rich_help_panel=_WHICH,
    ),
]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="TIME", help="What held at this moment.", rich_help_panel=_WHICH),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The memory's id, as `list` shows it.", show_default=False)]
MetaOption = Annotated[
    list[str] | None,
    typer.Option("--meta", metavar="NAME=VALUE", help="Metadata of your own; may be repeated."),
]


# -- opening -------------------------------------------------------------------------------


@contextmanager
def memory_at(
    store: Path | None, embedder: str | None = None, recipe: str | None = None, *, create: bool = False
) -> Iterator[Memory]:
    """The memory that a command works on, open.

    Args:
        store: its file; the configured one if None.
        embedder: its name; the configured one if None.
        recipe: its name; the configured one if None, the default where there is no embedder.
        create: make the file if there is none. Reading never does: a mistyped path is told, not made.

    Raises:
        NotFound: no such file, and not `create`.
    """
    from mnemos.core.config import Settings
    from mnemos.text.memory import Memory
    from mnemos.text.recipes import DEFAULT

    settings = Settings()
    path = store or settings.path
    if not create and not path.exists():
        raise NotFound(
            f"there is no memory at {path}: `mnemos add` or `mnemos import` makes one, --store names another"
        )
    chosen = embedder or settings.embedder
    log = logging.getLogger("mnemos.text.file")
    level = log.level
    if chosen == "none":  # asked for: no news
        log.setLevel(logging.ERROR)
    try:
        wanted = recipe or (DEFAULT if chosen == "none" else settings.recipe)
        memory = Memory(path, embedder=chosen, recipe=wanted, settings=settings)
    finally:
        log.setLevel(level)
    with memory:
        yield memory


def filters(
    session: str | None = None,
    speaker: str | None = None,
    since: str | None = None,
    until: str | None = None,
    kind: Sequence[str] | None = None,
    as_of: str | None = None,
) -> dict[str, Any]:
    """The filters that were given, by the names that `Memory` knows; absent ones are left out, because
    `forget` takes the presence of a filter as the wish to use it."""
    given = {
        "session": session,
        "speaker": speaker,
        "since": since,
        "until": until,
        "kinds": list(kind or ()) or None,
        "as_of": as_of,
    }
    return {name: value for name, value in given.items() if value is not None}


def pairs(values: Iterable[str] | None, option: str) -> dict[str, str] | None:
    """{"a": "b"} of ["a=b"]; None where nothing was given.

    Raises:
        InvalidInput: a value without a name.
    """
    found: dict[str, str] = {}
    for value in values or ():
        name, equals, content = value.partition("=")
        if not name or not equals:
            raise InvalidInput(f"{option} {value!r}: write NAME=VALUE")
        found[name] = content
    return found or None


# -- data ----------------------------------------------------------------------------------


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    # a stdout that is not UTF-8 gets escapes, which are the same document
    plain = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") != "utf8"
    typer.echo(json.dumps(data, ensure_ascii=plain, indent=2))


def record_data(record: Record) -> dict[str, Any]:
    """A record as plain data, times in ISO 8601."""
    from mnemos.text.records import to_dict

    data = to_dict(record)
    for name in ("at", "recorded_at", "retracted_at", "valid_from", "valid_to"):
        if data.get(name) is not None:
            data[name] = iso(data[name])
    if data.get("retention", {}).get("expires_at") is not None:
        data["retention"]["expires_at"] = iso(data["retention"]["expires_at"])
    if "dates" in data.get("data", {}):
        dates = [
            {"phrase": phrase, "start": iso(start), "end": iso(end)} for phrase, start, end in data["data"]["dates"]
        ]
        data["data"] = {**data["data"], "dates": dates}
    return data


def operation_data(operation: Operation) -> dict[str, Any]:
    """An operation as plain data."""
    return {
        "id": operation.id,
        "kind": str(operation.kind),
        "at": iso(operation.at),
        "user": operation.scope.user,
        "agent": operation.scope.agent,
        "note": dict(operation.note),
    }
