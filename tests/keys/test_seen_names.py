"""What memory knows a request by: the same at sight as after a closer look."""

from __future__ import annotations

import functools
from sys import _getframe
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation

from llmemo._core import LARGE, Memory, encode
from llmemo.keys.model_description import snapshots, verdict_of
from llmemo.keys.request import asked

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


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
    name: str | None = Asking(snapshots.name).of(model, **options)
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
    ask = Asking(snapshots.name)
    text = other._get_llm_string()
    assert ask._generate_with_cache(model, [], "[]", text, {}) is None
    assert ask._generate_with_cache(model, [], "[]", "\ud800", {}) is None


def test_a_caller_that_is_not_langchain_is_believed() -> None:
    assert snapshots.name(_getframe(), "p", "model-1") == "model-1"


def test_a_cache_that_stands_between_takes_a_closer_look() -> None:
    def lookup() -> str | None:
        return snapshots.name(_getframe(), "p", "model-1")

    assert lookup() is None


def test_a_caller_is_told_from_the_one_before() -> None:
    def lookup() -> str | None:
        return snapshots.name(_getframe(), "p", "model-1")

    def stranger() -> str | None:
        return snapshots.name(_getframe(), "p", "model-1")

    looks = [it() for it in (stranger, lookup, stranger, stranger, lookup)]
    assert looks == ["model-1", None, "model-1", "model-1", None]


ANSWER = [Generation(text="said")]


def _memory_of(prompt: str, text: str) -> Memory:
    memory = Memory(2**20, fingerprint_secret=bytes(range(192)), models_seen=snapshots)
    key = bytes(32)
    assert memory.put(prompt, text, "", key, encode(ANSWER, key))
    return memory


def test_memory_recalls_what_is_asked_at_sight_and_leaves_the_rest() -> None:
    memory = _memory_of("p", "model-1")

    def lookup(recall: Callable[..., Any]) -> Any:
        return recall(_getframe(), "p", "model-1", "")

    for recall in (memory.recall, functools.partial(memory.recall, at_once=True)):
        assert recall(_getframe(), "p", "model-1", "") == ANSWER
        assert recall(_getframe(), "p", "model-2", "") is None
        assert recall(_getframe(), "p", "model-1", "n") is None
        assert lookup(recall) is False
    assert memory.counts().hits == 2


def test_memory_recalls_by_the_name_of_the_model_that_asks() -> None:
    model, other = Whole(client=httpx.Client(base_url="http://a")), Whole()
    closer = Asking(asked).of(model)
    memory = _memory_of("[]", closer.name())

    def recall(frame: FrameType, prompt: str, text: str) -> Any:
        return memory.recall(frame, prompt, text, "")

    assert Asking(recall).of(model) == ANSWER
    assert Asking(recall).of(other) is False
    Asking(asked).of(other)
    assert Asking(recall).of(other) is None
    model.client = httpx.Client(base_url="http://b")
    assert Asking(recall).of(model) is False


def test_a_large_request_is_not_recalled_at_once() -> None:
    prompt = "p" * (LARGE + 1)
    memory = _memory_of(prompt, "model-1")
    assert memory.recall(_getframe(), prompt, "model-1", "", True) is False
    assert memory.recall(_getframe(), prompt, "model-1", "") == ANSWER
