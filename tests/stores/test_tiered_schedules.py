"""Random schedules of three machines: what was removed or replaced is served by none that knows."""

from __future__ import annotations

import contextlib
import random
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from support.doubles import ROUNDS
from support.tiers import Machine, Server, record

from llmemo import StoreError
from llmemo.concurrency import circuit_breaker
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.records import Selection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from llmemo.stores.records import Record

pytestmark = pytest.mark.anyio

KEYS = range(1, 5)
ALL = Selection(b"n" * 16, None, None)
STEPS = 120


class Peer:
    """A machine, and what it must not serve any more."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.dead: defaultdict[int, set[bytes]] = defaultdict(set)
        self.unknown: defaultdict[int, set[bytes]] | None = None
        """What was gone when it began to watch; None if it has not."""

    @property
    def is_reachable(self) -> bool:
        return self.machine.far.mode == "well"


async def tried(removal: Callable[[], Awaitable[object]]) -> None:
    """Carry out a removal as the queue of writes does: again while the store is unavailable."""
    while True:
        try:
            await removal()
        except StoreUnavailableError:
            continue
        return


class Schedule:
    """Three machines, each with a near store of its own."""

    def __init__(self, dice: random.Random) -> None:
        self.dice, self.server, self.values = dice, Server(), 0
        self.peers = [Peer(Machine(self.server)) for _ in range(3)]
        self.ever: defaultdict[int, set[bytes]] = defaultdict(set)
        """Every value that the server had."""
        self.steps = {
            "get": 8, "at_once": 4, "set": 6, "lease_set": 2, "delete": 2, "clear": 1,
            "invalidate": 1, "changes": 6, "upkeep": 4, "toggle": 3, "restart": 1,
        }  # fmt: skip

    async def run(self) -> None:
        for peer in self.peers:
            peer.machine.store.timeout = 0.02
            await peer.machine.store.open()
        kinds = [kind for kind, weight in self.steps.items() for _ in range(weight)]
        for _ in range(STEPS):
            peer, kind = self.dice.choice(self.peers), self.dice.choice(kinds)
            self._before = {number: self._gone(number) for number in KEYS}
            with contextlib.suppress(StoreUnavailableError, StoreError):
                await getattr(self, kind)(peer)
            if kind != "toggle":
                self._note_start(peer)
            self._look()
        for peer in self.peers:
            peer.machine.far.mode = "well"
            while peer.machine.store._far.breaker.is_open:
                await self._told(peer)
        for _ in range(2):
            for peer in self.peers:
                await self._told(peer)
                with contextlib.suppress(StoreUnavailableError):
                    await peer.machine.store.upkeep()
                self._look()
        for peer in self.peers:
            await self._told(peer)
            for number in KEYS:
                assert await self._value(peer, number) == self._current(number)

    def _note_start(self, peer: Peer) -> None:
        """It watches from its first contact on."""
        if peer.unknown is None and peer.is_reachable and peer.machine.far.count("changes"):
            peer.unknown = defaultdict(set, self._before)

    def _look(self) -> None:
        for number in KEYS:
            if (current := self._current(number)) is not None:
                self.ever[number].add(current)

    def _current(self, number: int) -> bytes | None:
        found = self.server.records.get(record(number).key)
        return None if found is None else found.value

    def _gone(self, number: int) -> set[bytes]:
        return self.ever[number] - {self._current(number) or b""}

    async def _value(self, peer: Peer, number: int) -> bytes | None:
        key = record(number).key
        found = (await peer.machine.store.get([key])).get(key)
        return None if found is None else found.value

    async def get(self, peer: Peer) -> None:
        number = self.dice.choice(KEYS)
        self._judge(peer, number, await self._value(peer, number))

    async def at_once(self, peer: Peer) -> None:
        number = self.dice.choice(KEYS)
        key = record(number).key
        found = peer.machine.store.get_at_once([key])
        if found:
            self._judge(peer, number, found[key].value)

    def _judge(self, peer: Peer, number: int, value: bytes | None) -> None:
        assert value not in peer.dead[number], "it knows that this was removed or replaced"
        is_shut = peer.machine.store._far.breaker.is_open
        self._note_start(peer)
        if value is not None and peer.is_reachable and not is_shut:
            unknown = self._gone(number) if peer.unknown is None else peer.unknown[number]
            assert value not in unknown, "after a start the far store is asked"

    async def set(self, peer: Peer) -> None:
        records = [self._new(n) for n in self.dice.sample(KEYS, self.dice.choice([1, 2]))]
        await peer.machine.store.set(records)

    async def lease_set(self, peer: Peer) -> None:
        number = self.dice.choice(KEYS)
        assert peer.machine.store.leases is not None
        await peer.machine.store.leases.set([(self._new(number), None)])

    def _new(self, number: int) -> Record:
        self.values += 1
        return record(number, b"%d" % self.values)

    async def delete(self, peer: Peer) -> None:
        number = self.dice.choice(KEYS)
        with self._removing(peer, [number]):
            await tried(lambda: peer.machine.store.delete([record(number).key]))

    async def clear(self, peer: Peer) -> None:
        with self._removing(peer, KEYS):
            await tried(lambda: peer.machine.store.delete(None))

    async def invalidate(self, peer: Peer) -> None:
        with self._removing(peer, KEYS):
            await tried(lambda: peer.machine.store.invalidate(ALL))

    @contextlib.contextmanager
    def _removing(self, peer: Peer, numbers: range | list[int]) -> Iterator[None]:
        before = {number: set(self.ever[number]) for number in numbers}
        try:
            yield
        finally:
            for number in numbers:
                peer.dead[number] |= before[number]

    async def changes(self, peer: Peer) -> None:
        await self._told(peer)

    async def _told(self, peer: Peer) -> None:
        asked = peer.machine.far.count("changes")
        gone = {number: self._gone(number) for number in KEYS}
        with contextlib.suppress(StoreUnavailableError):
            await peer.machine.store.changes()
        if peer.is_reachable and peer.machine.far.count("changes") > asked:
            if peer.unknown is None:
                peer.unknown = defaultdict(set, gone)
            for number in KEYS:
                peer.dead[number] |= gone[number] - peer.unknown[number]

    async def upkeep(self, peer: Peer) -> None:
        await self._told(peer)
        await peer.machine.store.upkeep()

    async def toggle(self, peer: Peer) -> None:
        modes = ["away", "away", "away", "frozen"] if peer.is_reachable else ["well"]
        peer.machine.far.mode = self.dice.choice(modes)

    async def restart(self, peer: Peer) -> None:
        peer.machine = await peer.machine.restarted(peer.machine.far.mode)
        peer.machine.store.timeout = 0.02
        peer.unknown = None
        peer.dead.clear()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
async def test_what_is_known_to_be_removed_is_never_served(
    part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit_breaker, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(circuit_breaker, "LONGEST_PAUSE", 0.001)
    for seed in range(5 * ROUNDS):
        await Schedule(random.Random(f"{part}/{seed}")).run()
