"""Bad days: kills, full disks, damaged and foreign files, and every odd text. One of our errors, or right."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnemos import FixedClock, Kind, Memory
from mnemos.core.errors import (
    InvalidInput,
    MnemosError,
    StoreDamaged,
    StoreError,
    StoreForeign,
    StoreFull,
    StoreReadOnly,
)

_UNIX = hasattr(os, "fork")


def _open(path: Path) -> Memory:
    return Memory(path, embedder=None, clock=FixedClock("2025-06-01"), seed=1)


def _filled(path: Path, n: int = 60) -> list[str]:
    with _open(path) as memory:
        return list(memory.add([{"text": f"harbour note {i}: " + "tea " * i, "speaker": "Ada"} for i in range(n)]))


def _in_child(work: Callable[[], None]) -> int:
    """Run `work` in a fork of this process; its exit status, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            work()
            status = 0
        except AssertionError:
            status = 71
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- kill -9 -------------------------------------------------------------------------------


@pytest.mark.skipif(not _UNIX, reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fifty_kills_at_random_points_lose_no_acknowledged_add_and_leave_none_by_halves(tmp_path: Path) -> None:
    rnd = random.Random(11)
    path = tmp_path / "m.mnemos"
    acknowledged: list[tuple[int, int]] = []
    for round in range(50):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                memory = Memory(path, embedder=None)
                for batch in range(1000):
                    size = 1 + batch % 4
                    memory.add([
                        {"text": f"round {round} batch {batch} item {n} of {size}. I live in Lisbon.", "speaker": "Ada"}
                        for n in range(size)
                    ])  # fmt: skip
                    os.write(write, b"%d\n" % batch)
            finally:
                os._exit(1)
        os.close(write)
        wanted, seen = rnd.randrange(0, 6), b""
        while seen.count(b"\n") < wanted and (chunk := os.read(read, 64)):
            seen += chunk
        for _ in range(rnd.randrange(0, 20_000)):  # somewhere within the next batch
            pass
        os.kill(pid, signal.SIGKILL)
        while chunk := os.read(read, 4096):
            seen += chunk
        os.close(read)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        acknowledged += [(round, int(line)) for line in seen.split()]
    assert len(acknowledged) > 50
    with Memory(path, embedder=None) as memory:
        assert memory.check() == []
        found: dict[tuple[int, int], list[str]] = {}
        for record in memory.list(limit=10**6):
            words = record.text.split()
            found.setdefault((int(words[1]), int(words[3])), []).append(record.text)
        assert set(acknowledged) <= set(found)
        assert all(len(texts) == 1 + batch % 4 for (_, batch), texts in found.items())
        hits = memory.search("round 7 batch 0 item 0", 10**6)
        assert len(hits) == sum(len(texts) for texts in found.values())
        memory.add("and on it goes")


# -- no space, no permission ---------------------------------------------------------------


@pytest.mark.skipif(not _UNIX, reason="needs fork and resource limits")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_when_files_may_not_grow_the_add_is_refused_whole_and_nothing_is_lost(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "m.mnemos"
    ids = _filled(path, 5)

    def work() -> None:
        with _open(path) as memory:
            size = max(p.stat().st_size for p in tmp_path.iterdir())
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 200_000, resource.RLIM_INFINITY))
            for n in range(100):
                try:
                    memory.add([f"large {n} {i} " + "x" * 10_000 for i in range(10)])
                except StoreFull as why:
                    assert "taken back whole" in str(why)  # noqa: PT017
                    break
            else:
                raise AssertionError("the limit never struck")
            assert len(memory.list(limit=10_000)) == 5 + 10 * n
            assert memory.search("harbour")
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            memory.add("room again")

    assert _in_child(work) == 0
    with _open(path) as memory:
        assert memory.check() == []
        assert [memory.get(id).text[:12] for id in ids] == ["harbour note"] * 5
        assert any(r.text == "room again" for r in memory.list(limit=10_000))


