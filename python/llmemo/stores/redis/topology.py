"""Sends commands to the nodes that have their keys, and follows where these send them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.redis.commands import Call
from llmemo.stores.redis.nodes import Nodes
from llmemo.stores.redis.trouble import code_of, translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmemo.stores.redis.commands import Command, Reply
    from llmemo.stores.redis.location import Location
    from llmemo.stores.redis.nodes import Address
    from llmemo.stores.redis.scripts import Script

    Target = tuple[Address | None, bool]
    """Where to send a command, None for its own node; and whether as one that was asked there."""

REDIRECTS_MAX = 16
"""Times that one command is sent somewhere else, or again."""

LEAST_SECONDS = 0.01
"""For an exchange, whatever those before it took."""

TRY_AGAIN_PAUSE = 0.02
"""Seconds until a slot that is on its way is asked again."""


class Topology:
    """Commands for one server or a cluster. On one event loop."""

    def __init__(
        self, location: Location, scripts: Iterable[Script], replicas: int, timeout: float
    ) -> None:
        """Connect to nothing yet.

        Args:
            location: Of the server, of a node of the cluster, or of sentinels.
            scripts: All that are called.
            replicas: Those that have to confirm writes; 0 for none.
            timeout: Seconds for an exchange with a server.
        """
        self.nodes = Nodes(location, timeout)
        self._replicas = replicas
        self._texts = {script.sha: script.text for script in scripts}

    @property
    def is_cluster(self) -> bool:
        """Whether each bucket has a node of its own, for all that is known."""
        return self.nodes.is_cluster

    async def send(self, calls: Sequence[Call]) -> list[Reply]:
        """Send commands, each to its node, and follow where the nodes send them.

        Returns the replies, in order; an error of the server is one.

        Raises:
            StoreUnavailableError: A node cannot be reached, or does not answer in time.
            StoreRefusedError: The server refuses user name or password.
        """
        end = time.monotonic() + self.nodes.timeout
        if len(self.nodes.masters) == 1:
            # Nearly all calls of most stores: one server, and nothing to follow.
            replies = await self._send_to(self.nodes.masters[0], calls, [False] * len(calls), end)
            if not any(isinstance(reply, Exception) for reply in replies):
                return replies
            left = self._redirected(calls, replies, dict.fromkeys(range(len(calls)), (None, False)))
            if not left:
                return replies
        else:
            replies = [None] * len(calls)
            left = dict.fromkeys(range(len(calls)), (None, False))
        for _ in range(REDIRECTS_MAX):
            await self.nodes.find()
            groups: dict[Address, list[int]] = {}
            for index, (where, _) in left.items():
                groups.setdefault(where or self.nodes.master(calls[index].bucket), []).append(index)
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
            replies, confirmed = await self._exchange(address, calls, asking, end)
            unknown = [i for i, reply in enumerate(replies) if _is_unknown(reply)]
            if unknown:
                whole = [self._in_full(calls[i]) for i in unknown]
                some = [asking[i] for i in unknown]
                again, later = await self._exchange(address, whole, some, end)
                confirmed = confirmed if later is None else later
                for index, reply in zip(unknown, again, strict=True):
                    replies[index] = reply
            # Not before: without a replica, the server itself is to have what was written.
            if confirmed is not None and _has_written(calls, replies):
                _check_replicas(confirmed, self._replicas)
        except StoreUnavailableError:
            # It may be another one's turn since: a failover, or a cluster that has changed.
            self.nodes.forget(address)
            raise
        return replies

    def _in_full(self, call: Call) -> Call:
        _, sha, *rest = call.command
        text = self._texts[sha] if isinstance(sha, bytes) else b""
        return call._replace(command=(b"EVAL", text, *rest))

    async def _exchange(
        self, address: Address, calls: Sequence[Call], asking: Sequence[bool], end: float
    ) -> tuple[list[Reply], Reply]:
        """The replies of one node, and how many replicas have its writes; None if none has to.

        Replicas that have what comes last have all before: the scripts that are sent in full.
        """
        sent: list[Command] = []
        for call, is_asking in zip(calls, asking, strict=True):
            sent += [(b"ASKING",), call.command] if is_asking else [call.command]
        has_writes = self._replicas > 0 and any(call.is_write for call in calls)
        seconds = max(LEAST_SECONDS, end - time.monotonic())
        if has_writes:
            sent.append((b"WAIT", self._replicas, round(500 * seconds)))
        answers = iter(await self.nodes.node(address).exchange(sent, seconds))
        replies = []
        for is_asking in asking:
            if is_asking:
                next(answers)
            replies.append(next(answers))
        return replies, next(answers) if has_writes else None

    def _redirected(
        self,
        calls: Sequence[Call],
        replies: list[Reply],
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
                address = (reply.host or self.nodes.known[0][0], reply.port)
                if code == "MOVED":
                    self.nodes.moved(calls[index].bucket, address)
                left[index] = (address, code == "ASK")
            elif code == "READONLY" and self.nodes.has_sentinels:
                # A master that a failover has made a replica: the sentinels know the new one, or
                # soon will.
                self.nodes.masters = []
                replies[index] = StoreUnavailableError("the master has become a replica")
        return left

    async def layout(self) -> list[Address]:
        """The node of each bucket, or the one of all, as a cluster says now."""
        if self.is_cluster:
            self.nodes.masters = []
        await self.nodes.find()
        return list(self.nodes.masters)

    async def send_to(self, address: Address, command: Command) -> Reply:
        """Send one command to one node.

        Raises:
            Exception: As `send`, and for an error that the node answers.
        """
        end = time.monotonic() + self.nodes.timeout
        [reply] = await self._send_to(address, [Call(command)], [False], end)
        if isinstance(reply, Exception):
            raise translated(reply)
        return reply


def _is_unknown(reply: Reply) -> bool:
    return isinstance(reply, Exception) and code_of(reply) == "NOSCRIPT"


def _has_written(calls: Sequence[Call], replies: Sequence[Reply]) -> bool:
    """Whether there is anything to confirm: a server that refuses it all has nothing."""
    return any(
        call.is_write and not isinstance(reply, Exception)
        for call, reply in zip(calls, replies, strict=True)
    )


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
