"""The verbs that forget and tidy up: forget, restore, undo, operations, consolidate."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from mnemos.cli.common import (
    AgentOption,
    EmbedderOption,
    Id,
    JsonOption,
    KindOption,
    RecipeOption,
    SessionOption,
    SinceOption,
    SpeakerOption,
    StoreOption,
    UntilOption,
    UserOption,
    filters,
    memory_at,
    operation_data,
    print_json,
)
from mnemos.cli.screen import (
    message,
    print_mapping,
    print_nothing,
    print_receipt,
    print_record,
    row,
    screen,
    styled,
    table,
    when,
)
from mnemos.core.errors import InvalidInput


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    for verb in (forget, restore, undo, operations, consolidate):
        app.command(verb.__name__)(verb)


def forget(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Which memories; or give a filter.", show_default=False),
    ] = None,
    hard: Annotated[bool, typer.Option("--hard", help="Erase from every file; cannot be undone.")] = False,
    everything: Annotated[bool, typer.Option("--everything", help="All memories of this user and agent.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --hard.")] = False,
    session: SessionOption = None,
    speaker: SpeakerOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    kind: KindOption = None,
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    as_json: JsonOption = False,
) -> None:
    """Forget memories, with what was derived from them alone, and print a receipt.

    Without --hard they are hidden, and come back with restore or undo.

    Example: mnemos forget --session 2023-05-08 --hard
    """
    chosen = filters(session, speaker, since, until, kind)
    if ids and (chosen or everything):
        raise InvalidInput("give ids, or filters, not both: ids name exactly what goes")
    if everything and chosen:
        raise InvalidInput("give --everything or filters, not both")
    with memory_at(store, "none") as memory:
        if hard and not yes and (ids or chosen or everything):
            found = ids or memory.list(user=user, agent=agent, hidden=True, limit=2**62, **chosen)
            if not _sure(f"Erase {len(found)} for ever, with their history?"):
                message("nothing was forgotten")
                raise typer.Exit(1)
        receipt = memory.forget(ids or None, hard=hard, user=user, agent=agent, everything=everything, **chosen)
    if as_json:
        print_json(asdict(receipt))
    else:
        print_receipt(receipt)


def restore(
    id: Id,
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take back a soft forget of one memory; what was derived from it comes back with it.

    Example: mnemos restore 01JQ3V5K8M
    """
    with memory_at(store, "none") as memory:
        memory.restore(id, user=user, agent=agent)
        print_record(memory.get(id, user=user, agent=agent), as_json)


def undo(
    operation: Annotated[
        str, typer.Argument(metavar="OPERATION", help="Its id, as `operations` shows it.", show_default=False)
    ],
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    embedder: EmbedderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back any operation but a hard forget.

    Example: mnemos undo 01JQ3V9ZTB
    """
    with memory_at(store, embedder) as memory:
        done = memory.undo(operation, user=user, agent=agent)
    if as_json:
        print_json(operation_data(done))
    else:
        screen().print(styled(("undone ", "green"), (operation, "bold"), (f" by operation {done.id}", "dim")))


def operations(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 50,
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    as_json: JsonOption = False,
) -> None:
    """List what was done to this memory, newest first; the ids are what undo takes.

    Example: mnemos operations --limit 5
    """
    with memory_at(store, "none") as memory:
        done = memory.operations(user=user, agent=agent, limit=limit)
        if not done:
            print_nothing(memory, user, agent)
    if as_json:
        print_json([operation_data(one) for one in done])
    elif done:
        made = table("id", "operation", "when", "note")
        for one in done:
            row(
                made,
                one.id,
                one.kind,
                when(one.at),
                ", ".join(f"{name} {value}" for name, value in one.note.items()),
            )
        screen().print(made)


def consolidate(
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    embedder: EmbedderOption = None,
    recipe: RecipeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tidy up: embed what has no vector, merge copies, sum up sessions, let go what has expired.

    Example: mnemos consolidate
    """
    with memory_at(store, embedder, recipe) as memory:
        done = memory.consolidate(user=user, agent=agent, progress=message)
    if as_json:
        print_json(asdict(done))
    else:
        counts = {name: value for name, value in asdict(done).items() if name != "operations"}
        print_mapping(
            screen(),
            {name: str(value) for name, value in counts.items()} | {"operations": ", ".join(done.operations)},
        )


# -- helpers -------------------------------------------------------------------------------


def _sure(question: str) -> bool:
    # not typer.confirm: that writes to stdout, which may be a JSON document
    typer.echo(f"{question} [y/N] ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):  # nobody there to answer
        message("")
    return answer.strip().lower() in ("y", "yes")


__all__ = ["register"]
