"""`explain(model, input)` of every provider's class: the key of the request that it would make."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("support.sweep.rows", exc_type=ModuleNotFoundError)

import httpx
from langchain.chat_models import init_chat_model
from support.sweep.fields import cases
from support.sweep.rows import ROWS
from support.sweep.seeing import fresh, see

from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from support.sweep.server import Loopback

pytest_plugins = ["support.sweep.fixtures"]
pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

SCHEMA = {"title": "T", "type": "object", "properties": {}}


@pytest.mark.parametrize("name", ROWS)
def test_the_key_is_that_of_the_call(name: str, providers: Loopback) -> None:
    row = ROWS[name]
    settings = cases(name)[0].settings
    cache = fresh()
    told = cache.explain(row.cls(**settings).bind(**row.options), row.asked)
    assert providers.requests == [] or name == "ChatOllama"
    seen = see(providers, functools.partial(row.ask, row.cls(**settings, cache=cache)))
    assert told.key == seen.key is not None
    providers.requests.clear()


def test_tools_and_schemas_and_streams(providers: Loopback) -> None:
    def weather(city: str) -> str:
        """The weather in a city."""
        return city

    cache, row = LLMCache(), ROWS["ChatOpenAI"]
    cls: Any = row.cls
    model = cls(**row.settings, cache=cache, default_headers={"x-team": "a"})
    for runnable in (
        model.bind_tools([weather], tool_choice="any"),
        model.with_structured_output(SCHEMA),
        model.with_structured_output(SCHEMA, include_raw=True),
        model.with_structured_output(SCHEMA, method="function_calling"),
        cls(**row.settings, cache=cache, streaming=True, use_responses_api=True),
        cached(model, cache).bind_tools([weather]),
    ):
        told = cache.explain(runnable, row.asked)
        seen = see(providers, functools.partial(runnable.invoke, row.asked))
        assert told.key == seen.key is not None


def test_a_model_that_is_chosen_by_a_config(providers: Loopback) -> None:
    cache = LLMCache()
    late = init_chat_model(
        "openai:gpt-a", api_key="key", cache=cache, configurable_fields=("temperature",)
    )
    for runnable in (
        late,
        late.bind_tools([{"name": "a", "description": "b", "parameters": {}}]),
        late.with_config(configurable={"temperature": 0.9}),
    ):
        told = cache.explain(runnable, "2 + 2?")
        seen = see(providers, functools.partial(runnable.invoke, "2 + 2?"))
        assert told.key == seen.key is not None


def test_a_proposal_has_to_be_enough(providers: Loopback) -> None:
    """What a client sends of its own differs, too: without the id, it would be a miss again."""
    cache, row = LLMCache(), ROWS["ChatOpenAI"]

    def ask(tenant: str, number: int) -> Any:
        headers = {"x-tenant": tenant}
        settings: dict[str, Any] = {
            **row.settings,
            "http_client": httpx.Client(headers=headers),
            "default_headers": {"x-request-id": str(number)},
        }
        return row.cls(**settings, cache=cache)

    row.ask(ask("a", 1))
    assert cache.explain(ask("a", 2), row.asked).ignorable == ("default_headers.x-request-id",)
    told = cache.explain(ask("b", 3), row.asked)
    assert told.ignorable == ()
    assert any("client" in it for it in told.nearest[0].differences)
