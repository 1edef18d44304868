"""`LangGraphCache`: the results of a graph's nodes, behind LangGraph's `BaseCache`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from typing_extensions import override

try:
    from langgraph.cache.base import BaseCache, ValueT
except ImportError as error:
    msg = "LangGraphCache needs LangGraph 1: pip install 'llmemo[langgraph]'"
    raise ImportError(msg) from error

from llmemo.cache import LLMCache
from llmemo.concurrency.closing import Closing
from llmemo.errors import NamespaceRequiredError
from llmemo.integrations.message_key import is_unique
from llmemo.integrations.nodes import NODE, namespace_of, packed, place_of, unpacked
from llmemo.pipeline.failures import SURVIVED
from llmemo.pipeline.invalidate import invalidate
from llmemo.pipeline.node_results import Result, fetch_all, keep_all, options_here, survive
from llmemo.store_io.calls import Call, run_inline
from llmemo.stores.base import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import timedelta

    from langgraph.cache.base import FullKey, Namespace

    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.client import MakeCall
    from llmemo.stores.registry import Location
    from llmemo.telemetry.stats import CacheStats


class LangGraphCache(Closing, BaseCache[ValueT]):
    """A cache for the nodes of LangGraph's graphs, in memory and in a persistent store.

    Give it to `StateGraph.compile(cache=…)` or `entrypoint(cache=…)`. A node or task with a
    `CachePolicy` then runs once for each key. Results keep their types (messages, tuples, sets,
    dataclasses, Pydantic models, dates), and nothing is pickled. A result with anything else in it
    is not kept: `stats().skipped` counts it, and the graph goes on.

    `get` and `set` (and `aget`, `aset`) raise only `NamespaceRequiredError`, for a cache with
    `namespace=REQUIRED`. For the graph, any other failure is a miss. `stats()` counts failures.
    `llmemo.options` holds here, too, but for `ttl` (the policy has one) and `mode="only"` (a node
    is no model call). docs/langgraph.md has the details.

    Args:
        store: Where results persist: a path, a URL (`sqlite:///cache.db`), a `Store`, two of these
            in a list (near and far), or None for memory only. Or an `LLMCache`: its memory, store,
            encryption and counters are then used. Results and answers of models may share a store:
            their keys differ.

    Raises:
        ConfigurationError: `store` cannot work. The message says what would.
        NotACacheError: `store` names a file that holds something else.
        TypeError: `store` is none of these.

    Examples:
        >>> from langgraph.graph import StateGraph
        >>> from langgraph.types import CachePolicy
        >>> from llmemo import LangGraphCache, message_key
        >>> def count(state: dict) -> dict:
        ...     print("counting")
        ...     return {"words": len(state["text"].split())}
        >>> builder = StateGraph(dict)
        >>> policy = CachePolicy(key_func=message_key)
        >>> graph = builder.add_node("count", count, cache_policy=policy).set_entry_point("count")
        >>> graph = builder.compile(cache=LangGraphCache())
        >>> graph.invoke({"text": "one two"})
        counting
        {'words': 2}
        >>> graph.invoke({"text": "one two"})
        {'words': 2}
    """

    def __init__(self, store: LLMCache | Location | Sequence[Location] | None = None) -> None:
        """See the class."""
        # Not `super().__init__`: it would keep a serializer, which has no use here and no pickle.
        if isinstance(store, LLMCache):
            self._cache, self._is_shared = store, True
            return
        if not isinstance(store, (Store, str, os.PathLike, list, tuple, type(None))):
            msg = (
                f"store is of type {type(store).__name__}: give LangGraphCache a path, a URL, a"
                " Store, an LLMCache, or None for memory only"
            )
            raise TypeError(msg)
        self._cache, self._is_shared = LLMCache(store), False

    @property
    def _tiers(self) -> Tiers:
        return self._cache._tiers  # noqa: SLF001 (the same package)

    @override
    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """The results that there are, as fresh objects; one read of the store for all.

        Args:
            keys: Namespace and key of each.

        Raises:
            NamespaceRequiredError: `namespace=REQUIRED`, and none is named.
        """
        return run_inline(self._get(keys, Call.blocking))

    @override
    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """As `get`."""
        return await self._get(keys, Call.awaited)

    async def _get(self, keys: Sequence[FullKey], make_call: MakeCall) -> dict[FullKey, ValueT]:
        tiers = self._tiers
        try:
            keys = [key for key in keys if not is_unique(key[1])]
            tenant = self._tenant(keys, is_lookup=True)
            if tenant is None:
                return {}
            places = [place_of(key, tenant) for key in keys]
            hits = await fetch_all(tiers, places, make_call)
            return {
                key: cast("ValueT", value)
                for key, hit in zip(keys, hits, strict=True)
                for value in unpacked(hit)
            }
        except NamespaceRequiredError:
            raise
        except SURVIVED as error:
            survive(tiers, error)
            return {}

    @override
    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Keep results. Once this returns, they would survive a kill of the process.

        If the store takes longer than `store_timeout`, `stats().writes_unconfirmed` counts the
        writes, which go on by themselves.

        Args:
            pairs: By namespace and key: the result, and the seconds for which it may be served
                (None: for ever).

        Raises:
            NamespaceRequiredError: `namespace=REQUIRED`, and none is named.
        """
        run_inline(self._set(pairs, Call.blocking))

    @override
    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """As `set`."""
        await self._set(pairs, Call.awaited)

    async def _set(
        self, pairs: Mapping[FullKey, tuple[ValueT, int | None]], make_call: MakeCall
    ) -> None:
        tiers = self._tiers
        try:
            tenant = self._tenant(pairs, is_lookup=False)
            if tenant is None:
                return
            results = []
            for key, (value, ttl) in pairs.items():
                if is_unique(key[1]):
                    tiers.skip("untold_state")
                elif ttl is not None and not ttl > 0:
                    # (Not a number, too.) What it replaces has to go all the same.
                    results.append(Result(place_of(key, tenant), packed(value), 0.0))
                else:
                    results.append(Result(place_of(key, tenant), packed(value), ttl))
            await keep_all(tiers, results, make_call)
        except NamespaceRequiredError:
            raise
        except SURVIVED as error:
            survive(tiers, error)

    @override
    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Remove the results of some namespaces, of every tenant, from memory and the store.

        Answers of models stay. A namespace is matched as a whole: `("a",)` is not `("a", "b")`.

        Args:
            namespaces: Which ones. None: all.

        Raises:
            CacheClosedError: The cache is closed.
            StoreError: The store did not confirm; memory has removed them all the same.
        """
        run_inline(self._clear(namespaces, Call.blocking))

    @override
    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """As `clear`."""
        await self._clear(namespaces, Call.awaited)

    async def _clear(
        self, namespaces: Sequence[Namespace] | None, make_call: Callable[..., Call[int]]
    ) -> None:
        names = [None] if namespaces is None else dict.fromkeys(map(namespace_of, namespaces))
        for name in names:
            await invalidate(self._tiers, name, NODE, None, make_call)

    def stats(self) -> CacheStats:
        """What the cache has done so far, or the `LLMCache` that it was given."""
        return self._cache.stats()

    def close(self, timeout: float | timedelta = 5.0) -> int:
        """Finish pending writes and let go of the store, within `timeout` seconds.

        Afterwards `get` misses, and `set` drops and counts. Does nothing with an `LLMCache` that
        was given: its owner closes it.

        Returns:
            The number of writes that had to be dropped.
        """
        return 0 if self._is_shared else self._cache.close(timeout)

    async def aclose(
        self,
        timeout: float | timedelta = 5.0,
    ) -> int:
        """As `close`, without holding up the event loop."""
        return 0 if self._is_shared else await self._cache.aclose(timeout)

    def __repr__(self) -> str:
        """What it keeps results in."""
        return f"{type(self).__name__}({self._cache!r})"

    def _tenant(self, keys: Collection[FullKey], *, is_lookup: bool) -> str | None:
        """The namespace of a call, in the sense of `options`; None if there is nothing to do.

        Raises:
            NamespaceRequiredError: The call has to name one, and does not.
        """
        tiers, options = self._tiers, options_here()
        if not keys:
            return None
        if options.mode == "bypass":
            tiers.bypass_requested()
            if is_lookup:
                tiers.tally.add("bypasses", len(keys))
            return None
        if tiers.is_closed or (is_lookup and options.mode == "refresh"):
            if is_lookup:
                tiers.tally.miss("closed" if tiers.is_closed else "refresh", len(keys))
            else:
                tiers.skip("closed")
            return None
        return tiers.namespace_of(options)
