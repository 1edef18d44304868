"""Removals of many answers: found by SCAN, of our prefix alone, and removed a step at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.redis.commands import script_call
from llmemo.stores.redis.scripts import SWEEP, TELL
from llmemo.stores.selection_bytes import packed

if TYPE_CHECKING:
    from llmemo.stores.records import Selection
    from llmemo.stores.redis.commands import Call
    from llmemo.stores.redis.nodes import Address
    from llmemo.stores.redis.server import Server

NAMES_PER_STEP = 500
"""Names that one SCAN reads. That takes one or two milliseconds, and blocks the server."""

BUDGET = 0.05
"""Seconds after which the rest is left for the next time."""

TOLD_IN = 0
"""The bucket whose stream tells of removals that name no keys: all streams are read anyway."""


class Sweep:
    """A walk over the answers of all nodes, which can be interrupted."""

    def __init__(self, server: Server, selection: Selection) -> None:
        """Begin with nothing removed."""
        self.removed = 0
        self.is_over = False
        self.selection = selection
        """Kept, so that no other selection has its identity meanwhile."""
        self._server = server
        self._change = packed(selection)
        namespace, llm, before = selection
        self._args = (namespace or b"", llm or b"", "" if before is None else repr(before))
        self._layout: list[Address] = []
        self._left: list[tuple[Address, bytes]] | None = None
        """Nodes that have still to be gone through, and how far each was."""

    async def go_on(self) -> None:
        """Remove some.

        Raises:
            StoreUnavailableError: The server is; the next call begins anew.
            StoreRefusedError: The server takes no removals.
        """
        try:
            await self._walk(time.monotonic() + BUDGET)
        except StoreUnavailableError:
            # From the beginning: other nodes may have the keys by then.
            self._left = None
            raise

    async def _walk(self, end: float) -> None:
        if self._left is None:
            # At first, so that others soon stop serving them; and at last, since they may have
            # read some in between. Even if there are none here: their memory may have some.
            await self._tell()
            self._begin(await self._server.topology.layout())
        while self._left and time.monotonic() < end:
            address, cursor = self._left[-1]
            cursor = await self._step(address, cursor)
            self._left[-1] = (address, cursor)
            if cursor == b"0":
                self._left.pop()
        if self._left:
            return
        layout = await self._server.topology.layout()
        if layout != self._layout:
            # Slots have moved meanwhile, maybe to a node that was gone through before.
            self._begin(layout)
            return
        await self._tell()
        self.is_over = True

    def _begin(self, layout: list[Address]) -> None:
        """Go through all nodes. `layout`: the node of each bucket."""
        self._layout = layout
        self._left = [(address, b"0") for address in dict.fromkeys(layout)]

    async def _step(self, address: Address, cursor: bytes) -> bytes:
        server = self._server
        find = (b"SCAN", cursor, b"MATCH", server.keys.pattern, b"COUNT", NAMES_PER_STEP)
        reply = await server.topology.send_to(address, find)
        if not isinstance(reply, list) or len(reply) != 2:
            await server.mixed_up()
        after, names = reply
        groups: dict[int | None, list[bytes]] = {}
        for name in names:
            bucket = server.keys.bucket_of(name)
            if bucket is not None:
                groups.setdefault(bucket if server.topology.is_cluster else None, []).append(name)
        calls: list[Call] = [
            script_call(SWEEP, group, [server.tag(), *self._args], bucket, is_write=True)
            for bucket, group in groups.items()
        ]
        self.removed += sum(reply[1] for reply in await server.scripts(calls))
        return bytes(after)

    async def _tell(self) -> None:
        server = self._server
        args = [server.tag(), self._change, server.changes.writer]
        stream = server.keys.changes(TOLD_IN)
        await server.scripts([script_call(TELL, [stream], args, TOLD_IN, is_write=True)])
