"""`explain(model, input)`: the very request that the model would ask the cache for."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel, FakeListChatModel, FakeListLLM
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import (
    ConfigurableField,
    RunnableBinding,
    RunnableLambda,
    RunnablePassthrough,
)
from pydantic import BaseModel, create_model
from support.counting_model import CountingModel
from typing_extensions import override

from llmemo import (
    REQUIRED,
    CacheClosedError,
    CacheMiss,
    LLMCache,
    NamespaceRequiredError,
    cached,
    options,
    track,
)

if TYPE_CHECKING:
    from langchain_core.outputs import ChatResult

    from llmemo import LookupEvent

INPUTS: list[Any] = [
    "2 + 2?",
    [("system", "Be brief."), ("human", "2 + 2?")],
    [HumanMessage("2?", id="a"), AIMessage("4", id="run-1"), HumanMessage(["?"])],
    [{"role": "user", "content": "2 + 2?"}],
    ChatPromptValue(messages=[HumanMessage("2 + 2?")]),
    StringPromptValue(text="2 + 2?"),
]


def weather(city: str) -> str:
    """The weather in a city."""
    return city


class Report(BaseModel):
    """A report."""

    city: str


class Answering(CountingModel):
    """Takes a schema as OpenAI's models do: bound, with a parser behind it."""

    @override
    def with_structured_output(self, schema: Any, **kwargs: Any) -> Any:
        bound = self.bind(
            response_format=schema,
            ls_structured_output_format={"kwargs": {"method": "json_schema"}, "schema": schema},
        )
        return bound | StrOutputParser()


def lookup_of(runnable: Any, given: Any) -> LookupEvent:
    """The first lookup that running it makes; the model is not asked."""
    with track() as tracker, options(mode="only"), pytest.raises(CacheMiss):
        runnable.invoke(given)
    return tracker.events[0]


def agree(cache: LLMCache, runnable: Any, given: Any) -> None:
    """The explanation is of the request that the runnable makes."""
    assert cache.explain(runnable, given).key == lookup_of(runnable, given).key is not None


@pytest.mark.parametrize("given", INPUTS, ids=lambda it: type(it).__name__)
@pytest.mark.parametrize("kind", [CountingModel, FakeListLLM])
def test_every_input_that_a_model_takes(kind: Any, given: Any) -> None:
    cache = LLMCache()
    settings = {"responses": ["a"]} if kind is FakeListLLM else {"temperature": 0.5}
    agree(cache, kind(**settings, cache=cache), given)


def prompted(model: Any) -> Any:
    return ChatPromptTemplate.from_messages([("system", "In {tongue}."), ("human", "{q}")]) | model


