"""The tiers that an answer lives in: what reading and writing have in common."""

from __future__ import annotations

import functools
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from llmemo._core import LARGE, Memory, RequestBypassed, ValueUnknown
from llmemo.codec.envelope import Sealing
from llmemo.config import misplaced_options
from llmemo.config.options import DEFAULT, REQUIRED, Options, in_force
from llmemo.config.validation import secret_bytes
from llmemo.errors import NamespaceRequiredError
from llmemo.keys.model_description import MARK
from llmemo.keys.outline import TAIL
from llmemo.keys.request import Request
from llmemo.langchain.class_schemas import schemas
from llmemo.pipeline.large_work import Aside
from llmemo.pipeline.rejected_answers import RejectedAnswers
from llmemo.single_flight.flights import Flights
from llmemo.store_io.calls import Call
from llmemo.store_io.client import StoreClient
from llmemo.store_io.operations import Discard
from llmemo.stores.registry import store_of
from llmemo.telemetry.savings import Worth
from llmemo.telemetry.stats import CacheStats, Tally

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from llmemo._core import ValueDamaged
    from llmemo.config.settings import Settings
    from llmemo.store_io.executor import Executor
    from llmemo.stores import Record, Store

T = TypeVar("T")

FINGERPRINT_SECRET = secrets.token_bytes(192)
"""XXH3's secret in this process: 192 bytes is the size of its default one (xxhash.h)."""

REMEDIES = {
    "address": "an object whose text is its address: give plain values, or a class with a repr",
    "unknown_repr": "an object whose text need not say what is in it: give plain values",
    "truncated": "a value that is printed only in part: give it as plain values",
    "too_deep": "values that are nested too deep",
    "unknown_class": "a class that was not seen: call the model through LangChain's methods",
    "hidden_model": (
        "the settings of a model that another cache asks for, from another thread or with another"
        " text: call `lookup` and `alookup` of this cache from methods of the same names, with the"
        " texts as they are (a `namespace` tells tenants apart)"
    ),
    "unknown_value": (
        "a value that cannot be told: give plain values, or declare the field with exclude=True if"
        " no answer depends on it"
    ),
    "too_large": "values that are too large for settings",
    "thin_text": "a model that lists too few of its settings (others of the same text differ): call"
    " the model through LangChain's methods, so that the cache can see it",
}
"""What stands in the way of a key, and what to do about it."""


OBSTACLES_MAX = 2
"""Obstacles that may be told beside the texts: objects in the call, objects in the prompt."""

CLASS = "<class '"
"""How an `llm_string` names a class."""


class Identity(NamedTuple):
    """What a request is called."""

    asked: str
    """What memory knows its model and call by."""
    key: bytes
    """Its key."""
    schemas: dict[str, bytes] | None
    """Digests of the classes that its `llm_string` names, if it names any."""
    request: Request
    """The request, with what stands in its texts as an object told beside them."""
    label: bytes = b""
    """Of the `llm_string`; of an identity `for_record` only."""
    outline: bytes = b""
    """As `label`."""