def test_a_full_disk_is_our_error_and_nothing_is_lost(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("a small disk cannot be mounted here")
    try:
        ids = _filled(disk / "m.mnemos", 5)
        with _open(disk / "m.mnemos") as memory:
            with pytest.raises(StoreFull, match="space"):
                memory.add([f"large {i} " + "x" * 100_000 for i in range(20)])
            assert [r.id for r in memory.list()] == ids
            assert len(memory.search("harbour")) == 5
            _fill_up(disk)
            with pytest.raises(StoreFull):
                memory.export(disk / "all.jsonl")
            assert not list(disk.glob("all*"))
        with _open(disk / "m.mnemos") as memory:
            (disk / "fill").unlink(missing_ok=True)
            assert memory.check() == []
            memory.add("room again")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _fill_up(disk: Path) -> None:
    with (disk / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


@pytest.mark.skipif(not _UNIX, reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("folder_too", [False, True])
def test_a_file_that_cannot_be_written_can_still_be_searched(folder_too: bool) -> None:
    # a folder of its own under /tmp: pytest's is closed to other users
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "m.mnemos"
        _filled(path, 5)
        with _open(path) as memory:  # loads what the other user may not be able to read
            memory.ask("What does harbour note 3 say about tea?")
        before = path.read_bytes()
        path.chmod(0o444)
        Path(name).chmod(0o555 if folder_too else 0o777)

        def work() -> None:
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            with _open(path) as memory:
                assert len(memory.search("harbour")) == 5
                assert len(memory.list()) == 5
                memory.ask("What does harbour note 3 say about tea?")
                memory.stats()
                for call in (lambda: memory.add("x"), lambda: memory.forget(everything=True)):
                    try:
                        call()
                    except StoreReadOnly as why:
                        assert "permissions" in str(why)  # noqa: PT017
                    else:
                        raise AssertionError("a read-only file was written")

        assert _in_child(work) == 0
        Path(name).chmod(0o755)
        assert path.read_bytes() == before


@pytest.mark.parametrize("where", ["missing/m.mnemos", "."])
def test_a_path_that_cannot_be_a_file_is_our_error(tmp_path: Path, where: str) -> None:
    with pytest.raises(StoreError):
        _open(tmp_path / where)


# -- damaged and foreign files -------------------------------------------------------------


def _everything(path: Path) -> None:
    """Touch all that a store holds; one of our errors is the only way out but success."""
    with _open(path) as memory:
        problems = memory.check()
        memory.search("harbour tea", 100)
        memory.list(kinds=list(Kind), hidden=True)
        if problems:
            raise StoreDamaged("; ".join(problems))


@pytest.mark.parametrize("seed", range(12))
def test_random_bytes_over_pages_are_refused_and_the_file_is_left_untouched(tmp_path: Path, seed: int) -> None:
    rnd = random.Random(seed)
    path = tmp_path / "m.mnemos"
    _filled(path, 200)
    data = bytearray(path.read_bytes())
    pages = list(range(1, len(data) // 4096))
    for page in pages if seed < 2 else rnd.sample(pages, max(1, len(pages) // 3)):
        data[page * 4096 : page * 4096 + 4096] = rnd.randbytes(4096)
    path.write_bytes(data)
    with pytest.raises(StoreDamaged):
        _everything(path)
    assert path.read_bytes() == bytes(data)


@pytest.mark.parametrize("keep", [17, 99, 100, 512, 4096, 0.3, 0.5, 0.9])
def test_a_truncated_file_is_refused_and_left_untouched(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "m.mnemos"
    _filled(path, 200)
    data = path.read_bytes()[: int(keep) if keep >= 1 else int(keep * path.stat().st_size)]
    path.write_bytes(data)
    with pytest.raises(StoreDamaged):
        _everything(path)
    assert path.read_bytes() == data


def test_a_text_that_is_no_record_any_more_is_damage_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "m.mnemos"
    _filled(path, 3)
    db = sqlite3.connect(path)
    db.execute("UPDATE log SET body='{\"id\": broken'")
    db.commit()
    db.close()
    with _open(path) as memory, pytest.raises(StoreDamaged):
        memory.search("harbour")


def _foreign(kind: str, path: Path) -> None:
    if kind == "text":
        path.write_text("Dear diary, nothing of this is a database.\n" * 50)
    elif kind == "short":
        path.write_text("x")
    elif kind == "binary":
        path.write_bytes(random.Random(1).randbytes(10_000))
    elif kind == "almost":
        path.write_bytes(b"SQLite format 2\x00" + bytes(5000))
    else:
        if kind == "newer":
            _filled(path, 3)
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE other(a)")
        db.execute("INSERT INTO other VALUES(1)")
        if kind == "newer":
            db.execute("PRAGMA user_version=99")
        db.commit()
        db.close()


@pytest.mark.parametrize("kind", ["text", "short", "binary", "almost", "sqlite", "newer"])
def test_a_foreign_file_is_refused_and_byte_for_byte_untouched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.mnemos"
    _foreign(kind, path)
    before = path.read_bytes()
    with pytest.raises(StoreForeign, match="untouched"):
        _open(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.stat().st_size] == ["m.mnemos"]


# -- odd texts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "NUL \x00 inside",
        "\u202eright to left\u202c שלום עולם",
        "👩‍👩‍👧‍👦 family 🙂",
        "e\u0301 combining",
        "\ufeffmark",
        "a\u2028b",
        "' -- \" ; \\",
    ],
)
def test_odd_characters_come_back_as_they_were(memory: Memory, text: str) -> None:
    id = memory.add(text, speaker=text, session=text, metadata={text: text}, user=text, key=text)
    record = memory.get(id, user=text)
    assert (record.text, record.speaker, record.session, record.metadata) == (text, text, text, {text: text})
    assert memory.add(text, user=text, key=text) == id
    assert [h.id for h in memory.search(text, user=text)] == [id]
    memory.rebuild()
    assert memory.add(text, user=text, key=text) == id


def test_lone_surrogates_become_replacement_characters(memory: Memory) -> None:
    id = memory.add("half \ud83d a smile", speaker="\udc00Ada")
    assert memory.get(id).text == "half \ufffd a smile"
    assert memory.search("\ud83d smile")[0].id == id
    with pytest.raises(InvalidInput, match="metadata"):
        memory.add("x", metadata={"a": "\ud83d"})


_LANGUAGES = [
    ("The ferry leaves at dawn", "ferry"),
    ("Die Fähre fährt über den Fluss", "fähre fluss"),
    ("Паром отходит на рассвете", "паром"),
    ("渡轮在黎明时分离开港口", "渡轮什么时候离开"),
    ("フェリーは夜明けに出発します", "フェリーはいつ出発"),
    ("العبارة تغادر عند الفجر", "العبارة"),
    ("나룻배는 새벽에 떠난다", "나룻배"),
    ("नाव सुबह निकलती है", "नाव"),
]


@pytest.mark.parametrize("number", range(len(_LANGUAGES)))
def test_each_language_is_found_by_a_query_in_it(memory: Memory, number: int) -> None:
    ids = memory.add([text for text, _ in _LANGUAGES])
    assert memory.search(_LANGUAGES[number][1])[0].id == ids[number]


def test_ten_megabytes_and_a_line_of_a_million_characters_are_kept_and_found(memory: Memory) -> None:
    large = "A page about the ferry and nothing else. " * 250_000 + "The password was xylophone."
    line = "zebra" + "x" * 1_000_000
    a, b, _ = memory.add([{"text": large, "kind": "passage"}, line, "something short"])
    assert memory.get(a).text == large
    assert memory.search("xylophone")[0].id == a
    assert memory.get(b).text == line
    assert memory.search("x" * 1_000_000, 1)
    memory.forget(a, hard=True)
    assert all(h.id != a for h in memory.search("xylophone"))
    with pytest.raises(InvalidInput, match="characters"):
        memory.add("x" * 20_000_001)


@pytest.mark.parametrize("at", ["0001-01-01", "9999-12-31T23:59:59", "1066-10-14", -62135596800, 253402300799])
def test_dates_far_away_are_kept_and_filtered_by(memory: Memory, at: Any) -> None:
    id = memory.add("We met yesterday and will meet next year, I live in Lisbon since last week", speaker="Ada", at=at)
    memory.add("We met too", at="2024-01-01")
    assert memory.get(id).at is not None
    assert id in {h.id for h in memory.search("When did we meet?", 5)}
    assert [r.id for r in memory.list(since=at, until=None, speaker="Ada")] == [id]
    memory.ask("When did Ada meet?")
    memory.search("we met", as_of=at)
    memory.consolidate()


@pytest.mark.parametrize(
    "query",
    ['"', '"unclosed', "*", "tea*", "NEAR(", "tea NEAR/2 milk", "tea AND OR NOT", "text:tea", "--",
     "'; DROP TABLE records; --",
     "%", "_", "\\", "(", "^tea", "{tea}", "tea + -milk", "\x00", "🙂", "?", "the of and"],
)  # fmt: skip
def test_operators_of_query_languages_are_only_characters(memory: Memory, query: str) -> None:
    id = memory.add("tea with milk")
    hits = memory.search(query)
    assert {h.id for h in hits} <= {id}
    if "tea" in query:
        assert [h.id for h in hits] == [id]
    memory.ask(query)
    assert len(memory.list(session=query)) == len(memory.list(speaker=query)) == 0
    assert len(memory.list()) == 1


_SMALL = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
_ANY = st.text(st.characters(exclude_categories=[]), max_size=80)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with _open(tmp_path_factory.mktemp("shared") / "m.mnemos") as memory:
        memory.add(["I live in Lisbon", "tea with milk", "We met on 5 May 2023"], speaker="Ada")
        yield memory


@_SMALL
@given(text=_ANY, speaker=_ANY, session=_ANY, query=_ANY)
def test_arbitrary_text_is_stored_and_found_or_refused_by_us(
    shared: Memory, text: str, speaker: str, session: str, query: str
) -> None:
    try:
        id = shared.add(text, speaker=speaker, session=session, at="2024-02-29")
    except MnemosError:
        assert not text.strip()
    else:
        assert shared.get(id).text == text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    for call in (shared.search, shared.ask):
        try:
            call(query)
        except MnemosError:
            assert not query.strip()


@_SMALL
@given(
    value=st.one_of(
        _ANY,
        st.integers(),
        st.floats(),
        st.none(),
        st.booleans(),
        st.binary(),
        st.lists(_ANY, max_size=2),
        st.datetimes(),
    )
)
def test_arbitrary_values_of_any_argument_raise_only_our_errors(shared: Memory, value: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: shared.search("tea", since=value), lambda: shared.search("tea", until=value),
        lambda: shared.search("tea", as_of=value), lambda: shared.search("tea", kinds=value),
        lambda: shared.search("tea", session=value), lambda: shared.search("tea", speaker=value),
        lambda: shared.search("tea", value), lambda: shared.search(value),
        lambda: shared.list(limit=value, after=value),
        lambda: shared.search("tea", user=value), lambda: shared.get(value), lambda: shared.update(value, "x"),
        lambda: shared.add("x", at=value), lambda: shared.add("x", metadata=value), lambda: shared.add("x", kind=value),
        lambda: shared.add("x", key=value), lambda: shared.add({"text": value}), lambda: shared.history(value),
        lambda: shared.undo(value), lambda: shared.restore(value), lambda: shared.ask("tea?", value),
    ]  # fmt: skip
    for call in calls:
        try:
            call()
        except MnemosError as why:
            assert str(why)  # noqa: PT017
