"""The Redis tier: one server, or a cluster, that many machines share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from llmemo.config.validation import check_whole
from llmemo.errors import ConfigurationError
from llmemo.stores.base import Store
from llmemo.stores.pending_sweeps import PendingSweeps
from llmemo.stores.records import Record, Selection
from llmemo.stores.redis.commands import Call
from llmemo.stores.redis.keys import Keys, checked_prefix
from llmemo.stores.redis.leases import RedisLeaseStore
from llmemo.stores.redis.location import location_of
from llmemo.stores.redis.server import SCRIPTS, Server
from llmemo.stores.redis.sweep import Sweep
from llmemo.stores.redis.topology import Topology
from llmemo.stores.redis.writes import discard_all, remove_all, write_all

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from llmemo.stores.lease_store import Grant, LeaseState

READS_AT_ONCE = 4
"""Batches of reads in flight: none waits for another's large value, or for a round trip."""

SECONDS_MAX = 1e10
"""For which a server is told to keep an answer: three centuries, within what it can count."""

PART_OF_TIMEOUT = 0.7
"""Of `store_timeout`, for an exchange with a server: a connection that hangs is given up before
its callers have gone."""


class RedisStore(Store):
    """Answers on a Redis or Valkey server (6.2 or newer) that many processes and machines share.

    Needs the extra: `pip install 'llmemo[redis]'`. The server needs no modules.

    Args:
        url: `redis://[user:password@]host[:port][/database]`; `rediss://` through TLS; `valkey://`
            and `valkeys://` mean the same. Any node of a cluster stands for the cluster. With
            sentinels `redis+sentinel://host[:port][,host…]/service[/database]`. Options of TLS:
            `?ssl_ca_certs=FILE`, `ssl_certfile`, `ssl_keyfile`, `ssl_check_hostname=false`,
            `ssl_cert_reqs=none`.
        prefix: Begins every key on the server: `prefix:{00}:v:…`. Caches that are to share answers
            have the same one.
        replicas: Replicas that have to confirm each update and removal (WAIT). With 0, what a
            server has acknowledged is lost if it fails before a replica has it.

    Raises:
        ConfigurationError: The URL names no server, another argument is not one of those allowed,
            or the extra is missing. No message holds a password.
    """

    keeps_clock = False
    forgets = True
    reads_at_once = READS_AT_ONCE

    def __init__(self, url: str, *, prefix: str = "llmemo", replicas: int = 0) -> None:
        """Check the arguments; nothing is opened before first use."""
        self._location = location_of(url)
        check_whole("replicas", replicas, least=0)
        self.url = url
        """As it was given: it may hold a password."""
        self.prefix = checked_prefix(prefix)
        self.replicas = replicas
        topology = Topology(self._location, SCRIPTS, replicas, self.timeout * PART_OF_TIMEOUT)
        self._server = Server(topology, Keys(prefix), self._now)
        self._leases = RedisLeaseStore(self._server, self._write)
        self.leases = self._leases
        self._sweeps: PendingSweeps[Sweep] = PendingSweeps()

    def __repr__(self) -> str:
        """URL and prefix, without a password. Never raises."""
        try:
            return f"RedisStore({self._location.shown!r}, prefix={self.prefix!r})"
        except AttributeError:  # half-made
            return "<RedisStore>"

    def __reduce__(self) -> tuple[Any, ...]:
        """For `pickle`: see `Store.__reduce__`.

        Raises:
            ConfigurationError: The URL has a password.
        """
        if self._location.password is not None:
            msg = (
                "a RedisStore whose URL has a password is not pickled: the pickle would hold the"
                " password. Make the store in each process"
            )
            raise ConfigurationError(msg)
        return super().__reduce__()

    def _now(self) -> float:
        # The cache sets its clock after the store was made.
        return self.clock()

    async def open(self) -> None:
        """See `Store.open`: find the nodes, and the ends of the streams of changes."""
        self._server.topology.nodes.timeout = self.timeout * PART_OF_TIMEOUT
        await self._server.topology.nodes.find()
        await self._server.changes.begin()

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        """See `Store.get`."""
        server = self._server
        unique = list(dict.fromkeys(keys))
        groups = server.grouped(unique)
        calls = [Call((b"MGET", *map(server.keys.answer, some)), bucket) for bucket, some in groups]
        found: dict[bytes, Record] = {}
        for (_, some), reply in zip(groups, await server.send(calls), strict=True):
            if not isinstance(reply, list) or len(reply) != len(some):
                await server.mixed_up()
            records, misfits = server.records(dict(zip(some, reply, strict=True)))
            found.update(records)
            if misfits:
                # A reply for another call, or another key's value that was copied here: a script's
                # reply tells which, over another connection.
                await server.topology.nodes.drop()
                found.update((await self._leases.read(misfits, {}))[0])
        return found

    async def get_or_acquire(
        self, keys: Sequence[bytes], wanted: Mapping[bytes, float]
    ) -> tuple[Mapping[bytes, Record], Mapping[bytes, Grant | LeaseState]]:
        """See `Store.get_or_acquire`."""
        # First without a script, which has the server work 13 times as long on a hit.
        records, now = await self.get([*keys, *wanted]), self._now()
        live = {key for key, record in records.items() if record.is_live(now)}
        missing = {key: seconds for key, seconds in wanted.items() if key not in live}
        if not missing:
            return records, {}
        late, leases = await self._leases.read(list(missing), missing)
        # The second look counts: an answer may have come, or gone, in between.
        return {**{k: it for k, it in records.items() if k not in missing}, **late}, leases

    async def set(self, records: Sequence[Record]) -> None:
        """See `Store.set`."""
        await self._write([(record, None) for record in records])

    async def add(self, records: Sequence[Record]) -> int:
        """See `Store.add`."""
        return sum(await self._store([(record, None) for record in records], only_new=True))

    async def _write(self, records: Sequence[tuple[Record, int | None]]) -> Collection[int]:
        """Store records, unless their leases have other holders: the fences of these."""
        stored = await self._store(records, only_new=False)
        refused = {
            fence
            for (_, fence), is_stored in zip(records, stored, strict=True)
            if fence is not None and not is_stored
        }
        for _, fence in records:
            if fence is not None:
                self._leases.grants.pop(fence, None)
        return refused

    async def _store(
        self, records: Sequence[tuple[Record, int | None]], *, only_new: bool
    ) -> list[bool]:
        """Store records, each whole. Returns of each whether it is there now.

        Raises:
            StoreRefusedError: The server does not take some of them: it names these.
            StoreUnavailableError: The server is; some may have been stored.
        """
        now = self.clock()
        return await write_all(
            self._server,
            records,
            lambda record: self._lifetime(record, now),
            self._leases.grants,
            added_at=now if only_new else None,
        )

    def _lifetime(self, record: Record, now: float) -> int:
        """Milliseconds until the server drops it; 0 for never."""
        if record.expires is None:
            return 0
        # By the server's clock from now on: whatever the two clocks say, it lasts as long.
        seconds = min(record.expires + self.grace - now, SECONDS_MAX)
        return max(1, math.ceil(1_000 * seconds))

    async def delete(self, keys: Sequence[bytes] | None) -> int:
        """See `Store.delete`."""
        if keys is not None:
            return await remove_all(self._server, keys)
        sweep = Sweep(self._server, Selection(None, None, None))
        while not sweep.is_over:
            await sweep.go_on()
        return sweep.removed

    async def invalidate(self, selection: Selection) -> int | None:
        """See `Store.invalidate`."""
        with self._sweeps.step(selection, lambda: Sweep(self._server, selection)) as sweep:
            await sweep.go_on()
        return sweep.removed if sweep.is_over else None

    async def discard(self, records: Sequence[Record]) -> None:
        """See `Store.discard`."""
        await discard_all(self._server, records)

    async def changes(self) -> Collection[bytes | Selection] | None:
        """See `Store.changes`."""
        return await self._server.changes.others()

    async def upkeep(self) -> None:
        """See `Store.upkeep`."""
        self._server.topology.nodes.look_again()

    def left_open(self) -> None:
        """See `Store.left_open`."""
        self._sweeps.clear()
        self._server.topology.nodes.leak()

    async def close(self) -> None:
        """See `Store.close`."""
        self._sweeps.clear()
        await self._server.topology.nodes.close()
