"""Writes: a pipeline of scripts, one for each record."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from llmemo.stores.base import StoreRefusedError
from llmemo.stores.redis.commands import script_call
from llmemo.stores.redis.frames import VALUE_AT, packed
from llmemo.stores.redis.scripts import DISCARD, REMOVE, WRITE
from llmemo.stores.redis.trouble import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence

    from llmemo.stores.records import Record
    from llmemo.stores.redis.commands import Call
    from llmemo.stores.redis.server import Server

VALUE_BYTES_MAX = 32 * 2**20
"""A value above it is refused. Redis takes 512 MiB, and answers nobody else meanwhile."""

BATCH_BYTES = 4 * 2**20
"""Bytes that one exchange of writes sends, unless it is one record."""

KEYS_PER_CALL = 500
"""Keys of one bucket that a script removes at a time."""


async def write_all(
    server: Server,
    records: Sequence[tuple[Record, int | None]],
    lifetime: Callable[[Record], int],
    grants: Container[int],
    *,
    added_at: float | None,
) -> list[bool]:
    """Store records, each whole. Returns of each whether it is there now.

    Args:
        server: Where.
        records: With the fences of their leases.
        lifetime: Milliseconds until the server drops a record; 0 for never.
        grants: The fences that this process was granted.
        added_at: To store only what is not there, the client's Unix time in seconds; else None.

    Raises:
        StoreRefusedError: The server does not take some of them, and has the others.
        StoreUnavailableError: The server is; some may have been stored.
    """
    framed = [(packed(record), record, fence) for record, fence in records]
    written: dict[int, bool] = {}
    refused: dict[bytes, Exception] = {}
    calls: dict[int, Call] = {}
    for number, (stored, record, fence) in enumerate(framed):
        if len(stored) - VALUE_AT > VALUE_BYTES_MAX:
            size = len(stored) - VALUE_AT
            text = f"a value of {size} bytes is too large for it: {VALUE_BYTES_MAX} at most"
            refused[record.key] = StoreRefusedError(text)
            written[number] = False
            continue
        key, is_ours = record.key, fence is not None and fence in grants
        names = [server.keys.answer(key), server.keys.lease(key)]
        bucket = server.keys.bucket(key)
        calls[number] = script_call(
            WRITE,
            [*names, server.keys.changes(bucket)],
            [
                server.tag(),
                stored,
                lifetime(record),
                b"" if fence is None else fence,
                int(is_ours),
                key,
                server.changes.writer,
                b"" if added_at is None else repr(added_at),
            ],
            bucket,
            is_write=True,
        )
    for some in _batches(calls, [len(stored) for stored, _, _ in framed]):
        replies = await server.topology.send([calls[number] for number in some])
        await server.check_tags([calls[number] for number in some], replies)
        for number, reply in zip(some, replies, strict=True):
            if isinstance(reply, Exception):
                error = translated(reply)
                if not isinstance(error, StoreRefusedError):
                    raise error
                refused[records[number][0].key] = error
                written[number] = False
            else:
                written[number] = reply[1] == 1
    for number, is_stored in written.items():
        if is_stored:
            server.changes.met(records[number][0].key, framed[number][0])
    if refused:
        others = {
            fence
            for number, (record, fence) in enumerate(records)
            if fence is not None and record.key not in refused and not written[number]
        }
        _refuse(refused, others)
    return [written[number] for number in range(len(records))]


def _refuse(refused: dict[bytes, Exception], superseded: Collection[int]) -> NoReturn:
    reasons = "; ".join(dict.fromkeys(map(str, refused.values())))
    raise StoreRefusedError(reasons, refused=refused, superseded=superseded)


def _batches(calls: Iterable[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of records that are sent together."""
    batch: list[int] = []
    size = 0
    for number in calls:
        if batch and size + sizes[number] > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(number)
        size += sizes[number]
    if batch:
        yield batch


async def remove_all(server: Server, keys: Sequence[bytes]) -> int:
    """Remove the answers of keys. Returns how many there were."""
    groups: dict[int, list[bytes]] = {}
    for key in dict.fromkeys(keys):
        groups.setdefault(server.keys.bucket(key), []).append(key)
    calls = []
    for bucket, group in groups.items():
        for at in range(0, len(group), KEYS_PER_CALL):
            some = group[at : at + KEYS_PER_CALL]
            names = [server.keys.changes(bucket), *map(server.keys.answer, some)]
            args = [server.tag(), server.changes.writer, *some]
            calls.append(script_call(REMOVE, names, args, bucket, is_write=True))
    return sum(reply[1] for reply in await server.scripts(calls))


async def discard_all(server: Server, records: Sequence[Record]) -> None:
    """Remove records that cannot be read, where they are still what was read."""
    calls = [
        script_call(
            DISCARD,
            [server.keys.answer(record.key)],
            [server.tag(), packed(record)],
            server.keys.bucket(record.key),
        )
        for record in records
    ]
    await server.scripts(calls)
