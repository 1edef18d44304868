"""Which server has which keys: one server, the master that sentinels name, or a cluster."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import Connection, SSLConnection
from redis.crc import key_slot

from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.redis.commands import Call
from llmemo.stores.redis.link import Node
from llmemo.stores.redis.trouble import code_of, translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmemo.stores.redis.commands import Command, Reply
    from llmemo.stores.redis.location import Location
    from llmemo.stores.redis.scripts import Script

    Address = tuple[str, int]
    Target = tuple[Address | None, bool]
    """Where to send a command, None for its own node; and whether as one that was asked there."""

BUCKETS = 64
"""Hash tags that keys are spread over: a cluster of so many masters can share them. A batch of 256
keys took 1.5 times as long as one server's MGET on three nodes; without tags 3.2 times."""

SLOTS = [key_slot(b"%02d" % bucket) for bucket in range(BUCKETS)]
"""The cluster's slot of each bucket."""

REDIRECTS = ("ASK", "MOVED", "TRYAGAIN", "READONLY")
"""Codes of errors after which a command may be sent once more, somewhere else."""

REDIRECTS_MAX = 16
"""Times that one command is sent somewhere else, or again."""

LEAST_SECONDS = 0.01
"""For an exchange, whatever those before it took."""

TRY_AGAIN_PAUSE = 0.02
"""Seconds until a slot that is on its way is asked again."""


