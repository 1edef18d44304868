"""The key of a node's input: equal for what is equal but for ids, and for nothing else."""

from __future__ import annotations

import array
import collections
import copy
import datetime as dt
import enum
import functools
import importlib.util
import itertools
import operator
import os
import subprocess
import sys
import threading
import types
from dataclasses import dataclass, field, make_dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypedDict
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from pydantic import BaseModel, PrivateAttr, RootModel, SecretStr
from support import TESTS, strategies
from support.doubles import LIMIT, lines
from support.exact import difference, mutable_parts
from support.interrupts import SoftTimeLimit

from llmemo import message_key
from llmemo.integrations.message_key import _unique, is_unique

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Point(NamedTuple):
    x: int
    y: int


class Colour(enum.Enum):
    RED = "red"


class Word(str, enum.Enum):
    RED = "red"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Data:
    value: Any = None

    def method(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Slots:
    value: Any = None


@dataclass
class Hidden:
    value: Any = field(default=None, repr=False, compare=False)


class Model(BaseModel):
    value: Any = None
    _private: Any = PrivateAttr(default=None)


class Other(BaseModel):
    value: Any = None


class Root(RootModel[list[int]]):
    pass


class Text(str):
    pass


class MyMessage(AIMessage):
    score: float = 0.0


class Plain:
    """A class that says nothing of what is in it."""


def named() -> None: ...


def with_attribute(thing: Any, **attributes: Any) -> Any:
    vars(thing).update(attributes)
    return thing


def private(value: Any) -> Model:
    model = Model()
    model._private = value
    return model


CALL: Any = {"name": "f", "args": {"id": 1}, "id": "call_1"}
USAGE: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
BLOCK = "lc_01234567-89ab-cdef-0123-456789abcdef"


def containers() -> Iterator[Any]:
    yield from ([], (), {}, set(), frozenset(), [[]], [()], ([],), [1], (1,), {1}, frozenset({1}))
    yield from ([1, 2], [2, 1], [[1], 2], [[1, 2]], ["1", "2"], ["12"], {"1": 2}, {1: 2}, {1: "2"})
    yield from ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}], {"a": {"b": 1}}, {"a": {}, "b": 1})
    yield from (collections.OrderedDict(a=1), {"a": 1}, collections.Counter(a=1))
    yield from (collections.defaultdict(int, a=1), collections.defaultdict(bool, a=1))
    yield from (collections.deque([1]), collections.deque([1], maxlen=2), Point(1, 2), (1, 2))
    yield from (range(3), range(0, 4, 2), slice(1), ..., types.MappingProxyType({"a": 1}))
    yield from (bytearray(b"1"), memoryview(b"1"), array.array("b", [1]), array.array("h", [1]))


def arrays() -> Iterator[Any]:
    if importlib.util.find_spec("numpy") is not None:
        import numpy as np

        yield from (np.zeros(2), np.zeros((1, 2)), np.zeros((2, 1)), np.zeros(2, "f4"))
        yield from (np.float64(1), np.float32(1), np.int64(1))


def standard() -> Iterator[Any]:
    first = dt.datetime(2026, 1, 1)  # noqa: DTZ001
    utc, paris = dt.timezone.utc, dt.timezone(dt.timedelta(hours=1))
    yield from (first, first.replace(fold=1), first.replace(tzinfo=utc), first.date())
    yield from (first.replace(hour=1, tzinfo=paris), dt.time(1), dt.timedelta(1), utc)
    yield from (Decimal(1), Decimal("1.0"), UUID(int=1))
    yield from (PurePosixPath("1"), Path("1"), Path("a"))


def objects() -> Iterator[Any]:
    yield from (Colour.RED, Word.RED, "red", Access.READ, Access.READ | Access.WRITE, Access(0))
    yield from (Data(), Data(1), Data(1.0), Slots(1), Hidden(1), Hidden(2), {"value": 1})
    yield from (with_attribute(Data(1), beside=1), with_attribute(Text("1"), beside=1))
    yield from (Model(), Model(value=None), Model(value=1), Other(value=1), private(1), private(2))
    yield from (Root([1]), Document("x"), Document("x", id="1"), Document("x", metadata={"a": 1}))
    yield from (named, os.getcwd, len, str.upper, Data, Model, int, Data(1).method, Data(2).method)
    yield from (functools.partial(named), functools.partial(print, 1))


