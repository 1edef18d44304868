"""`LLMCache`: key → memory → store, behind LangChain's `BaseCache`."""

from __future__ import annotations

import functools
import threading
import time
import weakref
from sys import _getframe
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import anyio
import anyio.to_thread
from langchain_core.caches import BaseCache
from typing_extensions import Self, override

from llmemo.concurrency.closing import Closing
from llmemo.config.options import REQUIRED, Required, current
from llmemo.config.settings import Settings
from llmemo.config.validation import seconds_of
from llmemo.errors import NamespaceRequiredError
from llmemo.explain.summary import summary_of
from llmemo.keys.request import answered, asked
from llmemo.langchain.chains import in_chain
from llmemo.pickling import reduced
from llmemo.pipeline.admission import worth_keeping
from llmemo.pipeline.failures import ASKED_FOR, SURVIVED, interrupted, survive
from llmemo.pipeline.health import ahealth, health
from llmemo.pipeline.invalidate import invalidate, remove
from llmemo.pipeline.lookup import fetch
from llmemo.pipeline.streams_past import count_stream
from llmemo.pipeline.tiers import Tiers
from llmemo.pipeline.update import keep
from llmemo.store_io.calls import Call, run_inline

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from langchain_core.caches import RETURN_VAL_TYPE
    from langchain_core.outputs import Generation
    from langchain_core.runnables import Runnable

    from llmemo.importing.importer import ImportReport
    from llmemo.pipeline.looked_up import LookedUp
    from llmemo.semantic.calibration import CalibrationReport
    from llmemo.semantic.settings import Semantic
    from llmemo.stores.registry import Location
    from llmemo.telemetry.explanation import Explanation
    from llmemo.telemetry.health import Health
    from llmemo.telemetry.stats import CacheStats
    from llmemo.telemetry.tracking import LookupEvent

    Recalled = list[Generation] | Literal[False] | None

Input = TypeVar("Input")
"""What a runnable takes."""

UNASKED: Recalled = False
"""Memory was not asked: `fetch` finds the answer, if there is one."""


