"""A walk over all answers of a store, which only reads: found by SCAN, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.stores.redis.commands import Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from llmemo.stores.redis.server import Server

NAMES_PER_STEP = 250
"""Names that one SCAN goes through."""

KEY_DIGITS = 64
"""How a name ends: with the key, hexadecimal."""


async def pages(server: Server, max_bytes: int) -> AsyncIterator[list[bytes]]:
    """The keys of answers, some at a time: of all that are there from beginning to end.

    A key may come twice, and one that is stored or removed meanwhile may come or not
    (redis.io/docs/latest/commands/scan). If the cluster moves slots meanwhile, all come once more.

    Args:
        server: Where.
        max_bytes: Of the answers of a page, unless it is one answer.

    Raises:
        StoreUnavailableError: The server is.
    """
    layout = await server.topology.layout()
    while True:
        for address in dict.fromkeys(layout):
            cursor = b"0"
            while True:
                find = (b"SCAN", cursor, b"MATCH", server.keys.pattern, b"COUNT", NAMES_PER_STEP)
                reply = await server.topology.send_to(address, find)
                if not isinstance(reply, list) or len(reply) != 2:
                    await server.mixed_up()
                cursor, names = bytes(reply[0]), reply[1]
                async for page in _by_size(server, names, max_bytes):
                    yield page
                if cursor == b"0":
                    break
        before, layout = layout, await server.topology.layout()
        if layout == before:
            return


async def _by_size(
    server: Server, names: list[bytes], max_bytes: int
) -> AsyncIterator[list[bytes]]:
    """The keys of these names, in pages of which no reply is too large."""
    calls = [
        Call((b"STRLEN", name), bucket)
        for name in dict.fromkeys(names)
        if (bucket := server.keys.bucket_of(name)) is not None
    ]
    page: list[bytes] = []
    total = 0
    sizes = await server.send(calls) if calls else []
    for call, size in zip(calls, sizes, strict=True):
        if not isinstance(size, int):
            await server.mixed_up()
        if page and total + size > max_bytes:
            yield page
            page, total = [], 0
        page.append(bytes.fromhex(call.command[1][-KEY_DIGITS:].decode()))
        total += size
    if page:
        yield page
