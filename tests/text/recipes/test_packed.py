"""HippoRAG 2's index, packed: the same index, and it goes on as the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos import FixedClock, Memory, Settings
from mnemos.text.recipes import base
from mnemos.text.recipes.hipporag2 import load_openie, packed
from mnemos.text.recipes.hipporag2.index import CONTEXT, RELATION, SYNONYM, KnowledgeIndex, embedded, sentence
from mnemos.text.recipes.hipporag2.packed import pack, unpack
from mnemos.text.store import Trace
from words_embedder import Words

LOOSE = 0.6
"""A synonymy at which many of the names are synonyms."""
NAMES = ("Ada", "ada's", "Bergen town", "Bergen towns", "the Bergen town", "Oslo", "Oslo city", "1999", "X")
TRIPLES = st.tuples(st.sampled_from(NAMES), st.sampled_from(("in", "born in", "")), st.sampled_from(NAMES))
CORPORA = st.lists(st.lists(TRIPLES, max_size=4), max_size=6)


def traces(corpus: Sequence[Sequence[Sequence[str]]], prefix: str) -> list[Trace]:
    found = []
    for number, triples in enumerate(corpus):
        key = f"{prefix}{number}"
        bare = Trace(key, (key,), {"triples": [list(t) for t in triples]})
        phrases, facts = embedded(bare)
        strings = [*phrases, *map(sentence, facts)]
        vectors = Words().embed(strings).astype(np.float16) if strings else None
        found.append(replace(bare, vectors=vectors, model="words"))
    return found


def vectors_of(some: Sequence[Trace]) -> Iterator[tuple[str, np.ndarray]]:
    return ((one.key, one.vectors) for one in reversed(some) if one.vectors is not None)


def state(index: KnowledgeIndex) -> Any:
    graph = index.graph
    nodes = [str(name) for name in graph.names(np.flatnonzero(graph.standing))]
    return (
        {key: (sorted(shelf.held_by(key)), shelf.vectors[place].tolist())
         for shelf in (index.phrases, index.facts) for key, place in shelf.place.items()},
        {key: (sorted(held.phrases), sorted(held.facts)) for key, held in index.held.items()},
        {key: index.synonyms(key) for key in index.phrases.place},
        {(kind, one): {other: round(weight, 9) for other, weight in graph.neighbours(one, [kind]).items()}
         for kind in (RELATION, CONTEXT, SYNONYM) for one in nodes},
        {one: round(float(graph.strength()[graph.slots([one])[0]]), 9) for one in nodes},
    )  # fmt: skip


@given(CORPORA, CORPORA, CORPORA, st.integers(0, 6))
@settings(max_examples=30, deadline=None)
def test_a_packed_index_is_the_same_and_goes_on_as_the_same(one: Any, gone: Any, later: Any, cut: int) -> None:
    first, dropped, more = traces(one, "a"), traces(gone, "b"), traces(later, "c")
    index = KnowledgeIndex(LOOSE)
    index.change([*dropped, *first], ())
    index.change((), dropped)
    opened = unpack(pack(index), vectors_of([*dropped, *first]), LOOSE)
    assert opened is not None
    assert state(opened) == state(index)
    for each in (index, opened):
        each.change(more, first[:cut])
    assert state(opened) == state(index)


def test_it_is_not_read_in_another_form_for_another_synonymy_or_without_any_vectors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = traces([[("Ada", "in", "Oslo")]], "a")
    index = KnowledgeIndex(LOOSE)
    index.change(some, ())
    body = pack(index)
    assert unpack(body, vectors_of(some), 0.8) is None
    assert unpack(body, iter(()), LOOSE) is None
    monkeypatch.setattr(packed, "_FORM", 2)
    assert unpack(body, vectors_of(some), LOOSE) is None


def test_traces_that_were_all_replaced_since_it_was_packed_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_FEW", 1)
    text = "Erik the singer was born in Montebello."
    given = {"docs": [{"passage": text, "extracted_triples": [["Erik", "sings in", "Rockland"]]}]}
    (tmp_path / "openie.json").write_text(json.dumps(given))
    with opened(tmp_path) as memory:
        memory.add(text)
    with opened(tmp_path) as memory:
        assert load_openie(memory, tmp_path / "openie.json") == 1
        (hit,) = memory.search("Where does Erik sing?", explain=True)
        assert any("rockland" in part for part in hit.parts), hit.parts


def opened(path: Path) -> Memory:
    return Memory(
        path / "m.mnemos", embedder=Words(), recipe="hipporag2", clock=FixedClock("2025-06-01"), seed=1,
        settings=Settings(),
    )  # fmt: skip


def test_a_memory_of_documents_finds_the_same_when_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_FEW", 1)
    texts = ["Erik the singer was born in Montebello.", "Montebello is a village, part of Rockland.",
             "Bread is baked from flour.", "Ada Olsen was born in Bergen."]  # fmt: skip
    with opened(tmp_path) as memory:
        ids = memory.add(texts)
        before = memory.search("Where was Erik born?", explain=True)
    changed: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(KnowledgeIndex, "change", lambda self, added, removed: changed.append(added))
        with opened(tmp_path) as memory:
            assert memory.search("Where was Erik born?", explain=True) == before
    assert changed == []
    with opened(tmp_path) as memory:
        memory.forget(ids[0], hard=True)
        memory.add("Erik the painter was born in Rockland.")
        assert ids[0] not in [hit.id for hit in memory.search("Where was Erik born?")]
        assert memory.check() == []
