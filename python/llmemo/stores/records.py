"""What a store keeps, and how to name a part of it."""

from __future__ import annotations

from typing import NamedTuple


class Record(NamedTuple):
    """One stored answer: digests, times, a value; and the request, if the store asks for it."""

    key: bytes
    """32 bytes: the digest of the request."""
    value: bytes
    """The answer, in llmemo's value format."""
    namespace: bytes
    """16 bytes: a digest that all records of a namespace share."""
    llm: bytes
    """16 bytes: a digest that all records of a model description share."""
    created: float
    """Unix time, in seconds."""
    expires: float | None
    """Unix time in seconds from which it must not be served, or None."""
    outline: bytes = b""
    """Short digests of the request's parts: what `explain` compares. `get` may leave it out."""
    request: bytes | None = None
    """The request itself, if the store asked for it. `get` may leave it out."""

    @property
    def size(self) -> int:
        """Bytes of value, outline and request together: all of it that may be large."""
        return len(self.value) + len(self.outline) + len(self.request or b"")


class Selection(NamedTuple):
    """The records that match all criteria that are not None."""

    namespace: bytes | None
    """Those with this digest of their namespace."""
    llm: bytes | None
    """Those with this digest of their model description."""
    before: float | None
    """Those that were created before this Unix time, in seconds."""
