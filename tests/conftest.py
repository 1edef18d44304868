"""Fixtures that the tests share."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import figures
import pytest
from doubles import LIMIT

from llmemo import LLMCache
from llmemo.single_flight.holding import _holding, holds_anything

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# A cache that waits for its store for a second only has misses on a busy machine that no test is
# about. Those that are about its patience say how long that is.
LLMCache.__init__.__kwdefaults__.update(store_timeout=LIMIT)  # type: ignore[union-attr]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the soaks have measured."""
    if figures.lines:
        terminalreporter.section("figures")
        for line in figures.lines:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def nothing_is_held() -> Iterator[None]:
    """Fail a test that leaves the thread a lease; those that follow have nothing to do with it."""
    yield
    gc.collect(0)
    held = holds_anything()
    _holding.set(None)
    assert not held


@pytest.fixture
def anyio_backend() -> str:
    """LangChain is asyncio's."""
    return "asyncio"


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users can get to, which those of the tests are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


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
