"""The nearest question that nothing speaks against, and the answer that it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmemo._core import ValueDamaged, decode
from llmemo.semantic.question import text_of_answer
from llmemo.semantic.response_ids import remove_ids
from llmemo.semantic.unread import objection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from langchain_core.outputs import Generation

    from llmemo._core import Memory, VectorIndex
    from llmemo.codec.envelope import Envelope
    from llmemo.semantic.question import Asked
    from llmemo.store_io.client import MakeCall, StoreClient
    from llmemo.store_io.time_budget import TimeBudget
    from llmemo.telemetry.tracking import Source

NEIGHBOURS = 8
"""Neighbours that are looked at: where a guard refuses one, the next may do."""

VALUE_MAX = 256 * 1024
"""Bytes of the largest stored value that is opened for a near match."""


class Answer(NamedTuple):
    """An answer that may be served for another question."""

    value: bytes
    """In the value format."""
    text: str
    created: float
    """Unix time in seconds."""
    tier: Source
    """Where it was found."""


class Neighbour(NamedTuple):
    """A similar question, and its answer."""

    key: bytes
    """Of the request that the answer was made for."""
    question: str
    score: float
    """Cosine of the two vectors."""
    answer: Answer

    def generations(self, *, fresh_ids: bool) -> list[Generation]:
        """The answer as fresh objects, without the ids of its response."""
        found = decode(self.answer.value, self.key, fresh_ids=fresh_ids)
        for generation in found:
            remove_ids(generation)
        return found


class Neighbours:
    """Finds the neighbours of questions."""

    def __init__(
        self,
        index: VectorIndex,
        min_score: float,
        *,
        memory: Memory,
        durable: StoreClient | None,
        envelope: Envelope,
        clock: Callable[[], float],
        is_rejected: Callable[[bytes, float], bool],
    ) -> None:
        """Arguments as for `SemanticTier`."""
        self._index, self._min_score = index, min_score
        self._memory, self._durable, self._envelope = memory, durable, envelope
        self._clock, self._is_rejected = clock, is_rejected

    async def nearest(
        self,
        asked: Asked,
        own: bytes,
        given: Collection[bytes],
        make_call: MakeCall,
        budget: TimeBudget | None,
    ) -> tuple[Neighbour | None, str]:
        """The nearest question that may serve, or None and why.

        Args:
            asked: The question.
            own: The key of its request, whose exact answer may just have come.
            given: Keys of the answers that its session was given before.
            make_call: Makes the kind of call that the caller can wait for.
            budget: Of the model call's waits for the store, if there is one.
        """
        reason = "no_neighbour"
        for key, question, score in self.candidates(asked, len(given)):
            if key == own:
                continue
            if key in given:
                reason = "session"
                continue
            against = objection(asked.text, question, score)
            if against is not None:
                reason = f"guard_{against.guard}"
                continue
            answer = await self.answer(key, make_call, budget)
            if answer is not None:
                return Neighbour(key, question, score, answer), ""
            if self._is_told(budget):
                # Its entry has expired, or was removed or evicted.
                self._index.remove(key)
        return None, reason

    def _is_told(self, budget: TimeBudget | None) -> bool:
        """Whether the store was neither in trouble nor late when it found nothing."""
        if self._durable is None:
            return True
        return self._durable.health.reads.is_well and (budget is None or bool(budget.left))

    def candidates(self, asked: Asked, more: int = 0) -> list[tuple[bytes, str, float]]:
        """Key, question and score of the nearest, the best first: 8 and `more` of them."""
        most = NEIGHBOURS + more
        return self._index.search(asked.partition, asked.vector, most, self._min_score)

    async def answer(
        self, key: bytes, make_call: MakeCall, budget: TimeBudget | None
    ) -> Answer | None:
        """The answer of a key, if it is still there and may be served for another question.

        Arguments as for `nearest`.
        """
        value = self._memory.use_value(key)
        if value is not None:
            about = self._memory.about(key)
            return _checked(value, key, self._clock() if about is None else about[0], "memory")
        return (
            None
            if self._durable is None
            else await self._stored(self._durable, key, make_call, budget)
        )

    async def _stored(
        self, durable: StoreClient, key: bytes, make_call: MakeCall, budget: TimeBudget | None
    ) -> Answer | None:
        found = await durable.read_all([key], make_call, budget)
        record = found.records.get(key)
        if record is None or len(record.value) > VALUE_MAX:
            return None
        is_expired = record.expires is not None and record.expires <= self._clock()
        if is_expired or self._is_rejected(key, record.created):
            return None
        try:
            value = self._envelope.open(record.value, key)
        except ValueDamaged:
            return None  # the next exact lookup says so
        return _checked(value, key, record.created, "store")


def _checked(value: bytes, key: bytes, created: float, tier: Source) -> Answer | None:
    if len(value) > VALUE_MAX:
        return None
    try:
        text = text_of_answer(decode(value, key))
    except ValueDamaged:
        return None
    return None if text is None else Answer(value, text, created, tier)
