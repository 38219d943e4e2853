"""mnemos beside other memories: the same texts, the same embedder, the same machine, one run.

    pip install -e ".[local]" && pip install -r benchmarks/peers_requirements.txt
    python benchmarks/peers.py

Speed: made-up talk, one process per system and round, in an order that the seed shuffles. Each writes
everything twice, into fresh folders: first embedding every text itself, then with every vector known, which
leaves its own work. Search is timed with the question's vector known; the first one, which may load or build
what the others use, is timed apart.

Recall: the evidence of LoCoMo (categories 1 to 4), each conversation by itself. The shipped weights of mnemos
were trained on these conversations, so its recall here is by weights fitted, for each conversation, on the
others; what the shipped ones reach is among the measures.

Each peer gets what makes it strong: "speaker: text" to search, its fastest public way of adding many, no
metadata to store; mem0 an embedder in its own process instead of an endpoint; sqlite-vec the depth and the
constant of its fusion that, of two dozen settings tried on these very conversations, found most in the first 10.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import distributions, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

import apsw
import numpy as np
from numpy.typing import NDArray

from mnemos.bench.metrics import paired_bootstrap, recall_at
from mnemos.bench.report import markdown
from mnemos.bench.results import Result, check_writable, save, this_commit, this_machine
from mnemos.bench.tasks._talk import questions, talk
from mnemos.bench.tasks.locomo import ADVERSARIAL
from mnemos.bench.timing import percentiles
from mnemos.core.clock import Clock, FixedClock, SystemClock
from mnemos.text.encode.analyse import STOP_WORDS
from mnemos.text.encode.embedder import Embedder, Vectors, resolve
from mnemos.text.importers.locomo import load_locomo
from mnemos.text.memory import Memory
from mnemos.text.recall.query import as_told
from mnemos.text.records import Item

REQUIREMENTS = "pip install -r benchmarks/peers_requirements.txt"
EMBEDDER = "minilm-int8"
KS = (5, 10, 20)
Found = TypeVar("Found")
OFFLINE = {"HF_HUB_OFFLINE": "1", "MEM0_TELEMETRY": "False", "ANONYMIZED_TELEMETRY": "False"}


class Known:
    """An embedder that looks up what it has embedded before."""

    def __init__(self, inner: Embedder) -> None:
        self.inner, self.name, self.dim = inner, inner.name, inner.dim
        self._known: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> Vectors:
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        if missing:
            self._known.update(zip(missing, self.inner.embed(missing), strict=True))
        return np.array([self._known[text] for text in texts], np.float32).reshape(len(texts), self.dim)


# -- the systems ---------------------------------------------------------------------------


class System(Protocol):
    """One memory in a folder of its own. A hit is the position of the turn, in order of adding."""

    name: str
    note: str
    packages: tuple[str, ...]
    """Distributions that it needs; the version of the first is its version."""

    def __init__(self, folder: Path, embedder: Embedder, clock: Clock) -> None: ...
    def add(self, items: Sequence[Item]) -> None: ...
    def search(self, question: str, k: int) -> list[int]: ...
    def close(self) -> None: ...


class Mnemos(System):
    name = "mnemos"
    packages = ("mnemos",)
    note = "defaults; one file"

    def __init__(self, folder: Path, embedder: Embedder, clock: Clock) -> None:
        self._memory = Memory(folder / "peers.mnemos", embedder=embedder, clock=clock)
        self._place: dict[str, int] = {}

    def add(self, items: Sequence[Item]) -> None:
        self._place = {id: n for n, id in enumerate(self._memory.add(items))}

    def search(self, question: str, k: int) -> list[int]:
        return [self._place[hit.id] for hit in self._memory.search(question, k)]

    def close(self) -> None:
        self._memory.close()


class Chroma(System):
    name = "chromadb"
    packages = ("chromadb",)
    note = "persistent client, HNSW defaults, batches of the client's maximum"

    def __init__(self, folder: Path, embedder: Embedder, clock: Clock) -> None:
        import chromadb

        class Function(chromadb.EmbeddingFunction[Any]):
            def __init__(self) -> None:
                pass

            def __call__(self, input: Any) -> Any:
                return list(embedder.embed(input))

            @staticmethod
            def name() -> str:
                return "default"  # of a name that it knows, chroma does not warn that it cannot be stored

        self._client = chromadb.PersistentClient(str(folder), chromadb.Settings(anonymized_telemetry=False))
        self._collection = self._client.create_collection("peers", embedding_function=Function())

    def add(self, items: Sequence[Item]) -> None:
        texts, size = [_said(item) for item in items], self._client.get_max_batch_size()
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            self._collection.add(ids=[str(start + n) for n in range(len(part))], documents=part)

    def search(self, question: str, k: int) -> list[int]:
        found = self._collection.query(query_texts=[question], n_results=k, include=["documents"])
        return [int(id) for id in found["ids"][0]]

    def close(self) -> None:
        self._client.close()


class Mem0(System):
    name = "mem0"
    packages = ("mem0ai", "fastembed")
    note = "infer=False, Qdrant in a folder (no server), vectors and BM25; embeds and commits text by text"

    def __init__(self, folder: Path, embedder: Embedder, clock: Clock) -> None:
        os.environ["MEM0_DIR"] = str(folder)  # else it makes a folder in the user's home
        from fastembed import SparseTextEmbedding
        from mem0 import Memory as Mem0Memory
        from mem0.embeddings.base import EmbeddingBase

        class Local(EmbeddingBase):
            def embed(self, text: str, memory_action: Any = None) -> list[float]:
                return embedder.embed([text])[0].tolist()

            def embed_batch(self, texts: list[str], memory_action: Any = "add") -> list[list[float]]:
                return embedder.embed(texts).tolist()

        store = {"collection_name": "peers", "embedding_model_dims": embedder.dim, "path": str(folder / "qdrant")}
        endpoint = {"provider": "openai", "config": {"api_key": "unused"}}
        self._memory = Mem0Memory.from_config({
            "vector_store": {"provider": "qdrant", "config": store | {"on_disk": True}},
            "embedder": endpoint, "llm": endpoint, "history_db_path": str(folder / "history.db"),
        })  # fmt: skip
        self._memory.embedding_model = Local()
        # what mem0 would build itself, were it to download the list of stop words that is all of this "model"
        self._memory.vector_store._bm25_encoder = SparseTextEmbedding(
            "Qdrant/bm25", specific_model_path=str(folder), stopwords=set(STOP_WORDS)
        )
        self._place: dict[str, int] = {}

    def add(self, items: Sequence[Item]) -> None:
        messages = [{"role": "user", "content": _said(item)} for item in items]
        added = self._memory.add(messages, user_id="peers", infer=False)["results"]
        self._place = {one["id"]: n for n, one in enumerate(added)}

    def search(self, question: str, k: int) -> list[int]:
        # the default threshold would drop hits; without one it can only find more
        found = self._memory.search(question, top_k=k, filters={"user_id": "peers"}, threshold=0.0)
        return [self._place[one["id"]] for one in found["results"]]

    def close(self) -> None:
        self._memory.vector_store.client.close()
        self._memory.close()


class SqliteVec(System):
    name = "sqlite-vec + FTS5"
    packages = ("sqlite-vec",)
    note = "exact cosine and BM25 (Porter stems, no stop words), RRF; WAL, a transaction per batch of 1000"
    _BATCH = 1000
    _DEPTH = 20
    _RRF = 10

    def __init__(self, folder: Path, embedder: Embedder, clock: Clock) -> None:
        import sqlite_vec

        self._embedder = embedder
        self._db = apsw.Connection(str(folder / "peers.db"))
        self._db.enable_load_extension(True)
        self._db.load_extension(sqlite_vec.loadable_path())
        self._db.execute(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            f"CREATE VIRTUAL TABLE vectors USING vec0(embedding float[{embedder.dim}] distance_metric=cosine);"
            "CREATE VIRTUAL TABLE words USING fts5(text, tokenize='porter unicode61')"
        ).fetchall()

    def add(self, items: Sequence[Item]) -> None:
        for start in range(0, len(items), self._BATCH):
            texts = [_said(item) for item in items[start : start + self._BATCH]]
            vectors = self._embedder.embed(texts)
            with self._db:
                rows = range(start, start + len(texts))
                near = zip(rows, (vector.tobytes() for vector in vectors), strict=True)
                self._db.executemany("INSERT INTO vectors(rowid, embedding) VALUES (?, ?)", near)
                told = zip(rows, texts, strict=True)
                self._db.executemany("INSERT INTO words(rowid, text) VALUES (?, ?)", told)

    def search(self, question: str, k: int) -> list[int]:
        depth = max(self._DEPTH, k)
        near = "SELECT rowid FROM vectors WHERE embedding MATCH ? AND k = ? ORDER BY distance"
        rankings = [self._db.execute(near, (self._embedder.embed([question])[0].tobytes(), depth)).fetchall()]
        words = [word for word in re.findall(r"\w+", question.lower()) if word not in STOP_WORDS]
        if words:
            match = " OR ".join(f'"{word}"' for word in words)
            best = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?"
            rankings.append(self._db.execute(best, (match, depth)).fetchall())
        scores: dict[int, float] = {}
        for found in rankings:
            for rank, (row,) in enumerate(found, 1):
                scores[row] = scores.get(row, 0.0) + 1 / (self._RRF + rank)
        rows = sorted(scores, key=lambda row: -scores[row])[:k]
        for row in rows:
            self._db.execute("SELECT text FROM words WHERE rowid = ?", (row,)).fetchall()
        return rows

    def close(self) -> None:
        self._db.close()


SYSTEMS: dict[str, type[System]] = {one.name: one for one in (Mnemos, Chroma, Mem0, SqliteVec)}


def _said(item: Item) -> str:
    return f"{item.speaker}: {item.text}" if item.speaker else item.text


# -- what one process measures -------------------------------------------------------------


def speed(system: str, turns: int, searches: int, seed: int) -> dict[str, float]:
    """Ingest with and without the embedding, and search, of one system."""
    items = talk(turns, seed)
    asked = questions(items, searches + 1, seed)
    speakers = {item.speaker for item in items}
    embedder = Known(_embedder())
    embedder.inner.embed(asked[:1])  # loading is not what is measured here
    seconds = {}
    for measure in ("ingest s", "ingest s without embedding"):  # the second finds every vector known
        with tempfile.TemporaryDirectory() as folder:
            memory = SYSTEMS[system](Path(folder), embedder, SystemClock())
            start = time.perf_counter()
            memory.add(items)
            seconds[measure] = time.perf_counter() - start
            embedder.embed([*asked, *(as_told(question, speakers) for question in asked)])
            latency = percentiles(lambda question: memory.search(question, 10), asked)  # noqa: B023
            memory.close()
    named = {"first search ms": latency.first, "search p50 ms": latency.p50, "search p95 ms": latency.p95}
    return seconds | {name: value * 1e3 for name, value in named.items()}


def recall(system: str, data: Path) -> dict[str, list[float]]:
    """Evidence recall of every question, by k."""
    embedder = _embedder()
    found: dict[str, list[float]] = {f"recall@{k}": [] for k in KS}
    for conversation in load_locomo(data):
        clock = FixedClock(max(item.at or 0.0 for item in conversation.items) + 86400)
        with tempfile.TemporaryDirectory() as folder:
            memory = SYSTEMS[system](Path(folder), embedder, clock)
            memory.add(conversation.items)
            refs = [str(item.metadata["dia_id"]) for item in conversation.items]
            for question in conversation.questions:
                if not question.evidence or question.category == ADVERSARIAL:
                    continue
                turns = [refs[n] for n in memory.search(question.question, max(KS))]
                for k in KS:
                    found[f"recall@{k}"].append(recall_at(turns, question.evidence, k))
            memory.close()
    return found


def unseen(system: str, data: Path) -> dict[str, list[float]]:
    """`recall` of mnemos, each conversation ranked by weights that were fitted on the others."""
    from mnemos.bench.ranker import examples, held_out, ranking

    answerable = [e for e in examples(load_locomo(data), EMBEDDER) if e.category != ADVERSARIAL]
    found: dict[str, list[float]] = {f"recall@{k}": [] for k in KS}
    for example, scores in zip(answerable, held_out(answerable), strict=True):
        gold = {str(row) for row in example.signals.rows[example.gold == 1]}
        for k in KS:
            rows = [str(row) for row in ranking(example, scores, k)]
            found[f"recall@{k}"].append(recall_at(rows, gold, k))
    return found


def _embedder() -> Embedder:
    embedder = resolve(EMBEDDER)
    assert embedder is not None
    return embedder


# -- the run -------------------------------------------------------------------------------


def main() -> None:
    """Measure every installed system, save the result, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10_000)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2, help="repeats of the timing; the median stands")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/locomo/locomo5.json.xz"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    options = parser.parse_args()
    check_writable(options.out)
    os.environ.update(OFFLINE)
    result = _run(options)
    print(f"\n{markdown(result)}\nsaved {save(result, options.out)}")


