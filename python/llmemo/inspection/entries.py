"""What there is to see of an entry: its record, as a store has it, without the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmemo.stores.base import Store

VALUE_HEAD = 45
"""Bytes of a value that tell what it is: its header, or that of its envelope."""


class Entry(NamedTuple):
    """One entry of a store. A field that is damaged is empty, or 0."""

    key: bytes
    """32 bytes: the digest of the request."""
    namespace: bytes
    """16 bytes: the digest of its namespace."""
    llm: bytes
    """16 bytes: the digest of its model description."""
    created: float
    """Unix time, in seconds."""
    expires: float | None
    """Unix time in seconds, or None for never."""
    size: int
    """Bytes of its value, as it is stored."""
    used: float | None = None
    """Unix time in seconds of its last use, where the store notes uses."""
    is_foreign: bool = False
    """Whether something else, of another type, has its name on a server."""

    def is_expired(self, now: float) -> bool:
        """Whether it is not served any more at this Unix time, in seconds."""
        return self.expires is not None and self.expires <= now

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what every store has of it."""
        return {
            "key": self.key.hex(),
            "namespace": self.namespace.hex(),
            "llm": self.llm.hex(),
            "created": self.created,
            "expires": self.expires,
            "bytes": self.size,
        }


class Stored(NamedTuple):
    """An entry with all that the store has of it."""

    entry: Entry
    value: bytes
    """As it is stored: maybe compressed, maybe encrypted."""
    request: bytes | None = None
    """As it is stored, if the store keeps requests."""
    question: bytes | None = None
    """As it is stored, if there are semantic lookups."""
    is_damaged: bool = False
    """Whether its row, or the frame around it, is damaged."""


class View(Protocol):
    """A store that is looked at. Every method may raise `StoreError`."""

    shown: str
    """What names the store, without a password."""

    def entries(self) -> Iterator[Sequence[Entry]]:
        """All entries, some at a time; of a file those that were added last come first."""

    def count(self) -> int:
        """About how many entries there are, at once."""

    def stored(self, keys: Sequence[bytes]) -> Iterator[Stored]:
        """All that there is of the entries of these keys that are there, a page at a time."""

    def matching(self, prefix: str, limit: int) -> list[bytes]:
        """Keys that begin with these hexadecimal digits, `limit` at most."""

    def facts(self) -> dict[str, Any]:
        """What the store says of itself: sizes in bytes, versions, numbers of other things."""

    def writable(self) -> Store:
        """The store itself, not open yet, to remove from it."""

    def close(self) -> None:
        """Close what is open."""
