"""The streams that are under way, by request: who comes later reads along."""

from __future__ import annotations

from typing import Generic, TypeVar

from llmemo import lifecycle

T = TypeVar("T")


class LiveStreams(Generic[T]):
    """A table of streams. Each method is one step, so that no lock is needed."""

    def __init__(self) -> None:
        """Begin with none."""
        self._streams: dict[tuple[bytes, object], T] = {}
        lifecycle.has_lock(self)

    def after_fork_in_child(self) -> None:
        """Leave the parent's to the parent."""
        self._streams = {}

    def find(self, key: bytes, place: object) -> T | None:
        """The stream of a request in a place: an event loop, or all threads."""
        return self._streams.get((key, place))

    def begin(self, key: bytes, place: object, stream: T) -> T:
        """Add a stream; the one that is there if another thread was faster."""
        return self._streams.setdefault((key, place), stream)

    def end(self, key: bytes, place: object, stream: T) -> None:
        """Remove a stream, if it is the one that is there."""
        if self._streams.get((key, place)) is stream:
            self._streams.pop((key, place), None)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._streams)
