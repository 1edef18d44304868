"""Models of users' classes whose settings are in odd places, or look like state."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import LLM, FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from pydantic import Field, PrivateAttr

from llmemo import LLMCache


@pytest.fixture
def cache() -> LLMCache:
    return LLMCache()


class Mine(LLM):
    """A model of a user's."""

    @property
    def _llm_type(self) -> str:
        return "mine"


class Normalising(Mine):
    options: dict[str, Any] = {}  # noqa: RUF012 (Pydantic copies it)

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        self.options.pop("stream", None)
        return f"{self.options}"


class Remembering(Mine):
    history: list[str] = []  # noqa: RUF012

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        self.history.append(prompt)
        return " ".join(self.history)


class Body:
    size = 0


class Sending(Mine):
    size: int = 0

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        body = Body()
        body.size = self.size + 1
        return f"{body.size}"


def size_of(model: Sending) -> int:
    return model.size


class HandedOn(Sending):
    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        if kwargs.get("large"):
            self.size = 9
        return f"{size_of(self)}"


class Warming(Mine):
    warmth: float = 0.0

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        self.warmth += 0.1
        return f"{self.warmth}"


class Private(Mine):
    _size: int = PrivateAttr(default=0)

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        return f"{self._size}"


class Client:
    """Of a kind that nobody knows."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls = 0


class Calling(Mine):
    client: Any = None
    session: str = ""

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        self.client.calls += 1
        return f"{self.client.url} {self.session}"


class Named(Mine):
    name: str = "a"

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        return self.name


class Scripted(Mine):
    script: list[str]

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        return self.script.pop(0)


def generic(text: str) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage(text)]))


PAIRS: dict[str, tuple[Any, Any]] = {
    "a dict that is normalised": (Normalising(options={"t": 1}), Normalising(options={"t": 2})),
    "a history": (Remembering(history=["a"]), Remembering(history=["b"])),
    "another object's attribute": (Sending(size=1), Sending(size=2)),
    "read where the model is handed on": (HandedOn(size=1), HandedOn(size=2)),
    "counted by a fraction": (Warming(warmth=0.1), Warming(warmth=0.2)),
    "a private attribute": (Private(1), Private(2)),
    "an unknown client": (Calling(client=Client("a")), Calling(client=Client("b"))),
    "a text named as a client": (
        Calling(client=Client("a"), session="a"),
        Calling(client=Client("a"), session="b"),
    ),
    "a name of its own": (Named(name="a"), Named(name="b")),
    "answers to give": (Scripted(script=["a", "b"]), Scripted(script=["b", "a"])),
    "an iterator": (generic("a"), generic("b")),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_a_setting_in_an_odd_place_counts(cache: LLMCache, kind: str) -> None:
    for model in PAIRS[kind]:
        model.cache = cache
        model.invoke("q")
    assert cache.stats().misses == 2
    assert cache.stats().errors == {}


class Tallying(Mine):
    tally: dict[str, int] = Field(default_factory=lambda: {"calls": 0})

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        self.tally["calls"] += 1
        return f"{self.tally['calls']}"


class ListFake(FakeListChatModel):
    """A user's, of LangChain's fake."""


@pytest.mark.parametrize(
    "model",
    [
        Tallying(),
        ListFake(responses=["a", "b", "c"]),
        Scripted(script=["a", "b", "c"]),
        Private(1),
        Calling(client=Client("a")),
        generic("a"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_what_a_call_leaves_behind_does_not_count(cache: LLMCache, model: Any) -> None:
    model.cache = cache
    first = model.invoke("q")
    again = model.invoke("q")
    assert getattr(again, "content", again) == getattr(first, "content", first)
    assert cache.stats().misses == 1


def test_another_script_is_another_model(cache: LLMCache) -> None:
    model = Scripted(script=["a"], cache=cache)
    assert model.invoke("q") == "a"
    model.script = ["b"]
    assert model.invoke("q") == "b"
