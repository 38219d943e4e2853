"""Many threads and processes on one file: nothing lost, nothing locked, no half views."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mnemos import Memory

_WRITER = """
import os
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import sys
from mnemos import Memory
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Memory(path, embedder=None) as memory:
    for n in range(count):
        memory.add([
            {"text": f"{name} wrote number {n}", "speaker": name, "key": f"{name}-{n}"},
            {"text": f"shared number {n}. I live in Lisbon.", "speaker": "Ada", "key": f"shared-{n}"},
        ])
        if n % 5 == 0:
            assert any(h.speaker == name for h in memory.search(f"{name} wrote number {n}"))
"""


def test_two_processes_that_write_search_and_share_keys_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.mnemos"  # made by whichever is first
    children = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name, "30"], stderr=subprocess.PIPE, text=True)
        for name in ("Noor", "Bo")
    ]
    errors = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], errors
    with Memory(path, embedder=None) as memory:
        texts = sorted(r.text for r in memory.list(limit=1000))
        expected = [f"{name} wrote number {n}" for name in ("Noor", "Bo") for n in range(30)]
        assert texts == sorted(expected + [f"shared number {n}. I live in Lisbon." for n in range(30)])
        (fact,) = memory.list(kinds="fact")
        assert len([e for e in fact.edges if e.kind == "derived-from"]) == 30
        assert memory.check() == []


def test_many_openers_of_a_new_file_never_find_it_locked(tmp_path: Path) -> None:
    failures: list[BaseException] = []
    for round in range(8):
        barrier = threading.Barrier(6)

        def opening(n: int, path: Path = tmp_path / f"{round}.mnemos", barrier: threading.Barrier = barrier) -> None:
            try:
                barrier.wait()
                with Memory(path, embedder=None) as memory:
                    memory.add(f"note {n}")
            except BaseException as why:
                failures.append(why)

        threads = [threading.Thread(target=opening, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with Memory(tmp_path / f"{round}.mnemos", embedder=None) as memory:
            assert len(memory.list()) == 6
    assert failures == []


@pytest.mark.parametrize("handles", [1, 2])
def test_eight_threads_writing_searching_asking_and_forgetting_lose_nothing(tmp_path: Path, handles: int) -> None:
    memories = [Memory(tmp_path / "m.mnemos", embedder=None) for _ in range(handles)]
    failures: list[BaseException] = []
    kept: list[str] = []

    def work(n: int) -> None:
        memory = memories[n % handles]
        try:
            for i in range(15):
                a, b = memory.add([
                    {"text": f"thread {n} note {i}", "speaker": f"T{n}"},
                    {"text": f"I live in Lisbon, says thread {n}", "speaker": f"T{n}"},
                ])  # fmt: skip
                kept.append(a)
                assert a in {h.id for h in memory.search(f"thread {n} note {i}", 1000)}
                memory.ask(f"Where does T{n} live?")
                memory.forget(b, hard=i % 5 == 0)
                if i % 7 == 0:
                    memory.update(a, f"thread {n} note {i} again")
                    memory.stats()
        except BaseException as why:
            failures.append(why)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(r.id for r in memories[0].list(limit=1000)) == sorted(kept)
    assert all(memory.check() == [] for memory in memories)
    for memory in memories:
        memory.close()


def test_what_one_memory_writes_another_on_the_same_file_sees_at_once(tmp_path: Path) -> None:
    with Memory(tmp_path / "m", embedder=None) as one, Memory(tmp_path / "m", embedder=None) as two:
        id = one.add("tea with lemon")
        assert [h.id for h in two.search("tea")] == [id]
        two.forget(id, hard=True)
        assert one.search("tea") == []
        assert one.list() == []
