"""How results look: on stdout, as wide as the terminal. What is said about the work goes to stderr.

Text that a memory holds is foreign: it is never read as markup, and its control characters are shown as a
sign, not sent to the terminal.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from mnemos.cli.common import print_json, record_data
from mnemos.core.clock import iso

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mnemos.text.memory import Memory
    from mnemos.text.records import Record
    from mnemos.text.results import Answer, Hit
    from mnemos.text.store import Receipt

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

    made.add_row(
        *(cell if isinstance(cell, Text) else Text("" if cell is None else shown(str(cell))) for cell in cells)
    )


def styled(*parts: tuple[str, str]) -> Text:
    """Foreign text in styles: (text, style) pairs."""
    from rich.text import Text

    return Text.assemble(*((shown(text), style) for text, style in parts))


def when(at: float | None) -> str:
    """'2023-05-08 13:56', or nothing."""
    return "" if at is None else iso(at)[:16].replace("T", " ")


def print_hits(console: Console, hits: Iterable[Hit], *, marked: Sequence[str] = (), indent: int = 0) -> None:
    """Hits with score, speaker, time, text and reasons; ids in `marked` carry a star."""
    for hit in hits:
        score = (f"{hit.score:.2f}", "bold green" if hit.score >= 0.5 else "bold")
        star = (" ★ " if hit.id in marked else "   ", "yellow")
        place = ("  ".join(["", *(part for part in (when(hit.at), hit.session, hit.id) if part)]), "dim")
        line(console, indent, score, star, (hit.speaker or str(hit.kind), "bold cyan"), place)
        line(console, indent + 7, (short(hit.text, 600), ""))
        for why in hit.why:
            line(console, indent + 7, ("why  ", "dim"), (why, "dim italic"))
        for name, value in sorted(hit.parts.items(), key=lambda part: -abs(part[1])):
            if abs(value) >= 0.01:
                line(console, indent + 12, (f"{value:+.2f}  {name}", "dim"))


def line(console: Console, indent: int, *parts: tuple[str, str]) -> None:
    """One paragraph of foreign text in styles, wrapped at its indentation."""
    from rich.padding import Padding

    console.print(Padding(styled(*parts), (0, 0, 0, indent), expand=False))


def cited_beside(memory: Memory, answer: Answer, *, user: str = "", agent: str = "") -> list[tuple[Record, str]]:
    """What an answer rests on that is no hit of its question, each with the fact that led there."""
    ids = [id for id in answer.citations if all(id != hit.id for hit in answer.hits)]
    records = [memory.get(id, user=user, agent=agent) for id in ids]
    facts = [r for r in records if "subject" in r.data]
    said = "; ".join(" ".join(str(f.data[name]) for name in ("subject", "relation", "object")) for f in facts)
    return [(r, f"fact: {said}" if said else "cited by the answer") for r in records if r not in facts]


def short(text: str, limit: int) -> str:
    """The beginning of a long text."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def print_receipt(receipt: Receipt) -> None:
    """What a `forget` removed, and where."""
    what = "erased" if receipt.hard else "forgotten"
    console = screen()
    console.print(
        styled(
            (f"{len(receipt.ids)} {what}", "bold"),
            (f", with {len(receipt.derived)} that only they supported", ""),
        )
    )
    made = table("place", "removed")
    for place, count in receipt.removed.items():
        row(made, place, count)
    if receipt.removed:
        console.print(made)
    if receipt.held:
        console.print(styled((f"kept by a legal hold: {', '.join(receipt.held)}", "yellow")))
    if receipt.hard and receipt.verified:
        console.print("every file was searched for the texts afterwards: they are gone")
    elif receipt.hard:
        console.print(styled(("traces of the texts are left in a file: run it again", "bold red")))
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


def print_record(record: Record, as_json: bool) -> None:
    """Everything about a record."""
    if as_json:
        print_json(record_data(record))
        return
    console = screen()
    console.print(styled((record.text, "bold")))
    data: dict[str, Any] = record_data(record)
    for name in ("text", "edges"):
        data.pop(name, None)
    found = data.pop("data", {})
    data["dates"] = "; ".join(f"{d['phrase']} = {d['start']} to {d['end']}" for d in found.get("dates", ()))
    data["entities"] = ", ".join(found.get("entities", ()))
    data["fact"] = " | ".join(str(found[name]) for name in ("subject", "relation", "object") if name in found)
    data["edges"] = "\n".join(f"{edge.kind} {edge.to}" for edge in record.edges)
    print_mapping(console, data)


def print_nothing(memory: Memory, user: str, agent: str) -> None:
    """Say that nothing was found, and where there is something: an empty scope is often the wrong one."""
    here = f"user {user!r}" if user else "no user"
    message(f"nothing found for {here}{f' with agent {agent!r}' if agent else ''} in {memory.path}")
    others = [size for size in memory.scopes() if (size.scope.user, size.scope.agent) != (user, agent)]
    for size in others[:3]:
        agent_too = f" --agent {size.scope.agent}" if size.scope.agent else ""
        message(f"there are {size.verbatim} with --user {shown(size.scope.user) or repr('')}{agent_too}")