class Tiers:
    """Memory, behind it maybe a store, and who is computing what belongs there."""

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None,
        settings: Settings,
        *,
        secret: str | bytes | None,
        encryption_key: str | bytes | Sequence[str | bytes] | None,
    ) -> None:
        """Arguments as for `LLMCache`; those that are secret are not among the settings."""
        self.settings = settings
        self.clock = settings.clock
        self.is_closed = False
        self.tally = Tally()
        self._astray_before = misplaced_options.counts()
        self.rejected = RejectedAnswers()
        self.memory = Memory(
            settings.max_bytes,
            settings.max_entries,
            namespace_max_bytes=settings.namespace_max_bytes,
            fingerprint_secret=FINGERPRINT_SECRET,
            secret=secret_bytes(secret),
            fresh_ids=settings.fresh_ids,
            grace=settings.stale_if_error,
            mark=MARK,
            prices=settings.prices,
            clock=settings.own_clock,
        )
        self.label = functools.lru_cache(maxsize=64)(self.memory.label)
        self.store = None if store is None else store_of(store)
        # Their names, for who would copy the settings. (A key that is not needed is not used.)
        self.secrets_given = {
            *(["secret"] if secret is not None else []),
            *(["encryption_key"] if encryption_key is not None and store is not None else []),
        }
        self.sealing = Sealing(encryption_key, is_needed=self.store is not None)
        self.durable: StoreClient | None = None
        if self.store is not None:
            self.store.clock = self.clock
            self.store.grace = settings.stale_if_error
            self.durable = StoreClient(self.store, self.tally, self.memory, settings.store_timeout)
        self.large_reads = Aside(lasts=False)
        self.large_writes = Aside(lasts=self.store is not None)
        self.flights = Flights(self.durable) if settings.single_flight else None

    @property
    def engine(self) -> Executor | None:
        """What runs the store, if there is one."""
        return None if self.durable is None else self.durable.executor

    def namespace_of(self, said: Options) -> str:
        """On whose behalf a call is made.

        Raises:
            NamespaceRequiredError: It does not say so, and has to.
        """
        if said.namespace is not None:
            return said.namespace
        namespace = self.settings.namespace
        if namespace is REQUIRED:
            msg = (
                "this cache was made with namespace=REQUIRED: call the model within"
                " `with llmemo.options(namespace=…):`"
            )
            raise NamespaceRequiredError(msg)
        return namespace

    def key(self, prompt: str, llm_string: str) -> bytes | None:
        """What the request is called in every process; None if it must not be cached.

        Raises:
            NamespaceRequiredError: The caller has to name a namespace.
        """
        namespace = self.namespace_of(in_force() or DEFAULT)
        try:
            return self.identity(Request(prompt, llm_string), namespace).key
        except RequestBypassed as bypass:
            self.bypass(bypass)
            return None

    async def key_aside(self, prompt: str, llm_string: str) -> bytes | None:
        """As `key`, without holding up the event loop if the prompt is large."""
        if len(prompt) <= LARGE:
            return self.key(prompt, llm_string)
        return await self.large_reads.run(functools.partial(self.key, prompt, llm_string))

    def bypass(self, bypass: RequestBypassed) -> str:
        """Count a request that must not be cached. Returns why."""
        reason, parameter = bypass.args
        text = "llmemo: requests go past the cache: %r holds %s"
        self.tally.note("bypassed", reason, text, parameter or "llm_string", REMEDIES[reason])
        return str(reason)

    def sought(self, request: Request, namespace: str) -> tuple[Identity, int | None]:
        """What a lookup needs that memory did not answer.

        What the request is called, and the epoch under which to read it from a store: None if
        memory has an entry of that key all the same.

        Raises:
            RequestBypassed: It does not say what is asked.
        """
        return self._named(request, lambda it, schemas: self._sought(it, namespace, schemas))

    def identity(self, request: Request, namespace: str, *, for_record: bool = False) -> Identity:
        """What the request is called here, and everywhere; and what else a record says of it.

        Raises:
            RequestBypassed: It does not say what is asked.
        """
        make = self._described if for_record else self._keyed
        return self._named(request, lambda it, schemas: make(it, namespace, schemas))

    def _named(self, request: Request, make: Callable[[Request, dict[str, bytes] | None], T]) -> T:
        if request.bypass is not None:
            raise request.bypass
        left = OBSTACLES_MAX
        while True:
            # Of this text: classes may have been told beside the one before.
            known = schemas() if CLASS in request.llm_string else None
            try:
                return make(request, known)
            except RequestBypassed as bypass:
                resolved = request.resolved(bypass) if left else None
                if resolved is None:
                    raise
                request = resolved
                left -= 1

    def _sought(
        self, request: Request, namespace: str, known: dict[str, bytes] | None
    ) -> tuple[Identity, int | None]:
        key, epoch = self.memory.seek(request, namespace, known)
        return Identity(request.name(known), key, known, request), epoch

    def _keyed(self, request: Request, namespace: str, known: dict[str, bytes] | None) -> Identity:
        return self._sought(request, namespace, known)[0]

    def _described(
        self, request: Request, namespace: str, known: dict[str, bytes] | None
    ) -> Identity:
        key, *rest = self.memory.describe(request, namespace, known, tail=TAIL)
        return Identity(request.name(known), key, known, request, *rest)

    def reject(self, damage: ValueDamaged, record: Record | None = None) -> None:
        """Count an answer that cannot be read; have its record removed if nobody ever could."""
        is_lost = record is not None and not isinstance(damage, ValueUnknown)
        text = "llmemo: a stored answer cannot be read (%s) and is %s"
        fate = "removed" if is_lost else "left alone"
        self.tally.note("errors", f"value_{damage}", text, damage, fate)
        if record is not None and is_lost and self.engine is not None:
            self.engine.submit(Call.blocking(Discard(record)))

    def created(self, key: bytes) -> float:
        """When the answer to the request of this key was made, as Unix time in seconds."""
        about = self.memory.about(key)
        return self.clock() if about is None else about[0]

    def distrust(self, key: bytes, created: float) -> None:
        """Let go of an answer, made then, that a parser could not read."""
        self.rejected.add(self, key, created)

    def bypass_requested(self) -> None:
        """Count a call that was told to go past the cache. Nobody has to be told of it."""
        self.tally.count("bypassed", "requested")

    def skip(self, reason: str, *names: str) -> None:
        """Count an answer that is not kept.

        Args:
            reason: One of a fixed set: each is counted, and logged once a minute.
            names: Of the types that are the reason, for the log only.
        """
        text = "llmemo: an answer was not kept (%s)"
        self.tally.note("skipped", reason, text, ": ".join((reason, *names)))

    def changed(self, names: str) -> None:
        """Count an answer that is not kept since its model was changed while it answered."""
        text = (
            "llmemo: an answer was not kept because %s of its model changed while it answered: keep"
            " what is not a setting of the model in a PrivateAttr"
        )
        self.tally.note("skipped", "changed", text, names)

    def stats(self) -> CacheStats:
        """Counts of all tiers."""
        memory = self.memory.counts()
        counts, saved, groups = self.tally.snapshot()
        for reason, count in misplaced_options.counts().items():
            since = count - self._astray_before.get(reason, 0)
            if since:
                groups["errors"][reason] = since
        saved = saved.plus(Worth(memory.input_tokens, memory.output_tokens, memory.money))
        others = counts["coalesced"] + counts["stale"]
        return CacheStats(
            hits=memory.hits + memory.fills + others,
            misses=counts["misses"],
            memory_hits=memory.hits,
            store_hits=memory.fills,
            coalesced=counts["coalesced"],
            stale=counts["stale"],
            updates=counts["updates"],
            evictions=memory.evictions,
            expired=memory.expired + counts["expired"],
            entries=memory.entries,
            bytes=memory.bytes,
            writes_unconfirmed=counts["writes_unconfirmed"],
            input_tokens_saved=saved.input_tokens,
            output_tokens_saved=saved.output_tokens,
            money_saved=saved.money,
            **groups,
        )

    def close(self, timeout: float) -> int:
        """Let go of everything. Returns the number of writes that were dropped."""
        self.is_closed = True
        end = time.monotonic() + timeout
        self.large_writes.close(timeout)
        self.large_reads.close(0.0)
        if self.flights is not None:
            self.flights.close()
        self.memory.clear()
        return 0 if self.engine is None else self.engine.close(max(0.0, end - time.monotonic()))
