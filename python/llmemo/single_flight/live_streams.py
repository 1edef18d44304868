"""The streams that are under way, by request: who comes later reads along."""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from llmemo import lifecycle

if TYPE_CHECKING:
    from llmemo.single_flight.chunk_log import LogReader

THREADS = "threads"
"""The place of streams that any thread may read; that of others is their event loop."""

is_producing: ContextVar[bool] = ContextVar("llmemo_is_producing", default=False)
"""Whether this is a model's code, which a stream here has asked: its own streams are not shared,
since it may be asked its own question, and would wait for itself."""


class StreamLostError(RuntimeError):
    """Another caller, who made the stream that this one read along, was stopped in the middle."""


def without_frames(error: BaseException | None) -> BaseException | None:
    """What stands for an error that all readers have been told of.

    The error has their frames, and these have the stream that has the error: nothing of theirs
    would go before the next garbage collection, not even other streams that they were reading.
    """
    return None if error is None else StreamLostError(f"this stream has failed: {type(error)}")


class LiveStream(Protocol):
    """A stream in the table."""

    place: object

    @property
    def is_open(self) -> bool:
        """Whether a reader may come that gets all of it."""


T = TypeVar("T", bound=LiveStream)


class LiveStreams(Generic[T]):
    """A table of streams. No lock is needed: at worst, a stream is not found.

    It keeps none of them alive, nor an event loop: their readers do. A loop that is closed, or
    lost, in the middle of a stream leaves nothing here.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._begin()
        lifecycle.has_lock(self)

    def _begin(self) -> None:
        self._streams: dict[tuple[bytes, int], weakref.ref[T]] = {}

    def after_fork_in_child(self) -> None:
        """Leave the parent's to the parent."""
        self._begin()

    def find(self, key: bytes, place: object) -> T | None:
        """The stream of a request that a new reader may join, in a place."""
        found = self._streams.get((key, id(place)))
        return None if found is None else _open(found, place)

    def begin(self, key: bytes, stream: T) -> T:
        """Add a stream; returns the one that is there if another thread was faster."""
        streams, name = self._streams, (key, id(stream.place))

        def gone(reference: weakref.ref[T]) -> None:
            _remove(streams, name, reference)

        mine = weakref.ref(stream, gone)
        while (other := streams.setdefault(name, mine)) is not mine:
            found = _open(other, stream.place)
            if found is not None:
                return found
            _remove(streams, name, other)
        return stream

    def end(self, key: bytes, stream: T) -> None:
        """Remove a stream, if it is the one that is there."""
        name = key, id(stream.place)
        found = self._streams.get(name)
        if found is not None and found() is stream:
            _remove(self._streams, name, found)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._streams)


def _open(reference: weakref.ref[T], place: object) -> T | None:
    # Another loop may have the number of one that is gone.
    stream = reference()
    return stream if stream is not None and stream.place is place and stream.is_open else None


def _remove(
    streams: dict[tuple[bytes, int], weakref.ref[T]],
    name: tuple[bytes, int],
    reference: weakref.ref[T],
) -> None:
    if streams.get(name) is reference:
        streams.pop(name, None)


class Readable(Protocol):
    """A stream that readers join and leave."""

    def leave(self) -> None:
        """One reader less."""


S = TypeVar("S", bound=Readable)


class JoinedReader(Generic[S]):
    """One reader of a stream."""

    __slots__ = ("_has_left", "_reader", "stream")

    def __init__(self, stream: S, reader: LogReader) -> None:
        """Made by the stream's `join`."""
        self.stream = stream
        self._reader = reader
        self._has_left = False

    @property
    def position(self) -> int:
        """Chunks that were read."""
        return self._reader.position

    def leave(self) -> None:
        """Read no more. Without effect the second time."""
        if not self._has_left:
            self._has_left = True
            self._reader.leave()
            self.stream.leave()

    __del__ = leave
