"""The tiers that an answer lives in, and the way of one request through them."""

from __future__ import annotations

import contextlib
import functools
import math
import secrets
import sys
import time
from typing import TYPE_CHECKING, Any

from llmemo._core import (
    Memory,
    RequestBypassed,
    ValueDamaged,
    ValueRefused,
    decode,
    encode,
)
from llmemo.calls import Call, Delete, Get, NotYetError, Set
from llmemo.engine import Engine
from llmemo.errors import CacheClosedError, ConfigurationError, StoreError, text_of
from llmemo.schemas import schemas
from llmemo.stats import CacheStats, Tally
from llmemo.stores import Record, Store, store_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from langchain_core.outputs import Generation

FINGERPRINT_SECRET = secrets.token_bytes(192)
"""XXH3's secret in this process: 192 bytes is the size of its default one (xxhash.h)."""

MARK = secrets.token_hex(16)
"""Sets what memory knows a request by apart from any text that somebody could send."""

REMOVAL_TIMEOUT = 30.0
"""Seconds that a removal waits for the store before it says that it failed."""


REMEDIES = {
    "address": "an object whose text is its address: give plain values, or a class with a repr",
    "unknown_repr": "an object whose text need not say what is in it: give plain values",
    "truncated": "a value that is printed only in part: give it as plain values",
    "too_deep": "values that are nested too deep",
    "unknown_class": "a class that was not seen: call the model through LangChain's methods",
}
"""What stands in the way of a key, and what to do about it."""


