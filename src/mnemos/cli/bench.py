"""bench and claim: measure, and re-run what papers say."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin, get_type_hints

import typer

from mnemos.cli.common import JsonOption, print_json
from mnemos.cli.screen import message, row, screen, styled, table
from mnemos.core.errors import InvalidInput, MissingExtra, MnemosError

if TYPE_CHECKING:
    from mnemos.bench.results import Result
    from mnemos.bench.runner import Progress, TaskOptions

_RESULTS = Path("benchmarks/results")


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command("bench", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)
    app.command("claim")(claim)


def bench(
    context: typer.Context,
    task: Annotated[
        str | None,
        typer.Argument(metavar="TASK", help="Which task; all are listed without.", show_default=False),
    ] = None,
    list_tasks: Annotated[bool, typer.Option("--list", help="List the tasks and their options.")] = False,
    results: Annotated[
        Path | None, typer.Option("--results", metavar="DIR", help="Keep the result as JSON in this folder.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the result: a .png or .svg file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a benchmark on this machine. A task's own options follow its name: --list shows them.

    Example: mnemos bench locomo --seed 1 --results benchmarks/results --plot locomo.svg
    """
    from mnemos.bench import runner
    from mnemos.bench.report import plot
    from mnemos.bench.results import check_writable, save

    if list_tasks or task is None:
        _list_tasks(as_json)
        return
    chosen = runner.get_task(task)
    options = _options(chosen.options, _named(context.args))
    if results is not None:
        check_writable(results)
    with _progress() as progress:
        result = runner.run_task(task, progress=progress, **options)
    if results is not None:
        message(f"written to {save(result, results)}")
    if figure is not None:
        x, y = chosen.plot
        message(f"drawn in {plot(result, figure, x=x, y=y)}")
    _print_results([result], as_json)


def claim(
    slug: Annotated[
        str | None,
        typer.Argument(metavar="SLUG", help="Whose claim; all are listed without.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Re-run every claim.")] = False,
    list_claims: Annotated[bool, typer.Option("--list", help="List the claims.")] = False,
    results: Annotated[
        Path, typer.Option("--results", metavar="DIR", help="Folder for the result, one JSON file each.")
    ] = _RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Re-run what a system's paper says, and keep its value, ours and the verdict in one JSON file.

    Example: mnemos claim --all --results benchmarks/results
    """
    from mnemos.bench import runner

    slugs = runner.claim_slugs()
    if slug is not None and every:
        raise InvalidInput("give one SLUG or --all, not both")
    if list_claims or (slug is None and not every):
        if as_json:
            print_json(slugs)
        else:
            _print_names(slugs, "claims")
        return
    done: list[Result] = []
    failed = 0
    with _progress() as progress:
        for name in [slug] if slug is not None else slugs:
            try:
                done.append(runner.run_claim(name, results, progress=progress))
            except MnemosError as why:
                if slug is not None:
                    raise
                failed += 1
                message(f"error: {name}: {why}")
    if slugs or slug is not None:
        _print_results(done, as_json)
    else:
        _print_names([], "claims")
    if failed:
        raise typer.Exit(1)


# -- helpers -------------------------------------------------------------------------------


def _list_tasks(as_json: bool) -> None:
    from mnemos.bench import runner

    rows: list[dict[str, Any]] = []
    for name in runner.task_names():
        try:
            task = runner.get_task(name)
            rows.append({"task": name, "summary": task.summary, "options": [one.name for one in fields(task.options)]})
        except MissingExtra as why:
            rows.append({"task": name, "summary": str(why), "options": []})
    if as_json:
        print_json(rows)
    elif rows:
        made = table("task", "summary", "options", wide=("summary", "options"))
        for one in rows:
            row(made, one["task"], one["summary"], ", ".join(one["options"]))
        screen().print(made)
    else:
        _print_names([], "tasks")


def _named(words: list[str]) -> dict[str, list[str]]:
    """{"a": ["b", "d"]} of ["--a", "b", "--a=d"]."""
    found: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise InvalidInput(f"{word!r} is no option of the task: write --NAME VALUE")
        if (not equals and (value := next(rest, "")).startswith("--")) or (not equals and not value):
            raise InvalidInput(f"--{name} has no value: write --{name} VALUE")
        found.setdefault(name.replace("-", "_"), []).append(value)
    return found


def _options(known: type[TaskOptions], given: dict[str, list[str]]) -> dict[str, Any]:
    """`given` in the types of the task's options; the runner refuses unknown names."""
    from pydantic import TypeAdapter, ValidationError

    hints = get_type_hints(known)
    options: dict[str, Any] = {}
    for name, texts in given.items():
        text = ",".join(texts)
        many = get_origin(hints.get(name)) in (tuple, list)
        if len(texts) > 1 and not many:
            raise InvalidInput(f"--{name} is given {len(texts)} times, and takes one value")
        if name not in hints:
            options[name] = text
            continue
        value: Any = text.split(",") if many else text
        try:
            options[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as why:
            raise InvalidInput(f"--{name} {text}: {why.errors()[0]['msg']}") from None
    return options


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal; elsewhere a line for each new step."""
    if not sys.stderr.isatty():
        last = ""

        def line(what: str, done: int, total: int) -> None:
            nonlocal last
            if what != last:
                last = what
                message(f"{what} ({total} steps)" if total else what)

        yield line
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=screen(err=True), transient=True,
    ) as bar:  # fmt: skip
        one = bar.add_task("", total=None)
        tell: Callable[[str, int, int], None] = lambda what, done, total: bar.update(  # noqa: E731
            one, description=what, completed=done, total=total or None
        )
        yield tell


def _print_results(done: list[Result], as_json: bool) -> None:
    from mnemos.bench.report import table as report
    from mnemos.bench.results import to_dict

    if as_json:
        print_json([to_dict(one) for one in done])
    elif done:
        screen().print(report(done))


def _print_names(names: list[str], what: str) -> None:
    for name in names:
        typer.echo(name)
    if not names:
        screen().print(styled((f"there are no {what} here", "dim")))


__all__ = ["register"]
