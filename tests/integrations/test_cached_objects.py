"""A cached model is an object like the plain one: its type, fields, copies, and pickles."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.load import dumpd
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from support import cached_calls as calls
from support.streaming_models import Asked, Streams

from llmemo import ConfigurationError, LLMCache, cached

if TYPE_CHECKING:
    from collections.abc import Callable

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda model: model.model_copy(),
    "model_copy deep": lambda model: model.model_copy(deep=True),
    "cached": cached,
    "bound": lambda model: cached(model.bind(stop=None)),
}


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_is_cached_with_the_same_cache(way: str) -> None:
    cache = LLMCache()
    model = cached(Streams(), cache)
    model.invoke("Why?")
    for _ in range(2):  # (the first one has made its twin)
        made = COPIES[way](model)
        assert made is not model
        made.invoke("Why?")
        list(made.stream("Why?"))
    assert (cache.stats().hits, cache.stats().misses) == (4, 1)
    # And it is a copy.
    if way != "bound":
        made.words = ("four",)
        assert made.invoke("Why?").content == "four"
        assert model.invoke("Why?").content == "one two three"


def test_one_layer() -> None:
    first, second = LLMCache(), LLMCache()
    plain = Streams()
    once = cached(plain, first)
    assert type(cached(once)) is type(cached(once, first)) is type(once)
    twice = cached(once, second)
    assert type(twice).__mro__[1] is Streams
    twice.invoke("Why?")
    list(twice.stream("Why?"))
    assert (first.stats().misses, second.stats().misses, second.stats().hits) == (0, 1, 1)
    assert type(cached(once, replay="recorded")) is not type(once)


def test_pickle() -> None:
    cache = LLMCache()
    model = cached(Streams(words=("a", "b")), cache)
    model.invoke("Why?")
    again = pickle.loads(pickle.dumps(model))
    assert type(again) is type(model)  # a cache's pickle is the cache itself, in its process
    assert again.invoke("Why?").content == "ab"
    assert (cache.stats().hits, cache.stats().misses) == (1, 1)
    assert pickle.loads(pickle.dumps(cached(Streams()))) == cached(Streams())


def test_a_field_that_changes_is_another_question() -> None:
    cache = LLMCache()
    model = cached(Streams(), cache)
    for words, misses in ((("x",), 1), (("y", "z"), 2), (("x",), 2)):
        model.words = words
        assert model.invoke("Why?").content == "".join(words)
        assert [chunk.content for chunk in model.stream("Why?") if chunk.content]
        assert cache.stats().misses == misses
    other = model.model_copy(update={"words": ("w",)})
    assert other.invoke("Why?").content == "w"
    assert model.invoke("Why?").content == "x"
    assert cache.stats().misses == 3


def test_the_plain_model_stays_as_it_is() -> None:
    plain = Streams()
    before = dict(plain.__dict__)
    model = cached(plain, LLMCache())
    model.invoke("Why?")
    model.words = ("x",)
    assert plain.words == before["words"]
    assert plain.cache is before["cache"] is None
    assert type(plain) is Streams
    assert len(plain.asked) == 1  # fields are shared, as in any copy of a Pydantic model


def describe(model: Any) -> dict[str, Any]:
    """What programs ask of a model."""
    names = ("lc_id", "get_name", "get_lc_namespace", "is_lc_serializable")
    return {
        **{name: getattr(model, name)() for name in names},
        "name": type(model).__name__,
        "qualname": type(model).__qualname__,
        "module": type(model).__module__,
        "doc": type(model).__doc__,
        "type": model._llm_type,
        "params": model._identifying_params,
        "profile": getattr(model, "profile", None),
        "dumpd": dumpd(model),
        "dump": model.model_dump(exclude={"asked"}),
        "repr": repr(model),
        "set": model.model_fields_set,
        "fields": list(type(model).model_fields),
        "ls": model._get_ls_params(),
        "string": model._get_llm_string(stop=None),
        "input": model.get_input_jsonschema(),
        "config": [spec.id for spec in model.config_specs],
        "graph": [node.name for node in model.get_graph().nodes.values()],
    }


def test_it_describes_itself_as_the_plain_one() -> None:
    plain = Streams(tags=["t"], name="mine", metadata={"a": 1})
    model = cached(plain, LLMCache())
    assert describe(model) == describe(plain)
    assert isinstance(model, Streams)
    assert issubclass(type(model), Streams)
    cache = LLMCache()
    assert cached(plain, cache) == cached(plain, cache) != plain


@pytest.mark.clients
@pytest.mark.parametrize("client", calls.CLIENTS)
def test_real_clients_describe_themselves(client: str) -> None:
    plain = calls.CLIENTS[client]("http://127.0.0.1:1", temperature=0.5)
    model = cached(plain, LLMCache())
    assert describe(model) == describe(plain)
    assert isinstance(model, type(plain))


def test_own_cache_of_a_model() -> None:
    own, other = LLMCache(), LLMCache()
    model = cached(Streams(cache=own))
    for _ in range(2):
        model.invoke("Why?")
        list(model.stream("Why?"))
    assert (own.stats().misses, own.stats().hits) == (1, 3)  # one lookup each
    given = cached(Streams(cache=own), other)
    given.invoke("Why?")
    given.invoke("Why?")
    assert (own.stats().misses, own.stats().hits) == (1, 3)
    assert (other.stats().misses, other.stats().hits) == (1, 1)
    for setting in (True, False, None):
        assert cached(Streams(cache=setting), other).invoke("Why?").content == "one two three"


WRONG: list[Any] = ["gpt-5", 3, None, [], object(), Streams, FakeListLLM(responses=["a"])]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda it: type(it).__name__)
def test_no_chat_model(wrong: Any) -> None:
    with pytest.raises(TypeError, match="is not a chat model: .*") as caught:
        cached(wrong, LLMCache())
    assert isinstance(caught.value, ConfigurationError)
    with pytest.raises(TypeError, match="is not a chat model: .*"):
        cached(RunnableLambda(lambda it: it).bind(stop=["x"]))


@pytest.mark.parametrize("wrong", ["cache.db", 3, True, False, {}])
def test_no_cache(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"is not an LLMCache: give it LLMCache\("):
        cached(Streams(), wrong)
    with pytest.raises(ConfigurationError, match="replay='slow' is not known"):
        cached(Streams(), LLMCache(), replay="slow")  # type: ignore[arg-type]


class Own(Streams):
    """A user's class, with a method and a setting of its own."""

    shout: bool = False

    def loud(self) -> str:
        """Ask for it loudly: by its own `invoke`."""
        return self.invoke("Why?").text.upper()