class LLMCache(Closing, BaseCache):
    """A response cache for LangChain's models: in memory, and in a persistent store.

    Give it to `langchain_core.globals.set_llm_cache`, or to one model as `cache=`.

    `lookup` and `update` (and `alookup`, `aupdate`) raise only what the user asked for: `CacheMiss`
    and `NamespaceRequiredError`. They wait for a store for at most `store_timeout`, and for another
    caller's answer for at most `lease_timeout`. For the caller, a failure is a miss. `stats()`
    counts failures, and the log has each kind at most once a minute. (An exception from a signal
    handler, like Ctrl-C or a soft time limit, is no failure: it reaches the caller.) One instance
    may serve any number of event loops and threads.

    Args:
        store: Where answers persist: a path, a URL (`sqlite:///cache.db`), a `Store`, or None for
            memory only. Or two of these in a list: a near one, such as a file of this machine, and
            one that machines share. While that is away, the near one answers (docs/tiers.md).
        max_bytes: Bound on the memory of all entries, in bytes (an estimate that includes
            bookkeeping). The least recently used entries are evicted. With a store, 0 turns the
            memory tier off.
        max_entries: Bound on the number of entries in memory. None: only `max_bytes` is a bound.
        namespace_max_bytes: Bound on the memory of one namespace's entries, in bytes, or None. With
            or without this bound, when memory is full, the largest namespace evicts its own least
            recently used entries. So no tenant can evict another's.
        ttl: Seconds for which an answer may be served, or None for ever. This and every other
            duration may be a `datetime.timedelta`.
        namespace_ttl: The same for some namespaces, by name. It overrides `ttl`, and the TTL in
            `options` overrides both.
        ttl_jitter: Largest fraction by which an answer's TTL is shortened at random (0.1: up to a
            tenth). Answers that are stored together then do not expire together.
        early_refresh: How early one caller refreshes an answer in memory before it expires, while
            the others keep getting it. The average lead time is this number times the model call's
            duration, which counts up to a tenth of the TTL. It is XFetch's beta (Vattani,
            Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015).
            0: never.
        stale_if_error: Seconds for which an expired answer may still be served when the model
            fails. It goes to the callers that wait for the failed call, and to callers within 5
            seconds after.
        namespace: Requests of different namespaces never share an answer. API keys are not part
            of what LangChain tells a cache, so give each tenant a namespace. `REQUIRED`: each call
            must name its own, within `options(namespace=…)`. A call without one raises.
        single_flight: Of concurrent callers with the same request, one calls the model, and the
            others wait for its answer. If that call fails, one other caller tries. If that fails
            too, all of them try.
        lease_timeout: Seconds that a caller waits for another caller's answer, at most.
        fresh_ids: Each hit's messages get new ids, as another call's would, if LangChain made the
            stored ids (`lc_run-…`, `run-…`). A provider's ids stay. LangGraph's `add_messages`
            treats a message with a known id as an update of the earlier message. With the stored
            ids, a repeated answer would replace the earlier one.
        admit: Decides whether to keep an answer (a list of generations). The default drops answers
            with a bad stop reason (truncated, filtered, refused) or an unknown one, empty answers,
            and invalid tool calls. A function of your own is asked in addition, and alone decides
            on unknown stop reasons. None keeps all answers.
        store_timeout: Seconds that a model call waits for the store, at most, lookup and update
            together. After five failed reads in a row, or five failed writes, no call waits for
            reads, or for writes, until the store has recovered.
        prices: Prices of 1,000,000 input tokens and of 1,000,000 output tokens, by model name, for
            `stats().money_saved`. A name covers all model names that begin with it.
        secret: Key of the stored digests (keyed BLAKE3), which cannot be guessed without it. If
            there is none, any program that can read the store can test guesses of short prompts.
        encryption_key: Encrypts answers in the store (AES-256-GCM; `pip install 'llmemo[crypto]'`).
            It is 32 bytes, or any other text or bytes, from which a key is made. A sequence has
            several keys, the newest first: the first one encrypts, all of them decrypt. None: the
            environment variable LLMEMO_ENCRYPTION_KEY gives the keys, separated by commas. If it
            has none, nothing is encrypted. With a key, an answer without encryption, or under
            another key, is a miss. docs/values.md says what encryption does not hide.
        semantic: Answers similar questions, too, once it is certified that at most so many of these
            answers are wrong: `Semantic(embeddings, max_error=0.02)`. None: exact answers alone.
        ignore: Names of settings that never count in a key, for what differs from call to call and
            changes no answer: `("default_headers.x-request-id", "user")`. Dots lead into a setting.
            Settings that say what is asked (`model`, `tools`, …) are refused. A cache shares
            answers only with caches that ignore the same (docs/keys.md).
        on_event: Is given a `LookupEvent` for each lookup, and for each stream that goes past the
            cache: what `track()` collects. It is called in the thread of the caller, before that
            has the answer, so it has to be quick. An async function is refused, since nothing would
            await it. What it raises is counted and logged, and changes nothing.
        mark_hits: Messages of hits say so: `response_metadata["llmemo"]` is a list of a dict with
            `hit`, `tier`, `age` (seconds) and `key`; the sum of chunks of two hits has two. Keys of
            later turns leave that out, and it is never stored. Off: a hit equals the answer that
            was stored.
        clock: Returns Unix time in seconds; for tests.

    Raises:
        ConfigurationError: An argument cannot work. The message names it, and says what would work.
        NotACacheError: `store` names a file that holds something else.

    Examples:
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
        store: Location | Sequence[Location] | None = None,
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
        semantic: Semantic | None = None,
        ignore: Collection[str] = (),
        on_event: Callable[[LookupEvent], object] | None = None,
        mark_hits: bool = False,
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
            semantic=semantic,
            ignore=ignore,
            on_event=on_event,
            mark_hits=mark_hits,
        )
        tiers = Tiers(store, settings, secret=secret, encryption_key=encryption_key)
        tiers.explain_lookup = _explain_lookup
        self._tiers = tiers
        # Bound once, and replaced by `close`: the path of a hit in memory has nothing else on it.
        self._recall: Callable[..., Recalled] = tiers.memory.recall
        # The name of this cache in its pickles, once there is a pickle.
        self._name: str | None = None
        # `REQUIRED` is no text: the empty text stands in for it, and `_nothing` for `recall`.
        self._namespace = namespace if isinstance(namespace, str) else ""
        if namespace is REQUIRED:
            self._recall = _nothing
        elif on_event is not None or mark_hits:
            self._recall = _unasked
        if tiers.executor is not None:
            # A cache that is dropped without close must not leave its thread behind.
            close_soon = tiers.executor.close_soon
            weakref.finalize(self, tiers.large_writes.afterwards, close_soon).atexit = False

    @override
    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """The answer to exactly this request, as fresh objects; or None.

        Raises:
            CacheMiss: Under `options(mode="only")`, there is no answer.
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
            survive(self._tiers, error, prompt, llm_string)
            return None
        except BaseException as error:
            interrupted(self._tiers, error)
            raise

    @override
    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """As `lookup`. A hit in memory does not yield to the event loop, unless it is large.

        A thread beside the loop works on large prompts and answers (256 KiB or more).
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
            survive(self._tiers, error, prompt, llm_string)
            return None
        except BaseException as error:
            interrupted(self._tiers, error)
            raise

    @override
    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keep an answer. Once this returns, the answer would survive a kill of the process.

        If the store takes longer than `store_timeout`, `stats().writes_unconfirmed` counts the
        write, which goes on by itself.

        Raises:
            NamespaceRequiredError: `namespace=REQUIRED`, and none is named.
        """
        try:
            request = answered(_getframe(1), prompt, llm_string)
            run_inline(keep(self._tiers, request, return_val, Call.blocking))
        except NamespaceRequiredError:
            raise
        except SURVIVED as error:
            survive(self._tiers, error, prompt, llm_string)
        except BaseException as error:
            interrupted(self._tiers, error)
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
            survive(self._tiers, error, prompt, llm_string)
        except BaseException as error:
            interrupted(self._tiers, error)
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
        """Remove every answer that matches all given arguments, from every tier and every process.

        Args:
            namespace: Only answers of this namespace. None covers all namespaces, whatever the
                cache's own is or `options` says: a removal names what it removes.
            llm_string: Only answers of this model, as LangChain describes it to a cache. A
                description in another form that means the same also matches (docs/keys.md). The
                contents of the classes that it names do not count. Nor do settings that this cache
                ignores: what another cache has kept with one of these stays.
            older_than: Only answers made longer ago than this number of seconds, or this
                `timedelta`.

        Returns:
            The number of these answers in the store; without a store, in memory. Answers that only
            memory still had are removed, but not counted.

        Raises:
            CacheClosedError: The cache is closed.
            ConfigurationError: No argument is given, or an argument has the wrong type.
            StoreError: The store did not confirm. Memory has removed the answers nevertheless.
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

    @overload
    def explain(self, model: Runnable[Input, Any], input: Input) -> Explanation: ...

    @overload
    def explain(self, prompt: str, llm_string: str) -> Explanation: ...

    def explain(self, *asked: Any, **named: Any) -> Explanation:
        """Why a request misses (the nearest entries, and their differences) or bypasses the cache.

        Give a model and its input, as `model.invoke(input)` takes them: a chat or completion model,
        what is bound to one (`bind_tools`, `with_structured_output`), or a chain of a prompt and
        a model. The model is not called, and no callback is told. Or give a prompt and an
        `llm_string`, as LangChain gives them to a cache.

        It gives differences in words if the other request is in memory, or in a store made with
        `store_requests=True`. Otherwise it gives the names of the parts that differ. It names
        settings that look made for each call, for `ignore`.

        This is for people, not for the path of a request. It counts nothing, compares with up to
        11,000 entries, and waits up to 20 seconds for a store.

        Raises:
            CacheClosedError: The cache is closed.
            NamespaceRequiredError: `namespace=REQUIRED`, and none is named.
            TypeError: The arguments are neither a model and its input, nor two texts.
        """
        from llmemo.explain.explain import arguments, explain  # noqa: PLC0415 (seldom used)

        return explain(self._tiers, *arguments(asked, named))

    @overload
    async def aexplain(self, model: Runnable[Input, Any], input: Input) -> Explanation: ...

    @overload
    async def aexplain(self, prompt: str, llm_string: str) -> Explanation: ...

    async def aexplain(self, *asked: Any, **named: Any) -> Explanation:
        """As `explain`, without holding up the event loop."""
        return await anyio.to_thread.run_sync(functools.partial(self.explain, *asked, **named))

    def import_langchain(
        self,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> ImportReport:
        """Take over the answers of LangChain's SQLiteCache or SQLAlchemyMd5Cache.

        The same requests are hits from now on. With a store, the answers are written as durably as
        an update when this returns. Without one, they are in memory, which keeps the newest.
        `namespace`, `ttl`, `admit` and the current `options` hold for them as for an update. An
        answer that the cache already has stays as it is. So the import can be repeated, and can run
        while the other cache is still in use.

        The import only reads the file, in short transactions. It executes and imports nothing in
        the file, and believes nothing but answers. The report counts what was skipped, by reason.

        Args:
            path: The file, such as `.langchain.db`.
            progress: Called now and then with the number of rows read and the number of all rows.
                None: a line on stderr shows the progress, if that is a terminal and the import
                takes more than a second.

        Raises:
            CacheClosedError: The cache is closed.
            ConfigurationError: There is no such file, or it cannot be read.
            NamespaceRequiredError: `namespace=REQUIRED`, and none is named.
            NotACacheError: The file is not a cache of LangChain's.
            StoreError: The file or the store is locked, damaged or full. What was imported before
                is kept.
        """
        from llmemo.importing.importer import import_langchain  # noqa: PLC0415 (seldom used)

        return import_langchain(self._tiers, path, progress, None)

    async def aimport_langchain(
        self,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> ImportReport:
        """As `import_langchain`, without blocking the event loop. A cancelled import ends soon.

        `progress` is called in another thread.
        """
        from llmemo.importing.importer import import_langchain  # noqa: PLC0415 (seldom used)

        stop = threading.Event()
        try:
            return await anyio.to_thread.run_sync(
                import_langchain, self._tiers, path, progress, stop, abandon_on_cancel=True
            )
        finally:
            stop.set()

    def calibrate(
        self,
        pairs: Iterable[tuple[str, str, bool]],
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> CalibrationReport:
        """Certify near matches by labelled pairs of questions, instead of waiting for checks.

        Each pair that would be a near match counts as a check. The certificate of this cache, in
        every process that shares its store, begins again with these. So pairs have to resemble what
        users ask: best are pairs of real questions.

        Args:
            pairs: Two questions, and whether an answer to the second would do for the first.
            progress: Called now and then with the number of questions embedded and of all. None: a
                line on stderr shows the progress, if that is a terminal and it takes more than a
                second.

        Returns:
            The threshold that is served from now on, the hits and errors among the pairs, and the
            upper confidence bound on the error. `str()` of it is a table.

        Raises:
            CacheClosedError: The cache is closed.
            ConfigurationError: The cache has no `semantic=`, or the pairs are too few, or no pairs.
            Exception: What the embeddings raise.
        """
        from llmemo.pipeline.calibrate import calibrate  # noqa: PLC0415 (seldom used)

        return calibrate(self._tiers, pairs, progress, None)

    async def acalibrate(
        self,
        pairs: Iterable[tuple[str, str, bool]],
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> CalibrationReport:
        """As `calibrate`, without blocking the event loop. A cancelled one changes nothing.

        `progress` is called in another thread.
        """
        from llmemo.pipeline.calibrate import calibrate  # noqa: PLC0415 (seldom used)

        stop = threading.Event()
        try:
            return await anyio.to_thread.run_sync(
                calibrate, self._tiers, pairs, progress, stop, abandon_on_cancel=True
            )
        finally:
            stop.set()

    def stats(self) -> CacheStats:
        """What the cache has done so far. Cheap: call it as often as you like.

        `print` shows it as a table; see also `CacheStats.hit_rate` and `CacheStats.as_dict`.
        """
        return self._tiers.stats()

    def report(self, path: str | os.PathLike[str], *, texts: bool = False) -> Path:
        """Write one HTML page of what the cache has done: docs/report.md shows one.

        Hit rate, tokens and money over time, misses by reason, what nearly hit, the largest
        namespaces, settings. The page loads nothing. It names namespaces and settings, and no text
        of a prompt or an answer. Counts are of this process; entries of the store are of all
        processes. It waits for the store for some seconds at most, and does without it then.

        Args:
            path: The file. A report that is there is replaced at once, and keeps its mode; a new
                one is for this user alone (mode 0600).
            texts: Also show the last message of requests that missed, and values that differ.

        Returns:
            The absolute path of the file.

        Raises:
            CacheClosedError: The cache is closed.
            ConfigurationError: No file can be at `path`, or one is there that is no report.
            OSError: It cannot be written: no permission, a full disk. What was there stays.
        """
        from llmemo.report.write import write_report  # noqa: PLC0415 (seldom used)

        return write_report(self._tiers, path, texts=texts)

    async def areport(self, path: str | os.PathLike[str], *, texts: bool = False) -> Path:
        """As `report`, without holding up the event loop."""
        return await anyio.to_thread.run_sync(functools.partial(self.report, path, texts=texts))

    def health(self) -> Health:
        """How the cache is: "ok", "degraded" or "memory_only", why, and since when.

        Answers within 50 ms, whatever the store does: from what calls have met. Besides, at most
        once a second, it has the store read one key that no answer has, and waits up to 25 ms. So a
        store that breaks while the service is idle is noticed; a first call opens the store. Model
        calls go on in every status. docs/metrics.md says when each comes.
        """
        return health(self._tiers)

    async def ahealth(self) -> Health:
        """As `health`, without holding up the event loop."""
        return await ahealth(self._tiers)

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

    def _streams_past(self) -> None:
        """Count a stream of a model of this cache that did not ask it. `langchain` calls this."""
        count_stream(self._tiers)

    def __copy__(self) -> Self:
        """The cache itself: copying a model must not copy what it shares with others."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The cache itself, as `__copy__`."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """For `pickle`: another process gets a cache with the same settings on the same store.

        Without a store, that cache is empty. In a process that already has this cache, the original
        or an unpickled one, unpickling returns the existing cache, unless it is closed. Functions
        such as `admit` have to be picklable themselves.

        Raises:
            ConfigurationError: When pickled: the cache was made with `secret` or `encryption_key`,
                or its store cannot be pickled. When unpickled: no cache can be made, or
                LLMEMO_ENCRYPTION_KEY is set only in the first process.
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


def _unasked(*_: object) -> Literal[False]:
    """What a cache recalls at first sight whose every hit is told of: `fetch` looks."""
    return False


def _nothing(*_: object) -> None:
    """What the memory of a closed cache recalls: no answer."""


def _explain_lookup(tiers: Tiers, looked_up: LookedUp, event: LookupEvent) -> Explanation:
    from llmemo.explain.lookups import explain_lookup  # noqa: PLC0415 (seldom used)

    return explain_lookup(tiers, looked_up, event)
