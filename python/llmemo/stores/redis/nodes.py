"""The nodes that have keys: one server, the master that sentinels name, or those of a cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import Connection, SSLConnection
from redis.crc import key_slot

from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.redis.link import Node
from llmemo.stores.redis.trouble import code_of, translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmemo.stores.redis.commands import Command
    from llmemo.stores.redis.location import Location

    Address = tuple[str, int]

BUCKETS = 64
"""Hash tags that keys are spread over: at most this many masters can share them. A batch of 256
keys took 1.5 times as long as one server's MGET on three nodes; without tags 3.2 times."""

SLOTS = [key_slot(b"%02d" % bucket) for bucket in range(BUCKETS)]
"""The cluster's slot of each bucket."""


class Nodes:
    """The nodes, found at first use. On one event loop."""

    def __init__(self, location: Location, timeout: float) -> None:
        """Find nothing yet. `timeout`: seconds for a connection, and for a question."""
        self._location = location
        self.timeout = timeout
        self.known = list(location.hosts)
        """Who may be asked for the nodes; the one that failed last comes last."""
        self.masters: list[Address] = []
        """Of each bucket; one for all, if there is no cluster; empty if it has to be found out."""
        self.is_cluster = False
        self._nodes: dict[Address, Node] = {}
        self._finding: asyncio.Task[None] | None = None

    @property
    def has_sentinels(self) -> bool:
        """Whether sentinels know the master."""
        return self._location.service is not None

    def master(self, bucket: int | None) -> Address:
        """Who has the keys of a bucket; None for any."""
        return self.masters[(bucket or 0) % len(self.masters)]

    def moved(self, bucket: int | None, address: Address) -> None:
        """Note where the keys of a bucket are now."""
        if bucket is not None and len(self.masters) == BUCKETS:
            self.masters[bucket] = address

    def node(self, address: Address) -> Node:
        """The node at an address."""
        node = self._nodes.get(address)
        if node is None:
            is_sentinel = self.has_sentinels and address in self._location.hosts
            node = Node(lambda: self._connection(address, is_sentinel=is_sentinel))
            self._nodes[address] = node
        return node

    def _connection(self, address: Address, *, is_sentinel: bool) -> Connection:
        location = self._location
        options: dict[str, Any] = {"host": address[0], "port": address[1], "protocol": 2}
        if not is_sentinel:
            options.update(username=location.username, password=location.password)
            options["db"] = location.database
        # The time of a whole exchange is what is limited.
        options.update(socket_timeout=None, socket_connect_timeout=self.timeout)
        options["socket_keepalive"] = True
        if location.tls is None:
            return Connection(**options)
        options.update(location.tls)
        return SSLConnection(**options)

    async def find(self) -> None:
        """Find the nodes, unless they are known.

        Raises:
            StoreUnavailableError: No server can be reached.
            StoreRefusedError: The server refuses user name or password.
        """
        if self.masters:
            return
        if self._finding is None or self._finding.done():
            self._finding = asyncio.ensure_future(self._look())
        # For all that ask: who gives up does not take the others with it.
        await asyncio.shield(self._finding)

    def look_again(self) -> None:
        """Begin to ask the sentinels again, beside all else; without sentinels, do nothing.

        A master that was replaced by hand goes on for seconds as if it had not been.
        """
        if self.has_sentinels and (self._finding is None or self._finding.done()):
            self._finding = asyncio.ensure_future(self._look())
            # While the master answers, sentinels that do not are no trouble.
            self._finding.add_done_callback(lambda it: it.cancelled() or it.exception())

    async def _look(self) -> None:
        trouble: Exception = StoreUnavailableError("no server is known")
        for address in list(self.known):
            try:
                self.masters = await self._ask(address)
            except StoreUnavailableError as error:
                # It is asked last the next time.
                self.known.remove(address)
                self.known.append(address)
                trouble = error
            else:
                await self._leave_others()
                return
        raise trouble

    async def _leave_others(self) -> None:
        """Close the connections to nodes that have no keys any more."""
        for address in list(self._nodes):
            if address not in self.masters and address not in self.known:
                await self._nodes.pop(address).close()

    async def _ask(self, address: Address) -> list[Address]:
        """The master of each bucket, or the one of all, as a server tells."""
        asked: Command = (b"CLUSTER", b"SLOTS")
        service = self._location.service
        if service is not None:
            asked = (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service)
        [reply] = await self.node(address).exchange([asked], self.timeout)
        if service is not None:
            if not isinstance(reply, list):
                msg = f"the sentinels know no master {service!r}"
                raise StoreUnavailableError(msg)
            host, port = reply
            return [(host.decode(), int(port))]
        if not isinstance(reply, list):
            _check_single(reply)
            return [address]
        self.is_cluster = True
        masters = _masters_of(reply, address[0])
        self.known += [one for one in dict.fromkeys(masters) if one not in self.known]
        return masters

    def forget(self, address: Address) -> None:
        """Look for the nodes again at the next call, where they may have changed."""
        if self.is_cluster or self.has_sentinels:
            self.masters = []
            if address in self.known:
                self.known.remove(address)
                self.known.append(address)

    async def drop(self) -> None:
        """Close all connections, also those in use: the next exchange opens another."""
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.close()

    async def close(self) -> None:
        """Close all connections, and forget the nodes."""
        if self._finding is not None and not self._finding.done():
            self._finding.cancel()
        self.masters, self._finding = [], None
        await self.drop()

    def leak(self) -> None:
        """Forget all connections without a word to a server: they are another process's."""
        for node in self._nodes.values():
            node.leak()
        self._nodes, self.masters, self._finding = {}, [], None


def _check_single(reply: object) -> None:
    """See that a node that names no slots is in no cluster, or may not say so.

    Raises:
        Exception: It has another trouble.
    """
    text = str(reply)
    is_single = "cluster support disabled" in text or "unknown command" in text
    if isinstance(reply, Exception) and not is_single and code_of(reply) != "NOPERM":
        raise translated(reply)


def _masters_of(slots: Sequence[Any], asked: str) -> list[Address]:
    """The master of each bucket, as CLUSTER SLOTS has them.

    Raises:
        StoreUnavailableError: A bucket has none.
    """
    ranges = [
        # As above.
        (first, last, (host.decode() if host else asked, port))
        for first, last, (host, port, *_), *_ in slots
    ]
    masters: list[Address] = []
    for slot in SLOTS:
        found = [address for first, last, address in ranges if first <= slot <= last]
        if not found:
            msg = "the cluster has slots that no node serves"
            raise StoreUnavailableError(msg)
        masters.append(found[0])
    return masters
