"""`PrometheusCollector`: what a scrape of one process shows."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as _exposition
from prometheus_client.openmetrics import parser as _parser
from support.counting_model import CountingModel
from support.doubles import FakeStore, Fault, answer
from support.servers import wait_until

from llmemo import ConfigurationError, LLMCache, PrometheusCollector, cached, options
from llmemo.store_io import store_check
from llmemo.telemetry.measures import MEASURES

if TYPE_CHECKING:
    from pathlib import Path

exposition: Any = _exposition  # which have no types
parser: Any = _parser


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def lookups(
    registry: CollectorRegistry, outcome: str, tier: str = "", cache: str = "default"
) -> float:
    labels = {"cache": cache, "outcome": outcome, "tier": tier}
    return registry.get_sample_value("llmemo_lookups_total", labels) or 0.0


def test_each_figure_of_the_cache_is_exported(registry: CollectorRegistry, tmp_path: Path) -> None:
    usage: Any = {"input_tokens": 20, "output_tokens": 3, "total_tokens": 23}
    message = AIMessage("x", usage_metadata=usage, response_metadata={"model_name": "m"})
    with LLMCache(tmp_path / "cache.db", prices={"m": (10_000.0, 100_000.0)}) as cache:
        PrometheusCollector(cache, registry=registry)
        value = registry.get_sample_value
        cache.lookup("p", "m")
        cache.update("p", "m", [ChatGeneration(message=message)])
        cache.lookup("p", "m")
        cache.lookup("p", "m")
        cache.update("q", "m", [])
        with options(mode="bypass"):
            cache.lookup("p", "m")
        cache._tiers.memory.clear()
        cache.lookup("p", "m")
        wait_until(lambda: cache.stats().store_bytes, "the store tells its size")
        assert lookups(registry, "miss") == 1
        assert lookups(registry, "hit", "memory") == 2
        assert lookups(registry, "hit", "store") == 1
        assert lookups(registry, "bypass") == 1
        tokens = "llmemo_saved_tokens_total"
        assert value(tokens, {"cache": "default", "type": "input"}) == 60
        assert value(tokens, {"cache": "default", "type": "output"}) == 9
        one = {"cache": "default"}
        assert value("llmemo_saved_money_total", one) == 1.5
        assert value("llmemo_bypassed_total", {**one, "reason": "requested"}) == 1
        (reason,) = cache.stats().skipped
        assert value("llmemo_skipped_total", {**one, "reason": reason}) == 1
        assert value("llmemo_entries", one) == 1
        assert value("llmemo_bytes", one) == cache.stats().bytes
        assert value("llmemo_store_bytes", one) == cache.stats().store_bytes
        assert value("llmemo_store_up", one) == 1


def test_it_is_an_exposition_that_openmetrics_parses(registry: CollectorRegistry) -> None:
    caches = [LLMCache(), LLMCache()]
    collector = PrometheusCollector(caches[0], "one", registry=registry)
    collector.add(caches[1], "two")
    caches[1].lookup("p", "m")
    shown = exposition.generate_latest(registry).decode()
    families = {family.name: family for family in parser.text_string_to_metric_families(shown)}
    assert {f"llmemo_{measure.name}" for measure in MEASURES} == set(families)
    assert {"one", "two"} == {s.labels["cache"] for s in families["llmemo_lookups"].samples}
    assert lookups(registry, "miss", cache="one") == 0
    assert lookups(registry, "miss", cache="two") == 1


def test_trouble_of_the_store_shows_though_the_service_is_idle(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_check, "INTERVAL", 0.0)
    fault = Fault("get", OSError("pulled out"), times=0)
    with LLMCache(FakeStore(fault)) as cache:
        PrometheusCollector(cache, registry=registry)

        def up() -> float | None:
            return registry.get_sample_value("llmemo_store_up", {"cache": "default"})

        assert up() == 1
        assert cache._tiers.executor is not None
        assert not cache._tiers.executor.is_running  # a scrape opens no store
        cache.update("p", "m", answer("p"))
        fault.times = 10**9
        wait_until(lambda: up() == 0, "trouble is noticed")
        labels = {"cache": "default", "reason": "store_read"}
        assert registry.get_sample_value("llmemo_errors_total", labels) is None


def test_without_a_store_nothing_is_said_of_it(registry: CollectorRegistry) -> None:
    cache = LLMCache()
    PrometheusCollector(cache, registry=registry)
    assert registry.get_sample_value("llmemo_entries", {"cache": "default"}) == 0
    for name in ("llmemo_store_up", "llmemo_store_bytes"):
        assert registry.get_sample_value(name, {"cache": "default"}) is None


def test_no_prompt_no_namespace_and_no_path_is_in_it(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    with LLMCache(tmp_path / "plaice.db", namespace="tenant-7") as cache:
        PrometheusCollector(cache, registry=registry)
        cache.update("a secret prompt", "the llm string", answer("a secret answer"))
        cache.lookup("a secret prompt", "the llm string")
        cache.lookup("another secret", "the llm string at 0x7f00")
        shown = generate_latest(registry).decode()
        for word in ("secret", "tenant-7", "plaice", "llm string"):
            assert word not in shown


def test_a_cache_that_is_dropped_goes(registry: CollectorRegistry) -> None:
    cache = LLMCache()
    model = cached(CountingModel(), cache)
    collector = PrometheusCollector(cache, "first", registry=registry)
    other = LLMCache()
    collector.add(other, "other")
    model.invoke("x")
    assert lookups(registry, "miss", cache="first") == 1
    gone = weakref.ref(cache)
    del cache, model
    gc.collect()
    assert gone() is None
    assert "first" not in generate_latest(registry).decode()
    assert 'cache="other"' in generate_latest(registry).decode()


def test_a_cache_that_is_closed_goes_and_gives_its_name_back(registry: CollectorRegistry) -> None:
    cache, other = LLMCache(), LLMCache()
    collector = PrometheusCollector(cache, registry=registry)
    with pytest.raises(ConfigurationError, match="another cache's"):
        collector.add(other, "default")
    collector.add(cache, "default")  # it has that name already
    cache.close()
    assert "default" not in generate_latest(registry).decode()
    other.lookup("p", "m")
    collector.add(other, "default")
    assert lookups(registry, "miss") == 1


def test_a_cache_counts_once_and_a_closed_one_not_at_all(registry: CollectorRegistry) -> None:
    cache, closed = LLMCache(), LLMCache()
    collector = PrometheusCollector(cache, "a", registry=registry)
    with pytest.raises(ConfigurationError, match="measured as 'a' already"):
        collector.add(cache, "b")
    closed.close()
    with pytest.raises(ConfigurationError, match="give an open one"):
        collector.add(closed, "b")
    with pytest.raises(ConfigurationError, match="give an open one"):
        PrometheusCollector(closed, registry=CollectorRegistry())
    shown = generate_latest(registry).decode()
    assert 'cache="a"' in shown
    assert 'cache="b"' not in shown


def test_what_cannot_be_exported(registry: CollectorRegistry) -> None:
    cache = LLMCache()
    for wrong in (None, FakeStore(), {"default": cache}):
        with pytest.raises(ConfigurationError, match="give an LLMCache"):
            PrometheusCollector(wrong, registry=registry)  # type: ignore[arg-type]
    for registered in ("x", 7, PrometheusCollector):
        with pytest.raises(ConfigurationError, match="give a CollectorRegistry"):
            PrometheusCollector(cache, registry=registered)  # type: ignore[arg-type]
    for name in ("", None, 7):
        with pytest.raises(ConfigurationError, match="name="):
            PrometheusCollector(cache, name, registry=registry)  # type: ignore[arg-type]
    PrometheusCollector(cache, registry=registry)
    with pytest.raises(ConfigurationError, match=r"collector\.add"):
        PrometheusCollector(cache, registry=registry)


def test_it_is_registered_and_unregistered_as_prometheus_clients_own() -> None:
    cache = LLMCache()
    collector = PrometheusCollector(cache)
    try:
        assert b"llmemo_entries" in generate_latest(REGISTRY)
    finally:
        REGISTRY.unregister(collector)
    assert b"llmemo_entries" not in generate_latest(REGISTRY)
    mine = PrometheusCollector(cache, registry=None)
    registry = CollectorRegistry()
    registry.register(mine)
    assert b"llmemo_entries" in generate_latest(registry)


def test_a_lookup_pays_nothing_for_it(registry: CollectorRegistry) -> None:
    """The path of a hit has no hook: it is the same function, whether exported or not."""
    cache = LLMCache()
    before = (cache._recall, vars(type(cache))["lookup"], cache._tiers.tally)
    PrometheusCollector(cache, registry=registry)
    generate_latest(registry)
    assert (cache._recall, vars(type(cache))["lookup"], cache._tiers.tally) == before
