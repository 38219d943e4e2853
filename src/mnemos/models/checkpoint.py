"""The point where a training run stands, in one file: weights, optimiser, random state, and JSON about them.

One file, so that it changes at one moment: a crash leaves the old one or the new one, never a mixture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput

_META = "mnemos"


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, about: dict[str, Any]) -> None:
    """Write everything that the next step depends on to `path`, whole or not at all.

    Args:
        about: plain data that goes along, such as the step.
    """
    tensors = {f"model.{name}": tensor.detach() for name, tensor in _tensors(model)}
    numbers: dict[str, dict[str, Any]] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    meta = json.dumps({"about": about, "optimizer": numbers})
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, {_META: meta})
    beside.replace(path)


def checkpoint_about(path: Path) -> dict[str, Any]:
    """The plain data that went along.

    Raises:
        InvalidInput: the file is damaged, or of another program.
    """
    about: dict[str, Any] = _read(path)[0]["about"]
    return about


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put model, optimiser and random state back to that point.

    Raises:
        InvalidInput: the file is damaged, or of another model or optimiser; nothing was changed.
    """
    meta, tensors = _read(path)
    mine = dict(_tensors(model))
    theirs = {name.removeprefix("model."): one for name, one in tensors.items() if name.startswith("model.")}
    if differ := sorted(
        name for name in mine.keys() | theirs.keys() if _shape(mine.get(name)) != _shape(theirs.get(name))
    ):
        raise InvalidInput(f"{path} is of another model ({differ[0]} and {len(differ) - 1} more differ)")
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in meta["optimizer"].items()}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, name = rest.partition(".")
            state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(theirs[name])
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})[_META])
            return meta, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError) as why:
        raise InvalidInput(
            f"the checkpoint {path} is damaged ({why}): delete it to start again, or bring a copy back"
        ) from None


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and lasting buffers; tied ones once."""
    seen = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def _shape(tensor: Tensor | None) -> Any:
    return None if tensor is None else (tensor.shape, tensor.dtype)


__all__ = ["checkpoint_about", "load_checkpoint", "save_checkpoint"]
