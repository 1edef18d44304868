"""Stored instances of the classes that a run asks for: these accept them today, or it is a miss."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import BaseModel, Field, field_validator, model_validator
from support.exact import difference
from test_values_classes import KEY, holding

from llmemo import LLMCache
from llmemo._core import decode, encode
from llmemo.codec.python_objects import Instances

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeCache = Callable[..., LLMCache]


class Inner(BaseModel):
    x: int

    @model_validator(mode="after")
    def check(self) -> Inner:
        # Nothing that could be seen in the code.
        if self.x > int(os.environ["SOME_LIMIT"]):
            raise ValueError
        return self


class Parsing(GenericFakeChatModel):
    """Answers with an instance of the class that it is bound to, made of text, as clients do."""

    text: str = Field(default='{"x": "5"}', exclude=True)
    asked: list[int] = []  # noqa: RUF012 (Pydantic copies it)

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append(1)
        message = AIMessage(self.text)
        message.additional_kwargs["parsed"] = kwargs["response_format"].model_validate_json(
            self.text
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def ask(self, cls: type) -> Any:
        reply = self.bind(response_format=cls).invoke("hello")
        return reply.additional_kwargs["parsed"]


@pytest.fixture
def model(make_cache: MakeCache) -> Parsing:
    return Parsing(messages=iter([]), cache=make_cache())


def test_what_its_class_would_refuse_today_is_a_miss_and_replaced(
    model: Parsing, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answer(BaseModel):
        inner: list[Inner]

    def ask(text: str) -> Any:
        model.text = f'{{"inner": [{{"x": {text}}}]}}'
        return model.ask(Answer).inner[0].x

    monkeypatch.setenv("SOME_LIMIT", "10")
    assert [ask("5"), ask("1")] == [5, 5]
    monkeypatch.setenv("SOME_LIMIT", "3")
    assert [ask("2"), ask("1")] == [2, 2]
    assert isinstance(model.cache, LLMCache)
    stats = model.cache.stats()
    assert (stats.hits, stats.misses, stats.updates) == (2, 2, 2)
    assert set(stats.errors) == {"value_changed_class"}


def test_validators_that_do_not_take_what_they_made_are_no_reason_to_miss(model: Parsing) -> None:
    class Answer(BaseModel):
        x: int

        @field_validator("x", mode="before")
        @classmethod
        def check(cls, x: str) -> int:
            return int(x.strip())

    replies = [model.ask(Answer) for _ in range(3)]
    assert all(difference(reply, replies[0]) is None for reply in replies)
    assert isinstance(model.cache, LLMCache)
    stats = model.cache.stats()
    assert (stats.hits, stats.misses, stats.errors, stats.skipped) == (2, 1, {}, {})


def test_validators_are_run_once_to_store_and_once_for_each_hit(
    model: Parsing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_COUNT", "0")

    class Answer(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def check(cls, x: int) -> int:
            os.environ["SOME_COUNT"] = str(int(os.environ["SOME_COUNT"]) + 1)
            return x

    counts = []
    for _ in range(3):
        model.ask(Answer)
        counts.append(os.environ["SOME_COUNT"])
    # Once by the model itself.
    assert counts == ["2", "3", "4"]


def test_a_stricter_class_of_the_same_schema_is_a_miss(model: Parsing) -> None:
    def make(most: int) -> type[BaseModel]:
        class Answer(BaseModel):
            x: int

            @field_validator("x")
            @classmethod
            def check(cls, x: int) -> int:
                if x > most:
                    raise ValueError
                return x

        return Answer

    lenient, strict = make(10), make(3)
    assert [model.ask(lenient).x for _ in range(2)] == [5, 5]
    with pytest.raises(ValueError, match="x"):
        model.ask(strict)
    model.text = '{"x": 2}'
    assert [type(model.ask(strict)) for _ in range(2)] == [strict, strict]
    assert len(model.asked) == 3


def test_no_validator_is_run_that_the_run_did_not_ask_for() -> None:
    events: list[str] = []

    class Nosy(BaseModel):
        x: int = 1

        @field_validator("x")
        @classmethod
        def check(cls, x: int) -> int:
            events.append("validator")
            return x

    it = Nosy(x=2)
    instances = Instances()
    events.clear()
    taken = instances.taken(it)
    assert taken is not None
    kind, _, state = taken
    # Even if whoever wrote the value says that it should.
    instances.made(kind, Nosy, (*state, True))
    decode(encode(holding(it), KEY), KEY)
    assert events == []
