"""`instrument_otel`: what caches do, as observable instruments of OpenTelemetry."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

try:
    from opentelemetry import metrics
    from opentelemetry.metrics import Observation
except ImportError as error:
    msg = "instrument_otel needs OpenTelemetry's API: pip install 'llmemo[otel]'"
    raise ImportError(msg) from error

from llmemo._core import __version__
from llmemo.errors import ConfigurationError
from llmemo.integrations.watched_caches import LABEL, WatchedCaches
from llmemo.telemetry.measures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider

    from llmemo.cache import LLMCache
    from llmemo.telemetry.measures import Measure

PREFIX = "llmemo."

_watched: weakref.WeakKeyDictionary[Any, WatchedCaches] = weakref.WeakKeyDictionary()
"""The caches of each meter provider: a second set of the same instruments would be ignored."""

_lock = threading.Lock()


def instrument_otel(
    cache: LLMCache, name: str = "default", *, meter_provider: MeterProvider | None = None
) -> None:
    """Export what a cache does to OpenTelemetry: `llmemo.lookups` and others (docs/metrics.md).

    The instruments are observable: the SDK reads `stats()` when it collects, so that lookups pay
    nothing. Attributes hold neither prompts, keys nor namespaces. The cache is not kept alive: once
    it is closed or dropped it is no longer exported.

    Args:
        cache: The cache. Call it once for each.
        name: Value of the attribute `cache`.
        meter_provider: None: the global one, which may be set later.

    Raises:
        ConfigurationError: Another open cache has the name, or this one has another name; `cache`
            is no open `LLMCache`; `name` is no text; `meter_provider` is no `MeterProvider`.
        ImportError: opentelemetry-api is not installed.
    """
    if meter_provider is not None and not isinstance(meter_provider, metrics.MeterProvider):
        msg = (
            f"meter_provider={meter_provider!r} is not allowed: give a MeterProvider of"
            " OpenTelemetry, or None for the global one"
        )
        raise ConfigurationError(msg)
    provider = metrics.get_meter_provider() if meter_provider is None else meter_provider
    with _lock:
        watched = _watched.get(provider)
        if watched is None:
            watched = WatchedCaches()
            watched.add(cache, name)
            meter = provider.get_meter("llmemo", __version__)
            for measure in MEASURES:
                _instrument(meter, measure, watched)
            _watched[provider] = watched
        else:
            watched.add(cache, name)


def _instrument(meter: Meter, measure: Measure, watched: WatchedCaches) -> None:
    make: Callable[..., object] = meter.create_observable_gauge
    if measure.kind == "counter":
        make = meter.create_observable_counter
    elif measure.across == "sum":
        make = meter.create_observable_up_down_counter

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(value, _attributes(measure, name, labels))
            for name, reading in watched.readings()
            for labels, value in measure.read(reading)
        ]

    make(PREFIX + measure.name, [observe], unit=measure.unit, description=measure.help)


def _attributes(measure: Measure, name: str, labels: tuple[str, ...]) -> dict[str, str]:
    """The labels of a sample, but for empty ones."""
    found = {label: value for label, value in zip(measure.labels, labels, strict=True) if value}
    return {LABEL: name, **found}
