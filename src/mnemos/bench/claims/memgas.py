"""Several granularities against each of them, and weights by certainty against equal ones.

LoCoMo (Maharana et al., 2024): which sessions hold the evidence of a question? Rows go from single units over the
paper's fusion of three dense ones to five calibrated ones, with edges by similarity beside as many random ones, and
with whole sessions by words alone beside all of it, for questions here share words with their evidence. Summaries
are those of the data set, as a language model would write them; no model takes part. Then two toys with known answers:
questions that are meant for one granularity, and sessions that belong together.

Source: MemGAS, 2025; its tables could not be confirmed, so that the comparison is our own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.bench.embeddings import CachedEmbedder
from mnemos.bench.metrics import ndcg_at, recall_at
from mnemos.bench.results import Finding, Result, Verdict
from mnemos.bench.runner import Progress
from mnemos.bench.sets import read_json
from mnemos.core.clock import FixedClock
from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.encode.embedder import Embedder, resolve
from mnemos.text.graph import Graph, push
from mnemos.text.importers.locomo import Conversation, load_locomo
from mnemos.text.memory import Memory
from mnemos.text.recipes.association import accepted
from mnemos.text.recipes.base import Sought
from mnemos.text.recipes.memgas import NODES, SEEDS, MemGAS, Sessions, ranked, spread, units
from mnemos.text.recipes.router import calibrated, route
from mnemos.text.records import Filter, Scope

SYSTEM = "memgas"
DATA = Path("../shared/data/locomo/locomo5.json.xz")
_K = 3
_SEEDS = (0, 1, 2)
"""Of the toys."""
_RAW = 0.1
"""The paper's temperature, for cosines."""

Floats = NDArray[np.float64]


# -- on conversations ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """One question in the eyes of every unit."""

    scores: Floats
    """[5, S]"""
    gold: frozenset[str]
    """Sessions, by place."""
    index: Sessions
    shuffled: Sessions
    """The same with random edges."""


def _three(seen: Seen, damping: float, weighted: bool = True, edges: str = "index") -> Floats:
    """The paper's ranking over three dense units."""
    cosines = seen.scores[:3]
    weights = route(cosines, _RAW) if weighted else np.full(3, 1 / 3)
    nodes = np.zeros((len(NODES), cosines.shape[1]))
    nodes[:3] = weights[:, None] * cosines
    return spread(getattr(seen, edges), nodes, damping)


def _calm(seen: Seen, weighted: bool) -> Floats:
    scores = calibrated(seen.scores)
    return np.asarray(route(scores) @ scores if weighted else scores.mean(axis=0), np.float64)


def _hybrid(seen: Seen) -> Floats:
    scores = calibrated(seen.scores)
    return np.asarray(scores[4] + 0.3 * scores[3] + 0.3 * scores[2], np.float64)


def _mass(seen: Seen) -> Floats:
    _, total, mass = ranked(seen.index, seen.scores)
    return mass + 1e-9 * total


RANKINGS: Mapping[str, Callable[[Seen], Floats]] = {
    "whole session, dense": lambda seen: seen.scores[0],
    "mean of turns, dense": lambda seen: seen.scores[1],
    "summary, dense": lambda seen: seen.scores[2],
    "best turn, dense": lambda seen: seen.scores[3],
    "whole session, words": lambda seen: seen.scores[4],
    "mean of three cosines": lambda seen: np.asarray(seen.scores[:3].mean(axis=0), np.float64),
    "three, router, no walk": lambda seen: _three(seen, 0.0),
    "three, router, walk 0.1": lambda seen: _three(seen, 0.1),
    "three, router, walk 0.3": lambda seen: _three(seen, 0.3),
    "three, router, walk 0.5": lambda seen: _three(seen, 0.5),
    "three, equal, walk 0.1": lambda seen: _three(seen, 0.1, weighted=False),
    "three, equal, walk 0.1, random edges": lambda seen: _three(seen, 0.1, weighted=False, edges="shuffled"),
    "five calibrated, equal": lambda seen: _calm(seen, weighted=False),
    "five calibrated, router": lambda seen: _calm(seen, weighted=True),
    "five calibrated, router, walk 0.1 (the recipe)": _mass,
    "words + 0.3 best turn + 0.3 summary": _hybrid,
}
_SINGLE = ("whole session, dense", "mean of turns, dense", "summary, dense")