def messages() -> Iterator[Any]:
    yield from (AIMessage("x"), AIMessageChunk(content="x"), HumanMessage("x"), SystemMessage("x"))
    yield from (
        ChatMessage(content="x", role="a"),
        ChatMessage(content="x", role="b"),
        MyMessage(content="x"),
    )
    yield from (MyMessage(content="x", score=1.0), AIMessage("y"), AIMessage("x", name="n"))
    yield from (AIMessage(["x"]), AIMessage(""), AIMessage("x", extra=1))
    yield from (AIMessage("x", tool_calls=[{**CALL, "id": str(n)}]) for n in range(2))
    yield AIMessage("x", usage_metadata=USAGE)
    yield AIMessage("x", usage_metadata={**USAGE, "total_cost": 0.1})
    yield from (AIMessage("x", response_metadata={"id": n}) for n in range(2))
    yield from (AIMessage("x", additional_kwargs={"id": n}) for n in range(2))
    yield from (AIMessage([{"type": "x", "id": f"rs_{n}"}]) for n in range(2))
    yield from (AIMessage([{"type": "x", "id": BLOCK, "a": 1}]), AIMessage([{"type": "x"}]))
    yield from (ToolMessage("x", tool_call_id="1", artifact=n) for n in range(2))
    yield from (
        ToolMessage("x", tool_call_id="2"),
        ToolMessage("", tool_call_id="", status="error"),
    )
    yield from (RemoveMessage(id=str(n)) for n in range(2))
    yield from (["human", "x"], [HumanMessage("x"), AIMessage("x")])
    yield [AIMessage("x"), HumanMessage("x")]


def different() -> list[Any]:
    """Values each of which is another input than all the others."""
    plain = [None, False, True, 0, 1, -1, 0.0, -0.0, 1.0, float("nan"), float("inf"), 2**70, 1j]
    texts = ["", "1", "True", "None", "é", "e\u0301", "\ud800", b"", b"1", Text("1"), "[]", "{}"]
    groups: list[Iterable[Any]] = [
        plain,
        texts,
        containers(),
        arrays(),
        standard(),
        objects(),
        messages(),
    ]
    return list(itertools.chain.from_iterable(groups))


def test_different_inputs_have_different_keys() -> None:
    seen: dict[Any, Any] = {}
    for value in different():
        key = message_key({"value": value})
        assert not is_unique(_digest(key)), value
        clash = seen.setdefault(key, value)
        assert clash is value, (clash, value)
    assert len(seen) == len(different()) > 150


def _digest(key: Any) -> str:
    xxhash = pytest.importorskip("xxhash")
    digest: str = xxhash.xxh3_128_hexdigest(key.encode())
    return digest


def test_a_value_is_different_at_any_depth() -> None:
    for depth in range(12):
        values = [1, True, AIMessage("x"), Data(1)]
        for _ in range(depth):
            values = [*({"a": [value]} for value in values)]
        assert len({message_key(value) for value in values}) == 4


def test_equal_inputs_have_one_key() -> None:
    values = different()
    again = different()
    same = [
        message_key(value) == message_key(other) for value, other in zip(values, again, strict=True)
    ]
    assert all(same)


@strategies.examples(100)
@given(st.lists(strategies.values | strategies.messages(), min_size=1, max_size=3))
def test_a_key_is_that_of_all_equal_values(values: list[Any]) -> None:
    key = message_key(values)
    if not is_unique(_digest(key)):
        assert message_key(copy.deepcopy(values)) == key
        assert message_key(tuple(values)) != key
        assert message_key([*values, None]) != key


@strategies.examples(100)
@given(st.lists(strategies.values, min_size=1, max_size=3), st.data())
def test_a_change_anywhere_is_another_key(values: list[Any], data: st.DataObject) -> None:
    changed = copy.deepcopy(values)
    part: Any = data.draw(st.sampled_from([*mutable_parts(changed)]))
    if isinstance(part, dict):
        part["a new name"] = 1
    elif isinstance(part, list):
        part.append(None)
    elif isinstance(part, set):
        part.add("a new member")
    elif hasattr(type(part), "__dict__") and "__dict__" in dir(part):
        object.__getattribute__(part, "__dict__")["a_new_name"] = 1
    if difference(values, changed) is not None:
        assert message_key(values) != message_key(changed)


# Ids.


