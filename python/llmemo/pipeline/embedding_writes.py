"""The way of new embeddings: encoded, kept in every tier, given to the callers that wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo._core import encode
from llmemo.codec.vectors import generations_of
from llmemo.keys.identity import describe
from llmemo.pipeline.answer_record import record_of, times
from llmemo.pipeline.update import Sent, count_kept, finish, serve
from llmemo.store_io.operations import Set

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmemo.keys.identity import Identity
    from llmemo.pipeline.embedding_request import TextLookup
    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.client import StoreClient
    from llmemo.store_io.time_budget import TimeBudget
    from llmemo.stores import Record

WRITTEN = 256
"""Embeddings that are sent to a store at a time: it has a bounded queue."""

NUMBERS_AT_ONCE = 16 * 1024
"""Numbers that are worked on before an event loop has its turn: a millisecond or two."""


class New(NamedTuple):
    """An embedding that the provider has just made."""

    lookup: TextLookup
    vector: Any


class _Kept(NamedTuple):
    new: New
    value: bytes
    times: tuple[float, float | None]
    is_kept: bool
    """Whether memory has it."""


class Breath:
    """Lets the event loop run now and then, during long work of a task."""

    def __init__(self, *, is_awaited: bool) -> None:
        """`is_awaited`: whether there is an event loop to let run."""
        self._is_awaited = is_awaited
        self._done = 0

    def is_due(self, numbers: int) -> bool:
        """Count numbers that were worked on. Returns whether `take` is due."""
        self._done += numbers
        return self._done > NUMBERS_AT_ONCE and self._is_awaited

    async def take(self) -> None:
        """Let the event loop run."""
        self._done = 0
        await asyncio.sleep(0)


async def keep_all(tiers: Tiers, news: Sequence[New], budget: TimeBudget | None) -> None:
    """Keep what is a vector, and give it to the callers that wait; the others go on without.

    `budget`: the time that the call may wait for the store.
    """
    for start in range(0, len(news), WRITTEN):
        await _keep(tiers, news[start : start + WRITTEN], budget)


async def _keep(tiers: Tiers, news: Sequence[New], budget: TimeBudget | None) -> None:
    breath = Breath(is_awaited=news[0].lookup.is_awaited)
    kept: list[_Kept] = []
    for new in news:
        value = _encoded(tiers, new)
        if value is not None:
            kept.append(_in_memory(tiers, new, value))
        if breath.is_due(len(new.vector) if value else 0):
            await breath.take()
    # Only now: the next thing that a waiter does is to look for the other texts of its batch.
    durable = tiers.durable
    if durable is None or durable.store.read_only or budget is None:
        for one in kept:
            serve(tiers, one.new.lookup.key, one.value)
            count_kept(tiers, is_kept=one.is_kept)
        return
    records = []
    for one in kept:
        records.append(_record(tiers, one))
        if breath.is_due(len(one.value) // 4):
            await breath.take()
    # One after the other, with nothing in between: the store takes them as one batch.
    sents = [_send(tiers, *pair, durable, budget) for pair in zip(kept, records, strict=True)]
    for sent in sents:
        # What there is no time left for goes on by itself, and is no failure of its own.
        await finish(tiers, sent if budget.left else sent._replace(call=None))


def _encoded(tiers: Tiers, new: New) -> bytes | None:
    """The value; None, with its waiters let go, of what is no vector."""
    key = new.lookup.key
    generations = generations_of(new.vector)
    if generations is not None:
        return encode(generations, key)
    tiers.skip("not_a_vector")
    serve(tiers, key, None)
    return None


def _in_memory(tiers: Tiers, new: New, value: bytes) -> _Kept:
    lookup = new.lookup
    now = tiers.clock()
    expires, _ = times(tiers.settings, lookup.options, lookup.namespace, now, None)
    is_kept = tiers.memory.put(
        lookup.prompt,
        lookup.name,
        lookup.namespace,
        lookup.key,
        value,
        expires=expires,
        created=now,
    )
    return _Kept(new, value, (now, expires), is_kept)


def _record(tiers: Tiers, kept: _Kept) -> tuple[Identity, Record]:
    request, namespace = kept.new.lookup.request, kept.new.lookup.namespace
    identity = describe(tiers.memory, request, namespace)
    texts = (namespace, request.llm_string, request.prompt)
    return identity, record_of(tiers, texts, identity, kept.value, kept.times)


def _send(
    tiers: Tiers,
    kept: _Kept,
    made: tuple[Identity, Record],
    durable: StoreClient,
    budget: TimeBudget,
) -> Sent:
    (identity, record), lookup = made, kept.new.lookup
    lease = None if tiers.flights is None else tiers.flights.lease(lookup.key)
    fence = None if lease is None else lease.fence
    tiers.tally.add("updates")
    try:
        if kept.is_kept:
            serve(tiers, lookup.key, kept.value, is_stored=True)
        call = durable.begin_write(Set(record, fence), lookup.make_call, budget)
        return Sent(identity, kept.value, kept.is_kept, call, budget)
    except BaseException:
        if fence is not None:
            # As in `update.send`: the lease may have ended here, and not in the store.
            durable.release(lookup.key, fence, 0)
        raise
