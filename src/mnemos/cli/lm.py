"""lm: train a language model that carries memory, and let it write."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemos.cli.common import JsonOption, pairs, print_json
from mnemos.cli.screen import message, screen, shown
from mnemos.core.errors import InvalidInput

if TYPE_CHECKING:
    from mnemos.models.training import Report

_MODEL, _STEPS, _OTHER = "The model", "The steps", "What stands around it"
_STOPPED = 130


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Train a language model that carries memory, and let it write.")
    group.command("train")(train)
    group.command("generate")(generate)
    app.add_typer(group, name="lm")


def _of(panel: str, *names: str, metavar: str | None = None, help: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel)


def train(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A UTF-8 text file.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Its folder; a run begun there goes on.")],
    mixer: Annotated[
        str, _of(_MODEL, "--mixer", help="A mixer, or a pattern such as titans-mac,swa over the layers.")
    ] = "titans-mac",
    settings: Annotated[
        list[str] | None,
        _of(_MODEL, "--set", metavar="[MIXER.]NAME=VALUE", help="A setting of a mixer; may be repeated."),
    ] = None,
    layers: Annotated[int, _of(_MODEL, "--layers", help="Blocks.")] = 4,
    hidden: Annotated[int, _of(_MODEL, "--hidden", help="Model width.")] = 256,
    heads: Annotated[int, _of(_MODEL, "--heads", help="Heads of each mixer.")] = 4,
    channel_mixer: Annotated[str, _of(_MODEL, "--channel-mixer", help="swiglu, gelu or none.")] = "swiglu",
    tokenizer: Annotated[str, _of(_MODEL, "--tokenizer", help="bytes, or bpe: learned from the corpus.")] = "bytes",
    vocab_size: Annotated[int, _of(_MODEL, "--vocab-size", help="Tokens of a bpe.")] = 4096,
    context: Annotated[int, _of(_STEPS, "--context", help="Tokens of a training window.")] = 256,
    batch: Annotated[int, _of(_STEPS, "--batch", help="Windows at a time.")] = 8,
    accumulate: Annotated[int, _of(_STEPS, "--accumulate", help="Batches to a step.")] = 1,
    steps: Annotated[int, _of(_STEPS, "--steps", help="Steps in all.")] = 1000,
    optimizer: Annotated[
        str, _of(_STEPS, "--optimizer", help="adamw, or muon for the matrices and adamw for the rest.")
    ] = "adamw",
    lr: Annotated[float, _of(_STEPS, "--lr", help="AdamW's step size.")] = 1e-3,
    muon_lr: Annotated[float, _of(_STEPS, "--muon-lr", help="Muon's step size.")] = 0.02,
    muon_targets: Annotated[
        str, _of(_STEPS, "--muon-targets", help="Which matrices Muon takes: all, vo_ffn, vo, ffn or qk.")
    ] = "all",
    weight_decay: Annotated[float, _of(_STEPS, "--weight-decay", help="Of matrices.")] = 0.1,
    schedule: Annotated[
        str, _of(_STEPS, "--schedule", help="cosine, or wsd: constant, and down in the last fifth.")
    ] = "cosine",
    warmup: Annotated[int, _of(_STEPS, "--warmup", help="Steps until the step size is reached.")] = 50,
    lr_floor: Annotated[float, _of(_STEPS, "--lr-floor", help="What is left of the step size at the end.")] = 0.1,
    clip: Annotated[float, _of(_STEPS, "--clip", help="Largest norm of the gradient.")] = 1.0,
    checkpointing: Annotated[
        bool, _of(_STEPS, "--checkpointing", help="Compute activations again: less memory, more time.")
    ] = False,
    seed: Annotated[int, _of(_STEPS, "--seed", help="Of weights and windows.")] = 0,
    validation: Annotated[
        float, _of(_OTHER, "--validation", help="Share of the corpus, at its end, that is held out.")
    ] = 0.05,
    validation_batches: Annotated[int, _of(_OTHER, "--validation-batches", help="Batches of a validation.")] = 20,
    device: Annotated[str, _of(_OTHER, "--device", help="auto, cpu, cuda, ...")] = "auto",
    log_every: Annotated[int, _of(_OTHER, "--log-every", help="Steps between lines of the log.")] = 10,
    save_every: Annotated[
        int, _of(_OTHER, "--save-every", help="Steps between checkpoints, each with validation and sample.")
    ] = 200,
    sample: Annotated[str, _of(_OTHER, "--sample", help="What samples start with.")] = "\n",
    sample_tokens: Annotated[int, _of(_OTHER, "--sample-tokens", help="Tokens of a sample; 0 for none.")] = 200,
    as_json: JsonOption = False,
) -> None:
    """Train a language model on a text file. Ctrl-C saves; the same command goes on from there.

    Example: mnemos lm train corpus.txt --mixer titans-mac --out model/
    """
    given = dict(locals())  # every option, by the name that TrainOptions has for it
    from mnemos.models import TrainOptions
    from mnemos.models import train as run

    del given["settings"], given["as_json"]
    options = TrainOptions(**given, mixer_settings=_mixer_settings(mixer, settings))
    with _progress(log_every) as progress:
        result = run(options, progress)
    if as_json:
        print_json({
            "out": str(result.out), "step": result.step, "finished": result.finished,
            "validation_loss": result.validation_loss,
        })  # fmt: skip
    if not result.finished:
        message(f"stopped after step {result.step} and saved: the same command goes on from there")
        raise typer.Exit(_STOPPED)
    if not as_json:
        loss = "" if result.validation_loss is None else f", validation loss {result.validation_loss:.4f}"
        typer.echo(f"{result.out}: {result.step} steps{loss}")


def generate(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a trained model.", show_default=False)],
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="What it continues; - reads stdin.")] = "\n",
    tokens: Annotated[int, typer.Option("--tokens", "-n", help="At most so many.")] = 200,
    temperature: Annotated[float, typer.Option("--temperature", help="0 takes the likeliest token.")] = 0.8,
    top_k: Annotated[int, typer.Option("--top-k", help="Only the k likeliest; 0 for all.")] = 0,
    top_p: Annotated[float, typer.Option("--top-p", help="Only the likeliest with this share.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same text.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Continue a prompt, on stdout as it comes.

    Example: mnemos lm generate model/ --prompt "To be, or"
    """
    from mnemos.models import load, load_tokenizer, pick_device, stream

    network, speller = load(model, pick_device(device)), load_tokenizer(model)
    text = sys.stdin.read() if prompt == "-" else prompt
    ids = stream(
        network,
        speller.encode(text or "\n"),
        tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=[speller.eos_id],
        seed=seed,
    )
    typer.echo(shown(text), nl=False)
    for piece in speller.decode_stream(ids):
        sys.stdout.write(shown(piece))
        sys.stdout.flush()
    typer.echo()


