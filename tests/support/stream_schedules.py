"""Random schedules of callers who read streams of the same questions, drawn from a seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage

import llmemo
from llmemo import CacheMiss, LLMCache, cached
from llmemo.integrations.cached_model.stream_async import PATIENCE
from llmemo.single_flight.chunk_log import RECENT_MAX, TAIL_MAX, TIDY_EVERY
from support.streaming import BrokenError, Stream, chunk, is_idle, streams, texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from langchain_core.outputs import ChatGenerationChunk

PAUSES = [0.0, 0.0, 0.0, 0.001, 0.01, 0.1, 0.5, 3.0]
"""Seconds of the virtual clock; 0 is no wait at all, or one pass of the loop."""

LENGTHS = [0, 1, 1, 2, 3, 5, 8, 20]
LONG = [70, 400]
"""Beyond what is read in a row, and what is kept of a stream that is not recorded."""

_is_inside: ContextVar[bool] = ContextVar("is_inside", default=False)


class StopError(Exception):
    """Raised in the body of a reader's loop."""


class Schedule:
    """Who reads what, from when, how fast, and until when."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        dice = self.dice
        self.cache = LLMCache()
        self.failing = dice.choice([0.0, 0.0, 0.2, 0.7])
        self.odd = dice.choice([0.0, 0.0, 0.3])
        self.nesting = dice.choice([0.0, 0.0, 0.2])
        self.lengths = [*dice.sample(LENGTHS, 3), *(LONG if dice.random() < 0.1 else [])]
        self.pauses = dice.sample(PAUSES, 3)
        self.names = ["a", "b"][: dice.randint(1, 2)]
        self.model = streams(act=self._act)
        self.cached = cached(self.model, self.cache)
        self.wrong: list[object] = []
        self.counts: Counter[str] = Counter()
        self.outcomes: set[str] = set()
        self.failures: Counter[str] = Counter()
        self.live: dict[int, str] = {}
        """The streams that are open and were not given up, with their questions."""
        self.overlaps: list[tuple[int, float]] = []
        self.given_up: dict[int, float] = {}
        self.odd_ones: set[int] = set()
        self.read: dict[int, list[str]] = {}
        """What readers who came to an end were given, by the number of the stream."""

    # The model.

    async def _pause(self) -> None:
        seconds = self.dice.choice(self.pauses)
        if seconds or self.dice.random() < 0.5:
            await asyncio.sleep(seconds)

    async def _act(self, stream: Stream) -> AsyncIterator[ChatGenerationChunk]:
        dice, name = self.dice, stream.question
        is_inside = _is_inside.get()
        # After answers that are not for others, all go alone for a while.
        is_empty = any(each.how == "ended" and not each.made for each in self.cached_streams(name))
        may_overlap = is_inside or is_empty or self.odd_ones or self.failures[name] >= 2
        if not may_overlap:
            now = asyncio.get_running_loop().time()
            self.overlaps += [(number, now) for number, other in self.live.items() if other == name]
        if any(self._is_kept(each) for each in self.cached_streams(name)) and not is_inside:
            self.wrong.append(f"{name} is asked though its answer is kept")
        length = dice.choice(self.lengths)
        fails_at = dice.randint(0, length) if dice.random() < self.failing else None
        odd_at = dice.randint(0, length) if dice.random() < self.odd else None
        cleanup = dice.choice([0.0, 0.0, 0.01, 2.0])
        # One within another never waits, and so may not have been given the lease.
        if not is_inside:
            self.live[stream.number] = name
        try:
            for at in range(length + 1):
                await self._pause()
                if at == fails_at:
                    self.failures[name] += 1
                    raise BrokenError(stream.number)
                if at == length:
                    break
                if dice.random() < self.nesting and not is_inside:
                    await self._nest()
                if at == odd_at:
                    self.odd_ones.add(stream.number)
                yield chunk(stream.text(), is_odd=at == odd_at)
                self._check_buffers()
        except (asyncio.CancelledError, GeneratorExit):
            # It closes its stream, however long that takes: others do not wait for it.
            self.live.pop(stream.number, None)
            self.given_up[stream.number] = asyncio.get_running_loop().time()
            await asyncio.sleep(cleanup)
            raise
        finally:
            self.live.pop(stream.number, None)

    async def _nest(self) -> None:
        token = _is_inside.set(True)
        try:
            async for _ in self.cached.astream(self.dice.choice(self.names)):
                pass
        except (BrokenError, ValueError):
            pass
        finally:
            _is_inside.reset(token)

    def cached_streams(self, name: str) -> list[Stream]:
        return [each for each in self.model.streams if each.question == name]

    def _is_kept(self, stream: Stream) -> bool:
        """Whether its answer must be in the cache: a reader has been told of its end."""
        return stream.number in self.read and bool(stream.made) and self._is_plain(stream)

    def _is_plain(self, stream: Stream) -> bool:
        return stream.number not in self.odd_ones

    def _check_buffers(self) -> None:
        for reference in list(self.cache._tiers.live._streams.values()):
            stream = reference()
            if stream is None:
                continue
            log = stream.log
            places = log._positions() or [log.count]
            # One chunk that is on its way, and those that were read since they were last dropped.
            most = max(places) - min(places) + TAIL_MAX + TIDY_EVERY + 1
            if len(log._tail) > most or len(log._recent) > RECENT_MAX:
                self.wrong.append(f"{len(log._tail)} chunks are kept, {len(log._recent)} recent")
            if len(stream._waiting) > stream._readers:
                self.wrong.append("those who have gone are waited for")

    # The readers.

    def _check(self, name: str, got: list[str], how: str) -> None:
        """Any reader has a prefix of one stream; who was told of its end has all of it."""
        self.counts[how] += 1
        self.outcomes.add(how)
        if not got:
            return
        number = int(got[0].split("/")[1])
        made = self.model.streams[number].made
        stream = self.model.streams[number]
        if got == ["".join(made)]:
            # The answer of one who wanted no stream.
            got = made
        if stream.question != name or got != made[: len(got)]:
            self.wrong.append((name, how, got, made))
        elif how == "ended":
            if got != made or stream.how != "ended":
                self.wrong.append((name, f"taken for whole, but {stream.how}", got, made))
            self.read[number] = got
        elif how == "failed" and (stream.how != "failed" or got != made):
            self.wrong.append((name, f"failed, but {stream.how}", got, made))

    async def read_along(self, name: str, until: int, how: str) -> None:
        got: list[str] = []
        chunks: Any = self.cached.astream(name)
        outcome = "left"
        try:
            outcome = await self._read(chunks, got, until, how)
        except BrokenError:
            outcome = "failed"
        except ValueError as error:
            outcome = "empty" if "No generation chunks" in str(error) else str(error)
        except StopError:
            outcome = "stopped"
        except asyncio.TimeoutError:
            outcome = "late"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._check(name, texts(got), outcome)
            if how == "close":
                await chunks.aclose()

    async def _read(self, chunks: Any, got: list[Any], until: int, how: str) -> str:
        while True:
            try:
                if how == "timed":
                    got.append(await asyncio.wait_for(anext_(chunks), self.dice.choice([0.05, 2])))
                else:
                    got.append(await anext_(chunks))
            except StopAsyncIteration:
                return "ended"
            if len(got) == until:
                if how == "raise":
                    raise StopError
                if how == "again":
                    await self._again(got)
                elif how in {"close", "drop"}:
                    return "left"
            if how != "fast":
                await self._pause()

    async def _again(self, got: list[Any]) -> None:
        """The same question once more, in the body of the loop."""
        name = str(got[0].content).partition("/")[0] or self.names[0]
        try:
            if self.dice.random() < 0.5:
                await self.ask(name)
            else:
                await self.read_along(name, 0, "fast")
        except (BrokenError, ValueError):
            pass

    async def ask(self, name: str) -> None:
        """Without a stream."""
        try:
            said = (await self.cached.ainvoke(name)).content
        except BrokenError:
            self.counts["invoke failed"] += 1
            return
        self.counts["invoked"] += 1
        same = ["".join(each.made) for each in self.cached_streams(name) if each.how == "ended"]
        if said not in same:
            self.wrong.append((name, "no model has said", said))

    async def in_turns(self, one: str, other: str) -> None:
        """Two streams, read in turns by one task."""
        pairs: list[tuple[str, Any, list[Any]]] = [
            (name, self.cached.astream(name), []) for name in (one, other)
        ]
        ended: list[tuple[str, list[Any]]] = []
        try:
            while pairs:
                for pair in list(pairs):
                    name, chunks, got = pair
                    try:
                        got.append(await anext_(chunks))
                    except StopAsyncIteration:
                        pairs.remove(pair)
                        ended.append((name, got))
        except (BrokenError, ValueError) as error:
            self.counts["turns failed"] += 1
            if isinstance(error, ValueError):
                # LangChain's own, which has itself in a frame, and so keeps this frame.
                error.__traceback__ = None
        for name, got in ended:
            self._check(name, texts(got), "ended")

    def _draw(self) -> Coroutine[Any, Any, None]:
        dice = self.dice
        name = dice.choice(self.names)
        kinds: list[Callable[[], Coroutine[Any, Any, None]]] = [
            lambda how=how: self.read_along(name, dice.choice([1, 2, 3, 9]), how)  # type: ignore[misc]
            for how in ("fast", "slow", "close", "drop", "raise", "again", "timed")
        ]
        kinds += [lambda: self.ask(name), lambda: self.in_turns(name, dice.choice(self.names))]
        return dice.choice(kinds)()

    async def run(self) -> None:
        """All come, and some are cancelled."""
        dice = self.dice
        tasks: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        for _ in range(dice.randint(1, 9)):
            if dice.random() < 0.5:
                await asyncio.sleep(dice.choice(PAUSES))
            task = asyncio.create_task(self._draw())
            tasks.append(task)
            if dice.random() < 0.25:
                loop.call_later(dice.choice(PAUSES), task.cancel)
        for task in tasks:
            try:
                await task
            except asyncio.CancelledError:
                self.counts["cancelled callers"] += 1
        # What was given up is closed: cleaning up takes 2 s here, at most.
        await asyncio.sleep(PATIENCE + 2.1)
        if not is_idle(self.cache):
            self.wrong.append("something is left behind")
        self.wrong += [
            f"{each.question}/{each.number} is open"
            for each in self.model.streams
            if each.how == "open"
        ]
        # One that is being given up learns of it in the next pass of the loop.
        self.wrong += [
            f"{number} was open when another was asked"
            for number, when in self.overlaps
            if self.given_up.get(number) != when
        ]
        for name in self.names:
            await self._check_kept(name)
        known = {"cancelled", "empty", "ended", "failed", "late", "left", "stopped"}
        self.wrong += [how for how in self.outcomes if how not in known]
        self.counts["schedules"] += 1
        self.counts["streams"] += len(self.model.streams)

    async def _check_kept(self, name: str) -> None:
        made = self.cached_streams(name)
        before = len(made)
        try:
            with llmemo.options(mode="only"):
                chunks = self.cached._astream([HumanMessage(name)])
                kept = [each.text async for each in chunks if each.text]
        except CacheMiss:
            if any(self._is_kept(each) for each in made):
                self.wrong.append(f"{name} was not kept")
            return
        self.counts["kept"] += 1
        ended = [each for each in made if each.how == "ended"]
        plain = [each.made for each in ended if self._is_plain(each)]
        # An answer of `ainvoke` is one chunk.
        if kept not in plain and kept not in [["".join(each.made)] for each in ended]:
            self.wrong.append((name, "kept, but no stream was this", kept))
        assert len(self.cached_streams(name)) == before


async def anext_(chunks: Any) -> Any:
    """`anext` of Python 3.10."""
    return await chunks.__anext__()
