"""Models that were seen before are not described again; and whatever changes is seen at once."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import ConfigDict, PrivateAttr, SecretStr

from llmemo import LLMCache
from llmemo.keys import model_description
from llmemo.keys.model_description import description_of, verdict_before, verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable


class Model(BaseChatModel):
    """A model with a field of each kind."""

    model_config = ConfigDict(extra="allow")

    temperature: float = 0.5
    stops: tuple[str, ...] = ("a",)
    options: dict[str, Any] = {}  # noqa: RUF012 (Pydantic copies it)
    words: list[str] = []  # noqa: RUF012
    token: SecretStr | None = SecretStr("s")
    client: Any = None
    async_client: Any = None
    _session_client: Any = PrivateAttr(None)

    @property
    def _llm_type(self) -> str:
        return "kinds"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("x"))])


def model() -> Model:
    """A model whose clients are told."""
    made = Model(client=httpx.Client(base_url="http://a"), more={"n": 1})  # type: ignore[call-arg]
    made.async_client = made.client
    made._session_client = httpx.Client(base_url="http://b")
    return made


def _other(it: Model) -> None:
    """In the place of a client that was told as the other field's."""
    it.async_client = httpx.Client(base_url="http://a")


CHANGES: dict[str, Callable[[Model], object]] = {
    "a float": lambda it: setattr(it, "temperature", 0.75),
    "a tuple": lambda it: setattr(it, "stops", ("b",)),
    "a dict": lambda it: it.options.update(n=1),
    "a list": lambda it: it.words.append("a"),
    "a list in a dict": lambda it: it.options.setdefault("n", []).append(1),
    "an extra": lambda it: (it.__pydantic_extra__ or {}).update(n=2),
    "within an extra": lambda it: (it.__pydantic_extra__ or {})["more"].update(n=2),
    "a secret that is none now": lambda it: setattr(it, "token", "plain"),
    "a client's address": lambda it: setattr(it.client, "base_url", "http://c"),
    "a client's header": lambda it: it.client.headers.update({"x-region": "eu"}),
    "a client's query": lambda it: setattr(it.client, "params", {"q": "1"}),
    "another client": lambda it: setattr(it, "client", httpx.Client(base_url="http://c")),
    "no client": lambda it: setattr(it, "client", None),
    "two clients in place of one": _other,
    "a private client": lambda it: setattr(it._session_client, "base_url", "http://c"),
    "no private client": lambda it: setattr(it, "_session_client", None),
    "a field that is gone": lambda it: it.__dict__.pop("temperature"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_each_change_in_place_is_seen_at_once(change: Callable[[Model], object]) -> None:
    it = model()
    it.client.headers["x-first"] = "1"
    before = verdict_of(it)
    assert verdict_before(it) is before
    change(it)
    assert verdict_before(it) is None
    after = verdict_of(it)
    assert after.description == description_of(it) != before.description
    assert verdict_before(it) is after


def test_what_no_answer_depends_on_may_change() -> None:
    it = model()
    before = verdict_of(it)
    it.metadata, it.token = {"n": 1}, SecretStr("another")
    it.client.headers["user-agent"] = "another"
    it.client.headers["authorization"] = "Bearer another"
    assert verdict_of(it).description == before.description
    it.client.headers["authorization"] = "Bearer a third"
    it.metadata["n"] = 2
    assert verdict_before(it) is verdict_of(it)


def test_a_number_that_takes_the_place_of_another_one_in_memory_is_another() -> None:
    it = model()
    for number in range(1, 200):
        # The one before is free by now, unless somebody holds it.
        it.temperature = number / 7
        assert verdict_of(it).description == description_of(it)


def test_a_class_whose_fields_changed_is_read_anew() -> None:
    class Growing(Model):
        pass

    it = Growing()
    assert verdict_before(it) is None
    verdict_of(it)
    Growing.model_rebuild(force=True)
    fields = dict(Growing.model_fields)
    Growing.__pydantic_fields__ = fields
    assert verdict_before(it) is None


@pytest.mark.slow
def test_a_model_is_collected_though_it_was_seen() -> None:
    gc.collect()
    known = len(model_description.snapshots)
    it = Model(cache=LLMCache(), client=httpx.Client(), options={"n": [1]})
    for _ in range(2):
        it.invoke("q")
    assert len(model_description.snapshots) == known + 1
    gone = [weakref.ref(part) for part in (it, it.cache, it.client)]
    del it
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3
    assert len(model_description.snapshots) == known


def test_a_model_in_the_place_of_another_one_in_memory_is_not_taken_for_it() -> None:
    addresses = set()
    for number in range(300):
        it = Model.model_construct(temperature=0.5, options={"n": number})
        assert verdict_before(it) is None
        assert verdict_of(it).description == description_of(it)
        addresses.add(id(it))
        del it
    assert len(addresses) < 300


def test_only_so_many_models_are_remembered() -> None:
    models = [Model(options={"n": number}) for number in range(1000)]
    for it in models:
        verdict_of(it)
    assert len(model_description.snapshots) <= 512
    assert verdict_before(models[-1]) is not None


def test_a_setting_that_cannot_be_told_any_more_is_no_verdict() -> None:
    it = model()
    verdict_of(it)
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    it.options["deep"] = deep
    assert verdict_before(it) is None


def test_threads_may_change_what_is_looked_at() -> None:
    it = model()
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            it.__dict__[f"new {number % 7}"] = number
            it.options[f"new {number % 5}"] = [number]
            it.__dict__.pop(f"new {(number + 3) % 7}", None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(2000):
            verdict_of(it)
    finally:
        stop.set()
        thread.join()
    assert verdict_of(it).description == description_of(it)


def test_a_hit_describes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    it = model()
    it.cache = LLMCache()
    it.invoke("q")
    it.invoke("q")

    def describe(*args: object) -> None:
        raise AssertionError

    monkeypatch.setattr(model_description, "_read", describe)
    it.invoke("q")
    assert it.cache.stats().hits == 2
