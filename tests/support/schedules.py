"""Random schedules of callers who ask the same, drawn from a seed."""

from __future__ import annotations

import asyncio
import contextvars
import random
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from support.ledger import GARBLE, Chat, Completion, Ledger, generation
from support.scripted import said

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor

    from langchain_core.outputs import LLMResult

    from llmemo import LLMCache


WAITS = [0, 0, 1, 1, 2, 3, 5, 8, 13, 30]
"""Passes of the event loop after which somebody comes, leaves or answers."""

_is_inside: ContextVar[bool] = ContextVar("is_inside", default=False)
"""Whether a call is made within another, which may hold a lease."""

_answered: ContextVar[list[str]] = ContextVar("answered")
"""What was answered for a batch, and may not have been kept yet."""

_by_hand: ContextVar[tuple[str, ...]] = ContextVar("by_hand", default=())
"""What is computed by hand around a call."""


class FailureError(Exception):
    """What a model of these schedules raises."""


class Schedule:
    """Who asks what, when, and when they leave."""

    def __init__(
        self,
        seed: int,
        cache: LLMCache,
        pool: ThreadPoolExecutor,
        *,
        is_kept: bool,
        is_bounded: bool,
        waits: list[int],
    ) -> None:
        """`is_bounded`: whether leases are believed for long, so that calls can be counted."""
        self.cache, self.pool, self.waits = cache, pool, waits
        self.threads: set[Future[None]] = set()
        self.dice = random.Random(seed)
        self.ledger = Ledger(is_kept=is_kept, is_bounded=is_bounded)
        self.is_over = asyncio.Event()
        self.idle: set[asyncio.Task[Any] | None] = set()
        """Those who only wait for the end."""
        self.names = [f"{seed}-{letter}" for letter in "abc"[: self.dice.randint(1, 3)]]
        self.failing = self.dice.choice([0.0, 0.2, 0.7])
        self.kinds = self.dice.choice([2, 4, 8])
        self.chat = Chat(act=self._aact_one, cache=cache)
        self.sync_chat = Chat(act=self._act_one, cache=cache)
        self.llm = Completion(act=self._aact, cache=cache)
        self.sync_llm = Completion(act=self._act, cache=cache)

    # What a model does.

    def _work(self, names: Sequence[str], *, may_wait: bool) -> Iterator[str]:
        """In steps: "step", "nest" (a call within), at last what becomes of it."""
        dice = self.dice
        for place, name in enumerate(names):
            # Of a batch, the first had to be waited for; who got a lease waits no more.
            self.ledger.begin(name, may_wait=may_wait and place == 0)
        for _ in range(dice.choice(self.waits)):
            yield "step"
        if dice.random() < 0.15:
            yield "nest"
        draw = dice.random()
        if draw < self.failing:
            yield "failed"
        else:
            yield "garbled" if draw > 0.97 else "answered"

    def _ended(self, names: Sequence[str], how: str) -> list[str]:
        for name in names:
            self.ledger.end(name, how)
        if how == "failed":
            if names[0].startswith("chat"):
                # It is taken for the run that stands behind what is computed by hand around it.
                for name in _by_hand.get():
                    self.ledger.end(name, how)
            raise FailureError
        return [f"answer to {_text(name)}{GARBLE if how == 'garbled' else ''}" for name in names]

    async def _run(self, names: Sequence[str]) -> list[str]:
        how, is_inside = "cancelled", _is_inside.get()
        try:
            for step in self._work(names, may_wait=not is_inside):
                if step == "step":
                    await asyncio.sleep(0)
                elif step == "nest":
                    if not is_inside:
                        await self._nest()
                else:
                    how = step
        finally:
            if how == "cancelled":
                self._ended(names, how)
        _answered.get([]).extend(names if how == "answered" else ())
        return self._ended(names, how)

    def _run_sync(self, names: Sequence[str]) -> list[str]:
        is_inside = _is_inside.get()
        for step in self._work(names, may_wait=not is_inside):
            if step == "step":
                time.sleep(0)
            elif step == "nest":
                if not is_inside:
                    self._nest_sync()
            else:
                return self._ended(names, step)
        raise AssertionError

    async def _aact_one(self, text: str) -> str:
        return (await self._run([f"chat {text}"]))[0]

    def _act_one(self, text: str) -> str:
        return self._run_sync([f"chat {text}"])[0]

    async def _aact(self, prompts: list[str]) -> list[str]:
        return await self._run([f"llm {prompt}" for prompt in prompts])

    def _act(self, prompts: list[str]) -> list[str]:
        return self._run_sync([f"llm {prompt}" for prompt in prompts])

    async def _nest(self) -> None:
        token = _is_inside.set(True)
        try:
            calls = [self.ask(self.dice.choice(self.names)) for _ in range(self.dice.randint(1, 2))]
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                if isinstance(outcome, BaseException) and not isinstance(outcome, FailureError):
                    raise outcome
        finally:
            _is_inside.reset(token)

    def _nest_sync(self) -> None:
        token = _is_inside.set(True)
        try:
            self.ask_sync(self.dice.choice(self.names))
        except FailureError:
            pass
        finally:
            _is_inside.reset(token)

    # Who asks.

    async def ask(self, name: str) -> None:
        self.ledger.answer(f"chat {name}", _name("chat", said(await self.chat.ainvoke(name))))

    def ask_sync(self, name: str) -> None:
        self.ledger.answer(f"chat {name}", _name("chat", said(self.sync_chat.invoke(name))))

    async def ask_batch(self, names: list[str]) -> None:
        answered: list[str] = []
        token = _answered.set(answered)
        try:
            self._check(names, await self.llm.agenerate(names))
        except asyncio.CancelledError:
            # LangChain tells its callbacks of an answer before it tells the cache, which may take
            # some passes: who leaves then takes it with him.
            for name in answered:
                self.ledger.end(name, "cancelled")
            raise
        finally:
            _answered.reset(token)

    def ask_batch_sync(self, names: list[str]) -> None:
        self._check(names, self.sync_llm.generate(names))

    def _check(self, names: list[str], result: LLMResult) -> None:
        for name, [made] in zip(names, result.generations, strict=True):
            self.ledger.answer(f"llm {name}", _name("llm", made.text))

    async def ask_by_hand(self, text: str) -> None:
        """Looks, computes, updates; or only looks."""
        name = f"hand {text}"
        found = await self.cache.alookup(text, "by hand")
        if found is not None:
            self.ledger.answer(name, _name("hand", found[0].text))
            return
        if self.dice.random() < 0.2:
            self.ledger.begin(name, may_wait=True)
            self.ledger.end(name, "cancelled")
            return
        token = _by_hand.set((name,))
        try:
            [computed] = await self._run([name])
        finally:
            _by_hand.reset(token)
        await self.cache.aupdate(text, "by hand", [generation(computed)])

    def ask_by_hand_sync(self, text: str) -> None:
        """The same, in a thread: its failure is not told to anybody."""
        name = f"hand {text}"
        found = self.cache.lookup(text, "by hand")
        if found is not None:
            self.ledger.answer(name, _name("hand", found[0].text))
            return
        token = _by_hand.set((name,))
        try:
            [computed] = self._run_sync([name])
        except FailureError:
            return
        finally:
            _by_hand.reset(token)
        self.cache.update(text, "by hand", [generation(computed)])

    async def ask_in_the_loop(self, text: str) -> None:
        """A sync call in the event loop's thread: must not wait."""
        token = _is_inside.set(True)
        try:
            self.ask_by_hand_sync(text)
        finally:
            _is_inside.reset(token)

    async def linger(self, text: str) -> None:
        """Looks, and lives on."""
        name = f"hand {text}"
        if await self.cache.alookup(text, "by hand") is None:
            self.ledger.begin(name, may_wait=True)
            self.ledger.end(name, "cancelled")
            await self._idle()

    async def in_thread(self, ask: Callable[[Any], None], *args: Any) -> None:
        """As `asyncio.to_thread`. Who leaves does not stop the thread."""
        future = self.pool.submit(contextvars.copy_context().run, ask, *args)
        self.threads.add(future)
        future.add_done_callback(self.threads.discard)
        await asyncio.wrap_future(future)

    async def _idle(self) -> None:
        self.idle.add(asyncio.current_task())
        await self.is_over.wait()

    async def live_on(self, ask: Callable[[Any], Coroutine[Any, Any, None]], what: Any) -> None:
        """Ask, and go on with something else though the model fails."""
        try:
            await ask(what)
        except FailureError:
            await self._idle()

    def draw(self, *, has_threads: bool, has_lingerers: bool) -> Coroutine[Any, Any, None]:
        """One caller."""
        dice = self.dice
        name, batch = dice.choice(self.names), dice.choices(self.names, k=dice.randint(1, 3))
        kinds: list[Callable[[], Coroutine[Any, Any, None]]] = [
            lambda: self.ask(name),
            lambda: self.live_on(self.ask, name),
            lambda: self.ask_by_hand(name),
            lambda: self.ask_batch(batch),
            lambda: self.live_on(self.ask_batch, batch),
        ]
        if dice.random() < 0.2:
            kinds.append(lambda: self.ask_in_the_loop(name))
        if has_threads:
            kinds += [
                lambda: self.in_thread(self.ask_sync, name),
                lambda: self.in_thread(self.ask_batch_sync, batch),
                lambda: self.in_thread(self.ask_by_hand_sync, name),
            ]
        if has_lingerers:
            kinds.append(lambda: self.linger(name))
        return dice.choice(kinds[-self.kinds :] if has_lingerers else kinds[: self.kinds])()

    async def run(self, limit: float, *, has_threads: bool, has_lingerers: bool) -> set[Any]:
        """Everybody comes, and some leave. Returns the tasks, those that hang among them."""
        dice = self.dice
        comings: dict[int, list[Coroutine[Any, Any, None]]] = {}
        leavings: dict[int, list[asyncio.Task[None]]] = {}
        for _ in range(dice.randint(2, 12)):
            caller = self.draw(has_threads=has_threads, has_lingerers=has_lingerers)
            comings.setdefault(dice.choice(self.waits), []).append(caller)
        tasks: set[asyncio.Task[None]] = set()
        tick = 0
        while comings or leavings:
            for caller in comings.pop(tick, []):
                task = asyncio.create_task(caller)
                tasks.add(task)
                if dice.random() < 0.3:
                    leavings.setdefault(tick + dice.choice(self.waits), []).append(task)
            for task in leavings.pop(tick, []):
                task.cancel()
            await asyncio.sleep(0)
            tick += 1
        self.ledger.counts["callers"] += len(tasks)
        end = time.monotonic() + limit
        # No event tells that nobody but the idle is left: some are threads, which nobody stops.
        while self.threads or any(not task.done() for task in tasks - self.idle):
            await asyncio.sleep(0.0005)
            if time.monotonic() > end:
                # Whatever frees them later.
                self.ledger.wrong.append(f"it hangs: {tasks - self.idle}")
                break
        self.is_over.set()
        await asyncio.wait(tasks, timeout=limit)
        return tasks


def _text(name: str) -> str:
    """What was asked, without the kind of who asked it."""
    return name.split(" ", 1)[1]


def _name(kind: str, text: str) -> str:
    """An answer, as the ledger knows it."""
    return text.replace("answer to ", f"answer to {kind} ")
