"""Export, import and rebuild: the log is the whole memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnemos import FixedClock, Kind, Memory, Policy
from mnemos.core.errors import InvalidInput, MnemosError, NotFound

_QUERIES = ["Where does Ada live?", "tea with lemon", "Noor", "harbour"]
_EDGES = "SELECT records.id, edges.kind, target, weight FROM edges JOIN records ON records.seq=source ORDER BY 1, 2, 3"


def _open(path: Path) -> Memory:
    return Memory(path, embedder=None, clock=FixedClock("2025-06-01"), seed=1)


def _fill(memory: Memory) -> None:
    a, b, c, d, _ = memory.add([
        {"text": "I live in Lisbon. שלום 🙂\x00", "speaker": "Ada", "at": "2020-01-01", "session": "s", "key": "k1"},
        {"text": "I moved to Rome.", "speaker": "Ada", "at": "2021-01-01", "session": "s", "metadata": {"a": [1]}},
        {"text": "tea with lemon", "speaker": "Bo", "session": "t"},
        {"text": "harbour at dawn", "speaker": "Bo", "session": "t", "key": "k4"},
        {"text": "Tea with lemon", "speaker": "Bo", "session": "t"},
    ])  # fmt: skip
    memory.add("other walls, same tea", user="bo", agent="x")
    memory.update(c, "tea with lemon and mint")
    memory.consolidate()
    memory.forget(d, hard=True)
    memory.forget(b)
    memory.undo(memory.operations()[0].id)
    memory.retain(a, pin=True)
    memory.set_policy(Policy(strength=9.0))


def _state(memory: Memory) -> dict[str, Any]:
    scopes = [("", ""), ("bo", "x")]
    records = [memory.list(kinds=list(Kind), hidden=True, user=u, agent=a, limit=1000) for u, a in scopes]
    operations = [memory.operations(user=u, agent=a, limit=1000) for u, a in scopes]
    every = {id for user, agent in scopes for op in memory.operations(user=user, agent=agent, limit=1000)
             for id in memory._store.operation(op.id)[1]}  # fmt: skip
    return {
        "records": records,
        "operations": operations,
        "history": {id: memory._store.history(id) for id in sorted(every)},
        "hits": [memory.search(q, 20, explain=True, user=u, agent=a) for q in _QUERIES for u, a in scopes],
        "past": memory.search("live", 20, as_of="2020-06-01", kinds=list(Kind)),
        "edges": memory._store._rows(_EDGES),  # type: ignore[attr-defined]
        "settings": memory._store.settings(),
    }


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Memory]:
    with _open(tmp_path / "from.mnemos") as memory:
        _fill(memory)
        yield memory


def test_export_into_an_empty_store_gives_the_same_memory(filled: Memory, tmp_path: Path) -> None:
    expected = _state(filled)
    count = filled.export(tmp_path / "all.jsonl")
    assert count == sum(len(ops) for ops in expected["operations"])
    with _open(tmp_path / "to.mnemos") as memory:
        assert memory.import_(tmp_path / "all.jsonl") == count
        assert _state(memory) == expected
        assert memory.check() == []
        assert memory.add("again", key="k1") == expected["records"][0][0].id
        memory.export(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "all.jsonl").read_bytes()


def test_importing_twice_changes_nothing(filled: Memory, tmp_path: Path) -> None:
    filled.export(tmp_path / "all.jsonl")
    expected = _state(filled)
    assert filled.import_(tmp_path / "all.jsonl") == 0
    assert _state(filled) == expected


def test_import_into_a_store_that_holds_something_keeps_both(filled: Memory, tmp_path: Path) -> None:
    filled.export(tmp_path / "all.jsonl")
    theirs = {r.id for r in filled.list()}
    with Memory(tmp_path / "to.mnemos", embedder=None, clock=FixedClock("2025-06-01"), seed=2) as memory:
        mine = memory.add("a note of my own about tea", speaker="Cleo")
        memory.import_(tmp_path / "all.jsonl")
        assert {r.id for r in memory.list()} == {mine, *theirs}
        assert mine in {h.id for h in memory.search("tea")}
        assert memory.check() == []


def test_a_hard_forgotten_text_is_not_in_an_export(filled: Memory, tmp_path: Path) -> None:
    filled.export(tmp_path / "all.jsonl")
    assert b"harbour" not in (tmp_path / "all.jsonl").read_bytes()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_or_truncated_export_imports_nothing(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    with _open(folder / "from.mnemos") as memory:
        memory.add(["I live in Lisbon", {"text": "tea", "key": "k"}], speaker="Ada")
        memory.add("coffee")
        memory.set_policy(Policy(ttl=5))
        memory.export(folder / "all.jsonl")
    whole = (folder / "all.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    broken = data.draw(
        st.one_of(
            st.integers(0, len(whole) - 2).map(lambda n: whole[:n]),
            st.integers(0, len(lines) - 1).map(lambda n: b"".join(lines[:n])),
            st.integers(0, len(lines) - 1).map(lambda n: b"".join(lines[:n] + lines[n + 1 :])),
            st.tuples(st.integers(0, len(whole) - 2), st.integers(1, 255)).map(
                lambda p: whole[: p[0]] + bytes([whole[p[0]] ^ p[1]]) + whole[p[0] + 1 :]
            ),
            st.binary(max_size=50),
        )
    )
    (folder / "broken.jsonl").write_bytes(broken)
    with _open(folder / "to.mnemos") as memory:
        with pytest.raises(MnemosError):
            memory.import_(folder / "broken.jsonl")
        assert memory.scopes() == []
        assert memory.operations() == []
        assert memory._store.settings() == []


def test_a_missing_file_and_a_folder_that_is_not_there_are_our_errors(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        memory.import_(tmp_path / "nothing.jsonl")
    with pytest.raises(InvalidInput):
        memory.import_(tmp_path)
    with pytest.raises(MnemosError):
        memory.export(tmp_path / "no" / "such" / "folder.jsonl")
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_rebuild_from_the_log_gives_the_same_memory(filled: Memory) -> None:
    expected = _state(filled)
    keys = filled._store._rows("SELECT * FROM keys ORDER BY 1, 2")  # type: ignore[attr-defined]
    for table in ("edges", "keys", "records"):
        filled._store._rows(f"DELETE FROM {table}")  # type: ignore[attr-defined]
    assert filled.rebuild() == sum(len(r) for r in expected["records"])
    assert _state(filled) == expected
    assert filled._store._rows("SELECT * FROM keys ORDER BY 1, 2") == keys  # type: ignore[attr-defined]
    assert filled.check() == []


def test_check_finds_what_is_wrong(filled: Memory) -> None:
    filled._store._rows("DELETE FROM records WHERE id IN (SELECT id FROM records LIMIT 1)")  # type: ignore[attr-defined]
    assert filled.check()
    filled.rebuild()
    assert filled.check() == []
