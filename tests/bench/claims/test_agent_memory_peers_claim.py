"""The parts of the claim on agent-memory peers at toy size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mnemos.bench.claims.agent_memory_peers import DATA, ELSEWHERE, ask_moves, loop, migrate, moves, rankings, talk
from mnemos.core.errors import InvalidInput
from mnemos.text.encode.analyse import words
from mnemos.text.importers.locomo import load_locomo


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


def test_a_script_for_mem0_runs_with_one_line_changed() -> None:
    assert migrate("none") == 1


def test_recalled_text_said_again_adds_nothing() -> None:
    before, after = loop(10, Hashed())
    assert before == after > 0


def test_moves_name_everybody_once_and_two_towns_each_and_are_told_in_many_ways() -> None:
    some = moves(200, 0)
    assert len({one.who for one in some}) == 200
    assert all(one.old != one.new and one.new in one.after and one.new not in one.before for one in some)
    told = {one.after.replace(one.who, "X").replace(one.old, "A").replace(one.new, "B") for one in some}
    assert len(told) == 20
    assert moves(200, 0) == some != moves(200, 1)
    with pytest.raises(InvalidInput, match="201"):
        moves(201, 0)


def test_the_newer_town_is_the_present_one_and_the_older_held_before() -> None:
    current, past, first, wrong = ask_moves(moves(6, 0), Hashed(), apart=True)
    assert (current, past, first) == (1.0, 1.0, 1.0), wrong


def test_every_ranking_puts_a_text_first_that_is_asked_for_in_its_own_words() -> None:
    texts = ["the red fox sleeps", "a boat on the lake", "my aunt bakes bread"]
    for name, score in rankings(texts, Hashed()).items():
        assert int(np.argmax(score("who bakes bread"))) == 2, name


def test_evidence_recall_is_measured_for_every_ranking_that_was_measured_elsewhere() -> None:
    if not DATA.exists():
        pytest.skip(f"no copy of LoCoMo at {DATA}")
    found = talk(load_locomo(DATA)[:1], Hashed(), lambda *_: None)
    assert set(ELSEWHERE) < set(found)
    for five, ten, twenty in found.values():
        assert 0 < five <= ten <= twenty < 1
