"""Whatever a signal handler raises, and wherever: nothing is left half done."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.outputs import Generation
from support.callers import slots_of
from support.doubles import LIMIT, ROUNDS, answer, expect_on_disk, no_thread_stays
from support.figures import tell
from support.interrupts import Interrupts, SoftTimeLimit
from support.scripted import Scripted, waiters
from support.slices import first, some

from llmemo import LLMCache
from llmemo._core import LARGE
from llmemo.single_flight.holding import end_unbacked

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path
    from types import FrameType

pytestmark = [
    # A coroutine that was interrupted before its first instruction.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

STEP = max(1, 97 // ROUNDS)
"""Every so many instructions, others each day."""

HANGS = 3600.0
"""Seconds for which leases are believed: whoever waits for one that was lost hangs."""


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmemo.single_flight.lease.UNBACKED", HANGS)
    monkeypatch.setattr("llmemo.store_io.leases.manager.LEASE", HANGS)


def elsewhere(work: Callable[[], Any]) -> Any:
    """The outcome of some work in another thread, which must not hang."""
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(work()), daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive(), "it hangs"
    return outcomes[0]


def works(cache: LLMCache, *keys: str) -> None:
    """Lookups and updates of these keys do what they should, in this thread."""
    for key in keys:
        before = cache.stats()
        cache.lookup(key, "m")
        cache.update(key, "m", answer(key))
        assert cache.lookup(key, "m") == answer(key)
        after = cache.stats()
        assert after.writes_unconfirmed == before.writes_unconfirmed
        assert after.errors == before.errors


class Scene:
    """A call that is interrupted, with what goes on before and beside it."""

    def __init__(self, cache: LLMCache, key: str) -> None:
        self.cache, self.key = cache, key
        self.beside: list[threading.Thread] = []
        self.interrupts: Interrupts

    def begin(self) -> None:
        """What comes before."""

    def act(self) -> object:
        """The call."""
        return self.cache.lookup(self.key, "m")

    def end(self) -> None:
        """What comes afterwards, whether it was interrupted or not."""
        for thread in self.beside:
            thread.join(LIMIT)
            assert not thread.is_alive(), "another thread hangs"

    def meanwhile(self, work: Callable[[], object]) -> None:
        """Do something in another thread."""
        self.beside.append(threading.Thread(target=work, daemon=True))
        self.beside[-1].start()

    def waits(self, count: int = 1) -> None:
        """Wait until so many wait."""
        pause = threading.Event()
        for _ in range(int(LIMIT * 1000)):
            if waiters(self.cache) >= count:
                return
            pause.wait(0.001)
        pytest.fail("it does not wait")

    def run(self, call: Coroutine[Any, Any, Any]) -> object:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        task = loop.create_task(call)
        try:
            for _ in range(int(LIMIT * 10)):
                loop.run_until_complete(asyncio.wait([task], timeout=0.1))
                # A step of asyncio's own may be lost, and with it the task.
                if task.done() or (self.interrupts.was_raised and not self.interrupts.is_own):
                    break
            assert task.done() or not self.interrupts.is_own, ("it hangs", self.interrupts.where)
            return task.result() if task.done() else None
        finally:
            # As `asyncio.run` does.
            task.cancel()
            loop.run_until_complete(asyncio.wait([task], timeout=0.1))
            loop.close()


class Hit(Scene):
    def begin(self) -> None:
        self.cache.update(self.key, "m", answer(self.key))
        self.cache._tiers.memory.clear()


class Update(Scene):
    """An update that another thread waits for."""

    def begin(self) -> None:
        self.cache.lookup(self.key, "m")
        self.meanwhile(lambda: self.cache.lookup(self.key, "m"))
        self.waits()

    def act(self) -> object:
        return self.cache.update(self.key, "m", answer(self.key))

    def end(self) -> None:
        # It may have been interrupted before it began: as if its caller had been.
        with contextlib.suppress(Exception):
            self.cache.update(self.key, "m", answer(self.key))
        super().end()


class Waiter(Scene):
    """A lookup that waits for another thread, which has an answer in the end, or has none."""

    has_answer = True

    def begin(self) -> None:
        ready, self.over = threading.Event(), threading.Event()

        def hold() -> None:
            self.cache.lookup(self.key, "m")
            ready.set()
            while not waiters(self.cache) and not self.over.wait(0.001):
                pass
            if self.has_answer:
                self.cache.update(self.key, "m", answer(self.key))
            else:
                end_unbacked()

        # What its context holds goes with it.
        self.meanwhile(lambda: contextvars.Context().run(hold))
        assert ready.wait(LIMIT)

    def end(self) -> None:
        self.over.set()
        super().end()


class Heir(Waiter):
    has_answer = False


class Clear(Scene):
    def act(self) -> object:
        return self.cache.clear()


class Model(Scene):
    """A call of a model of LangChain's."""

    def begin(self) -> None:
        # Its class is looked at only once.
        Scripted(act=str, cache=self.cache).invoke("before")

    def act(self) -> object:
        return Scripted(act=lambda text: f"answer to {text}", cache=self.cache).invoke(self.key)


class AsyncLookup(Scene):
    def act(self) -> object:
        return self.run(self.cache.alookup(self.key, "m"))


class AsyncUpdate(Update):
    def act(self) -> object:
        return self.run(self.cache.aupdate(self.key, "m", answer(self.key)))


def large(key: str) -> list[Generation]:
    return [Generation(text=key + "x" * LARGE)]


class LargeLookup(AsyncLookup):
    """Of what is worked on in a thread beside the loop."""

    def begin(self) -> None:
        self.cache.update(self.key, "m", large(self.key))


