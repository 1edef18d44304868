"""What other processes have changed: a capped stream in each bucket, and how far it was read.

A stream begins with a birth mark. What was read last has to be there still at the next look: if it
is gone (trimmed, FLUSHALL, a failover that lost the end), the process cannot tell what it missed.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any

from llmemo.concurrency.bounded_dict import note
from llmemo.stores.redis.commands import Call, script_call
from llmemo.stores.redis.frames import SUM_AT, VALUE_AT
from llmemo.stores.redis.nodes import BUCKETS
from llmemo.stores.redis.scripts import BEGIN
from llmemo.stores.redis.trouble import translated
from llmemo.stores.selection_bytes import KEY_BYTES, unpacked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from llmemo.stores.records import Selection
    from llmemo.stores.redis.keys import Keys
    from llmemo.stores.redis.topology import Topology

    Entry = tuple[bytes, list[bytes]]
    """Id and fields."""

MET_MAX = 10_000
"""Answers read or stored between two looks that are remembered."""

FIELDS = 6
"""Names and values of an entry: key, writer, checksum of the head of what was stored."""

AT_ONCE = 1_000
"""Entries that one look reads of a stream, at most."""


class ForeignTypeError(Exception):
    """Something else has the name of a stream."""


class ChangeStreams:
    """How far the streams were read, in this process."""

    def __init__(self, topology: Topology, keys: Keys) -> None:
        """Nothing was read yet."""
        self._topology = topology
        self._keys = keys
        self._pid = 0
        self.writer = b""
        """Marks our own changes."""
        self._seen: list[Entry | None] | None = None
        """The last entry of each stream; None for one that there was not."""
        self._met: dict[bytes, bytes] = {}
        """What was read or stored since the last look: the checksum of its head, by key."""

    async def begin(self) -> None:
        """Find the ends of the streams, unless they were found before: then nothing is missed."""
        if self._pid != os.getpid():
            # What a fork copied is a writer of its own.
            self.writer, self._pid = secrets.token_bytes(8), os.getpid()
        if self._seen is None:
            await self._create(range(BUCKETS))
            self._seen = await self._ends()

    async def _create(self, buckets: Iterable[int]) -> None:
        """Begin streams that there are not. A server that takes no writes has to do without."""
        tag = secrets.randbits(48)
        await self._topology.send(
            [script_call(BEGIN, [self._keys.changes(b)], [tag], b) for b in buckets]
        )

    async def _ends(self) -> list[Entry | None]:
        asked = (b"+", b"-", b"COUNT", 1)
        replies = await self._topology.send(
            [Call((b"XREVRANGE", self._keys.changes(b), *asked), b) for b in range(BUCKETS)]
        )
        for reply in replies:
            if isinstance(reply, Exception):
                raise translated(reply)
        return [_entry(reply[0]) if reply else None for reply in replies]

    def met(self, key: bytes, stored: bytes) -> None:
        """Note an answer that was read or stored: a change that brought it is known already."""
        note(self._met, key, stored[SUM_AT:VALUE_AT], MET_MAX)

    async def others(self) -> Collection[bytes | Selection] | None:
        """What other processes have changed since the last call; None for everything."""
        if self._seen is None:
            return None
        met, self._met = self._met, {}
        # Kept only if all goes well: what an interrupted look has found is found again.
        seen = list(self._seen)
        found: list[bytes | Selection] = []
        try:
            has_lost = not await self._look_at_all(seen, met, found)
            if has_lost:
                # Memory is cleared after this, so what came before these ends does not matter.
                await self._create(range(BUCKETS))
                seen = await self._ends()
            elif None in seen:
                # One at a time: a full server is asked by every process, at every look.
                await self._create([seen.index(None)])
        except BaseException:
            self._met = {**met, **self._met}
            raise
        self._seen = seen
        return None if has_lost else found

    async def _look_at_all(
        self,
        seen: list[Entry | None],
        met: Mapping[bytes, bytes],
        found: list[bytes | Selection],
    ) -> bool:
        """Look until there is no more. Returns whether nothing was lost."""
        try:
            has_more, is_sound = True, True
            while has_more and is_sound:
                some, is_sound, has_more = await self._look(seen, met)
                found += some
        except ForeignTypeError:
            return False
        return is_sound

    async def _look(
        self, seen: list[Entry | None], met: Mapping[bytes, bytes]
    ) -> tuple[list[bytes | Selection], bool, bool]:
        """What is new; whether nothing was lost; and whether there may be more."""
        streams = await self._entries([_before(entry) for entry in seen])
        # Some were met while this look was under way.
        met = {**met, **self._met}
        found: list[bytes | Selection] = []
        is_sound, has_more = True, False
        for bucket, known in enumerate(seen):
            entries = streams.get(bucket, [])
            if known is None:
                # No change could be noted: a full server begins no stream, for example.
                found += [key for key in met if key[-1] % BUCKETS == bucket]
                is_sound = is_sound and len(met) < MET_MAX
            elif not entries or entries[0] != known:
                is_sound = False
            seen[bucket] = entries[-1] if entries else None
            has_more = has_more or len(entries) >= AT_ONCE
            found += self._told(entries[1:], met)
        return found, is_sound, has_more

    def _told(
        self, entries: Iterable[Entry], met: Mapping[bytes, bytes]
    ) -> Iterator[bytes | Selection]:
        """What entries of other processes tell, but for what is known already."""
        for _, (kind, key, _, writer, _, sum_) in entries:
            if kind == b"k" and writer != self.writer and (not sum_ or met.get(key) != sum_):
                yield key if len(key) == KEY_BYTES else unpacked(key)

    async def _entries(self, after: Sequence[bytes]) -> dict[int, list[Entry]]:
        """The entries of each stream after these ids: in one command, or one for each bucket."""
        streams = [self._keys.changes(bucket) for bucket in range(BUCKETS)]
        head = (b"XREAD", b"COUNT", AT_ONCE, b"STREAMS")
        if self._topology.is_cluster:
            calls = [Call((*head, streams[b], after[b]), b) for b in range(BUCKETS)]
        else:
            calls = [Call((*head, *streams, *after))]
        numbers = {name: bucket for bucket, name in enumerate(streams)}
        found: dict[int, list[Entry]] = {}
        for reply in await self._topology.send(calls):
            if isinstance(reply, Exception):
                if "WRONGTYPE" in str(reply):
                    raise ForeignTypeError
                raise translated(reply)
            for name, entries in reply or ():
                found[numbers[name]] = [_entry(one) for one in entries]
        return found


def _entry(reply: Any) -> Entry:
    """An entry. One that was made or deleted by hand may lack fields."""
    id_, fields = reply
    return id_, [*(fields or ()), *[b""] * FIELDS][:FIELDS]


def _before(entry: Entry | None) -> bytes:
    """The highest id below that of an entry, so that it is read once more."""
    if entry is None:
        return b"0-0"
    time, number = map(int, entry[0].split(b"-"))
    return b"%d-%d" % ((time, number - 1) if number else (time - 1, 2**64 - 1))
