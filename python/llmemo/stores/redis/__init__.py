"""The store for a fleet: a Redis or Valkey server, a cluster, or a master found by sentinels."""

from __future__ import annotations

OLDEST = (5, 2)
"""Version of redis-py from which on this was tried."""

WANTED = "pip install 'llmemo[redis]' (redis 5.2 or newer, and hiredis)"

try:
    import hiredis  # noqa: F401 (without it redis-py parses replies in Python)
    import redis
except ImportError as error:
    text = f"a Redis store needs another package, {error.name}: {WANTED}"
    raise ImportError(text) from None

if tuple(map(int, redis.__version__.split(".")[:2])) < OLDEST:
    text = f"a Redis store needs a newer redis than {redis.__version__}: {WANTED}"
    raise ImportError(text)

from llmemo.stores.redis.store import RedisStore  # noqa: E402 (what it needs comes first)

__all__ = ["RedisStore"]
