"""`LLMCache`: key → memory → store, behind LangChain's `BaseCache`."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from sys import _getframe
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread
from langchain_core.caches import BaseCache
from typing_extensions import Self, override

from llmemo._core import PanicException, ValueDamaged
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.config.options import REQUIRED, Required, current, in_force
from llmemo.config.settings import Settings
from llmemo.config.validation import seconds_of
from llmemo.errors import CacheMiss, NamespaceRequiredError
from llmemo.explain.explain import Explanation, explain
from llmemo.explain.summary import summary_of
from llmemo.importing.importer import ImportReport, import_langchain
from llmemo.keys.request import answered, asked
from llmemo.langchain.chains import in_chain
from llmemo.pickling import reduced
from llmemo.pipeline.admission import worth_keeping
from llmemo.pipeline.invalidate import invalidate, remove
from llmemo.pipeline.lookup import fetch
from llmemo.pipeline.lookup_state import raise_if_only
from llmemo.pipeline.tiers import Tiers
from llmemo.pipeline.update import keep
from llmemo.single_flight.holding import end_unbacked
from llmemo.store_io.calls import Call, run_inline

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta
    from types import TracebackType

    from langchain_core.caches import RETURN_VAL_TYPE
    from langchain_core.outputs import Generation

    from llmemo.stores import Store
    from llmemo.telemetry.stats import CacheStats

    Recalled = list[Generation] | Literal[False] | None

UNASKED: Recalled = False
"""Memory was not asked: another way finds the answer, if there is one."""

SURVIVED = (Exception, PanicException)
"""What must not reach the model call: everything but cancellation and interrupts."""

ASKED_FOR = (CacheMiss, NamespaceRequiredError)
"""What the user asked to be raised there."""


class LLMCache(BaseCache):
    """A response cache for LangChain's models: in memory, and in a store that lasts.

    Give it to `langchain_core.globals.set_llm_cache`, or to one model as `cache=`.

    `lookup` and `update` (and `alookup`, `aupdate`) never raise and never wait for longer than
    `store_timeout`: trouble is counted in `stats()`, logged at most once a minute for each kind,
    and is a miss for the caller. (What a signal handler raises, Ctrl-C or a soft time limit, is
    no trouble of theirs: it reaches the caller.) One instance may serve any number of event loops
    and threads.

    Args:
        store: Where answers last: a path, a URL (`sqlite:///cache.db`), a `Store`, or None for
            memory only.
        max_bytes: Memory that the entries may take, in bytes (an estimate that includes
            bookkeeping); the least recently used are dropped. 0, with a store: no memory tier.
        max_entries: Number of entries in memory, or None for no bound but `max_bytes`.
        namespace_max_bytes: Memory that the entries of one namespace may take, in bytes, or None.
            With or without it: when memory is full, the namespace that takes most of it lets go of
            its own least recently used, so that no tenant can drive out another's.
        ttl: Seconds for which an answer may be served, or None for ever. This and every other
            duration may be a `datetime.timedelta`.
        namespace_ttl: The same for some namespaces, by name; it goes before `ttl`, and what
            `options` says before both.
        ttl_jitter: Part of its time to live by which that of an answer is shortened at most, at
            random: 0.1 for a tenth. What is stored at once then does not expire at once.
        early_refresh: Some one caller is told to ask the model anew before an answer in memory
            expires, while the others keep getting it: on average so many times as long before as
            the model took (XFetch's beta: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic
            Cache Stampede Prevention", VLDB 2015), a tenth of the time to live at most. 0: never.
        stale_if_error: Seconds for which an answer that has expired may still be served to those
            who wait for a model that then fails, or come within 5 seconds after.
        namespace: Requests of different namespaces never share an answer. API keys are not part
            of what LangChain tells a cache, so give each tenant a namespace. `REQUIRED`: each call
            has to name its own, within `options(namespace=…)`; one that does not raises.
        single_flight: Of callers who ask the same at once, one goes to the model, and the others
            wait for its answer. Should it fail, one other tries; should that fail too, all do.
        lease_timeout: Seconds that a caller waits so, at most.
        fresh_ids: Each hit's messages get new ids where LangChain made those that were stored
            (`lc_run-…`, `run-…`), as those of another call would; ids of a provider stay.
            LangGraph's `add_messages` takes a message whose id it knows for a new state of that
            one, and would put a repeated answer in the place of the earlier one.
        admit: Asked whether to keep an answer (a list of generations). By default what is not worth
            keeping is not: what the model stopped for another reason than a good one (it says that
            it was truncated, filtered or refused, or a word that is not known), what is empty, and
            invalid tool calls. A function of your own is asked beside that, and alone decides on
            reasons that are not known. None keeps all.
        store_timeout: Seconds that a model call waits for the store, lookup and update together, at
            most. After five reads in a row that failed, or five writes, nobody waits for these
            until the store is well again.
        prices: By model name, the price of 1,000,000 tokens sent and of 1,000,000 made, for
            `stats().money_saved`. A name stands for all that begin with it.
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
        namespace_max_bytes: int | None = None,
        ttl: float | timedelta | None = None,
        namespace_ttl: Mapping[str, float | timedelta | None] | None = None,
        ttl_jitter: float = 0.0,
        early_refresh: float = 1.0,
        stale_if_error: float | timedelta = 0.0,
        namespace: str | Required = "",
        single_flight: bool = True,
        lease_timeout: float | timedelta = 60.0,
        fresh_ids: bool = True,
        admit: Callable[[Sequence[Generation]], bool] | None = worth_keeping,
        store_timeout: float | timedelta = 1.0,
        prices: Mapping[str, tuple[float, float]] | None = None,
        secret: str | bytes | None = None,
        encryption_key: str | bytes | Sequence[str | bytes] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """See the class."""
        settings = Settings(
            has_store=store is not None,
            max_bytes=max_bytes,
            max_entries=max_entries,
            namespace_max_bytes=namespace_max_bytes,
            ttl=seconds_of(ttl),
            namespace_ttl=namespace_ttl,
            ttl_jitter=ttl_jitter,
            early_refresh=early_refresh,
            stale_if_error=seconds_of(stale_if_error),
            namespace=namespace,
            single_flight=single_flight,
            lease_timeout=seconds_of(lease_timeout),
            fresh_ids=fresh_ids,
            admit=admit,
            store_timeout=seconds_of(store_timeout),
            prices=prices,
            clock=clock,
        )
        tiers = Tiers(store, settings, secret=secret, encryption_key=encryption_key)
        self._tiers = tiers
        # Bound once, and replaced by `close`: the path of a hit in memory has nothing else on it.
        self._recall: Callable[..., Recalled] = tiers.memory.recall
        # What a pickle knows it by, once there is one.
        self._name: str | None = None
        # Without a namespace of its own nothing is recalled: what it asks for has no text as one.
        self._namespace = namespace if isinstance(namespace, str) else ""
        if namespace is REQUIRED:
            self._recall = _nothing
        if tiers.executor is not None:
            # A cache that is dropped without close must not leave its thread behind.
            close_soon = tiers.executor.close_soon
            weakref.finalize(self, tiers.large_writes.afterwards, close_soon).atexit = False

    @override
    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """The answer to exactly this request, as fresh objects; or None.

        Raises:
            CacheMiss: There is none, under `options(mode="only")`.
            NamespaceRequiredError: `namespace=REQUIRED`, and none is named.
        """
        try:
            options, hit = current.get(), UNASKED
            if options is None and in_chain.get() is None:
                # `self._recall(…)` would be looked for in the class first.
                recall = self._recall
                hit = recall(_getframe(1), prompt, llm_string, self._namespace)
                if hit:
                    return hit
            request = asked(_getframe(1), prompt, llm_string)
            fetched = fetch(self._tiers, request, options, Call.blocking, ask_memory=hit is False)
            return run_inline(fetched)
        except ASKED_FOR:
            raise
        except SURVIVED as error:
            self._survive(error, prompt, llm_string)
            return None
        except BaseException as error:
            _interrupted(error)
            raise

    @override
    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """As `lookup`. A hit in memory does not yield to the event loop, unless it is large.

        What is large (256 KiB of prompt or answer) is worked on in a thread beside the loop.
        """
        try:
            options, hit = current.get(), UNASKED
            if options is None and in_chain.get() is None:
                recall = self._recall
                hit = recall(_getframe(1), prompt, llm_string, self._namespace, True)
                if hit:
                    return hit
            request = asked(_getframe(1), prompt, llm_string)
            fetched = fetch(self._tiers, request, options, Call.awaited, ask_memory=hit is False)
            return await fetched
        except ASKED_FOR:
            raise
        except SURVIVED as error:
            self._survive(error, prompt, llm_string)
            return None
        except BaseException as error:
            _interrupted(error)
            raise

    @override
    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keep an answer. When this returns it would survive the process being killed.

        Unless the store took longer than `store_timeout`: then `stats().writes_unconfirmed` has
        gone up, and the write goes on by itself.

        Raises:
            NamespaceRequiredError: `namespace=REQUIRED`, and none is named.
        """
        try:
            request = answered(_getframe(1), prompt, llm_string)
            run_inline(keep(self._tiers, request, return_val, Call.blocking))
        except NamespaceRequiredError:
            raise
        except SURVIVED as error:
            self._survive(error, prompt, llm_string)
        except BaseException as error:
            _interrupted(error)
            raise

    @override
    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """As `update`."""
        try:
            request = answered(_getframe(1), prompt, llm_string)
            await keep(self._tiers, request, return_val, Call.awaited)
        except NamespaceRequiredError:
            raise
        except SURVIVED as error:
            self._survive(error, prompt, llm_string)
        except BaseException as error:
            _interrupted(error)
            raise

    @override
    def clear(self, **kwargs: Any) -> None:
        """Remove every entry, of every namespace, from memory and the store.

        Raises:
            CacheClosedError: The cache is closed.
            StoreError: The store did not confirm; memory is empty all the same.
        """
        run_inline(remove(self._tiers, None, Call.blocking))

    @override
    async def aclear(self, **kwargs: Any) -> None:
        """As `clear`."""
        await remove(self._tiers, None, Call.awaited)

    def delete(self, prompt: str, llm_string: str) -> bool:
        """Remove the answer to one request. Returns whether there was one.

        Raises:
            CacheClosedError: The cache is closed.
            NamespaceRequiredError: `namespace=REQUIRED`, and none is named.
            StoreError: The store did not confirm; memory has forgotten it all the same.
        """
        key = self._tiers.key(prompt, llm_string)
        return key is not None and run_inline(remove(self._tiers, key, Call.blocking))

    async def adelete(self, prompt: str, llm_string: str) -> bool:
        """As `delete`."""
        key = await self._tiers.key_aside(prompt, llm_string)
        return key is not None and await remove(self._tiers, key, Call.awaited)

    def invalidate(
        self,
        *,
        namespace: str | None = None,
        llm_string: str | None = None,
        older_than: float | timedelta | None = None,
    ) -> int:
        """Remove every answer that matches all that is given, from every tier and every process.

        Args:
            namespace: Of this namespace; of all of them if it is None, whatever the cache's own is
                or `options` says: a removal names what it removes.
            llm_string: Of this model, as LangChain describes it to a cache; or one that is
                described otherwise and means the same (docs/keys.md). Whatever classes of the
                names in it hold.
            older_than: Made more than so many seconds ago, or than a `timedelta`.

        Returns:
            How many there were in the store; without a store, in memory. What only memory still
            had is removed, but not counted.

        Raises:
            CacheClosedError: The cache is closed.
            ConfigurationError: Nothing is given, or something of another type.
            StoreError: The store did not confirm; memory has forgotten them all the same.
        """
        call = invalidate(self._tiers, namespace, llm_string, older_than, Call.blocking)
        return run_inline(call)

    async def ainvalidate(
        self,
        *,
        namespace: str | None = None,
        llm_string: str | None = None,
        older_than: float | timedelta | None = None,
    ) -> int:
        """As `invalidate`."""
        return await invalidate(self._tiers, namespace, llm_string, older_than, Call.awaited)

    def explain(self, prompt: str, llm_string: str) -> Explanation:
        """Why a request misses: the nearest entries, and what differs; or why it is bypassed.

        In words where the other request is in memory, or in a store that was made with
        `store_requests=True`; otherwise by the names of the parts that differ.

        For people, not for the path of a request: it counts nothing, but compares with up to 11,000
        entries, and waits up to 20 seconds for a store.

        Raises:
            CacheClosedError: The cache is closed.
            NamespaceRequiredError: `namespace=REQUIRED`, and none is named.
        """
        return explain(self._tiers, prompt, llm_string)

    async def aexplain(self, prompt: str, llm_string: str) -> Explanation:
        """As `explain`, without holding up the event loop."""
        return await anyio.to_thread.run_sync(self.explain, prompt, llm_string)

    def import_langchain(
        self,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> ImportReport:
        """Take over the answers of LangChain's SQLiteCache or SQLAlchemyMd5Cache.

        They are served to the same requests from now on: from the store, once this returns written
        as durably as an update; without one from memory, which keeps the newest. `namespace`,
        `ttl`, `admit` and the `options` of this moment hold for them as for an update. What the
        cache has an answer to already is left as it is, so that this can be done again, and while
        the other cache is still in use.

        The file is only read, in short transactions, and nothing in it is executed, imported, or
        believed that is not an answer. What is skipped, the report tells by reason.

        Args:
            path: The file, such as `.langchain.db`.
            progress: Called now and then with the number of rows read and of all rows. None: a line
                on stderr, if that is a terminal and this takes more than a second.

        Raises:
            CacheClosedError: The cache is closed.
            ConfigurationError: There is no such file, or it cannot be read.
            NamespaceRequiredError: `namespace=REQUIRED`, and none is named.
            NotACacheError: It is something else than a cache of LangChain's.
            StoreError: The file or the store is locked, damaged or full. What was imported before
                is kept.
        """
        return import_langchain(self._tiers, path, progress, None)

    async def aimport_langchain(
        self,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> ImportReport:
        """As `import_langchain`, without holding up the event loop; cancelled, it ends soon.

        `progress` is called in another thread.
        """
        stop = threading.Event()
        try:
            return await anyio.to_thread.run_sync(
                import_langchain, self._tiers, path, progress, stop, abandon_on_cancel=True
            )
        finally:
            stop.set()

    def stats(self) -> CacheStats:
        """What the cache has done so far. Cheap: call it as often as you like."""
        return self._tiers.stats()

    def close(self, timeout: float | timedelta = 5.0) -> int:
        """Finish pending writes and let go of the store, within `timeout` seconds.

        Returns:
            The number of writes that had to be dropped. 0 when called again.

        Afterwards a lookup misses, an update is dropped and counted, `delete` and `clear` raise.
        """
        self._recall = _nothing
        return self._tiers.close(seconds_of(timeout))

    async def aclose(
        self,
        timeout: float | timedelta = 5.0,  # noqa: ASYNC109 (also `close`'s)
    ) -> int:
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

    def __copy__(self) -> Self:
        """The cache itself: copying a model must not copy what it shares with others."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The cache itself, as `__copy__`."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """For `pickle`: in another process, a cache of the same settings on the same store.

        Without a store it is empty there. Unpickled where this cache lives, or again where it was
        unpickled before, it is the cache that is there already, unless that is closed. Functions
        such as `admit` have to be picklable themselves.

        Raises:
            ConfigurationError: It was made with `secret` or `encryption_key`, or its store cannot
                be pickled; in the other process: no cache can be made there, or
                LLMEMO_ENCRYPTION_KEY is set here and not there.
        """
        reduction = reduced(self, self._name, LLMCache)
        self._name = reduction[1][2]
        return reduction

    def __repr__(self) -> str:
        """Where it keeps answers, and what differs from the defaults; no secret. Never raises."""
        try:
            return summary_of(self._tiers, type(self).__name__, LLMCache)
        except Exception:  # noqa: BLE001 (half-made, or a store's own repr)
            return f"<{type(self).__name__}>"

    def _survive(self, error: BaseException, prompt: object, llm_string: object) -> None:
        if is_interrupt(error):
            _interrupted(error)
            raise error
        tally = self._tiers.tally
        if not (isinstance(prompt, str) and isinstance(llm_string, str)):
            text = "llmemo: a request could not be keyed: %s"
            tally.note("bypassed", "not_text", text, error)
        elif isinstance(error, ValueDamaged):
            # Of an entry in memory: its class is not here any more, or not the same.
            self._tiers.note_damage(error)
            tally.add("misses")
        else:
            # The type only: a message of unknown origin may quote a prompt.
            text = "llmemo: a defect of the cache was survived (%s)"
            tally.note("errors", "internal", text, type(error).__name__)
        raise_if_only(in_force(), "trouble")


def _interrupted(error: BaseException) -> None:
    """See to it that nobody waits for an answer that the caller does not go on to compute."""
    # A cancelled call sees to that itself, and what is garbage is held by nobody.
    if not isinstance(error, (GeneratorExit, asyncio.CancelledError)):
        end_unbacked()


def _nothing(*_: object) -> None:
    """What the memory of a closed cache recalls."""
