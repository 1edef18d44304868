"""The chunks of a stream as they come, for any number of readers, each at a place of its own.

A chunk is recorded before the first reader sees it, since LangChain and users change what they are
given. The reader that made the stream gets the model's own objects for as long as it keeps up; all
others, and it too once it is late, get copies. From the first chunk on that cannot be recorded,
copies are kept until the slowest reader has come past them; then no further reader can join.
"""

from __future__ import annotations

import copy
import itertools
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, cast

from llmemo._core import PanicException, Playback, Recorder, ValueRefused
from llmemo.concurrency.interrupts import is_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable

NOTHING_YET: Final = object()
"""There is no further chunk so far."""

RECENT_MAX = 16
"""Chunks that the first reader may be late, and still get the model's own objects."""

TAIL_MAX = 256
"""Chunks that were not recorded, and that the fastest reader has yet to come to: then the stream
waits for it. (For a slower one, as many are kept as the fastest is ahead of it.)"""

TIDY_EVERY = 64
"""Chunks that were not recorded, after which those are dropped that all readers have read."""


class ChunkLog:
    """What came of a stream so far. Only one caller at a time may add; readers may be anywhere."""

    def __init__(
        self,
        max_bytes: int,
        *,
        fresh_ids: bool = False,
        refused: Callable[[ValueRefused], object] = lambda _: None,
    ) -> None:
        """An empty log.

        Args:
            max_bytes: Bytes that are recorded, at most.
            fresh_ids: Of copies, as `decode`.
            refused: Told why, as soon as the recording cannot be whole.
        """
        self.recorder = Recorder(max_bytes)
        self.fresh_ids = fresh_ids
        self.count = 0
        """Chunks so far."""
        self.refusal: ValueRefused | None = None
        """Why the recording is not whole."""
        self._refused = refused
        # By their numbers: another thread may add while a reader looks.
        self._recent: dict[int, Any] = {}
        self._recorded = 0
        self._tail: dict[int, Any] = {}
        self._tail_at = 0
        self._numbers = itertools.count()
        # Each step is one in C: readers come and go in any thread.
        self._readers: dict[int, weakref.ref[LogReader]] = {}
        self._read = 0
        """How far a reader has come; a fast one may have come further."""
        self._asked = time.monotonic()

    def ask(self) -> None:
        """The model is asked for the next chunk now: what its readers took does not count."""
        self._asked = time.monotonic()

    def add(self, chunk: object) -> None:
        """Add what the model has made."""
        now = time.monotonic()
        delay, self._asked = int((now - self._asked) * 1000), now
        if self.refusal is None:
            refusal = self._record(chunk, delay)
            if refusal is not None:
                self._tail_at = self.count
                # From here on no reader joins.
                self.refusal = refusal
                self._refused(refusal)
        count = self.count
        if self.refusal is not None:
            self._tail[count] = _copy(chunk)
            if not count % TIDY_EVERY:
                self._tidy()
        self._recent[count] = chunk
        self._recent.pop(count - RECENT_MAX, None)
        self.count = count + 1

    def _record(self, chunk: object, delay: int) -> ValueRefused | None:
        try:
            self._recorded = self.recorder.add(chunk, delay)
        except ValueRefused as refusal:
            return refusal
        except (Exception, PanicException) as error:
            # An object of any class.
            if is_interrupt(error):
                raise
            return ValueRefused("unreadable", type(chunk).__name__)
        return None

    def _positions(self) -> list[int]:
        readers = [reference() for reference in list(self._readers.values())]
        return [reader.position for reader in readers if reader is not None]

    def _tidy(self) -> None:
        # A reader takes its chunk, and then says so: none is dropped that one has yet to take.
        least = min(self._positions(), default=self.count)
        for number in range(self._tail_at, least):
            self._tail.pop(number, None)
        self._tail_at = max(self._tail_at, least)

    @property
    def is_read(self) -> bool:
        """Whether a reader has come to the last chunk."""
        return self._read_to(self.count)

    @property
    def is_full(self) -> bool:
        """Whether readers have to come first. Only while chunks are not recorded."""
        return self.refusal is not None and not self._read_to(self.count - TAIL_MAX)

    def _read_to(self, position: int) -> bool:
        if self._read < position:
            self._read = max([self._read, *self._positions()])
        return self._read >= position

    def reader(self, *, is_first: bool) -> LogReader | None:
        """A reader at the beginning; None if it is too late for one."""
        number = next(self._numbers)
        reader = LogReader(self, number, is_first=is_first)
        self._readers[number] = weakref.ref(reader)
        # After that: what is dropped from now on, this reader does not miss.
        if self.refusal is not None and not is_first:
            self.leave(number, 0)
            return None
        return reader

    def leave(self, number: int, position: int) -> None:
        """One reader less, which had come so far. Without effect the second time."""
        self._readers.pop(number, None)
        self._read = max(self._read, position)

    def recent(self, position: int) -> object:
        """The model's own object, if it is still at hand; otherwise `NOTHING_YET`."""
        return self._recent.get(position, NOTHING_YET)

    def unrecorded(self, position: int) -> object:
        """A copy of a chunk that was not recorded; `NOTHING_YET` for one that was."""
        if position < self._recorded:
            return NOTHING_YET
        return _copy(self._tail[position])


class LogReader:
    """A place in a log."""

    __slots__ = ("__weakref__", "_is_first", "_log", "_number", "_playback", "_played", "position")

    def __init__(self, log: ChunkLog, number: int, *, is_first: bool) -> None:
        """Made by `ChunkLog.reader`."""
        self._log = log
        self._number = number
        self._is_first = is_first
        self._playback: Playback | None = None
        self._played = 0
        self.position = 0
        """Chunks that were read."""

    def next(self) -> Any:
        """The next chunk; `NOTHING_YET` if there is none so far."""
        log, position = self._log, self.position
        if position == log.count:
            return NOTHING_YET
        chunk = log.recent(position) if self._is_first else NOTHING_YET
        if chunk is NOTHING_YET:
            chunk = log.unrecorded(position)
        if chunk is NOTHING_YET:
            chunk = self._play(position)
        self.position = position + 1
        return chunk

    def leave(self) -> None:
        """Read no more."""
        self._log.leave(self._number, self.position)

    def _play(self, position: int) -> Any:
        playback = self._playback
        if playback is None:
            playback = self._playback = Playback(self._log.recorder, fresh_ids=self._log.fresh_ids)
        playback.skip(position - self._played)
        self._played = position + 1
        # It is there: the log has more chunks than this reader has read.
        return cast("tuple[Any, int]", playback.next())[0]


def _copy(chunk: object) -> object:
    try:
        return copy.deepcopy(chunk)
    except Exception:  # noqa: BLE001 (an object of any class)
        # All readers get this one, then.
        return chunk
