"""Classes that an `llm_string` names: two of one name never share an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from pydantic import BaseModel, create_model

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeCache = Callable[..., LLMCache]


class Counting(GenericFakeChatModel):
    """Answers with the number of times it was asked."""

    asked: list[int] = []  # noqa: RUF012 (Pydantic copies it)

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        self.asked.append(1)
        self.messages = iter([AIMessage(str(len(self.asked)))])
        return super()._generate(messages, *args, **kwargs)

    def ask(self, **settings: Any) -> str:
        return str(self.bind(**settings).invoke("hello").content)


def answer(**fields: Any) -> type[BaseModel]:
    """A class, always of the same name."""
    return create_model("Answer", __module__="somewhere", **fields)


@pytest.fixture
def model(make_cache: MakeCache) -> Counting:
    return Counting(messages=iter([]), cache=make_cache())


@pytest.mark.slow
def test_one_class_is_one_request(model: Counting) -> None:
    one = answer(x=(int, 1))
    assert [model.ask(response_format=one) for _ in range(3)] == ["1", "1", "1"]
    # Written anew with the same fields, as in the next process: the same request.
    assert model.ask(response_format=answer(x=(int, 1))) == "1"
    assert isinstance(model.cache, LLMCache)
    assert model.cache.stats().bypassed == {}


def test_two_classes_of_one_name_never_share(model: Counting) -> None:
    one, two = answer(x=(int, 1)), answer(x=(str, "1"))
    assert repr(one) == repr(two)
    assert model.ask(response_format=one) == "1"
    assert model.ask(response_format=two) == "2"
    # A chain that was kept from before the redefinition gets its own answer, and so does the new.
    assert [model.ask(response_format=cls) for cls in (one, two, one, two)] == ["1", "2", "1", "2"]


def test_the_order_of_a_schemas_properties_counts(model: Counting) -> None:
    assert model.ask(response_format=answer(x=(int, 1), y=(int, 1))) == "1"
    assert model.ask(response_format=answer(y=(int, 1), x=(int, 1))) == "2"


def test_classes_deep_in_a_parameter(model: Counting) -> None:
    def settings(cls: type) -> dict[str, Any]:
        return {"tools": [{"schema": (cls, int)}]}

    one, two = answer(x=(int, 1)), answer(y=(int, 1))
    answers = [model.ask(**settings(cls)) for cls in (one, two, one, two)]
    assert answers == ["1", "2", "1", "2"]


def test_two_classes_of_one_name_in_one_request_bypass(model: Counting) -> None:
    both = [answer(x=(int, 1)), answer(y=(int, 1))]
    assert [model.ask(tools=both) for _ in range(2)] == ["1", "2"]
    assert isinstance(model.cache, LLMCache)
    assert model.cache.stats().bypassed == {"unknown_class": 4}


def test_a_class_that_nobody_saw_bypasses(make_cache: MakeCache) -> None:
    cache = make_cache()
    llm_string = "[('response_format', <class 'somewhere.Unseen'>), ('stop', None)]"
    cache.update("p", llm_string, [])
    assert cache.lookup("p", llm_string) is None
    assert cache.stats().bypassed == {"unknown_class": 2}
    assert cache.delete("p", llm_string) is False


class Asking(Counting):
    """Asks another model while it answers."""

    inner: Any = None

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        self.inner()
        return super()._generate(messages, *args, **kwargs)


def test_a_model_within_a_model_has_classes_of_its_own(make_cache: MakeCache) -> None:
    cache = make_cache()
    one, two = answer(x=(int, 1)), answer(y=(int, 1))
    inner = Counting(messages=iter([]))

    def ask_inner() -> None:
        inner.ask(response_format=two)
        inner.ask()

    outer = Asking(messages=iter([]), cache=cache, inner=ask_inner)
    assert [outer.ask(response_format=one) for _ in range(2)] == ["1", "1"]
    # What was answered for `one` was not kept for `two`, which the inner model was asked with.
    assert [outer.ask(response_format=two) for _ in range(2)] == ["2", "2"]
    assert cache.stats().bypassed == {}
    # Nothing stays when the runs have ended.
    llm_string = "[('response_format', <class 'somewhere.Answer'>), ('stop', None)]"
    assert cache.lookup("p", llm_string) is None
    assert cache.stats().bypassed == {"unknown_class": 1}


def test_async_and_threads_see_the_class_of_their_own_run(model: Counting) -> None:
    classes = [answer(**{f"field{n}": (int, n)}) for n in range(8)]
    first = [model.ask(response_format=cls) for cls in classes]
    assert len(set(first)) == 8

    async def ask(cls: type) -> str:
        return str((await model.bind(response_format=cls).ainvoke("hello")).content)

    async def ask_all() -> list[str]:
        return await asyncio.gather(*map(ask, classes * 3))

    assert asyncio.run(ask_all()) == first * 3
    for cls, expected in zip(classes, first, strict=True):
        bound = model.bind(response_format=cls)
        assert [reply.content for reply in bound.batch(["hello"] * 4)] == [expected] * 4


@pytest.mark.parametrize(
    ("llm_string", "reason"),
    [
        ("[('client', <openai.OpenAI object at 0x7f00aa>), ('stop', None)]", "address"),
        ("[('limit', datetime.timedelta(seconds=1)), ('stop', None)]", "unknown_repr"),
        ("[('logit_bias', array([0, 1, ..., 9])), ('stop', None)]", "truncated"),
    ],
)
def test_settings_that_do_not_say_what_they_are_bypass_and_name_the_parameter(
    make_cache: MakeCache, llm_string: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache()
    for _ in range(2):
        assert cache.lookup("p", llm_string) is None
        cache.update("p", llm_string, [])
    stats = cache.stats()
    assert (stats.bypassed, stats.misses, stats.entries) == ({reason: 4}, 0, 0)
    (record,) = caplog.records
    assert llm_string.split("'")[1] in record.getMessage()
    assert "0x7f" not in record.getMessage()
