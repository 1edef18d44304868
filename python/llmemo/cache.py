"""`LLMCache`: key → memory → store, behind LangChain's `BaseCache`."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import secrets
import time
import weakref
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from langchain_core.caches import BaseCache
from typing_extensions import Self, override

from llmemo._core import Memory, PanicException, ValueDamaged, ValueRefused, decode, encode
from llmemo.calls import Call, Delete, Get, Set, run_inline
from llmemo.engine import Engine
from llmemo.errors import CacheClosedError, ConfigurationError, StoreError
from llmemo.stats import CacheStats, Tally
from llmemo.stores import Record, Store, store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from langchain_core.caches import RETURN_VAL_TYPE
    from langchain_core.outputs import Generation

FINGERPRINT_SECRET = secrets.token_bytes(192)
"""XXH3's secret in this process: 192 bytes is the size of its default one (xxhash.h)."""

REMOVAL_TIMEOUT = 30.0
"""Seconds that `delete` and `clear` wait for the store before they say that it failed."""

SURVIVED = (Exception, PanicException)
"""What must not reach the model call: everything but cancellation and interrupts."""


class LLMCache(BaseCache):
    """A response cache for LangChain's models: in memory, and in a store that lasts.

    Give it to `langchain_core.globals.set_llm_cache`, or to one model as `cache=`.

    `lookup` and `update` (and `alookup`, `aupdate`) never raise and never wait for longer than
    `store_timeout`: trouble is counted in `stats()`, logged at most once a minute for each kind,
    and is a miss for the caller. One instance may serve any number of event loops and threads.

    Args:
        store: Where answers last: a path, a URL (`sqlite:///cache.db`), a `Store`, or None for
            memory only.
        max_bytes: Memory that the entries may take, in bytes (an estimate that includes
            bookkeeping); the least recently used are dropped. 0, with a store: no memory tier.
        max_entries: Number of entries in memory, or None for no bound but `max_bytes`.
        ttl: Seconds for which an answer may be served, or None for ever.
        namespace: Requests of different namespaces never share an answer. API keys are not part
            of what LangChain tells a cache, so give each tenant a namespace.
        store_timeout: Seconds that a lookup or update waits for the store.
        secret: Makes stored keys unguessable without it (BLAKE3 keyed by it). Without one,
            whoever can read the store can test guesses of short prompts.
        clock: Returns Unix time in seconds; for tests.

    Raises:
        ConfigurationError: An argument cannot work; the message says which, and what would.
        NotACacheError: `store` names a file that holds something else.

    Example:
        >>> from langchain_core.outputs import Generation
        >>> from llmemo import LLMCache
        >>> cache = LLMCache()
        >>> cache.update("2 + 2?", "model-1", [Generation(text="4")])
        >>> cache.lookup("2 + 2?", "model-1")[0].text
        '4'
        >>> cache.lookup("2 + 2?", "model-2") is None
        True
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        *,
        max_bytes: int = 256 * 2**20,
        max_entries: int | None = None,
        ttl: float | None = None,
        namespace: str = "",
        store_timeout: float = 1.0,
        secret: str | bytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """See the class."""
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
        self._namespace = namespace
        self._ttl = ttl
        self._store_timeout = store_timeout
        self._clock = clock
        self._is_closed = False
        self._tally = Tally()
        self._memory = Memory(
            max_bytes,
            max_entries,
            fingerprint_secret=FINGERPRINT_SECRET,
            secret=_secret_bytes(secret),
            clock=None if clock is time.time else clock,
        )
        # Bound once, and replaced by `close`: the path of a hit in memory has nothing else on it.
        self._recall: Callable[[str, str, str], list[Generation] | None] = self._memory.lookup
        self._namespace_label = self._memory.label(namespace)
        self._engine: Engine | None = None
        if store is not None:
            self._engine = Engine(store_of(store), self._tally)
            # A cache that is dropped without close must not leave its thread behind.
            weakref.finalize(self, self._engine.close_soon).atexit = False

    @override
    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """The answer to exactly this request, as fresh objects; or None."""
        try:
            if (hit := self._recall(prompt, llm_string, self._namespace)) is not None:
                return hit
            return run_inline(self._fetch(prompt, llm_string, Call.blocking))
        except SURVIVED as error:
            self._survive(error)
        return None

    @override
    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """As `lookup`. A hit in memory never yields to the event loop."""
        try:
            if (hit := self._recall(prompt, llm_string, self._namespace)) is not None:
                return hit
            return await self._fetch(prompt, llm_string, Call.awaited)
        except SURVIVED as error:
            self._survive(error)
        return None

    @override
    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keep an answer. When this returns it would survive the process being killed.

        Unless the store took longer than `store_timeout`: then `stats().writes_unconfirmed` has
        gone up, and the write goes on by itself.
        """
        try:
            run_inline(self._keep(prompt, llm_string, return_val, Call.blocking))
        except SURVIVED as error:
            self._survive(error)

    @override
    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """As `update`."""
        try:
            await self._keep(prompt, llm_string, return_val, Call.awaited)
        except SURVIVED as error:
            self._survive(error)

    @override
    def clear(self, **kwargs: Any) -> None:
        """Remove every entry, of every namespace, from memory and the store.

        Raises:
            CacheClosedError: The cache is closed.
            StoreError: The store did not confirm; memory is empty all the same.
        """
        run_inline(self._remove(None, Call.blocking))

    @override
    async def aclear(self, **kwargs: Any) -> None:
        """As `clear`."""
        await self._remove(None, Call.awaited)

    def delete(self, prompt: str, llm_string: str) -> bool:
        """Remove the answer to one request. Returns whether there was one.

        Raises:
            CacheClosedError: The cache is closed.
            StoreError: The store did not confirm; memory has forgotten it all the same.
        """
        key = self._memory.key(prompt, llm_string, self._namespace)
        return run_inline(self._remove(key, Call.blocking))

    async def adelete(self, prompt: str, llm_string: str) -> bool:
        """As `delete`."""
        key = self._memory.key(prompt, llm_string, self._namespace)
        return await self._remove(key, Call.awaited)

    def stats(self) -> CacheStats:
        """What the cache has done so far. Cheap: call it as often as you like."""
        memory_hits, evictions, expired, entries, size = self._memory.counts()
        counts, groups = self._tally.snapshot()
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

    def close(self, timeout: float = 5.0) -> int:
        """Finish pending writes and let go of the store, within `timeout` seconds.

        Returns:
            The number of writes that had to be dropped. 0 when called again.

        Afterwards a lookup misses, an update is dropped and counted, `delete` and `clear` raise.
        """
        self._is_closed = True
        self._recall = _nothing
        self._memory.clear()
        return 0 if self._engine is None else self._engine.close(timeout)

    async def aclose(self, timeout: float = 5.0) -> int:
        """As `close`, without holding up the event loop."""
        with anyio.CancelScope(shield=True):
            return await anyio.to_thread.run_sync(self.close, timeout)

    def __enter__(self) -> Self:
        """Use as a context manager, to close at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Use as an async context manager, to close at the end."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The cache itself: copying a model must not copy what it shares with others."""
        return self

    # One request, through the tiers. Each of these serves the sync and the async method alike.

    async def _fetch(
        self, prompt: str, llm_string: str, make_call: Callable[..., Call[Record | None]]
    ) -> list[Generation] | None:
        """Ask the store for what memory does not have."""
        hit = None
        if self._engine is not None and not self._is_closed:
            key = self._memory.key(prompt, llm_string, self._namespace)
            epoch = self._memory.epoch
            call = make_call(Get(key))
            with self._tolerant("read"):
                self._engine.submit(call)
                record = await call.wait(self._store_timeout)
                if record is not None:
                    hit = self._admit(prompt, llm_string, record, epoch)
        self._tally.add("misses" if hit is None else "store_hits")
        return hit

    def _admit(
        self, prompt: str, llm_string: str, record: Record, epoch: int
    ) -> list[Generation] | None:
        """Decode a record, and keep it in memory."""
        if record.expires is not None and record.expires <= self._clock():
            self._tally.add("expired")
            return None
        try:
            hit = decode(record.value, record.key)
        except ValueDamaged as damage:
            self._tally.note(
                "errors", f"value_{damage}", "llmemo: a stored answer is unreadable (%s)", damage
            )
            return None
        self._memory.put(
            prompt,
            llm_string,
            self._namespace,
            record.key,
            record.value,
            expires=record.expires,
            epoch=epoch,
        )
        return hit

    async def _keep(
        self,
        prompt: str,
        llm_string: str,
        generations: Sequence[Generation],
        make_call: Callable[..., Call[None]],
    ) -> None:
        if self._is_closed:
            self._skip("closed")
            return
        key = self._memory.key(prompt, llm_string, self._namespace)
        try:
            value = encode(generations, key)
        except ValueRefused as refusal:
            self._skip(str(refusal))
            return
        now = self._clock()
        expires = None if self._ttl is None else now + self._ttl
        kept = self._memory.put(prompt, llm_string, self._namespace, key, value, expires=expires)
        if self._engine is None:
            if kept:
                self._tally.add("updates")
            else:
                self._skip("too_large")
            return
        self._tally.add("updates")
        llm_label = self._memory.label(llm_string)
        record = Record(key, value, self._namespace_label, llm_label, now, expires)
        call = make_call(Set(record))
        confirmed = False
        with self._tolerant("write"):
            self._engine.submit(call)
            await call.wait(self._store_timeout)
            confirmed = True
        if not confirmed:
            self._tally.add("writes_unconfirmed")

    async def _remove(self, key: bytes | None, make_call: Callable[..., Call[int]]) -> bool:
        if self._is_closed:
            msg = "the cache is closed: nothing can be removed from it any more"
            raise CacheClosedError(msg)
        forget: Callable[[], Any] = (
            self._memory.clear if key is None else functools.partial(self._memory.remove, key)
        )
        found = forget()
        if self._engine is None:
            return bool(found)
        call = make_call(Delete(None if key is None else [key]))
        try:
            self._engine.submit(call)
            removed = await call.wait(REMOVAL_TIMEOUT)
        except TimeoutError as error:
            msg = f"the store did not confirm the removal within {REMOVAL_TIMEOUT:.0f} s"
            raise StoreError(msg) from error
        except StoreError:
            raise
        except Exception as error:
            msg = f"the store could not remove anything: {error}"
            raise StoreError(msg) from error
        finally:
            # Once more: a lookup may have read the old record while it was being removed.
            forget()
        return bool(found) or removed > 0

    @contextlib.contextmanager
    def _tolerant(self, verb: str) -> Any:
        """Let a store fail: count it, say it once, go on."""
        try:
            yield
        except TimeoutError:
            text = "llmemo: the store took longer than %.3g s to %s"
            self._tally.note("errors", f"store_{verb}_timeout", text, self._store_timeout, verb)
        except Exception as error:  # noqa: BLE001 (a store may fail in any way)
            text = "llmemo: the store failed to %s: %s: %s"
            self._tally.note("errors", f"store_{verb}", text, verb, type(error).__name__, error)

    def _skip(self, reason: str) -> None:
        self._tally.note("skipped", reason, "llmemo: an answer was not kept (%s)", reason)

    def _survive(self, error: BaseException) -> None:
        if isinstance(error, TypeError):
            # Prompt or llm_string is not a str.
            text = "llmemo: a request could not be keyed: %s"
            self._tally.note("bypassed", "not_text", text, error)
        else:
            # The type only: a message of unknown origin may quote a prompt.
            text = "llmemo: a defect of the cache was survived (%s)"
            self._tally.note("errors", "internal", text, type(error).__name__)


def _nothing(prompt: str, llm_string: str, namespace: str) -> None:  # noqa: ARG001
    """What the memory of a closed cache recalls."""


def _check_whole(name: str, value: int, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
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
        return secret.encode()
    # Its value stays out of the message.
    msg = "secret is not allowed: a str or bytes that is not empty, or None"
    raise ConfigurationError(msg)
