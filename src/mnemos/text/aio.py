"""`AsyncMemory`: the same memory, awaited.

Every method is the one of `Memory`, run in a worker thread; there is no second implementation.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any

from mnemos.text.memory import Memory


class AsyncMemory:
    """`Memory` for asyncio. Takes the same arguments; each method returns what it returns there.

    Opening is blocking work, and happens on `async with` or at the first call.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._open = functools.partial(Memory, *args, **kwargs)
        self._memory: Memory | None = None
        self._lock = asyncio.Lock()

    async def _opened(self) -> Memory:
        async with self._lock:
            if self._memory is None:
                self._memory = await asyncio.to_thread(self._open)
            return self._memory

    async def close(self) -> None:
        """Release the file; closing twice does nothing."""
        if self._memory is not None:
            await asyncio.to_thread(self._memory.close)

    async def __aenter__(self) -> AsyncMemory:
        await self._opened()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _awaited(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(self: AsyncMemory, *args: Any, **kwargs: Any) -> Any:
        memory = await self._opened()
        return await asyncio.to_thread(method, memory, *args, **kwargs)

    return call


for _name, _method in inspect.getmembers(Memory, inspect.isfunction):
    if not _name.startswith("_") and _name != "close":
        setattr(AsyncMemory, _name, _awaited(_method))
