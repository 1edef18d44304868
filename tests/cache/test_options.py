"""What a call says of itself: modes, namespaces and times to live, with every kind of cache."""

from __future__ import annotations

import inspect
import math
import pickle
from collections import UserDict
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.outputs import Generation
from support.callers import until
from support.doubles import Clock, FakeStore, Fault, Held, answer

from llmemo import (
    REQUIRED,
    CacheMiss,
    ConfigurationError,
    LLMCache,
    NamespaceRequiredError,
    options,
    track,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    MakeCache = Callable[..., LLMCache]
    Do = Callable[..., Awaitable[Any]]

pytestmark = pytest.mark.anyio

ADDRESS = "[('tool', <object at 0x7f0000000000>)]"
"""A model description that says nothing in another process: a request with it is bypassed."""


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest) -> Do:
    """Calls a method of a cache, or its async twin."""

    async def call(cache: LLMCache, name: str, *args: Any, **kwargs: Any) -> Any:
        prefix = "" if request.param == "sync" else "a"
        result = getattr(cache, prefix + name)(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    return call


async def test_bypass_neither_asks_nor_tells_and_is_counted(make_cache: MakeCache, do: Do) -> None:
    cache = make_cache()
    await do(cache, "update", "p", "m", answer("kept"))
    with options(mode="bypass"), track() as tracker:
        assert await do(cache, "lookup", "p", "m") is None
        await do(cache, "update", "p", "m", answer("not told"))
        await do(cache, "update", "q", "m", answer("not told"))
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.updates) == (0, 0, 1)
    assert (stats.bypassed, stats.skipped, stats.errors) == ({"requested": 3}, {}, {})
    assert [(it.outcome, it.reason) for it in tracker.events] == [("bypass", "requested")]
    assert await do(cache, "lookup", "p", "m") == answer("kept")
    assert await do(cache, "lookup", "q", "m") is None


async def test_bypass_asks_no_store(do: Do, caplog: pytest.LogCaptureFixture) -> None:
    store = FakeStore()
    with LLMCache(store) as cache, options(mode="bypass"):
        assert await do(cache, "lookup", "p", "m") is None
        await do(cache, "update", "p", "m", answer("x"))
    assert (store.asked, caplog.records) == ([], [])


async def test_refresh_does_not_ask_but_replaces_everywhere(make_cache: MakeCache, do: Do) -> None:
    cache, other = make_cache(), make_cache()
    is_shared = cache._tiers.executor is not None
    await do(cache, "update", "p", "m", answer("old"))
    if is_shared:
        assert await do(other, "lookup", "p", "m") == answer("old")
    with options(mode="refresh"), track() as tracker:
        assert await do(cache, "lookup", "p", "m") is None
        assert tracker.events[0].reason == "refresh"
        # Until there is another, the others are served the old one.
        with options(mode="default"):
            assert await do(cache, "lookup", "p", "m") == answer("old")
        await do(cache, "update", "p", "m", answer("new"))
    assert await do(cache, "lookup", "p", "m") == answer("new")
    assert cache.stats().misses == 1
    if is_shared:
        assert make_cache().lookup("p", "m") == answer("new")
        await until(lambda: other.lookup("p", "m") == answer("new"))


async def test_only_serves_what_there_is_and_raises_for_the_rest(
    make_cache: MakeCache, do: Do
) -> None:
    cache = make_cache()
    await do(cache, "update", "p", "m", answer("kept"))
    for each in (cache, make_cache()):
        if each is cache or cache._tiers.executor is not None:
            with options(mode="only"):
                assert await do(each, "lookup", "p", "m") == answer("kept")
    with options(mode="only"), track() as tracker:
        with pytest.raises(CacheMiss, match=r'mode="only".*\(absent\); its key is [0-9a-f]{64}$'):
            await do(cache, "lookup", "q", "m")
        with pytest.raises(CacheMiss, match="address"):
            await do(cache, "lookup", "p", ADDRESS)
        with pytest.raises(CacheMiss, match="trouble"):
            await do(cache, "lookup", 7, "m")
        # An answer that is at hand is kept all the same.
        await do(cache, "update", "q", "m", answer("q"))
        assert await do(cache, "lookup", "q", "m") == answer("q")
        cache.close()
        with pytest.raises(CacheMiss, match="closed") as caught:
            await do(cache, "lookup", "p", "m")
    assert [it.outcome for it in tracker.events] == ["miss", "bypass", "hit", "miss"]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert await do(cache, "lookup", "p", "m") is None


