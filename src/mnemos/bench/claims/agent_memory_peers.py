"""What users of other agent memories know and complain about: does a script move over, does the store stay clean, does
the newer fact win, and is evidence found as often as was measured elsewhere?

- *Migration*: a script written for mem0's interface runs with one line of it changed.
- *Recall loop*: what a search gave out comes back as the assistant's words, 50 rounds long. Nothing may be added.
- *Moves*: "X moved from A to B" in many phrasings after a statement of where X lived; asked are the present town, and
  the one of the time between.
- *Talk*: LoCoMo (Maharana et al., 2024), evidence to the turn among the first 5, 10 and 20, of single rankings and of
  their fusion by ranks, beside figures that were measured on all ten conversations.

Source: mem0's interface and its issue 4573 (97.8 % of a store was text taken back in); LoCoMo's evidence annotations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.bench.embeddings import CachedEmbedder
from mnemos.bench.metrics import recall_at
from mnemos.bench.results import Finding, Result, Verdict
from mnemos.bench.runner import Progress
from mnemos.core.clock import FixedClock
from mnemos.core.config import Settings
from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.encode.analyse import words
from mnemos.text.encode.embedder import Embedder, resolve
from mnemos.text.importers.locomo import Conversation, load_locomo
from mnemos.text.index.lexical import Postings, saturate
from mnemos.text.memory import Memory
from mnemos.text.records import Item

SYSTEM = "agent_memory_peers"
DATA = Path("../shared/data/locomo/locomo5.json.xz")
_DAY = 86400.0
_START = 1_700_000_000.0
_KS = (5, 10, 20)
_RRF = 60
_ALONE = ", words alone"
ELSEWHERE: Mapping[str, tuple[float, float, float]] = {
    "MiniLM": (0.33, 0.43, 0.52),
    "TF-IDF": (0.43, 0.52, 0.60),
    "rank fusion": (0.42, 0.51, 0.61),
}
"""Recall@5, @10, @20 as measured on all ten conversations."""
_SLACK = 0.02
"""Difference on the same conversations from which loader or metric would be at fault."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is tried."""

    rounds: int = 50
    moves: int = 200
    conversations: int = 10
    """At most; as many as the file has."""
    seed: int = 0


FULL = Size()
SMOKE = Size(rounds=4, moves=8, conversations=0)


# -- migration -----------------------------------------------------------------------------

SCRIPT = """\
from mem0 import Memory

memory = Memory.from_config(config)
talk = [
    {"role": "user", "content": "I am Priya. I moved to Oslo and I am allergic to walnuts."},
    {"role": "assistant", "content": "Noted, no walnuts!"},
]
added = memory.add(talk, user_id="priya", metadata={"topic": "home"}, infer=False)
first = added["results"][0]["id"]
memory.add("My sister Anouk plays the cello.", user_id="priya", run_id="r1")
memory.add("I keep bees.", user_id="tom", agent_id="helper")

found = memory.search("What is she allergic to?", user_id="priya", limit=3)
assert found["results"][0]["id"] == first and 0 <= found["results"][0]["score"] <= 1
assert memory.get(first)["memory"].startswith("I am Priya")
everything = memory.get_all(user_id="priya")["results"]
assert len(everything) == 3 and {entry["user_id"] for entry in everything} == {"priya"}

memory.update(memory_id=first, data="I am Priya. I moved to Bergen and I am allergic to walnuts.")
assert "Bergen" in memory.get(first)["memory"]
memory.delete(memory_id=first)
events = [entry["event"] for entry in memory.history(memory_id=first)]
assert events == ["ADD", "UPDATE", "DELETE"], events
assert first not in [entry["id"] for entry in memory.search("walnuts", user_id="priya")["results"]]
assert len(memory.get_all(user_id="tom")["results"]) == 1
memory.close()
"""
"""As somebody who uses mem0 would write it."""


def migrate(embedder: str = "auto") -> int:
    """Run `SCRIPT` with one line changed; returns how many lines were.

    Raises:
        AssertionError: it came to something else than under mem0. Others as the script.
    """
    moved = SCRIPT.replace("from mem0 import", "from mnemos.compat.mem0 import")
    with tempfile.TemporaryDirectory() as folder:
        config: dict[str, Any] = {
            "vector_store": {"provider": "qdrant", "config": {"path": str(Path(folder) / "m.mnemos")}},
            "embedder": {"provider": "mnemos", "config": {"model": embedder}},
        }
        exec(compile(moved, "script", "exec"), {"config": config})
    return sum(a != b for a, b in zip(SCRIPT.splitlines(), moved.splitlines(), strict=True))


# -- recall loop ---------------------------------------------------------------------------

