"""The claim of HippoRAG 2, on a handful of passages; and on the real ones where they are at hand."""

from __future__ import annotations

import json
import lzma
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnemos.bench.claims.hipporag2 import DATA, perfect_reader, run
from mnemos.bench.runner import silent
from mnemos.text.prompts.ircot import Sentence
from mnemos.text.records import Kind
from mnemos.text.results import Hit

PLACES = ("Oslo", "Bergen", "Tromso", "Bodo", "Hamar", "Moss", "Narvik", "Skien", "Larvik", "Halden", "Molde", "Voss")


class Words:
    """An embedder of hashed words."""

    name, dim = "words", 96

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        out = np.full((len(texts), 96), 1e-3, np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in text.lower().replace(".", " ").replace("?", " ").split():
                row[zlib.crc32(word.encode()) % 96] += 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)


def small(folder: Path) -> None:
    """People born in towns, towns that lie in counties: questions need one passage of each."""
    corpus, docs, questions = [], [], []
    for n, place in enumerate(PLACES):
        person, county = f"Person{n}", f"County{n}"
        pair = [
            {"title": person, "text": f"{person} was born in {place}."},
            {"title": place, "text": f"{place} is a town that lies in {county}."},
        ]
        triples = [[[person, "was born in", place]], [[place, "lies in", county]]]
        for passage, given in zip(pair, triples, strict=True):
            text = f"{passage['title']}\n{passage['text']}"
            docs.append({"passage": text, "extracted_entities": [], "extracted_triples": given})
        corpus += pair
        paragraphs = [
            {"idx": idx, "title": p["title"], "paragraph_text": p["text"], "is_supporting": True}
            for idx, p in enumerate(pair)
        ]
        hops = [
            {"question": f"{person} >> born in", "answer": place, "paragraph_support_idx": 0},
            {"question": "#1 >> county", "answer": county, "paragraph_support_idx": 1},
        ]
        question = f"In which county was {person} born?"
        questions.append({"question": question, "paragraphs": paragraphs, "question_decomposition": hops})
    others = [{"title": f"Thing{n}", "text": f"Thing{n} has no county."} for n in range(5)]
    files: dict[str, Any] = {
        "musique_train.json.xz": questions, "musique_train_corpus.json.xz": corpus,
        "openie_musique_train_results_ner_gpt-3.5-turbo-1106_1890.json.xz": {"docs": docs},
        "2wikimultihopqa_corpus.json.xz": others,
    }  # fmt: skip
    for name, data in files.items():
        (folder / name).write_bytes(lzma.compress(json.dumps(data).encode()))


def test_every_row_is_measured_and_the_walk_takes_the_second_hop(tmp_path: Path) -> None:
    small(tmp_path)
    result = run(silent, tmp_path, Words())
    found = {row["system"]: row["recall@5"] for row in result.rows}
    assert {
        "dense", "HippoRAG 1", "no synonyms", "trained filter, held out", "oracle filter, distractors",
        "trained filter, held out, from names too", "trained filter, held out, from names too, local triples",
    } <= set(found)  # fmt: skip
    assert all(0 <= value <= 1 for value in found.values())
    assert found["oracle filter"] == 1.0
    assert found["oracle filter"] >= found["dense"]
    assert found["as shipped, IRCoT with a perfect reader"] == 1.0
    assert result.claim is not None
    assert result.size == {
        "questions": 12, "passages": 24, "with distractors": 29, "with distractors with triples": 29,
    }  # fmt: skip


def test_the_perfect_reader_states_a_step_only_once_its_passage_is_found(tmp_path: Path) -> None:
    small(tmp_path)
    question = json.loads(lzma.decompress((tmp_path / "musique_train.json.xz").read_bytes()))[0]
    think = perfect_reader(question)
    hits = [
        Hit(str(n), f"{p['title']}\n{p['paragraph_text']}", 0.5, Kind.PASSAGE, "", None, "", {}, ())
        for n, p in enumerate(question["paragraphs"])
    ]
    assert think("", [], hits[1:]) is None
    assert think("", [], hits) == Sentence(text="Person0 >> born in Oslo")
    assert think("", ["Person0 >> born in Oslo"], hits[:1]) is None
    assert think("", ["Person0 >> born in Oslo"], hits) == Sentence(text="Oslo >> county County0", answer="County0")


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/hipporag")
def test_the_real_triples_cover_every_passage() -> None:
    from mnemos.bench.sets import question_set
    from mnemos.text.recipes.hipporag2.openie import read_openie

    (case,) = question_set("musique").read(DATA / "musique_train.json.xz")
    known = read_openie(DATA / "openie_musique_train_results_ner_gpt-3.5-turbo-1106_1890.json.xz")
    assert len(case.items) == 1890
    assert {item.text.strip() for item in case.items} <= set(known)
