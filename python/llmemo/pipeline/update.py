"""The way of one answer: encoded, given to the waiters, kept in every tier."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo._core import LARGE as LIMIT
from llmemo._core import RequestBypassed, ValueRefused, encode
from llmemo.config.options import DEFAULT, in_force
from llmemo.keys.identity import describe, identify
from llmemo.langchain import chains
from llmemo.pipeline.admission import refusal_of, refuse
from llmemo.pipeline.answer_record import record_of, times
from llmemo.pipeline.hit_marks import without_marks
from llmemo.pipeline.large_work import LARGE, Large
from llmemo.pipeline.near_match import compared, expected_answer, learned
from llmemo.store_io.calls import Call
from llmemo.store_io.operations import Set, Written
from llmemo.stores.lease_store import FAILURES_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.outputs import Generation

    from llmemo.config.options import Options
    from llmemo.keys.identity import Identity
    from llmemo.keys.request import Request
    from llmemo.pipeline.tiers import Tiers
    from llmemo.semantic.expected import Expected
    from llmemo.store_io.client import MakeCall
    from llmemo.store_io.time_budget import TimeBudget


async def keep(
    tiers: Tiers,
    request: Request,
    generations: Sequence[Generation],
    make_call: MakeCall,
    recording: Recording | None = None,
) -> None:
    """Encode an answer, give it to the waiters, and keep it.

    Arguments as for `fetch`. `recording`: of the stream that it came by.

    Raises:
        NamespaceRequiredError: The caller has to name a namespace.
    """
    options = in_force() or DEFAULT
    if tiers.is_closed:
        tiers.skip("closed")
        return
    if options.mode == "bypass":
        tiers.bypass_requested()
        return
    namespace = tiers.namespace_of(options)
    await keep_under(tiers, request, generations, options, namespace, make_call, recording)


async def keep_under(  # noqa: PLR0917 (as `send`)
    tiers: Tiers,
    request: Request,
    generations: Sequence[Generation],
    options: Options,
    namespace: str,
    make_call: MakeCall,
    recording: Recording | None = None,
) -> None:
    """As `keep`, with these options and in this namespace."""
    arguments = tiers, request, generations, options, namespace
    expected, is_awaited = None, make_call == Call.awaited
    if tiers.semantic is not None:
        try:
            expected = await expected_answer(tiers, request, options, namespace, make_call)
        except BaseException:
            serve_late(tiers, send(*arguments, Call.blocking, recording=recording))
            raise
    sent: Sent | Postponed | None = UNKNOWN
    if not (is_awaited and len(request.prompt) > LIMIT):
        sent = send(
            *arguments, make_call, at_once=is_awaited, recording=recording, expected=expected
        )
    if isinstance(sent, Postponed):
        key = sent.key
        if is_awaited:
            there = functools.partial(Call[Any], loop=asyncio.get_running_loop())
            work = functools.partial(
                send, *arguments, there, is_in_turn=True, recording=recording, expected=expected
            )
            late = functools.partial(serve_late, tiers)
            sent = await tiers.large_writes.run(work, key, late)
        else:
            work = functools.partial(
                send, *arguments, make_call, is_in_turn=True, recording=recording, expected=expected
            )
            sent = tiers.large_writes.wait(work, key)
    if isinstance(sent, Sent):
        await finish(tiers, sent)


class Recording(NamedTuple):
    """The stream that an answer came by."""

    recording: bytes
    """From a `Recorder`."""
    for_streams: bool
    """Whether it lacks what only a call without a stream is told."""


class Postponed(NamedTuple):
    """Nothing is done yet: it is for `Tiers.large_writes`."""

    key: bytes | None
    """Of the request, if it is known."""


UNKNOWN = Postponed(None)


class Sent(NamedTuple):
    """An answer that is on its way to a store."""

    identity: Identity
    value: bytes | None
    """The answer for the waiters."""
    is_kept: bool
    """Whether memory has it."""
    call: Call[Any] | None
    """What to wait for, if anything."""
    budget: TimeBudget


def send(  # noqa: PLR0917 (given on the way of every update)
    tiers: Tiers,
    request: Request,
    generations: Sequence[Generation],
    options: Options,
    namespace: str,
    make_call: MakeCall,
    *,
    at_once: bool = False,
    is_in_turn: bool = False,
    recording: Recording | None = None,
    expected: Expected | None = None,
) -> Sent | Postponed | None:
    """Encode the answer, give it to the waiters, keep it in memory, and send it to the store.

    None if there is nothing more to do. `Postponed`, with nothing done, if it is large and was to
    be sent `at_once`, or if a large answer to the same request is still on its way (`is_in_turn`:
    this one has waited its turn).
    """
    durable = tiers.durable
    try:
        name = identify if durable is None else describe
        identity = name(tiers.memory, request, namespace)
    except RequestBypassed as bypass:
        tiers.bypass(bypass)
        return None
    request, key = identity.request, identity.key
    if tiers.large_writes.jobs and not is_in_turn and tiers.large_writes.has(key):
        return Postponed(key)
    lease = None if tiers.flights is None else tiers.flights.lease(key)
    try:
        value = _admitted(tiers, request, key, generations, at_once=at_once, recording=recording)
        if value is None:
            compared(tiers, expected, generations)
            return None
        if isinstance(value, Large):
            return Postponed(key)
        now = tiers.clock()
        expires, early = times(tiers.settings, options, namespace, now, lease)
        is_kept = tiers.memory.put(
            request.prompt,
            identity.name,
            namespace,
            key,
            value,
            expires=expires,
            created=now,
            early=early,
            worth=tiers.memory.worth(generations),
        )
        chains.remember(tiers, key)
        is_whole = recording is None or not recording.for_streams
        question = learned(tiers, expected, key, generations, is_whole=is_whole)
        served = _for_waiters(value, recording)
        if durable is None or durable.store.read_only:
            serve(tiers, key, served)
            count_kept(tiers, is_kept=is_kept)
            return None
        tiers.tally.add("updates")
        budget = (lease and lease.store_budget) or durable.time_budget()
        if is_kept:
            # Later lookups find it there, and waiters need not wait for a disk.
            serve(tiers, key, served, is_stored=True)
        texts = (namespace, request.llm_string, request.prompt)
        record = record_of(tiers, texts, identity, value, (now, expires), question=question)
        operation = Set(record, None if lease is None else lease.fence)
        call = durable.begin_write(operation, make_call, budget, at_once=is_in_turn)
        return Sent(identity, served, is_kept, call, budget)
    except BaseException:
        if durable is not None and lease is not None and lease.fence is not None:
            # It may have ended here already, with the record that would end it for the store
            # neither written nor on its way. If it is, this comes after it, and does nothing.
            durable.release(key, lease.fence, 0)
        raise


async def finish(tiers: Tiers, sent: Sent) -> None:
    """Wait for the store."""
    key = sent.identity.key
    if tiers.durable is None:
        return
    try:
        written = await tiers.durable.written(sent.call, sent.budget)
    finally:
        if not sent.is_kept:
            serve(tiers, key, sent.value, is_stored=True)
    if written is Written.SUPERSEDED:
        # Another process's answer stays: here, too.
        tiers.memory.remove(key)
        tiers.skip("superseded")
    elif written is Written.UNCONFIRMED:
        tiers.tally.add("writes_unconfirmed")


def serve_late(tiers: Tiers, sent: Sent | Postponed | None) -> None:
    """Give an answer to the waiters whose caller has left while it was sent."""
    if isinstance(sent, Sent) and not sent.is_kept:
        serve(tiers, sent.identity.key, sent.value, is_stored=True)


def count_kept(tiers: Tiers, *, is_kept: bool) -> None:
    """Count an answer that memory alone has, if it has room for it."""
    if tiers.durable is not None:
        # As its user has asked for: no trouble, and nothing to log.
        tiers.tally.count("skipped", "store_read_only")
    elif not is_kept:
        tiers.skip("too_large")
    if is_kept:
        tiers.tally.add("updates")


def _admitted(
    tiers: Tiers,
    request: Request,
    key: bytes,
    generations: Sequence[Generation],
    *,
    at_once: bool,
    recording: Recording | None,
) -> bytes | Large | None:
    """The answer encoded, if it is to be kept; the waiters get it in any case.

    `LARGE`, with nothing done, if it is large and was to be encoded `at_once`.
    """
    if request.changes:
        # It is unknown which of its settings the model answered with: waiters get nothing, either.
        tiers.changed(request.changes)
        serve(tiers, key, None)
        return None
    try:
        value = encode(without_marks(generations), key, at_once=at_once, **_recorded(recording))
    except ValueRefused as error:
        tiers.skip(*error.args)
        serve(tiers, key, None)
        return None
    if value is None:
        return LARGE
    refusal = None if request.is_node else refusal_of(tiers, generations)
    if refusal is not None:
        refuse(tiers, generations, refusal)
        serve(tiers, key, _for_waiters(value, recording))
    return value if refusal is None else None


def _for_waiters(value: bytes, recording: Recording | None) -> bytes | None:
    """The answer for callers that wait without a stream, unless it lacks something for them."""
    return None if recording is not None and recording.for_streams else value


def _recorded(recording: Recording | None) -> dict[str, Any]:
    return {} if recording is None else recording._asdict()


def serve(tiers: Tiers, key: bytes, value: bytes | None, *, is_stored: bool = False) -> None:
    """Give an answer to all waiters; without one, let them go on."""
    if tiers.flights is None:
        return
    lease = tiers.flights.lease(key)
    if value is None:
        tiers.flights.release(key)
    else:
        tiers.flights.serve(key, value)
    # Storing an answer ends the lease that the store knows; other processes do not get this one.
    fence = None if lease is None or is_stored else lease.fence
    if fence is not None and tiers.durable is not None:
        tiers.durable.release(key, fence, FAILURES_MAX)
