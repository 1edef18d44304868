"""The pytest plugin of llmemo: records the answers of models, and replays them without a network.

It is a package of its own, and imports llmemo when a test has the marker: pytest loads it in every
run of every project that has llmemo installed, and `import llmemo` imports LangChain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from llmemo.cache import LLMCache

SESSION = "llmemo cassettes"
"""The name of the plugin that is registered where there are tests with cassettes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--llmemo`."""
    parser.getgroup("llmemo", "record and replay of LangChain's models").addoption(
        "--llmemo",
        choices=("record", "replay", "refresh"),
        help=(
            "record: ask models for the answers that a cassette lacks. replay: never ask a model."
            " refresh: ask for all answers again, and drop the others. Default: record a cassette"
            " that does not exist, replay one that does."
        ),
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "llmemo(path): record the answers of LangChain's models in a cassette, and replay them."
        " The path is relative to the test's file; by default each test has a cassette of its own"
        " in the folder cassettes.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Load the rest, if a test has the marker."""
    if any(item.get_closest_marker("llmemo") for item in items):
        from llmemo.testing.session import Session  # noqa: PLC0415 (see the module)

        if config.pluginmanager.has_plugin(SESSION):  # pytest.main may collect again
            config.pluginmanager.unregister(name=SESSION)
        config.pluginmanager.register(Session(config.getoption("llmemo"), items), SESSION)


@pytest.fixture
def llmemo_cassette(request: pytest.FixtureRequest) -> LLMCache:
    """The cache that LangChain asks in this test; the test needs `@pytest.mark.llmemo`."""
    session = request.config.pluginmanager.get_plugin(SESSION)
    use = None if session is None else session.use(request.node)
    if use is None:
        pytest.fail("the fixture llmemo_cassette needs the marker: @pytest.mark.llmemo(…)")
    cache: LLMCache = use.cache
    return cache
