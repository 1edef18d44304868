"""The contract of stored questions: what semantic lookups find answers by, and named states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class QuestionRow(NamedTuple):
    """A stored question, as a listing returns it."""

    id: int
    """Never given twice in one store; a row that is written later has a higher one."""
    key: bytes
    """32 bytes: the key of the record that it was written with; empty if the row is damaged."""
    sealed: bytes
    """See `StoredQuestion.sealed`; empty if the row is damaged."""


class VectorStore(ABC):
    """The questions of a store, which has them as its attribute `vectors`.

    A question comes with its record (`Record.question`) and goes with it, in the same transaction,
    whichever method removes the record. A record that is written without a question keeps the one
    that is there: the key decides the question. A question that differs from the one that is there
    gets a new id.

    `questions` and `state` may run beside any other method but `close`; `amend` runs beside reads
    only, as writes do. They raise what the store's other methods raise.
    """

    @abstractmethod
    async def questions(
        self, partition: bytes, *, after: int, before: int, limit: int
    ) -> Sequence[QuestionRow]:
        """The questions of a partition, the newest first.

        Args:
            partition: See `StoredQuestion.partition`.
            after: Only those with a higher id.
            before: Only those with a lower id.
            limit: Most rows to return. Fewer mean that there are no more.
        """

    @abstractmethod
    async def state(self, name: bytes) -> bytes | None:
        """The state of this name; None if there is none. `Store.delete` leaves states."""

    @abstractmethod
    async def amend(
        self, name: bytes, change: Callable[[bytes | None], bytes | None]
    ) -> bytes | None:
        """Read a state and replace it, in one transaction among all processes.

        Args:
            name: Of the state.
            change: Returns the new state from the stored one, or None to leave it. It may be called
                more than once and in any thread, and must neither wait nor have effects.

        Returns:
            What is stored afterwards.
        """
