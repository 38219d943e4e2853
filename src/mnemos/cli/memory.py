"""The verbs that write and read: add, search, ask, list, show, update, history."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mnemos.cli.common import (
    AgentOption,
    AsOfOption,
    EmbedderOption,
    Id,
    JsonOption,
    KindOption,
    MetaOption,
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
    pairs,
    print_json,
    record_data,
)
from mnemos.cli.screen import (
    cited_beside,
    line,
    message,
    print_hits,
    print_nothing,
    print_record,
    screen,
    short,
    styled,
    when,
)
from mnemos.core.errors import InvalidInput

Best = Annotated[int, typer.Option("-k", min=1, help="How many memories at most.")]


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    for verb in (add, search, ask, list_, show, update, history):
        app.command(verb.__name__.rstrip("_"))(verb)


# -- write ---------------------------------------------------------------------------------


def add(
    text: Annotated[
        str,
        typer.Argument(metavar="TEXT", help="What to remember; - reads it from stdin.", show_default=False),
    ],
    speaker: Annotated[str, typer.Option("--speaker", help="Who said it.")] = "",
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="When, such as 2023-05-08T13:56.")] = None,
    session: Annotated[str, typer.Option("--session", help="The conversation it is part of.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="turn, passage or note.")] = "turn",
    source: Annotated[
        str, typer.Option("--source", help="Who vouches for it: user, assistant, tool, import.")
    ] = "user",
    key: Annotated[str, typer.Option("--key", help="A second add with this key stores nothing.")] = "",
    meta: MetaOption = None,
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    embedder: EmbedderOption = None,
    recipe: RecipeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remember one text.

    Example: mnemos add "I moved to Lisbon last week" --speaker Ada --at 2025-03-02
    """
    if text == "-":
        text = _stdin()
    with memory_at(store, embedder, recipe, create=True) as memory:
        id = memory.add(
            text,
            user=user,
            agent=agent,
            speaker=speaker,
            at=at,
            session=session,
            metadata=pairs(meta, "--meta"),
            kind=kind,
            source=source,
            key=key,
        )
        if as_json:
            print_json({"id": id, "store": str(memory.path)})
        else:
            screen().print(styled(("remembered ", "green"), (id, "bold"), (f" in {memory.path}", "dim")))


def update(
    id: Id,
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help="The new text; - reads it from stdin.", show_default=False),
    ] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="A new time.")] = None,
    meta: MetaOption = None,
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    embedder: EmbedderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a memory; the version before stays in its history, and answers --as-of questions.

    Example: mnemos update 01JQ3V5K8M "I moved to Porto"
    """
    if text == "-":
        text = _stdin()
    with memory_at(store, embedder) as memory:
        memory.update(id, text, metadata=pairs(meta, "--meta"), at=at, user=user, agent=agent)
        print_record(memory.get(id, user=user, agent=agent), as_json)


# -- read ----------------------------------------------------------------------------------


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.", show_default=False)],
    k: Best = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each feature added to a score.")] = False,
    session: SessionOption = None,
    speaker: SpeakerOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    kind: KindOption = None,
    as_of: AsOfOption = None,
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    embedder: EmbedderOption = None,
    recipe: RecipeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the memories that best answer a query, each with its reasons.

    Example: mnemos search "Where does Ada live?" -k 3 --since 2025-01-01
    """
    chosen = filters(session, speaker, since, until, kind, as_of)
    with memory_at(store, embedder, recipe) as memory:
        hits = memory.search(query, k, user=user, agent=agent, explain=explain, **chosen)
        if as_json:
            print_json([hit.as_dict() for hit in hits])
        else:
            print_hits(screen(), hits)
        if not hits:
            print_nothing(memory, user, agent)