class LargeUpdate(AsyncUpdate):
    def act(self) -> object:
        return self.run(self.cache.aupdate(self.key, "m", large(self.key)))


class AsyncClear(Scene):
    def act(self) -> object:
        return self.run(self.cache.aclear())


class Together(Scene):
    """Lookups and updates of several tasks of a loop, which goes on afterwards."""

    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)
        self.tasks = [self.loop.create_task(self.one(f"{self.key}-{n // 2}")) for n in range(6)]

    async def one(self, key: str) -> None:
        if await self.cache.alookup(key, "m") is None:
            await self.cache.aupdate(key, "m", answer(key))

    def act(self) -> object:
        # Not for ever: see `end`.
        return self.loop.run_until_complete(asyncio.wait(self.tasks, timeout=10.0))

    def end(self) -> None:
        # One of them has got the exception, if none of the loop's own steps has.
        done = asyncio.wait(self.tasks, timeout=LIMIT if self.interrupts.is_own else 0.1)
        _, pending = self.loop.run_until_complete(done)
        for task in self.tasks:
            if task.done():
                task.exception()
        # A step of asyncio's own may be lost, and with it the task.
        assert not (pending and self.interrupts.is_own), "tasks hang"
        for task in pending:
            task.cancel()
        self.loop.run_until_complete(asyncio.wait(self.tasks, timeout=0.1))
        self.loop.close()
        if not all(task.done() for task in self.tasks):
            self.let_go()

    def let_go(self) -> None:
        """End what a lost task holds: its own end, which would do that, does not come."""
        flights = self.cache._tiers.flights
        assert flights is not None
        for key in flights._flights:
            lease = flights.lease(key)
            if lease is not None:
                lease.end(failed=False)


SCENES = [
    Scene, Hit, Update, Waiter, Heir, Clear, Model, AsyncLookup, AsyncUpdate, AsyncClear, Together,
    LargeLookup, LargeUpdate,
]  # fmt: skip

KINDS = [(KeyboardInterrupt, True), (KeyboardInterrupt, False), (SoftTimeLimit, True)]


@contextlib.contextmanager
def opened(folder: Path, *, has_store: bool) -> Iterator[LLMCache]:
    path = folder / "a.db"
    with no_thread_stays():
        cache = LLMCache(path if has_store else None, store_timeout=HANGS, lease_timeout=HANGS)
        with contextlib.closing(cache):
            works(cache, "at first")
            yield cache
            assert cache._tiers.flights is not None
            assert cache._tiers.flights._flights == {}
        gc.collect()
    if has_store:
        # (What has failed is remembered for a while; that is over at once.)
        assert [slot for slot in slots_of(path) if slot.expires > time.time() + HANGS / 2] == []
        expect_on_disk(path, [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("has_store", "scene", "kind", "is_signal"),
    # Half of them a day, of each scene and each kind some.
    some(
        [
            pytest.param(has_store, scene, *how, id=f"{name}-{scene.__name__.lower()}-{where}")
            for has_store, where in ((False, "memory"), (True, "store"))
            for scene in SCENES
            for name, how in zip(("signal", "anywhere", "exception"), KINDS, strict=True)
        ],
        2,
    ),
)
def test_nothing_is_left_half_done(
    tmp_path: Path,
    *,
    kind: type[BaseException],
    is_signal: bool,
    scene: type[Scene],
    has_store: bool,
) -> None:
    with opened(tmp_path, has_store=has_store) as cache:
        at, was_raised = first(STEP), True
        while was_raised:
            it = scene(cache, f"p{at}")
            it.begin()
            interrupts = it.interrupts = Interrupts(at, kind, is_signal=is_signal)
            with interrupts:
                contextvars.copy_context().run(it.act)
            try:
                if interrupts.error is None or not interrupts.is_own:
                    # It came to its end: whoever called it has the lease.
                    cache.update(it.key, "m", answer(it.key))
                it.end()
                elsewhere(lambda it=it, at=at: works(cache, it.key, f"other {at}"))  # type: ignore[misc]
                works(cache, it.key, f"own {at}")
            except BaseException as error:
                raise AssertionError((at, interrupts.where)) from error
            was_raised = interrupts.was_raised
            at += STEP
    tell(f"interrupts of {scene.__name__.lower()}", instructions=interrupts.count)


@pytest.mark.slow
@pytest.mark.parametrize("has_store", [False, True], ids=["memory", "store"])
@pytest.mark.parametrize("scene", [Scene, Hit, Update, Clear], ids=lambda it: it.__name__.lower())
def test_a_signal_handler_may_use_the_cache_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, scene: type[Scene], has_store: bool
) -> None:
    with opened(tmp_path, has_store=has_store) as cache:

        def handle(self: Interrupts, frame: FrameType) -> None:
            sys.settrace(None)
            self.was_raised = True
            works(cache, f"handler {self.at}")

        monkeypatch.setattr(Interrupts, "_raise", handle)
        at, was_raised = first(STEP), True
        while was_raised:
            it = scene(cache, f"p{at}")
            it.begin()
            with Interrupts(at, KeyboardInterrupt, is_signal=True) as interrupts:
                it.act()
            it.end()
            works(cache, it.key)
            was_raised = interrupts.was_raised
            at += STEP


def raising(number: int, frame: FrameType | None) -> None:
    raise SoftTimeLimit


def test_what_a_handler_raises_is_told_from_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = LLMCache()
    monkeypatch.setattr(cache, "_recall", lambda *_: raising(14, sys._getframe()))
    with pytest.raises(SoftTimeLimit):
        cache.lookup("p", "m")
    monkeypatch.setattr(cache, "_recall", lambda *_: raising(14, None))
    assert cache.lookup("p", "m") is None
    assert cache.stats().errors == {"internal": 1}
