"""Train `src/mnemos/text/recall/weights.json` from conversations with annotated evidence.

    python -m mnemos.bench.ranker PATH_TO_LOCOMO_JSON

Two linear models (see `mnemos.text.recall.rank`) maximise the likelihood of the evidence turns under
a softmax over all turns of the conversation; a third, the first without its dearer features, chooses
candidates in a large memory, and a fourth says whether the question is answerable at all (category 5
is not, nor is what other conversations were asked). The report is leave-one-conversation-out: each conversation is
ranked by weights that never saw it. The shipped weights are then fitted on all of them.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mnemos.bench.metrics import auroc
from mnemos.bench.tasks.locomo import ADVERSARIAL
from mnemos.core import FixedClock
from mnemos.text import recall
from mnemos.text.importers.locomo import Conversation, Question, load_locomo
from mnemos.text.index.corpus import Corpus
from mnemos.text.memory import Memory
from mnemos.text.recall import query as reading
from mnemos.text.recall.confidence import CONFIDENCE, confidence_features
from mnemos.text.recall.model import FEATURES, KINDS, PLACES, Linear
from mnemos.text.recall.rank import Ranked, diversify, features
from mnemos.text.recall.seed import Signals, seed
from mnemos.text.recall.spread import NAMES as SPREAD
from mnemos.text.recall.spread import spread
from mnemos.text.records import VERBATIM, Scope

Floats = NDArray[np.float64]
L2 = 1e-3
ELSEWHERE = 0
"""Category of questions that another conversation was asked: like LoCoMo's `ADVERSARIAL`, without an answer here."""
_ELSEWHERE = 24
"""How many of the latter to a conversation. Without any, 21 % of them are declined and 31 % of category 5; with these
64 % and 42 %, and 13 % of the answerable instead of 6 %."""
_RISING = ("words", "coverage", "alike", "talk 2", "talk 4", "speaker", "in window", "meaning", "meaning z",
           "session meaning", "answers meaning")  # fmt: skip
_BOUNDS = dict.fromkeys(_RISING, (0, None)) | dict.fromkeys(PLACES, (None, 0))
"""What cannot count against a candidate: sharing the question's words, or a better place. (Free signs give the same
recall on whole conversations, and lose .008 of MRR where each session is a memory of its own.)"""
_EMBEDDERS = ("minilm", "fast", None)
"""What stands for each of `KINDS`."""
WEIGHTS = Path(recall.__file__).with_name("weights.json")


@dataclass
class Example:
    """One question over the turns of its conversation."""

    fold: int
    category: int
    corpus: Corpus
    query: reading.Query
    signals: Signals
    first: Floats
    gold: Floats
    """[n] 1 for evidence turns."""

    @property
    def answerable(self) -> bool:
        """Whether its conversation holds the answer."""
        return self.category not in (ADVERSARIAL, ELSEWHERE)


def asked_elsewhere(conversations: Sequence[Conversation], count: int) -> list[list[Question]]:
    """For each conversation `count` questions that others can answer, put to its own speakers."""
    draw, found = random.Random(0), []
    for here in conversations:
        others = [
            (there, q) for there in conversations if there is not here
            for q in there.questions if q.evidence and q.category != ADVERSARIAL
        ]  # fmt: skip
        asked = []
        for there, question in draw.sample(others, min(count, len(others))):
            ours = dict(zip(there.speakers, here.speakers, strict=False))
            # all at once: one conversation's Tim may be renamed to another's John, who is renamed himself
            name = re.compile(rf"\b({'|'.join(map(re.escape, ours))})\b")
            parts = name.split(question.question)
            text = "".join(ours.get(part, part) for part in parts)
            asked.append(replace(question, question=text, evidence=(), category=ELSEWHERE))
        found.append(asked)
    return found


def examples(conversations: Sequence[Conversation], embedder: str | None, elsewhere: int = 0) -> list[Example]:
    """All questions with evidence, and `elsewhere` of others to each, with the features that recall gives them."""
    found, strange = [], asked_elsewhere(conversations, elsewhere)
    for fold, conversation in enumerate(conversations):
        with (
            tempfile.TemporaryDirectory() as folder,
            Memory(Path(folder) / "m", embedder=embedder, clock=FixedClock(2e9)) as memory,
        ):
            memory.add(conversation.items)
            with memory._store.reading():
                corpus = memory._recall.corpus(Scope(), VERBATIM)
            refs = {r.id: str(r.metadata["dia_id"]) for r in memory.list(limit=10**6)}
            row = {refs[id]: n for n, id in enumerate(corpus.ids)}
            questions = [*(q for q in conversation.questions if q.evidence), *strange[fold]]
            for question in questions:
                vector = memory._recall.embedded(question.question, Scope())
                query = reading.read(question.question, corpus, 2e9, vector)
                signals = seed(query, corpus, None)
                gold = np.isin(signals.rows, [row[e] for e in question.evidence]).astype(float)
                first = features(query, corpus, signals).astype(np.float64)
                found.append(Example(fold, question.category, corpus, query, signals, first, gold))
    return found


