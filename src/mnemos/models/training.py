"""Train a language model on a text file, and go on where it stopped.

    train(TrainOptions(corpus="corpus.txt", out="model", mixer="titans-mac"))

In the folder: the model as `save_pretrained` writes it, `tokenizer.json`, and under `training/` the checkpoint that
a run goes on from, `log.jsonl`, and TensorBoard's files. What a step sees and does depends on the options, the
seed and the step alone, so that an interrupted run ends, in float32, with the bits of one that was not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput, MissingExtra, MnemosError
from mnemos.learn.muon import Muon, muon_groups
from mnemos.models.checkpoint import checkpoint_about, load_checkpoint, save_checkpoint
from mnemos.models.config import MnemosConfig
from mnemos.models.data import Windows, pieces, read_corpus
from mnemos.models.device import pick_device
from mnemos.models.generate import stream
from mnemos.models.lm import MnemosForCausalLM
from mnemos.models.loading import quiet
from mnemos.models.loss import IGNORED
from mnemos.models.options import TrainOptions, lr_factor
from mnemos.models.tokenizer import BPETokenizer, ByteTokenizer, Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Report:
    """What a step has to tell; losses are nats per token."""

    step: int
    steps: int
    loss: float
    """Mean cross-entropy of this step's windows."""
    lr: float
    """The first group's step size."""
    grad_norm: float
    """Before clipping."""
    tokens_per_second: float
    """Of this step."""
    validation_loss: float | None = None
    """At checkpoints."""
    sample: str | None = None
    """At checkpoints: what the model writes."""


@dataclass(frozen=True)
class TrainResult:
    """What a run left."""

    out: Path
    step: int
    """Steps that are done."""
    finished: bool
    """False where the run was interrupted; the same options go on."""
    validation_loss: float | None
    """Nats per token, of the last checkpoint; None without validation."""


def train(options: TrainOptions, progress: Callable[[Report], None] | None = None) -> TrainResult:
    """Train, or go on with, the model in `options.out`.

    Ctrl-C ends the step under way, saves, and returns; a second one stops at once, without saving.

    Args:
        progress: is told of every step.

    Raises:
        NotFound: no corpus, or no such mixer.
        InvalidInput: a corpus that is empty, not UTF-8 or shorter than the context; a folder that holds a run with
            other options or on another corpus, a model of other making, or a damaged checkpoint.
        MnemosError: the loss is no number any more.
    """
    text = read_corpus(options.corpus)
    identity = json.loads(json.dumps(options.identity()))
    identity["corpus_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    device = pick_device(options.device)
    with _own_random_state(device, options.seed):
        run = _Run(options, identity, text, device)
        with _stop_signal() as stop, run.log:
            while run.step < options.steps and not stop.is_set():
                report = run.advance()
                if run.step % options.save_every == 0 or run.step == options.steps:
                    report = replace(report, sample=run.sample(), validation_loss=run.validate())
                    run.save(report.sample)
                if progress is not None:
                    progress(report)
            if run.saved != run.step:  # interrupted
                run.save()
            if run.step >= options.steps:
                run.export()  # also where a crash came between checkpoint and export
    return TrainResult(Path(options.out), run.step, run.step >= options.steps, run.validation_loss)


class _Run:
    """A model in training, at a step."""

    def __init__(self, options: TrainOptions, identity: dict[str, Any], text: str, device: torch.device) -> None:
        self.options, self.identity, self.device = options, identity, device
        self.out = Path(options.out)
        self.checkpoint = self.out / "training" / "checkpoint.safetensors"
        about = self._about()
        self.tokenizer = load_tokenizer(self.out) if about else _tokenizer(options, text)
        self.windows = Windows(text, self.tokenizer, options.context, options.validation)
        self.model = MnemosForCausalLM(_config(options, self.tokenizer)).train()
        nn.Module.to(self.model, device)  # the signature of PreTrainedModel.to is lost on type checkers
        self.model.generation_config.pad_token_id = self.tokenizer.pad_id
        if options.checkpointing:
            self.model.activation_checkpointing_enable()
        self.optimizer = make_optimizer(self.model, options)
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.step: int = 0
        self.validation_loss: float | None = None
        if about:
            load_checkpoint(self.checkpoint, self.model, self.optimizer)
            self.step, self.validation_loss = about["step"], about["validation_loss"]
        self.saved = self.step
        self.log = _Log(self.out / "training", self.step)

    def advance(self) -> Report:
        """One optimiser step."""
        began, options = time.perf_counter(), self.options
        factor = lr_factor(self.step, options)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * factor
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for part in range(options.accumulate):
            batch = self.windows.batch(self.step, part, options.batch, options.seed).to(self.device)
            with self._precision():
                out = self.model(batch, labels=batch)
            (out.loss / options.accumulate).backward()
            extra = 0.0 if out.auxiliary_loss is None else float(out.auxiliary_loss.detach())
            total += (float(out.loss.detach()) - extra) / options.accumulate
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), options.clip))
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise MnemosError(
                f"step {self.step + 1} gave loss {total} and gradient norm {norm}: the run is lost from here; "
                "a smaller lr, a longer warmup or a smaller clip may keep it, in another folder"
            )
        self.optimizer.step()
        self.step += 1
        speed = options.accumulate * options.batch * options.context / (time.perf_counter() - began)
        report = Report(self.step, options.steps, total, self.optimizer.param_groups[0]["lr"], norm, speed)
        if self.step % options.log_every == 0 or self.step == options.steps:
            self.log.step(report)
        return report

    def save(self, sample: str | None = None) -> None:
        """Write the checkpoint, then the model."""
        about = {"step": self.step, "validation_loss": self.validation_loss, "identity": self.identity}
        save_checkpoint(self.checkpoint, self.model, self.optimizer, about)
        self.saved = self.step
        self.export()
        self.log.checkpoint(self.step, self.validation_loss, sample)

    def export(self) -> None:
        """Write the model and its tokenizer where `load` and `load_tokenizer` find them."""
        with quiet():
            self.model.save_pretrained(self.out)
        self.tokenizer.save(self.out)

    @torch.no_grad()
    def validate(self) -> float | None:
        """Mean loss of the held-out part, nats per token; None where there is none."""
        self.model.eval()
        total, count = 0.0, 0
        for batch in self.windows.validation_batches(self.options.batch, self.options.validation_batches):
            labels = batch.to(self.device)
            with self._precision():
                out = self.model(labels, labels=labels, use_cache=False, num_items_in_batch=1)
            total += float(out.loss)
            count += int((labels[:, 1:] != IGNORED).sum())
        self.model.train()
        self.validation_loss = total / count if count else None
        return self.validation_loss

    def sample(self) -> str | None:
        """What the model writes now; the same at the same step."""
        if not self.options.sample_tokens:
            return None
        prompt = self.tokenizer.encode(self.options.sample) or self.tokenizer.encode("\n")
        with self._precision():
            tokens = list(stream(self.model, prompt, self.options.sample_tokens, temperature=0.8, seed=self.step))
        return self.options.sample + self.tokenizer.decode(tokens)

    def _about(self) -> dict[str, Any] | None:
        """What the checkpoint in the folder says, if it is one of this run."""
        if not self.checkpoint.exists():
            if (self.out / "config.json").exists():
                raise InvalidInput(f"{self.out} holds a model that no run here made: choose another folder")
            if self.out.exists() and not self.out.is_dir():
                raise InvalidInput(f"{self.out} is a file: choose a folder")
            return None
        about = checkpoint_about(self.checkpoint)
        before = about["identity"]
        for name in sorted(self.identity.keys() | before.keys()):
            if before.get(name) != self.identity.get(name):
                raise InvalidInput(
                    f"the run in {self.out} has {name} {before.get(name)!r}, and this one {self.identity.get(name)!r}: "
                    "give the same options to go on with it, or another folder"
                )
        return about

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        # half precision is many times slower than float32 on CPUs without units for it
        if self.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()


