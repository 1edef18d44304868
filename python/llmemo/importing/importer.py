"""Import of the answers in LangChain's SQLiteCache and SQLAlchemyMd5Cache.

file ──► requests, in chunks ──► key and value of llmemo ──► memory, or the store in batches
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from llmemo._core import RequestBypassed, ValueRefused, encode
from llmemo.config.options import DEFAULT, in_force
from llmemo.errors import CacheClosedError, StoreError
from llmemo.importing.row_parser import RowRefused, read
from llmemo.importing.rows_by_request import ImportedRequest, LangChainFile
from llmemo.importing.store_writer import StoreWriter
from llmemo.keys.identity import describe, identify
from llmemo.keys.request import Request
from llmemo.pipeline.admission import refusal_of
from llmemo.pipeline.answer_record import record_of, times
from llmemo.telemetry import numbers
from llmemo.telemetry.progress import ProgressBar

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Callable, Iterable

    from langchain_core.outputs import Generation

    from llmemo.keys.identity import Identity
    from llmemo.pipeline.tiers import Tiers
    from llmemo.stores import Record

STRIDE = 20
"""Requests between two pauses beside an event loop: about a millisecond of work."""

PAUSE = 1e-6
"""Length of a pause in seconds. Without one, the loop's thread waits 5 ms for the GIL."""


@dataclass(frozen=True)
class ImportReport:
    """The result of an import. `str()` of it is for people."""

    imported: int
    """Requests that the cache answers from now on, and did not before."""
    already: int
    """Requests that the cache had an answer to. It is left as it was."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Requests that were not imported, by reason.

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
            f"{numbers.answers(self.imported)} imported, {self.already:,} already there,"
            f" {sum(self.skipped.values()):,} skipped{f' ({reasons})' if reasons else ''},"
            f" in {self.seconds:.1f} s"
        )


def import_langchain(
    tiers: Tiers,
    path: str | os.PathLike[str],
    progress: Callable[[int, int], object] | None,
    stop: threading.Event | None,
) -> ImportReport:
    """Import a file; see `LLMCache.import_langchain`.

    With `stop` it runs beside an event loop and pauses to release the GIL. It ends early once that
    is set.
    """
    start = time.monotonic()
    with LangChainFile(path) as source, ProgressBar(f"importing {source.path.name}") as bar:
        run = _Import(tiers, stop)
        try:
            for chunk in source.chunks():
                if stop is not None and stop.is_set():
                    break
                run.skipped.update(chunk.skipped)
                run.add(chunk.requests)
                if chunk.position:
                    (progress or bar)(chunk.position, source.total)
            run.finish()
        except StoreError as error:
            run.note(error)
            raise
    seconds = time.monotonic() - start
    return ImportReport(run.imported, run.already, dict(run.skipped), seconds)


class _Answer(NamedTuple):
    """An answer in the form of llmemo."""

    request: ImportedRequest
    identity: Identity
    generations: list[Generation]
    value: bytes


class _Import:
    """One import under way."""

    def __init__(self, tiers: Tiers, stop: threading.Event | None) -> None:
        self.imported = 0
        self._kept_already = 0
        """Answers that memory had."""
        self.skipped: Counter[str] = Counter()
        self._tiers = tiers
        self._stop = stop
        self._options = in_force() or DEFAULT
        self._namespace = tiers.namespace_of(self._options)
        executor = tiers.executor
        self._writer = None if executor is None else StoreWriter(executor, self._count)
        self._check()

    @property
    def already(self) -> int:
        """Answers that the cache had."""
        return self._kept_already + (0 if self._writer is None else self._writer.already)

    def add(self, requests: Iterable[ImportedRequest]) -> None:
        """Import requests. With a store, they are on their way when this returns."""
        self._check()
        records: dict[bytes, Record] = {}
        for at, request in enumerate(requests):
            if self._stop is not None and at % STRIDE == 0:
                self._stop.wait(PAUSE)
            answer = self._translated(request)
            if answer is None:
                continue
            key = answer.identity.key
            if key in records or self._tiers.memory.holds(key):
                self._kept_already += 1
            elif self._writer is None:
                self._remember(answer)
            else:
                records[key] = self._record(answer)
        if records and self._writer is not None:
            self._writer.send(list(records.values()))

    def finish(self) -> None:
        """Wait until the store has everything."""
        if self._writer is not None:
            self._writer.finish()

    def note(self, error: StoreError) -> None:
        """Add to an error the number of answers that were imported all the same."""
        if self._writer is not None:
            self._writer.give_up()
        error.args = (f"{error} (imported: {numbers.answers(self.imported)})",)

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
        return now, times(self._tiers.settings, self._options, self._namespace, now, None)[0]

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

    def _count(self, added: int) -> None:
        self.imported += added
        self._tiers.tally.add("updates", added)

    def _check(self) -> None:
        if self._tiers.is_closed:
            msg = "the cache is closed: nothing can be imported into it any more"
            raise CacheClosedError(msg)