def fit_listwise(groups: Sequence[tuple[Floats, Floats]]) -> Linear:
    """The linear model whose softmax gives the gold rows of each (features, gold) most mass.

    Args:
        groups: by question, [n, features] whose first columns are `FEATURES`, and [n] 1 for gold rows.
    """
    x = np.concatenate([f for f, _ in groups])
    mean, scale = x.mean(0), x.std(0)
    scale[scale < 1e-9] = 1.0
    x = (x - mean) / scale
    y = np.concatenate([gold / gold.sum() for _, gold in groups])
    starts = np.cumsum([0, *(len(gold) for _, gold in groups)])
    sizes = np.diff(starts)

    def loss(w: Floats) -> tuple[float, Floats]:
        s = x @ w
        s -= np.repeat(np.maximum.reduceat(s, starts[:-1]), sizes)
        e = np.exp(s)
        z = np.add.reduceat(e, starts[:-1])
        gradient = x.T @ (e / np.repeat(z, sizes) - y)
        return (np.log(z).sum() - (y * s).sum()) / len(groups) + L2 * w @ w, gradient / len(groups) + 2 * L2 * w

    bounds = [_BOUNDS.get(name, (None, None)) for name in (FEATURES + SPREAD)[: x.shape[1]]]
    start = np.zeros(x.shape[1])
    w = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200}).x
    return linear(mean, scale, w)


