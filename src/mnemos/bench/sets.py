"""Question sets with annotated evidence, each in the same form: memories, questions, and which memories are gold."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mnemos.core.clock import iso, parse_time
from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.encode.dates import find_dates
from mnemos.text.importers.locomo import load_locomo
from mnemos.text.importers.longmemeval import load_longmemeval
from mnemos.text.records import Item, Kind

_DATA = Path("../shared/data")
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a case."""

    text: str
    gold: frozenset[str]
    """Names of the memories, sessions or days that hold the evidence."""
    category: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """Memories of one scope, and questions about them."""

    name: str
    items: tuple[Item, ...]
    names: tuple[str, ...]
    """[items] what each counts as when it is found: its own name, or that of its session or day."""
    asked: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """A data set, and what is reported of it."""

    path: Path
    ks: tuple[int, ...]
    """Places at which recall is taken."""
    best: str
    """The measure that ranks."""
    read: Callable[[Path], Iterator[Case]]
    depth: int
    """Records that are asked for, so that enough sessions or days are among them."""


def question_set(name: str) -> QuestionSet:
    """The set `name`. Raises NotFound."""
    if name not in _SETS:
        raise NotFound(f"no question set {name!r}: there are {', '.join(_SETS)}")
    return _SETS[name]


def set_names() -> list[str]:
    """Every question set."""
    return list(_SETS)


def read_json(path: Path) -> Any:
    """The JSON of a file, `.xz` allowed. Raises NotFound, InvalidInput."""
    data = read_bytes(path)
    try:
        return json.loads(data)
    except ValueError as why:
        raise InvalidInput(f"{path} is no JSON that can be read ({why})") from None


def read_bytes(path: Path) -> bytes:
    """The content of a file, `.xz` allowed. Raises NotFound, InvalidInput."""
    try:
        data = path.read_bytes()
        return lzma.decompress(data) if path.suffix == ".xz" else data
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}: bring your own copy, or name another with --path") from None
    except (OSError, lzma.LZMAError) as why:
        raise InvalidInput(f"{path} cannot be read ({why})") from None


def passage_text(title: str, text: str) -> str:
    """A passage as the retrieval literature indexes it: title, newline, body."""
    return f"{title}\n{text}"


def _multi_hop(path: Path) -> Iterator[Case]:
    """Multi-hop questions over Wikipedia passages, all in one scope; equal passages count as one.

    The forms of MuSiQue and of HotpotQA (2WikiMultihopQA's too), where evidence is a title, beside `..._corpus.json`.
    """
    corpus = read_json(path.with_name(path.name.replace(".json", "_corpus.json")))
    questions = read_json(path)
    try:
        if isinstance(corpus, dict):
            corpus = [{"title": title, "text": "".join(sentences)} for title, sentences in corpus.items()]
        titled: dict[str, list[str]] = {}
        for passage in corpus:
            titled.setdefault(passage["title"], []).append(passage_text(passage["title"], passage["text"]))
        asked = tuple(_hops(question, titled) for question in questions)
        texts = tuple(dict.fromkeys(passage_text(passage["title"], passage["text"]) for passage in corpus))
    except (KeyError, TypeError, ValueError) as why:
        raise InvalidInput(f"{path} has neither MuSiQue's form nor HotpotQA's ({why!r})") from None
    yield Case(path.stem, tuple(Item(text, kind=Kind.PASSAGE, source="import") for text in texts), texts, asked)


def _hops(question: dict[str, Any], titled: dict[str, list[str]]) -> Asked:
    if "paragraphs" in question:
        stated = (p for p in question["paragraphs"] if p["is_supporting"])
        gold = {passage_text(p["title"], p["paragraph_text"]) for p in stated}
    else:
        gold = {text for title, _ in question["supporting_facts"] for text in titled.get(title, ())}
    return Asked(question["question"], frozenset(gold), f"{len(question.get('question_decomposition') or gold)} hops")


def _locomo(path: Path) -> Iterator[Case]:
    """Turns of one conversation are the memories; adversarial questions have no evidence and are left out."""
    for conversation in load_locomo(path):
        asked = tuple(
            Asked(q.question, frozenset(q.evidence), f"category {q.category}")
            for q in conversation.questions if q.evidence and q.category != 5
        )  # fmt: skip
        names = tuple(str(item.metadata["dia_id"]) for item in conversation.items)
        items = tuple(replace(item, key="") for item in conversation.items)
        yield Case(conversation.sample_id, items, names, asked)


def _longmemeval(path: Path) -> Iterator[Case]:
    """Messages are the memories, sessions the evidence; abstention questions are left out."""
    for instance in load_longmemeval(path):
        items = tuple(replace(item, key="") for item in instance.items)
        asked = tuple(Asked(q.question, frozenset(q.gold_sessions)) for q in instance.questions if not q.abstention)
        if asked:
            yield Case(instance.id, items, tuple(item.session for item in items), asked)


def _memorybank(path: Path) -> Iterator[Case]:
    """Ten days of one user's talk with an assistant; the questions that name a day of it have that day as evidence."""
    probes: dict[str, list[str]] = {}
    name = path.name.replace("memory_bank", "probing_questions").replace(".json", ".jsonl")
    for line in read_bytes(path.with_name(name)).decode().splitlines():
        for user, questions in json.loads(line).items():
            probes.setdefault(user.strip(), []).extend(questions)
    for user, bank in read_json(path).items():
        items, names = [], []
        for day, exchanges in bank["history"].items():
            for n, exchange in enumerate(exchanges):
                for m, (speaker, said) in enumerate(((user.strip(), exchange["query"]), ("AI", exchange["response"]))):
                    at = f"{day}T12:{n:02d}:{30 * m:02d}"
                    items.append(Item(said, speaker=speaker, at=parse_time(at), session=day))
                    names.append(day)
        last = max(item.at or 0.0 for item in items)
        asked = []
        for question in probes.get(user.strip(), ()):
            days = {iso(span.start)[:10] for span in find_dates(question, last) if span.end - span.start <= _DAY}
            if gold := days & set(names):
                asked.append(Asked(question, frozenset(gold)))
        if asked:
            yield Case(user.strip(), tuple(items), tuple(names), tuple(asked))


_SETS = {
    "musique": QuestionSet(_DATA / "hipporag/musique_train.json.xz", (2, 5, 10, 20), "recall@5", _multi_hop, 20),
    "hotpotqa": QuestionSet(_DATA / "hipporag/hotpotqa_train.json.xz", (2, 5, 10, 20), "recall@5", _multi_hop, 20),
    "2wiki": QuestionSet(_DATA / "hipporag/2wikimultihopqa.json.xz", (2, 5, 10, 20), "recall@5", _multi_hop, 20),
    "locomo": QuestionSet(_DATA / "locomo/locomo5.json.xz", (5, 10, 20), "recall@20", _locomo, 20),
    "longmemeval": QuestionSet(
        _DATA / "longmemeval_sample/longmemeval_s_3x9.json.xz", (1, 3, 5), "ndcg@5", _longmemeval, 60
    ),
    "memorybank": QuestionSet(_DATA / "memorybank/memory_bank_en.json.xz", (1, 3), "recall@3", _memorybank, 30),
}  # fmt: skip