def look(conversation: Conversation, summaries: Mapping[str, str], embedder: Embedder, seed: int = 0) -> list[Seen]:
    """Every question with evidence.

    Args:
        summaries: by session, to take the place of the extracts.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        Memory(
            Path(folder) / "m.mnemos", embedder=embedder, recipe="memgas", clock=FixedClock(2e9), seed=seed
        ) as memory,
    ):
        memory.add([replace(item, key="") for item in conversation.items])
        recipe, scope = memory.recipe, Scope()
        assert isinstance(recipe, MemGAS)
        known = recipe.index(scope).traces
        given = {key: text for session, text in summaries.items() if (key := f"session/{session}") in known and text}
        told = [replace(known[k], body={**known[k].body, "summary": t}, vectors=None) for k, t in given.items()]
        recipe._keep(scope, iter([told]), None)
        corpus, state = recipe._synced(scope)
        index, place = state.index, {key.removeprefix("session/"): n for n, key in enumerate(state.index.keys)}
        shuffled = replace(index, graph=_shuffled(index, seed), slots=None)
        session = {str(item.metadata["dia_id"]): item.session for item in conversation.items}
        seen = []
        asked = [question for question in conversation.questions if question.evidence]
        vectors = embedder.embed([question.question for question in asked])
        for question, vector in zip(asked, vectors, strict=True):
            sought = Sought(question.question, vector, Filter(), _K, 2e9, False, corpus, state.row, None)
            owners = recipe.owners(sought, index)
            gold = frozenset(str(place[session[turn]]) for turn in question.evidence)
            seen.append(Seen(units(sought, index, owners, owners >= 0), gold, index, shuffled))
        return seen


def _shuffled(index: Sessions, seed: int) -> Graph:
    """As many edges from each session's nodes to earlier ones, at random."""
    draw, graph = np.random.default_rng(seed), Graph()
    names = [f"{key}\x1f{n}" for key in index.keys for n in range(len(NODES))]
    place = {name: n for n, name in enumerate(names)}
    for number, name in enumerate(names):
        graph.add_node(name)
        before = number - number % len(NODES)
        there = index.graph.neighbours(name)
        many = sum(1 for other in there if place[str(other)] < before)
        if many:
            ends = draw.choice(before, many, replace=False).tolist()
            graph.add_edges("random", [name] * len(ends), [names[n] for n in ends])
    return graph


# -- on toys -------------------------------------------------------------------------------


def granular(
    seed: int, sessions: int = 60, questions: int = 300, noise: float = 0.9, dim: int = 24
) -> dict[str, float]:
    """Share of questions whose session comes first, by unit and fusion. A third quotes a turn, a third paraphrases the
    topic that the summary has, a third names a keyword."""
    draw, dim = np.random.default_rng(seed), 24
    turns = _unit(draw.standard_normal((sessions, 6, dim)))
    topics = _unit(draw.standard_normal((sessions, dim)))
    names = _unit(draw.standard_normal((sessions, dim)))
    hits: dict[str, list[float]] = {}
    for number in range(questions):
        gold = int(draw.integers(sessions))
        about = (turns[gold, draw.integers(6)], topics[gold], names[gold])[number % 3]
        query = _unit(about + noise * draw.standard_normal(dim) / np.sqrt(dim))
        scores = np.stack([(turns @ query).max(axis=1), topics @ query, names @ query])
        calm = calibrated(scores)
        found = {
            "best turn": scores[0], "summary": scores[1], "keywords": scores[2],
            "equal weights": calm.mean(axis=0), "router": route(calm) @ calm,
        }  # fmt: skip
        for name, ranking in found.items():
            hits.setdefault(name, []).append(float(np.argmax(ranking) == gold))
    return {name: float(np.mean(values)) for name, values in hits.items()}


def related(seed: int, groups: int = 15, size: int = 4, dim: int = 64, damping: float = 0.5) -> dict[str, float]:
    """Share of a topic's sessions found by PageRank from one of them, along accepted edges and along random ones. The
    similarities of related and of other sessions lie four deviations apart, at least."""
    draw = np.random.default_rng(seed)
    topics = _unit(draw.standard_normal((groups, dim)))
    topic = draw.permutation(np.arange(groups).repeat(size))
    vectors = _unit(topics[topic] + 0.6 * draw.standard_normal((len(topic), dim)) / np.sqrt(dim))
    linked, random = Graph(), Graph()
    for number in range(len(topic)):
        alike = vectors[:number] @ vectors[number]
        near = np.argsort(-alike, kind="stable")[:20]
        chosen = near[accepted(alike[near][None])[0]]
        ends = draw.permutation(number)[: len(chosen)]
        for graph, others in ((linked, chosen), (random, ends)):
            graph.add_node(number)
            graph.add_edges("like", [number] * len(others), others.tolist())
    found: dict[str, list[float]] = {"accepted edges": [], "random edges": []}
    for number in range(len(topic)):
        gold = {str(n) for n in np.flatnonzero(topic == topic[number]).tolist()}
        for name, graph in (("accepted edges", linked), ("random edges", random)):
            reset = np.zeros(graph.size)
            reset[graph.slots([number])] = 1
            mass = push(graph, reset, damping=damping)[graph.slots(range(len(topic)))]
            found[name].append(recall_at([str(n) for n in np.argsort(-mass, kind="stable").tolist()], gold, size))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float64)


