"""What a model says of itself counts, where its text leaves it out: models of users' classes."""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import threading
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import LLM, FakeListChatModel, SimpleChatModel
from pydantic import Field, PrivateAttr, SecretStr

from llmemo import LLMCache

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage


class Local(LLM):
    """A model with weights, and no `_identifying_params`."""

    weights: Any = "small"
    token: SecretStr | None = None
    tokenizer: Any = Field(default=None, exclude=True)
    _calls: int = PrivateAttr(default=0)

    @property
    def _llm_type(self) -> str:
        return "local"

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        self._calls += 1
        return f"{type(self).__name__} {self.weights}: {prompt}"


class Other(Local):
    """Of the same `_llm_type`."""


class LocalChat(SimpleChatModel):
    """Of the same `_llm_type`, too."""

    weights: Any = "small"

    @property
    def _llm_type(self) -> str:
        return "local"

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        return f"chat {self.weights}"


class Identified(Local):
    """Says what identifies it, though not all."""

    n: int = 1
    act: Any = None

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": "identified"}


@pytest.fixture
def cache() -> LLMCache:
    return LLMCache()


def calls(cache: LLMCache, *models: Any) -> int:
    """How many of these models had to answer."""
    before = cache.stats().misses
    for model in models:
        model.cache = cache
        model.invoke("q")
    return cache.stats().misses - before


def test_models_of_one_type_never_share(cache: LLMCache) -> None:
    models = [Local(), Local(weights="large"), Other(), LocalChat(), LocalChat(weights="large")]
    assert calls(cache, *models) == len(models)
    again = [Local(), Local(weights="large"), Other(), LocalChat(), LocalChat(weights="large")]
    assert calls(cache, *again) == 0


def test_a_model_that_identifies_itself_is_told_by_its_plain_fields_too(cache: LLMCache) -> None:
    assert calls(cache, Identified(n=1), Identified(n=2)) == 2
    # What cannot be told is for `_identifying_params` to say.
    assert calls(cache, Identified(n=1, act=lambda: 1), Identified(n=1, act=lambda: 2)) == 0


def test_what_is_no_setting_does_not_count(cache: LLMCache) -> None:
    one = Local(token=SecretStr("a"), tokenizer=object(), tags=["x"], verbose=True, name="one")
    two = Local(token=SecretStr("b"), tokenizer=object(), metadata={"x": 1}, name="two")
    assert calls(cache, one, two, Local(token=SecretStr("c"))) == 1


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class TextMode(str, enum.Enum):
    FAST = "fast"


PLAIN: list[Any] = [
    pathlib.PurePosixPath("/models/a.gguf"),
    Mode.FAST,
    Mode.SLOW,
    TextMode.FAST,
    "fast",
    datetime.date(2026, 1, 1),
    datetime.timedelta(1),
    decimal.Decimal("0.5"),
    uuid.UUID(int=1),
    OrderedDict(a=1),
    {"a": 1},
    range(3),
    ...,
    2**70,
    -(2**70),
    1,
    1.0,
    True,
    b"1",
    ("x",),
    ["x"],
    {"x", "y"},
    frozenset({"x"}),
    complex(1, 2),
    bytearray(b"1"),
    str.upper,
    str.lower,
    pathlib.Path,
]


def test_plain_values_are_told_apart(cache: LLMCache) -> None:
    assert calls(cache, *(Local(weights=value) for value in PLAIN)) == len(PLAIN)
    assert calls(cache, *(Local(weights=value) for value in PLAIN)) == 0
    assert cache.stats().bypassed == {}


class Shown(Local):
    """Puts them into its text."""

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"weights": self.weights}


def test_plain_values_in_a_text_have_a_key(cache: LLMCache) -> None:
    told = [it for it in PLAIN if it not in (str.upper, str.lower)]
    assert calls(cache, *(Shown(weights=value) for value in told)) == len(told)
    assert calls(cache, *(Shown(weights=value) for value in told)) == 0
    assert cache.stats().bypassed == {}


def test_an_object_that_says_nothing_is_equal_to_itself_alone(cache: LLMCache) -> None:
    one, two = threading.Event(), threading.Event()
    assert calls(cache, Local(weights=one), Local(weights=two)) == 2
    assert calls(cache, Local(weights=one), Local(weights=two)) == 0
    # An address is used again as soon as it is free.
    made = [calls(cache, Local(weights=threading.Event())) for _ in range(20)]
    assert made == [1] * 20


def test_an_object_without_a_stand_in_goes_past_the_cache(cache: LLMCache) -> None:
    class Slotted:
        __slots__ = ()

    model = Local(weights=Slotted())
    calls(cache, model, model)
    assert model._calls == 2
    assert cache.stats().bypassed == {"unknown_value": 4}


def made(said: str) -> type[Local]:
    class Made(Local):
        def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
            return said

    return Made


def test_classes_that_a_function_makes_are_told_by_what_they_do(cache: LLMCache) -> None:
    assert calls(cache, made("a")(), made("b")()) == 2
    # Made again, as in the next process: the same class.
    assert calls(cache, made("a")(), made("b")()) == 0


def test_a_class_of_another_script_is_another_class(cache: LLMCache) -> None:
    def main(body: str) -> Any:
        names: dict[str, Any] = {"__name__": "__main__", "Local": Local}
        exec(f"class Mine(Local):\n def _call(self, prompt, **k): return {body}", names)
        return names["Mine"]()

    assert calls(cache, main("'a'"), main("'b'")) == 2
    assert calls(cache, main("'a'"), main("'b'")) == 0


def test_a_model_within_a_model_counts(cache: LLMCache) -> None:
    def wrapped(responses: list[str]) -> Local:
        return Local(weights=FakeListChatModel(responses=responses))

    assert calls(cache, wrapped(["a"]), wrapped(["b"])) == 2
    assert calls(cache, wrapped(["a"])) == 0


class Counting(LLM):
    """Counts and logs its calls in fields, as fakes do."""

    calls: int = 0
    log: list[str] = []  # noqa: RUF012 (Pydantic copies it)
    last: str = ""
    script: list[str] = []  # noqa: RUF012
    style: str = "plain"

    @property
    def _llm_type(self) -> str:
        return "counting"

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        self.calls += 1
        self.log.append(prompt)
        self.last = prompt
        return f"{self.style} {self.calls} {self.script.pop()}"


def test_what_a_model_keeps_while_it_answers_is_no_setting(cache: LLMCache) -> None:
    model = Counting(script=["a", "b", "c"], cache=cache)
    first = [model.invoke("one"), model.invoke("two")]
    assert [model.invoke("one"), model.invoke("two")] == first
    assert model.calls == 2
    # A setting is one, though the same code reads it.
    assert Counting(script=["x"], style="rich", cache=cache).invoke("one") == "rich 1 x"
    assert cache.stats().skipped == {}


def test_lookups_by_hand_are_believed() -> None:
    cache = LLMCache(single_flight=False)
    text = "[('_type', 'local'), ('stop', None)]"
    assert cache.lookup("q", text) is None
    model = Local(cache=cache)
    model.invoke("q")
    # The model said more than this text.
    assert cache.lookup("q", text) is None
    assert cache.stats().bypassed == {}
