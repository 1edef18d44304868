"""Random schedules of threads that read streams of the same questions, drawn from a seed."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from llmemo import LLMCache, cached
from support.doubles import LIMIT
from support.streaming import BrokenError, Stream, chunk, streams, texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

    from langchain_core.outputs import ChatGenerationChunk

LENGTHS = [0, 1, 2, 3, 8, 30]


class StopError(Exception):
    """Raised in the body of a reader's loop."""


class ThreadSchedule:
    """As `stream_schedules.Schedule`, for threads: what is drawn is the same each time, no more."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(f"threads of {seed}")
        dice = self.dice
        self.cache = LLMCache(lease_timeout=100 * LIMIT)
        self.failing = dice.choice([0.0, 0.0, 0.3])
        self.odd = dice.choice([0.0, 0.0, 0.3])
        self.pause = dice.choice([0.0, 0.0, 0.0002, 0.002])
        self.model = streams(act_sync=self._act)
        self.cached = cached(self.model, self.cache)
        self.names = ["a", "b"][: dice.randint(1, 2)]
        self.lock = threading.Lock()
        self.wrong: list[object] = []
        self.counts: Counter[str] = Counter()
        self.open: dict[int, str] = {}
        self.overlaps: list[tuple[Stream, str]] = []
        self.odd_ones: set[int] = set()
        self.alone: set[str] = set()
        """Questions that callers may ask on their own: after two failures, or an odd answer."""
        self.failures: Counter[str] = Counter()

    def _act(self, stream: Stream) -> Iterator[ChatGenerationChunk]:
        dice, name = self.dice, stream.question
        with self.lock:
            length = dice.choice(LENGTHS)
            fails_at = dice.randint(0, length) if dice.random() < self.failing else None
            odd_at = dice.randint(0, length) if dice.random() < self.odd else None
            others = [number for number, other in self.open.items() if other == name]
            self.overlaps += [(self.cached.streams[number], name) for number in others]
            self.open[stream.number] = name
            if not length or odd_at is not None:
                self.alone.add(name)
            if odd_at is not None:
                self.odd_ones.add(stream.number)
        try:
            for at in range(length + 1):
                time.sleep(self.pause)
                if at == fails_at:
                    self.failures[name] += 1
                    if self.failures[name] > 1:
                        self.alone.add(name)
                    raise BrokenError(stream.number)
                if at < length:
                    yield chunk(stream.text(), is_odd=at == odd_at)
        finally:
            self.open.pop(stream.number)

    def read_along(self, name: str, until: int, how: str, pause: float) -> None:
        got: list[Any] = []
        outcome = "ended"
        chunks = self.cached.stream(name)
        try:
            for each in chunks:
                got.append(each)
                if len(got) == until and how != "all":
                    outcome = how
                    break
                time.sleep(pause)
            if outcome == "close":
                chunks.close()  # type: ignore[attr-defined]
            elif outcome == "raise":
                raise StopError
        except StopError:
            pass
        except BrokenError:
            outcome = "failed"
        except ValueError as error:
            outcome = "empty"
            if "No generation chunks" not in str(error):
                self.wrong.append(error)
        self._check(name, texts(got), outcome)

    def ask(self, name: str) -> None:
        try:
            said = self.cached.invoke(name).content
        except BrokenError:
            return
        whole = ["".join(each.made) for each in self.cached.streams if each.how == "ended"]
        if said not in whole:
            self.wrong.append((name, "no model has said", said))

    def _check(self, name: str, got: list[str], how: str) -> None:
        self.counts[how] += 1
        if not got:
            return
        stream = self.cached.streams[int(got[0].split("/")[1])]
        made = list(stream.made)
        if got == ["".join(made)]:
            got = made
        is_right = stream.question == name and got == made[: len(got)]
        if how == "ended":
            is_right &= got == made and stream.how == "ended"
        if how == "failed":
            is_right &= got == made and stream.how == "failed"
        if not is_right:
            self.wrong.append((name, how, stream.how, got, made))

    def run(self, pool: ThreadPoolExecutor) -> None:
        dice = self.dice
        jobs: list[Future[None]] = []
        for _ in range(dice.randint(2, 8)):
            name = dice.choice(self.names)
            if dice.random() < 0.15:
                jobs.append(pool.submit(self.ask, name))
            else:
                until, pause = dice.choice([1, 2, 5]), dice.choice([0.0, 0.0, 0.001])
                how = dice.choice(["all", "all", "close", "drop", "raise"])
                jobs.append(pool.submit(self.read_along, name, until, how, pause))
            time.sleep(dice.choice([0.0, 0.0, 0.001]))
        for job in jobs:
            job.result(LIMIT)
        flights = self.cache._tiers.flights
        assert flights is not None
        self.wrong += [each.how for each in self.cached.streams if each.how == "open"]
        if len(self.cache._tiers.live) or flights._flights:
            self.wrong.append("something is left behind")
        self.wrong += [
            f"{name} was asked though it was being asked"
            for stream, name in self.overlaps
            if stream.how != "closed" and name not in self.alone
        ]
        self.counts["schedules"] += 1
        self.counts["streams"] += len(self.cached.streams)
