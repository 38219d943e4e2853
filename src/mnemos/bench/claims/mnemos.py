"""The default recall beats every single signal and their reciprocal-rank fusion, on conversations it never saw.

LoCoMo (Maharana et al., 2024), evidence recall@20 of turns, categories 1 to 4, no language model. The weights
are fitted anew for each conversation on the others, so that none is ranked by weights that saw it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from mnemos.bench.metrics import paired_bootstrap, recall_at
from mnemos.bench.ranker import examples, held_out, ranking
from mnemos.bench.results import Finding, Result
from mnemos.bench.runner import Progress
from mnemos.bench.tasks._signals import systems
from mnemos.bench.tasks.locomo import ADVERSARIAL, LocomoOptions
from mnemos.core.clock import FixedClock
from mnemos.text.importers.locomo import Conversation, load_locomo
from mnemos.text.memory import Memory

SYSTEM = "mnemos"
_K = 20
_PUBLISHED = 0.78
"""The best published evidence recall@20 that we know of, with a cross-encoder."""


def run(progress: Progress) -> Result:
    """Ours against the best of BM25, MiniLM and RRF, paired by question."""
    conversations = load_locomo(LocomoOptions().data)
    progress("ranking by single signals", 0, 2)
    found: dict[str, list[float]] = {}
    for conversation in conversations:
        for name, values in _baselines(conversation).items():
            found.setdefault(name, []).extend(values)
    progress("fitting on the other conversations", 1, 2)
    data = [e for e in examples(conversations, "minilm") if e.category != ADVERSARIAL]
    for example, scores in zip(data, held_out(data), strict=True):
        gold = {str(row) for row in example.signals.rows[example.gold == 1]}
        rows = [str(row) for row in ranking(example, scores, _K)]
        found.setdefault("mnemos", []).append(recall_at(rows, gold, _K))
    means = {name: float(np.mean(values)) for name, values in found.items()}
    best = max((name for name in means if name != "mnemos"), key=means.__getitem__)
    gain = paired_bootstrap(found["mnemos"], found[best], seed=0)
    return Result(
        name=SYSTEM,
        measures={"recall@20": means["mnemos"], "gain": gain.mean, "gain low": gain.low, "gain high": gain.high},
        rows=[{"system": name, "recall@20": round(value, 4)} for name, value in means.items()],
        config={"data": LocomoOptions().data.name, "embedder": "minilm", "held out": "one conversation at a time"},
        size={"conversations": len(conversations), "questions": len(data)},
        seeds=[0],
        claim=Finding(
            statement=f"evidence recall@20 of the default is above every single signal and RRF (best: {best})",
            paper=_PUBLISHED,
            ours=round(means["mnemos"], 4),
            baseline=round(means[best], 4),
            verdict="holds" if gain.low > 0 else "fails",
        ),
    )


def _baselines(conversation: Conversation) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Memory(Path(folder) / "claim.mnemos", embedder="minilm", clock=FixedClock(2e9)) as memory,
    ):
        ids = memory.add(conversation.items)
        ref = dict(zip(ids, (str(item.metadata["dia_id"]) for item in conversation.items), strict=True))
        rankings = systems(memory)
        del rankings["mnemos"]
        for question in conversation.questions:
            if question.evidence and question.category != ADVERSARIAL:
                for name, rank in rankings.items():
                    turns = [ref[id] for id in rank(question.question, _K)]
                    found.setdefault(name, []).append(recall_at(turns, question.evidence, _K))
    return found