def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question.", show_default=False)],
    k: Best = 5,
    session: SessionOption = None,
    speaker: SpeakerOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    kind: KindOption = None,
    as_of: AsOfOption = None,
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    embedder: EmbedderOption = None,
    recipe: RecipeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question from memory, with the memories that the answer rests on (★).

    Says "not in memory" where it is not. MNEMOS_MODEL names a language model to word the answer.

    Example: mnemos ask "Where did Ada live?" --as-of 2024-06-01
    """
    chosen = filters(session, speaker, since, until, kind, as_of)
    with memory_at(store, embedder, recipe) as memory:
        answer = memory.ask(question, k, user=user, agent=agent, **chosen)
        if as_json:
            print_json(answer.as_dict())
            return
        console = screen()
        style = "bold green" if answer.found else "bold yellow"
        line(console, 0, (answer.text, style), (f"   confidence {answer.confidence:.2f}", "dim"))
        console.print()
        for record, why in cited_beside(memory, answer, user=user, agent=agent):
            line(
                console,
                5,
                ("★ ", "yellow"),
                (record.speaker or str(record.kind), "bold cyan"),
                (f"  {when(record.at)}  {record.id}", "dim"),
            )
            line(console, 7, (short(record.text, 600), ""))
            line(console, 7, ("why  ", "dim"), (why, "dim italic"))
        print_hits(console, answer.hits, marked=answer.citations)
        if not answer.hits:
            print_nothing(memory, user, agent)


def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 100,
    after: Annotated[str, typer.Option("--after", metavar="ID", help="Only those added after this one.")] = "",
    hidden: Annotated[bool, typer.Option("--hidden", help="Forgotten, expired and quarantined ones too.")] = False,
    session: SessionOption = None,
    speaker: SpeakerOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    kind: KindOption = None,
    as_of: AsOfOption = None,
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    as_json: JsonOption = False,
) -> None:
    """List memories in the order in which they were added.

    Example: mnemos list --speaker Ada --kind turn --kind fact
    """
    chosen = filters(session, speaker, since, until, kind, as_of)
    with memory_at(store, "none") as memory:
        records = memory.list(user=user, agent=agent, limit=limit, after=after, hidden=hidden, **chosen)
        if as_json:
            print_json([record_data(record) for record in records])
        elif records:
            console = screen()
            for record in records:
                place = [when(record.at), record.session, record.kind if record.speaker else "", record.id]
                head = (record.speaker or str(record.kind), "bold cyan"), ("  ".join(["", *filter(None, place)]), "dim")
                line(console, 0, *head)
                line(console, 4, ("" if record.searchable else "(hidden) ", "dim"), (short(record.text, 200), ""))
        if not records:
            print_nothing(memory, user, agent)
        elif len(records) == limit:
            message(f"the first {limit}: go on with --after {records[-1].id}")


def show(
    id: Id,
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show everything about one memory, a forgotten one too.

    Example: mnemos show 01JQ3V5K8M --json
    """
    with memory_at(store, "none") as memory:
        print_record(memory.get(id, user=user, agent=agent), as_json)


def history(
    id: Id,
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show every version of a memory, oldest first, with the operation that made it.

    Example: mnemos history 01JQ3V5K8M
    """
    with memory_at(store, "none") as memory:
        versions = memory.history(id, user=user, agent=agent)
    if as_json:
        records = [None if v.record is None else record_data(v.record) for v in versions]
        operations = [operation_data(v.operation) for v in versions]
        print_json([{"operation": o, "record": r} for o, r in zip(operations, records, strict=True)])
        return
    console = screen()
    for v in versions:
        line(console, 0, (v.operation.kind, "bold cyan"), (f"  {when(v.operation.at)}  {v.operation.id}", "dim"))
        if v.record is None:
            line(console, 4, ("(erased)", "dim"))
        else:
            line(console, 4, ("" if v.record.retracted_at is None else "(forgotten) ", "dim"), (v.record.text, ""))


# -- helpers -------------------------------------------------------------------------------


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as why:
        raise InvalidInput(f"stdin is not UTF-8 text ({why.reason} at byte {why.start}): convert it first") from None


__all__ = ["register"]
