"""What the parts of a store share: the server, the names of keys, and scripts that were checked."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Any, NoReturn

from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.redis import scripts
from llmemo.stores.redis.changes import ChangeStreams
from llmemo.stores.redis.commands import tag_of
from llmemo.stores.redis.frames import damaged, unpacked
from llmemo.stores.redis.trouble import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from llmemo.stores.records import Record
    from llmemo.stores.redis.commands import Call, Reply
    from llmemo.stores.redis.keys import Keys
    from llmemo.stores.redis.topology import Topology

SCRIPTS = [one for one in vars(scripts).values() if isinstance(one, scripts.Script)]

MIXED_UP = "a reply belongs to another call: the connections are given up"

KEYS_AT_ONCE = 1_000
"""Keys of one call of a script, at most: while it runs, the server does nothing else."""


class Server:
    """The server of a store, or its cluster."""

    def __init__(self, topology: Topology, keys: Keys, clock: Callable[[], float]) -> None:
        """Open nothing yet. `clock`: of the client, Unix time in seconds."""
        self.keys = keys
        self.clock = clock
        self.topology = topology
        self.changes = ChangeStreams(topology, keys)
        self._tags = itertools.count(secrets.randbits(31))

    def tag(self) -> int:
        """A number that no other call has at the same time."""
        return next(self._tags) % 2**31

    def grouped(self, keys: Iterable[bytes]) -> list[tuple[int | None, list[bytes]]]:
        """Keys as they may share a call: all, or in a cluster those of a bucket."""
        groups: dict[int | None, list[bytes]] = {}
        if self.topology.is_cluster:
            for key in keys:
                groups.setdefault(self.keys.bucket(key), []).append(key)
        else:
            groups[None] = list(keys)
        return [
            (bucket, group[at : at + KEYS_AT_ONCE])
            for bucket, group in groups.items()
            for at in range(0, len(group), KEYS_AT_ONCE)
        ]

    def records(self, stored: Mapping[bytes, object]) -> tuple[dict[bytes, Record], list[bytes]]:
        """The records of keys, from what the server has for them; and the keys of misfits.

        A misfit is the record of another key.
        """
        found: dict[bytes, Record] = {}
        misfits = []
        for key, value in stored.items():
            if value is None:
                continue
            record = unpacked(key, value) if isinstance(value, bytes) else None
            if record is None or not isinstance(value, bytes):
                misfits.append(key)
            else:
                found[key] = record
                self.changes.met(key, value)
        return found, misfits

    def checked_records(self, stored: Mapping[bytes, object]) -> dict[bytes, Record]:
        """As `records`, of a script that was checked: a misfit is stored like that, and damaged."""
        found, misfits = self.records(stored)
        return {**found, **{key: damaged(key, stored[key]) for key in misfits}}

    async def send(self, calls: Sequence[Call]) -> list[Reply]:
        """Send commands. Raises for the first error among the replies."""
        replies = await self.topology.send(calls)
        for reply in replies:
            if isinstance(reply, Exception):
                raise translated(reply)
        return replies

    async def scripts(self, calls: Sequence[Call]) -> list[Any]:
        """Run scripts. Raises for the first error among the replies."""
        replies = await self.send(calls)
        await self.check_tags(calls, replies)
        return replies

    async def check_tags(self, calls: Sequence[Call], replies: Sequence[Reply]) -> None:
        """See that each reply is that of its call.

        Raises:
            StoreUnavailableError: One is not.
        """
        for call, reply in zip(calls, replies, strict=True):
            if isinstance(reply, Exception):
                continue
            if not isinstance(reply, list) or not reply or reply[0] != tag_of(call):
                await self.mixed_up()

    async def mixed_up(self) -> NoReturn:
        """Give all connections up: one has brought the reply to another call.

        Raises:
            StoreUnavailableError: In any case.
        """
        await self.topology.nodes.drop()
        raise StoreUnavailableError(MIXED_UP)
