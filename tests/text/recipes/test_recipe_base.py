"""What every recipe gets from its base: a durable queue, traces that live and die with their sources, one file
for all recipes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos import FixedClock, Memory, Settings
from mnemos.core.errors import EndpointError, InvalidInput, MissingExtra
from mnemos.text import file
from mnemos.text.recipes import recipe_names
from mnemos.text.recipes.base import Recipe, Sought
from mnemos.text.records import Record, Scope
from mnemos.text.results import Hit
from mnemos.text.store import SQLiteStore, Trace


class Letters:
    """An embedder of letter counts: enough to tell texts apart."""

    dim = 26

    def __init__(self, name: str = "letters") -> None:
        self.name = name
        self.seen: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.seen += texts
        out = np.full((len(texts), 26), 1e-3, np.float32)
        for row, text in zip(out, texts, strict=True):
            for letter in text.lower():
                if "a" <= letter <= "z":
                    row[ord(letter) - 97] += 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)


class Shout(Recipe[dict[str, Trace]]):
    """Remembers every text in capitals; two at a time. Fails at the word "boom" while the model is broken."""

    name = "shout"
    broken = False
    packs = False

    def empty(self) -> dict[str, Trace]:
        return {}

    def change(self, index: dict[str, Trace], added: Sequence[Trace], removed: Sequence[Trace]) -> None:
        for trace in removed:
            del index[trace.key]
        index.update((trace.key, trace) for trace in added)

    def derive(self, scope: Scope, records: Sequence[Record], index: dict[str, Trace]) -> Iterator[Sequence[Trace]]:
        for start in range(0, len(records), 2):
            batch = records[start : start + 2]
            if self.broken and any("boom" in r.text for r in batch):
                raise EndpointError("the model is gone")
            yield [Trace(r.id, (r.id,), {"loud": r.text.upper()}) for r in batch]

    def texts(self, trace: Trace) -> Sequence[str]:
        return [trace.body["loud"]]

    def seek(self, sought: Sought, index: dict[str, Trace]) -> list[Hit]:
        found = [t for t in index.values() if sought.admits(t.sources) and t.vectors is not None]
        scored = sorted(((float(t.vectors[0] @ sought.vector), t) for t in found if t.vectors is not None),
                        key=lambda one: -one[0])  # fmt: skip
        return [self.derived_hit(sought, t, t.body["loud"], score, (f"loud by {t.by}",)) for score, t in scored]

    def pack(self, index: dict[str, Trace]) -> bytes | None:
        told = {key: (trace.sources, trace.body["loud"], trace.model) for key, trace in index.items()}
        return json.dumps(told).encode() if self.packs else None

    def unpack(self, body: bytes, vectors: Iterable[tuple[str, np.ndarray]]) -> dict[str, Trace] | None:
        told, found = json.loads(body), dict(vectors)
        return {
            key: Trace(key, tuple(sources), {"loud": loud}, "local", found.get(key), model)
            for key, (sources, loud, model) in told.items()
        } if self.packs else None  # fmt: skip


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Shout`, packed at every change."""
    from mnemos.text.recipes import base

    monkeypatch.setattr(Shout, "packs", True)
    monkeypatch.setattr(base, "_FEW", 1)
    monkeypatch.setattr(file, "make_recipe", lambda name, parts: Shout(parts) if name == "shout" else None)


@pytest.fixture(params=["built", "packed"])
def shouting(monkeypatch: pytest.MonkeyPatch, packing: None, request: pytest.FixtureRequest) -> None:
    """Every law holds for an index that is built anew, and for one that is packed at every change."""
    monkeypatch.setattr(Shout, "packs", request.param == "packed")


def opened(path: Path, recipe: str = "shout", **more: Any) -> Memory:
    settings = Settings()
    return Memory(
        path / "m.mnemos", embedder=more.pop("embedder", Letters()), recipe=recipe, clock=FixedClock("2025-06-01"),
        seed=more.pop("seed", 1), settings=settings, **more,
    )  # fmt: skip


def of(memory: Memory) -> Shout:
    assert isinstance(memory._recipe, Shout)
    return memory._recipe


