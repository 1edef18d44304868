"""Models that change: LangChain's text is stale then, and the model is not."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import BaseCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from support.doubles import LIMIT

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Serial(BaseChatModel):
    """A model that LangChain serialises, so that it keeps the text of the first call."""

    model: str = "a"
    temperature: float = 0.0
    options: dict[str, Any] = {}  # noqa: RUF012 (Pydantic copies it)
    gate: Any = None

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True

    @property
    def _llm_type(self) -> str:
        return "serial"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        said = f"{self.model} {self.temperature} {self.options}"
        if self.gate is not None:
            self.gate()
        return ChatResult(generations=[ChatGeneration(message=AIMessage(said))])


def ask(model: BaseChatModel, **options: Any) -> str:
    return str(model.invoke("q", **options).content)


CHANGES: dict[str, Callable[[Serial], Serial]] = {
    "assigned": lambda it: _assigned(it, temperature=0.9),
    "copied": lambda it: it.model_copy(update={"temperature": 0.9}),
    "changed within": lambda it: _within(it, seed=1),
    "a key that LangChain drops": lambda it: _within(it, graph="a"),
}


def _assigned(model: Serial, **fields: Any) -> Serial:
    for name, value in fields.items():
        setattr(model, name, value)
    return model


def _within(model: Serial, **items: Any) -> Serial:
    model.options.update(items)
    return model


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_after_the_first_call_counts(
    change: Callable[[Serial], Serial], tmp_path: Path
) -> None:
    with LLMCache(tmp_path / "cache.db") as cache:
        model = Serial(cache=cache)
        before = ask(model)
        after = ask(change(model))
        assert before != after
        assert ask(change(model)) == after
        assert (cache.stats().misses, cache.stats().hits) == (2, 1)
    # As another process: what was answered is found by those who ask with the same settings.
    with LLMCache(tmp_path / "cache.db") as cache:
        assert ask(Serial(cache=cache)) == before
        assert ask(change(Serial(cache=cache))) == after
        assert cache.stats().misses == 0


def test_two_values_of_a_key_that_langchain_drops_are_two_requests() -> None:
    cache = LLMCache()
    answers = {ask(Serial(options={"graph": it}, cache=cache)) for it in ("a", "b")}
    assert len(answers) == 2


def test_a_fresh_text_has_the_key_of_the_text_alone() -> None:
    class Recording(BaseCache):
        def __init__(self) -> None:
            self.cache, self.asked = LLMCache(), ("", "")

        def lookup(self, prompt: str, llm_string: str) -> Any:
            self.asked = (prompt, llm_string)
            return self.cache.lookup(prompt, llm_string)

        def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
            self.cache.update(prompt, llm_string, return_val)

        def clear(self, **kwargs: Any) -> None:
            self.cache.clear()

    from langchain_core.language_models import FakeListChatModel

    recording = Recording()
    FakeListChatModel(responses=["x"], cache=recording).invoke("q")
    # By hand, as `import_langchain` would: the model said no more than its text.
    assert recording.cache.lookup(*recording.asked) is not None
    # A cache of the user's stands between, and the model is seen all the same.
    assert ask(Serial(model="a", cache=recording)) != ask(Serial(model="b", cache=recording))


def test_what_was_answered_while_a_setting_changed_is_not_kept() -> None:
    cache = LLMCache()
    model = Serial(cache=cache)
    model.gate = lambda: _assigned(model, temperature=0.9)
    assert ask(model) == "a 0.0 {}"
    assert cache.stats().skipped == {"changed": 1}
    model.gate = None
    assert ask(model) == "a 0.9 {}"
    assert ask(_assigned(model, temperature=0.0)) == "a 0.0 {}"
    assert cache.stats().hits == 0


def test_waiters_do_not_get_what_was_answered_while_a_setting_changed() -> None:
    cache = LLMCache()
    entered, go_on = threading.Event(), threading.Event()
    model = Serial(cache=cache, options={"n": 1})

    def gate() -> None:
        entered.set()
        assert go_on.wait(LIMIT)
        model.options["n"] = 2

    async def main() -> list[str]:
        model.gate = gate
        leader = asyncio.create_task(model.ainvoke("q"))
        assert await asyncio.to_thread(entered.wait, LIMIT)
        other = Serial(cache=cache, options={"n": 1}, gate=model.gate)
        other.gate = model.gate
        waiter = asyncio.create_task(other.ainvoke("q"))
        await asyncio.sleep(0)
        go_on.set()
        return [str((await it).content) for it in (leader, waiter)]

    answers = asyncio.run(main())
    assert answers == ["a 0.0 {'n': 1}"] * 2
    assert cache.stats().coalesced == 0


def test_a_model_inside_a_model_does_not_hide_a_change() -> None:
    cache = LLMCache()
    inner = Serial(model="inner", cache=cache)
    model = Serial(cache=cache)

    def gate() -> None:
        ask(inner)
        model.temperature = 0.9

    model.gate = gate
    ask(model)
    assert cache.stats().skipped == {"changed": 1}


@pytest.mark.anyio
async def test_async_calls_see_the_change_too() -> None:
    cache = LLMCache()
    model = Serial(cache=cache)
    assert (await model.ainvoke("q")).content == "a 0.0 {}"
    model.model = "b"
    assert (await model.ainvoke("q")).content == "b 0.0 {}"
    assert [it.content for it in await model.abatch(["q", "q"])] == ["b 0.0 {}"] * 2
    assert cache.stats().misses == 2
