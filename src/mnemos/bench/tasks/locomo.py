"""LoCoMo (Maharana et al., 2024): which turns hold the evidence, and does `ask` answer?

Every turn is one memory, text plus the caption of a shared image; the question is the query, and
the annotated turns are gold. No language model takes part.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.bench.metrics import auroc, bootstrap_ci, locomo_score, recall_at, reciprocal_rank
from mnemos.bench.results import Result
from mnemos.bench.runner import Progress, TaskOptions, task
from mnemos.bench.tasks._signals import systems
from mnemos.core.clock import FixedClock
from mnemos.core.errors import InvalidInput
from mnemos.text.importers.locomo import Conversation, Question, load_locomo
from mnemos.text.memory import Memory

_KS = (5, 10, 20)
_DEPTH = 20
ADVERSARIAL = 5


@dataclass(frozen=True, kw_only=True)
class LocomoOptions(TaskOptions):
    """Options of `locomo`."""

    data: Path = Path("../shared/data/locomo/locomo5.json.xz")
    """A file in the format of locomo10.json, .xz and .gz allowed."""
    embedder: str = "auto"
    """See `mnemos.text.encode.embedder.resolve`."""


@task(
    "locomo",
    summary="Evidence recall, answers and abstention on LoCoMo conversations",
    options=LocomoOptions,
    plot=("system", "recall@20"),
)
def locomo(options: LocomoOptions, progress: Progress) -> Result:
    """Recall@{5,10,20}, MRR and session hit@10 for each signal, their fusion and ours; F1 of `ask`."""
    conversations = load_locomo(options.data)
    if not any(q.evidence for c in conversations for q in c.questions):
        raise InvalidInput(f"{options.data} has no question with evidence")
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    asked = _Asked()
    for number, conversation in enumerate(conversations):
        progress(f"conversation {conversation.sample_id}", number, len(conversations))
        _run(conversation, options.embedder, scores, asked)
    rows = [{"system": name, **_means(found)} for name, found in scores.items()]
    ours = scores["mnemos"]
    measures = {name: float(np.mean(values)) for name, values in ours.items()}
    for k in _KS:
        interval = bootstrap_ci(ours[f"recall@{k}"], options.seed)
        measures |= {f"recall@{k} low": interval.low, f"recall@{k} high": interval.high}
    return Result(
        name="locomo",
        measures={name: round(value, 4) for name, value in (measures | asked.measures()).items()},
        rows=rows,
        config={"data": options.data.name, "embedder": options.embedder},
        size={
            "conversations": len(conversations),
            "turns": sum(len(c.items) for c in conversations),
            "questions": len(ours["mrr"]),
        },
        seeds=[options.seed],
    )


def _means(found: dict[str, list[float]]) -> dict[str, float]:
    """Overall figures first, then those of the categories."""
    order = sorted(found, key=lambda name: (name.startswith("category"), name if name.startswith("category") else ""))
    return {name: round(float(np.mean(found[name])), 4) for name in order}


def _run(conversation: Conversation, embedder: str, scores: Any, asked: _Asked) -> None:
    last = max((item.at for item in conversation.items if item.at is not None), default=0.0)
    clock = FixedClock(last + 86400)
    with (
        tempfile.TemporaryDirectory() as folder,
        Memory(Path(folder) / "locomo.mnemos", embedder=embedder, clock=clock) as memory,
    ):
        ids = memory.add([replace(item, key="") for item in conversation.items])
        ref = dict(zip(ids, (str(item.metadata["dia_id"]) for item in conversation.items), strict=True))
        session = {str(item.metadata["dia_id"]): item.session for item in conversation.items}
        rankings = systems(memory)
        for question in conversation.questions:
            if question.evidence and question.category != ADVERSARIAL:
                for name, ranking in rankings.items():
                    _score(
                        scores[name],
                        question,
                        [ref[id] for id in ranking(question.question, _DEPTH)],
                        session,
                    )
            answer = memory.ask(question.question)
            asked.add(question, answer.text, answer.confidence, answer.hits[0].score if answer.hits else 0.0)


def _score(found: dict[str, list[float]], question: Question, turns: Sequence[str], session: dict[str, str]) -> None:
    for k in _KS:
        recall = recall_at(turns, question.evidence, k)
        found[f"recall@{k}"].append(recall)
        if k == _DEPTH:
            found[f"category {question.category} recall@{k}"].append(recall)
    found["mrr"].append(reciprocal_rank(turns, question.evidence))
    gold = {session[e] for e in question.evidence}
    found["session hit@10"].append(float(bool(gold & {session[t] for t in turns[:10]})))


class _Asked:
    """What `ask` said: official F1 by category, and how well confidence tells what is not there."""

    def __init__(self) -> None:
        self.f1: dict[int, list[float]] = defaultdict(list)
        self.confidence: list[float] = []
        self.top: list[float] = []
        self.answerable: list[int] = []

    def add(self, question: Question, text: str, confidence: float, top: float) -> None:
        said = "not mentioned" if text == "not in memory" else text
        self.f1[question.category].append(locomo_score(said, question.answer, question.category))
        self.confidence.append(confidence)
        self.top.append(top)
        self.answerable.append(int(question.category != ADVERSARIAL))

    def measures(self) -> dict[str, float]:
        found = {f"F1 category {c}": float(np.mean(v)) for c, v in sorted(self.f1.items())}
        found["F1 all"] = float(np.mean([v for values in self.f1.values() for v in values]))
        if len(set(self.answerable)) == 2:
            found["answerable AUROC"] = auroc(self.confidence, self.answerable)
            found["answerable AUROC, top score"] = auroc(self.top, self.answerable)
        return found
