"""The parts of MemOS' claim at toy size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mnemos.bench.claims.memos import SMOKE, Size, _judged, live, lives, question_of, talk
from mnemos.text.encode.analyse import words
from mnemos.text.encode.fact_questions import Slot, asks_for
from mnemos.text.importers.locomo import Conversation, Question
from mnemos.text.recipes.memos_items import read_line
from mnemos.text.records import Item


class Hashed:
    """An embedder of hashed words."""

    dim = 256
    name = "hashed words"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        out = np.full((len(texts), self.dim), 1e-3, np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in words(text):
                row[sum(ord(c) * 31**n for n, c in enumerate(word)) % self.dim] += 1
        return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True), np.float32)


def test_lives_are_of_their_seed_and_rules_can_read_what_is_asked() -> None:
    some = lives(SMOKE, 0)
    assert some == lives(SMOKE, 0)
    assert some != lives(SMOKE, 1)
    for one in (said for life in some for said in life.said):
        assert read_line(one.text, "User0", 0.0).whole == bool(one.attribute), one.text
        if one.attribute:
            assert asks_for(question_of(one.attribute, "Ann")) == {Slot("Ann", one.attribute)}


def test_what_is_taken_back_holds_no_more_and_what_is_repeated_is_no_change() -> None:
    for life in lives(Size(users=3, sessions=8), 0):
        end = life.held(7)
        assert all(a != b for values in end.values() for a, b in pairwise(values))
        gone = [one for one in life.said if 0 <= one.taken_back <= 7]
        kept = [one for one in life.said if one.attribute and one not in gone]
        assert {(a, v) for a, values in end.items() for v in values} == {(o.attribute, o.value) for o in kept}


def test_versions_leave_no_stale_answer_and_fewer_active_statements() -> None:
    found = live(lives(Size(users=2, sessions=6, per_session=4), 0), Hashed(), 6)
    assert found["MemOS"]["stale"] == 0.0
    assert found["MemOS"]["active"] < found["append-only"]["active"] == 1.0
    assert found["MemOS"]["as of"] >= found["append-only"]["as of"]


def test_talk_is_measured_by_every_path_and_window() -> None:
    texts = [f"number {n} is about {word}" for n, word in enumerate("kites bread rivers violins".split())]
    items = [Item(t, "Ada", float(n), "s1", {"dia_id": f"D1:{n}"}) for n, t in enumerate(texts)]
    asked = [Question("Which one is about rivers?", "2", None, 4, ("D1:2",))]
    rows = talk([Conversation("toy", ("Ada",), items, asked)], Hashed(), lambda *_: None)
    assert len(rows) == 15
    assert {row["recall@10"] for row in rows} == {1.0}


def test_without_conversations_lives_alone_cannot_carry_the_claim() -> None:
    perfect = {"current": 1.0, "as of": 1.0, "at the time": 1.0, "stale": 0.0, "active": 0.3, "changes": 1.0}
    poor = perfect | {"current": 0.5, "active": 1.0}
    result = _judged({"MemOS": perfect, "append-only": poor, "append-only, latest": poor}, [], SMOKE, "no copy")
    assert result.claim is not None
    assert result.claim.verdict == "partly"
    assert "not part of this" in result.claim.statement
