"""Runs tasks and claims by name.

A task is a module of `mnemos.bench.tasks` with one decorated function of the module's name:

    @dataclass(frozen=True, kw_only=True)
    class LocomoOptions(TaskOptions):
        data: Path | None = None

    @task("locomo", summary="Evidence recall on LoCoMo", options=LocomoOptions, plot=("system", "recall@20"))
    def locomo(options: LocomoOptions, progress: Progress) -> Result: ...

A claim is a module of `mnemos.bench.claims` named after its system, with `SYSTEM` (that name again) and
`run(progress) -> Result`, whose `claim` is set. Names are read from the folders; a module is imported
when it is run, so a missing extra concerns only whoever needs it.

An interrupted run leaves nothing behind: a result exists, and is written, only when the run is complete.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from mnemos.bench.results import Result, check_writable, save, this_commit, this_machine
from mnemos.core.clock import Clock, SystemClock
from mnemos.core.errors import InvalidInput, MissingExtra, NotFound

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many steps of it are done, and out of how many."""

_TASKS = "mnemos.bench.tasks"
_CLAIMS = "mnemos.bench.claims"


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What every task can be told; a task adds its own fields in a subclass."""

    seed: int = 0


Options = TypeVar("Options", bound=TaskOptions)


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark that runs on any memory with the verbs."""

    name: str
    summary: str
    """One line for the list of tasks."""
    options: type[TaskOptions]
    plot: tuple[str, str]
    """(x, y): the columns of its rows that its figure shows."""
    run: Callable[[Any, Progress], Result]
    """(options, progress) → result."""


def silent(what: str, done: int, total: int) -> None:
    """The progress that shows nothing."""


def task(
    name: str, *, summary: str, options: type[Options], plot: tuple[str, str]
) -> Callable[[Callable[[Options, Progress], Result]], Task]:
    """Make the decorated function the task `name`, which is also its module's name."""
    return lambda run: Task(name, summary, options, plot, run)


def task_names() -> list[str]:
    """Every task, without importing one."""
    return _modules(_TASKS)


def get_task(name: str) -> Task:
    """The task `name`; imports its module.

    Raises:
        NotFound: no such task; the message offers the nearest names.
        MissingExtra: its packages are not installed.
    """
    module = _module(_TASKS, name, "task")
    found = [value for value in vars(module).values() if isinstance(value, Task) and value.name == name]
    if not found:
        raise InvalidInput(f"{module.__name__} defines no task {name!r}: decorate its function with @task")
    return found[0]


def run_task(name: str, *, progress: Progress = silent, clock: Clock | None = None, **options: Any) -> Result:
    """Run a task and stamp its result with time, machine and commit. Writes no file: see `results.save`.

    Args:
        progress: called as the run goes on.
        clock: tells when it started; the system's if None.
        options: fields of the task's options.

    Raises:
        NotFound: no such task.
        InvalidInput: no such option, or a value that the task refuses.
    """
    chosen = get_task(name)
    known = [field.name for field in fields(chosen.options)]
    if unknown := [key for key in options if key not in known]:
        raise InvalidInput(f"{name} has no option {unknown[0]!r}: {_offer(unknown[0], known)}")
    settings = chosen.options(**options)
    return _stamped(name, lambda: chosen.run(settings, progress), clock)


def claim_slugs() -> list[str]:
    """Every system with a claim that can be re-run, without importing one."""
    return _modules(_CLAIMS)


def run_claim(
    slug: str,
    directory: Path = Path("benchmarks/results"),
    *,
    progress: Progress = silent,
    clock: Clock | None = None,
) -> Result:
    """Re-run what the paper of `slug` says, and write `<directory>/<slug>.json`.

    Raises:
        NotFound: no such claim; the message offers the nearest names.
        InvalidInput: the claim's module is not made as described above, or the folder cannot be written.
        MissingExtra: its packages are not installed.
    """
    module = _module(_CLAIMS, slug, "claim")
    run = getattr(module, "run", None)
    if getattr(module, "SYSTEM", None) != slug or not callable(run):
        raise InvalidInput(f"{module.__name__} needs SYSTEM = {slug!r} and run(progress) -> Result")
    check_writable(directory)
    result = _stamped(slug, lambda: run(progress), clock)
    if result.claim is None:
        raise InvalidInput(f"{module.__name__}.run returned a result whose claim is None: set a Finding")
    save(result, directory)
    return result


def _stamped(name: str, run: Callable[[], Result], clock: Clock | None) -> Result:
    started_at = (clock or SystemClock()).now()
    commit = this_commit()  # before the run: the files may change under it
    start = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start
    if not isinstance(result, Result) or result.name != name:
        raise InvalidInput(f"{name} returned {result!r:.80}: it must return a Result named {name!r}")
    return replace(result, seconds=round(seconds, 3), machine=this_machine(), commit=commit, started_at=started_at)


def _modules(package: str) -> list[str]:
    if find_spec(package) is None:
        return []
    path = importlib.import_module(package).__path__
    return sorted(one.name for one in pkgutil.iter_modules(path) if not one.name.startswith("_"))


def _module(package: str, name: str, what: str) -> ModuleType:
    names = _modules(package)
    if name not in names:
        raise NotFound(f"no {what} {name!r}: {_offer(name, names)}")
    try:
        return importlib.import_module(f"{package}.{name}")
    except ModuleNotFoundError as missing:
        if missing.name == "torch":
            raise MissingExtra(f"the {what} {name!r}", "neural") from missing
        raise


def _offer(wrong: str, names: Sequence[str]) -> str:
    near = get_close_matches(wrong, names, n=3) or sorted(names)
    return f"try {', '.join(near)}" if near else "there is none here"
