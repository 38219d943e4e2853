"""Synthetic recall: generators whose every answer stands earlier in the sequence. Needs numpy only.

    task = recall_task("mqar", tokens=128, pairs=16)
    batch = task.batch(64, seed=0)                       # tokens, targets, reach: int64 [64, 128]
    task.score(predictions, batch), task.ceiling(window=16), task.chance

Source of the settings: the papers named in each file.
"""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from mnemos.bench.recall.base import IGNORED, Batch, RecallTask
from mnemos.bench.recall.induction import AssociativeRecall, Induction
from mnemos.bench.recall.joint import JointRecall
from mnemos.bench.recall.mad import FuzzyRecall, InContextRecall, Memorisation, SelectiveCopying
from mnemos.bench.recall.mqar import MQAR
from mnemos.bench.recall.needle import ByteNeedle, Needle, needle
from mnemos.core.errors import InvalidInput, NotFound

__all__ = ["IGNORED", "RECALL", "Batch", "Needle", "RecallTask", "needle", "recall_task"]

RECALL: dict[str, tuple[type[RecallTask], dict[str, Any]]] = {
    "mqar": (MQAR, {}),
    "joint": (JointRecall, {}),
    "in-context": (InContextRecall, {}),
    "noisy": (InContextRecall, {"noise": 0.2, "size": 16}),
    "fuzzy": (FuzzyRecall, {}),
    "memorisation": (Memorisation, {}),
    "copying": (SelectiveCopying, {}),
    "induction": (Induction, {}),
    "associative": (AssociativeRecall, {}),
    "needle": (ByteNeedle, {}),
}
"""Name to generator and the settings that the name stands for."""


def recall_task(name: str, **settings: Any) -> RecallTask:
    """The task of that name.

    Args:
        settings: fields of its class.

    Raises:
        NotFound: no such task; the message offers the nearest names.
        InvalidInput: no such setting, or a value that cannot be.
    """
    if name not in RECALL:
        near = get_close_matches(name, RECALL, n=3) or list(RECALL)
        raise NotFound(f"no recall task {name!r}: try {', '.join(near)}")
    made, meant = RECALL[name]
    known = [field.name for field in fields(made)]
    if unknown := sorted(settings.keys() - set(known)):
        raise InvalidInput(f"{name} has no setting {unknown[0]!r}: it knows {', '.join(known)}")
    return made(**{**meant, **settings})
