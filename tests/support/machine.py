"""A cache beside a model of one: a dict, and who computes what. Steps are drawn from a seed."""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import Generation

from llmemo import LLMCache, options
from support.doubles import LIMIT
from support.machine_parts import Caller, ComputeError, Late, Name, Row, looked_up

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping
    from pathlib import Path

NAMESPACES = ["", "one", "two"]
TTL = 10.0
NAMESPACE_TTL = {"one": None, "two": 30.0}
STEPS_PER_LIFE = 150
"""Steps with one file. The clock goes on by less than an hour in them, after which a lease would be
forgotten."""


@dataclass
class Flight:
    """Somebody computes an answer."""

    leader: Caller
    waiters: list[Caller] = field(default_factory=list)
    failures: int = 0


class Machine:
    """Two caches on one file, or one that has only memory; the first coordinates its callers."""

    def __init__(self, seed: int, path: Path, counts: Counter[str]) -> None:
        self.dice = dice = random.Random(seed)
        self.counts = counts
        self.now = 1e9
        self.kind = dice.choice(["memory", "sqlite", "sqlite without memory"])
        self.path = None if self.kind == "memory" else path
        self.has_second = self.path is not None and dice.random() < 0.7
        self.log: list[str] = [self.kind]
        self.texts = iter(range(10**9))
        namespaces, models = dice.sample(NAMESPACES, 2), dice.choice([["m1"], ["m1", "m2"]])
        prompts = [f"{seed}-{n}" for n in range(dice.randint(1, 2))]
        self.names = [Name(*parts) for parts in itertools.product(namespaces, models, prompts)]
        self.rows: dict[Name, Row] = {}
        self.flights: dict[Name, Flight] = {}
        self.waited = 0
        self.alone: set[Name] = set()
        """What nobody waits for: its answer could not be handed on."""
        self.others: list[Caller] = []
        """Callers who go on without a lease."""
        self.dropped: list[LLMCache] = []

    def open(self) -> LLMCache:
        """The first cache."""
        return self._cache(max_bytes=0 if self.kind == "sqlite without memory" else 2**24)

    def _cache(self, **settings: Any) -> LLMCache:
        return LLMCache(
            None if self.path is None else Late(self.path),
            ttl=TTL,
            namespace_ttl=NAMESPACE_TTL,
            early_refresh=0.0,
            store_timeout=LIMIT,
            lease_timeout=100 * LIMIT,
            clock=lambda: self.now,
            **settings,
        )

    async def run(self, steps: int) -> None:
        """So many steps, and then everybody leaves."""
        self.first = self.open()
        # It has nothing in memory, so that it is never behind, and so never needs to be told.
        self.second = self._cache(max_bytes=0, single_flight=False) if self.has_second else None
        kinds = [
            (8, self.look), (14, self.begin), (3, self.answer), (3, self.leave), (2, self.update),
            (1, self.refuse), (1, self.delete), (1, self.invalidate), (0.3, self.clear),
            (3, self.pass_time), (0.3, self.crash), (2, self.race), (0.5, self.tend),
        ]  # fmt: skip
        weights, moves = zip(*kinds, strict=True)
        for _ in range(steps):
            move = self.dice.choices(moves, weights)[0]
            self.counts[move.__name__] += 1
            await move()
            self._expect(
                "flights", set(self._flights()), {self._key(name) for name in self.flights}
            )
        self.counts["waited"] += self.waited
        while self.flights:
            await self._end(next(iter(self.flights.values())).leader)
        for caller in self.others:
            await caller.end()
        self._expect("flights", self._flights(), {})
        for cache in (*self.dropped, self.first, self.second):
            if cache is not None:
                self._expect("errors", cache.stats().errors, {})
                self._expect("dropped", await cache.aclose(), 0)

    # What is drawn.

    def _name(self) -> Name:
        return self.dice.choice(self.names)

    def _any(self) -> LLMCache:
        return self.dice.choice([self.first, self.second or self.first])

    # What holds.

    def _live(self, name: Name) -> str | None:
        row = self.rows.get(name)
        if row is None or (row.expires is not None and row.expires <= self.now):
            return None
        return row.text

    def _expect(self, what: str, found: object, expected: object) -> None:
        assert found == expected, (what, found, expected, self.last)

    @property
    def last(self) -> str:
        """The last steps, a line each."""
        return "\n".join(["", *self.log[-40:]])

    def _flights(self) -> Mapping[bytes, Any]:
        flights = self.first._tiers.flights
        assert flights is not None
        return flights._flights

    def _key(self, name: Name) -> bytes:
        with options(namespace=name.namespace):
            return self.first._tiers.key(name.prompt, name.llm_string) or b""

    async def _outcome(self, caller: Caller) -> str | None:
        done: list[asyncio.Future[Any]] = [caller.task, caller.found]
        await asyncio.wait(done, timeout=LIMIT, return_when="FIRST_COMPLETED")
        assert caller.found.done(), ("it hangs", caller.name, caller.task, self.last)
        return caller.found.result()

    # Moves.

    async def look(self) -> None:
        """In a mode in which nobody waits, in either cache; or where there is an answer."""
        cache, name = self._any(), self._name()
        mode = self.dice.choice(["only", "refresh", "bypass", "default"])
        live = self._live(name)
        if mode == "default" and cache is self.first and live is None:
            mode = "only"
        self.log.append(f"look {name} {mode} {cache is self.first}")
        missed = "CacheMiss" if mode == "only" else None
        expected = missed if mode in ("refresh", "bypass") or live is None else live
        self._expect("lookup", await looked_up(cache, name, mode), expected)

    async def begin(self) -> None:
        """A caller comes, and may have to wait, or to compute."""
        name = self._name()
        self.log.append(f"begin {name}")
        caller, flight = Caller(self.first, name, "default"), self.flights.get(name)
        live = self._live(name)
        if live is not None or flight is None:
            self._expect("lookup", await self._outcome(caller), live)
            if live is None and name not in self.alone:
                self.flights[name] = Flight(caller)
            elif live is None:
                self.others.append(caller)
            return
        flight.waiters.append(caller)
        key, end = self._key(name), asyncio.get_running_loop().time() + LIMIT
        while not caller.found.done():
            found = self._flights().get(key)
            if found is None or len(found.waiters) >= len(flight.waiters):
                break
            assert asyncio.get_running_loop().time() < end, ("it does not wait", self.last)
            await asyncio.sleep(0)
        self._expect("waits", caller.found.done(), False)
        self.waited += 1

    async def answer(self) -> None:
        """One who computes has an answer."""
        computing = [flight.leader for flight in self.flights.values()] + self.others
        if not computing:
            return
        caller = self.dice.choice(computing)
        await self._update(self.first, caller.name)
        if caller in self.others:
            self.others.remove(caller)
        await caller.end()

    async def update(self) -> None:
        """Somebody has an answer without having asked."""
        await self._update(self._any(), self._name())

    async def _update(self, cache: LLMCache, name: Name) -> None:
        text = f"answer {next(self.texts)} to {name}"
        mode: Any = self.dice.choice(["default", "default", "refresh", "only", "bypass"])
        ttl: Any = self.dice.choice([None, 3.0, ...])
        said = {} if ttl is ... else {"ttl": ttl}
        self.log.append(f"update {name} {mode} {ttl} {cache is self.first}: {text}")
        with options(namespace=name.namespace, mode=mode, **said):
            await cache.aupdate(name.prompt, name.llm_string, [Generation(text=text)])
        if mode == "bypass":
            # Whoever computed it leaves all the same.
            if cache is self.first and name in self.flights:
                await self._end(self.flights[name].leader)
            return
        if ttl is ...:
            ttl = NAMESPACE_TTL.get(name.namespace, TTL)
        self.rows[name] = Row(text, self.now, None if ttl is None else self.now + ttl)
        if cache is self.first:
            await self._land(name, text)
        else:
            await self._be_told()

    async def _land(self, name: Name, text: str | None) -> None:
        """All who wait get an answer, or go on without."""
        flight = self.flights.pop(name, None)
        if flight is None:
            return
        self.others.append(flight.leader)
        for caller in flight.waiters:
            self._expect("coalesced", await self._outcome(caller), text)
            if text is None:
                self.others.append(caller)

    async def leave(self) -> None:
        """Somebody leaves: who computes, or who waits."""
        if not self.flights:
            return
        flight = self.dice.choice(list(self.flights.values()))
        if flight.waiters and self.dice.random() < 0.3:
            caller = flight.waiters.pop(self.dice.randrange(len(flight.waiters)))
            self.log.append(f"a waiter leaves {caller.name}")
            await caller.end(is_cancelled=True)
            return
        await self._end(flight.leader, self.dice.choice(["cancelled", "failed", "left"]))

    async def _end(self, leader: Caller, how: str = "left") -> None:
        name = leader.name
        self.log.append(f"the leader of {name} {how}")
        flight = self.flights[name]
        await leader.end(
            ComputeError() if how == "failed" else None, is_cancelled=how == "cancelled"
        )
        flight.failures += how == "failed"
        if flight.failures == 2:
            del self.flights[name]
            for caller in flight.waiters:
                self._expect("released", await self._outcome(caller), None)
                self.others.append(caller)
            return
        if not flight.waiters:
            del self.flights[name]
            return
        live = self._live(name)
        flight.leader = flight.waiters.pop(0)
        self._expect("succeeds", await self._outcome(flight.leader), live)
        if live is not None:
            # The other cache has stored it meanwhile.
            del self.flights[name]
            for caller in flight.waiters:
                self._expect("succeeds", await self._outcome(caller), live)

    async def refuse(self) -> None:
        """An answer comes that is not to be kept, or cannot be encoded."""
        name = self._name()
        is_garbled = self.dice.random() < 0.3
        info = {"x": object()} if is_garbled else None
        self.log.append(f"refuse {name} {is_garbled}")
        with options(namespace=name.namespace):
            answer = [Generation(text="", generation_info=info)]
            await self.first.aupdate(name.prompt, name.llm_string, answer)
        if is_garbled:
            self.alone.add(name)
        await self._land(name, None if is_garbled else "")

    async def delete(self) -> None:
        """One is removed."""
        cache, name = self._any(), self._name()
        self.log.append(f"delete {name} {cache is self.first}")
        with options(namespace=name.namespace):
            was_there = await cache.adelete(name.prompt, name.llm_string)
        if self._live(name) is not None or name not in self.rows:
            # One that has expired may have been removed by then.
            self._expect("delete", was_there, name in self.rows)
        self.rows.pop(name, None)
        await self._be_told()

    async def invalidate(self) -> None:
        """Some are removed."""
        cache, dice = self._any(), self.dice
        choices = {
            "namespace": dice.choice(NAMESPACES),
            "llm_string": "m1",
            "older_than": dice.choice([1.5, 5.5]),
        }
        names = dice.sample(list(choices), dice.randint(1, 3))
        given: dict[str, Any] = {name: choices[name] for name in names}
        self.log.append(f"invalidate {given} {cache is self.first}")
        count = await cache.ainvalidate(**given)
        before = self.now - given.get("older_than", -1.0)
        meant = [
            name
            for name, row in self.rows.items()
            if name.namespace == given.get("namespace", name.namespace)
            and name.llm_string == given.get("llm_string", name.llm_string)
            and row.created < before
        ]
        least = sum(self._live(name) is not None for name in meant)
        assert least <= count <= len(meant), ("invalidate", count, least, meant, self.last)
        for name in meant:
            del self.rows[name]
        await self._be_told()

    async def clear(self) -> None:
        """All are removed."""
        cache = self._any()
        self.log.append(f"clear {cache is self.first}")
        await cache.aclear()
        self.rows.clear()
        await self._be_told()

    async def pass_time(self) -> None:
        """The clock goes on: never to the moment at which something ends."""
        self.now += self.dice.choice([0.25, 1.25, 4.25, 11.25])
        self.log.append(f"now {self.now}")

    async def crash(self) -> None:
        """The first cache is no more, and another opens the file; its callers went with it."""
        self.log.append("crash")
        waiting = [caller for flight in self.flights.values() for caller in flight.waiters]
        leaders = [flight.leader for flight in self.flights.values()]
        for caller in (*waiting, *leaders, *self.others):
            await caller.end(is_cancelled=True)
        self.flights.clear()
        self.others.clear()
        self.alone.clear()
        if self.path is None:
            self.rows.clear()
        self.dropped.append(self.first)
        self.first = self.open()

    async def race(self) -> None:
        """A lookup while the answer is replaced or removed: it may get either; the next one not."""
        name = self.dice.choice(list(self.rows)) if self.rows else self._name()
        if name in self.flights:
            return
        old = self._live(name)
        if self.dice.random() < 0.5 and self.path is not None:
            # As if it had to make room: the lookup goes to the store.
            self.first._tiers.memory.remove(self._key(name))
        text = f"answer {next(self.texts)} to {name}"
        removal = self.dice.choice(["update", "delete", "clear", "invalidate"])
        self.log.append(f"race {name} {removal}: {text}")
        store = self.first._tiers.store
        if isinstance(store, Late):
            store.is_late = self.dice.random() < 0.3
        with options(namespace=name.namespace):
            looking = asyncio.create_task(looked_up(self.first, name, "only"))
            for _ in range(self.dice.choice([0, 1, 1, 2, 5, 20])):
                await asyncio.sleep(0)
            if removal == "update":
                await self.first.aupdate(name.prompt, name.llm_string, [Generation(text=text)])
                ttl = NAMESPACE_TTL.get(name.namespace, TTL)
                self.rows[name] = Row(text, self.now, None if ttl is None else self.now + ttl)
            elif removal == "delete":
                await self.first.adelete(name.prompt, name.llm_string)
                self.rows.pop(name, None)
            elif removal == "clear":
                await self.first.aclear()
                self.rows.clear()
            else:
                await self.first.ainvalidate(namespace=name.namespace)
                for other in [other for other in self.rows if other.namespace == name.namespace]:
                    del self.rows[other]
        found = await looking
        if isinstance(store, Late):
            store.is_late = False
        new = self._live(name) or "CacheMiss"
        assert found in (old or "CacheMiss", new), ("race", found, old, new, self.last)
        self._expect("after a race", await looked_up(self.first, name, "only"), new)

    async def tend(self) -> None:
        """The store is looked after, as a timer would have it done: what has expired may go."""
        await self._on_its_thread(self.first, "_tend")

    async def _be_told(self) -> None:
        """The first cache learns what the second has changed, as it would a little later."""
        if self.second is not None:
            await self._on_its_thread(self.first, "_forget")

    async def _on_its_thread(self, cache: LLMCache, what: str) -> None:
        engine = cache._tiers.executor
        worker = None if engine is None else engine._worker
        if worker is None or worker._mailbox.loop is None:
            return
        maintenance = worker._maintenance

        async def work() -> None:
            store = worker._opener.opened()
            if store is not None:
                await (maintenance._forget(store) if what == "_forget" else store.upkeep())

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), worker._mailbox.loop))