@pytest.mark.parametrize("trouble", ["raises", "hangs"])
async def test_only_with_a_store_in_trouble_is_a_miss_too(trouble: str, do: Do) -> None:
    held = Held("get")
    store = FakeStore(held if trouble == "hangs" else Fault("get", OSError(5, "x")))
    try:
        with LLMCache(store, store_timeout=0.05) as cache, options(mode="only"):
            for _ in range(7):  # the last of them do not ask any more: see `CircuitBreaker`
                with pytest.raises(CacheMiss):
                    await do(cache, "lookup", "p", "m")
            assert sum(cache.stats().errors.values()) == 7
            held.go.set()
    finally:
        held.go.set()


async def test_only_does_not_refresh_what_is_about_to_expire(make_cache: MakeCache, do: Do) -> None:
    clock = Clock()
    cache = make_cache(clock=clock, ttl=100, early_refresh=1e9)
    assert await do(cache, "lookup", "p", "m") is None
    await do(cache, "update", "p", "m", answer("kept"))
    with options(mode="only"):
        for clock.now in [clock.now + step for step in range(0, 100, 2)]:
            assert await do(cache, "lookup", "p", "m") == answer("kept")
        clock.now += 10
        with pytest.raises(CacheMiss):
            await do(cache, "lookup", "p", "m")


async def test_a_namespace_for_one_call(make_cache: MakeCache, do: Do) -> None:
    cache = make_cache(namespace="own")
    for name in ("own", "a", ""):
        with options(namespace=name):
            await do(cache, "update", "p", "m", answer(name))
    assert await do(cache, "lookup", "p", "m") == answer("own")
    with options(namespace="a"):
        assert await do(cache, "delete", "p", "m")
        assert not await do(cache, "delete", "p", "m")
        assert await do(cache, "lookup", "p", "m") is None
        assert (await do(cache, "explain", "p", "m")).outcome == "miss"
    with options(namespace=""):
        assert await do(cache, "lookup", "p", "m") == answer("")
        assert (await do(cache, "explain", "p", "m")).outcome == "hit"
    assert await do(cache, "lookup", "p", "m") == answer("own")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["default", "only", "refresh", None])
async def test_a_namespace_that_is_required(make_cache: MakeCache, do: Do, mode: Any) -> None:
    cache = make_cache(namespace=REQUIRED)
    match = r"namespace=REQUIRED: call the model within `with llmemo\.options\(namespace="
    with options(mode=mode) if mode else track():
        for method in ("lookup", "delete", "explain"):
            with pytest.raises(NamespaceRequiredError, match=match):
                await do(cache, method, "p", "m")
        with pytest.raises(NamespaceRequiredError, match=match):
            await do(cache, "update", "p", "m", answer("x"))
    with options(namespace=""):
        assert await do(cache, "lookup", "p", "m") is None
        await do(cache, "update", "p", "m", answer("of nobody"))
    with options(namespace="a"):
        assert await do(cache, "lookup", "p", "m") is None
        await do(cache, "update", "p", "m", answer("of a"))
        assert await do(cache, "lookup", "p", "m") == answer("of a")
    # Who goes past the cache needs none; a removal names what it removes.
    with options(mode="bypass"):
        assert await do(cache, "lookup", "p", "m") is None
    assert await do(cache, "invalidate", namespace="a") == 1
    with options(namespace=""):
        assert await do(cache, "lookup", "p", "m") == answer("of nobody")
    assert await do(cache, "invalidate", llm_string="m") == 1
    assert (cache.stats().errors, repr(REQUIRED)) == ({}, "REQUIRED")


