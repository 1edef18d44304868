"""Answers of LangChain's SQLiteCache and SQLAlchemyMd5Cache, taken over into a cache of ours.

file ──► requests, in chunks ──► our key, our value ──► memory, or the store in batches
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from llmemo._core import RequestBypassed, ValueRefused, encode
from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.config.options import DEFAULT, in_force
from llmemo.errors import CacheClosedError, StoreError, text_of
from llmemo.importing.progress import ProgressBar
from llmemo.importing.row_parser import RowRefused, read
from llmemo.importing.rows_by_request import ImportedRequest, LangChainFile
from llmemo.keys.identity import describe, identify
from llmemo.keys.request import Request
from llmemo.pipeline.admission import refusal_of
from llmemo.pipeline.update import record_of, times
from llmemo.store_io.calls import Call, run_inline
from llmemo.store_io.operations import Add

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Callable, Iterable

    from langchain_core.outputs import Generation

    from llmemo.keys.identity import Identity
    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.executor import Executor
    from llmemo.stores import Record

PATIENCE = 60.0
"""Seconds that the store may take for a batch: a person is waiting."""

LAST_PATIENCE = 1.0
"""Seconds for a batch that is still on its way when another has failed."""

AHEAD = 2
"""Batches on their way to the store: it writes one while the next is made, and no more wait."""

STRIDE = 20
"""Requests between two pauses beside an event loop: about a millisecond's work."""

PAUSE = 1e-6
"""Seconds: any is long enough for the loop's thread, which else has to wait 5 ms for the GIL."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did. `str()` of it is for people."""

    imported: int
    """Requests that are answered from now on, and were not before."""
    already: int
    """Requests that the cache had an answer to, which was left as it was."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Requests that were not taken over, by reason.

    - `not_json`, `not_a_generation`, `invalid`: the row is not what LangChain writes today: the
      bare text of an old version, say, which LangChain would serve as it stands.
    - `not_implemented`, `secret`, `unknown_class`: it holds what LangChain could not write down, or
      an object of another class than langchain-core's messages and generations.
    - `gap`, `duplicates`: the rows of the request are not one answer, numbered from 0.
    - `not_text`, `too_deep`: the row is no text, or its values are nested too deep.
    - `bypassed: …`: the request does not say what is asked, so that it is never cached; the reasons
      are those of `stats().bypassed`.
    - `not kept: …`: the answer is not worth keeping, or cannot be kept; the reasons are
      those of `stats().skipped`.
    """
    seconds: float = 0.0
    """How long it took."""

    def __str__(self) -> str:
        """One sentence."""
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.skipped.items()))
        return (
            f"{self.imported:,} answers imported, {self.already:,} were there already,"
            f" {sum(self.skipped.values()):,} skipped{f' ({reasons})' if reasons else ''},"
            f" in {self.seconds:.1f} s"
        )


def import_langchain(
    tiers: Tiers,
    path: str | os.PathLike[str],
    progress: Callable[[int, int], object] | None,
    stop: threading.Event | None,
) -> ImportReport:
    """See `LLMCache.import_langchain`. Ends early, with what it has, once `stop` is set.

    With one it runs beside an event loop, and lets that have the GIL now and then.
    """
    start = time.monotonic()
    with LangChainFile(path) as source, ProgressBar(f"importing {source.path.name}") as bar:
        into = _Import(tiers, stop)
        try:
            for chunk in source.chunks():
                if stop is not None and stop.is_set():
                    break
                into.skipped.update(chunk.skipped)
                into.take(chunk.requests)
                (progress or bar)(chunk.position, source.total)
            into.finish()
        except StoreError as error:
            into.note(error)
            raise
    seconds = time.monotonic() - start
    return ImportReport(into.imported, into.already, dict(into.skipped), seconds)


class _Answer(NamedTuple):
    """An answer in our form."""

    request: ImportedRequest
    identity: Identity
    generations: list[Generation]
    value: bytes


