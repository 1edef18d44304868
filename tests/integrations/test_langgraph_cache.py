"""LangGraph's cache over llmemo's tiers: its interface, and real graphs."""

from __future__ import annotations

import asyncio
import operator
import pickle
import sqlite3
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.outputs import Generation
from langchain_core.runnables import RunnableLambda
from support import TESTS, strategies
from support.doubles import LIMIT, Clock, FakeStore, Fault, Held
from support.exact import difference, vandalise
from support.instances import Colour, Open

import llmemo
from llmemo import REQUIRED, CacheClosedError, LLMCache, NamespaceRequiredError, StoreError, options
from llmemo.keys.identity import identify
from llmemo.pipeline import node_results, update
from llmemo.store_io.operations import Get

pytest.importorskip("langgraph.cache.base")
pytestmark = pytest.mark.clients

from langgraph.func import entrypoint, task  # noqa: E402
from langgraph.graph import StateGraph  # noqa: E402
from langgraph.graph.message import add_messages  # noqa: E402
from langgraph.types import CachePolicy, Send  # noqa: E402

from llmemo import LangGraphCache, message_key  # noqa: E402
from llmemo.integrations.nodes import NODE, place_of  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeCache = Callable[..., LLMCache]

Key = tuple[tuple[str, ...], str]
NS = ("writes", "node")
POLICY = CachePolicy(key_func=message_key)


class Asked:
    """A cache that is asked by its sync or by its async methods."""

    def __init__(self, cache: LangGraphCache[Any], *, is_async: bool) -> None:
        self.cache, self.is_async = cache, is_async

    def get(self, *keys: Key) -> dict[Key, Any]:
        return asyncio.run(self.cache.aget(keys)) if self.is_async else self.cache.get(keys)

    def set(self, pairs: dict[Key, tuple[Any, Any]]) -> None:
        asyncio.run(self.cache.aset(pairs)) if self.is_async else self.cache.set(pairs)

    def clear(self, namespaces: list[tuple[str, ...]] | None = None) -> None:
        if self.is_async:
            asyncio.run(self.cache.aclear(namespaces))
        else:
            self.cache.clear(namespaces)


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[[LLMCache], Asked]:
    return lambda cache: Asked(LangGraphCache(cache), is_async=request.param == "async")


@pytest.fixture
def asked(ask: Callable[[LLMCache], Asked], make_cache: MakeCache) -> Asked:
    return ask(make_cache())


# The interface.


def test_what_is_set_is_got(asked: Asked) -> None:
    one, two, three = (NS, "1"), (NS, "2"), (("writes",), "1")
    assert asked.get(one) == asked.get() == {}
    asked.set({one: ({"a": 1}, None), two: ([2], None), three: ((3,), None)})
    assert asked.get(one, two, three, (NS, "3")) == {one: {"a": 1}, two: [2], three: (3,)}
    asked.set({one: ("new", None)})
    assert asked.get(one) == {one: "new"}
    assert asked.cache.stats().updates == 4
    assert asked.cache.stats().misses == 2
    assert asked.cache.stats().errors == {}


def test_the_parts_of_a_namespace_are_not_mixed_up(asked: Asked) -> None:
    keys = [(("a", "b"), "c"), (("a,b",), "c"), (("a",), "bc"), (("ab",), "c"), ((), "abc")]
    asked.set({key: (number, None) for number, key in enumerate(keys)})
    assert asked.get(*keys) == {key: number for number, key in enumerate(keys)}


def test_a_result_expires(make_cache: MakeCache, ask: Callable[[LLMCache], Asked]) -> None:
    clock = Clock()
    # The time to live of answers is not that of nodes.
    asked = ask(make_cache(clock=clock, ttl=1, namespace_ttl={"": 1}))
    short, long, ever = (NS, "short"), (NS, "long"), (NS, "ever")
    asked.set({short: (1, 10), long: (2, 20), ever: (3, None)})
    clock.now += 9
    assert set(asked.get(short, long, ever)) == {short, long, ever}
    clock.now += 1
    assert set(asked.get(short, long, ever)) == {long, ever}
    clock.now += 10**9
    assert set(asked.get(short, long, ever)) == {ever}


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
def test_a_result_that_has_expired_already_replaces_the_one_before(asked: Asked, ttl: Any) -> None:
    asked.set({(NS, "1"): ("old", None)})
    asked.set({(NS, "1"): ("new", ttl)})
    assert asked.get((NS, "1")) == {}


