"""What a store keeps, and how to name a part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class StoredQuestion(NamedTuple):
    """What a semantic lookup finds an answer by. A store reads neither field."""

    partition: bytes
    """32 bytes: a digest that all questions share which are compared with each other."""
    sealed: bytes
    """The vector and the text of the question, packed by the caller and maybe encrypted."""


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
    question: StoredQuestion | None = None
    """What semantic lookups find it by. `get` may leave it out."""

    def is_live(self, now: float) -> bool:
        """Whether it may be served at this Unix time, in seconds."""
        return self.expires is None or self.expires > now

    @property
    def size(self) -> int:
        """Bytes of all that may be large: value, outline, request and question together."""
        size = len(self.value) + len(self.outline) + len(self.request or b"")
        return size if self.question is None else size + len(self.question.sealed)


class NamespaceSizes(NamedTuple):
    """What the namespaces of a store take."""

    sizes: Mapping[bytes, tuple[int, int]]
    """By the digest of a namespace: its records, and the bytes of their values."""
    is_whole: bool
    """Whether these are all records; otherwise the newest."""


class Selection(NamedTuple):
    """The records that match all criteria that are not None."""

    namespace: bytes | None
    """Those with this digest of their namespace."""
    llm: bytes | None
    """Those with this digest of their model description."""
    before: float | None
    """Those that were created before this Unix time, in seconds."""
