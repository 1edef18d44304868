"""Batches of writes: which operations share a transaction, and how it is carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.errors import text_of
from llmemo.store_io.operations import Add, AmendState, Delete, Invalidate, Set
from llmemo.stores.base import StoreRefusedError

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from llmemo.store_io.calls import Outcome, Submission
    from llmemo.store_io.operations import Operation
    from llmemo.stores.base import Store
    from llmemo.telemetry.stats import Tally

    Change = Callable[[bytes | None], bytes | None]

AROUND = 2_048
"""Bytes that a queued update takes besides value, outline and request (measured with 200,000)."""


def take_batch(writes: deque[Submission[Any]], limit: int) -> list[Submission[Any]]:
    """Take the oldest write out of a queue, and with it all that can share its transaction.

    Updates and amendments pass each other, since neither says anything of the other. `limit`: most
    operations of one transaction.
    """
    batch = [writes.popleft()]
    passed: list[Submission[Any]] = []
    first = shared_by(batch[0].operation)
    while first is not None and writes and len(batch) < limit:
        kind = shared_by(writes[0].operation)
        if kind is None:
            break
        (batch if kind == first else passed).append(writes.popleft())
    writes.extendleft(reversed(passed))
    return batch


def shared_by(operation: Operation) -> object:
    """What all operations have in common that may share a transaction; None if it shares none.

    Callers may leave such an operation to the queue.
    """
    if isinstance(operation, Set):
        return Set
    return operation.name if isinstance(operation, AmendState) else None


def size_of(operation: Operation) -> int:
    """Bytes of memory that an operation takes which is queued without a caller that waits."""
    if isinstance(operation, Set):
        return operation.record.size + AROUND
    return AROUND if isinstance(operation, AmendState) else 0


async def carry_out(store: Store, batch: list[Submission[Any]], tally: Tally) -> list[Outcome]:
    """The outcomes of a batch: several writes, or one of the other operations."""
    try:
        results = await _results(store, batch, tally)
    except StoreRefusedError as error:
        return [(call, *_refused(call, error)) for call in batch]
    return [(call, result, None) for call, result in zip(batch, results, strict=True)]


def _refused(call: Submission[Any], error: StoreRefusedError) -> tuple[Any, Exception | None]:
    """Result and error of a call, where the store refuses some of a batch."""
    operation, refused = call.operation, error.refused
    if refused is None or not isinstance(operation, Set) or operation.record.key in refused:
        return None, error
    return operation.fence in error.superseded, None


async def _results(store: Store, batch: list[Submission[Any]], tally: Tally) -> Sequence[Any]:
    operation = batch[0].operation
    if isinstance(operation, Delete):
        return [await store.delete(operation.keys)]
    if isinstance(operation, Invalidate):
        return [await store.invalidate(operation.selection)]
    if isinstance(operation, Add):
        return [await store.add(operation.records)]
    if isinstance(operation, AmendState):
        return await _amend(store, operation.name, batch, tally)
    # One record for each key, and for each lease: the last.
    sets = [call.operation for call in batch if isinstance(call.operation, Set)]
    if store.leases is not None and any(one.fence is not None for one in sets):
        last = {(one.record.key, one.fence): one for one in sets}.values()
        superseded = await store.leases.set([(one.record, one.fence) for one in last])
        return [one.fence in superseded for one in sets]
    await store.set(list({one.record.key: one.record for one in sets}.values()))
    return [None] * len(batch)


async def _amend(
    store: Store, name: bytes, batch: list[Submission[Any]], tally: Tally
) -> Sequence[bytes | None]:
    """Carry out the changes of one state, one after the other, in one transaction."""
    if store.vectors is None:
        return [None] * len(batch)
    changes = [one.operation.change for one in batch if isinstance(one.operation, AmendState)]
    stored = await store.vectors.amend(name, _in_turn(changes, tally))
    return [stored] * len(batch)


def _in_turn(changes: Sequence[Change], tally: Tally) -> Change:
    """All changes as one. One that raises changes nothing, and keeps the others from nothing."""

    def change(state: bytes | None) -> bytes | None:
        changed = None
        for one in changes:
            try:
                result = one(state if changed is None else changed)
                changed = changed if result is None else result
            except Exception as error:  # noqa: BLE001 (on the store's threads: no interrupt)
                text = "llmemo: a change of a stored state failed: %s"
                tally.note("errors", "internal", text, text_of(error))
        return changed

    return change
