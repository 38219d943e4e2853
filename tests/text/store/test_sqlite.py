"""The SQLite store: transactions, consistent reads, the file itself, and its own checks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mnemos.core.errors import NotFound, StoreError
from mnemos.text.records import Edge, EdgeKind, Filter, Kind, Operation, OperationKind, Record, Scope, from_dict
from mnemos.text.store import Analysis, SQLiteStore, Unit, Write
from mnemos.text.store.schema import APPLICATION_ID, MIGRATIONS

_ADA, _BO = Scope("ada"), Scope("bo")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    made = SQLiteStore(tmp_path / "m.mnemos")
    yield made
    made.close()


def _operation(id: str, kind: OperationKind = OperationKind.ADD, scope: Scope = _ADA) -> Operation:
    return Operation(id, kind, 1.0, scope, {"why": "test"})


def _write(id: str, text: str = "tea", scope: Scope = _ADA, key: str = "", edges: tuple[Edge, ...] = ()) -> Write:
    record = Record(id=id, kind=Kind.TURN, text=text, scope=scope, recorded_at=1.0, edges=edges)
    units = (Unit(id.encode().ljust(16, b"."), np.ones(4, np.float16)),)
    return Write(record, Analysis(np.array([1, 2], np.uint32), 0, np.array([3], np.uint32), "toy", units), key)


def test_the_file_says_whose_it_is_and_is_safe_against_power_cuts(store: SQLiteStore) -> None:
    assert store._rows("PRAGMA application_id") == [(APPLICATION_ID,)]
    assert store._rows("PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert store._rows("PRAGMA journal_mode") == [("wal",)]
    assert store._rows("PRAGMA synchronous") == [(2,)]
    assert store._rows("PRAGMA secure_delete") == [(1,)]


def test_a_commit_can_be_read_back_whole(store: SQLiteStore) -> None:
    edge = Edge(EdgeKind.LINKS, "b", 0.5)
    store.commit(_operation("1"), [_write("a", edges=(edge,)), _write("b", "coffee")])
    assert set(store.get(["a", "b", "none"])) == {"a", "b"}
    assert store.get(["a"])["a"].edges == (edge,)
    assert store.incoming(["b"], [EdgeKind.LINKS]) == [("a", EdgeKind.LINKS, "b")]
    assert store.operation("1") == (_operation("1"), ["a", "b"])
    with pytest.raises(NotFound):
        store.operation("2")


def test_a_body_is_the_record_as_that_entry_of_the_log_left_it(store: SQLiteStore) -> None:
    store.commit(_operation("1"), [_write("a", "tea"), _write("b", "coffee")])
    store.commit(_operation("2"), [_write("a", "milk")])
    assert {n: body["text"] for n, body in store.bodies([3, 1, 2, 9]).items()} == {1: "tea", 2: "coffee", 3: "milk"}
    assert from_dict(store.bodies([3])[3]) == store.get(["a"])["a"]
    assert store.bodies([]) == {}


def test_visible_leaves_out_what_is_retracted_in_quarantine_or_not_there(store: SQLiteStore) -> None:
    gone = replace(_write("b").record, retracted_at=2.0)
    waiting = replace(_write("c").record, quarantined=True)
    store.commit(_operation("1"), [_write("a"), Write(gone), Write(waiting)])
    assert store.visible(["a", "b", "c", "d"]) == {"a"}
    assert store.visible([]) == set()


def test_an_error_inside_a_transaction_takes_all_of_it_back(store: SQLiteStore) -> None:
    with pytest.raises(RuntimeError), store.writing():  # noqa: PT012
        store.commit(_operation("1"), [_write("a")])
        assert list(store.get(["a"])) == ["a"]
        raise RuntimeError
    assert store.get(["a"]) == {}
    assert store.latest() == (0, 0)
    store.commit(_operation("1"), [_write("a")])
    assert list(store.get(["a"])) == ["a"]


def test_two_commits_of_one_operation_are_one_operation(store: SQLiteStore) -> None:
    with store.writing():
        store.commit(_operation("1"), [_write("a")])
        store.commit(_operation("1"), [_write("b")])
    assert store.operation("1")[1] == ["a", "b"]
    assert len(store.operations(_ADA, 10)) == 1


def test_a_reader_keeps_its_view_while_another_thread_writes(store: SQLiteStore) -> None:
    store.commit(_operation("1"), [_write("a")])
    with store.reading():
        assert len(list(store.find(Filter(_ADA), 1.0))) == 1
        writer = threading.Thread(target=store.commit, args=(_operation("2"), [_write("b")]))
        writer.start()
        writer.join()
        assert len(list(store.find(Filter(_ADA), 1.0))) == 1
    assert len(list(store.find(Filter(_ADA), 1.0))) == 2


def test_the_first_writer_of_a_key_wins_and_keys_are_per_scope(store: SQLiteStore) -> None:
    store.commit(_operation("1"), [_write("a", key="k")])
    store.commit(_operation("2"), [_write("b", key="k"), _write("c", scope=_BO, key="k")])
    assert store.keys(_ADA, ["k", "none"]) == {"k": "a"}
    assert store.keys(_BO, ["k"]) == {"k": "c"}
    assert store.get(["b"]) == {}


def test_changes_since_a_number_are_what_an_index_must_follow(store: SQLiteStore) -> None:
    store.commit(_operation("1"), [_write("a"), _write("b")])
    seen, _ = store.latest()
    store.commit(_operation("2"), [_write("c"), _write("x", scope=_BO)])
    store.erase(_operation("3", OperationKind.ERASE), ["a"])
    columns, gone = store.changed(_ADA, [Kind.TURN], seen)
    assert (list(columns.id), gone) == (["c"], ["a"])
    assert store.changed(_ADA, [Kind.FACT], seen)[0].id == ()
    versions, matrix = store.vectors(_ADA, "toy", seen)
    assert versions.tolist() == list(columns.version)
    assert matrix.shape == (1, 4)


def test_erase_counts_by_place_and_keeps_only_that_something_was(store: SQLiteStore) -> None:
    store.commit(_operation("1"), [_write("a", key="k", edges=(Edge(EdgeKind.LINKS, "b"),)), _write("b")])
    store.commit(_operation("2", OperationKind.UPDATE), [_write("a", "green tea")])
    removed = store.erase(_operation("3", OperationKind.ERASE), ["a"])
    assert removed == {"records": 1, "log": 2, "edges": 0, "vectors": 1, "keys": 1, "traces": 0}
    assert [(v.operation.id, v.record) for v in store.history("a")] == [("1", None), ("2", None), ("3", None)]
    assert not store.in_log(b"green")
    assert store.in_log(b'"tea"')
    assert store.check() == []


def test_vectors_are_shared_by_hash_and_attached_without_touching_the_log(store: SQLiteStore) -> None:
    store.commit(_operation("1"), [_write("a")])
    number, epoch = store.latest()
    assert [r.id for r in store.stale("other", 9)] == ["a"]
    unit = Unit(b"0123456789abcdef", np.arange(4).astype(np.float16))
    store.put_vectors("other", [("a", [unit]), ("none", [unit])])
    assert store.latest() == (number, epoch + 1)
    assert store.stale("other", 9) == []
    assert store.cached("other", [unit.hash, b"x" * 16])[unit.hash].tolist() == [0, 1, 2, 3]
    assert {model for model, *_ in store.all_vectors()} == {"toy", "other"}


def test_uses_add_up(store: SQLiteStore) -> None:
    store.touch(["a", "b"], 5.0)
    store.touch(["a"], 3.0)
    assert store.uses(["a", "b", "c"]) == {"a": (2, 5.0), "b": (1, 5.0)}


def test_more_ids_than_one_statement_takes_are_asked_in_parts(store: SQLiteStore) -> None:
    ids = [f"r{n}" for n in range(1700)]
    store.commit(_operation("1"), [_write(id, f"text {id}", key=f"k{id}") for id in ids])
    assert set(store.get(ids)) == set(ids)
    assert len(store.keys(_ADA, [f"k{id}" for id in ids])) == 1700


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DELETE FROM operations", "log rows without their operation"),
        ("UPDATE log SET body=NULL", "records whose text is missing"),
        ("DELETE FROM records", "vectors of records that are gone"),
    ],
)
def test_check_names_what_does_not_hold_together(store: SQLiteStore, sql: str, problem: str) -> None:
    store.commit(_operation("1"), [_write("a", key="k", edges=(Edge(EdgeKind.LINKS, "b"),))])
    assert store.check() == []
    store._rows(sql)
    assert any(problem in found for found in store.check())


def test_a_closed_store_says_so_in_every_thread(store: SQLiteStore) -> None:
    store.close()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            store.latest()
        except StoreError as why:
            failures.append(why)

    read()
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert len(failures) == 2
    assert "open it again" in str(failures[0])


def test_facts_are_looked_up_by_an_index(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    rows = store._rows
    monkeypatch.setattr(store, "_rows", lambda sql, values=(): asked.append((sql, values)) or rows(sql, values))
    store.slots(Scope(), ["one", "two"])
    sql, values = asked[-1]
    plan = [row[3] for row in rows(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert "SEARCH records USING INDEX records_slot (scope=? AND slot=?)" in plan
