"""The tiers that an answer lives in, and what a lookup and an update have in common."""

from __future__ import annotations

import functools
import math
import secrets
import time
from typing import TYPE_CHECKING, Any, Protocol

from llmemo._core import LARGE, Memory, RequestBypassed, ValueUnknown
from llmemo.codec.envelope import Envelope
from llmemo.config.options import DEFAULT, REQUIRED, Options, in_force
from llmemo.config.validation import secret_bytes
from llmemo.errors import ConfigurationError, NamespaceRequiredError
from llmemo.keys.identity import REMEDIES, identify
from llmemo.keys.memory_name import MARK
from llmemo.keys.model_description import snapshots
from llmemo.keys.request import Request
from llmemo.pipeline.counting import Counting
from llmemo.pipeline.large_work import LargeWorker
from llmemo.pipeline.recent_misses import RecentMisses
from llmemo.pipeline.rejected_answers import RejectedAnswers
from llmemo.single_flight.flights import Flights
from llmemo.single_flight.live_streams import LiveStreams
from llmemo.store_io.calls import Call
from llmemo.store_io.client import StoreClient
from llmemo.store_io.operations import Discard
from llmemo.stores.registry import store_of
from llmemo.telemetry.stats import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from llmemo._core import ValueDamaged
    from llmemo.config.settings import Settings
    from llmemo.semantic.tier import SemanticTier
    from llmemo.store_io.executor import Executor
    from llmemo.stores import Record
    from llmemo.stores.registry import Location
    from llmemo.telemetry.explanation import Explanation
    from llmemo.telemetry.stats import CacheStats

FINGERPRINT_SECRET = secrets.token_bytes(192)
"""XXH3's secret in this process: 192 bytes is the size of its default one (xxhash.h)."""


class Watcher(Protocol):
    """Has a word in the calls of cached models: a cassette (`llmemo.testing`)."""

    def in_its_mode(self) -> AbstractContextManager[None]:
        """Have options of its own in force inside."""

    def missed(self, request: Request) -> None:
        """A request has no answer.

        Raises:
            CacheMiss: The model must not be asked.
        """

    def kept(self, request: Request) -> None:
        """The answer to a request went where answers go."""


