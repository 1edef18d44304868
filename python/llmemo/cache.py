"""`LLMCache`: key → memory → store, behind LangChain's `BaseCache`."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from langchain_core.caches import BaseCache
from typing_extensions import Self, override

from llmemo._core import PanicException, ValueDamaged
from llmemo.calls import Call, run_inline
from llmemo.explain import Explanation, explain
from llmemo.tiers import Tiers

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from langchain_core.caches import RETURN_VAL_TYPE
    from langchain_core.outputs import Generation

    from llmemo.stats import CacheStats
    from llmemo.stores import Store

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
        fresh_ids: Each hit's messages get new ids where LangChain made those that were stored
            (`lc_run-…`, `run-…`), as those of another call would; ids of a provider stay.
            LangGraph's `add_messages` takes a message whose id it knows for a new state of that
            one, and would put a repeated answer in the place of the earlier one.
        store_timeout: Seconds that a lookup or update waits for the store.
        secret: Makes stored keys unguessable without it (BLAKE3 keyed by it). Without one,
            whoever can read the store can test guesses of short prompts.
        encryption_key: Answers are encrypted in the store (AES-256-GCM; `pip install
            'llmemo[crypto]'`): 32 bytes, or any other text or bytes, from which a key is made.
            Or several, the newest first: it encrypts, all of them decrypt. None: what the
            environment variable LLMEMO_ENCRYPTION_KEY says, several separated by commas; if it
            says nothing, nothing is encrypted. An answer that is not encrypted, or by another
            key, is then a miss. docs/values.md says what encryption does not hide.
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
        fresh_ids: bool = True,
        store_timeout: float = 1.0,
        secret: str | bytes | None = None,
        encryption_key: str | bytes | Sequence[str | bytes] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """See the class."""
        tiers = Tiers(
            store,
            max_bytes=max_bytes,
            max_entries=max_entries,
            ttl=ttl,
            namespace=namespace,
            store_timeout=store_timeout,
            secret=secret,
            fresh_ids=fresh_ids,
            encryption_key=encryption_key,
            clock=clock,
        )
        self._tiers = tiers
        self._namespace = namespace
        # Bound once, and replaced by `close`: the path of a hit in memory has nothing else on it.
        self._recall: Callable[[str, str, str], list[Generation] | None] = tiers.memory.lookup
        if tiers.engine is not None:
            # A cache that is dropped without close must not leave its thread behind.
            weakref.finalize(self, tiers.engine.close_soon).atexit = False

    @override
    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """The answer to exactly this request, as fresh objects; or None."""
        try:
            # `self._recall(…)` would be looked for in the class first.
            recall = self._recall
            hit = recall(prompt, llm_string, self._namespace)
            if hit is None:
                hit = run_inline(self._tiers.fetch(prompt, llm_string, Call.blocking))
        except SURVIVED as error:
            self._survive(error, prompt, llm_string)
            return None
        return hit

    @override
    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """As `lookup`. A hit in memory never yields to the event loop."""
        try:
            recall = self._recall
            hit = recall(prompt, llm_string, self._namespace)
            if hit is None:
                hit = await self._tiers.fetch(prompt, llm_string, Call.awaited)
        except SURVIVED as error:
            self._survive(error, prompt, llm_string)
            return None
        return hit

    @override
    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keep an answer. When this returns it would survive the process being killed.

        Unless the store took longer than `store_timeout`: then `stats().writes_unconfirmed` has
        gone up, and the write goes on by itself.
        """
        try:
            run_inline(self._tiers.keep(prompt, llm_string, return_val, Call.blocking))
        except SURVIVED as error:
            self._survive(error, prompt, llm_string)

    @override
    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """As `update`."""
        try:
            await self._tiers.keep(prompt, llm_string, return_val, Call.awaited)
        except SURVIVED as error:
            self._survive(error, prompt, llm_string)

    @override
    def clear(self, **kwargs: Any) -> None:
        """Remove every entry, of every namespace, from memory and the store.

        Raises:
            CacheClosedError: The cache is closed.
            StoreError: The store did not confirm; memory is empty all the same.
        """
        run_inline(self._tiers.remove(None, Call.blocking))

    @override
    async def aclear(self, **kwargs: Any) -> None:
        """As `clear`."""
        await self._tiers.remove(None, Call.awaited)

    def delete(self, prompt: str, llm_string: str) -> bool:
        """Remove the answer to one request. Returns whether there was one.

        Raises:
            CacheClosedError: The cache is closed.
            StoreError: The store did not confirm; memory has forgotten it all the same.
        """
        key = self._tiers.key(prompt, llm_string)
        return key is not None and run_inline(self._tiers.remove(key, Call.blocking))

    async def adelete(self, prompt: str, llm_string: str) -> bool:
        """As `delete`."""
        key = self._tiers.key(prompt, llm_string)
        return key is not None and await self._tiers.remove(key, Call.awaited)

    def explain(self, prompt: str, llm_string: str) -> Explanation:
        """Why a request misses: the nearest entries, and what differs; or why it is bypassed.

        In words where the other request is in memory, or in a store that was made with
        `store_requests=True`; otherwise by the names of the parts that differ.

        For people, not for the path of a request: it counts nothing, but compares with up to 11,000
        entries, and waits up to 20 seconds for a store.

        Raises:
            CacheClosedError: The cache is closed.
        """
        return explain(self._tiers, prompt, llm_string)

    async def aexplain(self, prompt: str, llm_string: str) -> Explanation:
        """As `explain`, without holding up the event loop."""
        return await anyio.to_thread.run_sync(self.explain, prompt, llm_string)

    def stats(self) -> CacheStats:
        """What the cache has done so far. Cheap: call it as often as you like."""
        return self._tiers.stats()

    def close(self, timeout: float = 5.0) -> int:
        """Finish pending writes and let go of the store, within `timeout` seconds.

        Returns:
            The number of writes that had to be dropped. 0 when called again.

        Afterwards a lookup misses, an update is dropped and counted, `delete` and `clear` raise.
        """
        self._recall = _nothing
        return self._tiers.close(timeout)

    async def aclose(self, timeout: float = 5.0) -> int:  # noqa: ASYNC109 (also `close`'s)
        """As `close`, without holding up the event loop."""
        dropped = 0
        with anyio.CancelScope(shield=True):
            dropped = await anyio.to_thread.run_sync(self.close, timeout)
        return dropped  # noqa: RET504 (mypy: a `with` may swallow)

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

    def _survive(self, error: BaseException, prompt: object, llm_string: object) -> None:
        if not (isinstance(prompt, str) and isinstance(llm_string, str)):
            text = "llmemo: a request could not be keyed: %s"
            self._tiers.tally.note("bypassed", "not_text", text, error)
        elif isinstance(error, ValueDamaged):
            # Of an entry in memory: its class is not here any more, or not the same.
            self._tiers.reject(error)
            self._tiers.tally.add("misses")
        else:
            # The type only: a message of unknown origin may quote a prompt.
            text = "llmemo: a defect of the cache was survived (%s)"
            self._tiers.tally.note("errors", "internal", text, type(error).__name__)


def _nothing(prompt: str, llm_string: str, namespace: str) -> None:
    """What the memory of a closed cache recalls."""
