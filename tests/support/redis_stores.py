"""Redis stores of tests: each test has a database of its own, on a server with a frozen clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo import RedisStore
from support.redis_server import shared

if TYPE_CHECKING:
    from pathlib import Path


def redis_store(folder: Path, **settings: Any) -> RedisStore:
    """A store on the test's database, by the server's clock. The folder says which test it is."""
    server = shared(frozen=True)
    store = RedisStore(server.fresh_url(folder), **settings)
    store.clock = lambda: server.now
    return store


def move_clock(now: float) -> None:
    """Have the server's clock stand still at another Unix time, in seconds."""
    shared(frozen=True).now = now
