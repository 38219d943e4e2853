"""Synthetic recall tasks: what a sequence model can find again in its own context.

    task = recall_task("mqar", length=128, pairs=16)
    batch = task.batch(64, seed=0)                    # tokens and targets [64, 128]
    task.score(task.solver(batch.tokens), batch)      # 1.0
    task.ceiling(window=16), task.chance

Every task has a symbolic solver, the share that a causal window can answer, and its chance level. `text_task` gives
the needle tests as prompts with answers, for whatever reads text. Needs numpy only.

Sources: each task's module. What differs from the published generators on purpose: batches are drawn as they are
asked for, from train and test seeds that never meet, so that no file of examples is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from mnemos.bench.recall.base import Batch, RecallTask, Split
from mnemos.bench.recall.induction import AssociativeRecall, InductionHeads
from mnemos.bench.recall.joint import JointRecall
from mnemos.bench.recall.mad import FuzzyRecall, InContextRecall, Memorisation, SelectiveCopying
from mnemos.bench.recall.mqar import MQAR
from mnemos.bench.recall.needle import Needle, Passkey, Prompt, TextNeedle, TextPasskey
from mnemos.core.errors import InvalidInput, NotFound

__all__ = [
    "MQAR",
    "AssociativeRecall",
    "Batch",
    "FuzzyRecall",
    "InContextRecall",
    "InductionHeads",
    "JointRecall",
    "Memorisation",
    "Needle",
    "Passkey",
    "Prompt",
    "RecallTask",
    "SelectiveCopying",
    "Split",
    "TextNeedle",
    "TextPasskey",
    "recall_names",
    "recall_task",
    "task_sizes",
    "text_names",
    "text_task",
]

_Entry = tuple[type, Mapping[str, Any], Mapping[str, Mapping[str, Any]]]
_TOKENS: dict[str, _Entry] = {  # class, what the name stands for, published sizes
    "mqar": (
        MQAR,
        {},
        {
            "64x4": {"vocab": 8192, "length": 64, "pairs": 4},
            "128x8": {"vocab": 8192, "length": 128, "pairs": 8},
            "256x16": {"vocab": 8192, "length": 256, "pairs": 16},
            "512x64": {"vocab": 8192, "length": 512, "pairs": 64},
            "2048x512": {"vocab": 2049, "length": 2048, "pairs": 512},
        },
    ),
    "joint_recall": (JointRecall, {}, {"paper": {"contexts": (5, 16), "keys": (5, 16), "values": 16}}),
    "in_context_recall": (InContextRecall, {}, {}),
    "noisy_recall": (InContextRecall, {"vocab": 32, "noise": 0.2, "noise_vocab": 16}, {}),
    "fuzzy_recall": (FuzzyRecall, {}, {}),
    "memorisation": (Memorisation, {}, {}),
    "selective_copying": (SelectiveCopying, {}, {"mamba": {"length": 4096}}),
    "induction_heads": (InductionHeads, {}, {}),
    "associative_recall": (AssociativeRecall, {}, {}),
    "needle": (Needle, {}, {}),
    "passkey": (Passkey, {}, {}),
}
_TEXTS: dict[str, _Entry] = {
    "s_niah_1": (TextNeedle, {"haystack": "repeated"}, {}),
    "s_niah_2": (TextNeedle, {"haystack": "essay"}, {}),
    "s_niah_3": (TextNeedle, {"haystack": "essay", "values": "uuids"}, {}),
    "multikey_1": (TextNeedle, {"haystack": "essay", "keys": 4}, {}),
    "multikey_2": (TextNeedle, {"haystack": "needles"}, {}),
    "multikey_3": (TextNeedle, {"haystack": "needles", "values": "uuids"}, {}),
    "multivalue": (TextNeedle, {"haystack": "essay", "per_key": 4}, {}),
    "multiquery": (TextNeedle, {"haystack": "essay", "keys": 4, "asked": 4}, {}),
    "passkey": (TextPasskey, {}, {}),
}


def recall_task(name: str, size: str | None = None, **settings: Any) -> RecallTask:
    """The token task of that name.

    Args:
        name: one of `recall_names()`.
        size: one of `task_sizes(name)`, sizes of the papers; by default one that trains on a CPU in minutes.
        settings: fields of the task, over those of the size.

    Raises:
        NotFound: no such task; the message offers the nearest names.
        InvalidInput: no such size or setting, or settings that do not fit each other.
    """
    task: RecallTask = _made(_TOKENS, name, size, settings)
    return task


def text_task(name: str, **settings: Any) -> TextNeedle:
    """The text task of that name, one of `text_names()`; settings and errors as for `recall_task`."""
    task: TextNeedle = _made(_TEXTS, name, None, settings)
    return task


def recall_names() -> list[str]:
    """Every token task."""
    return list(_TOKENS)


def text_names() -> list[str]:
    """Every text task: RULER's needles and the passkey."""
    return list(_TEXTS)


def task_sizes(name: str) -> list[str]:
    """The published sizes of a token task. Raises: NotFound: no such task."""
    return list(_entry(_TOKENS, name)[2])


def _made(known: Mapping[str, _Entry], name: str, size: str | None, settings: Mapping[str, Any]) -> Any:
    kind, own, sizes = _entry(known, name)
    if size is not None and size not in sizes:
        raise InvalidInput(f"{name} has no size {size!r}: leave it out, or one of {', '.join(sizes) or '(none)'}")
    names = [field.name for field in fields(kind) if field.init]
    if unknown := [key for key in settings if key not in names]:
        raise InvalidInput(f"{name} has no setting {unknown[0]!r}: it has {', '.join(names)}")
    return kind(**{**own, **(sizes[size] if size else {}), **settings})


def _entry(known: Mapping[str, _Entry], name: str) -> _Entry:
    if name not in known:
        near = get_close_matches(str(name), known, n=3) or list(known)
        raise NotFound(f"no recall task {name!r}: try {', '.join(near)}")
    return known[name]