def conversation(number: int) -> list[AnyMessage]:
    """The same messages, with other ids for each number."""
    return [
        SystemMessage("s", id=f"s{number}"),
        HumanMessage("h", id=f"h{number}"),
        AIMessage(
            [{"type": "text", "text": "t", "id": f"lc_{UUID(int=number)}"}],
            id=f"lc_run--{number}",
            tool_calls=[CALL],
            usage_metadata=USAGE,
        ),
        ToolMessage("t", tool_call_id="call_1", id=f"t{number}", artifact={"id": 1}),
        AIMessageChunk(content="c", id=f"run-{number}"),
    ]


class Typed(TypedDict):
    messages: list[AnyMessage]


@dataclass
class InData:
    messages: list[Any]


class InModel(BaseModel):
    messages: list[Any]


STATES: list[Callable[[list[Any]], Any]] = [
    lambda messages: messages,
    lambda messages: messages[0],
    lambda messages: {"messages": messages},
    lambda messages: Typed(messages=messages),
    InData,
    lambda messages: InModel(messages=messages),
    lambda messages: {"a": [({"b": InModel(messages=[InData(messages)])},)]},
    lambda messages: {"messages": AIMessage("", additional_kwargs={"history": messages})},
]


@pytest.mark.parametrize("state", STATES)
def test_ids_of_messages_do_not_count(state: Callable[[list[Any]], Any]) -> None:
    keys = {message_key(state(conversation(number))) for number in range(3)}
    assert len(keys) == 1
    assert message_key(state(conversation(0)[1:])) not in keys


def test_a_message_without_an_id_is_the_same() -> None:
    with_id = HumanMessage("x", id="1")
    later = HumanMessage("x")
    later.id = "2"  # as LangGraph does
    assert message_key(with_id) == message_key(later) == message_key(HumanMessage("x"))


def test_the_cost_of_a_hit_does_not_count() -> None:
    """LangChain writes it into each cached answer, and the next node's input has it."""
    for usage in (None, USAGE):
        before = AIMessage("x", usage_metadata=usage)
        for cost in (0, 0.0):
            hit = before.model_copy(
                update={"usage_metadata": {**(usage or {}), "total_cost": cost}}
            )
            assert message_key(hit) == message_key(before)


def test_the_order_of_a_states_names_does_not_count() -> None:
    assert message_key({"a": 1, "b": 2}) == message_key({"b": 2, "a": 1})
    assert message_key(a=1, b=2) == message_key(b=2, a=1)
    assert message_key({1: 2, "a": 3}) != message_key({"a": 3, 1: 2})


def test_arguments_are_not_mixed_up() -> None:
    keys = [message_key(), message_key(()), message_key({}), message_key(1, 2), message_key((1, 2))]
    keys += [message_key(1, a=2), message_key(1, {"a": 2}), message_key(a=1), message_key({"a": 1})]
    assert len(set(keys)) == len(keys)


# What cannot be told.


def untold() -> list[Any]:
    """Inputs that hold something out of sight."""
    counter = itertools.count(3)
    iterator = iter([1, 2])
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]

    def inner() -> None: ...

    values = [object(), Plain(), threading.Lock(), lambda: 1, inner, SecretStr("x"), counter]
    values += [iterator, iter((1,)), (_ for _ in ()), ValueError("x"), Fraction(1, 2), cyclic, deep]
    values += [os.lstat("."), make_dataclass("Odd", ["x"], bases=(dict,))(1), os.environ]
    return values


@pytest.mark.parametrize("number", range(len(untold())))
def test_what_cannot_be_told_never_hits(number: int) -> None:
    value = untold()[number]
    states = [value, {"a": [value]}, Data(value), AIMessage("", additional_kwargs={"a": value})]
    keys = [message_key(state) for state in states * 2]
    assert len(set(keys)) == len(keys)
    assert all(is_unique(_digest(key)) for key in keys)


def test_a_hostile_object_raises_nothing() -> None:
    class Hostile:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

        __eq__ = __hash__ = __repr__ = __iter__ = None  # type: ignore[assignment]

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            raise RuntimeError(name)

    class Hostiler(metaclass=Meta):
        pass

    for value in (Hostile(), Hostiler(), type.__call__(Hostiler)):
        assert message_key(value) != message_key(value)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SoftTimeLimit])
