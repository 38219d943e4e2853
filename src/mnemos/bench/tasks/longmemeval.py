"""LongMemEval (Wu et al., 2024): which sessions of a long chat history hold the answer?

Reads the official files (`_oracle`, `_s`, `_m`) and variants with several questions per history.
Sessions are ranked by their best turn. Abstention questions have no session to find, and are left out.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mnemos.bench.metrics import hit_at, ndcg_at, recall_all_at, recall_at
from mnemos.bench.results import Result
from mnemos.bench.runner import Progress, TaskOptions, task
from mnemos.bench.tasks._signals import systems
from mnemos.core.clock import FixedClock
from mnemos.core.errors import InvalidInput
from mnemos.text.importers.longmemeval import Instance, load_longmemeval
from mnemos.text.memory import Memory

_KS = (1, 3, 5, 10)
_DEPTH = 60


@dataclass(frozen=True, kw_only=True)
class LongMemEvalOptions(TaskOptions):
    """Options of `longmemeval`."""

    data: Path = Path("../shared/data/longmemeval_sample/longmemeval_s_3x9.json.xz")
    """An official file or one of the same schema, .xz and .gz allowed."""
    embedder: str = "auto"


@task(
    "longmemeval",
    summary="Session recall on LongMemEval histories",
    options=LongMemEvalOptions,
    plot=("system", "ndcg@10"),
)
def longmemeval(options: LongMemEvalOptions, progress: Progress) -> Result:
    """recall, recall_all, hit and NDCG of sessions at 1, 3, 5 and 10, for each signal and ours."""
    instances = load_longmemeval(options.data)
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number, instance in enumerate(instances):
        progress(f"history {instance.id}", number, len(instances))
        _run(instance, options.embedder, scores)
    if not scores:
        raise InvalidInput(f"{options.data} has no question with a session to find")
    rows = [
        {"system": name, **{m: round(float(np.mean(v)), 4) for m, v in found.items()}} for name, found in scores.items()
    ]
    ours = scores["mnemos"]
    return Result(
        name="longmemeval",
        measures={name: round(float(np.mean(values)), 4) for name, values in ours.items()},
        rows=rows,
        config={"data": options.data.name, "embedder": options.embedder},
        size={
            "histories": len(instances),
            "turns": sum(len(i.items) for i in instances),
            "questions": len(ours["hit@5"]),
        },
        seeds=[options.seed],
    )


def _run(instance: Instance, embedder: str, scores: dict[str, dict[str, list[float]]]) -> None:
    questions = [q for q in instance.questions if q.gold_sessions and not q.abstention]
    if not questions:
        return
    asked = max((q.asked_at for q in questions if q.asked_at is not None), default=2e9)
    with (
        tempfile.TemporaryDirectory() as folder,
        Memory(Path(folder) / "history.mnemos", embedder=embedder, clock=FixedClock(asked)) as memory,
    ):
        ids = memory.add([replace(item, key="") for item in instance.items])
        session = dict(zip(ids, (item.session for item in instance.items), strict=True))
        rankings = systems(memory)
        for question in questions:
            for name, ranking in rankings.items():
                found = list(dict.fromkeys(session[id] for id in ranking(question.question, _DEPTH)))
                gains = dict.fromkeys(question.gold_sessions, 1.0)
                for k in _KS:
                    scores[name][f"recall@{k}"].append(recall_at(found, question.gold_sessions, k))
                    scores[name][f"hit@{k}"].append(hit_at(found, question.gold_sessions, k))
                    scores[name][f"recall_all@{k}"].append(recall_all_at(found, question.gold_sessions, k))
                    scores[name][f"ndcg@{k}"].append(ndcg_at(found, gains, k))
