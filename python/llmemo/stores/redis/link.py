"""One connection to a server, and the few of them that a node has.

`redis.asyncio.Connection` opens it and frames what goes over it. Its client and its pool are not
used: a command that is cancelled there may leave its reply to the next caller (redis-py#2624,
redis-py#2665), and retries are the engine's. Here a connection serves one exchange at a time, and
one that does not end well is closed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hiredis import pack_command
from redis.exceptions import ConnectionError as BrokenConnectionError
from redis.exceptions import ResponseError

from llmemo._core import leak
from llmemo.stores.redis.time_limit import TimeLimit
from llmemo.stores.redis.trouble import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio.connection import AbstractConnection

    from llmemo.stores.redis.commands import Command, Reply

CONNECTIONS_MAX = 8
"""Connections of one store to one node, at most: four read batches, a write batch, and three that
look at changes, at leases and at listings."""

BYTES_PER_SECOND = 2 * 2**20
"""What a connection carries at least: a large batch of writes has so much longer to get through."""


class Link:
    """A connection, opened at first use."""

    def __init__(self, connection: AbstractConnection) -> None:
        """Open nothing yet."""
        self._connection = connection
        self.is_reused = False
        """Whether an exchange went well: the server may have closed it since."""

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands, all at once, and read a reply for each.

        Raises:
            BaseException: The connection failed, and is closed.
        """
        connection = self._connection
        is_whole = False
        try:
            if not connection.is_connected:
                await connection.connect()  # type: ignore[no-untyped-call]
            # Ten times as fast as `connection.pack_commands`, which is written in Python.
            packed = b"".join([pack_command(one) for one in commands])  # type: ignore[arg-type]
            await connection.send_packed_command(packed)
            replies = [await self._read() for _ in commands]
            is_whole = self.is_reused = True
        finally:
            if not is_whole:
                await self.close()
        return replies

    async def _read(self) -> Reply:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except ResponseError as error:
            return error

    async def close(self) -> None:
        """Close it, without waiting for the server."""
        # No public name leads to it; without it the connection is closed a little later.
        writer = getattr(self._connection, "_writer", None)
        await self._connection.disconnect(nowait=True)
        if writer is not None:
            # Through TLS it would wait for the server's farewell: longer than our loop runs.
            writer.transport.abort()

    def leak(self) -> None:
        """Leave it to the process that this one was forked from."""
        leak(self._connection)


class Node:
    """A server, and the connections to it."""

    def __init__(self, make: Callable[[], AbstractConnection]) -> None:
        """`make` makes a connection, without opening it."""
        self._make = make
        self._free: list[Link] = []
        self._busy: set[Link] = set()
        self._places = asyncio.Semaphore(CONNECTIONS_MAX)
        self._is_closed = False

    async def exchange(self, commands: Sequence[Command], seconds: float) -> list[Reply]:
        """Send commands over one connection, within `seconds` and the time that their bytes take.

        A connection that the server has closed meanwhile is replaced, once: what is sent twice does
        the same as once.

        Raises:
            StoreUnavailableError: There is no connection, or no answer in time.
            StoreRefusedError: The server refuses user name or password.
        """
        size = sum(len(part) for one in commands for part in one if isinstance(part, bytes))
        try:
            with TimeLimit(seconds + size / BYTES_PER_SECOND):
                async with self._places:
                    return await self._exchange(commands)
        except TimeoutError as error:
            # What is idle may hang as well: a firewall that has forgotten all of them, say.
            await self.drop()
            raise translated(error) from None
        except Exception as error:  # noqa: BLE001 (no signal handler's: this is no main thread)
            raise translated(error) from None

    async def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        while True:
            link = self._free.pop() if self._free else Link(self._make())
            was_open = link.is_reused
            self._busy.add(link)
            try:
                replies = await link.exchange(commands)
            except (BrokenConnectionError, OSError):
                # Those that wait were closed by the same restart.
                await self.drop()
                if self._is_closed or not was_open:
                    raise
            else:
                self._free.append(link)
                if self._is_closed:
                    await self.drop()
                return replies
            finally:
                self._busy.discard(link)

    async def drop(self) -> None:
        """Close the connections that are not in use."""
        while self._free:
            await self._free.pop().close()

    async def close(self) -> None:
        """Close all connections; those in use break off what they do."""
        self._is_closed = True
        await self.drop()
        for link in list(self._busy):
            await link.close()

    def leak(self) -> None:
        """Forget the connections without a word to the server: see `Link.leak`."""
        for link in (*self._free, *self._busy):
            link.leak()
        self._free, self._busy = [], set()