def fit_logistic(x: Floats, y: Floats, l2: float = 1e-3) -> Linear:
    """Logistic regression: calibrated for the mix of classes that it is fitted on."""
    mean, scale = x.mean(0), x.std(0)
    scale[scale < 1e-9] = 1.0
    z = np.c_[(x - mean) / scale, np.ones(len(x))]

    def loss(w: Floats) -> tuple[float, Floats]:
        s = z @ w
        p = 1 / (1 + np.exp(-s))
        value = (np.logaddexp(0, s) - y * s).mean() + l2 * w[:-1] @ w[:-1]
        return value, z.T @ (p - y) / len(y) + 2 * l2 * np.r_[w[:-1], 0]

    w = minimize(loss, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B").x
    return linear(mean, scale, w[:-1], float(w[-1]))


def linear(mean: NDArray[Any], scale: NDArray[Any], weight: NDArray[Any], bias: float = 0.0) -> Linear:
    """A `Linear` in the precision that recall uses."""
    return Linear(mean.astype(np.float32), scale.astype(np.float32), weight.astype(np.float32), bias)


def second(example: Example, own: Linear) -> Floats:
    """Both stages' features of an example, given the first model."""
    score = own(example.first.astype(np.float32))
    around = spread(example.corpus, example.signals, score)
    return np.concatenate([example.first, around], axis=1)


def fit(data: Sequence[Example]) -> tuple[Linear, Linear]:
    """(own, spread) models. The second learns from scores by models that had not seen the conversation."""
    answerable = [e for e in data if e.answerable]
    own = fit_listwise([(e.first, e.gold) for e in answerable])
    groups = []
    for fold in sorted({e.fold for e in answerable}):
        unseen = fit_listwise([(e.first, e.gold) for e in answerable if e.fold != fold])
        groups += [(second(e, unseen), e.gold) for e in answerable if e.fold == fold]
    return own, fit_listwise(groups)


def fit_rough(data: Sequence[Example]) -> Linear:
    """The model that chooses candidates in a large memory: the first one without places among candidates."""
    alone = ~np.isin(FEATURES, PLACES)
    return fit_listwise([(e.first * alone, e.gold) for e in data if e.answerable])


def calibrated(model: Linear, scores: Floats, gold: Floats) -> Linear:
    """`model` scaled so that its score is the log odds of being evidence."""
    x = np.c_[scores, np.ones(len(scores))]

    def loss(w: Floats) -> tuple[float, Floats]:
        s = x @ w
        p = 1 / (1 + np.exp(-s))
        return float((np.logaddexp(0, s) - gold * s).mean()), x.T @ (p - gold) / len(gold)

    a, b = minimize(loss, np.array([1.0, -3.0]), jac=True, method="L-BFGS-B").x
    return linear(model.mean, model.scale, model.weight * a, float(b))


def measures(data: Sequence[Example], scores: Sequence[Floats]) -> dict[str, float]:
    """Evidence recall, MRR and session hit over answerable questions."""
    found: dict[str, list[float]] = {}
    for e, s in zip(data, scores, strict=True):
        if not e.answerable:
            continue
        blocks = e.corpus.block[e.signals.places]
        order = diversify(s.astype(np.float32), blocks, len(s))
        order = np.concatenate([order, np.setdiff1d(np.arange(len(s)), order)])
        gold = e.gold[order]
        for k in (5, 10, 20):
            found.setdefault(f"recall@{k}", []).append(gold[:k].sum() / gold.sum())
            found.setdefault(f"category {e.category} recall@{k}", []).append(gold[:k].sum() / gold.sum())
        found.setdefault("mrr", []).append(1 / (1 + np.flatnonzero(gold)[0]))
        found.setdefault("session hit@10", []).append(bool(set(blocks[e.gold == 1]) & set(blocks[order[:10]])))
    return {name: round(float(np.mean(values)), 4) for name, values in sorted(found.items())}


def held_out(data: Sequence[Example]) -> list[Floats]:
    """Scores of every example by models that never saw its conversation."""
    scores: list[Floats] = [np.empty(0)] * len(data)
    for fold in sorted({e.fold for e in data}):
        own, around = fit([e for e in data if e.fold != fold])
        for n, e in enumerate(data):
            if e.fold == fold:
                scores[n] = around(second(e, own).astype(np.float32)).astype(np.float64)
    return scores


def ranking(example: Example, scores: Floats, k: int) -> list[int]:
    """The first `k` rows of the corpus in the order that a search would give."""
    blocks = example.corpus.block[example.signals.places]
    return [int(row) for row in example.signals.rows[diversify(scores.astype(np.float32), blocks, k)]]


def train(data: list[Example]) -> tuple[dict[str, Linear], dict[str, float]]:
    """The four models fitted on everything, and what they reach on conversations they never saw."""
    unseen = held_out(data)
    answerable = np.array([e.answerable for e in data], float)
    x = np.stack([_sureness(e, s) for e, s in zip(data, unseen, strict=True)])
    folds = np.array([e.fold for e in data])
    sure = np.zeros(len(data))
    for fold in np.unique(folds):
        model = fit_logistic(x[folds != fold], answerable[folds != fold])
        sure[folds == fold] = model(x[folds == fold].astype(np.float32))
    report = measures(data, unseen)
    category = np.array([e.category for e in data])
    for name, kind in (("answerable AUROC", ADVERSARIAL), ("answerable AUROC, asked elsewhere", ELSEWHERE)):
        of = (answerable == 1) | (category == kind)
        labels = answerable[of].astype(int).tolist()
        report[name] = round(auroc(sure[of].tolist(), labels), 4)
        report[f"{name}, top score"] = round(auroc(x[of, 0].tolist(), labels), 4)
        report[f"declined, category {kind}"] = round(float((sure[category == kind] < 0).mean()), 4)
    report["declined, answerable"] = round(float((sure[answerable == 1] < 0).mean()), 4)
    own, around = fit(data)
    around = calibrated(
        around,
        np.concatenate([s for s, e in zip(unseen, data, strict=True) if e.answerable]),
        np.concatenate([e.gold for e in data if e.answerable]),
    )
    # the confidence model must see scores on the scale that it will see in use
    x = np.stack([_sureness(e, around(second(e, own).astype(np.float32)).astype(np.float64)) for e in data])
    fitted = {"rough": fit_rough(data), "own": own, "spread": around, "confidence": fit_logistic(x, answerable)}
    return fitted, report


def _sureness(example: Example, scores: Floats) -> Floats:
    none = np.empty(0, np.float32)
    ranked = Ranked(scores.astype(np.float32), example.first.astype(np.float32), none, {})
    return confidence_features(example.query, example.signals, ranked).astype(np.float64)


def main() -> None:
    """Train the models of each of `KINDS` and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a file in the format of locomo10.json, .xz allowed")
    parser.add_argument("--dry", action="store_true", help="report only")
    arguments = parser.parse_args()
    conversations = load_locomo(arguments.data)
    models, reports = {}, {}
    for kind, embedder in zip(KINDS, _EMBEDDERS, strict=True):
        data = examples(conversations, embedder, _ELSEWHERE)
        fitted, reports[kind] = train(data)
        models.update({f"{kind}-{name}": model for name, model in fitted.items()})
        print(kind, "leave-one-conversation-out:", json.dumps(reports[kind], indent=1), flush=True)
        for name, model in fitted.items():
            names = {"spread": FEATURES + SPREAD, "confidence": CONFIDENCE}.get(name, FEATURES)
            print(
                f"  {name}:",
                ", ".join(f"{n} {w:+.2f}" for n, w in zip(names, model.weight, strict=True)),
                flush=True,
            )
    if not arguments.dry:
        shipped = {
            "trained on": [c.sample_id for c in conversations],
            "leave-one-conversation-out": reports,
            "models": {
                name: {
                    "mean": [round(float(v), 6) for v in m.mean], "scale": [round(float(v), 6) for v in m.scale],
                    "weight": [round(float(v), 6) for v in m.weight], "bias": round(m.bias, 6),
                }
                for name, m in models.items()
            },
        }  # fmt: skip
        WEIGHTS.write_text(json.dumps(shipped, indent=1) + "\n")


if __name__ == "__main__":
    main()
