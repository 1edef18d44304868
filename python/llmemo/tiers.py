"""The tiers that an answer lives in, and the way of one request through them."""

from __future__ import annotations

import contextlib
import functools
import json
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo._core import (
    Memory,
    RequestBypassed,
    ValueDamaged,
    ValueRefused,
    ValueUnknown,
    decode,
    encode,
)
from llmemo.arguments import check_seconds, check_whole, secret_bytes
from llmemo.calls import Call, Delete, Discard, Get, NotYetError, Set
from llmemo.engine import Engine
from llmemo.errors import CacheClosedError, ConfigurationError, StoreError, text_of
from llmemo.outline import TAIL
from llmemo.schemas import schemas
from llmemo.sealing import Sealing
from llmemo.stats import CacheStats, Tally
from llmemo.stores import Record, Store, store_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from langchain_core.outputs import Generation

FINGERPRINT_SECRET = secrets.token_bytes(192)
"""XXH3's secret in this process: 192 bytes is the size of its default one (xxhash.h)."""

MARK = f"\0{secrets.token_hex(16)}"
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


class Identity(NamedTuple):
    """What a request is called."""

    asked: str
    """The `llm_string` by which memory knows it."""
    key: bytes
    """Its key."""
    schemas: dict[str, bytes] | None
    """Digests of the classes that its `llm_string` names, if it names any."""


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
        fresh_ids: bool,
        encryption_key: str | bytes | Sequence[str | bytes] | None,
        clock: Callable[[], float],
    ) -> None:
        """Check the arguments; see `LLMCache`."""
        check_whole("max_bytes", max_bytes, least=0)
        if max_bytes == 0 and store is None:
            msg = "max_bytes=0 without a store would cache nothing: give a store, or some bytes"
            raise ConfigurationError(msg)
        if max_entries is not None:
            check_whole("max_entries", max_entries, least=1)
        if ttl is not None:
            check_seconds("ttl", ttl)
        check_seconds("store_timeout", store_timeout)
        if not isinstance(namespace, str):
            msg = f"namespace={namespace!r} is not a str: a name, or the empty string"
            raise ConfigurationError(msg)
        if not isinstance(fresh_ids, bool):
            msg = f"fresh_ids={fresh_ids!r} is not allowed: True or False"
            raise ConfigurationError(msg)
        self.namespace = namespace
        self._ttl = ttl
        self.store_timeout = store_timeout
        self.clock = clock
        self._fresh_ids = fresh_ids
        self.is_closed = False
        self.tally = Tally()
        self.memory = Memory(
            max_bytes,
            max_entries,
            fingerprint_secret=FINGERPRINT_SECRET,
            secret=secret_bytes(secret),
            fresh_ids=fresh_ids,
            clock=None if clock is time.time else clock,
        )
        self._namespace_label = self.memory.label(namespace)
        self.store = None if store is None else store_of(store)
        self.sealing = Sealing(encryption_key, is_needed=self.store is not None)
        self.engine: Engine | None = None
        if self.store is not None:
            self.store.clock = clock
            self.engine = Engine(self.store, self.tally, self.memory, store_timeout)

    def key(self, prompt: str, llm_string: str) -> bytes | None:
        """What the request is called in every process; None if it must not be cached."""
        identity = self._identify(prompt, llm_string)
        return None if identity is None else identity.key

    def _identify(self, prompt: str, llm_string: str) -> Identity | None:
        try:
            return self.identity(prompt, llm_string)
        except RequestBypassed as bypass:
            reason, parameter = bypass.args
            text = "llmemo: requests go past the cache: %r holds %s"
            self.tally.note("bypassed", reason, text, parameter or "llm_string", REMEDIES[reason])
            return None

    def identity(self, prompt: str, llm_string: str) -> Identity:
        """What the request is called here, and everywhere.

        Raises:
            RequestBypassed: It does not say what is asked.
        """
        known = None
        asked = llm_string
        if "<class '" in llm_string:
            known = schemas()
            # Memory compares texts: put what the classes hold beside their names.
            asked = f"{llm_string}{MARK}{sorted(known.items())}"
        return Identity(asked, self.memory.key(prompt, llm_string, self.namespace, known), known)

    async def fetch(
        self, prompt: str, llm_string: str, make_call: Callable[..., Call[Record | None]]
    ) -> list[Generation] | None:
        """Look for a request that memory does not know as it is written: by its key."""
        if self.is_closed:
            self.tally.add("misses")
            return None
        identity = self._identify(prompt, llm_string)
        if identity is None:
            return None
        asked, key, _ = identity
        hit = self.memory.lookup_key(prompt, asked, self.namespace, key)
        if hit is not None:
            return hit
        if self.engine is not None:
            epoch = self.memory.epoch(key)
            call = make_call(Get(key))
            with self._tolerant("read"):
                self.engine.submit(call)
                record = await call.wait(self.store_timeout)
                if record is not None:
                    hit = self._admit(prompt, asked, key, record, epoch)
        self.tally.add("misses" if hit is None else "store_hits")
        return hit

    def _admit(
        self, prompt: str, llm_string: str, key: bytes, record: Record, epoch: int
    ) -> list[Generation] | None:
        """Decode a record, and keep it in memory."""
        if record.expires is not None and record.expires <= self.clock():
            self.tally.add("expired")
            return None
        try:
            # The key that was asked for, whatever the store says that it found.
            value = self.sealing.open(record.value, key)
            hit = decode(value, key, fresh_ids=self._fresh_ids)
        except ValueDamaged as damage:
            self.reject(damage, record._replace(key=key))
            return None
        self.memory.put(
            prompt,
            llm_string,
            self.namespace,
            key,
            value,
            expires=record.expires,
            epoch=epoch,
        )
        return hit

    def reject(self, damage: ValueDamaged, record: Record | None = None) -> None:
        """Count an answer that cannot be read; have its record removed if nobody ever could."""
        is_lost = record is not None and not isinstance(damage, ValueUnknown)
        text = "llmemo: a stored answer cannot be read (%s) and is %s"
        fate = "removed" if is_lost else "left alone"
        self.tally.note("errors", f"value_{damage}", text, damage, fate)
        if record is not None and is_lost and self.engine is not None:
            self.engine.submit(Call.blocking(Discard(record)))

    async def keep(
        self,
        prompt: str,
        llm_string: str,
        generations: Sequence[Generation],
        make_call: Callable[..., Call[None]],
    ) -> None:
        """Encode an answer, and store it in every tier."""
        if self.is_closed:
            self._skip("closed")
            return
        identity = self._identify(prompt, llm_string)
        if identity is None:
            return
        asked, key, known = identity
        try:
            value = encode(generations, key)
        except ValueRefused as refusal:
            self._skip(str(refusal))
            return
        now = self.clock()
        expires = None if self._ttl is None else now + self._ttl
        kept = self.memory.put(prompt, asked, self.namespace, key, value, expires=expires)
        if self.engine is None:
            if kept:
                self.tally.add("updates")
            else:
                self._skip("too_large")
            return
        self.tally.add("updates")
        record = Record(
            key,
            self.sealing.seal(value, key),
            self._namespace_label,
            self.memory.label(llm_string),
            now,
            expires,
            self.memory.outline(prompt, llm_string, self.namespace, known, tail=TAIL),
            self._request(prompt, llm_string, key),
        )
        call = make_call(Set(record))
        confirmed = False
        with self._tolerant("write"):
            self.engine.submit(call)
            await call.wait(self.store_timeout)
            confirmed = True
        if not confirmed:
            self.tally.add("writes_unconfirmed")

    def _request(self, prompt: str, llm_string: str, key: bytes) -> bytes | None:
        """The request, for a store that asks for it: in clear, unless answers are encrypted."""
        if self.store is None or not self.store.store_requests:
            return None
        request = json.dumps([self.namespace, llm_string, prompt]).encode()
        return self.sealing.seal_request(request, key)

    async def remove(self, key: bytes | None, make_call: Callable[..., Call[int]]) -> bool:
        """Take one entry, or every one, out of every tier. Returns whether there was any."""
        if self.is_closed:
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
            self.tally.note("errors", f"store_{verb}_timeout", text, self.store_timeout, verb)
        except Exception as error:  # noqa: BLE001 (a store may fail in any way)
            text = "llmemo: the store failed to %s: %s"
            self.tally.note("errors", f"store_{verb}", text, verb, text_of(error))

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
        self.is_closed = True
        self.memory.clear()
        return 0 if self.engine is None else self.engine.close(timeout)