@pytest.mark.usefixtures("shouting")
class TestQueue:
    def test_what_is_added_is_derived_and_found_under_its_source(self, tmp_path: Path) -> None:
        with opened(tmp_path) as memory:
            ids = memory.add(["apples", "zebra zoo", "bees"])
            hit = memory.search("zebras", k=1)[0]
            assert (hit.id, hit.text, hit.why) == (ids[1], "ZEBRA ZOO", ("loud by local",))
            assert memory.stats()["pending"] == 0

    def test_a_model_that_dies_leaves_the_rest_pending_and_nothing_is_doubled(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with opened(tmp_path) as memory:
            of(memory).broken = True
            memory.add(["one", "two", "boom", "four", "five"])
            assert memory.stats()["pending"] == 3
            assert "wait for the model" in caplog.text
            of(memory).broken = False
            memory.consolidate()
            assert memory.stats()["pending"] == 0
        with opened(tmp_path) as memory:  # as another process would see it
            loud = sorted(t.body["loud"] for t in of(memory).index(Scope()).values())
            assert loud == ["BOOM", "FIVE", "FOUR", "ONE", "TWO"]

    def test_records_that_another_recipe_wrote_are_derived_by_the_first_search(self, tmp_path: Path) -> None:
        with opened(tmp_path, recipe="mnemos") as memory:
            id = memory.add("zebra")
        with opened(tmp_path) as memory:
            assert memory.stats()["pending"] == 1
            assert memory.search("zebra", k=1)[0].text == "ZEBRA"
        with opened(tmp_path, recipe="mnemos") as memory:  # and back again: nothing was lost
            assert memory.search("zebra", k=1)[0].text == "zebra"
            assert memory.get(id).text == "zebra"


@pytest.mark.usefixtures("shouting")
class TestForgetting:
    def test_a_soft_forget_hides_the_trace_and_restore_brings_it_back(self, tmp_path: Path) -> None:
        with opened(tmp_path) as memory:
            id = memory.add("zebra")
            memory.forget(id)
            assert memory.search("zebra") == []
            memory.restore(id)
            assert [hit.text for hit in memory.search("zebra")] == ["ZEBRA"]

    def test_a_hard_forget_takes_the_trace_out_of_the_file(self, tmp_path: Path) -> None:
        with opened(tmp_path) as memory:
            id = memory.add("zebra crossing number nine")
            other = memory.add("apple")
            receipt = memory.forget(id, hard=True)
            assert receipt.verified
            assert receipt.removed["traces"] == 1
            assert [hit.id for hit in memory.search("zebra")] == [other]
            assert memory.check() == []
        assert b"ZEBRA CROSSING" not in (tmp_path / "m.mnemos").read_bytes()

    def test_an_updated_text_is_derived_again(self, tmp_path: Path) -> None:
        with opened(tmp_path) as memory:
            id = memory.add("zebra")
            memory.update(id, "giraffe")
            assert [h.text for h in memory.search("giraffe", k=1)] == ["GIRAFFE"]
            assert "ZEBRA" not in [h.text for h in memory.search("zebra")]

    def test_undoing_an_add_hides_its_trace(self, tmp_path: Path) -> None:
        with opened(tmp_path) as memory:
            memory.add("zebra")
            memory.undo(memory.operations()[0].id)
            assert memory.search("zebra") == []


@pytest.mark.usefixtures("shouting")
class TestSharing:
    def test_scopes_do_not_see_each_other(self, tmp_path: Path) -> None:
        with opened(tmp_path) as memory:
            memory.add("zebra", user="a")
            assert memory.search("zebra", user="b") == []
            assert len(memory.search("zebra", user="a")) == 1

    def test_traces_of_another_process_appear_and_leave(self, tmp_path: Path) -> None:
        with opened(tmp_path) as one, opened(tmp_path) as two:
            id = one.add("zebra")
            assert [h.text for h in two.search("zebra")] == ["ZEBRA"]
            one.forget(id, hard=True)
            assert two.search("zebra") == []

    def test_another_embedder_embeds_the_traces_again_without_deriving_them(self, tmp_path: Path) -> None:
        with opened(tmp_path) as memory:
            memory.add(["zebra", "apple"])
        other = Letters("letters-2")
        with opened(tmp_path, embedder=other) as memory:
            memory.consolidate()
            assert memory.search("zebra", k=1)[0].text == "ZEBRA"
            assert {"ZEBRA", "APPLE"} <= set(other.seen)
            assert all(t.model == "letters-2" for t in of(memory).index(Scope()).values())

    def test_export_carries_traces(self, tmp_path: Path) -> None:
        (tmp_path / "b").mkdir()
        with opened(tmp_path) as memory:
            memory.add(["zebra", "apple"])
            memory.export(tmp_path / "out.jsonl")
            before = [(h.id, h.text, h.score) for h in memory.search("zebra")]
        fresh = Letters()
        with opened(tmp_path / "b", embedder=fresh) as memory:
            memory.import_(tmp_path / "out.jsonl")
            assert [(h.id, h.text, h.score) for h in memory.search("zebra")] == before
            assert "ZEBRA" not in fresh.seen

    def test_filters_hold_for_derived_hits(self, tmp_path: Path) -> None:
        with opened(tmp_path) as memory:
            memory.add([{"text": "zebra", "session": "s1"}, {"text": "zebras", "session": "s2"}])
            assert [h.session for h in memory.search("zebra", session="s2")] == ["s2"]


def test_incremental_change_comes_to_what_a_fresh_index_is(tmp_path: Path, shouting: None) -> None:
    with opened(tmp_path) as memory:
        ids = memory.add([f"text number {n}" for n in range(9)])
        memory.forget(ids[3])
        memory.update(ids[5], "another text")
        memory.forget(ids[7], hard=True)
        held = {k: t.body for k, t in of(memory).index(Scope()).items()}
    with opened(tmp_path) as memory:
        assert {k: t.body for k, t in of(memory).index(Scope()).items()} == held


VERBS = st.sampled_from(["add", "forget", "forget hard", "restore", "update", "model", "look"])


@given(st.lists(st.tuples(VERBS, st.integers(0, 99), st.booleans()), max_size=14))
@settings(max_examples=100, deadline=None)
def test_whoever_follows_a_file_knows_what_one_that_opens_it_finds(history: list[tuple[str, int, bool]]) -> None:
    with (
        patch.object(file, "make_recipe", lambda name, parts: Shout(parts)), TemporaryDirectory() as folder,
        opened(Path(folder)) as one, opened(Path(folder), seed=2) as two,
    ):  # fmt: skip
        ids, hidden = list[str](), set[str]()
        for verb, n, first in history:
            memory = one if first else two
            id = ids[n % len(ids)] if ids else ""
            if verb == "add":
                ids += memory.add(["boom" if n % 5 == 0 else f"text {n}"] * (1 + n % 3))
            elif verb == "model":
                of(one).broken = of(two).broken = not of(one).broken
            elif verb == "look":
                memory.search("text")
            elif id and verb == "restore" and id in hidden:
                memory.restore(id)
                hidden.remove(id)
            elif id and id not in hidden and verb in ("forget", "forget hard", "update"):
                if verb == "update":
                    memory.update(id, f"another {n}")
                else:
                    memory.forget(id, hard=verb == "forget hard")
                    hidden.add(id)
                    if verb == "forget hard":
                        ids.remove(id)
            with opened(Path(folder)) as fresh:
                found = [
                    ({k: t.body for k, t in of(m).index(Scope()).items()}, sorted(of(m)._states[Scope()].pending))
                    for m in (fresh, one, two)
                ]
            assert found[1:] == [found[0]] * 2


def sql(memory: Memory, statement: str) -> list[tuple[Any, ...]]:
    assert isinstance(memory._store, SQLiteStore)
    return memory._store._rows(statement)


def snapshots(memory: Memory) -> list[tuple[Any, ...]]:
    return sql(memory, "SELECT recipe, seq, traces, body FROM snapshots")


@pytest.mark.usefixtures("packing")
class TestPacked:
    def test_an_index_that_was_packed_is_not_built_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with opened(tmp_path) as memory:
            memory.add(["zebra", "apple"])
            before = [(h.id, h.text, h.score) for h in memory.search("zebra")]
        changes: list[Any] = []
        monkeypatch.setattr(Shout, "change", lambda self, index, added, removed: changes.append((added, removed)))
        with opened(tmp_path) as memory:
            assert [(h.id, h.text, h.score) for h in memory.search("zebra")] == before
        assert changes == []

    def test_what_changed_since_it_was_packed_is_seen(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with opened(tmp_path) as memory:
            updated, hidden, _, _ = memory.add(["zebra", "apple", "melon", "kiwi"])
            monkeypatch.setattr(Shout, "packs", False)
            memory.update(updated, "giraffe")
            memory.forget(hidden)
            memory.add("lemon")
            built = {key: t.body for key, t in of(memory).index(Scope()).items()}
            monkeypatch.setattr(Shout, "packs", True)
        with opened(tmp_path) as memory:
            assert {key: t.body for key, t in of(memory).index(Scope()).items()} == built
            assert {"GIRAFFE", "LEMON"} <= {body["loud"] for body in built.values()}
            memory.restore(hidden)  # what came back was read without its body
            assert [h.text for h in memory.search("apple", k=1)] == ["APPLE"]

    def test_a_hard_forget_packs_it_again_without_what_was_forgotten(self, tmp_path: Path) -> None:
        with opened(tmp_path) as memory:
            id = memory.add(["zebra crossing number nine", "apple"])[0]
            assert b"ZEBRA CROSSING" in snapshots(memory)[0][3]
        with opened(tmp_path) as memory:  # a process that has not looked at it before
            assert memory.forget(id, hard=True).verified
            assert b"APPLE" in snapshots(memory)[0][3]
        assert b"ZEBRA CROSSING" not in (tmp_path / "m.mnemos").read_bytes()

    def test_a_hard_forget_under_another_recipe_erases_it_and_the_next_search_packs_it(self, tmp_path: Path) -> None:
        with opened(tmp_path, recipe="mnemos") as memory, opened(tmp_path) as late:
            id = late.add(["zebra crossing number nine", "apple"])[0]
            assert b"ZEBRA CROSSING" in snapshots(memory)[0][3]
            assert memory.forget(id, hard=True).verified
            assert snapshots(memory) == []
            # one that has not yet seen it go cannot bring it back
            state = of(late)._states[Scope()]
            late._store.put_snapshot(Scope(), "shout", state.seen, "letters", list(state.live), b"ZEBRA CROSSING")
            assert snapshots(memory) == []
            late.search("apple")
            assert b"APPLE" in snapshots(memory)[0][3]
        assert b"ZEBRA CROSSING" not in (tmp_path / "m.mnemos").read_bytes()

    def test_one_of_another_embedder_or_form_is_left_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with opened(tmp_path) as memory:
            memory.add(["zebra", "apple"])
        with opened(tmp_path, embedder=Letters("letters-2")) as memory:
            memory.consolidate()
            assert memory.search("zebra", k=1)[0].text == "ZEBRA"
        monkeypatch.setattr(Shout, "unpack", lambda self, body, vectors: None)
        with opened(tmp_path, embedder=Letters("letters-2")) as memory:
            assert memory.search("zebra", k=1)[0].text == "ZEBRA"

    def test_one_that_cannot_be_read_is_made_again_and_a_rebuild_drops_it(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with opened(tmp_path) as memory:
            memory.add(["zebra", "apple"])
            sql(memory, "UPDATE snapshots SET body=x'00'")
        with opened(tmp_path) as memory:
            assert memory.search("zebra", k=1)[0].text == "ZEBRA"
            assert "made again" in caplog.text
            assert snapshots(memory)[0][3] != b"\0"
            memory.rebuild()
            assert snapshots(memory) == []

    def test_a_file_without_room_for_it_is_searched_all_the_same(self, tmp_path: Path) -> None:
        with opened(tmp_path) as memory:
            memory.add(["zebra", "apple"])
            sql(memory, "DROP TABLE snapshots")  # as an older version left it, and nobody may write
            sql(memory, "PRAGMA query_only=ON")
            of(memory)._states.clear()
            assert memory.search("zebra", k=1)[0].text == "ZEBRA"

    def test_a_search_does_not_wait_for_another_writer_to_pack(self, tmp_path: Path) -> None:
        with opened(tmp_path) as memory:
            memory.add(["zebra", "apple"])
            sql(memory, "DELETE FROM snapshots")
        with opened(tmp_path) as memory, opened(tmp_path) as other, other._store.writing():
            assert isinstance(memory._store, SQLiteStore)
            waits: list[int] = []
            memory._store._db().set_busy_handler(lambda tries: bool(waits.append(tries)))
            assert memory.search("zebra", k=1)[0].text == "ZEBRA"
            assert (waits, snapshots(memory)) == ([], [])
        with opened(tmp_path) as memory:
            memory.search("zebra")
            assert len(snapshots(memory)) == 1


def test_an_unknown_recipe_is_refused_with_the_nearest_names(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="hipporag2"):
        Memory(tmp_path / "m.mnemos", embedder=None, recipe="hiporag", settings=Settings())
    assert recipe_names()[0] == "mnemos"


def test_a_recipe_without_an_embedder_says_what_to_install(tmp_path: Path, shouting: None) -> None:
    with pytest.raises(MissingExtra, match="local"):
        opened(tmp_path, embedder=None)