def test_an_interrupt_reaches_the_caller(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def handler(number: int, frame: Any) -> None:
        raise kind

    def interrupted(shape: Any, value: Any) -> Any:
        handler(2, sys._getframe())

    monkeypatch.setattr("llmemo.integrations.message_key._instance", interrupted)
    with pytest.raises(kind):
        message_key({"a": Data()})


def test_the_log_names_the_type_once(caplog: pytest.LogCaptureFixture) -> None:
    class Odd:
        pass

    for _ in range(3):
        message_key({"a": Odd()})
    [line] = lines(caplog)
    assert f"{Odd.__module__}.{Odd.__qualname__}" in line


def test_memory_of_unique_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmemo.integrations.message_key.UNIQUE_MAX", 10)
    before = len(_unique)
    keys = [message_key(object()) for _ in range(20)]
    assert len(_unique) <= max(10, before)
    assert is_unique(_digest(keys[-1]))


# Elsewhere.


def told_everywhere() -> list[Any]:
    return [message_key({"value": value}) for value in different()]


def test_another_process_makes_the_same_keys() -> None:
    program = f"""
import sys
sys.path[:0] = [{str(TESTS)!r}, {str(TESTS / "integrations")!r}]
import test_message_key
print(*test_message_key.told_everywhere())
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == told_everywhere()


# Graphs.


@pytest.fixture
def make_graph() -> Iterator[Callable[[Any, Any], Any]]:
    """Makes a graph with one node, of a key function and a schema of its state."""
    cache_base = pytest.importorskip("langgraph.cache.base")
    from langgraph.graph import StateGraph
    from langgraph.types import CachePolicy

    from llmemo import LangGraphCache

    cache: Any = LangGraphCache()
    assert isinstance(cache, cache_base.BaseCache)

    def make(node: Any, schema: Any, key_func: Any = message_key) -> Any:
        policy = CachePolicy(key_func=key_func)
        builder = StateGraph(schema).add_node("node", node, cache_policy=policy)
        return builder.set_entry_point("node").compile(cache=cache)

    yield make
    cache.close()


def _graph_states() -> list[Any]:
    """A state of each kind that LangGraph takes, with messages that get ids."""
    from langgraph.graph.message import add_messages

    messages = Annotated[list[AnyMessage], add_messages]
    typed = TypedDict("typed", {"messages": messages, "n": Annotated[int, operator.add]})  # noqa: UP013
    data = make_dataclass("data", [("messages", messages), ("n", int, 0)])
    model = type(
        "model", (BaseModel,), {"__annotations__": {"messages": messages, "n": int}, "n": 0}
    )
    return [typed, data, model]


@pytest.mark.clients
@pytest.mark.parametrize("number", range(3))
def test_three_identical_inputs_run_a_node_once(
    make_graph: Callable[..., Any], number: int
) -> None:
    runs: list[str] = []

    def node(state: Any) -> Any:
        messages = state["messages"] if isinstance(state, dict) else state.messages
        runs.append(messages[0].id)
        return {"messages": [AIMessage("Rain.")], "n": 1}

    graph = make_graph(node, _graph_states()[number])
    for _ in range(3):
        found = graph.invoke({"messages": [HumanMessage("How is Oslo?")], "n": 0})
        assert [message.content for message in found["messages"]] == ["How is Oslo?", "Rain."]
    assert len(runs) == 1
    graph.invoke({"messages": [HumanMessage("How is Rome?")], "n": 0})
    assert len(set(runs)) == 2


@pytest.mark.clients
def test_langgraphs_own_key_has_the_ids(make_graph: Callable[..., Any]) -> None:
    from langgraph.types import CachePolicy

    runs: list[int] = []
    graph = make_graph(lambda state: runs.append(1), _graph_states()[0], CachePolicy().key_func)
    for _ in range(3):
        graph.invoke({"messages": [HumanMessage("How is Oslo?")]})
    assert len(runs) == 3


@pytest.mark.clients
def test_a_cache_does_not_keep_what_no_call_will_ask_for(make_graph: Callable[..., Any]) -> None:
    runs: list[int] = []

    def node(state: Any) -> Any:
        runs.append(1)
        return {"n": 1}

    graph = make_graph(node, _graph_states()[0])
    for _ in range(3):
        graph.invoke({"messages": [HumanMessage("x", thing=object())], "n": 0})
    assert len(runs) == 3
    stats = graph.cache.stats()
    assert (stats.entries, stats.skipped, stats.errors) == (0, {"untold_state": 3}, {})