class Tiers:
    """Memory, and behind it maybe a store. Arguments as for `LLMCache`.

    The coroutines serve the sync and the async methods alike: they are given the kind of `Call`
    to make, and suspend only where that is one to be awaited.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None,
        *,
        max_bytes: int,
        max_entries: int | None,
        ttl: float | None,
        namespace: str,
        store_timeout: float,
        secret: str | bytes | None,
        clock: Callable[[], float],
    ) -> None:
        """Check the arguments; see `LLMCache`."""
        _check_whole("max_bytes", max_bytes, least=0)
        if max_bytes == 0 and store is None:
            msg = "max_bytes=0 without a store would cache nothing: give a store, or some bytes"
            raise ConfigurationError(msg)
        if max_entries is not None:
            _check_whole("max_entries", max_entries, least=1)
        if ttl is not None:
            _check_seconds("ttl", ttl)
        _check_seconds("store_timeout", store_timeout)
        if not isinstance(namespace, str):
            msg = f"namespace={namespace!r} is not a str: a name, or the empty string"
            raise ConfigurationError(msg)
        self.namespace = namespace
        self._ttl = ttl
        self._store_timeout = store_timeout
        self._clock = clock
        self._is_closed = False
        self.tally = Tally()
        self.memory = Memory(
            max_bytes,
            max_entries,
            fingerprint_secret=FINGERPRINT_SECRET,
            secret=_secret_bytes(secret),
            clock=None if clock is time.time else clock,
        )
        self._namespace_label = self.memory.label(namespace)
        self.engine: Engine | None = None
        if store is not None:
            self.engine = Engine(store_of(store), self.tally, store_timeout)

    def key(self, prompt: str, llm_string: str) -> bytes | None:
        """What the request is called in every process; None if it must not be cached."""
        identity = self._identify(prompt, llm_string)
        return None if identity is None else identity[1]

    def _identify(self, prompt: str, llm_string: str) -> tuple[str, bytes] | None:
        """The `llm_string` by which memory knows the request, and the request's key."""
        known = None
        asked = llm_string
        if "<class '" in llm_string:
            known = schemas()
            # Memory compares texts: put what the classes hold beside their names.
            asked = f"{llm_string}\0{MARK}{sorted(known.items())}"
        try:
            return asked, self.memory.key(prompt, llm_string, self.namespace, known)
        except RequestBypassed as bypass:
            reason, parameter = bypass.args
            text = "llmemo: requests go past the cache: %r holds %s"
            self.tally.note("bypassed", reason, text, parameter or "llm_string", REMEDIES[reason])
            return None

    async def fetch(
        self, prompt: str, llm_string: str, make_call: Callable[..., Call[Record | None]]
    ) -> list[Generation] | None:
        """Look for a request that memory does not know as it is written: by its key."""
        if self._is_closed:
            self.tally.add("misses")
            return None
        identity = self._identify(prompt, llm_string)
        if identity is None:
            return None
        asked, key = identity
        hit = self.memory.lookup_key(prompt, asked, self.namespace, key)
        if hit is not None:
            return hit
        if self.engine is not None:
            epoch = self.memory.epoch(key)
            call = make_call(Get(key))
            with self._tolerant("read"):
                self.engine.submit(call)
                record = await call.wait(self._store_timeout)
                if record is not None:
                    hit = self._admit(prompt, asked, key, record, epoch)
        self.tally.add("misses" if hit is None else "store_hits")
        return hit

    def _admit(
        self, prompt: str, llm_string: str, key: bytes, record: Record, epoch: int
    ) -> list[Generation] | None:
        """Decode a record, and keep it in memory."""
        if record.expires is not None and record.expires <= self._clock():
            self.tally.add("expired")
            return None
        try:
            # The key that was asked for, whatever the store says that it found.
            hit = decode(record.value, key)
        except ValueDamaged as damage:
            self.unreadable(damage)
            return None
        self.memory.put(
            prompt,
            llm_string,
            self.namespace,
            key,
            record.value,
            expires=record.expires,
            epoch=epoch,
        )
        return hit

    async def keep(
        self,
        prompt: str,
        llm_string: str,
        generations: Sequence[Generation],
        make_call: Callable[..., Call[None]],
    ) -> None:
        """Encode an answer, and store it in every tier."""
        if self._is_closed:
            self._skip("closed")
            return
        identity = self._identify(prompt, llm_string)
        if identity is None:
            return
        asked, key = identity
        try:
            value = encode(generations, key)
        except ValueRefused as refusal:
            self._skip(str(refusal))
            return
        now = self._clock()
        expires = None if self._ttl is None else now + self._ttl
        kept = self.memory.put(prompt, asked, self.namespace, key, value, expires=expires)
        if self.engine is None:
            if kept:
                self.tally.add("updates")
            else:
                self._skip("too_large")
            return
        self.tally.add("updates")
        llm_label = self.memory.label(llm_string)
        record = Record(key, value, self._namespace_label, llm_label, now, expires)
        call = make_call(Set(record))
        confirmed = False
        with self._tolerant("write"):
            self.engine.submit(call)
            await call.wait(self._store_timeout)
            confirmed = True
        if not confirmed:
            self.tally.add("writes_unconfirmed")

    async def remove(self, key: bytes | None, make_call: Callable[..., Call[int]]) -> bool:
        """Take one entry, or every one, out of every tier. Returns whether there was any."""
        if self._is_closed:
            msg = "the cache is closed: nothing can be removed from it any more"
            raise CacheClosedError(msg)
        forget: Callable[[], Any] = (
            self.memory.clear if key is None else functools.partial(self.memory.remove, key)
        )
        found = forget()
        if self.engine is None:
            return bool(found)
        call = make_call(Delete(None if key is None else [key]))
        try:
            self.engine.submit(call)
            removed = await call.wait(REMOVAL_TIMEOUT)
        except NotYetError as error:
            msg = f"the store did not confirm the removal within {REMOVAL_TIMEOUT:.0f} s"
            raise StoreError(msg) from error
        except StoreError:
            raise
        except Exception as error:
            msg = f"the store could not remove anything: {text_of(error)}"
            raise StoreError(msg) from error
        finally:
            # Once more: a lookup may have read the old record while it was being removed.
            forget()
        return bool(found or removed)

    @contextlib.contextmanager
    def _tolerant(self, verb: str) -> Iterator[None]:
        """Let a store fail: count it, say it once, go on."""
        try:
            yield
        except NotYetError:
            text = "llmemo: the store took longer than %.3g s to %s"
            self.tally.note("errors", f"store_{verb}_timeout", text, self._store_timeout, verb)
        except Exception as error:  # noqa: BLE001 (a store may fail in any way)
            text = "llmemo: the store failed to %s: %s"
            self.tally.note("errors", f"store_{verb}", text, verb, text_of(error))

    def unreadable(self, damage: ValueDamaged) -> None:
        """Count an answer that cannot be read, and say so."""
        text = "llmemo: a stored answer is unreadable (%s)"
        self.tally.note("errors", f"value_{damage}", text, damage)

    def _skip(self, reason: str) -> None:
        self.tally.note("skipped", reason, "llmemo: an answer was not kept (%s)", reason)

    def stats(self) -> CacheStats:
        """Counts of all tiers."""
        memory_hits, evictions, expired, entries, size = self.memory.counts()
        counts, groups = self.tally.snapshot()
        return CacheStats(
            hits=memory_hits + counts["store_hits"],
            misses=counts["misses"],
            memory_hits=memory_hits,
            store_hits=counts["store_hits"],
            updates=counts["updates"],
            evictions=evictions,
            expired=expired + counts["expired"],
            entries=entries,
            bytes=size,
            writes_unconfirmed=counts["writes_unconfirmed"],
            **groups,
        )

    def close(self, timeout: float) -> int:
        """Let go of everything. Returns the number of writes that were dropped."""
        self._is_closed = True
        self.memory.clear()
        return 0 if self.engine is None else self.engine.close(timeout)


def _check_whole(name: str, value: int, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= sys.maxsize:
        msg = f"{name}={value!r} is not allowed: a whole number of {least} or more"
        raise ConfigurationError(msg)


def _check_seconds(name: str, value: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        hint = ", or None for no limit" if name == "ttl" else ""
        msg = f"{name}={value!r} is not allowed: a positive number of seconds{hint}"
        raise ConfigurationError(msg)


def _secret_bytes(secret: str | bytes | None) -> bytes | None:
    if secret is None or (isinstance(secret, bytes) and secret):
        return secret
    if isinstance(secret, str) and secret:
        return secret.encode("utf-8", "surrogatepass")
    # Its value stays out of the message.
    msg = "secret is not allowed: a str or bytes that is not empty, or None"
    raise ConfigurationError(msg)
