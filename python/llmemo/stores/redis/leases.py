"""Leases on the server, by its own time.

This is for efficiency, not for correctness: a lease that is lost (a restart, an eviction, a
failover) costs a second call of the model, and what is stored is bound to the key of its request in
any case. So one server's word is enough, and no quorum of several (Redlock) is asked.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from llmemo.concurrency.bounded_dict import note
from llmemo.stores.lease_store import Grant, LeaseState, LeaseStore
from llmemo.stores.redis.commands import script_call
from llmemo.stores.redis.scripts import PEEK, READ, RELEASE, RENEW

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence

    from llmemo.stores.records import Record
    from llmemo.stores.redis.scripts import Script
    from llmemo.stores.redis.server import Server

FENCE_BITS = 52
"""Of a random fence: scripts count in doubles, and add the place in a batch to it."""

GRANTS_MAX = 10_000
"""Grants that are remembered. One that is forgotten stores nothing once its lease is lost."""


class RedisLeaseStore(LeaseStore):
    """See `LeaseStore`."""

    def __init__(
        self,
        server: Server,
        write: Callable[[Sequence[tuple[Record, int | None]]], Awaitable[Collection[int]]],
    ) -> None:
        """`write` stores records with the fences of their leases."""
        self._server = server
        self._write = write
        self.grants: dict[int, None] = {}
        """The fences that were granted here, and have not been used."""

    async def read(
        self, keys: Sequence[bytes], wanted: Mapping[bytes, float]
    ) -> tuple[dict[bytes, Record], dict[bytes, Grant | LeaseState]]:
        """The answers of keys, and of those wanted that have none the leases, in one round trip."""
        stored: dict[bytes, object] = {}
        leases: dict[bytes, Grant | LeaseState] = {}
        now = self._server.clock()
        calls, groups = [], self._server.grouped(keys)
        fences = [secrets.randbits(FENCE_BITS) for _ in groups]
        for (bucket, group), fence in zip(groups, fences, strict=True):
            names = self._server.keys.pairs(group)
            seconds = [round(1_000 * wanted.get(key, 0.0)) for key in group]
            calls.append(script_call(READ, names, [fence, fence, repr(now), *seconds], bucket))
        replies = await self._server.scripts(calls)
        for (_, group), fence, reply in zip(groups, fences, replies, strict=True):
            for place, (key, stored[key], lease) in enumerate(_pairs(group, reply), start=1):
                if lease is None:
                    continue
                is_granted, left, failures = lease
                if is_granted:
                    leases[key] = Grant(fence + place, failures)
                    note(self.grants, fence + place, None, GRANTS_MAX)
                else:
                    leases[key] = LeaseState(now + left / 1_000, failures)
        return self._server.checked_records(stored), leases

    async def acquire(
        self, wanted: Mapping[bytes, float]
    ) -> Mapping[bytes, Grant | Record | LeaseState]:
        """See `LeaseStore.acquire`."""
        records, leases = await self.read(list(wanted), wanted)
        now = self._server.clock()
        live = {k: it for k, it in records.items() if it.is_live(now)}
        return {**live, **leases}

    async def renew(self, leases: Mapping[bytes, tuple[int, float]]) -> Collection[bytes]:
        """See `LeaseStore.renew`."""
        return await self._each(
            RENEW, {key: [fence, round(1_000 * it)] for key, (fence, it) in leases.items()}
        )

    async def release(self, leases: Mapping[bytes, tuple[int, int]]) -> None:
        """See `LeaseStore.release`."""
        for fence, _ in leases.values():
            self.grants.pop(fence, None)
        await self._each(RELEASE, {key: list(args) for key, args in leases.items()})

    async def _each(self, script: Script, args: Mapping[bytes, list[int]]) -> set[bytes]:
        """Run a script for each lease. Returns the keys of those that are lost."""
        keys = self._server.keys
        calls = [
            script_call(script, [keys.lease(key)], [self._server.tag(), *some], keys.bucket(key))
            for key, some in args.items()
        ]
        replies = await self._server.scripts(calls)
        return {key for key, reply in zip(args, replies, strict=True) if not reply[1]}

    async def set(self, records: Sequence[tuple[Record, int | None]]) -> Collection[int]:
        """See `LeaseStore.set`."""
        return await self._write(records)

    async def peek(self, keys: Collection[bytes]) -> Mapping[bytes, Record | LeaseState]:
        """See `LeaseStore.peek`."""
        stored: dict[bytes, object] = {}
        leases: dict[bytes, LeaseState] = {}
        server, now = self._server, self._server.clock()
        groups = server.grouped(list(keys))
        replies = await server.scripts(
            [
                script_call(PEEK, server.keys.pairs(group), [server.tag(), repr(now)], bucket)
                for bucket, group in groups
            ]
        )
        for (_, group), reply in zip(groups, replies, strict=True):
            for key, stored[key], lease in _pairs(group, reply):
                if lease is not None:
                    leases[key] = LeaseState(now + lease[0] / 1_000, lease[1])
        return {**leases, **server.checked_records(stored)}


def _pairs(keys: Sequence[bytes], reply: Sequence[Any]) -> Iterator[tuple[bytes, Any, Any]]:
    """Each key with its answer and its lease, as READ and PEEK return them after their tag."""
    return zip(keys, reply[1::2], reply[2::2], strict=True)
