"""Those who ask for leases in tests: an engine each, as processes have one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from llmemo._core import Memory
from llmemo.single_flight.watchdog import unless_crowded
from llmemo.store_io.calls import Call, run_inline
from llmemo.store_io.executor import Executor
from llmemo.store_io.leases.client import acquire
from llmemo.store_io.operations import Found, Get, Set
from llmemo.stores import Record
from llmemo.stores.lease_store import Grant
from llmemo.stores.sqlite.lease_slots import GROUP_BYTES, GROUPS, SLOT_BYTES, LeaseSlots, _slot_at
from llmemo.telemetry.stats import Tally
from support.doubles import LIMIT, patience

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from llmemo import Store
    from llmemo.stores.sqlite.lease_slots import Slot

    Outcome = Grant | Record | None

KEY = b"k" * 32


def record(key: bytes = KEY, value: bytes = b"value") -> Record:
    return Record(key, value, b"n" * 16, b"l" * 16, 1.0, None)


class Caller:
    """An engine, as a process has one, and how to use it."""

    def __init__(self, store: Store, patience: float = LIMIT) -> None:
        self.tally, self.patience = Tally(), patience
        self.expected: dict[str, int] = {}
        memory = Memory(2**20, None, fingerprint_secret=bytes(range(192)))
        self.engine = Executor(store, self.tally, memory, patience)

    def _outcome(self, call: Call[Any]) -> Coroutine[Any, Any, Any]:
        return call.wait(self.patience)

    async def ask(
        self, key: bytes = KEY, *, seconds: float = LIMIT, wait: float = LIMIT
    ) -> Outcome:
        return await acquire(
            self.engine.submit, Call.awaited, key,
            seconds=seconds, outcome=self._outcome, follow=unless_crowded, lease_timeout=wait,
        )  # fmt: skip

    def ask_blocking(self, key: bytes = KEY, *, wait: float = LIMIT) -> Outcome:
        return run_inline(
            acquire(
                self.engine.submit, Call.blocking, key,
                seconds=LIMIT, outcome=self._outcome, follow=unless_crowded, lease_timeout=wait,
            )
        )  # fmt: skip

    async def granted(self, key: bytes = KEY, *, seconds: float = LIMIT) -> int:
        grant = await self.ask(key, seconds=seconds)
        assert isinstance(grant, Grant)
        return grant.fence

    async def put(self, fence: int | None, one: Record | None = None) -> bool | None:
        call: Call[bool | None] = Call.awaited(Set(one or record(), fence))
        self.engine.submit(call)
        return await call.wait(LIMIT)

    async def get(self, key: bytes = KEY) -> Record | None:
        call: Call[Found] = Call.awaited(Get([key]))
        self.engine.submit(call)
        return (await call.wait(LIMIT)).records.get(key)

    async def parked(self, count: int) -> None:
        """Wait until so many wait here for a lease that another holds."""
        await until(lambda: self._parked() == count)

    def _parked(self) -> int:
        worker = self.engine._worker
        leasing = None if worker is None else getattr(worker, "_leases", None)
        return 0 if leasing is None else sum(map(len, leasing._parked.by_key.copy().values()))

    @property
    def errors(self) -> dict[str, int]:
        return self.tally.snapshot()[-1]["errors"]


def rows(path: Path) -> list[tuple[float, int]]:
    return [(slot.expires, slot.failures) for slot in slots_of(path)]


async def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + patience()
    while not is_so():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def slots_of(path: Path) -> list[Slot]:
    """What is written of leases beside a database."""
    lock = path.with_name(f"{path.name}-lock")
    if not lock.exists():
        return []
    with lock.open("rb") as file:
        slots = LeaseSlots(file.fileno())
        groups = [slots._read(number) for number in range(GROUPS)]
    places = range(0, GROUP_BYTES, SLOT_BYTES)
    found = [_slot_at(place, data) for data in groups for place in places]
    return [slot for slot in found if slot is not None]