class Topology:
    """The nodes, found at first use. On one event loop."""

    def __init__(
        self, location: Location, scripts: Iterable[Script], replicas: int, timeout: float
    ) -> None:
        """Find nothing yet.

        Args:
            location: Of the server, of a node of the cluster, or of sentinels.
            scripts: All that are called.
            replicas: Those that have to confirm writes; 0 for none.
            timeout: Seconds for an exchange with a server.
        """
        self._location = location
        self._replicas = replicas
        self._known = list(location.hosts)
        """Who may be asked for the nodes; the one that failed last comes last."""
        self._texts = {script.sha: script.text for script in scripts}
        self._nodes: dict[Address, Node] = {}
        self._masters: list[Address] = []
        """Of each bucket; one for all, if there is no cluster; empty if it has to be found out."""
        self._finding: asyncio.Task[None] | None = None
        self.is_cluster = False
        self.timeout = timeout

    async def send(self, calls: Sequence[Call]) -> list[Reply]:
        """Send commands, each to its node, and follow where the nodes send them.

        Returns the replies, in order; an error of the server is one.

        Raises:
            StoreUnavailableError: A node cannot be reached, or does not answer in time.
            StoreRefusedError: The server refuses user name or password.
        """
        end = time.monotonic() + self.timeout
        if len(self._masters) == 1:
            # Nearly all calls of most stores: one server, and nothing to follow.
            replies = await self._send_to(self._masters[0], calls, [False] * len(calls), end)
            if not any(code_of(one) in REDIRECTS for one in replies if isinstance(one, Exception)):
                return replies
        replies = [None] * len(calls)
        left: dict[int, Target] = dict.fromkeys(range(len(calls)), (None, False))
        for _ in range(REDIRECTS_MAX):
            await self.find()
            groups: dict[Address, list[int]] = {}
            for index, (where, _) in left.items():
                groups.setdefault(where or self._master(calls[index].bucket), []).append(index)
            sent = [
                self._send_to(address, [calls[i] for i in some], [left[i][1] for i in some], end)
                for address, some in groups.items()
            ]
            # One node needs no other task.
            answers = [await sent[0]] if len(sent) == 1 else await _all(sent)
            for some, answered in zip(groups.values(), answers, strict=True):
                for index, reply in zip(some, answered, strict=True):
                    replies[index] = reply
            left = self._redirected(calls, replies, left)
            if not left or time.monotonic() > end:
                break
            if any(code_of(replies[index]) == "TRYAGAIN" for index in left):
                await asyncio.sleep(TRY_AGAIN_PAUSE)
        return replies

    async def _send_to(
        self, address: Address, calls: Sequence[Call], asking: Sequence[bool], end: float
    ) -> list[Reply]:
        """Send commands to one node, and scripts that it does not know in full."""
        try:
            replies = await self._exchange(address, calls, asking, end)
            unknown = [i for i, reply in enumerate(replies) if _is_unknown(reply)]
            if unknown:
                whole = [self._in_full(calls[i]) for i in unknown]
                some = [asking[i] for i in unknown]
                again = await self._exchange(address, whole, some, end)
                for index, reply in zip(unknown, again, strict=True):
                    replies[index] = reply
        except StoreUnavailableError:
            # It may be another one's turn since: a failover, or a cluster that has changed.
            self.forget(address)
            raise
        return replies

    def _in_full(self, call: Call) -> Call:
        _, sha, *rest = call.command
        text = self._texts[sha] if isinstance(sha, bytes) else b""
        return call._replace(command=(b"EVAL", text, *rest))

    async def _exchange(
        self, address: Address, calls: Sequence[Call], asking: Sequence[bool], end: float
    ) -> list[Reply]:
        """The replies of one node, after so many replicas as were asked for have the writes."""
        sent: list[Command] = []
        for call, is_asking in zip(calls, asking, strict=True):
            sent += [(b"ASKING",), call.command] if is_asking else [call.command]
        has_writes = self._replicas > 0 and any(call.is_write for call in calls)
        seconds = max(LEAST_SECONDS, end - time.monotonic())
        if has_writes:
            sent.append((b"WAIT", self._replicas, round(500 * seconds)))
        answers = iter(await self._node(address).exchange(sent, seconds))
        replies = []
        for is_asking in asking:
            if is_asking:
                next(answers)
            replies.append(next(answers))
        if has_writes and (count := next(answers)) != self._replicas:
            _check_replicas(count, self._replicas)
        return replies

    def _redirected(
        self,
        calls: Sequence[Call],
        replies: Sequence[Reply],
        sent: dict[int, Target],
    ) -> dict[int, Target]:
        """What is to be sent again, and where."""
        left: dict[int, Target] = {}
        for index, target in sent.items():
            reply = replies[index]
            code = code_of(reply) if isinstance(reply, Exception) else ""
            if code == "TRYAGAIN":
                left[index] = target
            elif code in ("ASK", "MOVED"):
                # A node that does not know its own name says nothing.
                address = (reply.host or self._known[0][0], reply.port)
                bucket = calls[index].bucket
                if code == "MOVED" and bucket is not None and len(self._masters) == BUCKETS:
                    self._masters[bucket] = address
                left[index] = (address, code == "ASK")
            elif code == "READONLY" and self._location.service is not None:
                # A master that a failover has made a replica: the sentinels know the new one.
                self._masters = []
        return left

    async def masters(self) -> list[Address]:
        """The nodes that have keys."""
        await self.find()
        return list(dict.fromkeys(self._masters))

    async def send_to(self, address: Address, command: Command) -> Reply:
        """Send one command to one node.

        Raises:
            Exception: As `send`, and for an error that the node answers.
        """
        end = time.monotonic() + self.timeout
        [reply] = await self._send_to(address, [Call(command)], [False], end)
        if isinstance(reply, Exception):
            raise translated(reply)
        return reply

    def _master(self, bucket: int | None) -> Address:
        return self._masters[(bucket or 0) % len(self._masters)]

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            location = self._location
            has_sentinels = location.service is not None
            is_sentinel = has_sentinels and address in location.hosts
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
        if self._masters:
            return
        if self._finding is None or self._finding.done():
            self._finding = asyncio.ensure_future(self._look())
        # For all that ask: who gives up does not take the others with it.
        await asyncio.shield(self._finding)

    async def _look(self) -> None:
        trouble: Exception = StoreUnavailableError("no server is known")
        for address in list(self._known):
            try:
                self._masters = await self._ask(address)
            except StoreUnavailableError as error:
                # It is asked last the next time.
                self._known.remove(address)
                self._known.append(address)
                trouble = error
            else:
                return
        raise trouble

    async def _ask(self, address: Address) -> list[Address]:
        """The master of each bucket, or the one of all, as a server tells."""
        asked: Command = (b"CLUSTER", b"SLOTS")
        service = self._location.service
        if service is not None:
            asked = (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service)
        [reply] = await self._node(address).exchange([asked], self.timeout)
        if service is not None:
            if not isinstance(reply, list):
                msg = f"the sentinels know no master {service!r}"
                raise StoreUnavailableError(msg)
            host, port = reply
            return [(host.decode(), int(port))]
        if not isinstance(reply, list):
            # It is in no cluster, or who asks may not know.
            return [address]
        self.is_cluster = True
        masters = _masters_of(reply, address[0])
        self._known += [one for one in dict.fromkeys(masters) if one not in self._known]
        return masters

    def forget(self, address: Address) -> None:
        """Find the nodes anew at the next call, where they may have changed."""
        if self.is_cluster or self._location.service is not None:
            self._masters = []
            if address in self._known:
                self._known.remove(address)
                self._known.append(address)

    async def close(self) -> None:
        """Close all connections."""
        if self._finding is not None and not self._finding.done():
            self._finding.cancel()
        nodes, self._nodes, self._masters = self._nodes, {}, []
        self._finding = None
        for node in nodes.values():
            await node.close()

    def leak(self) -> None:
        """Forget all connections without a word to a server: they are another process's."""
        for node in self._nodes.values():
            node.leak()
        self._nodes, self._masters, self._finding = {}, [], None


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


def _is_unknown(reply: Reply) -> bool:
    return isinstance(reply, Exception) and code_of(reply) == "NOSCRIPT"


def _check_replicas(count: object, wanted: int) -> None:
    """Raise unless so many replicas have what was written.

    Raises:
        StoreUnavailableError: They have not, or not yet.
    """
    if not isinstance(count, int) or count < wanted:
        msg = f"{count} of the {wanted} replicas that were asked for have what was written"
        raise StoreUnavailableError(msg)


async def _all(sent: Sequence[Any]) -> list[list[Reply]]:
    """The replies of several nodes; the first trouble, once all are done."""
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [one for one in outcomes if isinstance(one, list)]