def test_a_namespace_is_cleared_alone(asked: Asked) -> None:
    keys = [(("a",), "1"), (("a", "b"), "1"), (("b",), "1"), (("b",), "2")]
    asked.set({key: (key, None) for key in keys})
    asked.clear([])
    assert set(asked.get(*keys)) == set(keys)
    asked.clear([("a",), ("none",)])
    assert set(asked.get(*keys)) == set(keys[1:])
    asked.clear([("b",), ("b",)])
    assert set(asked.get(*keys)) == {keys[1]}
    asked.clear()
    assert asked.get(*keys) == {}


def test_a_hit_is_the_callers_own(asked: Asked) -> None:
    value = {"list": [1], "message": AIMessage("x", additional_kwargs={"a": [1]})}
    asked.set({(NS, "1"): (value, None)})
    before = deepcopy(value)
    assert vandalise(asked.get((NS, "1"))[NS, "1"]) > 3
    vandalise(value)
    assert difference(asked.get((NS, "1"))[NS, "1"], before) is None


@strategies.examples(100)
@given(st.lists(strategies.values | strategies.messages(), max_size=3))
def test_values_come_back_as_they_were(values: list[Any]) -> None:
    with LangGraphCache[Any]() as cache:
        writes = deque([("channel", value) for value in values])
        sends = deque([("channel", Send("node", value)) for value in values])
        for name, result in [("value", values), ("writes", writes), ("sends", sends)]:
            cache.set({(NS, name): (result, None)})
        found = cache.get([(NS, "value"), (NS, "writes"), (NS, "sends")])
        if not found:  # the codec has its own tests of what it refuses
            assert sum(cache.stats().skipped.values()) == 3
            return
        assert difference(found[NS, "value"], values) is None
        assert type(found[NS, "writes"]) is deque
        assert difference(list(found[NS, "writes"]), list(writes)) is None
        got = [(channel, send.node, send.arg) for channel, send in found[NS, "sends"]]
        assert difference(got, [("channel", "node", value) for value in values]) is None
        assert all(type(send) is Send for _, send in found[NS, "sends"])


@pytest.mark.parametrize(
    "value", [object(), lambda: 1, deque([1], maxlen=2), [deque()], {1j: open}]
)
def test_what_cannot_be_encoded_is_not_kept(asked: Asked, value: Any) -> None:
    asked.set({(NS, "1"): (value, None), (NS, "2"): ("other", None)})
    assert asked.get((NS, "1"), (NS, "2")) == {(NS, "2"): "other"}
    assert asked.cache.stats().skipped == {"unsupported_type": 1}


# The stores.


def test_one_get_is_one_batch(ask: Callable[[LLMCache], Asked]) -> None:
    store = FakeStore()
    with LLMCache(store, max_bytes=0) as cache:
        asked = ask(cache)
        keys = [(NS, str(number)) for number in range(20)]
        asked.set({key: (key[1], None) for key in keys})
        assert sum(store.sizes("set")) == 20
        assert set(asked.get(*keys)) == set(keys)
        assert store.sizes("get") == [20]


