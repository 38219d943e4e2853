"""What there is, and whether it is sound: stats, doctor, systems."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import mnemos
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
from mnemos.cli.screen import print_mapping, row, screen, styled, table
from mnemos.core.errors import MnemosError, NotFound

if TYPE_CHECKING:
    from mnemos.core.config import Settings

_PACKAGES = (
    "numpy",
    "scipy",
    "apsw",
    "snowballstemmer",
    "onnxruntime",
    "tokenizers",
    "safetensors",
    "faiss-cpu",
    "openai",
)


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    for command in (stats, doctor, systems):
        app.command(command.__name__)(command)


def stats(
    store: StoreOption = None,
    user: UserOption = "",
    agent: AgentOption = "",
    embedder: EmbedderOption = None,
    recipe: RecipeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the memories by kind, and say how big file and index are.

    Example: mnemos stats --user ada
    """
    with memory_at(store, embedder, recipe) as memory:
        data = memory.stats(user=user, agent=agent)
        scopes = [
            {
                "user": one.scope.user,
                "agent": one.scope.agent,
                "records": one.records,
                "verbatim": one.verbatim,
            }
            for one in memory.scopes()
        ]
    if as_json:
        print_json({**data, "scopes": scopes})
        return
    console = screen()
    kinds = data.pop("records")
    sizes = {name: f"{data.pop(name):,}" for name in ("file_bytes", "index_bytes")}
    told = {"embedder": data["embedder"] or "none", "hidden": str(data["hidden"]), "pending": str(data["pending"])}
    print_mapping(console, {**data, **told, **sizes})
    made = table("kind", "records")
    for kind, count in kinds.items():
        row(made, kind, count)
    console.print(made)
    if len(scopes) > 1 or (scopes and not kinds):
        made = table("user", "agent", "records", "verbatim")
        for one in scopes:
            row(made, one["user"] or "(unnamed)", one["agent"], one["records"], one["verbatim"])
        console.print(made)


# -- doctor --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Findings:
    """What the doctor found."""

    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)


def doctor(
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make tables and index again from the log.")] = False,
    store: StoreOption = None,
    embedder: EmbedderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the store, its index, the embedder and the installation. Exit code 1 if something is wrong.

    Example: mnemos doctor --rebuild
    """
    from mnemos.core.config import Settings

    found = _Findings()
    settings = Settings()
    found.facts["versions"] = _versions()
    _embedder(found, settings, embedder)
    _store(found, settings, store, embedder, rebuild)
    if as_json:
        print_json({"sound": not found.problems, "problems": found.problems, "hints": found.hints, **found.facts})
    else:
        _print_findings(found)
    if found.problems:
        raise typer.Exit(1)


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"mnemos": mnemos.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    import apsw

    return {**versions, "sqlite": apsw.sqlite_lib_version()}


def _embedder(found: _Findings, settings: Settings, name: str | None) -> None:
    from mnemos.text.encode.embedder import default_cache_dir, resolve

    chosen = name or settings.embedder
    folder = settings.cache_dir or default_cache_dir()
    about: dict[str, Any] = {"asked for": chosen, "usable": False}
    found.facts["embedder"] = about
    found.facts["cache"] = {"folder": str(folder), "exists": folder.is_dir(), "writable": _writable(folder)}
    if not found.facts["cache"]["writable"]:
        found.hints.append(
            f"{folder} cannot be written: models are composed again at each start; MNEMOS_CACHE_DIR names another"
        )
    try:
        key = settings.api_key.get_secret_value() if settings.api_key else None
        model = resolve(chosen, cache_dir=settings.cache_dir, base_url=settings.base_url, api_key=key)
        if model is None:
            about["name"] = None
            if chosen != "none":
                found.hints.append(
                    "no embedder: memories are found by words, names and time; pip install 'mnemos[local]' adds meaning"
                )
            return
        about["name"] = model.name
        if chosen.startswith("openai:"):
            about["usable"] = None  # only a request could tell, and that costs money
            found.hints.append(f"{chosen} was not tried: an endpoint is asked only by your own commands")
            return
        about["dim"] = int(model.embed(["one sentence"]).shape[1])
        about["usable"] = True
    except MnemosError as why:
        found.problems.append(f"embedder {chosen!r}: {why}")


def _store(found: _Findings, settings: Settings, store: Path | None, embedder: str | None, rebuild: bool) -> None:
    path = store or settings.path
    about: dict[str, Any] = {"path": str(path), "exists": path.exists()}
    found.facts["store"] = about
    if not path.exists():
        if store is not None:
            raise NotFound(f"there is no memory at {path}: `mnemos add` or `mnemos import` makes one")
        found.hints.append(f"there is no memory at {path} yet: `mnemos add` makes one")
        return
    usable = embedder if found.facts["embedder"]["usable"] is not False else "none"
    try:
        with memory_at(path, usable) as memory:
            about["bytes"] = path.stat().st_size
            if rebuild:
                about["rebuilt"] = memory.rebuild()
            about["memories"] = sum(size.verbatim for size in memory.scopes())
            found.problems += memory.check()
    except MnemosError as why:
        found.problems.append(str(why))


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)


def _print_findings(found: _Findings) -> None:
    console = screen()
    for title, facts in found.facts.items():
        console.print(styled((title, "bold")))
        print_mapping(console, {f"  {name}": _word(value) for name, value in facts.items()})
    for hint in found.hints:
        console.print(styled(("note  ", "yellow"), (hint, "")))
    for problem in found.problems:
        console.print(styled(("wrong ", "bold red"), (problem, "")))
    console.print(
        styled((f"{len(found.problems)} wrong", "bold red") if found.problems else ("all is sound", "bold green"))
    )


def _word(value: Any) -> str:
    return {True: "yes", False: "no", None: "-"}[value] if value is None or isinstance(value, bool) else str(value)


# -- systems -------------------------------------------------------------------------------


def systems(
    slug: Annotated[str | None, typer.Argument(metavar="SLUG", help="Only this one.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """List the memory systems in here, each with its paper and its four choices.

    Example: mnemos systems mnemos
    """
    from mnemos.core.catalogue import catalogue, get_system

    rows = [get_system(slug)] if slug else catalogue()
    if as_json:
        print_json([one.as_dict() for one in rows])
        return
    console = screen()
    for one in rows:
        console.print(
            styled(
                (one.slug, "bold cyan"),
                (f"  {one.title}", "bold"),
                (f"  {one.wing}, {one.year}, {one.paper}", "dim"),
            )
        )
        choices: Mapping[str, str] = one.as_dict()["choices"]
        claim = {"  claim": one.claim.statement} if one.claim else {}
        print_mapping(console, {f"  {name}": text for name, text in choices.items()} | claim)


__all__ = ["register"]
