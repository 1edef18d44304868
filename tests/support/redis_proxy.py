"""A proxy between a client and a Redis server: for faults, for counting, for a round trip.

It knows where commands and replies end, so that it can answer in the server's place, cut in the
middle of one, or give a reply to somebody else.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from support.proxy_actions import (
    Action,
    Answer,
    Command,
    CutReply,
    CutRequest,
    Delay,
    Hold,
    Swap,
)
from support.resp_frames import PUSH, Frames, words_of
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from typing_extensions import Self

T = TypeVar("T")

SWAP_SECONDS = 0.05
"""Seconds that a reply waits for another one to be swapped with."""


@dataclass(eq=False)
class _Slot:
    """The place of a reply, in the order of the commands."""

    action: Action | None
    reply: bytes | None = None
    is_ready: bool = False


class _Connection:
    """One client, and the connection to the server for it."""

    def __init__(self, proxy: Proxy, number: int, client: asyncio.StreamWriter) -> None:
        self.proxy, self.number, self.client = proxy, number, client
        self.server: asyncio.StreamWriter | None = None
        self.slots: deque[_Slot] = deque()
        self.asked: deque[_Slot] = deque()
        """Those that the server is to answer."""
        self.is_held = self.is_closed = False

    def take(self, command: bytes) -> None:
        """A command of the client's: forward it, or do what is to be done instead."""
        if self.is_closed:
            return
        words = words_of(command)
        name = words[0].decode().upper() if words else ""
        self.proxy.commands[name] += 1
        action = self.proxy.fault(Command(name, words, self.number))
        if self.is_held or isinstance(action, Hold):
            self.is_held = True
            return
        assert self.server is not None
        if isinstance(action, CutRequest):
            self.server.write(command[: int(len(command) * action.part)])
            self.close()
            return
        slot = _Slot(action)
        self.slots.append(slot)
        if isinstance(action, Answer):
            slot.reply = action.text.encode() + b"\r\n"
            self.ready(slot)
        else:
            self.asked.append(slot)
            self.server.write(command)

    def answered(self, reply: bytes) -> None:
        """A reply of the server's: it is the next slot's."""
        if self.is_closed:
            return
        if reply[0] == PUSH:
            self.client.write(reply)
            return
        slot = self.asked.popleft()
        slot.reply = reply
        if isinstance(slot.action, Swap):
            self.proxy.swap(self, slot)
        elif isinstance(slot.action, Delay):
            asyncio.get_running_loop().call_later(slot.action.seconds, self.ready, slot)
        else:
            self.ready(slot)

    def ready(self, slot: _Slot) -> None:
        """Give the client what it may have now."""
        slot.is_ready = True
        while not self.is_closed and self.slots and self.slots[0].is_ready:
            first = self.slots.popleft()
            assert first.reply is not None
            if isinstance(first.action, CutReply):
                self.client.write(first.reply[: int(len(first.reply) * first.action.part)])
                self.close()
                return
            self.client.write(first.reply)

    def close(self) -> None:
        """Close both connections."""
        self.is_closed = True
        for writer in (self.client, self.server):
            if writer is not None:
                writer.close()


