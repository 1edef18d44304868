"""Structured output of a real client: its class changes, and the answer is asked for again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from support import TESTS

pytest.importorskip("langchain_openai")
# The repository has one such server, and it is an example.
sys.path.insert(0, str(TESTS.parent / "examples"))

from openai_server import OpenAIServer
from pydantic import BaseModel, Field, field_validator
from support import clients
from support.clients import Row, comparable

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.clients]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "sqlite without memory"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LLMCache]:
    settings = {"max_bytes": 0} if request.param == "sqlite without memory" else {}
    store = None if request.param == "memory" else tmp_path / "cache.db"
    with LLMCache(store, **settings) as cache:  # type: ignore[arg-type]
        yield cache


def make(
    description: str = "The city.",
    most: float = 1000.0,
    extra: Callable[[dict[str, Any]], None] | None = None,
) -> type[BaseModel]:
    """A class, always of the same name."""

    class Report(BaseModel):
        city: str = Field(description=description)
        degrees: float

        model_config = {"json_schema_extra": extra}

        @field_validator("degrees")
        @classmethod
        def check(cls, degrees: float) -> float:
            if degrees > most:
                raise ValueError
            return degrees

    return Report


def ask(cls: type, cache: LLMCache, server: OpenAIServer, **settings: Any) -> Any:
    row = Row(
        "json_schema",
        lambda model: model.with_structured_output(cls, method="json_schema", **settings).invoke(
            "Report the weather: Oslo has 12.5 degrees."
        ),
    )
    return row.run(cache, server.url)


@pytest.mark.parametrize("include_raw", [False, True])
def test_the_same_class_is_asked_for_once(
    include_raw: bool, cache: LLMCache, server: OpenAIServer
) -> None:
    classes = [make(), make()]
    for cls in classes * 2:
        answer = ask(cls, cache, server, include_raw=include_raw)
        parsed = answer["parsed"] if include_raw else answer
        assert type(parsed) is cls
    assert server.requests == 1
    stats = cache.stats()
    assert (stats.hits, stats.bypassed, stats.skipped, stats.errors) == (3, {}, {}, {})


def test_a_class_with_another_schema_is_asked_for_again(
    cache: LLMCache, server: OpenAIServer
) -> None:
    extra = {"language": "French"}
    first = make(extra=lambda schema: schema.update(extra))

    def describe() -> None:
        first.model_fields["city"].description = "Its name."
        first.model_rebuild(force=True)

    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: extra.update(language="German"),
        lambda: setattr(first, "__doc__", "In Norwegian."),
        describe,
    ]
    for number, change in enumerate(changes, 1):
        change()
        for _ in range(2):
            ask(first, cache, server)
            assert server.requests == number
    ask(make("The town."), cache, server)
    assert server.requests == 5
    assert cache.stats().errors == {}


def test_a_class_with_a_stricter_validator_is_asked_for_again(
    cache: LLMCache, server: OpenAIServer
) -> None:
    ask(make(), cache, server)
    for _ in range(2):
        assert type(ask(make(most=999.0), cache, server)).__name__ == "Report"
        assert server.requests == 2
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.updates) == (1, 2, 2)
    assert set(stats.errors) == {"value_changed_class"}


def test_a_second_process_finds_what_include_raw_kept(tmp_path: Path, server: OpenAIServer) -> None:
    database = tmp_path / "cache.db"
    with LLMCache(database) as cache:
        answer = ask(clients.Report, cache, server, include_raw=True)
    told = clients.in_another_process(server.url, {"json_schema": database})
    assert server.requests == 1
    assert told["json_schema"]["result"] == comparable(answer["parsed"])