CHAINS: dict[str, tuple[Any, Any]] = {
    "bind": (lambda model: model.bind(stop=["."], seed=1), "x"),
    "bind_tools": (lambda model: model.bind_tools([weather]), "x"),
    "bound twice": (
        lambda model: RunnableBinding(bound=model.bind(seed=1, n=2), kwargs={"seed": 2}),
        "x",
    ),
    "structured": (lambda model: model.with_structured_output(Report), "x"),
    "retry": (lambda model: model.bind(seed=1).with_retry(stop_after_attempt=1), "x"),
    "fallbacks": (lambda model: model.with_fallbacks([model.bind(seed=9)]), "x"),
    "config": (lambda model: model.with_config(tags=["a"], callbacks=[]), "x"),
    "prompt": (prompted, {"tongue": "Latin", "q": "?"}),
    "text prompt": (lambda model: PromptTemplate.from_template("{q}?") | model, "why"),
    "chain": (lambda model: prompted(model) | StrOutputParser(), {"tongue": "a", "q": "b"}),
    "cached": (lambda model: cached(model, model.cache), "x"),
    "cached and bound": (lambda model: cached(model, model.cache).bind(seed=1), "x"),
    "raw": (lambda model: {"raw": model} | RunnablePassthrough(), "x"),
    "configurable": (
        lambda model: model.configurable_fields(
            temperature=ConfigurableField(id="temperature")
        ).with_config(configurable={"temperature": 0.9}),
        "x",
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_every_chain_that_asks_a_model_first(name: str) -> None:
    cache = LLMCache()
    make, given = CHAINS[name]
    runnable = make(Answering(cache=cache))
    agree(cache, runnable, given)
    assert cache.explain(runnable, given) != cache.explain(Answering(cache=cache), "y")


def test_settings_of_the_call_and_of_the_model_count() -> None:
    cache = LLMCache()
    model = CountingModel(cache=cache)
    runnables = [model, model.bind(seed=1), model.bind(stop=["a"]), CountingModel(temperature=0.1)]
    assert len({cache.explain(it, "x").key for it in runnables}) == 4
    assert cache.explain(CountingModel(cache=False), "x").key == cache.explain(model, "x").key


def test_a_hit_and_a_miss_are_explained() -> None:
    cache = LLMCache()
    model = CountingModel(cache=cache)
    model.invoke("2 + 2?")
    assert str(cache.explain(model, "2 + 2?")) == "hit: in memory"
    told = cache.explain(model.bind(seed=7), "2 + 2?")
    assert (told.outcome, told.nearest[0].differences) == ("miss", ("seed: 7, was not set",))
    (difference,) = cache.explain(model, "2 + 3?").nearest[0].differences
    assert difference == "message 1 (human): content differs from character 5"


def test_settings_that_are_in_no_text_have_names_and_values() -> None:
    """As of ChatOllama: LangChain gives a cache its type, and the model says the rest."""
    cache = LLMCache()
    for temperature in (0.1, 0.2):
        Thin(temperature=temperature, cache=cache).invoke("x")
    told = cache.explain(Thin(temperature=0.3), "x")
    found = [str(it) for it in told.nearest]
    assert found == ["temperature: 0.3 was 0.2", "temperature: 0.3 was 0.1"]


class Thin(CountingModel):
    """Lists nothing."""

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        return {}


def test_a_class_is_told_by_its_schema() -> None:
    def report(kind: Any) -> Any:
        return create_model("Report", __module__="somewhere", x=(kind, ...))

    cache = LLMCache()
    model = Answering(cache=cache)
    model.with_structured_output(report(int)).invoke("x")
    assert cache.explain(model.with_structured_output(report(int)), "x").outcome == "hit"
    told = cache.explain(model.with_structured_output(report(str)), "x")
    assert told.nearest[0].differences == ("response_format: the schema of a class in it differs",)


def test_what_has_no_key_is_a_bypass() -> None:
    cache = LLMCache()
    told = cache.explain(FakeListChatModel(responses=["a"]).bind(x=lambda: 1), "x")
    assert (told.outcome, told.parameter) == ("bypass", "x")


class Handler(BaseCallbackHandler):
    """Must not be told of anything."""

    raise_error = True

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        raise AssertionError

    on_llm_start = on_llm_error = on_chain_start = on_chat_model_start


class Limiter(BaseRateLimiter):
    """Must not be asked for anything."""

    def acquire(self, *, blocking: bool = True) -> bool:
        raise AssertionError

    async def aacquire(self, *, blocking: bool = True) -> bool:
        raise AssertionError


class Silent(BaseChatModel):
    """Must not be asked anything."""

    only: Literal["sync", "async"] = "sync"

    @property
    @override
    def _llm_type(self) -> str:
        return "silent"

    @override
    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise AssertionError

    _agenerate = _stream = _astream = _generate  # type: ignore[assignment]


def test_nothing_is_called_told_or_counted(capsys: pytest.CaptureFixture[str]) -> None:
    cache = LLMCache()
    model = Silent(callbacks=[Handler()], rate_limiter=Limiter(), verbose=True, cache=cache)
    before = cache.stats()
    with track() as tracker, options(mode="only"):
        for runnable in (
            model,
            model.bind(a=1),
            prompted(model).with_config(callbacks=[Handler()]),
        ):
            given = {"tongue": "a", "q": "b"} if hasattr(runnable, "first") else "x"
            assert cache.explain(runnable, given).outcome == "miss"
    assert (cache.stats(), tracker.events) == (before, [])
    assert capsys.readouterr() == ("", "")


@pytest.mark.anyio
async def test_from_a_coroutine() -> None:
    cache = LLMCache()
    model = CountingModel(cache=cache)
    await model.ainvoke("x")
    assert (await cache.aexplain(model, "x")).outcome == "hit"
    assert (await cache.aexplain(model=model, input="y")).outcome == "miss"
    with options(namespace="other"):
        assert (await cache.aexplain(model, "x")).outcome == "miss"


def test_options_hold_as_for_a_lookup() -> None:
    cache = LLMCache(namespace=REQUIRED)
    model = CountingModel(cache=cache)
    with pytest.raises(NamespaceRequiredError):
        cache.explain(model, "x")
    with options(namespace="a"):
        model.invoke("x")
        assert cache.explain(model, "x").outcome == "hit"
    cache.close()
    with options(namespace="a"), pytest.raises(CacheClosedError):
        cache.explain(model, "x")


WRONG: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    (("a",), {}),
    (("a", "b", "c"), {}),
    (("a", "b"), {"llm_string": "c"}),
    ((), {"prompt": "a", "input": "b"}),
    ((3, "a"), {}),
    ((None, None), {}),
    (("a", CountingModel()), {}),
    ((CountingModel, "a"), {}),
    ((CountingModel(), 3), {}),
    ((CountingModel(), {"q": "a"}), {}),
    ((CountingModel(), None), {}),
    ((RunnableLambda(lambda it: it), "a"), {}),
    ((RunnableLambda(lambda it: it) | CountingModel(), "a"), {}),
    ((PromptTemplate.from_template("{q}"), "a"), {}),
]


@pytest.mark.parametrize(("given", "named"), WRONG)
def test_anything_else_is_an_error_that_says_what_to_give(
    given: tuple[Any, ...], named: dict[str, Any]
) -> None:
    usage = r"explain\(model, input\).* or explain\(prompt, llm_string\)"
    with pytest.raises(TypeError, match=usage):
        LLMCache().explain(*given, **named)


def test_arguments_by_name() -> None:
    cache = LLMCache()
    model = CountingModel()
    assert cache.explain(model=model, input="x") == cache.explain(model, input="x")
    assert cache.explain(prompt="a", llm_string="b") == cache.explain("a", "b")


def test_a_model_without_this_cache_is_explained_as_if_it_had_it() -> None:
    cache, model = LLMCache(), CountingModel()
    set_llm_cache(cache)
    try:
        model.invoke("x")
    finally:
        set_llm_cache(None)
    assert cache.explain(model, "x").outcome == "hit"


def test_it_says_nothing_of_what_langchain_will_remove() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LLMCache().explain(FakeListLLM(responses=["a"]), "x")