def test_methods_of_a_users_class_ask_the_cache() -> None:
    cache = LLMCache()
    model = cached(Own(shout=True), cache)
    assert model.loud() == model.loud() == "ONE TWO THREE"
    assert (cache.stats().hits, cache.stats().misses) == (1, 1)
    assert cached(Own(), cache).loud() == "ONE TWO THREE"
    assert cache.stats().misses == 2


def test_chains() -> None:
    cache = LLMCache()
    prompt = ChatPromptTemplate.from_messages([("user", "{text}")])
    chain = prompt | cached(Streams(), cache) | RunnableLambda(lambda message: message.content)
    assert chain.batch([{"text": "a"}, {"text": "b"}, {"text": "a"}]) == ["one two three"] * 3
    assert cache.stats().misses == 2
    model = cached(Asked(), cache)
    assert model.invoke([HumanMessage("a", id="1")]) is not model.invoke(
        [HumanMessage("a", id="2")]
    )
    assert cache.stats().misses == 3


def test_a_class_is_made_once_for_a_cache_and_goes_with_it() -> None:
    plain = FakeListChatModel(responses=["one"])
    cache = LLMCache()
    made = {type(cached(plain, cache)) for _ in range(3)}
    assert len(made) == 1
    assert len({type(cached(plain)) for _ in range(3)}) == 1
    gone = weakref.ref(made.pop())
    cache.close()
    del cache
    gc.collect()
    assert gone() is None
