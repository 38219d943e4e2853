"""`AsyncMemory` is `Memory`, awaited."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest

from mnemos import AsyncMemory, FixedClock, Memory
from mnemos.core.errors import InvalidInput, StoreForeign

_PUBLIC = sorted(n for n, _ in inspect.getmembers(Memory, inspect.isfunction) if not n.startswith("_"))


@pytest.mark.parametrize("name", _PUBLIC)
def test_every_public_method_is_there_and_awaited(name: str) -> None:
    method = getattr(AsyncMemory, name)
    assert inspect.iscoroutinefunction(method) or inspect.iscoroutinefunction(
        inspect.unwrap(method, stop=inspect.iscoroutinefunction)
    )
    assert method.__doc__


def _arguments(folder: Path) -> dict[str, Any]:
    return {"path": folder / "m.mnemos", "embedder": None, "clock": FixedClock("2025-06-01"), "seed": 1}


def test_the_same_calls_give_the_same_results(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("add", (["I live in Lisbon", {"text": "tea", "session": "s"}, "My cat is named Miso"],), {}),
        ("search", ("Where do I live?",), {"explain": True}),
        ("ask", ("Where do I live?",), {}),
        ("list", (), {"kinds": ["turn", "fact", "entity"]}),
        ("consolidate", (), {}),
        ("operations", (), {}),
        ("scopes", (), {}),
        ("forget", (), {"session": "s"}),
        ("rebuild", (), {}),
        ("check", (), {}),
        ("search", ("cat",), {}),
    ]

    async def awaited() -> list[Any]:
        async with AsyncMemory(**_arguments(tmp_path / "a")) as memory:
            return [await getattr(memory, name)(*args, **kwargs) for name, args, kwargs in calls]

    with Memory(**_arguments(tmp_path / "b")) as memory:
        expected = [getattr(memory, name)(*args, **kwargs) for name, args, kwargs in calls]
    assert asyncio.run(awaited()) == expected


def test_many_tasks_at_once_lose_nothing(tmp_path: Path) -> None:
    async def work() -> int:
        async with AsyncMemory(**_arguments(tmp_path)) as memory:
            ids = await asyncio.gather(*(memory.add(f"note {n}") for n in range(30)))
            await asyncio.gather(*(memory.search(f"note {n}") for n in range(30)))
            assert len(set(ids)) == 30
            return len(await memory.list())

    assert asyncio.run(work()) == 30


def test_it_opens_at_the_first_call_and_errors_come_through(tmp_path: Path) -> None:
    async def work() -> None:
        memory = AsyncMemory(**_arguments(tmp_path))
        assert not list(tmp_path.iterdir())
        await memory.close()
        with pytest.raises(InvalidInput):
            await memory.add("")
        assert list(tmp_path.iterdir())
        await memory.close()
        await memory.close()
        (tmp_path / "diary.txt").write_text("no database")
        with pytest.raises(StoreForeign):
            await AsyncMemory(tmp_path / "diary.txt", embedder=None).list()

    asyncio.run(work())
