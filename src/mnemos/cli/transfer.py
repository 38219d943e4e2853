"""import and export: conversations from elsewhere, and whole memories."""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemos.cli.common import (
    AgentOption,
    EmbedderOption,
    JsonOption,
    RecipeOption,
    StoreOption,
    UserOption,
    memory_at,
    print_json,
)
from mnemos.cli.screen import message, screen, shown, styled
from mnemos.core.errors import InvalidInput

if TYPE_CHECKING:
    from mnemos.text.importers import Skipped
    from mnemos.text.memory import Memory
    from mnemos.text.records import Item

BATCH = 512
"""Memories that one transaction brings in."""
_SHOWN = 10
INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command("import")(import_)
    app.command("export")(export)


def import_(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A file or folder of conversations, or what export wrote.",
            show_default=False,
        ),
    ],
    format: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="Its format, where it is not recognised.")
    ] = None,
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    embedder: EmbedderOption = None,
    recipe: RecipeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring in conversations or documents from a file, or a whole memory from an export.

    Can be interrupted and run again: nothing comes in twice.

    Example: mnemos import conversations.json --user ada
    """
    if format is None and is_export(path):
        _import_export(path, store, embedder, as_json)
        return
    from mnemos.text.importers import detect

    importer = detect(path, format)
    skipped: list[Skipped] = []
    total = sum(
        1 for _ in importer.read(path, lambda _: None)
    )  # a file that cannot be read is told before anything is written
    with memory_at(store, embedder, recipe, create=True) as memory:
        before = _count(memory, user, agent)
        try:
            read = load(memory, importer.read(path, skipped.append), total, user=user, agent=agent)
        except KeyboardInterrupt:
            came = _count(memory, user, agent) - before
            message(
                f"interrupted: {came} of {total} came in and are kept in {memory.path}; "
                "run the same command again to go on"
            )
            raise typer.Exit(INTERRUPTED) from None
        added = _count(memory, user, agent) - before
        report = {
            "format": importer.name,
            "store": str(memory.path),
            "read": read,
            "added": added,
            "present": read - added,
        }
    if as_json:
        print_json({**report, "skipped": [{"where": one.where, "why": one.why} for one in skipped]})
    else:
        _print_report(report, skipped)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.", show_default=False)],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write everything (every user, the whole history, the vectors) to one JSONL file.

    Example: mnemos export backup.jsonl
    """
    with memory_at(store) as memory:
        if file.exists() and any(file.samefile(one) for one in memory.path.parent.glob(f"{memory.path.name}*")):
            raise InvalidInput(f"{file} is the memory itself: give another file")
        count = memory.export(file)
        report = {
            "file": str(file),
            "store": str(memory.path),
            "operations": count,
            "bytes": file.stat().st_size,
        }
    if as_json:
        print_json(report)
    else:
        screen().print(
            styled(
                (f"{count} operations", "green"),
                (f" of {report['store']} written to {file} ({report['bytes']:,} bytes)", ""),
            )
        )


def load(memory: Memory, items: Iterable[Item | dict[str, Any]], total: int, *, user: str = "", agent: str = "") -> int:
    """Add `items` in batches of one transaction each, with progress on stderr. Returns their number."""
    done = 0
    rest = iter(items)
    with _progress("remembering", total) as told:
        while batch := list(itertools.islice(rest, BATCH)):
            memory.add(batch, user=user, agent=agent)
            done += len(batch)
            told(done)
    return done


def is_export(path: Path) -> bool:
    """Whether `path` begins like a file that `export` wrote."""
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline(4096))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and "mnemos" in first


# -- helpers -------------------------------------------------------------------------------


def _import_export(path: Path, store: Path | None, embedder: str | None, as_json: bool) -> None:
    with memory_at(store, embedder, create=True) as memory:
        count = memory.import_(path)
        report = {"format": "mnemos", "store": str(memory.path), "operations": count}
    if as_json:
        print_json(report)
    else:
        text = f"{count} operations came in from {path}" if count else f"all of {path} was here already"
        screen().print(styled((text, "green")))


def _count(memory: Memory, user: str, agent: str) -> int:
    return sum(size.verbatim for size in memory.scopes() if (size.scope.user, size.scope.agent) == (user, agent))


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a line per twentieth elsewhere."""
    if not sys.stderr.isatty():
        step = max(1, total // 20)
        last = -step

        def line(done: int) -> None:
            nonlocal last
            if done - last >= step or done == total:
                last = done
                message(f"{what}: {done} of {total}")

        yield line
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen(err=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _print_report(report: dict[str, Any], skipped: list[Skipped]) -> None:
    console = screen()
    console.print(styled(
        (f"{report['added']} came in", "bold green"),
        (f", {report['present']} were there already, {len(skipped)} skipped", ""),
        (f"  ({report['format']}, into {report['store']})", "dim"),
    ))  # fmt: skip
    for one in skipped[:_SHOWN]:
        message(f"skipped {one.where}: {one.why}")
    rest = Counter(shown(one.why) for one in skipped[_SHOWN:])
    for why, count in rest.most_common(_SHOWN):
        message(f"skipped {count} more: {why}")


__all__ = ["BATCH", "is_export", "load", "register"]
