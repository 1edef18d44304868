"""Near matches on the way of a lookup, after every exact tier, and of an update."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from llmemo._core import LARGE as LIMIT
from llmemo._core import RequestBypassed
from llmemo.keys.identity import partition_of
from llmemo.store_io.calls import Call
from llmemo.store_io.time_budget import TimeBudget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.outputs import Generation

    from llmemo.config.options import Options
    from llmemo.keys.request import Request
    from llmemo.pipeline.lookup_state import LookupState
    from llmemo.pipeline.tiers import Tiers
    from llmemo.semantic.expected import Expected
    from llmemo.semantic.question import Rest
    from llmemo.semantic.tier import SemanticTier
    from llmemo.store_io.client import MakeCall
    from llmemo.stores.records import StoredQuestion

    Hit = list[Generation]


async def find_near(lookup: LookupState, semantic: SemanticTier) -> Hit | None:
    """An answer to a similar question, if one is to be served."""
    options, tiers, make_call = lookup.options, lookup.tiers, lookup.make_call
    is_only = options.mode == "only"
    is_wanted = not is_only if options.semantic is None else options.semantic
    if not is_wanted or lookup.is_unreadable:
        return None
    asked, reason = await _question(semantic, tiers, lookup.request, lookup.namespace, make_call)
    if asked is None:
        semantic.abstain(reason)
        return None
    durable = tiers.durable
    budget = None if durable is None else TimeBudget(lookup.time_left, durable.health.waiting_reads)
    match = await semantic.match(
        *asked,
        lookup.key,
        make_call,
        budget,
        session=options.session,
        must_serve=is_only,
    )
    if budget is not None:
        lookup.time_left = budget.left
    if match is None:
        return None
    neighbour = match.neighbour
    if match.is_served:
        return lookup.near_hit(neighbour)
    lookup.near = neighbour.score, neighbour.question
    return None


async def expected_answer(
    tiers: Tiers, request: Request, options: Options, namespace: str, make_call: MakeCall
) -> Expected | None:
    """What is known of the question of a request whose answer has come, if it may be compared."""
    semantic = tiers.semantic
    if semantic is None or options.semantic is False or request.is_node or request.changes:
        return None
    asked, _ = await _question(semantic, tiers, request, namespace, make_call)
    return None if asked is None else await semantic.expected(*asked, make_call)


def learned(
    tiers: Tiers,
    expected: Expected | None,
    key: bytes,
    generations: Sequence[Generation],
    *,
    is_whole: bool,
) -> StoredQuestion | None:
    """Tell the semantic tier of an answer that is kept. Returns what to store with it, if any.

    `is_whole`: it can be served to any caller, not only to streams.
    """
    if expected is None or tiers.semantic is None:
        return None
    return tiers.semantic.learn(expected, key, generations, is_whole=is_whole)


def compared(tiers: Tiers, expected: Expected | None, generations: Sequence[Generation]) -> None:
    """Tell the semantic tier of an answer that is not kept."""
    if expected is not None and tiers.semantic is not None:
        tiers.semantic.compare(expected, generations)


async def _question(
    semantic: SemanticTier, tiers: Tiers, request: Request, namespace: str, make_call: MakeCall
) -> tuple[tuple[Rest, str] | None, str]:
    """All of a request but its question, and the question; or None, and why."""
    work = functools.partial(partition_of, tiers.memory, request, namespace)
    try:
        if make_call == Call.awaited and len(request.prompt) > LIMIT:
            found = await tiers.large_reads.run(work)
        else:
            found = work()
    except RequestBypassed:
        found = None
    if found is None:
        return None, "no_question"
    digest, text = found
    question, reason = semantic.question_in(text)
    return None if question is None else (semantic.rest(namespace, digest), question), reason