_LIVED = (
    "I live in Bergen and work at the harbour office.", "My sister Anouk plays the cello in Lyon.",
    "I am allergic to walnuts and to cats.", "We painted the kitchen yellow last spring.",
    "My favourite film is The Third Man.", "The dentist moved my appointment to Thursday.",
    "I adopted a dog named Pixel in May.", "Grandfather built the boat with his own hands.",
)  # fmt: skip
_ASKED = (
    "Where do I live?", "Who plays the cello?", "What am I allergic to?", "What colour is the kitchen?",
    "What is my favourite film?", "When is the dentist?", "What is the dog called?", "Who built the boat?",
)  # fmt: skip
FORMS: Mapping[str, Callable[[Sequence[str]], str]] = {
    "as it is": "\n".join,
    "as a list": lambda texts: "\n".join(f"- {text}" for text in texts),
    "with a lead-in": lambda texts: "As you told me: " + " ".join(texts),
}
"""How an assistant says again what it was given."""


def loop(rounds: int, embedder: Embedder | None, form: str = "as it is") -> tuple[int, int]:
    """(records before, after) `rounds` in which what was recalled is said again by an assistant, in one of `FORMS`."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Memory(
            Path(folder) / "m.mnemos", embedder=embedder, clock=FixedClock(_START), seed=0, settings=Settings()
        ) as memory,
    ):
        memory.add([Item(text, "user", _START, "s0") for text in _LIVED])
        before = _count(memory)
        for n in range(rounds):
            hits = memory.search(_ASKED[n % len(_ASKED)], 3)
            text = FORMS[form]([hit.text for hit in hits])
            memory.add(Item(text, "assistant", _START, f"s{n + 1}", source="assistant"))
        return before, _count(memory)


def _count(memory: Memory) -> int:
    return len(memory.list(limit=100_000, hidden=True, kinds=("turn", "note", "passage", "fact")))


# -- moves ---------------------------------------------------------------------------------


class Move(NamedTuple):
    """Somebody who moved."""

    who: str
    old: str
    new: str
    before: str
    after: str
    told_by: str


_FIRST = (
    "Amara Bjorn Celia Dmitri Elena Farouk Gwen Hassan Ingrid Jorge Keiko Lars Mirela Nadia Otto Paola Quentin Rosa "
    "Sven Talia"
).split()
_LAST = "Abbott Brandt Castillo Duarte Eklund Ferrari Grange Hoffman Ivanov Jansen".split()
_TOWNS = (
    "Aarhus Bilbao Cologne Dublin Esbjerg Florence Ghent Hamburg Innsbruck Jena Krakow Lisbon Malaga Nantes Oslo Porto "
    "Quebec Rotterdam Seville Tampere Uppsala Vienna Warsaw Yokohama Zagreb"
).split()
_BEFORE = {
    True: ("I live in {old}.", "I'm living in {old}.", "I moved to {old} a while ago.", "I'm based in {old}."),
    False: ("{who} lives in {old}.", "{who} is living in {old}.", "{who} resides in {old}.", "{who} moved to {old}."),
}
_AFTER = {
    True: (
        "I moved from {old} to {new}.", "I've just moved from {old} to {new}!", "I relocated from {old} to {new}.",
        "Last week I moved from {old} to {new}.", "I moved to {new} from {old}.", "We have moved from {old} to {new}.",
        "Big news: I moved from {old} to {new}.", "I finally moved out of {old} and I live in {new} now.",
        "After years in {old} I moved to {new}.", "Goodbye {old}, I'm living in {new} now.",
    ),
    False: (
        "{who} moved from {old} to {new}.", "{who} has moved from {old} to {new}.",
        "{who} relocated from {old} to {new}.", "{who} recently moved from {old} to {new}.",
        "{who} moved to {new} from {old}.", "Yesterday {who} moved from {old} to {new}.",
        "Did you hear? {who} moved from {old} to {new}.", "{who} left {old} and lives in {new} now.",
        "After years in {old}, {who} moved to {new}.", "{who} emigrated from {old} to {new}.",
    ),
}  # fmt: skip
"""By whether it is told by the person; written down before anything was measured."""
_WHERE = ("Where does {} live?", "Where does {} live now?", "Which city does {} live in?", "Where is {} living?")


def moves(count: int, seed: int) -> list[Move]:
    """People of different names, towns at random, every phrasing in turn."""
    draw = np.random.default_rng(seed)
    people = [f"{first} {last}" for first in _FIRST for last in _LAST]
    if count > len(people):
        raise InvalidInput(f"moves is {count}: there are names for {len(people)}")
    found = []
    for n, who in enumerate(draw.permutation(people)[:count].tolist()):
        old, new = draw.permutation(_TOWNS)[:2].tolist()
        own, turn = n % 2 == 0, n // 2
        before = _BEFORE[own][turn % len(_BEFORE[own])].format(who=who, old=old)
        after = _AFTER[own][turn % len(_AFTER[own])].format(who=who, old=old, new=new)
        found.append(Move(who, old, new, before, after, who if own else "Narrator"))
    return found


class Asked(NamedTuple):
    """What came of asking where those live who moved."""

    current: float
    """Accuracy for the present town."""
    past: float
    """For the one of the time between."""
    first: float
    """How often what tells the present town is the first hit of a search."""
    wrong: list[str]


def ask_moves(some: Sequence[Move], embedder: Embedder | None, apart: bool = False) -> Asked:
    """Tell one memory of every move, then ask for each.

    Args:
        apart: whether everybody has a memory of their own; else all are in one, with two hundred similar names.
    """
    between = _START + 30 * _DAY
    with (
        tempfile.TemporaryDirectory() as folder,
        Memory(
            Path(folder) / "m.mnemos", embedder=embedder, clock=FixedClock(_START), seed=0, settings=Settings()
        ) as memory,
    ):
        user = {one.who: one.who if apart else "" for one in some}
        for one in some:
            memory.add(Item(one.before, one.told_by, _START, f"before {one.who}"), user=user[one.who])
        memory._clock.advance(60 * _DAY)  # type: ignore[attr-defined]
        moved = memory._clock.now()
        told = [memory.add(Item(o.after, o.told_by, moved, f"after {o.who}"), user=user[o.who]) for o in some]
        current, past, first, wrong = [], [], [], []
        for n, one in enumerate(some):
            question = _WHERE[n % len(_WHERE)].format(one.who)
            now = memory.ask(question, user=user[one.who]).text
            then = memory.ask(question, user=user[one.who], as_of=between).text
            current.append(_says(now, one.new, one.old))
            past.append(_says(then, one.old, one.new))
            first.append(memory.search(question, 1, user=user[one.who])[0].id == told[n])
            if not (current[-1] and past[-1]):
                wrong.append(f"{one.after} | now: {now} | then: {then}")
    return Asked(float(np.mean(current)), float(np.mean(past)), float(np.mean(first)), wrong)


def _says(text: str, right: str, other: str) -> bool:
    """Whether an answer names the right town and not the other: a sentence with both tells nothing apart."""
    said = words(text)
    return right.lower() in said and other.lower() not in said


# -- talk ----------------------------------------------------------------------------------


def rankings(texts: Sequence[str], embedder: Embedder) -> dict[str, Callable[[str], NDArray[np.float64]]]:
    """Scores [n] of every text for a question: dense, TF-IDF, BM25, and the two families fused by ranks.

    TF-IDF is the textbook's: words in lower case, smoothed idf, unit length.
    """
    table = embedder.embed(list(texts))
    bags = [words(text) for text in texts]
    place = {word: n for n, word in enumerate(dict.fromkeys(word for bag in bags for word in bag))}
    counts = np.zeros((len(texts), len(place)))
    for n, bag in enumerate(bags):
        np.add.at(counts[n], [place[word] for word in bag], 1)
    idf = np.log((1 + len(texts)) / (1 + (counts > 0).sum(axis=0))) + 1
    weighted = counts * idf
    weighted /= np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)
    postings = Postings([np.array([place[word] for word in bag], np.uint32) for bag in bags])

    def known(question: str) -> list[int]:
        return [place[word] for word in words(question) if word in place]

    def dense(question: str) -> NDArray[np.float64]:
        return np.asarray(table @ embedder.embed([question])[0], np.float64)

    def tfidf(question: str) -> NDArray[np.float64]:
        asked = np.zeros(len(place))
        np.add.at(asked, known(question), 1)
        return np.asarray(weighted @ (asked * idf), np.float64)

    def bm25(question: str) -> NDArray[np.float64]:
        found = postings.matches(known(question))
        weight = saturate(found.counts, postings.lengths[found.rows], postings.mean_length)
        return np.bincount(found.rows, found.share[found.term] * weight, len(texts)).astype(np.float64)

    def fused(question: str) -> NDArray[np.float64]:
        return _reciprocal(dense(question)) + _reciprocal(tfidf(question))

    return {"MiniLM": dense, "TF-IDF": tfidf, "BM25": bm25, "rank fusion": fused}


def talk(conversations: Sequence[Conversation], embedder: Embedder, progress: Progress) -> dict[str, list[float]]:
    """Mean recall@5, @10, @20 of evidence turns by ranking, questions of every category that have evidence; of turns as
    they were said ("words alone"), and with the speaker's name before them."""
    found: dict[str, list[list[float]]] = {}
    for done, conversation in enumerate(conversations):
        progress(conversation.sample_id, done, len(conversations))
        names = [str(item.metadata["dia_id"]) for item in conversation.items]
        by = {
            f"{name}{form}": score
            for form, texts in (
                ("", [f"{item.speaker}: {item.text}" for item in conversation.items]),
                (_ALONE, [item.text for item in conversation.items]),
            )
            for name, score in rankings(texts, embedder).items()
        }
        for question in conversation.questions:
            if question.evidence:
                for name, score in by.items():
                    best = np.argsort(-score(question.question), kind="stable")[: max(_KS)].tolist()
                    ranked = [names[n] for n in best]
                    found.setdefault(name, []).append([recall_at(ranked, question.evidence, k) for k in _KS])
    return {name: np.mean(values, axis=0).tolist() for name, values in found.items()}


