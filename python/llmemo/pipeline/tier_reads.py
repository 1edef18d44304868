"""What memory and the store have for one lookup; what is large is read beside the event loop."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal

from llmemo._core import LARGE as LIMIT
from llmemo._core import ValueDamaged, recording_of
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.pipeline.large_work import LARGE, Large
from llmemo.telemetry.savings import Worth

if TYPE_CHECKING:
    from langchain_core.outputs import Generation

    from llmemo.pipeline.lookup_state import LookupState
    from llmemo.store_io.client import StoreClient
    from llmemo.stores import Record

    Hit = list[Generation]


def recall(lookup: LookupState, name: str) -> Hit | Literal[False] | None:
    """Memory's answer to the request as it is written; False if request or answer is large."""
    return lookup.tiers.memory.lookup(
        lookup.prompt, name, lookup.namespace, at_once=True, streams=lookup.wants_recording
    )


async def read_by_text(lookup: LookupState, name: str) -> Hit | None:
    """Memory's answer to the request as it is written."""
    if lookup.is_awaited:
        hit = recall(lookup, name)
        if hit is not False:
            return hit
    work = functools.partial(_read_by_text, lookup, name)
    return await lookup.unless_small(work, is_large=True)


def _read_by_text(lookup: LookupState, name: str) -> Hit | None:
    hit = lookup.tiers.memory.lookup(
        lookup.prompt, name, lookup.namespace, streams=lookup.wants_recording
    )
    if hit is not None and lookup.is_long:
        # A tracker, or a chain, will ask for it.
        lookup.key_of_hit()
    return hit


async def read_by_key(lookup: LookupState) -> Hit | None:
    """Memory's answer under the key: it may have been asked in another form."""
    memory, key = lookup.tiers.memory, lookup.key
    known = lookup.prompt, lookup.name, lookup.namespace, key
    if not lookup.is_long and memory.size(key) <= LIMIT:
        return memory.lookup_key(*known, streams=lookup.wants_recording)
    work = functools.partial(memory.lookup_key, *known, streams=lookup.wants_recording)
    return await lookup.unless_small(work, is_large=True)


async def read_store(lookup: LookupState, durable: StoreClient, epoch: int) -> Hit | None:
    """The store's answer; where it has none, its lease may come along."""
    is_leader = lookup.tiers.flights is not None and lookup.options.mode != "only"
    reading = durable.read(lookup.key, lookup.make_call, wants_lease=is_leader)
    try:
        record, lookup.store_lease, lookup.time_left = await reading
    except GeneratorExit:
        raise  # the coroutine is garbage of a closed loop: see `store_io.leases.client`
    except BaseException:
        durable.leave(lookup.key, reading)
        raise
    return None if record is None else await accept(lookup, record, epoch)


async def accept(lookup: LookupState, record: Record, epoch: int) -> Hit | None:
    """Decode a record of the store, and keep it in memory; None if it is no answer."""
    hit = _accept(lookup, record, epoch, at_once=lookup.is_awaited)
    if not isinstance(hit, Large):
        return hit
    work = functools.partial(_accept, lookup, record, epoch, at_once=False)
    hit = await lookup.tiers.large_reads.run(work)
    return None if isinstance(hit, Large) else hit


def _accept(
    lookup: LookupState, record: Record, epoch: int, *, at_once: bool
) -> Hit | Large | None:
    """As `accept`; `LARGE` if that takes too long here."""
    if at_once and len(record.value) > LIMIT:
        return LARGE
    try:
        return _decoded(lookup, record, epoch, at_once=at_once)
    except Exception as error:  # a store may return anything
        if is_interrupt(error):
            raise
        if lookup.tiers.durable is not None:
            lookup.tiers.durable.health.note("read", error)
        return None


def _decoded(
    lookup: LookupState, record: Record, epoch: int, *, at_once: bool
) -> Hit | Large | None:
    tiers, key = lookup.tiers, lookup.key
    if record.expires is not None and record.expires <= tiers.clock():
        tiers.tally.add("expired")
        lookup.expired = record
        return None
    created = float(record.created)
    if tiers.rejected.has(key, created):
        lookup.is_unreadable = True
        return None
    try:
        # By the key that was asked for, whatever key the record has.
        hit = tiers.memory.fill(
            lookup.prompt,
            lookup.name,
            lookup.namespace,
            key,
            tiers.envelope.decrypted(record.value, key),
            created,
            record.expires,
            epoch,
            at_once,
            streams=lookup.wants_recording,
        )
    except ValueDamaged as damage:
        note_damage(lookup, damage, record)
        return None
    if hit is None:
        return LARGE
    if hit is False:
        # It would be offered again.
        lookup.is_unreadable = True
        return None
    if lookup.wants_recording:
        lookup.recording = recording_of(tiers.envelope.decrypted(record.value, key), key)
    if lookup.is_told:
        lookup.track_hit("store", created, Worth(*tiers.memory.worth(hit)))
    return hit


def note_damage(lookup: LookupState, damage: ValueDamaged, record: Record) -> None:
    """Count a record that cannot be read; see `Tiers.note_damage`."""
    lookup.is_unreadable = True
    lookup.tiers.note_damage(damage, record._replace(key=lookup.key))
