"""What an export reads from, and an import looks at before it writes: a store, from outside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from llmemo.codec.encryption import is_encrypted
from llmemo.exporting.lines import Kinds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from llmemo.stores.records import Record

SAMPLE = 1_000
"""Answers by which the kinds of all are told, from each end of a store."""


class Page(NamedTuple):
    """Some answers, one after the other."""

    records: Sequence[Record]
    damaged: int
    """Rows that hold something else."""
    position: int
    """How far it is, of the source's `total`."""


class Source(ABC):
    """The answers of a store, read a page at a time, and never written to."""

    schema: int | None = None
    """Version of the SQLite schema; None for another store."""

    @property
    def total(self) -> int | None:
        """Where the last page ends; None if that is not known."""
        return None

    @abstractmethod
    def kinds(self) -> Kinds:
        """How keys and values were made, by a sample of the answers."""

    @abstractmethod
    def has_namespace(self, labels: Collection[bytes]) -> bool:
        """Whether there is an answer of one of these namespaces, as far as can be seen."""

    def states(self) -> Iterable[tuple[bytes, bytes]]:
        """Names and states: see `VectorStore.state`."""
        return ()

    @abstractmethod
    def pages(self) -> Iterator[Page]:
        """All answers that were there when it began, unless they are removed meanwhile.

        Each is whole, and as it was at one moment.
        """


def kinds_of(rows: Iterable[tuple[object, object]]) -> Kinds:
    """How the keys and values of these were made: labels of namespaces, beginnings of values."""
    pairs = [(a, b) for a, b in rows if isinstance(a, bytes) and isinstance(b, bytes)]
    return Kinds(
        frozenset(namespace for namespace, _ in pairs),
        frozenset(is_encrypted(value) for _, value in pairs),
    )