# -- the claim -----------------------------------------------------------------------------


def run(progress: Progress, data: Path = DATA, conversations: int | None = None) -> Result:
    """Session recall on LoCoMo by every ranking, then the toys."""
    embedder = resolve("auto")
    if embedder is None:
        raise InvalidInput("this claim compares meanings: pip install 'mnemos[local]'")
    cached = CachedEmbedder(embedder)
    try:
        known, raw = load_locomo(data)[:conversations], read_json(data)
    except NotFound:
        known, raw = [], []
    summaries = {sample["sample_id"]: _summaries(sample) for sample in raw}
    recalls: dict[str, list[float]] = {}
    gains: dict[str, list[float]] = {}
    for done, conversation in enumerate(known):
        progress(conversation.sample_id, done, len(known) + 1)
        for seen in look(conversation, summaries[conversation.sample_id], cached):
            for name, ranking in RANKINGS.items():
                best = [str(n) for n in np.argsort(-ranking(seen), kind="stable")[:_K].tolist()]
                recalls.setdefault(name, []).append(recall_at(best, seen.gold, _K))
                gains.setdefault(name, []).append(ndcg_at(best, seen.gold, _K))
    progress("toys", len(known), len(known) + 1)
    recall = {name: float(np.mean(values)) for name, values in recalls.items()}
    rows = [
        {"system": name, f"recall@{_K}": round(value, 4), f"NDCG@{_K}": round(float(np.mean(gains[name])), 4)}
        for name, value in recall.items()
    ]
    return _result(
        recall, rows, [granular(seed) for seed in range(3)], [related(seed) for seed in range(3)], len(known)
    )


def _summaries(sample: Mapping[str, Any]) -> dict[str, str]:
    """The data set's own summaries by session, as the importer names sessions."""
    told = sample.get("session_summary", {})
    return {f"{sample['sample_id']}/{name.removesuffix('_summary')}": str(text) for name, text in told.items()}


def _result(
    recall: dict[str, float], rows: list[dict[str, Any]], toys: list[dict[str, float]], links: list[dict[str, float]],
    conversations: int,
) -> Result:  # fmt: skip
    toy = {name: float(np.mean([one[name] for one in toys])) for name in toys[0]}
    link = {name: float(np.mean([one[name] for one in links])) for name in links[0]}
    measures = {f"toy, {name}": round(value, 4) for name, value in (toy | link).items()}
    measures |= {f"recall@{_K}, {name}": round(value, 4) for name, value in recall.items()}
    singles = [toy[name] for name in ("best turn", "summary", "keywords", "equal weights")]
    passed = [toy["router"] > max(singles), link["accepted edges"] > link["random edges"]]
    ours, baseline = f"toy: router {toy['router']:.3f}", f"toy: best other {max(singles):.3f}"
    if recall:
        best = max(recall[name] for name in _SINGLE)
        passed += [
            recall["three, router, walk 0.1"] >= best + 0.02,
            recall["five calibrated, router"] >= recall["five calibrated, equal"] + 0.02,
            recall["words + 0.3 best turn + 0.3 summary"] >= recall["whole session, words"] + 0.01,
        ]
        ours = (
            f"three units {recall['three, router, walk 0.1']:.3f}, five with router "
            f"{recall['five calibrated, router']:.3f}, hybrid {recall['words + 0.3 best turn + 0.3 summary']:.3f}"
        )
        baseline = (
            f"best of the three {best:.3f}, five with equal weights {recall['five calibrated, equal']:.3f}, words "
            f"alone {recall['whole session, words']:.3f}"
        )
    verdict: Verdict = "holds" if all(passed) and recall else "partly" if any(passed) else "fails"
    return Result(
        name=SYSTEM,
        measures=measures,
        rows=rows,
        config={"data": DATA.name if recall else "none: toys alone", "seeds of the walk": SEEDS, "k": _K},
        size={"conversations": conversations},
        seeds=list(_SEEDS),
        claim=Finding(
            statement=f"session recall@{_K}: three dense units are at least 0.02 above the best of them, the router "
            "over five calibrated units 0.02 above equal weights, words with a best turn and a summary 0.01 above "
            "words alone; on toys the router beats every unit and equal weights, and accepted edges beat random ones",
            paper="best on four benchmarks; values unconfirmed",
            ours=ours,
            baseline=baseline,
            verdict=verdict,
        ),
    )