def test_no_lease_is_taken(
    tmp_path: Path, ask: Callable[[LLMCache], Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    with LLMCache(tmp_path / "cache.db") as cache:
        executor = cache._tiers.executor
        assert executor is not None
        wanted: list[bytes] = []
        submit = executor.submit

        def seen(call: Any, **kwargs: Any) -> None:
            assert isinstance(call.operation, Get)
            wanted.extend(call.operation.wanted)
            submit(call, **kwargs)

        monkeypatch.setattr(executor, "submit", seen)
        assert ask(cache).get((NS, "1")) == {}
        assert wanted == []
        assert cache._tiers.flights is not None
        assert not executor.held.unclaimed()


def test_a_result_is_no_answer_of_a_model(make_cache: MakeCache) -> None:
    cache = make_cache()
    nodes = LangGraphCache[Any](cache)
    nodes.set({((), "key"): ("node", None)})
    for namespace in ("", "langgraph:[]"):
        with options(namespace=namespace):
            for texts in (("key", NODE), ("key", ""), ("", NODE)):
                assert cache.lookup(*texts) is None
    with options(namespace="langgraph:[]"):
        cache.update("key", NODE, [Generation(text="model")])
    assert nodes.get([((), "key")]) == {((), "key"): "node"}


def test_clearing_spares_the_answers_of_models(asked: Asked) -> None:
    cache = asked.cache._cache
    cache.update("prompt", "model", [Generation(text="answer")])
    asked.set({(NS, "1"): (1, None)})
    asked.clear([NS])
    asked.set({(NS, "1"): (1, None)})
    asked.clear()
    assert cache.lookup("prompt", "model") == [Generation(text="answer")]
    asked.set({(NS, "1"): (1, None)})
    cache.clear()
    assert asked.get((NS, "1")) == {}


def test_tenants_do_not_share(asked: Asked) -> None:
    key = (NS, "1")
    for tenant in ("a", "b"):
        with options(namespace=tenant):
            assert asked.get(key) == {}
            asked.set({key: (tenant, None)})
    assert asked.get(key) == {}
    for tenant in ("a", "b"):
        with options(namespace=tenant):
            assert asked.get(key) == {key: tenant}
    asked.clear([NS])
    for tenant in ("a", "b"):
        with options(namespace=tenant):
            assert asked.get(key) == {}


def test_a_namespace_may_be_required(
    make_cache: MakeCache, ask: Callable[[LLMCache], Asked]
) -> None:
    asked = ask(make_cache(namespace=REQUIRED))
    with pytest.raises(NamespaceRequiredError):
        asked.get((NS, "1"))
    with pytest.raises(NamespaceRequiredError):
        asked.set({(NS, "1"): (1, None)})
    with options(namespace="a"):
        asked.set({(NS, "1"): (1, None)})
        assert asked.get((NS, "1")) == {(NS, "1"): 1}


def test_modes_hold(asked: Asked) -> None:
    key = (NS, "1")
    with options(mode="bypass"):
        asked.set({key: (1, None)})
    assert asked.get(key) == {}
    with options(mode="refresh"):
        asked.set({key: (2, None)})
        assert asked.get(key) == {}
    with options(mode="bypass"):
        assert asked.get(key) == {}
    with options(mode="only", ttl=1):
        assert asked.get(key, (NS, "2")) == {key: 2}
    assert asked.cache.stats().bypassed == {"requested": 2}
    assert asked.cache.stats().misses == 3


def test_admission_is_not_asked(make_cache: MakeCache, ask: Callable[[LLMCache], Asked]) -> None:
    asked = ask(make_cache(admit=lambda generations: False))
    asked.set({(NS, "1"): (None, None)})
    assert asked.get((NS, "1")) == {(NS, "1"): None}


def test_encryption_covers_results(tmp_path: Path, ask: Callable[[LLMCache], Asked]) -> None:
    pytest.importorskip("cryptography")
    path, key = tmp_path / "cache.db", (NS, "1")
    with LLMCache(path, encryption_key=b"k" * 32) as cache:
        ask(cache).set({key: ("a secret result", None)})
    assert b"secret" not in path.read_bytes()
    with LLMCache(path, encryption_key=b"k" * 32) as cache:
        assert ask(cache).get(key) == {key: "a secret result"}
    with LLMCache(path) as cache:
        assert ask(cache).get(key) == {}
        assert cache.stats().errors == {"value_unknown_encryption_key": 1}


def test_large_results_are_kept(asked: Asked) -> None:
    results = {(NS, str(number)): str(number) * 2**20 for number in range(3)}
    asked.set({key: (value, None) for key, value in results.items()})
    assert asked.get(*results) == results


def test_a_large_result_on_its_way_is_not_overtaken() -> None:
    key, go = (NS, "1"), threading.Event()
    with LangGraphCache[Any]() as cache, ThreadPoolExecutor(1) as pool:
        tiers = cache._tiers
        request, namespace = place_of(key, "")
        digest = identify(tiers.memory, request, namespace).key
        tiers.large_writes._submit(lambda: go.wait(LIMIT), digest)
        setting = pool.submit(cache.set, {key: ("later", None), (NS, "2"): (2, None)})
        assert cache.get([key]) == {}
        assert not setting.done()
        go.set()
        setting.result(LIMIT)
        assert cache.get([key, (NS, "2")]) == {key: "later", (NS, "2"): 2}


# Trouble.


def test_a_damaged_result_is_a_miss(tmp_path: Path, ask: Callable[[LLMCache], Asked]) -> None:
    path = tmp_path / "cache.db"
    keys = [(NS, "1"), (NS, "2")]
    with LLMCache(path) as cache:
        ask(cache).set({keys[0]: ("x" * 100, None)})
        ask(cache).set({keys[1]: ("y" * 100, None)})
    with closing(sqlite3.connect(path)) as connection, connection:
        changed = "UPDATE entries SET value = replace(value, 'xx', 'xy') WHERE instr(value, 'xx')"
        assert connection.execute(changed).rowcount == 1
    with LLMCache(path) as cache:
        assert ask(cache).get(*keys) == {keys[1]: "y" * 100}
        assert cache.stats().errors == {"value_checksum": 1}


def test_a_result_of_another_form_is_a_miss(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = [Generation(text="", generation_info={"of another version": 1})]
    with monkeypatch.context() as patch:
        patch.setattr("llmemo.integrations.langgraph_cache.packed", lambda value: foreign)
        asked.set({(NS, "1"): (1, None)})
    asked.set({(NS, "2"): (2, None)})
    assert asked.get((NS, "1"), (NS, "2")) == {(NS, "2"): 2}


@pytest.mark.parametrize("method", ["open", "get"])
def test_a_store_that_fails_is_a_miss(method: str, ask: Callable[[LLMCache], Asked]) -> None:
    with LLMCache(FakeStore(Fault(method, OSError("gone"))), max_bytes=0) as cache:
        asked = ask(cache)
        assert asked.get((NS, "1"), (NS, "2")) == {}
        assert cache.stats().errors == {"store_read": 1}
        assert cache.stats().misses == 2


def test_a_store_that_does_not_write_raises_nothing(ask: Callable[[LLMCache], Asked]) -> None:
    fault = Fault("set", OSError("full"))
    with LLMCache(FakeStore(fault)) as cache:
        ask(cache).set({(NS, str(number)): (number, None) for number in range(3)})
        assert cache.stats().writes_unconfirmed == 3
        # Memory has them all the same.
        assert len(ask(cache).get((NS, "0"), (NS, "1"), (NS, "2"))) == 3
        fault.times = 0


def test_a_store_that_hangs_is_waited_for_once(ask: Callable[[LLMCache], Asked]) -> None:
    held = Held("get", "set")
    with LLMCache(FakeStore(held), max_bytes=0, store_timeout=0.2) as cache:
        asked = ask(cache)
        assert asked.get(*((NS, str(number)) for number in range(4))) == {}
        assert cache.stats().errors == {"store_read_timeout": 1}
        asked.set({(NS, str(number)): (number, None) for number in range(4)})
        assert cache.stats().writes_unconfirmed == 4
        held.go.set()


def test_while_a_breaker_is_open_no_call_waits(ask: Callable[[LLMCache], Asked]) -> None:
    store = FakeStore(Fault("get", OSError("gone")))
    with LLMCache(store, max_bytes=0) as cache:
        asked = ask(cache)
        for _ in range(5):
            asked.get((NS, "1"), (NS, "2"))
        before = len(store.asked)
        asked.get((NS, "1"), (NS, "2"))
        assert cache.stats().errors["store_shut"] == 1
        assert len(store.asked) == before


def test_a_caller_may_leave(tmp_path: Path) -> None:
    held = Held("get")

    async def leave(cache: LangGraphCache[Any]) -> dict[Key, Any]:
        await cache.aset({(NS, "1"): (1, None)})
        reading = asyncio.create_task(cache.aget([(NS, "1"), (NS, "2")]))
        assert await asyncio.to_thread(held.reached.wait, LIMIT)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        held.go.set()
        return await cache.aget([(NS, "1")])

    with LangGraphCache[Any](LLMCache(FakeStore(held), max_bytes=0)) as cache:
        assert asyncio.run(leave(cache)) == {(NS, "1"): 1}
        cache._cache.close()


def test_defects_are_survived(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.set({(NS, "1"): (1, "no number"), (NS, "2"): (2, None)})
    assert asked.get((NS, "2")) == {}
    assert asked.get((NS, None)) == {}  # type: ignore[arg-type]
    assert asked.cache.stats().errors == {"internal": 2}


def test_a_defect_spares_the_other_keys(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(function: Any, is_bad: Callable[..., bool]) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if is_bad(*args):
                raise RuntimeError
            return function(*args, **kwargs)

        return call

    good, bad = (NS, "good"), (NS, "bad")
    with monkeypatch.context() as patch:
        encode = faulty(
            vars(update)["encode"], lambda it, key: it[0].generation_info == {"value": "bad"}
        )
        patch.setattr(update, "encode", encode)
        asked.set({bad: ("bad", None), good: ("good", None)})
    assert asked.get(bad, good) == {good: "good"}
    asked.set({bad: ("bad", None)})
    with monkeypatch.context() as patch:
        read = faulty(
            vars(node_results)["read_by_text"], lambda lookup, name: lookup.prompt == "bad"
        )
        patch.setattr(node_results, "read_by_text", read)
        assert asked.get(bad, good) == {good: "good"}
    assert asked.get(bad, good) == {bad: "bad", good: "good"}
    assert asked.cache.stats().errors == {"internal": 2}


def test_an_interrupt_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    with LangGraphCache[Any]() as cache:
        monkeypatch.setattr("llmemo.pipeline.node_results.read_by_text", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.get([(NS, "1")])


def test_after_close_all_is_a_miss(ask: Callable[[LLMCache], Asked]) -> None:
    with LLMCache() as cache:
        asked = ask(cache)
        asked.set({(NS, "1"): (1, None)})
        # Its owner closes it.
        asked.cache.close()
        asyncio.run(asked.cache.aclose())
        assert asked.get((NS, "1")) == {(NS, "1"): 1}
    assert asked.get((NS, "1")) == {}
    asked.set({(NS, "1"): (1, None)})
    assert cache.stats().skipped == {"closed": 1}
    with pytest.raises(CacheClosedError):
        asked.clear()


def test_its_own_cache_is_closed(tmp_path: Path) -> None:
    async def use() -> LangGraphCache[Any]:
        async with LangGraphCache[Any](tmp_path / "cache.db") as cache:
            await cache.aset({(NS, "1"): (1, None)})
        return cache

    assert asyncio.run(use()).get([(NS, "1")]) == {}


def test_a_removal_that_fails_is_told(ask: Callable[[LLMCache], Asked]) -> None:
    with LLMCache(FakeStore(Fault("invalidate", OSError("gone")))) as cache:
        asked = ask(cache)
        asked.set({(NS, "1"): (1, None)})
        with pytest.raises(StoreError):
            asked.clear([NS])
        assert asked.cache.stats().entries == 0


@pytest.mark.parametrize("store", [5, object(), InMemoryCache(), LLMCache, b"cache.db", {}])
def test_bad_input_is_told_at_once(store: Any) -> None:
    with pytest.raises(TypeError, match="give LangGraphCache a path, a URL, a Store, an LLMCache"):
        LangGraphCache(store)


def test_bad_locations_are_told_as_by_llmcache(tmp_path: Path) -> None:
    with pytest.raises(llmemo.ConfigurationError, match="unknown scheme"):
        LangGraphCache("nothing://x")
    (tmp_path / "text").write_text("no cache" * 100)
    with pytest.raises(llmemo.NotACacheError):
        LangGraphCache(tmp_path / "text").get([(NS, "1")])


def test_without_langgraph_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langgraph.cache.base", None)
    monkeypatch.delitem(sys.modules, "llmemo.integrations.langgraph_cache")
    monkeypatch.delitem(vars(llmemo), "LangGraphCache")
    with pytest.raises(ImportError, match=r"pip install 'llmemo\[langgraph\]'"):
        llmemo.LangGraphCache  # noqa: B018


def test_llmemo_does_not_import_langgraph() -> None:
    program = "import sys, llmemo; llmemo.message_key({}); print('langgraph' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True
    )
    assert done.stdout == "False\n"


def test_it_is_pickled_and_copied(tmp_path: Path) -> None:
    with LangGraphCache[Any](tmp_path / "cache.db") as cache:
        cache.set({(NS, "1"): (1, None)})
        assert pickle.loads(pickle.dumps(cache)).get([(NS, "1")]) == {(NS, "1"): 1}
        assert deepcopy(cache)._cache is cache._cache
        assert "cache.db" in repr(cache)


# Graphs.


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    found: Annotated[list[Any], operator.add]
    number: int


def reply() -> AIMessage:
    call = {"name": "weather", "args": {"city": "Oslo"}, "id": "call_1"}
    return AIMessage("Rain.", id="lc_run--1", tool_calls=[call])


class Graph:
    """A graph of one node, which counts its runs."""

    def __init__(self, cache: Any, result: Callable[[State], Any] | None = None) -> None:
        self.runs = 0
        self.result = result or (lambda state: {"messages": [reply()]})
        builder = StateGraph(State).add_node("node", self.node, cache_policy=POLICY)
        self.graph: Any = builder.set_entry_point("node").compile(cache=cache)

    def node(self, state: State) -> Any:
        self.runs += 1
        return self.result(state)

    def invoke(self, text: str = "How is Oslo?") -> dict[str, Any]:
        found: dict[str, Any] = self.graph.invoke({"messages": [HumanMessage(text)]})
        return found

    def ainvoke(self, text: str = "How is Oslo?") -> dict[str, Any]:
        call = self.graph.ainvoke({"messages": [HumanMessage(text)]})
        found: dict[str, Any] = asyncio.run(call)
        return found


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_node_runs_once(make_cache: MakeCache, way: str) -> None:
    graph = Graph(LangGraphCache(make_cache()))
    for _ in range(3):
        found = getattr(graph, way)()
        assert difference(found["messages"][1], reply()) is None
    assert graph.runs == 1
    getattr(graph, way)("And Rome?")
    assert graph.runs == 2
    assert graph.graph.cache.stats().errors == graph.graph.cache.stats().skipped == {}


def test_langgraph_knows_of_the_hit(make_cache: MakeCache) -> None:
    graph = Graph(LangGraphCache(make_cache()))
    given = {"messages": [HumanMessage("x")]}
    first, second = (list(graph.graph.stream(given, stream_mode="updates")) for _ in range(2))
    assert second[0].pop("__metadata__") == {"cached": True}
    assert first == second


def test_a_graph_clears_its_nodes(make_cache: MakeCache) -> None:
    cache = LangGraphCache[Any](make_cache())
    graph = Graph(cache)
    graph.invoke()
    graph.graph.clear_cache(["node"])
    graph.invoke()
    asyncio.run(graph.graph.aclear_cache())
    graph.invoke()
    assert graph.runs == 3


def test_a_node_that_fails_is_not_kept(make_cache: MakeCache) -> None:
    def fail(state: State) -> Any:
        raise ZeroDivisionError

    graph = Graph(LangGraphCache(make_cache()), fail)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            graph.invoke()
    assert graph.runs == 2
    assert graph.graph.cache.stats().updates == 0


def test_a_graph_goes_on_with_what_cannot_be_kept(make_cache: MakeCache) -> None:
    thing = object()
    graph = Graph(LangGraphCache(make_cache()), lambda state: {"found": [thing]})
    for way in (graph.invoke, graph.ainvoke):
        assert way()["found"] == [thing]
    assert graph.runs == 2
    assert graph.graph.cache.stats().skipped == {"unsupported_type": 2}


def test_a_graph_goes_on_without_its_store() -> None:
    with LLMCache(FakeStore(Fault("open", OSError("gone"))), max_bytes=0) as cache:
        graph = Graph(LangGraphCache(cache))
        for way in (graph.invoke, graph.ainvoke):
            assert way()["messages"][1].content == "Rain."
        assert graph.runs == 2


def test_types_survive_a_graph(make_cache: MakeCache) -> None:
    found = [(1, 2), {3}, frozenset({4}), Colour.BLUE, Open(value=(5,)), b"6"]
    graph = Graph(LangGraphCache(make_cache()), lambda state: {"found": found})
    for way in (graph.invoke, graph.ainvoke):
        assert difference(way()["found"], found) is None
    assert graph.runs == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_a_graph_that_sends_is_cached(make_cache: MakeCache, is_async: bool) -> None:
    runs: list[str] = []

    def plan(state: State) -> State:
        runs.append("plan")
        return {"number": 3}

    def work(state: Any) -> Any:
        runs.append("work")
        return {"found": [(state["part"],)]}

    def parts(state: State) -> list[Send]:
        return [Send("work", {"part": part}) for part in range(state["number"])]

    builder = StateGraph(State).add_node("plan", plan, cache_policy=POLICY)
    builder.add_node("work", work, cache_policy=POLICY).set_entry_point("plan")
    graph: Any = builder.add_conditional_edges("plan", parts, ["work"]).compile(
        cache=LangGraphCache(make_cache())
    )
    for _ in range(3):
        found = asyncio.run(graph.ainvoke({})) if is_async else graph.invoke({})
        assert found == {"messages": [], "found": [(0,), (1,), (2,)], "number": 3}
    assert sorted(runs) == ["plan", "work", "work", "work"]


def test_tasks_are_cached(make_cache: MakeCache) -> None:
    runs: list[int] = []

    @task(cache_policy=POLICY)
    def double(number: int, *, message: HumanMessage) -> tuple[int, str]:
        runs.append(number)
        return 2 * number, str(message.content)

    cache = LangGraphCache[Any](make_cache())

    @entrypoint(cache=cache)
    def flow(number: int) -> tuple[int, str]:
        return double(number, message=HumanMessage("x", id=f"id {len(runs)}")).result()

    assert [flow.invoke(number) for number in (1, 1, 2, 1)] == [
        (2, "x"),
        (2, "x"),
        (4, "x"),
        (2, "x"),
    ]
    assert runs == [1, 2]
    double.clear_cache(cache)
    flow.invoke(1)
    assert runs == [1, 2, 1]


def test_a_retry_runs_the_node_again(make_cache: MakeCache) -> None:
    graph = Graph(LangGraphCache(make_cache()))
    attempts: list[int] = []

    def refuse(state: Any) -> Any:
        attempts.append(1)
        if len(attempts) == 2:
            raise ValueError
        return state

    chain: Any = RunnableLambda(graph.invoke) | refuse
    retried = chain.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    retried.invoke("x")
    assert graph.runs == 1
    retried.invoke("x")
    assert (graph.runs, len(attempts)) == (2, 3)


def warm_run(path: str) -> int:
    """A graph's run in another process: how often its node ran."""
    with LangGraphCache[Any](path) as cache:
        graph = Graph(cache)
        assert difference(graph.invoke()["messages"][1], reply()) is None
        return graph.runs


def test_another_process_hits(tmp_path: Path) -> None:
    path = str(tmp_path / "cache.db")
    assert warm_run(path) == 1
    program = f"""
import sys
sys.path[:0] = [{str(TESTS)!r}, {str(TESTS / "integrations")!r}]
import test_langgraph_cache
print(test_langgraph_cache.warm_run({path!r}))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert (result.stdout, result.returncode) == ("0\n", 0), result.stderr


# Concurrency.


def test_concurrent_nodes_ask_their_model_once(make_cache: MakeCache) -> None:
    """The nodes run, since a cache is not told that one fails; their model is asked once."""
    cache = make_cache()
    asked: list[int] = []

    class Slow(GenericFakeChatModel):
        async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
            asked.append(1)
            await asyncio.sleep(0.01)
            return self._generate(*args, **kwargs)

    model = Slow(messages=iter([AIMessage("Rain.")]), cache=cache)

    async def node(state: State) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(State).add_node("node", node, cache_policy=POLICY)
    graph: Any = builder.set_entry_point("node").compile(cache=LangGraphCache(cache))

    async def run() -> list[Any]:
        given = [{"messages": [HumanMessage("x")]} for _ in range(50)]
        return await asyncio.gather(*map(graph.ainvoke, given))

    for _ in range(2):
        assert {found["messages"][1].content for found in asyncio.run(run())} == {"Rain."}
    assert len(asked) == 1
    assert cache.stats().errors == {}


def test_threads_may_share_it(make_cache: MakeCache) -> None:
    cache = LangGraphCache[Any](make_cache())
    start = threading.Barrier(8)

    def work(thread: int) -> bool:
        start.wait(LIMIT)
        for number in range(20):
            key = (NS, str(number))
            cache.set({key: ([number], None)})
            if cache.get([key]) != {key: [number]}:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert cache.stats().errors == {}
