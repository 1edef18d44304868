"""`PrometheusCollector`: what caches do, as metrics of prometheus_client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from typing_extensions import override

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    msg = "PrometheusCollector needs prometheus_client: pip install 'llmemo[prometheus]'"
    raise ImportError(msg) from error

from llmemo.errors import ConfigurationError
from llmemo.integrations.prometheus_mirror import process_mirror
from llmemo.integrations.watched_caches import LABEL, WatchedCaches
from llmemo.telemetry.measures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from llmemo.cache import LLMCache
    from llmemo.telemetry.measures import Measure

PREFIX = "llmemo_"


class PrometheusCollector(Collector):
    """Exports what caches do to Prometheus: `llmemo_lookups_total` and others (docs/metrics.md).

    Like the collectors of prometheus_client it registers itself. A scrape reads `stats()`, so that
    lookups pay nothing. Labels hold neither prompts, keys nor namespaces. The caches are not kept
    alive: one that is closed or dropped is no longer exported.

    With the environment variable PROMETHEUS_MULTIPROC_DIR, as several worker processes need it,
    each process writes its counters to the files that prometheus_client's `MultiProcessCollector`
    adds up: once a second, and when the process ends. The names are then the process's: all of its
    collectors show the same caches.

    Args:
        cache: The first cache. `add` adds others.
        name: Value of the label `cache`.
        registry: Where to register. None: nowhere.

    Raises:
        ConfigurationError: `registry` has such a collector already, or is no `CollectorRegistry`;
            `cache` is no open `LLMCache`; `name` is no text.
        ImportError: prometheus_client is not installed.

    Example:
        >>> from prometheus_client import CollectorRegistry
        >>> from llmemo import LLMCache, PrometheusCollector
        >>> cache, registry = LLMCache(), CollectorRegistry()
        >>> collector = PrometheusCollector(cache, registry=registry)
        >>> cache.lookup("2 + 2?", "model-1")
        >>> labels = {"cache": "default", "outcome": "miss", "tier": ""}
        >>> registry.get_sample_value("llmemo_lookups_total", labels)
        1
    """

    def __init__(
        self,
        cache: LLMCache,
        name: str = "default",
        *,
        registry: CollectorRegistry | None = REGISTRY,
    ) -> None:
        """See the class."""
        if registry is not None and not isinstance(registry, CollectorRegistry):
            msg = (
                f"registry={registry!r} is not allowed: give a CollectorRegistry of"
                " prometheus_client, or None to register nowhere"
            )
            raise ConfigurationError(msg)
        is_multiprocess = bool(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
        self._mirror = process_mirror(PREFIX) if is_multiprocess else None
        self._watched = WatchedCaches() if self._mirror is None else self._mirror.watched
        self._watched.add(cache, name)
        if registry is not None:
            self._register(registry)
        if self._mirror is not None:
            self._mirror.copy()

    def _register(self, registry: CollectorRegistry) -> None:
        try:
            registry.register(self)
        except ValueError as error:
            msg = (
                "this registry has a PrometheusCollector already: give that one this cache, too"
                " (`collector.add(cache, name=…)`), or unregister it"
            )
            raise ConfigurationError(msg) from error

    def add(self, cache: LLMCache, name: str) -> None:
        """Export another cache, under a name of its own.

        Raises:
            ConfigurationError: Another open cache has the name, or this one has another name;
                `cache` is no open `LLMCache`; `name` is no text.
        """
        self._watched.add(cache, name)
        if self._mirror is not None:
            self._mirror.copy()

    def describe(self) -> Iterable[Metric]:
        """The metrics without their samples: for the registry."""
        return [_family(measure) for measure in MEASURES]

    @override
    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now. With several processes: those of this process."""
        if self._mirror is not None:
            return self._mirror.collect()
        readings = self._watched.readings()
        families = []
        for measure in MEASURES:
            family = _family(measure)
            for name, reading in readings:
                for labels, value in measure.read(reading):
                    family.add_metric((name, *labels), value)
            families.append(family)
        return families


def _family(measure: Measure) -> CounterMetricFamily | GaugeMetricFamily:
    name, labels = PREFIX + measure.name, (LABEL, *measure.labels)
    if measure.kind == "counter":
        return CounterMetricFamily(name, measure.help, labels=labels)
    return GaugeMetricFamily(name, measure.help, labels=labels)