class _Import:
    """What was taken over so far."""

    def __init__(self, tiers: Tiers, stop: threading.Event | None) -> None:
        self.imported = 0
        self.already = 0
        self.skipped: Counter[str] = Counter()
        self._tiers = tiers
        self._stop = stop
        self._said = in_force() or DEFAULT
        self._namespace = tiers.namespace_of(self._said)
        self._under_way: deque[tuple[Call[int], int]] = deque()
        self._check()

    def take(self, requests: Iterable[ImportedRequest]) -> None:
        """Take requests over; with a store, they are on their way when this returns."""
        self._check()
        executor = self._tiers.executor
        records: dict[bytes, Record] = {}
        for at, request in enumerate(requests):
            if self._stop is not None and at % STRIDE == 0:
                self._stop.wait(PAUSE)
            answer = self._translated(request)
            if answer is None:
                continue
            key = answer.identity.key
            if key in records or self._tiers.memory.holds(key):
                self.already += 1
            elif executor is None:
                self._remember(answer)
            else:
                records[key] = self._record(answer)
        if records and executor is not None:
            self._send(executor, list(records.values()))

    def finish(self) -> None:
        """Wait until the store has everything."""
        while self._under_way:
            self._wait()

    def note(self, error: StoreError) -> None:
        """Add to an error what was done all the same."""
        for call, count in self._under_way:
            with contextlib.suppress(Exception):
                self._settle(run_inline(call.wait(LAST_PATIENCE)), count)
        error.args = (f"{error} ({self.imported:,} answers were imported)",)

    def _translated(self, request: ImportedRequest) -> _Answer | None:
        prompt, llm_string, responses = request
        try:
            name = identify if self._tiers.durable is None else describe
            identity = name(self._tiers.memory, Request(prompt, llm_string), self._namespace)
            generations = [read(text) for text in responses]
            value = encode(generations, identity.key)
        except RequestBypassed as bypass:
            self.skipped[f"bypassed: {bypass.args[0]}"] += 1
        except RowRefused as refusal:
            self.skipped[str(refusal)] += 1
        except ValueRefused as refusal:
            self.skipped[f"not kept: {refusal.args[0]}"] += 1
        else:
            against = refusal_of(self._tiers, generations)
            if against is None:
                return _Answer(request, identity, generations, value)
            self.skipped[f"not kept: {against}"] += 1
        return None

    def _times(self) -> tuple[float, float | None]:
        now = self._tiers.clock()
        return now, times(self._tiers.settings, self._said, self._namespace, now, None)[0]

    def _record(self, answer: _Answer) -> Record:
        (prompt, llm_string, _), identity, _, value = answer
        request = (self._namespace, llm_string, prompt)
        return record_of(self._tiers, request, identity, value, self._times())

    def _remember(self, answer: _Answer) -> None:
        (prompt, _, _), identity, generations, value = answer
        created, expires = self._times()
        is_kept = self._tiers.memory.put(
            prompt,
            identity.name,
            self._namespace,
            identity.key,
            value,
            expires=expires,
            created=created,
            worth=self._tiers.memory.worth(generations),
        )
        if is_kept:
            self._count(1)
        else:
            self.skipped["not kept: too_large"] += 1

    def _send(self, executor: Executor, records: list[Record]) -> None:
        while len(self._under_way) >= AHEAD:
            self._wait()
        call: Call[int] = Call.blocking(Add(records))
        try:
            executor.submit(call)
        except RuntimeError as error:  # no thread to be had
            raise StoreError(f"the store could not be started: {text_of(error)}") from error
        self._under_way.append((call, len(records)))

    def _wait(self) -> None:
        call, count = self._under_way.popleft()
        try:
            added = run_inline(call.wait(PATIENCE))
        except NotYetError as error:
            msg = f"the store did not take {count:,} answers within {PATIENCE:.0f} s: import again"
            raise StoreError(msg) from error
        except StoreError:
            raise
        except Exception as error:
            if is_interrupt(error):
                raise
            raise StoreError(f"the store could not take answers: {text_of(error)}") from error
        self._settle(added, count)

    def _settle(self, added: int, count: int) -> None:
        self._count(added)
        self.already += count - added

    def _count(self, added: int) -> None:
        self.imported += added
        self._tiers.tally.add("updates", added)

    def _check(self) -> None:
        if self._tiers.is_closed:
            msg = "the cache is closed: nothing can be imported into it any more"
            raise CacheClosedError(msg)
