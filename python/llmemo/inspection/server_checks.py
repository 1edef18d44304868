"""What `llmemo doctor` checks of a Redis or Valkey server. It writes nothing."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from llmemo.errors import StoreError
from llmemo.inspection.checks import OK, PROBLEM, WARN, Check, fine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmemo.inspection.redis_view import RedisView
    from llmemo.stores.redis.nodes import Address

OLDEST = (6, 2)
"""The oldest server that `RedisStore` works with."""

CLOCK_SKEW = 5.0
"""Seconds by which clocks may differ without a word."""

SLOW = 0.05
"""Seconds of an exchange above which a hit may be slower than it should be."""

PINGS = 10

COMMANDS = {
    "write": (b"SET", b"HSET", b"XADD", b"PEXPIRE", b"DEL"),
    "read": (b"MGET", b"SCAN", b"XREAD", b"EXISTS"),
}
"""What a user has to be allowed, beside scripts: docs/redis.md has all."""

NOT_TOLD = "the user may not ask (INFO)"


def check_server(view: RedisView) -> Iterator[Check]:
    """All checks but those of entries, of each node."""
    for address in view.nodes():
        where = f"{address[0]}:{address[1]}"
        info = view.info(address)
        yield _latency(view, address, where)
        yield _version(info, where)
        yield _eviction(info, where)
        yield _persistence(info, where)
        yield _clock(view, address, where)
        yield _rights(view, address, where)


def _latency(view: RedisView, address: Address, where: str) -> Check:
    taken = []
    for _ in range(PINGS):
        begun = time.perf_counter()
        view.ask(address, b"TIME")
        taken.append(time.perf_counter() - begun)
    median = statistics.median(taken)
    text = f"{where}: {median * 1e3:.2f} ms for an exchange"
    if median > SLOW:
        remedy = "put a file in front: LLMCache([SQLiteStore(…), RedisStore(…)])"
        return Check("latency", WARN, text, remedy)
    return fine("latency", text)


def _version(info: Mapping[str, str], where: str) -> Check:
    text = info.get("valkey_version") or info.get("redis_version")
    if text is None:
        return Check("version", WARN, f"{where}: {NOT_TOLD}", "allow +info, or ask your operator")
    digits = tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
    if digits < OLDEST:
        return Check("version", PROBLEM, f"{where}: {text}", "use a server of 6.2 or newer")
    return fine("version", f"{where}: {text}")


def _eviction(info: Mapping[str, str], where: str) -> Check:
    policy = info.get("maxmemory_policy")
    if policy is None:
        return Check("eviction", WARN, f"{where}: {NOT_TOLD}", "set allkeys-lru or allkeys-lfu")
    is_bounded = info.get("maxmemory", "0") != "0"
    bound = f"{int(info['maxmemory']):,} bytes" if is_bounded else "no maxmemory"
    text = f"{where}: {policy}, {bound}"
    remedy = "set maxmemory, and maxmemory-policy allkeys-lru or allkeys-lfu (docs/redis.md)"
    if not is_bounded or policy in ("allkeys-lru", "allkeys-lfu"):
        return fine("eviction", text) if is_bounded else Check("eviction", WARN, text, remedy)
    status = PROBLEM if policy == "noeviction" and _is_full(info) else WARN
    return Check("eviction", status, text, remedy)


def _is_full(info: Mapping[str, str]) -> bool:
    return int(info.get("used_memory", 0)) >= 0.95 * int(info["maxmemory"])


def _persistence(info: Mapping[str, str], where: str) -> Check:
    if not info:
        return Check("persistence", OK, f"{where}: {NOT_TOLD}")
    if info.get("rdb_last_bgsave_status") == "err" or info.get("aof_last_write_status") == "err":
        text = f"{where}: the server cannot save, and may refuse writes (MISCONF)"
        return Check("persistence", PROBLEM, text, "look at the server's log and its disk")
    if info.get("aof_enabled") == "1":
        return fine("persistence", f"{where}: append-only file")
    return fine("persistence", f"{where}: no append-only file: a restart may lose answers")


def _clock(view: RedisView, address: Address, where: str) -> Check:
    seconds, microseconds = view.ask(address, b"TIME")
    skew = time.time() - (int(seconds) + int(microseconds) / 1e6)
    text = f"{where}: {skew:+.1f} s from this machine's clock"
    if abs(skew) > CLOCK_SKEW:
        return Check("clock", WARN, text, "set the clocks of all machines by NTP")
    return fine("clock", text)


def _rights(view: RedisView, address: Address, where: str) -> Check:
    """What the user may do, as the server's own list says (Redis 7: ACL DRYRUN)."""
    try:
        user = view.ask(address, b"ACL", b"WHOAMI")
        name = view.name_of(b"\0" * 32)
        denied = [
            command.decode()
            for commands in COMMANDS.values()
            for command in commands
            if _is_denied(view.ask(address, b"ACL", b"DRYRUN", user, *_example(command, name)))
        ]
    except StoreError:
        return fine("rights", f"{where}: not checked (the user may not ask, or Redis before 7)")
    if denied:
        text = f"{where}: {user.decode('utf-8', 'replace')!r} may not {', '.join(denied)}"
        return Check("rights", PROBLEM, text, "give it the list of docs/redis.md (ACL SETUSER)")
    return fine("rights", f"{where}: the user may do what a store does")


def _is_denied(reply: object) -> bool:
    return reply not in (b"OK", "OK")


def _example(command: bytes, name: bytes) -> tuple[bytes, ...]:
    """A command with arguments, which is not run."""
    arguments: dict[bytes, tuple[bytes, ...]] = {
        b"SET": (name, b"v"),
        b"HSET": (name, b"f", b"v"),
        b"XADD": (name, b"*", b"f", b"v"),
        b"PEXPIRE": (name, b"1"),
        b"SCAN": (b"0",),
        b"XREAD": (b"STREAMS", name, b"0"),
    }
    return command, *arguments.get(command, (name,))
