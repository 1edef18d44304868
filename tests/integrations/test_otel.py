"""`instrument_otel`: what an SDK collects."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import FakeStore, answer
from support.servers import wait_until

from llmemo import ConfigurationError, LLMCache, PrometheusCollector, instrument_otel, options
from llmemo.telemetry.measures import MEASURES

pytest.importorskip("opentelemetry.sdk.metrics")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Sdk:
    """A meter provider, and what it collects."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self._reader])

    def collect(self) -> dict[str, Any]:
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def value(self, name: str, **attributes: str) -> float | None:
        metric = self.collect().get(name)
        points = [] if metric is None else metric.data.data_points
        found = [point.value for point in points if dict(point.attributes) == attributes]
        return found[0] if found else None


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    made = Sdk()
    yield made
    made.provider.shutdown()


def test_the_figures_are_those_of_prometheus(sdk: Sdk, tmp_path: Path) -> None:
    with LLMCache(tmp_path / "cache.db") as cache:
        instrument_otel(cache, meter_provider=sdk.provider)
        cache.lookup("p", "m")
        cache.update("p", "m", answer("p"))
        cache.lookup("p", "m")
        cache.update("q", "m", [])
        with options(mode="bypass"):
            cache.lookup("p", "m")
        wait_until(lambda: cache.stats().store_bytes, "the store tells its size")
        found = {
            (name, tuple(sorted(dict(point.attributes).items()))): point.value
            for name, metric in sdk.collect().items()
            for point in metric.data.data_points
        }
        scraped = {
            (
                f"llmemo.{family.name.removeprefix('llmemo_')}",
                tuple(sorted((k, v) for k, v in sample.labels.items() if v)),
            ): sample.value
            for family in PrometheusCollector(cache, registry=None).collect()
            for sample in family.samples
        }
        assert found == scraped
        assert len({name for name, _ in found}) >= 12
        assert sdk.value("llmemo.lookups", cache="default", outcome="hit", tier="memory") == 1


def test_counters_only_go_up_and_gauges_do_not_add_up_where_they_cannot(
    sdk: Sdk, tmp_path: Path
) -> None:
    with LLMCache(tmp_path / "cache.db") as cache:
        instrument_otel(cache, meter_provider=sdk.provider)
        cache.update("p", "m", answer("p"))
        wait_until(lambda: cache.stats().store_bytes, "the store tells its size")
        found = sdk.collect()
    assert found["llmemo.lookups"].data.is_monotonic
    assert found["llmemo.lookups"].unit == "{lookup}"
    assert not found["llmemo.entries"].data.is_monotonic
    assert found["llmemo.bytes"].unit == "By"
    for name in ("llmemo.store_up", "llmemo.store_bytes"):
        assert not hasattr(found[name].data, "is_monotonic")  # a gauge
    # Providers' own caches are something else.
    assert not any("gen_ai" in measure.name for measure in MEASURES)


def test_several_caches_and_one_that_goes(sdk: Sdk) -> None:
    one, two = LLMCache(), LLMCache(FakeStore())
    instrument_otel(one, "one", meter_provider=sdk.provider)
    instrument_otel(two, "two", meter_provider=sdk.provider)
    with pytest.raises(ConfigurationError, match="another cache's"):
        instrument_otel(LLMCache(), "one", meter_provider=sdk.provider)
    one.lookup("p", "m")
    two.lookup("p", "m")
    two.lookup("q", "m")
    assert sdk.value("llmemo.lookups", cache="one", outcome="miss") == 1
    assert sdk.value("llmemo.lookups", cache="two", outcome="miss") == 2
    two.close()
    assert sdk.value("llmemo.lookups", cache="two", outcome="miss") is None
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
    assert sdk.value("llmemo.lookups", cache="one", outcome="miss") is None


def test_a_provider_is_not_kept_alive() -> None:
    cache, sdk = LLMCache(), Sdk()
    instrument_otel(cache, meter_provider=sdk.provider)
    sdk.provider.shutdown()
    gone = weakref.ref(sdk.provider)
    del sdk
    gc.collect()
    assert gone() is None


def test_what_cannot_be_exported(sdk: Sdk) -> None:
    with pytest.raises(ConfigurationError, match="give an LLMCache"):
        instrument_otel(None, meter_provider=sdk.provider)  # type: ignore[arg-type]
    assert sdk.collect() == {}
    cache = LLMCache()
    for wrong in ("x", 7, MeterProvider):
        with pytest.raises(ConfigurationError, match="give a MeterProvider"):
            instrument_otel(cache, meter_provider=wrong)  # type: ignore[arg-type]
    instrument_otel(cache, meter_provider=sdk.provider)
    assert sdk.value("llmemo.entries", cache="default") == 0


def test_the_global_provider_may_be_set_later() -> None:
    """Until then the API collects nothing; nothing fails."""
    cache = LLMCache()
    instrument_otel(cache, "global")
    instrument_otel(cache, "global")
