"""A request id that is new with each call: real clients over a real socket send one request."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("support.sweep.rows", exc_type=ModuleNotFoundError)

import httpx
from support.sweep.rows import ROWS

from llmemo import LLMCache, track

if TYPE_CHECKING:
    from pathlib import Path

    from support.sweep.server import Loopback

pytest_plugins = ["support.sweep.fixtures"]
pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

IGNORE = (
    "default_headers.x-request-id",
    "additional_headers.x-request-id",
    "default_metadata.X-Request-ID",  # where Gemini's class keeps them, too
    "extra_headers.x-request-id",
    "client_kwargs.headers.x-request-id",
    "user",
)
HEADERS: dict[str, tuple[str, ...]] = {
    "ChatOpenAI": ("default_headers",),
    "OpenAI": ("default_headers",),
    "AzureChatOpenAI": ("default_headers",),
    "ChatXAI": ("default_headers",),
    "ChatDeepSeek": ("default_headers",),
    "ChatAnthropic": ("default_headers",),
    "ChatGoogleGenerativeAI": ("additional_headers",),
    "ChatOllama": ("client_kwargs", "headers"),
    "OllamaLLM": ("client_kwargs", "headers"),
}
"""Where each class takes headers."""


def call(name: str, cache: LLMCache, team: str, **options: Any) -> None:
    """A call as services make it: a model for each request, with the request's id."""
    value: Any = {"X-Request-ID": str(uuid.uuid4()), "X-Team": team}
    first, *rest = HEADERS[name]
    for inner in reversed(rest):
        value = {inner: value}
    row = ROWS[name]
    row.ask(row.cls(**row.settings, **{first: value}, cache=cache), **options)


def ids(server: Loopback) -> list[str]:
    asked = [it for it in server.requests if not it.url.endswith("/api/tags")]
    return [it.headers["x-request-id"] for it in asked]


@pytest.mark.parametrize("name", HEADERS)
def test_a_request_id_of_its_own_is_no_miss(name: str, providers: Loopback, tmp_path: Path) -> None:
    providers.requests.clear()
    with LLMCache(tmp_path / "cache.db", ignore=IGNORE) as cache:
        with track() as tracker:
            for _ in range(3):
                call(name, cache, "a")
        assert [it.outcome for it in tracker.events] == ["miss", "hit", "hit"]
        assert len(ids(providers)) == 1
        call(name, cache, "b")
        assert len(set(ids(providers))) == 2, "what is not ignored counts"
        assert cache.stats().skipped == cache.stats().bypassed == {}
    with LLMCache(tmp_path / "cache.db", ignore=IGNORE) as cache:
        call(name, cache, "a")
        assert cache.stats().store_hits == 1
    with LLMCache(tmp_path / "cache.db") as cache:
        call(name, cache, "a")
        call(name, cache, "a")
        assert cache.stats().hits == 0
    assert len(set(ids(providers))) == 4


@pytest.mark.parametrize("name", ["ChatOpenAI", "OpenAI", "AzureChatOpenAI"])
def test_whom_a_request_is_for_is_no_miss(name: str, providers: Loopback) -> None:
    providers.requests.clear()
    cache, row = LLMCache(ignore=IGNORE), ROWS[name]
    for user in ("ann", "bob"):
        settings: dict[str, Any] = {**row.settings, "model_kwargs": {"user": user}}
        row.ask(row.cls(**settings, cache=cache))
        row.ask(row.cls(**row.settings, cache=cache), user=user)
    row.ask(row.cls(**row.settings, cache=cache))
    row.ask(row.cls(**row.settings, cache=cache), extra_headers={"X-Request-Id": "1"})
    assert len(providers.requests) == 1
    assert providers.requests[0].body["user"] == "ann"
    row.ask(row.cls(**row.settings, cache=cache), seed=1)
    assert len(providers.requests) == 2


@pytest.mark.parametrize(
    ("name", "of_client", "is_ignored"),
    [
        ("search_query.lang", {"params": {"lang"}}, False),
        ("default_query.lang", {"params": {"lang"}}, True),
        ("tool_headers.x-model", {"headers": {"x-model"}}, False),
        ("metadata.headers.x-model", {"headers": {"x-model"}}, False),
        ("default_headers.x-model", {"headers": {"x-model"}}, True),
    ],
)
def test_a_client_s_own_headers_and_parameters_go_by_the_settings_that_they_come_from(
    name: str, of_client: dict[str, set[str]], is_ignored: bool
) -> None:
    row = ROWS["ChatOpenAI"]
    cache = LLMCache(ignore=(name,))
    keys = set()
    for value in ("a", "b"):
        told: dict[str, Any] = {kind: dict.fromkeys(of, value) for kind, of in of_client.items()}
        with httpx.Client(**told) as client:
            settings: dict[str, Any] = {**row.settings, "http_client": client}
            model = row.cls(**settings)
            keys.add(cache.explain(model, "x").key)
    assert None not in keys
    assert len(keys) == (1 if is_ignored else 2)
