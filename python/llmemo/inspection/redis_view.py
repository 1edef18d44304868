"""Entries on a Redis or Valkey server, or a cluster: found by SCAN, some at a time."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from llmemo.errors import StoreError
from llmemo.inspection.entries import Entry, Stored
from llmemo.inspection.paging import by_size
from llmemo.stores.base import StoreRefusedError, StoreUnavailableError
from llmemo.stores.redis import RedisStore, trouble
from llmemo.stores.redis.commands import Call
from llmemo.stores.redis.frames import DAMAGED, SUM_AT, VALUE_AT, unpacked
from llmemo.stores.redis.keys import Keys, checked_prefix
from llmemo.stores.redis.location import location_of
from llmemo.stores.redis.server import SCRIPTS, Server
from llmemo.stores.redis.sweep import NAMES_PER_STEP
from llmemo.stores.redis.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence

    from llmemo.stores.base import Store
    from llmemo.stores.redis.nodes import Address

T = TypeVar("T")

TIMEOUT = 5.0
"""Seconds for an exchange with a server: no model call waits for it."""

KEY_DIGITS = 64


class RedisView:
    """See `View`. On an event loop of its own, which runs while a method does."""

    def __init__(self, url: str, prefix: str) -> None:
        """Find the server.

        Raises:
            ConfigurationError: The URL, or the prefix, cannot be. No message holds a password.
            StoreError: It cannot be reached.
        """
        location = location_of(url)
        self.shown = location.shown
        self._url, self._prefix = url, checked_prefix(prefix)
        topology = Topology(location, SCRIPTS, 0, TIMEOUT)
        self._server = Server(topology, Keys(prefix), time.time)
        self._loop = asyncio.new_event_loop()
        try:
            self.run(topology.nodes.find())
        except BaseException:
            self.close()
            raise

    def entries(self) -> Iterator[Sequence[Entry]]:
        """See `View.entries`. One that moves to another node meanwhile may be met twice."""
        for address in self.nodes():
            cursor = b"0"
            while True:
                cursor, keys = self.run(self._scan(address, cursor, self._server.keys.pattern))
                if keys:
                    yield self.run(self._heads(keys))
                if cursor == b"0":
                    break

    def count(self) -> int:
        """See `View.count`: all keys of the database, whoever's they are; 0 if it may not say."""
        try:
            return sum(int(self.ask(address, b"DBSIZE")) for address in self.nodes())
        except StoreRefusedError:
            return 0

    def stored(self, keys: Sequence[bytes]) -> Iterator[Stored]:
        """See `View.stored`."""
        for at in range(0, len(keys), NAMES_PER_STEP):
            heads = self.run(self._heads(keys[at : at + NAMES_PER_STEP]))
            for page in self.pages(heads):
                yield from page

    def pages(self, entries: Sequence[Entry]) -> Iterator[list[Stored]]:
        """All that there is of these entries, a page at a time."""
        for some in by_size(entries):
            frames = self.run(self._frames([one.key for one in some]))
            yield [
                _stored_of(one, frame)
                for one, frame in zip(some, frames, strict=True)
                if isinstance(frame, bytes) or one.is_foreign
            ]

    def matching(self, prefix: str, limit: int) -> list[bytes]:
        """See `View.matching`: a whole key is asked for, a part of one is looked for."""
        if len(prefix) == KEY_DIGITS:
            key = bytes.fromhex(prefix)
            return [one.entry.key for one in self.stored([key])]
        found: dict[bytes, None] = {}
        pattern = self._server.keys.pattern[:-1] + prefix.encode() + b"*"
        for address in self.nodes():
            cursor = b"0"
            while True:
                cursor, keys = self.run(self._scan(address, cursor, pattern))
                found.update(dict.fromkeys(keys))
                if cursor == b"0" or len(found) >= limit:
                    break
        return list(found)[:limit]

    def facts(self) -> dict[str, Any]:
        """See `View.facts`."""
        info = {address: self.info(address) for address in self.nodes()}
        first = next(iter(info.values()))
        return {
            "kind": "redis",
            "version": first.get("valkey_version") or first.get("redis_version", "?"),
            "nodes": len(info),
            "prefix": self._prefix,
            "memory_bytes": sum(int(each.get("used_memory", 0)) for each in info.values()),
        }

    def writable(self) -> Store:
        """See `View.writable`."""
        return RedisStore(self._url, prefix=self._prefix)

    def nodes(self) -> list[Address]:
        """The nodes that have entries."""
        return list(dict.fromkeys(self.run(self._server.topology.layout())))

    def name_of(self, key: bytes) -> bytes:
        """Where the entry of a key is."""
        return self._server.keys.answer(key)

    def info(self, address: Address) -> dict[str, str]:
        """What INFO says of a node; nothing where that is not allowed."""
        try:
            text = self.ask(address, b"INFO").decode("utf-8", "replace")
        except StoreRefusedError:
            return {}
        lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
        return {name: value for name, colon, value in lines if colon}

    def ask(self, address: Address, *command: bytes | str | int) -> Any:
        """The reply of one node to one command.

        Raises:
            StoreError: It cannot be reached, or answers with an error.
        """
        return self.run(self._server.topology.send_to(address, command))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The outcome of a coroutine."""
        with translated():
            return self._loop.run_until_complete(work)

    async def _scan(
        self, address: Address, cursor: bytes, pattern: bytes
    ) -> tuple[bytes, list[bytes]]:
        """The next cursor, and the keys of the entries that one step has found."""
        server = self._server
        find = (b"SCAN", cursor, b"MATCH", pattern, b"COUNT", NAMES_PER_STEP)
        reply = await server.topology.send_to(address, find)
        if not isinstance(reply, list) or len(reply) != 2:
            await server.mixed_up()
        after, names = reply
        keys = [
            bytes.fromhex(name[-KEY_DIGITS:].decode())
            for name in names
            if server.keys.bucket_of(name) is not None
        ]
        return bytes(after), keys

    async def _heads(self, keys: Sequence[bytes]) -> list[Entry]:
        """The entries of keys: only the head of each is asked for, and its length.

        A user of the least permissions (docs/redis.md) is not told lengths: they are 0 then.
        """
        calls = []
        for key in keys:
            name, bucket = self._server.keys.answer(key), self._server.keys.bucket(key)
            calls.append(Call((b"GETRANGE", name, 0, VALUE_AT - 1), bucket))
            calls.append(Call((b"STRLEN", name), bucket))
        replies = await self._server.topology.send(calls)
        found = []
        for key, head, size in zip(keys, replies[::2], replies[1::2], strict=True):
            if isinstance(head, Exception):
                if "WRONGTYPE" not in str(head):
                    raise trouble.translated(head)
                found.append(Entry(key, b"", b"", 0.0, None, 0, is_foreign=True))
                continue
            if head:
                found.append(_entry_of(key, head, size if isinstance(size, int) else VALUE_AT))
        return found

    async def _frames(self, keys: Sequence[bytes]) -> list[Any]:
        keys_of = self._server.keys
        calls = [Call((b"MGET", keys_of.answer(key)), keys_of.bucket(key)) for key in keys]
        return [frame for (frame,) in await self._server.send(calls)]

    def close(self) -> None:
        """See `View.close`."""
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._server.topology.nodes.close())
            self._loop.close()


@contextmanager
def translated() -> Iterator[None]:
    """Translate errors of a server into those that a command reports."""
    try:
        yield
    except StoreUnavailableError as error:
        raise StoreError(str(error)) from error


def _entry_of(key: bytes, head: bytes, size: int) -> Entry:
    record = unpacked(key, head)
    if record is None or record.value.startswith(DAMAGED) or len(head) < VALUE_AT:
        return Entry(key, b"", b"", 0.0, None, max(0, size - VALUE_AT))
    created = record.created if math.isfinite(record.created) else 0.0
    expires = record.expires
    if expires is not None and not math.isfinite(expires):
        expires = None
    return Entry(key, record.namespace, record.llm, created, expires, size - VALUE_AT)


def _stored_of(entry: Entry, frame: bytes | None) -> Stored:
    if frame is None:
        return Stored(entry, b"", is_damaged=True)
    key = entry.key
    record = unpacked(key, frame)
    if record is None or record.value.startswith(DAMAGED):
        value = frame[VALUE_AT:]
        return Stored(_entry_of(key, frame[:SUM_AT], len(frame)), value, is_damaged=True)
    is_damaged = not math.isfinite(record.created)
    entry = _entry_of(key, frame[:VALUE_AT], len(frame))
    return Stored(entry, record.value, is_damaged=is_damaged)