def _reciprocal(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    rank = np.empty(len(scores))
    rank[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return 1 / (_RRF + rank)


# -- verdict -------------------------------------------------------------------------------


def run(progress: Progress, size: Size = FULL, data: Path = DATA) -> Result:
    """All four parts."""
    found = resolve("auto")
    if found is None:
        raise InvalidInput("this claim compares meanings: pip install 'mnemos[local]'")
    embedder = CachedEmbedder(found)
    progress("a script of mem0's", 0, 4)
    changed = migrate()
    progress("the recall loop", 1, 4)
    grown = {form: (loop(size.rounds, embedder, form)) for form in FORMS}
    progress("moves", 2, 4)
    some = moves(size.moves, size.seed)
    asked = ask_moves(some, embedder)
    alone = ask_moves(some, embedder, apart=True)
    try:
        known = load_locomo(data)[: size.conversations]
        recall = talk(known, embedder, progress) if known else {}
        note = f"{len(known)} of LoCoMo's ten conversations" if known else "no conversations were asked for"
    except NotFound:
        known, recall, note = [], {}, "no copy of LoCoMo: recall of evidence was not measured"
    near = bool(recall) and any(
        all(
            abs(a - b) <= _SLACK
            for name, those in ELSEWHERE.items() for a, b in zip(recall[name + form], those, strict=True)
        )
        for form in ("", _ALONE)
    )  # fmt: skip
    clean = all(before == after for before, after in grown.values())
    parts = {"migration": changed == 1, "loop": clean, "moves": min(asked.current, asked.past) >= 0.95, "recall": near}
    verdict: Verdict = "holds" if all(parts.values()) else "partly" if any(parts.values()) else "fails"
    rows = [
        {
            "system": name, **{f"recall@{k}": round(v, 4) for k, v in zip(_KS, values, strict=True)},
            **{f"elsewhere @{k}": v for k, v in zip(_KS, ELSEWHERE.get(name.removesuffix(_ALONE), ()), strict=False)},
        }
        for name, values in recall.items()
    ]  # fmt: skip
    return Result(
        name=SYSTEM,
        measures={
            "lines changed": float(changed),
            "present town": round(asked.current, 4), "past town": round(asked.past, 4),
            "present town, memories apart": round(alone.current, 4),
            "past town, memories apart": round(alone.past, 4),
            "present town's statement first": round(asked.first, 4),
            "present town's statement first, memories apart": round(alone.first, 4),
        }
        | {
            f"records {when} the loop, {form}": float(count)
            for form, counts in grown.items() for when, count in zip(("before", "after"), counts, strict=True)
        }
        | {f"recall@{k}, {name}": round(v, 4) for name, vs in recall.items() for k, v in zip(_KS, vs, strict=True)},
        rows=rows,
        config={
            **asdict(size), "data": note, "passed": [name for name, passed in parts.items() if passed],
            "answered wrongly": asked.wrong[:40],
        },
        size={"moves": size.moves, "rounds": size.rounds, "conversations": len(known)},
        seeds=[size.seed],
        claim=Finding(
            statement="a script for mem0 runs with one line changed; 50 rounds in which recalled text is said again "
            "add nothing, whatever its form; of 200 moves in one memory the present town and the past one are answered "
            f"at 0.95 or more; evidence recall by MiniLM, TF-IDF and their fusion is within {_SLACK} of what was "
            f"measured on all ten conversations (here: {note})",
            paper="recall@5/10/20: " + _spoken(ELSEWHERE),
            ours=f"{changed} line; records more: {', '.join(f'{form} {a - b}' for form, (b, a) in grown.items())}; "
            f"present {asked.current:.3f}, past {asked.past:.3f}, with memories apart {alone.current:.3f} and "
            f"{alone.past:.3f}; "
            f"{_spoken(recall) or note}",
            baseline="a store that takes back what it gave out grows every round; the figures of ten conversations",
            verdict=verdict,
        ),
    )  # fmt: skip


def _spoken(recall: Mapping[str, Sequence[float]]) -> str:
    return "; ".join(f"{name} {' / '.join(f'{v:.2f}' for v in values)}" for name, values in recall.items())