class Tiers:
    """The tiers of one cache: memory, maybe a store, and the answers that are being computed."""

    def __init__(
        self,
        store: Location | Sequence[Location] | None,
        settings: Settings,
        *,
        secret: str | bytes | None,
        encryption_key: str | bytes | Sequence[str | bytes] | None,
    ) -> None:
        """Arguments as for `LLMCache`; those that are secret are not among the settings."""
        self.settings = settings
        self.clock = settings.clock
        self.is_closed = False
        self.made_at, self.closed_at = time.monotonic(), math.inf
        self.tally = Tally(settings.clock)
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
            models_seen=snapshots,
            ignore=tuple(settings.ignore),
        )
        self.counting = Counting(self.memory, self.tally)
        self.label = functools.lru_cache(maxsize=64)(self.memory.label)
        self.store = None if store is None else store_of(store)
        # Their names, for a pickle of the settings. (A key that is not needed is not used.)
        self.secrets_given = {
            *(["secret"] if secret is not None else []),
            *(["encryption_key"] if encryption_key is not None and store is not None else []),
        }
        self.envelope = Envelope(encryption_key, is_needed=self.store is not None)
        self.durable: StoreClient | None = None
        if self.store is not None:
            self.store.clock = self.clock
            self.store.grace = settings.stale_if_error
            self.store.timeout = settings.store_timeout
            self.durable = StoreClient(self.store, self.tally, self.memory, settings.store_timeout)
        submit = None if self.durable is None else self.durable.executor.submit
        self.recent_misses = RecentMisses()
        self.rejected = RejectedAnswers(self.memory, self.tally, submit)
        self.large_reads = LargeWorker(lasts=False)
        self.large_writes = LargeWorker(lasts=self.store is not None)
        self.flights = Flights(self.durable) if settings.single_flight else None
        self.semantic = self._semantic()
        self.live: LiveStreams[Any] = LiveStreams()
        """The streams that callers may read along."""
        self.model_classes: dict[object, type] = {}
        """The classes of its cached models, by what they are made of: see `cached`."""
        self.watcher: Watcher | None = None
        self.explain_lookup: Callable[..., Explanation] | None = None
        """Explains a lookup by its event; the room `explain` is above this one."""

    def _semantic(self) -> SemanticTier | None:
        """The semantic tier, if one is asked for; nothing of it is imported otherwise.

        Raises:
            ConfigurationError: `semantic` is none of ours.
        """
        given, settings = self.settings.semantic, self.settings
        if given is None:
            return None
        from llmemo.semantic.settings import Semantic  # noqa: PLC0415 (see above)
        from llmemo.semantic.tier import SemanticTier  # noqa: PLC0415

        if not isinstance(given, Semantic):
            msg = (
                f"semantic=… of type {type(given).__name__} is not allowed: give"
                " Semantic(embeddings), or None for exact answers alone"
            )
            raise ConfigurationError(msg)
        return SemanticTier(
            given,
            memory=self.memory,
            durable=self.durable,
            envelope=self.envelope,
            tally=self.tally,
            clock=self.clock,
            beside=LargeWorker(lasts=False),
            max_bytes=settings.max_bytes,
            is_rejected=self.rejected.has,
        )

    @property
    def executor(self) -> Executor | None:
        """The executor of the store, if there is one."""
        return None if self.durable is None else self.durable.executor

    def namespace_of(self, options: Options) -> str:
        """The namespace of a call.

        Raises:
            NamespaceRequiredError: The call has to name one, and does not.
        """
        if options.namespace is not None:
            return options.namespace
        namespace = self.settings.namespace
        if namespace is REQUIRED:
            msg = (
                "this cache was made with namespace=REQUIRED: call the model within"
                " `with llmemo.options(namespace=…):`"
            )
            raise NamespaceRequiredError(msg)
        return namespace

    def key(self, prompt: str, llm_string: str) -> bytes | None:
        """The key of a request, the same in every process; None if it must not be cached.

        Raises:
            NamespaceRequiredError: The caller has to name a namespace.
        """
        namespace = self.namespace_of(in_force() or DEFAULT)
        try:
            return identify(self.memory, Request(prompt, llm_string), namespace).key
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

    def note_damage(self, damage: ValueDamaged, record: Record | None = None) -> None:
        """Count an answer that cannot be read; remove its record if no process could read it."""
        is_lost = record is not None and not isinstance(damage, ValueUnknown)
        text = "llmemo: a stored answer cannot be read (%s) and is %s"
        fate = "removed" if is_lost else "left alone"
        self.tally.note("errors", f"value_{damage}", text, damage, fate)
        if record is not None and is_lost and self.executor is not None:
            self.executor.submit(Call.blocking(Discard(record)))

    def created(self, key: bytes) -> float:
        """When the answer to the request of this key was made, as Unix time in seconds."""
        about = self.memory.about(key)
        return self.clock() if about is None else about[0]

    def reject_answer(self, key: bytes, created: float) -> None:
        """Drop an answer, made then, that a parser could not read."""
        if not self.is_closed:
            self.rejected.add(key, created)

    def bypass_requested(self) -> None:
        """Count a call that its options send past the cache. Nothing is logged."""
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
        return self.counting.stats(None if self.semantic is None else self.semantic.stats)

    def close(self, timeout: float) -> int:
        """Close every tier, within `timeout` seconds. Returns the number of writes dropped."""
        self.is_closed = True
        end = time.monotonic() + timeout
        self.closed_at = min(self.closed_at, end - timeout)
        self.large_writes.close(timeout)
        if self.semantic is not None:
            self.semantic.close(max(0.0, end - time.monotonic()))
        self.large_reads.close(0.0)
        if self.flights is not None:
            self.flights.close()
        self.memory.clear()
        self.recent_misses.forget()
        return 0 if self.executor is None else self.executor.close(max(0.0, end - time.monotonic()))
