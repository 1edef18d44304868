"""The answers on a Redis server, found by SCAN."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from llmemo.errors import StoreError, text_of
from llmemo.exporting.source import BYTES_PER_PAGE, SAMPLE, Page, Source, kinds_of
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterator

    from llmemo.exporting.lines import Kinds
    from llmemo.stores.records import Record

T = TypeVar("T")

TIMEOUT = 15.0
"""Longest time a server may take for one exchange, in seconds: a person is waiting."""


class RedisSource(Source):
    """A server, or a cluster, that is only read."""

    def __init__(self, url: str) -> None:
        """Connect.

        Raises:
            ConfigurationError: The URL names no server.
            StoreError: The server cannot be reached.
        """
        self._store = RedisStore(url)
        self._store.timeout = TIMEOUT
        self._loop = asyncio.new_event_loop()
        try:
            self._run(self._store.open())
        except BaseException:
            self.close()
            raise

    def kinds(self) -> Kinds:
        """See `Source.kinds`."""
        return kinds_of((record.namespace, record.value) for record in self._sample())

    def has_namespace(self, labels: Collection[bytes]) -> bool:
        """See `Source.has_namespace`: in the sample, that is."""
        return any(record.namespace in labels for record in self._sample())

    def _sample(self) -> list[Record]:
        found: list[Record] = []
        for page in self.pages():
            found += page.records
            if len(found) >= SAMPLE:
                break
        return found

    def pages(self) -> Iterator[Page]:
        """See `Source.pages`. An answer may come twice: an import takes it once."""
        walk: Any = self._store.pages(BYTES_PER_PAGE)
        done = 0
        while True:
            try:
                keys = self._run(walk.__anext__())
            except StopAsyncIteration:
                return
            found = self._run(self._store.get(keys))
            whole = [record for record in found.values() if record.namespace]
            done += len(found)
            yield Page(whole, len(found) - len(whole), done)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run_until_complete(work)
        except (StoreUnavailableError, StoreError, OSError) as error:
            msg = f"{self._store!r} could not be read: {text_of(error)}"
            raise StoreError(msg) from error

    def close(self) -> None:
        """See `Source.close`."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(Exception):
            self._loop.run_until_complete(self._store.close())
        self._loop.close()
