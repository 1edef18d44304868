"""`accelerate`: the bytes that LangChain's own `dumps` makes, and nothing left behind."""

from __future__ import annotations

import datetime
import enum
import importlib
import threading
import warnings
from collections import OrderedDict
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core import messages as lc
from langchain_core.caches import InMemoryCache
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumps as own
from langchain_core.messages.base import TextAccessor
from langchain_core.outputs import ChatGeneration, Generation
from support.exact import is_instance
from support.strategies import (
    MESSAGES,
    byte_strings,
    examples,
    floats,
    fresh_messages,
    hard_texts,
    ints,
    messages,
    plain_texts,
    values,
)

from llmemo import Acceleration, accelerate
from llmemo._core import Dumps
from llmemo.integrations.sample_messages import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_core.messages import BaseMessage

chat_models: Any = importlib.import_module("langchain_core.language_models.chat_models")
ESCAPES = "__lc_escaped__" in own({"lc": 1})
ours = partial(Dumps, own, escapes=ESCAPES)


def outcome(function: Callable[[Any], str], obj: object) -> object:
    """What a call returns; or raises, in so far as that is defined."""
    try:
        return function(obj)
    except Exception as error:  # noqa: BLE001 (that it is the same one is the point)
        return type(error)


# The same bytes.

_texts = st.sampled_from(["", "Hello!", "é", "🦀 " * 9, "line\n" * 40, "\x7f\u2028"]) | hard_texts
_objects = st.one_of(
    byte_strings,
    st.dates(),
    st.decimals(),
    st.sampled_from([object, len, datetime.timezone.utc, {1, 2}, Ellipsis, 1j, range(3)]),
)
_leaves = st.one_of(st.none(), st.booleans(), ints, floats, _texts, _texts, plain_texts)
_keys = st.one_of(_texts, _texts, st.none(), st.booleans(), ints, floats)
_lc_keys = st.sampled_from(["lc", "__lc_escaped__", "type", "id", "kwargs"])
_lc_values = st.sampled_from([1, None, "constructor", "not_implemented", ["a", "b"]])
_serializables = fresh_messages() | st.builds(Generation, text=plain_texts)
anything = st.recursive(
    st.one_of(_leaves, _leaves, _leaves, _objects, _serializables),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(_keys, inner, max_size=3),
        st.dictionaries(_lc_keys, _lc_values | inner, max_size=2),
    ),
    max_leaves=8,
)
"""All that a list can hold of which the bytes are known, and a little of what they are not."""
_plain_dicts = st.dictionaries(_texts, _leaves | st.lists(_leaves, max_size=2), max_size=3)


def _has_json_keys(part: object) -> bool:
    """False for what langchain-core before 1.2.5 cannot say: it writes the list's repr instead."""
    if is_instance(part):
        if not type(part).__module__.startswith("langchain_core."):
            return False  # Another class's: `Dumps` leaves it to LangChain as it is.
        part = part.__dict__ | (getattr(part, "__pydantic_extra__", None) or {})
    if isinstance(part, dict):
        kinds = (str, int, float, bool, type(None))
        return all(isinstance(key, kinds) for key in part) and _has_json_keys([*part.values()])
    return not isinstance(part, (list, tuple, set, frozenset)) or all(map(_has_json_keys, part))


@st.composite
def histories(draw: st.DrawFn) -> list[BaseMessage]:
    """Messages of all classes, with everything in them that may be in them."""
    made = draw(st.lists(fresh_messages().filter(_has_json_keys), max_size=4))
    for message in made:
        spice = draw(st.integers(0, 7))
        if spice == 0:
            message.additional_kwargs["x"] = draw(anything)
        elif spice == 1:
            message.content = draw(_texts | st.lists(_texts | _plain_dicts, max_size=2))
        elif spice == 2:
            message.response_metadata = {draw(_keys): draw(anything)}
        elif spice == 3 and isinstance(message, lc.ToolMessage):
            message.artifact = draw(anything)
        elif spice == 4 and isinstance(message, lc.AIMessage):
            call: Any = {"name": draw(_texts), "args": draw(_plain_dicts), "id": draw(_texts)}
            message.tool_calls = [call]
    return made


@pytest.mark.slow
def test_the_bytes_are_those_of_langchain_and_nearly_all_are_made_here() -> None:
    dumps = ours()

    @examples(200)
    @given(histories())
    def compare(history: list[BaseMessage]) -> None:
        assert outcome(dumps, history) == outcome(own, history)

    compare()
    # Of some fifty examples, as on the oldest versions, it is a matter of luck how many are odd.
    if dumps.handled + dumps.fallbacks >= 150:
        assert dumps.handled >= 0.95 * (dumps.handled + dumps.fallbacks)


