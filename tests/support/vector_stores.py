"""A store in a dict that keeps questions too: the contract in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.stores.vector_store import QuestionRow, VectorStore
from support.doubles import FakeStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmemo.stores import Record
    from llmemo.stores.records import StoredQuestion


class FakeVectorStore(VectorStore):
    """The questions of a `QuestionStore`, which remembers with it what it was asked."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self._rows: dict[bytes, tuple[int, StoredQuestion]] = {}
        self._last = 0
        self.states: dict[bytes, bytes] = {}

    def drop_orphans(self) -> None:
        """Forget the questions whose records are gone."""
        self._rows = {key: row for key, row in self._rows.items() if key in self._store.records}

    def wrote(self, records: Sequence[Record]) -> None:
        """Note the questions of these records."""
        for record in records:
            known = self._rows.get(record.key)
            if record.question is not None and (known is None or known[1] != record.question):
                self._last += 1
                self._rows[record.key] = (self._last, record.question)

    async def questions(
        self, partition: bytes, *, after: int, before: int, limit: int
    ) -> Sequence[QuestionRow]:
        self._store.asked.append(("questions", limit))
        self._store.before("questions")
        self.drop_orphans()
        rows = [
            QuestionRow(number, key, question.sealed)
            for key, (number, question) in self._rows.items()
            if question.partition == partition and after < number < before
        ]
        return sorted(rows, reverse=True)[:limit]

    async def state(self, name: bytes) -> bytes | None:
        self._store.asked.append(("state", 1))
        self._store.before("state")
        return self.states.get(name)

    async def amend(
        self, name: bytes, change: Callable[[bytes | None], bytes | None]
    ) -> bytes | None:
        self._store.asked.append(("amend", 1))
        self._store.before("amend")
        changed = change(self.states.get(name))
        if changed is not None:
            self.states[name] = changed
        return self.states.get(name)


class QuestionStore(FakeStore):
    """A `FakeStore` that keeps questions."""

    vectors: FakeVectorStore

    def __init__(self, before: Callable[[str], object] = lambda method: None) -> None:
        super().__init__(before)
        self.vectors = FakeVectorStore(self)

    async def set(self, records: Sequence[Record]) -> None:
        self.vectors.drop_orphans()
        await super().set(records)
        self.vectors.wrote(records)