class _Log:
    """`log.jsonl` and TensorBoard's files, without what a lost piece of a run had written."""

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtra("the training log (tensorboard)", "neural") from None
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "log.jsonl"
        kept = [line for line in _lines(path) if line["step"] <= step]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._board.close()

    def step(self, report: Report) -> None:
        row = {name: value for name, value in asdict(report).items() if value is not None and name != "steps"}
        self._write(row)
        for name in ("loss", "lr", "grad_norm", "tokens_per_second"):
            self._board.add_scalar(f"train/{name}", row[name], report.step)

    def checkpoint(self, step: int, validation_loss: float | None, sample: str | None) -> None:
        self._write({"step": step, "validation_loss": validation_loss, "sample": sample})
        if validation_loss is not None:
            self._board.add_scalar("validation/loss", validation_loss, step)
        if sample is not None:
            self._board.add_text("sample", sample, step)
        self._board.flush()

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()


def make_optimizer(model: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """AdamW, or Muon with AdamW for the rest. Vectors and embeddings have no weight decay."""
    if options.optimizer == "muon":
        groups = muon_groups(
            model, options.muon_targets, lr=options.muon_lr, adamw_lr=options.lr, weight_decay=options.weight_decay
        )
        return Muon(groups)
    tables = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    decay: list[Tensor] = []
    rest: list[Tensor] = []
    for weight in model.parameters():
        (rest if weight.ndim < 2 or id(weight) in tables else decay).append(weight)
    groups = [
        {"params": decay, "weight_decay": options.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([one for one in groups if one["params"]], lr=options.lr, betas=(0.9, 0.95))


def _config(options: TrainOptions, tokenizer: Tokenizer) -> MnemosConfig:
    return MnemosConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=options.hidden,
        num_hidden_layers=options.layers,
        num_heads=options.heads,
        mixer=options.mixer,
        mixer_settings=options.mixer_settings,
        channel_mixer=options.channel_mixer,
        pad_token_id=tokenizer.pad_id,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
    )


def _tokenizer(options: TrainOptions, text: str) -> Tokenizer:
    if options.tokenizer == "bytes":
        return ByteTokenizer()
    return BPETokenizer.train(pieces(text), options.vocab_size)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            with contextlib.suppress(ValueError):  # a crash may have cut the last line
                yield json.loads(line)


@contextlib.contextmanager
def _own_random_state(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers from `seed`, and the caller's as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets: an interrupt in the middle of a step would leave half of its weights changed."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def interrupted(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


__all__ = ["Report", "TrainOptions", "TrainResult", "make_optimizer", "train"]