def _run(options: argparse.Namespace) -> Result:
    begun, start, commit = SystemClock().now(), time.perf_counter(), this_commit()
    names = [name for name, system in SYSTEMS.items() if _installed(system)]
    rng, order = random.Random(options.seed), []
    timed: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in rng.sample(names, len(names)):
            order.append(name)
            timed[name].append(_apart(speed, name, options.turns, options.searches, options.seed))
            print("  ", timed[name][-1], file=sys.stderr, flush=True)
    shipped = {name: _apart(recall, name, options.data) for name in names}
    scores = shipped | {"mnemos": _apart(unseen, "mnemos", options.data)}
    rows = [_row(name, options.turns, timed[name], scores[name]) for name in names]
    k = f"recall@{max(KS)}"
    measures = {name: value for name, value in rows[0].items() if isinstance(value, float)}
    measures |= {f"{name}, shipped weights": float(np.mean(v)) for name, v in shipped["mnemos"].items()}
    for name in names[1:]:
        gain, what = paired_bootstrap(scores["mnemos"][k], scores[name][k], seed=options.seed), f"{k} above {name}"
        measures |= {what: gain.mean, f"{what} low": gain.low, f"{what} high": gain.high}
    packages = ("mnemos", "chromadb", "mem0ai", "qdrant-client", "fastembed", "sqlite-vec", "apsw")
    return Result(
        name="peers",
        measures={name: round(value, 4) for name, value in measures.items()},
        rows=rows,
        config={
            "data": options.data.name, "embedder": EMBEDDER, "searches": options.searches, "order": order,
            "notes": {name: SYSTEMS[name].note for name in names},
            "recall of mnemos": "each conversation by weights fitted on the others",
            "versions": {name: version(name) for name in packages if _has(name)},
        },
        size={"turns": options.turns, "rounds": options.rounds, "questions": len(scores["mnemos"][k])},
        seeds=[options.seed], seconds=round(time.perf_counter() - start, 1),
        machine=this_machine(), commit=commit, started_at=begun,
    )  # fmt: skip


def _row(system: str, turns: int, timed: Sequence[dict[str, float]], scores: dict[str, list[float]]) -> dict[str, Any]:
    middle = {measure: statistics.median(one[measure] for one in timed) for measure in timed[0]}
    row: dict[str, Any] = {"system": system, "version": version(SYSTEMS[system].packages[0])}
    row["ingest turns/s"] = round(turns / middle.pop("ingest s"), 1)
    row |= {measure: round(value, 2) for measure, value in middle.items()}
    return row | {measure: round(float(np.mean(values)), 4) for measure, values in scores.items()}


def _apart(measure: Callable[..., Found], system: str, *given: Any) -> Found:
    """What `measure` finds in a fresh process: no system pays for what another left in memory."""
    print(f"{measure.__name__}: {system}", file=sys.stderr, flush=True)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, system, *given).result()


def _installed(system: type[System]) -> bool:
    missing = [name for name in system.packages if not _has(name)]
    if missing:
        print(f"{system.name} is left out, {', '.join(missing)} is not installed: {REQUIREMENTS}", file=sys.stderr)
    return not missing


def _has(distribution: str) -> bool:
    return any(True for _ in distributions(name=distribution))


if __name__ == "__main__":
    main()
