"""The command line: `mnemos` in a shell.

Exit codes: 0 done (also for an `ask` that finds nothing), 1 it could not be done, 2 a value that
cannot be used, 130 interrupted, 141 the reader of the output went away. Errors are one line on stderr.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import mnemos
from mnemos.cli import bench, demo, forget, inspect, lm, memory, transfer
from mnemos.core.errors import InvalidInput, MnemosError

INTERRUPTED, PIPE_CLOSED = 130, 141


def main() -> None:
    """Entry point of the command `mnemos`."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app(prog_name="mnemos")


class _Commands(TyperGroup):
    """All commands, with one way to fail."""

    def invoke(self, ctx: Any) -> Any:
        with _told():
            result = super().invoke(ctx)
            sys.stdout.flush()  # a closed pipe shows here, not while Python exits
            return result


app = typer.Typer(
    name="mnemos",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mnemos {mnemos.__version__}")
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Memory for AI: add what was said, search it, ask it, and forget it again, in one file.

    Start with: mnemos demo
    """


for _part in (demo, memory, forget, transfer, inspect, bench, lm):
    _part.register(app)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn errors into one line and an exit code."""
    handler = _Messages()
    log = logging.getLogger("mnemos")
    log.addHandler(handler)
    try:
        yield
    except MnemosError as why:
        _fail(str(why))
        raise typer.Exit(2 if isinstance(why, InvalidInput) else 1) from None
    except KeyboardInterrupt:
        _fail("interrupted: what was done is kept, the step under way was taken back; run it again to go on")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _drop_output()
        raise typer.Exit(PIPE_CLOSED) from None
    except OSError as why:
        _fail(f"{why.filename or 'a file'}: {why.strerror or why}")
        raise typer.Exit(1) from None
    finally:
        log.removeHandler(handler)


def _fail(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        typer.echo(f"error: {' '.join(text.split())}", err=True)


def _drop_output() -> None:
    """Let nothing more be written to a pipe that nobody reads."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Messages(logging.Handler):
    """Warnings of the library, as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            typer.echo(f"note: {record.getMessage()}", err=True)


__all__ = ["app", "main"]
