"""Models from a folder, with errors that say what is wrong with it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers.utils import logging

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.models.config import MnemosConfig
from mnemos.models.lm import MnemosForCausalLM


def load(path: str | Path, device: str | torch.device = "cpu") -> MnemosForCausalLM:
    """A model from the folder where `save_pretrained` or `train` put it, ready to be asked.

    Raises:
        NotFound: no such folder, or no model in it.
        InvalidInput: the config or the weights are damaged, or do not belong together.
    """
    path = Path(path)
    if not (path / "config.json").is_file():
        raise NotFound(f"there is no model in {path}: `mnemos lm train` makes one, with config.json in its folder")
    if not any(path.glob("*.safetensors")):
        raise NotFound(f"{path} holds a config and no weights (*.safetensors)")
    try:
        kind = json.loads((path / "config.json").read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError) as why:
        raise InvalidInput(f"{path / 'config.json'} is damaged: {why}") from None
    if kind != MnemosConfig.model_type:
        raise InvalidInput(f"{path} holds a {kind!r} model, not a 'mnemos' one: load it with transformers")
    try:
        with quiet():
            loaded: Any = MnemosForCausalLM.from_pretrained(
                path, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True
            )
    except (SafetensorError, RuntimeError, OSError, TypeError) as why:
        raise InvalidInput(f"the weights in {path} are damaged: {str(why).splitlines()[0]}") from None
    model: MnemosForCausalLM = loaded[0]
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if names := sorted(str(one) for one in loaded[1][what]):
            raise InvalidInput(
                f"the weights in {path} are of another config ({what.replace('_', ' ')}: {names[0]} "
                f"and {len(names) - 1} more): put config.json and weights of one model together"
            )
    nn.Module.to(model, device)
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and reports of transformers' loading and saving: what is wrong becomes an error of ours."""
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


__all__ = ["load", "quiet"]
