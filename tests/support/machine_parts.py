"""What a machine is made of: requests, callers, and a store that answers late."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo import CacheMiss, LLMCache, SQLiteStore, options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmemo.stores import Record


class Name(NamedTuple):
    """A request."""

    namespace: str
    llm_string: str
    prompt: str

    def __str__(self) -> str:
        return "/".join(self)


class Row(NamedTuple):
    """What is kept for it."""

    text: str
    created: float
    expires: float | None


class ComputeError(Exception):
    """What a caller raises who cannot compute the answer."""


class Caller:
    """A task that looks something up, and then does what it is told."""

    def __init__(self, cache: LLMCache, name: Name, mode: str) -> None:
        self.cache, self.name, self.mode = cache, name, mode
        self.found: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.told: asyncio.Future[Callable[[], Any] | None] = (
            asyncio.get_running_loop().create_future()
        )
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        found = await looked_up(self.cache, self.name, self.mode)
        self.found.set_result(found)
        if found is None:
            await self.told

    async def end(self, error: Exception | None = None, *, is_cancelled: bool = False) -> None:
        """Have it end."""
        if is_cancelled:
            self.task.cancel()
        elif not self.told.done():
            if error is None:
                self.told.set_result(None)
            else:
                self.told.set_exception(error)
        await asyncio.wait([self.task])
        if not self.task.cancelled():
            self.task.exception()  # Nothing is to be told of it.
        # A task's end is told to those who wait in the next passes.
        for _ in range(3):
            await asyncio.sleep(0)


async def looked_up(cache: LLMCache, name: Name, mode: Any) -> str | None:
    """What a lookup says; "CacheMiss" if it raises that."""
    with options(namespace=name.namespace, mode=mode):
        try:
            found = await cache.alookup(name.prompt, name.llm_string)
        except CacheMiss:
            return "CacheMiss"
    return None if found is None else found[0].text


class Late(SQLiteStore):
    """Its answers may come late, after what was written since."""

    is_late = False

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        found = await super().get(keys)
        if self.is_late:
            await asyncio.sleep(0.003)
        return found