async def test_a_time_to_live_for_one_call(make_cache: MakeCache, do: Do) -> None:
    clock = Clock()
    cache = make_cache(clock=clock, ttl=100, namespace_ttl={"brief": 10, "lasting": None})
    said: dict[str, tuple[dict[str, Any], float]] = {
        "own": ({}, 100),
        "call": ({"ttl": 50}, 50),
        "for ever": ({"ttl": None}, math.inf),
        "brief": ({"namespace": "brief"}, 10),
        "lasting": ({"namespace": "lasting"}, math.inf),
        "both": ({"namespace": "brief", "ttl": 30}, 30),
        "both, for ever": ({"namespace": "brief", "ttl": None}, math.inf),
    }
    for prompt, (given, _) in said.items():
        with options(**given):
            await do(cache, "update", prompt, "m", answer(prompt))
    start = clock.now
    for past in (9, 11, 29, 31, 49, 51, 99, 101, 10**6):
        clock.now = start + past
        for prompt, (given, ttl) in said.items():
            with options(namespace=given.get("namespace")):
                hit = await do(cache, "lookup", prompt, "m")
            assert (hit is not None) == (past < ttl), (prompt, past)


@pytest.mark.slow
async def test_what_is_stored_at_once_does_not_expire_at_once(make_cache: MakeCache) -> None:
    clock = Clock()
    cache = make_cache(clock=clock, ttl=1_000, ttl_jitter=0.5, single_flight=False)
    for number in range(100):
        cache.update(f"p{number}", "m", answer("x"))
    start, alive = clock.now, []
    for past in (0, 499, 600, 750, 900, 1_000):
        clock.now = start + past
        alive.append(sum(cache.lookup(f"p{number}", "m") is not None for number in range(100)))
    # Never sooner than half of it, and none later than all; between, by and by.
    assert alive[:2] == [100, 100]
    assert 100 > alive[2] > alive[3] > alive[4] > alive[5] == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mode": "refrsh"}, ["mode='refrsh'", "'default', 'bypass', 'refresh', 'only'"]),
        ({"mode": ["only"]}, ["mode=['only']", "one of"]),
        ({"namespace": 7}, ["namespace=7", "not a str", "a name"]),
        ({"namespace": REQUIRED}, ["namespace=REQUIRED", "not a str"]),
        ({"ttl": 0}, ["ttl=0", "positive number of seconds", "None for no limit"]),
        ({"ttl": -1}, ["ttl=-1", "positive"]),
        ({"ttl": math.nan}, ["ttl=nan", "positive"]),
        ({"ttl": "1h"}, ["ttl='1h'", "seconds"]),
        ({"ttl": True}, ["ttl=True", "seconds"]),
    ],
)
def test_options_that_cannot_be(given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        options(**given)  # where it is written, not where it is entered
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"namespace_ttl": 60}, ["namespace_ttl=60", "by namespace", '{"tenant-1": 3600}']),
        ({"namespace_ttl": {7: 60}}, ["namespace_ttl={7: 60}", "by namespace"]),
        ({"namespace_ttl": {"a": 0}}, ["namespace_ttl['a']=0", "positive", "None for no limit"]),
        ({"namespace_ttl": {"a": "x"}}, ["namespace_ttl['a']='x'", "seconds"]),
        ({"ttl_jitter": 1.5}, ["ttl_jitter=1.5", "from 0 to 1"]),
        ({"ttl_jitter": -0.1}, ["ttl_jitter=-0.1", "from 0 to 1"]),
        ({"ttl_jitter": None}, ["ttl_jitter=None", "from 0 to 1"]),
        ({"namespace_max_bytes": 0}, ["namespace_max_bytes=0", "1 or more"]),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        LLMCache(**given)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_what_becomes_of_a_mapping_later_does_not_matter() -> None:
    clock, ttls = Clock(), UserDict({"a": 10.0})
    cache = LLMCache(clock=clock, namespace_ttl=ttls)
    ttls["a"] = "nonsense"  # type: ignore[assignment]
    with options(namespace="a"):
        cache.update("p", "m", [Generation(text="x")])
        assert cache.lookup("p", "m") is not None
        clock.now += 11
        assert cache.lookup("p", "m") is None
    assert cache.stats().errors == {}
