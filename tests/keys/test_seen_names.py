"""What memory knows a request by: the same at sight as after a closer look."""

from __future__ import annotations

from sys import _getframe
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from llmemo.keys.model_description import name_at_sight, verdict_of
from llmemo.keys.request import asked

if TYPE_CHECKING:
    from collections.abc import Callable


class Whole(BaseChatModel):
    """A model that LangChain can write down."""

    temperature: float = 0.5
    client: Any = None

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True

    @property
    def _llm_type(self) -> str:
        return "whole"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("x"))])


MODELS: dict[str, Callable[[], BaseChatModel]] = {
    "whole": Whole,
    "with a client": lambda: Whole(client=httpx.Client(base_url="http://a")),
    "thin": lambda: FakeListChatModel(responses=["x"]),
}


class Asking:
    """Calls a function from a frame that looks like LangChain's."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self.ask = ask

    def of(self, model: BaseChatModel, **options: Any) -> Any:
        text = model._get_llm_string(stop=None, **options)
        return self._generate_with_cache(model, [HumanMessage("p")], "[]", text, options)

    def _generate_with_cache(
        asking,  # noqa: N805 (the model has that name in LangChain's frame)
        self: BaseChatModel,
        messages: list[BaseMessage],
        prompt: str,
        llm_string: str,
        kwargs: dict[str, Any],
    ) -> Any:
        stop = None  # noqa: F841 (LangChain's frame has one)
        return asking.ask(_getframe(), prompt, llm_string)


def _at_sight(model: BaseChatModel, **options: Any) -> str | None:
    name: str | None = Asking(name_at_sight).of(model, **options)
    return name


@pytest.mark.parametrize("options", [{}, {"n": 1}], ids=["bare", "with options"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_both_looks_give_one_name(
    make: Callable[[], BaseChatModel], options: dict[str, Any]
) -> None:
    model = make()
    assert _at_sight(model, **options) is None
    closer = Asking(asked).of(model, **options)
    assert _at_sight(model, **options) == closer.name()


def test_a_model_that_has_changed_takes_a_closer_look() -> None:
    model = Whole()
    Asking(asked).of(model)
    assert _at_sight(model) is not None
    model.client = httpx.Client(base_url="http://b")
    assert _at_sight(model) is None


def test_a_stale_text_takes_a_closer_look() -> None:
    model = Whole()
    model._get_llm_string()
    model.temperature = 0.75
    closer = Asking(asked).of(model)
    assert _at_sight(model) is None
    assert '"temperature": 0.75' in closer.name()


def test_a_text_of_other_settings_takes_a_closer_look() -> None:
    model, other = Whole(), Whole(temperature=1.0)
    verdict_of(model)
    ask = Asking(name_at_sight)
    text = other._get_llm_string()
    assert ask._generate_with_cache(model, [], "[]", text, {}) is None
    assert ask._generate_with_cache(model, [], "[]", "\ud800", {}) is None


def test_a_caller_that_is_not_langchain_is_believed() -> None:
    assert name_at_sight(_getframe(), "p", "model-1") == "model-1"


def test_a_cache_that_stands_between_takes_a_closer_look() -> None:
    def lookup() -> str | None:
        return name_at_sight(_getframe(), "p", "model-1")

    assert lookup() is None
