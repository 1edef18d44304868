"""What becomes of an answer: handed to who waits for it, kept in every tier."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING

from llmemo import chains
from llmemo._core import RequestBypassed, ValueRefused, encode
from llmemo.admission import refusal_of, refuse
from llmemo.calls import Set
from llmemo.flight import FAILURES
from llmemo.options import DEFAULT, current
from llmemo.stores import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.outputs import Generation

    from llmemo.durable import MakeCall
    from llmemo.flight import Lease
    from llmemo.keys.request import Request
    from llmemo.options import Options
    from llmemo.settings import Settings
    from llmemo.tiers import Identity, Tiers

EARLIEST = 0.1
"""Part of its time to live in which XFetch's average refresh may fall, however slow a model is."""


async def keep(
    tiers: Tiers, request: Request, generations: Sequence[Generation], make_call: MakeCall
) -> None:
    """Encode an answer, hand it out, and keep it. Arguments as for `reading.fetch`.

    Raises:
        NamespaceRequiredError: The caller has to name a namespace.
    """
    said = current.get() or DEFAULT
    if tiers.is_closed:
        tiers.skip("closed")
        return
    if said.mode == "bypass":
        tiers.bypass_requested()
        return
    namespace = tiers.namespace_of(said)
    is_durable = tiers.durable is not None
    try:
        identity = tiers.identity(request, namespace, for_record=is_durable)
    except RequestBypassed as bypass:
        tiers.bypass(bypass)
        return
    lease = None if tiers.flights is None else tiers.flights.lease(identity.key)
    try:
        await _keep(tiers, (said, namespace, identity, lease), generations, make_call)
    except GeneratorExit:
        raise  # garbage, of a loop that was closed
    except BaseException:
        if lease is not None and lease.fence is not None and tiers.durable is not None:
            # It may have ended here already, with the record that would end it for the store
            # neither written nor on its way. If it is, this comes after it, and does nothing.
            tiers.durable.let_go(identity.key, lease.fence, 0)
        raise


async def _keep(
    tiers: Tiers,
    known: tuple[Options, str, Identity, Lease | None],
    generations: Sequence[Generation],
    make_call: MakeCall,
) -> None:
    said, namespace, identity, lease = known
    request, key = identity.request, identity.key
    value = _admitted(tiers, request, key, generations)
    if value is None:
        return
    now = tiers.clock()
    expires, early = times(tiers.settings, said, namespace, now, lease)
    is_kept = tiers.memory.put(
        request.prompt,
        identity.asked,
        namespace,
        key,
        value,
        expires=expires,
        created=now,
        early=early,
        worth=tiers.memory.worth(generations),
    )
    chains.given(tiers, key)
    durable = tiers.durable
    if durable is None:
        _hand_out(tiers, key, value)
        if is_kept:
            tiers.tally.add("updates")
        else:
            tiers.skip("too_large")
        return
    tiers.tally.add("updates")
    fence = None if lease is None else lease.fence
    patience = (lease and lease.store_patience) or durable.patience()
    if is_kept:
        # Who asks from now on finds it there; and nobody has to wait for a disk.
        _hand_out(tiers, key, value, is_stored=True)
    told = (namespace, request.llm_string, request.prompt)
    record = record_of(tiers, told, identity, value, (now, expires))
    try:
        is_written = await durable.write(Set(record, fence), make_call, patience)
    finally:
        if not is_kept:
            _hand_out(tiers, key, value, is_stored=True)
    if is_written is None:
        # Another process was given the lease, and its answer stays: here, too.
        tiers.memory.remove(key)
        tiers.skip("superseded")
    elif not is_written:
        tiers.tally.add("writes_unconfirmed")


def record_of(
    tiers: Tiers,
    request: tuple[str, str, str],
    identity: Identity,
    value: bytes,
    times: tuple[float, float | None],
) -> Record:
    """What a store is given: of namespace, llm_string and prompt; created, and until when.

    The identity has to be one `for_record`.
    """
    namespace, llm_string, prompt = request
    key = identity.key
    return Record(
        key,
        tiers.sealing.seal(value, key),
        tiers.label(namespace),
        identity.label,
        *times,
        identity.outline,
        _request(tiers, prompt, llm_string, namespace, key),
    )


def _admitted(
    tiers: Tiers, request: Request, key: bytes, generations: Sequence[Generation]
) -> bytes | None:
    """The answer encoded, if it is to be kept; who waits for it gets it in any case."""
    if request.changes:
        # It is unknown which of its settings the model answered with: waiters get nothing, either.
        tiers.changed(request.changes)
        _hand_out(tiers, key, None)
        return None
    try:
        value = encode(generations, key)
    except ValueRefused as error:
        tiers.skip(str(error))
        _hand_out(tiers, key, None)
        return None
    refusal = refusal_of(tiers, generations)
    if refusal is None:
        return value
    refuse(tiers, generations, refusal)
    _hand_out(tiers, key, value)
    return None


def times(
    settings: Settings, said: Options, namespace: str, now: float, lease: Lease | None
) -> tuple[float | None, float]:
    """When the answer expires, and XFetch's scale of how long before it may be refreshed."""
    ttl = settings.ttl_of(said, namespace)
    if ttl is None:
        return None, 0.0
    early = 0.0
    if lease is not None:
        took = time.monotonic() - lease.granted
        early = min(settings.early_refresh * took, EARLIEST * ttl)
    return now + ttl * (1 - settings.ttl_jitter * random.random()), early  # noqa: S311 (no secret)


def _hand_out(tiers: Tiers, key: bytes, value: bytes | None, *, is_stored: bool = False) -> None:
    """Give an answer to all who wait for it; without one, let them go on."""
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
        tiers.durable.let_go(key, fence, FAILURES)


def _request(
    tiers: Tiers, prompt: str, llm_string: str, namespace: str, key: bytes
) -> bytes | None:
    """The request, for a store that asks for it: in clear, unless answers are encrypted."""
    if tiers.store is None or not tiers.store.store_requests:
        return None
    request = json.dumps([namespace, llm_string, prompt]).encode()
    return tiers.sealing.seal_request(request, key)