class Proxy:
    """Listens on a port of its own, in a thread of its own; a context manager.

    `fault` is called with each `Command`, in the proxy's thread: None forwards it. `round_trip`:
    seconds that each exchange takes longer. `is_raw`: nothing is looked at, only bytes and
    connections are counted; for TLS, and for benches.
    """

    def __init__(self, target: int, *, round_trip: float = 0.0, is_raw: bool = False) -> None:
        self.target, self.round_trip, self.is_raw = target, round_trip, is_raw
        self.port = free_port()
        self.fault: Callable[[Command], Action | None] = lambda command: None
        self.commands: Counter[str] = Counter()
        self.accepted, self.bytes_up, self.bytes_down, self.most_open = 0, 0, 0, 0
        self._open: dict[_Connection, asyncio.Task[None]] = {}
        self._swapped: tuple[_Connection, _Slot] | None = None
        self._is_holding = False
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._open)

    def url(self, database: int = 0, password: str = "") -> str:
        """A URL that leads through it."""
        return f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/{database}"

    # What tests call, in their thread.

    def _run(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def cut(self) -> None:
        """Close all connections."""
        self._run(self._cut())

    def hold(self) -> None:
        """Be half-open from now on: connections are accepted, and nothing is ever answered."""
        self._is_holding = True

    def release(self) -> None:
        """After `hold`: serve. The connections that were held are closed."""
        self._is_holding = False
        self.cut()

    def refuse(self) -> None:
        """Close all connections, and accept none."""
        self._run(self._refuse())

    def accept(self) -> None:
        """After `refuse`: listen again, on the same port."""
        self._run(self._listen())

    def heal(self) -> None:
        """No more faults; connections that are held are closed."""
        self.fault = lambda command: None
        self._run(self._cut(only_held=True))

    def reset_counts(self) -> None:
        """Count from nothing."""
        self.commands.clear()
        self.accepted = self.bytes_up = self.bytes_down = 0
        self.most_open = self.connections

    # What runs in the proxy's thread.

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, reuse_address=True
        )

    async def _refuse(self) -> None:
        await self._cut()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._cut()

    async def _cut(self, *, only_held: bool = False) -> None:
        # What a client calls connected may take a few turns to be served.
        for _ in range(10):
            await asyncio.sleep(0)
        tasks = [task for one, task in self._open.items() if one.is_held or not only_held]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(self, self.accepted, client)
        task = asyncio.current_task()
        assert task is not None
        self._open[connection] = task
        self.most_open = max(self.most_open, len(self._open))
        with suppress(OSError, asyncio.CancelledError):
            if self._is_holding:
                connection.is_held = True
                await self._swallow(reader)
            else:
                await self._relay(connection, reader)
        connection.close()
        del self._open[connection]

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(65_536):
            pass

    async def _relay(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        answers, connection.server = await asyncio.open_connection("127.0.0.1", self.target)
        back = asyncio.ensure_future(self._replies(connection, answers))
        try:
            frames = Frames()
            while data := await reader.read(262_144):
                self.bytes_up += len(data)
                if self._is_holding or connection.is_held:
                    connection.is_held = True
                elif self.is_raw:
                    self._later(connection.server.write, data)
                else:
                    for command in frames.feed(data):
                        connection.take(command)
        finally:
            back.cancel()
            with suppress(OSError, asyncio.CancelledError):
                await back

    async def _replies(self, connection: _Connection, answers: asyncio.StreamReader) -> None:
        frames = Frames()
        while data := await answers.read(262_144):
            self.bytes_down += len(data)
            if self._is_holding or connection.is_held:
                continue
            if self.is_raw:
                self._later(connection.client.write, data)
                continue
            for reply in frames.feed(data):
                self._later(connection.answered, reply, is_whole=True)
        connection.close()

    def _later(self, give: Callable[[bytes], None], data: bytes, *, is_whole: bool = False) -> None:
        """Half a round trip later; or all of it, for a reply."""
        if self.round_trip:
            self._loop.call_later(self.round_trip / (1 if is_whole else 2), give, data)
        else:
            give(data)

    def swap(self, connection: _Connection, slot: _Slot) -> None:
        """Exchange a reply with the one that waits for that; or wait for the next."""
        if self._swapped is None:
            self._swapped = (connection, slot)
            self._loop.call_later(SWAP_SECONDS, self._give_up_swap, slot)
            return
        (other, first), self._swapped = self._swapped, None
        slot.reply, first.reply = first.reply, slot.reply
        other.ready(first)
        connection.ready(slot)

    def _give_up_swap(self, slot: _Slot) -> None:
        if self._swapped is not None and self._swapped[1] is slot:
            (connection, _), self._swapped = self._swapped, None
            connection.ready(slot)

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