def _mixer_settings(mixer: str, given: list[str] | None) -> dict[str, dict[str, Any]]:
    """{"swa": {"window": 64}} of ["swa.window=64"]; the mixer may be left out where there is one."""
    names = [name.strip() for name in mixer.split(",")]
    found: dict[str, dict[str, Any]] = {}
    for key, text in (pairs(given, "--set") or {}).items():
        name, dot, setting = key.rpartition(".")
        if not dot and len(set(names)) > 1:
            raise InvalidInput(f"--set {key}: say whose, as in {names[0]}.{key}={text}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found.setdefault(name or names[0], {})[setting] = value
    return found


@contextmanager
def _progress(every: int) -> Iterator[Callable[[Report], None]]:
    """A bar on a terminal, elsewhere a line now and then; samples below it."""

    def line(report: Report) -> str:
        return f"step {report.step}/{report.steps}  loss {report.loss:.4f}  {report.tokens_per_second:,.0f} tokens/s"

    def checkpoint(report: Report) -> None:
        if report.validation_loss is not None:
            message(f"step {report.step}: validation loss {report.validation_loss:.4f}, saved")
        if report.sample:
            message(f"  {shown(report.sample).strip()}".replace("\n", "\n  "))

    if not sys.stderr.isatty():

        def tell(report: Report) -> None:
            if report.step % every == 0 or report.step == report.steps:
                message(line(report))
            checkpoint(report)

        yield tell
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn(), console=screen(err=True), transient=True
    ) as bar:
        one = bar.add_task("preparing", total=None)

        def show(report: Report) -> None:
            bar.update(one, description=line(report), completed=report.step, total=report.steps)
            checkpoint(report)

        yield show


__all__ = ["register"]
