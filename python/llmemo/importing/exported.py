"""The import of an export: lines ──► checked ──► the store's own write path, in batches."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmemo._core import Memory
from llmemo.errors import StoreError
from llmemo.exporting.sources import source_of
from llmemo.importing.line_reader import State
from llmemo.importing.store_writer import TIMEOUT, StoreWriter
from llmemo.importing.target import target_of
from llmemo.inspection.opening import PREFIX
from llmemo.store_io.calls import Call, run_inline, store_errors
from llmemo.store_io.executor import Executor
from llmemo.store_io.operations import AmendState
from llmemo.telemetry import numbers
from llmemo.telemetry.stats import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.exporting.lines import Kinds
    from llmemo.exporting.source import Source
    from llmemo.importing.line_reader import LineReader
    from llmemo.stores import Record

RECORDS_PER_BATCH = 256
"""Answers of one transaction: some milliseconds, for which services wait with theirs."""

BYTES_PER_BATCH = 4 * 2**20
"""Bytes after which a transaction ends."""

CLOSING = 10.0
"""Longest time for the last writes, in seconds."""


@dataclass(frozen=True)
class LinesReport:
    """The result of an import of lines. `str()` of it is for people."""

    imported: int
    """Answers that the store has from now on, and had not before."""
    already: int
    """Answers that the store had. It kept its own."""
    expired: int
    """Answers left out since they have expired meanwhile."""
    states: int
    """Named states that came: what similar questions have proved."""
    damaged: dict[str, int] = field(default_factory=dict)
    """Lines left out, by reason."""
    missing: int | None = 0
    """Lines that the end counts and that were not there. None: there is no end, it was cut off."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def is_whole(self) -> bool:
        """Whether everything that was exported was there, and whole."""
        return not self.damaged and self.missing == 0

    def __str__(self) -> str:
        """One sentence."""
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.damaged.items()))
        bad = (
            f", {numbers.lines(sum(self.damaged.values()))} damaged ({reasons})" if reasons else ""
        )
        gap = "; the end is missing" if self.missing is None else ""
        if self.missing:
            gap = f"; missing: {numbers.lines(self.missing)}"
        return (
            f"{numbers.answers(self.imported)} imported, {self.already:,} already there,"
            f" {self.expired:,} expired{bad}, in {self.seconds:.1f} s{gap}"
        )


class LinesImport:
    """An import of lines into a store."""

    def __init__(
        self,
        reader: LineReader,
        location: str,
        *,
        prefix: str = PREFIX,
        anyway: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Look at the store. Nothing is written yet.

        Args:
            reader: The lines.
            location: Path or URL of the store. A file that is missing is created.
            prefix: Begins its keys on a server.
            anyway: Import even if keys or values were made in another way.
            clock: Returns Unix time in seconds.

        Raises:
            ConfigurationError: There can be no store.
            StoreError: It cannot be used, or its keys or values were made in another way.
        """
        self.imported = 0
        self._reader = reader
        self._clock = clock
        self._expired = self._states = 0
        self._store, is_there = target_of(location, prefix=prefix)
        self._store.clock = clock
        self._store.timeout = TIMEOUT
        self._is_new = True
        if is_there:
            with source_of(location, prefix=prefix) as target:
                self._is_new = not target.kinds().namespaces
                if not anyway:
                    _check_alike(target, reader.kinds)

    def run(self, progress: Callable[[int], object]) -> LinesReport:
        """Import everything.

        Args:
            progress: Called now and then with the number of bytes read.

        Raises:
            StoreError: The store does not take it. What was imported before is kept.
            OSError: The lines cannot be read any more.
        """
        start = time.monotonic()
        memory = Memory(1, fingerprint_secret=bytes(192))
        executor = Executor(self._store, Tally(), memory, TIMEOUT)
        self._writer = StoreWriter(executor, self._count)
        try:
            self._run(executor, progress)
        except StoreError as error:
            self._writer.give_up()
            error.args = (f"{error} (imported: {numbers.answers(self.imported)})",)
            raise
        except BaseException:
            self._writer.give_up()
            raise
        finally:
            executor.close(CLOSING)
        return LinesReport(
            self.imported,
            self._writer.already,
            self._expired,
            self._states,
            dict(self._reader.refused),
            self._reader.missing,
            time.monotonic() - start,
        )

    def _run(self, executor: Executor, progress: Callable[[int], object]) -> None:
        batch: dict[bytes, Record] = {}
        size = 0
        for item in self._reader:
            if isinstance(item, State):
                self._add_state(executor, item)
            elif not item.is_live(self._clock()):
                self._expired += 1
            elif item.key in batch:
                self._writer.already += 1
            else:
                batch[item.key] = item
                size += item.size
            if len(batch) >= RECORDS_PER_BATCH or size >= BYTES_PER_BATCH:
                self._writer.send(list(batch.values()))
                batch, size = {}, 0
                progress(self._reader.position)
        if batch:
            self._writer.send(list(batch.values()))
        self._writer.finish()

    def _add_state(self, executor: Executor, item: State) -> None:
        """Take a state over into a store that had no answers: it speaks of the answers around it.

        What it proves of the questions of one application says nothing of another's.
        """
        if self._store.vectors is None or not self._is_new:
            return
        call: Call[bytes | None] = Call.blocking(
            AmendState(item.name, functools.partial(_unless_there, item.state))
        )
        executor.submit(call)
        with store_errors(late="the store did not answer", failed="the store could not be written"):
            self._states += run_inline(call.wait(TIMEOUT)) == item.state

    def _count(self, added: int) -> None:
        self.imported += added


def _unless_there(state: bytes, stored: bytes | None) -> bytes | None:
    return state if stored is None else None


def _check_alike(target: Source, kinds: Kinds) -> None:
    """Raise unless keys and values of the store were made as those of an export.

    Raises:
        StoreError: They were not, so that no lookup would find the answers.
    """
    there = target.kinds()
    if not there.namespaces or not kinds.namespaces:
        return
    labels = kinds.namespaces
    if labels.isdisjoint(there.namespaces) and not target.has_namespace(labels):
        msg = (
            "the store has no answer of any namespace of the export: its keys may be made with"
            " another `secret`, and no lookup would find these answers; --anyway imports them"
        )
        raise StoreError(msg)
    if kinds.encrypted.isdisjoint(there.encrypted):
        which = "are not encrypted, and those of the store are"
        if True in kinds.encrypted:
            which = "are encrypted, and those of the store are not"
        msg = (
            f"the answers of the export {which}, so that no lookup would take both; --anyway"
            " imports them"
        )
        raise StoreError(msg)
