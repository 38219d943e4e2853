"""What a training run is made of, and the step size at each of its steps."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from mnemos.core.errors import InvalidInput

TokenizerKind = Literal["bytes", "bpe"]
OptimizerKind = Literal["adamw", "muon"]
Schedule = Literal["cosine", "wsd"]
MuonTargets = Literal["all", "vo_ffn", "vo", "ffn", "qk"]


@dataclass(frozen=True)
class TrainOptions:
    """One training run. What a field says is also what `mnemos lm train --help` says."""

    corpus: Path
    """A UTF-8 text file."""
    out: Path
    """Folder of the model; a run that was begun there goes on."""
    mixer: str = "titans-mac"
    """A mixer, or a pattern such as titans-mac,swa that repeats over the layers."""
    mixer_settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By mixer, its own settings."""
    layers: int = 4
    """Blocks."""
    hidden: int = 256
    """Model width."""
    heads: int = 4
    """Heads of each mixer."""
    channel_mixer: Literal["swiglu", "gelu", "none"] = "swiglu"
    """What stands between the mixers."""
    tokenizer: TokenizerKind = "bytes"
    """bytes, or bpe: byte pairs learned from the corpus."""
    vocab_size: int = 4096
    """Tokens of a bpe."""
    context: int = 256
    """Tokens of a training window."""
    batch: int = 8
    """Windows at a time."""
    accumulate: int = 1
    """Batches to a step: their gradients are averaged."""
    steps: int = 1000
    """Optimiser steps in all."""
    optimizer: OptimizerKind = "adamw"
    """adamw, or muon for the matrices and adamw for the rest."""
    lr: float = 1e-3
    """AdamW's step size."""
    muon_lr: float = 0.02
    """Muon's step size."""
    muon_targets: MuonTargets = "all"
    """Which matrices Muon takes."""
    weight_decay: float = 0.1
    """Of matrices; embeddings, norms and biases have none."""
    schedule: Schedule = "cosine"
    """cosine, or wsd: constant, and down in the last fifth."""
    warmup: int = 50
    """Steps until the step size is reached."""
    lr_floor: float = 0.1
    """What is left of the step size at the end."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    validation: float = 0.05
    """Share of the corpus, at its end, that is held out."""
    validation_batches: int = 20
    """Batches of a validation."""
    checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, more time."""
    seed: int = 0
    """Of weights and windows."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""
    log_every: int = 10
    """Steps between lines of the log."""
    save_every: int = 200
    """Steps between checkpoints, each with a validation and a sample."""
    sample: str = "\n"
    """What samples start with."""
    sample_tokens: int = 200
    """Tokens of a sample; 0 for none."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not value >= least:
                raise InvalidInput(f"{name} {value!r}: at least {least}")
            if isinstance(least, int) and not isinstance(value, int):
                raise InvalidInput(f"{name} {value!r}: give a whole number")
        for name, most in (("validation", 0.9), ("lr_floor", 1.0)):
            if getattr(self, name) > most:
                raise InvalidInput(f"{name} {getattr(self, name)}: at most {most}")
        for name, kind in (
            ("tokenizer", TokenizerKind),
            ("optimizer", OptimizerKind),
            ("schedule", Schedule),
            ("muon_targets", MuonTargets),
        ):
            if getattr(self, name) not in get_args(kind):
                raise InvalidInput(f"{name} {getattr(self, name)!r}: one of {', '.join(get_args(kind))}")
        if self.clip == 0:
            raise InvalidInput("clip 0 would leave no gradient: give a positive norm")

    def identity(self) -> dict[str, Any]:
        """The options that decide what comes out of a run, as plain data."""
        return {name: value for name, value in asdict(self).items() if name not in _FREE}


def lr_factor(step: int, options: TrainOptions) -> float:
    """What the step sizes are multiplied by at step 0, 1, ...

    A straight warm-up; then "cosine", half a wave down to the floor, or "wsd", constant until the last fifth and
    there down with 1 - sqrt (Hägele et al., arXiv:2405.18392).
    """
    if step < options.warmup:
        return (step + 1) / options.warmup
    floor = options.lr_floor
    if options.schedule == "cosine":
        way = (step - options.warmup) / max(1, options.steps - options.warmup)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, way)))
    start = max(options.warmup, math.ceil(0.8 * options.steps))
    way = max(0, step - start) / max(1, options.steps - start)
    return floor + (1 - floor) * (1 - math.sqrt(min(1.0, way)))


_LEAST: dict[str, int | float] = {
    "layers": 1, "hidden": 1, "heads": 1, "vocab_size": 1, "context": 2, "batch": 1, "accumulate": 1, "steps": 1,
    "lr": 0.0, "muon_lr": 0.0, "weight_decay": 0.0, "warmup": 0, "lr_floor": 0.0, "clip": 0.0, "validation": 0.0,
    "validation_batches": 1, "seed": 0, "log_every": 1, "save_every": 1, "sample_tokens": 0,
}  # fmt: skip
_FREE = {
    "corpus", "out", "steps", "device", "log_every", "save_every", "sample", "sample_tokens", "validation_batches",
}  # fmt: skip
"""What may change when a run goes on."""

__all__ = ["TrainOptions", "lr_factor"]
