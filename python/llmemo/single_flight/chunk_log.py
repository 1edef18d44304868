"""The chunks of a stream as they come, for any number of readers, each at a place of its own.

A chunk is recorded before the first reader sees it, since LangChain and users change what they are
given. The reader that made the stream gets the model's own objects for as long as it keeps up; all
others, and it too once it is late, get copies. What cannot be recorded is kept as copies, for as
long as a reader has yet to come to it.
"""

from __future__ import annotations

import copy
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from llmemo._core import Playback, Recorder, ValueRefused

if TYPE_CHECKING:
    from collections.abc import Callable

NOTHING_YET: Final = object()
"""There is no further chunk so far."""

RECENT_MAX = 16
"""Chunks that the first reader may be late, and still get the model's own objects."""

TAIL_MAX = 256
"""Chunks that were not recorded, and that the slowest reader has yet to come to: then the stream
waits for it."""


class ChunkLog:
    """What came of a stream so far. Only one caller at a time may add; readers may be anywhere."""

    def __init__(self, max_bytes: int, *, fresh_ids: bool = False) -> None:
        """An empty log. At most so many bytes are recorded. `fresh_ids`: of copies, as `decode`."""
        self.recorder = Recorder(max_bytes)
        self.fresh_ids = fresh_ids
        self.count = 0
        """Chunks so far."""
        self.refusal: ValueRefused | None = None
        """Why the recording is not whole."""
        self._recent: deque[Any] = deque(maxlen=RECENT_MAX)
        self._recorded = 0
        self._tail: deque[Any] = deque()
        self._tail_at = 0
        self._readers: weakref.WeakSet[LogReader] = weakref.WeakSet()
        self._last = time.monotonic()

    def add(self, chunk: object) -> None:
        """Add what the model has made."""
        now = time.monotonic()
        if self.refusal is None:
            try:
                self._recorded = self.recorder.add(chunk, int((now - self._last) * 1000))
            except ValueRefused as refusal:
                self.refusal = refusal
                self._tail_at = self.count
        if self.refusal is not None:
            self._tail.append(_copy(chunk))
        self._last = now
        self._recent.append(chunk)
        self.count += 1

    @property
    def is_full(self) -> bool:
        """Whether the slowest reader has to come first."""
        if len(self._tail) < TAIL_MAX:
            return False
        least = min((reader.position for reader in self._readers), default=self.count)
        while self._tail and self._tail_at < least:
            self._tail.popleft()
            self._tail_at += 1
        return len(self._tail) >= TAIL_MAX

    def reader(self, *, is_first: bool) -> LogReader:
        """A reader at the beginning."""
        reader = LogReader(self, is_first=is_first)
        self._readers.add(reader)
        return reader

    def recent(self, position: int) -> object:
        """The model's own object, if it is still at hand; otherwise `NOTHING_YET`."""
        back = self.count - position
        return self._recent[-back] if back <= len(self._recent) else NOTHING_YET

    def unrecorded(self, position: int) -> object:
        """A copy of a chunk that was not recorded; `NOTHING_YET` for one that was."""
        if position < self._recorded:
            return NOTHING_YET
        return _copy(self._tail[position - self._tail_at])


class LogReader:
    """A place in a log."""

    __slots__ = ("__weakref__", "_is_first", "_log", "_playback", "_played", "position")

    def __init__(self, log: ChunkLog, *, is_first: bool) -> None:
        """Made by `ChunkLog.reader`."""
        self._log = log
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


class Replay:
    """The chunks of a recording: a plain iterator, with the time that each took."""

    def __init__(self, recording: bytes, *, fresh_ids: bool) -> None:
        """Play what a `Recorder` has recorded."""
        self._next: Callable[[], tuple[Any, int] | None] = Playback(
            recording, fresh_ids=fresh_ids
        ).next

    def next(self) -> tuple[Any, int] | None:
        """The next chunk, and the milliseconds that it came after the one before."""
        return self._next()
