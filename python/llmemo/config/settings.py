"""What a cache is made with, checked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmemo.config.ignore import check_ignore
from llmemo.config.options import REQUIRED, UNSET, Options, Required
from llmemo.config.validation import (
    check_flag,
    check_listener,
    check_number,
    check_prices,
    check_seconds,
    check_whole,
)
from llmemo.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import timedelta

    from langchain_core.outputs import Generation

    from llmemo.telemetry.tracking import LookupEvent


@dataclass(frozen=True)
class Settings:
    """Arguments of `LLMCache`, which documents them.

    Raises:
        ConfigurationError: One of them cannot work.
    """

    has_store: bool
    max_bytes: int
    max_entries: int | None
    namespace_max_bytes: int | None
    ttl: float | None
    namespace_ttl: Mapping[str, Any] | None
    """Seconds, or a timedelta until they are checked."""
    ttl_jitter: float
    early_refresh: float
    stale_if_error: float
    namespace: str | Required
    single_flight: bool
    lease_timeout: float
    fresh_ids: bool
    admit: Callable[[Sequence[Generation]], bool] | None
    store_timeout: float
    prices: Mapping[str, tuple[float, float]] | None
    clock: Callable[[], float]
    semantic: Any = None
    """A `Semantic`, which the room above checks."""
    ignore: Collection[str] = ()
    """Names of settings that do not count; sorted once they are checked."""
    on_event: Callable[[LookupEvent], object] | None = None
    mark_hits: bool = False

    def __post_init__(self) -> None:
        """Check."""
        check_whole("max_bytes", self.max_bytes, least=0)
        if self.max_bytes == 0 and not self.has_store:
            msg = "max_bytes=0 without a store would cache nothing: give a store, or some bytes"
            raise ConfigurationError(msg)
        if self.max_entries is not None:
            check_whole("max_entries", self.max_entries, least=1)
        if self.namespace_max_bytes is not None:
            check_whole("namespace_max_bytes", self.namespace_max_bytes, least=1)
        if self.ttl is not None:
            check_seconds("ttl", self.ttl)
        if self.namespace_ttl is not None:
            # A copy: what the caller does to it later was not checked.
            object.__setattr__(self, "namespace_ttl", _ttls(self.namespace_ttl))
        check_number("ttl_jitter", self.ttl_jitter, most=1)
        check_number("early_refresh", self.early_refresh)
        check_number("stale_if_error", self.stale_if_error)
        check_seconds("lease_timeout", self.lease_timeout)
        check_seconds("store_timeout", self.store_timeout)
        if self.namespace is not REQUIRED and not isinstance(self.namespace, str):
            msg = (
                f"namespace={self.namespace!r} is not a str: give a name, the empty string, or"
                " REQUIRED, if each call is to name its own"
            )
            raise ConfigurationError(msg)
        check_flag("single_flight", self.single_flight)
        check_flag("fresh_ids", self.fresh_ids)
        if self.admit is not None and not callable(self.admit):
            msg = (
                f"admit={self.admit!r} is not allowed: give a function that takes a list of"
                " generations and returns whether to keep it, or None to keep every answer"
            )
            raise ConfigurationError(msg)
        check_listener("on_event", self.on_event)
        check_flag("mark_hits", self.mark_hits)
        if self.stale_if_error and not self.single_flight:
            msg = (
                "stale_if_error needs single_flight: a lease tells that the model has failed."
                " Leave single_flight at True, or stale_if_error at 0"
            )
            raise ConfigurationError(msg)
        object.__setattr__(self, "prices", check_prices(self.prices))
        object.__setattr__(self, "ignore", check_ignore(self.ignore))

    def ttl_of(self, options: Options, namespace: str) -> float | None:
        """Seconds for which an answer may be served that is kept under these options."""
        if options.ttl is not UNSET:
            return options.ttl
        if self.namespace_ttl is not None and namespace in self.namespace_ttl:
            ttl: float | None = self.namespace_ttl[namespace]
            return ttl
        return self.ttl

    @property
    def own_clock(self) -> Callable[[], float] | None:
        """The clock, unless it is the system's."""
        return None if self.clock is time.time else self.clock


def _ttls(given: Mapping[str, float | timedelta | None]) -> dict[str, float | None]:
    """A copy of `namespace_ttl`, checked.

    Raises:
        ConfigurationError: It cannot work.
    """
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        msg = (
            f"namespace_ttl={given!r} is not allowed: give seconds, or None for no limit, by"
            ' namespace, as in {"tenant-1": 3600}'
        )
        raise ConfigurationError(msg)
    return {
        name: None if ttl is None else check_seconds(f"namespace_ttl[{name!r}]", ttl)
        for name, ttl in given.items()
    }
