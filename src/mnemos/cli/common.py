"""What the commands share: their options, opening a memory, and putting data on a screen or into JSON.

Results go to stdout, everything said about them to stderr. Text that a memory holds is foreign: it is
never read as markup, and its control characters are shown as a sign, not sent to the terminal.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemos.core.clock import iso
from mnemos.core.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mnemos.text.memory import Memory
    from mnemos.text.records import Operation, Record
    from mnemos.text.results import Hit
    from mnemos.text.store import Receipt

_WHO, _WHICH = "Whose memory", "Which records"

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", "-s", metavar="PATH", help="The memory's file. Default: MNEMOS_PATH, or memory.mnemos."),
]
UserOption = Annotated[str, typer.Option("--user", help="Whose memory it is.", rich_help_panel=_WHO)]
AgentOption = Annotated[str, typer.Option("--agent", help="The agent it is kept with.", rich_help_panel=_WHO)]
EmbedderOption = Annotated[
    str | None,
    typer.Option("--embedder", metavar="NAME", help="auto, none, minilm, fast or openai:<model>. Default: MNEMOS_EMBEDDER, or auto."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, times in ISO 8601 (UTC).")]
SessionOption = Annotated[str | None, typer.Option("--session", help="Of this conversation.", rich_help_panel=_WHICH)]
SpeakerOption = Annotated[str | None, typer.Option("--speaker", help="Said by this person.", rich_help_panel=_WHICH)]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Said at or after, such as 2023-05-08.", rich_help_panel=_WHICH)
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Said before.", rich_help_panel=_WHICH)]
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
    str | None, typer.Option("--as-of", metavar="TIME", help="What held at this moment.", rich_help_panel=_WHICH)
]
MetaOption = Annotated[
    list[str] | None, typer.Option("--meta", metavar="NAME=VALUE", help="Metadata of your own; may be repeated.")
]


# -- opening -------------------------------------------------------------------------------


@contextmanager
def memory_at(store: Path | None, embedder: str | None = None, *, create: bool = False) -> Iterator[Memory]:
    """The memory that a command works on, open.

    Args:
        store: its file; the configured one if None.
        embedder: its name; the configured one if None.
        create: make the file if there is none. Reading never does: a mistyped path is told, not made.

    Raises:
        NotFound: no such file, and not `create`.
    """
    from mnemos.core.config import Settings
    from mnemos.text.memory import Memory

    settings = Settings()
    path = store or settings.path
    if not create and not path.exists():
        raise NotFound(f"there is no memory at {path}: `mnemos add` or `mnemos import` makes one, --store names another")
    chosen = embedder or settings.embedder
    log = logging.getLogger("mnemos.text.memory")
    level = log.level
    if chosen == "none":  # asked for: no news
        log.setLevel(logging.ERROR)
    try:
        memory = Memory(path, embedder=chosen, settings=settings)
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
        "session": session, "speaker": speaker, "since": since, "until": until, "kinds": list(kind or ()) or None, "as_of": as_of,
    }  # fmt: skip
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
        dates = [{"phrase": phrase, "start": iso(start), "end": iso(end)} for phrase, start, end in data["data"]["dates"]]
        data["data"] = {**data["data"], "dates": dates}
    return data


def operation_data(operation: Operation) -> dict[str, Any]:
    """An operation as plain data."""
    return {
        "id": operation.id, "kind": str(operation.kind), "at": iso(operation.at), "user": operation.scope.user,
        "agent": operation.scope.agent, "note": dict(operation.note),
    }  # fmt: skip


# -- screen --------------------------------------------------------------------------------

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shown(text: str) -> str:
    """`text` with a sign for each control character, which could otherwise steer the terminal."""
    return _CONTROL.sub("�", text.replace("\r\n", "\n").replace("\t", "    "))


def message(text: str) -> None:
    """Say something about the work, on stderr."""
    typer.echo(shown(text), err=True)


def screen(*, err: bool = False) -> Console:
    """A console on stdout or stderr: as wide as the terminal, or 100 columns where there is none."""
    from rich.console import Console

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # one place decides what becomes of it: mnemos.cli

    terminal = (sys.stderr if err else sys.stdout).isatty()
    return Screen(stderr=err, highlight=False, width=None if terminal or "COLUMNS" in os.environ else 100)


def table(*columns: str, wide: Sequence[str] = ()) -> Table:
    """A table in the house's style; columns of `wide` give way, the others keep their words whole."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column not in wide and column not in ("note", "text"))
    return made


def row(made: Table, *cells: object) -> None:
    """Add a row of foreign text."""
    from rich.text import Text

    made.add_row(*(cell if isinstance(cell, Text) else Text("" if cell is None else shown(str(cell))) for cell in cells))


def styled(*parts: tuple[str, str]) -> Text:
    """Foreign text in styles: (text, style) pairs."""
    from rich.text import Text

    return Text.assemble(*((shown(text), style) for text, style in parts))


def when(at: float | None) -> str:
    """'2023-05-08 13:56', or nothing."""
    return "" if at is None else iso(at)[:16].replace("T", " ")


def print_hits(console: Console, hits: Iterable[Hit], *, marked: Sequence[str] = (), indent: int = 0) -> None:
    """Hits with score, speaker, time, text and reasons; ids in `marked` carry a star."""
    from rich.padding import Padding

    for hit in hits:
        head = styled(
            (f"{hit.score:.2f}", "bold green" if hit.score >= 0.5 else "bold"),
            (" ★ " if hit.id in marked else "   ", "yellow"),
            (hit.speaker or str(hit.kind), "bold cyan"),
            (f"  {when(hit.at)}" if hit.at is not None else "", "dim"),
            (f"  {hit.session}" if hit.session else "", "dim"),
            (f"  {hit.id}", "dim"),
        )
        console.print(Padding(head, (0, 0, 0, indent)))
        console.print(Padding(styled((short(hit.text, 600), "")), (0, 0, 0, indent + 7)))
        for why in hit.why:
            console.print(Padding(styled(("why  ", "dim"), (why, "dim italic")), (0, 0, 0, indent + 7)))
        for name, value in sorted(hit.parts.items(), key=lambda part: -abs(part[1])):
            if abs(value) >= 0.01:
                console.print(Padding(styled((f"{value:+.2f}  {name}", "dim")), (0, 0, 0, indent + 12)))


def short(text: str, limit: int) -> str:
    """The beginning of a long text."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def print_receipt(receipt: Receipt) -> None:
    """What a `forget` removed, and where."""
    what = "erased" if receipt.hard else "forgotten"
    console = screen()
    console.print(styled((f"{len(receipt.ids)} {what}", "bold"), (f", with {len(receipt.derived)} that only they supported", "")))
    made = table("place", "removed")
    for place, count in receipt.removed.items():
        row(made, place, count)
    if receipt.removed:
        console.print(made)
    if receipt.held:
        console.print(styled((f"kept by a legal hold: {', '.join(receipt.held)}", "yellow")))
    if receipt.hard:
        sure = "searched for in every file afterwards, and not found" if receipt.verified else "NOT all gone: traces are left in a file"
        console.print(styled((f"the texts were {sure}" if receipt.verified else f"the texts are {sure}", "")))
    console.print(styled((f"operation {receipt.operation}", "dim")))


def print_mapping(console: Console, data: Mapping[str, Any]) -> None:
    """Names and values, one pair a line."""
    from rich.table import Table

    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in data.items():
        if value not in (None, "", {}, [], ()):
            row(made, styled((name, "dim")), value)
    console.print(made)
