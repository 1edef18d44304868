"""Redis servers for benches, those of the tests, and the caches on them.

langchain-redis is not among the rivals: its RedisCache stores by JSON.SET (0.2.6), which takes a
server with RedisJSON. A plain one answers "unknown command".
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

# Run as a file, Python would look for modules in benches/ only. The servers are the tests'.
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))

from support.redis_server import Server

from benches.relay import Relay
from benches.rivals import SUBJECT, Rival, no_cache, quiet_import

if TYPE_CHECKING:
    from langchain_core.caches import BaseCache

CONNECTIONS = 400
"""Of AsyncRedisCache: with redis-py's 100, most of 256 lookups at once find nothing."""

DELAY = 0.003
"""Seconds of the relay: with what it and its timers add, a round trip of 4 ms."""

ROUND_TRIP = 0.004

NEAR, FAR = "", ", 4 ms away"
PLAIN, TLS = "", " through TLS"


@cache
def server() -> Server:
    """The server that all share, started by the first."""
    return Server(tls=True)


@cache
def _relay(port: int) -> Relay:
    return Relay(port, DELAY)


def url(database: int, *, away: str = NEAR, security: str = PLAIN) -> str:
    """Of a database of the server."""
    made: str = server().url(database) if security == PLAIN else server().tls_url(database)
    if away == NEAR:
        return made
    port = server().port if security == PLAIN else server().tls_port
    return made.replace(f":{port}/", f":{_relay(port).port}/")


def stop() -> None:
    """End server and relays."""
    if _relay.cache_info().currsize:
        for port in (server().port, server().tls_port):
            _relay(port).stop()
        _relay.cache_clear()
    server().stop()
    server.cache_clear()


def open_llmemo(where: str) -> BaseCache:
    """No memory tier: each hit is the server's."""
    from llmemo import LLMCache

    return LLMCache(where, max_bytes=0, store_timeout=30.0)


def open_async_redis_cache(where: str) -> BaseCache:
    from redis.asyncio import Redis

    with quiet_import():
        from langchain_community.cache import AsyncRedisCache

    # Its 256 connections begin at once, and all through TLS take longer than the default.
    client = Redis.from_url(
        where, max_connections=CONNECTIONS, socket_connect_timeout=60.0, socket_timeout=60.0
    )
    return AsyncRedisCache(client)


async def close(opened: BaseCache) -> None:
    """Close a cache and its connections."""
    if (client := getattr(opened, "redis", None)) is not None:
        await client.aclose()
    else:
        await opened.aclose(30.0)  # type: ignore[attr-defined]


ASYNC_REDIS = "AsyncRedisCache"
OPENERS = {SUBJECT: open_llmemo, ASYNC_REDIS: open_async_redis_cache}
RIVALS = tuple(Rival(name, no_cache) for name in OPENERS)
