"""What `ask` says of documents without a language model: questions of one step, and of several.

    python benchmarks/answers.py [--data ../shared/data/hipporag]

MuSiQue's 100 questions over 1,890 passages. A question of several steps comes with its steps; those that rest on no
other step are the questions of one. Counted is how often what `ask` says holds the annotated answer, and how often
it says that memory holds none; the latter also for questions about what these passages do not know, made from those of
2WikiMultihopQA. (The rules of `text/ask.py` were made with these questions in view.)
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from mnemos import Memory
from mnemos.bench.hops import questions as made_of
from mnemos.bench.results import Result, save, this_commit, this_machine
from mnemos.bench.sets import passage_text, read_json
from mnemos.core.clock import SystemClock


def main() -> None:
    """Measure, print and save `answers.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/hipporag"))
    parser.add_argument("--embedder", default="minilm")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    began, start, commit = SystemClock().now(), time.perf_counter(), this_commit()
    questions = read_json(options.data / "musique_train.json.xz")
    passages = read_json(options.data / "musique_train_corpus.json.xz")
    steps = {
        step["question"]: step["answer"]
        for question in questions
        for step in question["question_decomposition"]
        if "#" not in step["question"]
    }
    asked = {"one step": steps, "several steps": {one["question"]: one["answer"] for one in questions}}
    others = read_json(options.data / "2wikimultihopqa_corpus.json.xz")
    strange = [one["question"] for one in made_of({one["title"]: one["text"] for one in others})]
    measures = {}
    with tempfile.TemporaryDirectory() as folder, Memory(Path(folder) / "m", embedder=options.embedder) as memory:
        memory.add([{"text": passage_text(one["title"], one["text"]), "kind": "passage"} for one in passages])
        for name, pairs in asked.items():
            answers = {question: memory.ask(question) for question in pairs}
            right = [_plain(pairs[question]) in _plain(one.text) for question, one in answers.items()]
            measures[f"{name}, holds the answer"] = round(sum(right) / len(right), 4)
            measures[f"{name}, not in memory"] = round(sum(not one.found for one in answers.values()) / len(right), 4)
        declined = [not memory.ask(question).found for question in strange]
        measures["of other passages, not in memory"] = round(sum(declined) / len(declined), 4)
    size = {"passages": len(passages), "of other passages": len(strange)}
    size |= {name: len(pairs) for name, pairs in asked.items()}
    result = Result(name="answers", measures=measures, rows=[], config={"embedder": options.embedder}, size=size)
    seconds = round(time.perf_counter() - start, 1)
    result = replace(result, seconds=seconds, machine=this_machine(), commit=commit, started_at=began)
    print(measures, save(result, options.out))


def _plain(text: str) -> str:
    words = re.sub(r"[^\w\s]", " ", text.casefold()).split()
    return f" {' '.join(words)} "


if __name__ == "__main__":
    main()
