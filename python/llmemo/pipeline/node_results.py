"""Results of a graph's nodes, several at a time: no lease, no admission, one read of the store.

A node that fails tells a cache nothing. So no caller waits for another's result: see
docs/langgraph.md.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from llmemo._core import ValueDamaged
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.config.options import DEFAULT, Options, in_force
from llmemo.keys.identity import seek
from llmemo.langchain.chains import current_chain
from llmemo.pipeline.failures import SURVIVED, count_defect
from llmemo.pipeline.lookup_state import LookupState
from llmemo.pipeline.tier_reads import accept, read_by_key, read_by_text
from llmemo.pipeline.update import Postponed, Sent, finish, keep_under, send
from llmemo.store_io.calls import Call

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from langchain_core.outputs import Generation

    from llmemo.keys.request import Request
    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.client import MakeCall

    Hit = list[Generation]

T = TypeVar("T")


class Place(NamedTuple):
    """Where a result is kept."""

    request: Request
    namespace: str
    """The text by which the tiers know the namespace."""


class Result(NamedTuple):
    """A result to keep."""

    place: Place
    generations: Hit
    ttl: float | None
    """Seconds for which it may be served; None for ever."""


def options_here() -> Options:
    """The options in force for a node. Inside a retry they are those for asking again."""
    options, chain = in_force(), current_chain()
    return (options if chain is None else chain.options_for(options)) or DEFAULT


async def fetch_all(tiers: Tiers, places: Sequence[Place], make_call: MakeCall) -> list[Hit | None]:
    """The results that there are, in the order of their places."""
    lookups = [LookupState(tiers, place.request, DEFAULT, make_call) for place in places]
    hits: list[Hit | None] = []
    for lookup, place in zip(lookups, places, strict=True):
        lookup.namespace = place.namespace
        hits.append(await _surviving(tiers, _recall(lookup)))
    left = [at for at, hit in enumerate(hits) if hit is None and lookups[at].key]
    if left and tiers.durable is not None:
        epochs = {at: tiers.memory.epoch(lookups[at].key) for at in left}
        found = await tiers.durable.read_all([lookups[at].key for at in left], make_call)
        for at in left:
            record = found.records.get(lookups[at].key)
            if record is not None:
                hits[at] = await _surviving(tiers, accept(lookups[at], record, epochs[at]))
    chain = current_chain()
    for lookup, hit in zip(lookups, hits, strict=True):
        if hit is None:
            tiers.tally.miss("absent")
        else:
            # A parser after the node may refuse it: see `langchain.chains`.
            lookup.remember_hit(chain)
    return hits


async def _recall(lookup: LookupState) -> Hit | None:
    """Memory's result. Without one, the key is known afterwards."""
    hit = await read_by_text(lookup, lookup.request.name())
    if hit is not None:
        return hit
    identity, epoch = seek(lookup.tiers.memory, lookup.request, lookup.namespace)
    lookup.name, lookup.key = identity.name, identity.key
    return await read_by_key(lookup) if epoch is None else None


async def keep_all(tiers: Tiers, results: Sequence[Result], make_call: MakeCall) -> None:
    """Keep results in every tier; return when the store has them, or does not say so in time."""
    if make_call == Call.awaited:
        await asyncio.gather(*(_keep(tiers, result) for result in results))
        return
    sent = [await _surviving(tiers, _send(tiers, result, make_call)) for result in results]
    first: Sent | None = None
    for one in sent:
        if one is not None:
            # One budget for all: they are on their way already.
            first = first or one
            await _surviving(tiers, finish(tiers, one._replace(budget=first.budget)))


async def _keep(tiers: Tiers, result: Result) -> None:
    (request, namespace), generations, ttl = result
    arguments = tiers, request, generations, Options(ttl=ttl), namespace, Call.awaited
    await _surviving(tiers, keep_under(*arguments))


async def _send(tiers: Tiers, result: Result, make_call: MakeCall) -> Sent | None:
    (request, namespace), generations, ttl = result
    arguments = tiers, request, generations, Options(ttl=ttl), namespace, make_call
    sent = send(*arguments)
    if isinstance(sent, Postponed):
        work = functools.partial(send, *arguments, is_in_turn=True)
        sent = tiers.large_writes.wait(work, sent.key)
    return sent if isinstance(sent, Sent) else None


async def _surviving(tiers: Tiers, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of some work; None if it fails, which is counted."""
    try:
        return await work
    except SURVIVED as error:
        survive(tiers, error)
        return None


def survive(tiers: Tiers, error: BaseException) -> None:
    """Count an error. An interrupt is raised again."""
    if is_interrupt(error):
        raise error
    if isinstance(error, ValueDamaged):
        tiers.note_damage(error)
    else:
        count_defect(tiers, error)
