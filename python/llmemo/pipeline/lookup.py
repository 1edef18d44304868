"""The way of one lookup through the tiers, and past the callers that are computing already.

memory ──► (is it to be refreshed early?) ──► store ──► (has the model just failed?)
──► another caller computes it: wait ──► none does: lead, while others wait
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from llmemo._core import RequestBypassed
from llmemo.config import misplaced_options
from llmemo.config.options import DEFAULT, in_force
from llmemo.keys.identity import seek
from llmemo.langchain.chains import current_chain
from llmemo.pipeline.coordinate import coordinate, leads_at_once, leads_early
from llmemo.pipeline.lookup_state import LookupState
from llmemo.pipeline.near_match import find_near
from llmemo.pipeline.tier_reads import read_by_key, read_by_text, read_store, recall

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from langchain_core.outputs import Generation

    from llmemo.config.options import Options
    from llmemo.keys.request import Request
    from llmemo.langchain.chains import Chain
    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.client import MakeCall

    Hit = list[Generation]


def fetch(
    tiers: Tiers,
    request: Request,
    options: Options | None,
    make_call: MakeCall,
    *,
    ask_memory: bool,
) -> Coroutine[Any, Any, Hit | None]:
    """Look for the answer to a request.

    Args:
        tiers: Where to look.
        request: What is asked, of which model, and how.
        options: What the context says of it.
        make_call: Makes the kind of call that the caller can wait for.
        ask_memory: Whether memory has yet to be asked for the request as it is written.

    Raises:
        CacheMiss: There is none, and the caller must not go on without.
        NamespaceRequiredError: The caller has to name a namespace.
    """
    lookup = begin(tiers, request, options, make_call)
    return run(lookup, ask_memory=ask_memory)


def begin(
    tiers: Tiers, request: Request, options: Options | None, make_call: MakeCall
) -> LookupState:
    """A lookup that is to `run` in this context. Arguments as for `fetch`."""
    if options is not None and misplaced_options.is_watchful:
        options = in_force()
    chain = current_chain()
    if chain is not None:
        options = chain.options_for(options)
    lookup = LookupState(tiers, request, options or DEFAULT, make_call)
    lookup.chain = chain
    return lookup


def run(lookup: LookupState, *, ask_memory: bool) -> Coroutine[Any, Any, Hit | None]:
    """Do a lookup. Raises as `fetch`."""
    chain = lookup.chain
    done = _run(lookup, ask_memory=ask_memory) if chain is None else _run_in(chain, lookup)
    return _marked(lookup, done) if lookup.tiers.settings.mark_hits else done


async def _marked(lookup: LookupState, done: Coroutine[Any, Any, Hit | None]) -> Hit | None:
    """Do a lookup, and mark what it gives."""
    hit = await done
    if hit is not None:
        lookup.mark(hit)
    return hit


def at_once(lookup: LookupState) -> Hit | None:
    """Memory's answer, if it has one that any caller may be given; nothing is counted otherwise.

    Raises:
        NamespaceRequiredError: The caller has to name a namespace.
    """
    tiers = lookup.tiers
    lookup.namespace = tiers.namespace_of(lookup.options)
    may_ask = lookup.options.mode in {"default", "only"} and lookup.request.bypass is None
    if tiers.is_closed or not may_ask:
        return None
    hit = recall(lookup, lookup.request.name())
    lookup.has_asked_memory = hit is None
    if not hit:
        return None
    lookup.remember_hit(lookup.chain)
    lookup.hit_in_memory(hit)
    if tiers.settings.mark_hits:
        lookup.mark(hit)
    return hit


async def key_of(lookup: LookupState) -> bytes:
    """The key of a request.

    Raises:
        NamespaceRequiredError: The caller has to name a namespace.
        RequestBypassed: It has none.
    """
    lookup.namespace = lookup.tiers.namespace_of(lookup.options)
    await (_name_beside(lookup) if lookup.is_long else _named(lookup))
    return lookup.key


async def _named(lookup: LookupState) -> None:
    _name(lookup)


async def _run_in(chain: Chain, lookup: LookupState) -> Hit | None:
    """Do a lookup, and have the chain remember what it gives."""
    hit = await _run(lookup, ask_memory=True)
    if hit is not None:
        lookup.remember_hit(chain)
    return hit


async def _run(lookup: LookupState, *, ask_memory: bool) -> Hit | None:
    # The steps that always run are plain functions: a coroutine for each would cost time.
    tiers, hit = lookup.tiers, None
    if not _begin(lookup):
        return None
    if ask_memory and lookup.options.mode != "refresh" and lookup.request.bypass is None:
        hit = await read_by_text(lookup, lookup.request.name())
        if hit is not None:
            return lookup.hit_in_memory(hit)
    try:
        is_long = lookup.is_long
        epoch = await _name_beside(lookup) if is_long else _name(lookup)
    except RequestBypassed as bypass:
        lookup.obstacle = bypass.args[1]
        lookup.bypass(tiers.bypass(bypass))
        return None
    reason = _reason_to_refresh(lookup, epoch)
    if reason:
        lookup.miss(reason)
        return None
    if epoch is None:
        # Memory has an entry of this key, maybe of the request in another form.
        hit = await read_by_key(lookup)
        if hit is not None:
            return lookup.hit_in_memory(hit)
        epoch = tiers.memory.epoch(lookup.key)
    if tiers.durable is not None or tiers.semantic is not None:
        hit = await _beyond_memory(lookup, epoch)
    flights = None if hit is not None or lookup.options.mode == "only" else tiers.flights
    if flights is not None:
        try:
            if not leads_at_once(lookup, flights):
                hit = await coordinate(lookup, flights)
        finally:
            lookup.give_back_lease()
    if hit is None:
        lookup.miss("absent")
    return hit


async def _beyond_memory(lookup: LookupState, epoch: int) -> Hit | None:
    """What the store has, or else the answer to a similar question."""
    tiers, hit = lookup.tiers, None
    if tiers.durable is not None:
        hit = await read_store(lookup, tiers.durable, epoch)
    if hit is not None or tiers.semantic is None:
        return hit
    try:
        hit = await find_near(lookup, tiers.semantic)
    except BaseException:
        lookup.give_back_lease()
        raise
    if hit is not None:
        # The lease that came with the read is for a miss.
        lookup.give_back_lease()
    return hit


def _begin(lookup: LookupState) -> bool:
    """Whether the cache has anything to do with the call; then its namespace is known."""
    tiers, options = lookup.tiers, lookup.options
    if tiers.is_closed:
        lookup.miss("closed")
        return False
    if options.mode == "bypass":
        tiers.bypass_requested()
        lookup.bypass("requested")
        return False
    lookup.namespace = tiers.namespace_of(options)
    return True


def _name(lookup: LookupState) -> int | None:
    """Find the key. Returns its epoch for reading the store; None if memory has an entry."""
    identity, epoch = seek(lookup.tiers.memory, lookup.request, lookup.namespace)
    lookup.name, lookup.key = identity.name, identity.key
    lookup.resolved = identity.request
    return epoch


async def _name_beside(lookup: LookupState) -> int | None:
    return await lookup.tiers.large_reads.run(functools.partial(_name, lookup))


def _reason_to_refresh(lookup: LookupState, epoch: int | None) -> str:
    """Why the caller has to refresh the answer; empty if any tier may answer."""
    if lookup.options.mode == "refresh":
        return "refresh"
    if epoch is None and lookup.options.mode != "only":
        about = lookup.tiers.memory.about(lookup.key)
        if about is not None and leads_early(lookup, about):
            return "early"
    return ""
