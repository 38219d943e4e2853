"""Language models that carry memory: built, trained, saved and run as Hugging Face's are.

Importing this package registers them with AutoConfig, AutoModel and AutoModelForCausalLM, which needs torch and
transformers; the other names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mnemos.core.errors import MissingExtra

if any(find_spec(name) is None for name in ("torch", "transformers", "safetensors")):
    raise MissingExtra("mnemos.models", "neural")

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from mnemos.models.cache import MnemosCache
from mnemos.models.config import MnemosConfig
from mnemos.models.lm import MnemosForCausalLM, MnemosModel

if TYPE_CHECKING:
    from mnemos.models.device import pick_device
    from mnemos.models.generate import stream
    from mnemos.models.loading import load
    from mnemos.models.tokenizer import BPETokenizer, ByteTokenizer, Tokenizer, load_tokenizer
    from mnemos.models.training import TrainOptions, TrainResult, train

_HOMES = {
    "BPETokenizer": "mnemos.models.tokenizer",
    "ByteTokenizer": "mnemos.models.tokenizer",
    "Tokenizer": "mnemos.models.tokenizer",
    "TrainOptions": "mnemos.models.training",
    "TrainResult": "mnemos.models.training",
    "load": "mnemos.models.loading",
    "load_tokenizer": "mnemos.models.tokenizer",
    "pick_device": "mnemos.models.device",
    "stream": "mnemos.models.generate",
    "train": "mnemos.models.training",
}

__all__ = [
    "BPETokenizer",
    "ByteTokenizer",
    "MnemosCache",
    "MnemosConfig",
    "MnemosForCausalLM",
    "MnemosModel",
    "Tokenizer",
    "TrainOptions",
    "TrainResult",
    "load",
    "load_tokenizer",
    "pick_device",
    "stream",
    "train",
]

AutoConfig.register(MnemosConfig.model_type, MnemosConfig, exist_ok=True)
AutoModel.register(MnemosConfig, MnemosModel, exist_ok=True)
AutoModelForCausalLM.register(MnemosConfig, MnemosForCausalLM, exist_ok=True)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mnemos.models' has no attribute {name!r}: there are {', '.join(__all__)}")
