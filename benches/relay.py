"""A relay to a server that is a round trip away: `python -m benches.relay PORT TARGET SECONDS`.

What a client sends arrives so many seconds later; what the server answers is passed on at once. It
is a process of its own, since a delay must not take the CPU time of those that are measured. (`tc
netem` would need a module of the kernel, and root.) Prints the port that it listens on, and at its
end, which is that of its standard input, the CPU time that it took.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"


class Delay:
    """What is under way, in the order in which it arrives: one timer for all connections."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[tuple[float, asyncio.WriteTransport, bytes]] = deque()

    def send(self, to: asyncio.WriteTransport, data: bytes) -> None:
        """Have it arrive in a while."""
        arrives = self._loop.time() + self._seconds
        self._under_way.append((arrives, to, data))
        if len(self._under_way) == 1:
            self._loop.call_at(arrives, self._deliver)

    def _deliver(self) -> None:
        now, waiting = self._loop.time(), self._under_way
        while waiting and waiting[0][0] <= now:
            _, to, data = waiting.popleft()
            to.write(data)
        if waiting:
            self._loop.call_at(waiting[0][0], self._deliver)


class End(asyncio.Protocol):
    """One end of a connection through the relay."""

    def __init__(self) -> None:
        self.other: End | None = None
        self.transport: Any = None
        self.delay: Delay | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        elif self.delay is not None:
            self.delay.send(self.other.transport, data)
        else:
            self.other.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()

    def join(self, other: End, delay: Delay) -> None:
        """Pass on to the server what comes from now on, and what has come."""
        self.other, other.other, self.delay = other, self, delay
        for data in self._early:
            self.data_received(data)


async def serve(port: int, seconds: float) -> None:
    """Relay to a port until standard input ends."""
    loop = asyncio.get_running_loop()
    delay, joining = Delay(seconds), set()

    def connected() -> End:
        client = End()

        async def reach() -> None:
            _, server = await loop.create_connection(End, HOST, port)
            client.join(server, delay)

        task = asyncio.ensure_future(reach())
        joining.add(task)
        task.add_done_callback(joining.discard)
        return client

    server = await loop.create_server(connected, HOST, 0, backlog=1_000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(time.process_time(), flush=True)


class Relay:
    """A relay in a process of its own; a context manager."""

    def __init__(self, port: int, seconds: float) -> None:
        """Start one to a port of this machine. `seconds`: a round trip takes so much longer."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benches.relay", str(port), str(seconds)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> float:
        """End it. Returns the CPU time that it took, in seconds."""
        taken, _ = self._process.communicate()
        return float(taken)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