@pytest.mark.slow
@examples(150)
@given(st.lists(messages() | anything | values, max_size=4))
def test_whatever_it_is_the_outcome_is_the_same(odd: list[object]) -> None:
    assert outcome(ours(), odd) == outcome(own, odd)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MESSAGES)
def test_every_class_is_known(kind: type[BaseMessage]) -> None:
    dumps = ours()

    @examples(20)
    @given(fresh_messages((kind,)).filter(lambda message: not message.model_extra))
    def compare(message: BaseMessage) -> None:
        message.additional_kwargs, message.response_metadata = {"x": [1, 1.5, "é"]}, {}
        if isinstance(message, lc.ToolMessage):
            message.artifact = {"x": b"x"}
        # Own raises for some, such as bytes beside a key "lc".
        assert outcome(dumps, [message]) == outcome(own, [message])

    compare()
    assert dumps.handled


def test_the_samples_are_of_every_class() -> None:
    assert {type(sample) for sample in samples()} == set(MESSAGES)


class Colour(str, enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int


class Mine(lc.HumanMessage):
    pass


class Falsy:
    def __repr__(self) -> str:
        return "Falsy()"

    def __bool__(self) -> bool:
        return False


class Raises:
    def __repr__(self) -> str:
        raise ValueError


def message(**fields: object) -> BaseMessage:
    """A tool message in whose `__dict__` these fields were put."""
    made = lc.ToolMessage("x", tool_call_id="1")
    made.__dict__.update(fields)
    return made


def circular() -> list[object]:
    made: list[object] = []
    made += [made, made]
    return made


def nested(depth: int) -> object:
    made: object = 1
    for level in range(depth):
        made = [made] if level % 2 else {"x": made}
    return made


def without(name: str) -> BaseMessage:
    made = lc.AIMessage("x")
    del made.__dict__[name]
    return made


def with_extra(**extra: object) -> BaseMessage:
    made = lc.HumanMessage("x")
    object.__setattr__(made, "__pydantic_extra__", extra)
    return made


EMPTY: list[object] = [[], {}, "", 0, 0.0, ()]

KNOWN: dict[str, Callable[[], object]] = {
    "nothing": list,
    "not a message": lambda: [None, 1, "x", {"a": ()}],
    "a text of LangChain": lambda: [message(content=TextAccessor("é"))],
    "surrogates in two halves": lambda: [message(content="\ud83d\ude00 \ud83d")],
    "big numbers": lambda: [message(artifact=[2**70, -(2**4000), 1e308, 5e-324, -0.0])],
    "not numbers": lambda: [message(artifact=list(map(float, ["nan", "-nan", "inf", "-inf"])))],
    "keys": lambda: [message(artifact={None: 1, True: 2, 2**70: 3, 1.5: 4, float("nan"): 5})],
    "keys that become equal": lambda: [message(artifact={1: 1, "1": 2, 1.5: 3, "1.5": 4})],
    "an artifact": lambda: [message(artifact=datetime.date(2025, 1, 2))],
    "an artifact without a repr": lambda: [message(artifact=Raises())],
    "an artifact that is false": lambda: [message(artifact=Falsy())],
    "a class": lambda: [message(artifact=Mine)],
    "an empty artifact": lambda: [message(artifact=empty) for empty in EMPTY],
    "a message within": lambda: [message(artifact={"m": [lc.AIMessage("x", name="")]})],
    "generations within": lambda: [
        message(artifact=(Generation(text=""), ChatGeneration(message=lc.AIMessage(""))))
    ],
    "lc keys": lambda: [
        message(artifact={"lc": 1, "x": {"lc": 2}}, additional_kwargs={"lc": {"lc": ()}}),
        message(artifact=[{"__lc_escaped__": 1}, {"__lc_escaped__": {"lc": 1}, "b": 2}]),
    ],
    "an unknown attribute": lambda: [message(unknown=1, _private=2)],
    "an extra attribute": lambda: [with_extra(x=1, _y=2)],
    "no tool calls": lambda: [lc.AIMessage("x"), lc.AIMessageChunk(content="x")],
    "what LangChain adds to a hit": lambda: [
        lc.AIMessage("x").model_copy(update={"usage_metadata": {"total_cost": 0}})
    ],
    "deep": lambda: [message(artifact=nested(150))],
}

UNKNOWN: dict[str, Callable[[], object]] = {
    "no list": lambda: (message(),),
    "a class of one's own": lambda: [Mine(content="x")],
    "a document": lambda: [message(artifact=Document("x"))],
    "a str of another class": lambda: [message(artifact=Colour.RED)],
    "a dict of another class": lambda: [message(artifact=OrderedDict(a=1))],
    "a tuple of another class": lambda: [message(artifact=Point(1))],
    "a key of another class": lambda: [message(artifact={Colour.RED: 1})],
    "an object that is false": lambda: [message(additional_kwargs=Falsy())],
    "no additional_kwargs": lambda: [message(additional_kwargs=None)],
    "no field": lambda: [without("tool_calls")],
    "a field twice": lambda: [with_extra(content="y")],
    "too deep": lambda: [message(artifact=nested(250))],
    "far too deep": lambda: [message(artifact=nested(50_000))],
    "circular": lambda: [message(artifact=circular())],
    "a number of too many digits": lambda: [message(artifact=10**5000)],
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known(name: str) -> None:
    dumps, case = ours(), KNOWN[name]()
    assert dumps(case) == own(case)
    assert (dumps.handled, dumps.fallbacks) == (1, 0)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_goes_to_langchain(name: str) -> None:
    dumps, case = ours(), UNKNOWN[name]()
    assert outcome(dumps, case) == outcome(own, case)
    assert (dumps.handled, dumps.fallbacks) == (0, 1)


def test_keys_that_json_does_not_have() -> None:
    case = [message(artifact={"a": 1, ("b",): [2]})]
    dumps = ours()
    assert dumps(case) == own(case)
    assert dumps.handled == ESCAPES  # before that version, the whole list is its repr


def test_what_looks_like_a_secret() -> None:
    case = [message(artifact={"lc": 1, "type": "secret", "id": ["X"]})]
    dumps = ours()
    assert dumps(case) == own(case)
    assert dumps.fallbacks == ESCAPES  # some of the versions that escape do not escape these


def test_what_cannot_be_said_within_what_is_escaped() -> None:
    for inner in ({1, 2}, lc.HumanMessage("x"), {("a",): 1}, Colour.RED):
        case = [message(artifact={"lc": 1, "x": [inner]})]
        assert outcome(ours(), case) == outcome(own, case)


@pytest.mark.parametrize("keywords", [{"pretty": True}, {"sort_keys": True}, {"default": str}])
def test_keywords_go_to_langchain(keywords: dict[str, Any]) -> None:
    dumps, case = ours(), [lc.HumanMessage("x")]
    assert outcome(lambda it: dumps(it, **keywords), case) == outcome(
        lambda it: own(it, **keywords), case
    )
    assert dumps.fallbacks == 1


@pytest.mark.parametrize("change", ["grow", "shrink", "clear"])
def test_a_dict_that_changes_meanwhile(change: str) -> None:
    class Vandal:
        def __repr__(self) -> str:
            if change == "grow":
                changing[len(changing)] = self
            elif change == "clear":
                changing.clear()
            else:
                changing.popitem()
            return "vandal"

    changing: dict[object, object] = {}

    def case() -> list[object]:
        changing.clear()
        changing.update({"a": 1, "b": Vandal(), "c": 2, "d": 3})
        return [message(artifact=changing)]

    # What LangChain makes of it is not defined; a panic or a crash it must not be.
    outcome(own, case())
    outcome(ours(), case())


def test_an_interrupt_is_not_swallowed() -> None:
    class Interrupted:
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    def unreachable(obj: object) -> str:
        raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        Dumps(unreachable, escapes=ESCAPES)([message(artifact=Interrupted())])


# Coming and going.


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    assert chat_models.dumps is own
    yield
    assert chat_models.dumps is own


def test_it_is_installed_and_undone() -> None:
    acceleration = accelerate()
    assert acceleration.active
    assert chat_models.dumps is not own
    assert chat_models.dumps([lc.HumanMessage("x")]) == own([lc.HumanMessage("x")])
    assert chat_models.dumps([Mine(content="x")]) == own([Mine(content="x")])
    assert repr(acceleration) == "<Acceleration: active, 1 handled, 1 fallbacks>"
    acceleration.undo()
    assert chat_models.dumps is own
    acceleration.undo()
    assert not acceleration.active
    assert repr(acceleration) == "<Acceleration: inactive, 1 handled, 1 fallbacks>"


def test_a_with_block_undoes_it() -> None:
    def work() -> None:
        with acceleration:
            assert chat_models.dumps is not own
            raise ValueError("mine")

    acceleration = accelerate()
    with pytest.raises(ValueError, match="mine"):
        work()
    assert not acceleration.active


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_last_undo_counts(order: Sequence[int]) -> None:
    accelerations = [accelerate() for _ in order]
    installed = chat_models.dumps
    for index in order[:-1]:
        accelerations[index].undo()
        accelerations[index].undo()
        assert chat_models.dumps is installed
    installed([])
    assert [each.handled for each in accelerations] == [1, 1, 1]
    accelerations[order[-1]].undo()
    assert chat_models.dumps is own


def test_a_new_one_counts_anew() -> None:
    with accelerate():
        chat_models.dumps([])
    with accelerate() as acceleration:
        assert acceleration.handled == 0


def differs(obj: object, **keywords: Any) -> str:
    return own(obj, **keywords) + " "


def raises(obj: object, **keywords: Any) -> str:
    raise TypeError


def differs_for_one_class(obj: Any, **keywords: Any) -> str:
    is_it = any(isinstance(each, lc.FunctionMessageChunk) for each in obj)
    return own(obj, **keywords).replace(": ", ":" if is_it else ": ")


@pytest.mark.parametrize("theirs", [differs, raises, differs_for_one_class])
def test_another_langchain_is_refused(
    theirs: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(chat_models, "dumps", theirs)
        with pytest.warns(RuntimeWarning, match="changed nothing.*langchain-core") as caught:
            acceleration = accelerate()
        assert caught[0].filename == __file__
        assert chat_models.dumps is theirs
        assert not acceleration.active
        assert repr(acceleration) == "<Acceleration: inactive, 0 handled, 0 fallbacks>"
        acceleration.undo()
        with acceleration:
            assert chat_models.dumps is theirs


def test_a_function_of_somebody_else_that_agrees_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def theirs(obj: object, **keywords: Any) -> str:
        seen.append(obj)
        return own(obj, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(chat_models, "dumps", theirs)
        with accelerate():
            seen.clear()
            assert chat_models.dumps([Mine(content="x")]) == own([Mine(content="x")])
            assert len(seen) == 1
        assert chat_models.dumps is theirs


def test_who_wraps_ours_is_left_in_place() -> None:
    first = accelerate()
    inner = chat_models.dumps

    def theirs(obj: object, **keywords: Any) -> str:
        return str(inner(obj, **keywords))

    chat_models.dumps = theirs
    try:
        second = accelerate()
        assert chat_models.dumps is not theirs
        handled = first.handled
        first.undo()
        assert chat_models.dumps([Mine(content="x")]) == own([Mine(content="x")])
        assert second.fallbacks == 1
        second.undo()
        assert chat_models.dumps is theirs
        assert theirs([lc.HumanMessage("x")]) == own([lc.HumanMessage("x")])
        assert (first.handled, first.active, second.active) == (handled, False, False)
    finally:
        chat_models.dumps = own


class Recorder(InMemoryCache):
    """Notes what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []

    def lookup(self, prompt: str, llm_string: str) -> Any:
        self.asked.append((prompt, llm_string))
        return super().lookup(prompt, llm_string)


@pytest.mark.anyio
async def test_a_model_asks_its_cache_the_same() -> None:
    recorder = Recorder()
    model = FakeListChatModel(responses=["a", "b"], cache=recorder)
    history = [lc.SystemMessage("é"), lc.HumanMessage("🦀", id="1"), *samples(), Mine(content="x")]
    calls = [history[:1], history[:2], history[:-1], history]
    plain = [(await model.ainvoke(call)).content for call in calls]
    plain += [model.invoke(call).content for call in calls]
    without, recorder.asked = recorder.asked, []
    with accelerate() as acceleration:
        accelerated = [(await model.ainvoke(call)).content for call in calls]
        accelerated += [model.invoke(call).content for call in calls]
    assert recorder.asked == without
    assert accelerated == plain
    assert (acceleration.handled, acceleration.fallbacks) == (6, 2)


@pytest.mark.slow
def test_threads() -> None:
    histories = [[lc.HumanMessage(f"{n}")] for n in range(20)]
    expected = [own(history) for history in histories]
    start, failures = threading.Barrier(8), []

    @cache
    def outer() -> Acceleration:
        return accelerate()

    def work(is_coming_and_going: bool) -> None:
        start.wait()
        for history, text in zip(histories, expected, strict=True):
            acceleration = accelerate() if is_coming_and_going else None
            if chat_models.dumps(history) != text:
                failures.append(text)
            if acceleration is not None:
                acceleration.undo()

    for is_installed in (False, True):
        if is_installed:
            outer()
        threads = [threading.Thread(target=work, args=(n % 2 == 0,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
    assert outer().handled == 8 * 20
    outer().undo()


def test_it_says_nothing_where_all_is_well() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with accelerate():
            pass
    assert not caught
