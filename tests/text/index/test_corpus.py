"""The corpus follows the store: increments equal a fresh load, removal equals never having been there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnemos import FixedClock, Memory
from mnemos.text.index.corpus import Corpus
from mnemos.text.records import VERBATIM, Scope

WORDS = ("river", "tea", "bridge", "piano", "museum", "goose", "harbour")


class Hashed:
    """An embedder of a few lines: a direction per word."""

    name = "hashed"
    dim = 8

    def embed(self, texts):  # type: ignore[no-untyped-def]
        out = np.zeros((len(texts), 8), np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in text.split():
                row += np.random.default_rng(sum(word.encode())).normal(size=8)
            row /= np.linalg.norm(row) + 1e-9
        return out


@pytest.fixture
def memory(tmp_path: Path):  # type: ignore[no-untyped-def]
    with Memory(tmp_path / "m.mnemos", embedder=Hashed(), clock=FixedClock("2025-06-01"), seed=1) as opened:
        yield opened


def _state(corpus: Corpus) -> dict[str, object]:
    by_place, starts = [corpus.ids[row] for row in corpus.order], corpus.mention_starts

    def named(row: int) -> str:
        return corpus.ids[row] if row >= 0 else ""

    return {
        "ids": sorted(corpus.ids),
        "conversation": by_place,
        "sessions": [corpus.sessions.names[corpus.session[row]] for row in corpus.order],
        "lengths": corpus.postings.lengths[corpus.order].tolist(),
        "vectors": sorted(
            (corpus.ids[o], v.tobytes()) for o, v in zip(corpus.vectors.owners, corpus.vectors.matrix, strict=True)
        ),
        "first": corpus.first.tolist(),
        "last": corpus.last.tolist(),
        "block": corpus.block.tolist(),
        "place": corpus.place[corpus.order].tolist(),
        "before": [named(row) for row in corpus.before[corpus.order]],
        "after": [named(row) for row in corpus.after[corpus.order]],
        "ends": [corpus.before[-1], corpus.after[-1], len(corpus.before), len(corpus.after)],
        "answers": corpus.answers[corpus.order].tolist(),
        "sums": corpus.length_sums.tolist(),
        "mentions": [corpus.mention_flat[starts[row] : starts[row + 1]].tolist() for row in corpus.order],
        "whole": [len(corpus.mention_flat), len(starts), corpus.ordered, corpus.aligned],
    }


def _fresh(memory: Memory) -> Corpus:
    corpus = Corpus(Scope(), VERBATIM, "hashed")
    with memory._store.reading():
        corpus.sync(memory._store)
    return corpus


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.lists(st.sampled_from(WORDS), min_size=1, max_size=5)),
        st.tuples(st.just("talk"), st.integers(1, 3), st.lists(st.integers(0, 3), min_size=1, max_size=4)),
        st.tuples(st.just("restore"), st.integers(0, 9), st.none()),
        st.tuples(st.just("forget"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("update"), st.integers(0, 9), st.sampled_from(WORDS)),
    ),
    max_size=14,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_following_step_by_step_equals_loading_afresh(tmp_path: Path, script: list[tuple]) -> None:
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.mnemos"
    with Memory(path, embedder=Hashed(), clock=FixedClock("2025-06-01"), seed=1) as memory:
        held = Corpus(Scope(), VERBATIM, "hashed")
        ids: list[str] = []
        hidden: list[str] = []
        for kind, number, what in script:
            if kind == "add":
                ids.append(memory.add(" ".join(what), session=f"s{number}"))
            elif kind == "talk":  # several sessions at once, 0 for none
                items = [{"text": f"Is it {WORDS[0]}, Ada?", "session": f"s{s}" if s else ""} for s in what]
                ids += memory.add(items * number)
            elif kind == "restore":
                if hidden:
                    ids.append(memory.restore(hidden.pop()))
            elif ids and kind == "forget":
                gone = ids.pop(number % len(ids))
                memory.forget(gone, hard=what)
                hidden += [] if what else [gone]
            elif ids:
                memory.update(ids[number % len(ids)], what)
            with memory._store.reading():
                held.sync(memory._store)
        assert _state(held) == _state(_fresh(memory))


def test_turns_of_a_session_stand_together_however_they_arrive(memory: Memory) -> None:
    for n in range(3):
        memory.add(f"a{n} tea", session="a")
        memory.add(f"b{n} tea", session="b")
        memory.add(f"alone{n} tea")
    corpus = _fresh(memory)
    names = [corpus.sessions.names[corpus.session[row]] for row in corpus.order]
    assert names == ["a"] * 3 + ["b"] * 3 + [""] * 3 or sorted(set(names)) == ["", "a", "b"]
    for place in range(len(corpus)):
        inside = names[corpus.first[place] : corpus.last[place] + 1]
        assert len(set(inside)) == 1
        if names[place] == "":
            assert corpus.first[place] == corpus.last[place] == place


def test_a_text_of_many_units_has_many_vectors_and_one_row(memory: Memory) -> None:
    memory.add("The river is wide. " * 200)
    corpus = _fresh(memory)
    assert len(corpus) == 1
    assert len(corpus.vectors) > 2
    assert len(set(corpus.vectors.keys.tolist())) == len(corpus.vectors)


def test_the_turns_beside_a_row_are_those_of_its_session(memory: Memory) -> None:
    for n in range(3):
        memory.add(f"a{n} tea?", session="a")
        memory.add(f"b{n} tea", session="b")
        memory.add(f"alone{n} tea")
    corpus = _fresh(memory)
    texts = [memory.get(id).text.split()[0] for id in corpus.ids]
    before = {texts[row]: texts[other] if other >= 0 else "" for row, other in enumerate(corpus.before[:-1])}
    after = {texts[row]: texts[other] if other >= 0 else "" for row, other in enumerate(corpus.after[:-1])}
    assert before == {
        "a0": "", "a1": "a0", "a2": "a1", "b0": "", "b1": "b0", "b2": "b1", "alone0": "", "alone1": "", "alone2": "",
    }  # fmt: skip
    assert {name: other for other, name in after.items() if name} == {n: o for n, o in before.items() if o}
    assert corpus.before[-1] == corpus.after[-1] == -1
    assert [texts[row] for row in np.flatnonzero(corpus.answers)] == ["a1", "a2"]
