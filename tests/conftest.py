"""Fixtures that the tests share."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import figures
import pytest

from llmemo import LLMCache
from llmemo.runs import holds_anything

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the soaks have measured."""
    if figures.lines:
        terminalreporter.section("figures")
        for line in figures.lines:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def nothing_is_held() -> None:
    """Fail here, and not somewhere below, if a test before has left the thread a lease."""
    gc.collect(0)
    assert not holds_anything()


@pytest.fixture
def anyio_backend() -> str:
    """LangChain is asyncio's."""
    return "asyncio"


@pytest.fixture(params=["memory", "sqlite", "sqlite without memory"])
def make_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., LLMCache]]:
    """Makes caches of each kind; two with a store share its file. Closed at the end."""
    made: list[LLMCache] = []

    def make(**settings: object) -> LLMCache:
        if request.param != "memory":
            settings.setdefault("store", tmp_path / "cache.db")
        if request.param == "sqlite without memory":
            settings.setdefault("max_bytes", 0)
        made.append(LLMCache(**settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for cache in made:
        cache.close()
