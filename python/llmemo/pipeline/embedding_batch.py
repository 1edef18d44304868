"""The way of one call's texts: memory, then store, then calls that compute them, then provider.

In each round, a call takes the leases of the texts that no other call computes. It reads these from
the store, asks the provider for the rest in one call, and keeps what that answers, which ends the
leases. If there was nothing to take, it waits for one text of another call. Then it begins again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import TYPE_CHECKING, Any

from llmemo.pipeline.embedding_leases import EmbeddingLeases, Turn
from llmemo.pipeline.embedding_writes import New, keep_all
from llmemo.pipeline.update import serve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmemo.pipeline.embedding_lookup import EmbeddingLookup
    from llmemo.store_io.client import StoreClient
    from llmemo.store_io.time_budget import TimeBudget

    Ask = Callable[[list[str]], Awaitable[Any]]

READ = 1024
"""Texts that a store is asked for at a time: each of their vectors takes some kilobytes."""


class WrongAnswer(Exception):  # noqa: N818 (it is the provider's)
    """The provider's answer is not a vector for each text. Arguments: the answer, the texts."""


class EmbeddingBatch:
    """One call's texts."""

    def __init__(self, lookup: EmbeddingLookup, ask: Ask, batch_size: int | None) -> None:
        """Begin.

        Args:
            lookup: Finds what memory and the store have.
            ask: Asks the provider for the vectors of some texts.
            batch_size: Most texts that it is asked for at a time; None for all.
        """
        self._error: BaseException | None = None
        self._lookup = lookup
        self._tiers = lookup.tiers
        self._leases = EmbeddingLeases(lookup)
        self._ask = ask
        self._batch_size = batch_size
        self._is_refresh = lookup.options.mode == "refresh"

    async def run(self, pending: list[str]) -> None:
        """Find the vectors of texts, each once, that memory did not have at first sight.

        Raises:
            CacheMiss: One is not there, and the caller must not go on without.
            WrongAnswer: The provider's answer has not as many vectors as it was given texts.
            Exception: What the provider raised.
        """
        durable = self._tiers.durable
        budget = None if durable is None else durable.time_budget()
        is_failure = False
        try:
            while pending:
                pending = await self._round(pending, budget)
        except Exception:
            is_failure = True
            raise
        finally:
            self._leases.end(failed=is_failure)

    def has_raised(self, error: BaseException) -> bool:
        """Whether it was the provider that raised this. Asked once."""
        raised, self._error = self._error, None  # which refers to this call
        return raised is error

    async def _round(self, pending: list[str], budget: TimeBudget | None) -> list[str]:
        """Find or compute what this call can, or wait for another. Returns what is left."""
        lookup, leases = self._lookup, self._leases
        before = len(lookup.found)
        may_wait = await leases.may_wait(pending[0])
        turn = Turn(leases)
        try:
            mine = [text for text in pending if await leases.lead(text, may_wait=may_wait)]
            # (The others are another call's, or have just come to memory.)
            missing = mine
            durable = self._tiers.durable
            if durable is not None and budget is not None and not self._is_refresh:
                missing = await self._ask_store(mine, durable, budget, may_wait=may_wait)
            if missing:
                await self._compute(missing, budget)
        finally:
            turn.is_over = True
        pending = [text for text in pending if text not in lookup.found]
        if pending and len(lookup.found) == before:
            await leases.wait(pending[0], budget)
        return await lookup.ask_memory([text for text in pending if text not in lookup.found])

    async def _ask_store(
        self, texts: list[str], durable: StoreClient, budget: TimeBudget, *, may_wait: bool
    ) -> list[str]:
        """Find what the store has. Returns the texts that this call is to compute."""
        lookup, leases = self._lookup, self._leases
        missing: list[str] = []
        leases.begin_read()
        for start in range(0, len(texts), READ):
            if start and budget.left:
                # It bounds the time that a store may stand still.
                budget.left = durable.waited
            part = texts[start : start + READ]
            wanted = leases.wanted(part)
            records, states = await lookup.ask_store(part, durable, budget, wanted)
            leases.note(wanted, states, durable, may_wait=may_wait)
            known = []
            for text in part:
                record = records.get(lookup.lookups[text].key)
                if record is not None and await lookup.accept(text, record):
                    known.append((text, record))
                elif not leases.is_elsewhere(text):
                    missing.append(text)
            # Only now: a waiter looks for the other texts of its batch next.
            for text, record in known:
                leases.serve(text, durable, record)
        return missing

    async def _compute(self, missing: list[str], budget: TimeBudget | None) -> None:
        """Ask the provider for vectors, and keep them."""
        reason = "refresh" if self._is_refresh else "absent"
        size = self._batch_size or len(missing)
        for start in range(0, len(missing), size):
            texts = missing[start : start + size]
            lookups = [await self._lookup.lookup(text) for text in texts]
            for lookup in lookups:
                lookup.miss(reason)
            try:
                answer = await self._ask(texts)
            except BaseException as error:
                self._error = error
                raise
            vectors = _vectors(answer, len(texts))
            if vectors is None:
                self._tiers.skip("not_a_vector_each")
                for lookup in lookups:
                    serve(self._tiers, lookup.key, None)
                raise WrongAnswer(answer, texts)
            self._lookup.found.update(zip(texts, vectors, strict=True))
            news = [New(*pair) for pair in zip(lookups, vectors, strict=True)]
            await keep_all(self._tiers, news, budget)


def _vectors(answer: Any, count: int) -> list[Any] | None:
    """The provider's vectors; None if they are not that many."""
    if isinstance(answer, (str, bytes)) or not isinstance(answer, Sized):
        return None
    if not isinstance(answer, Iterable) or len(answer) != count:
        return None
    return list(answer)
