"""How the benches measure: turn by turn, so that a shared machine treats all rivals alike.

pytest-benchmark runs all rounds of one rival before it starts on the next; on a machine that slows
down in between, that is a difference that nobody's code made. So each comparison is run in several
short *turns*: every rival has a few rounds, then every rival again (A B C, A B C, ...). To
pytest-benchmark each pair of turn and rival is a benchmark of its own, timed by its own clock;
`run.py` takes the median over the rounds of all turns.

The garbage collector rests while the clock runs (`--benchmark-disable-gc`, as timeit does): a
collection that starts in one rival's round would walk the entries of all of them. What entries cost
the collector is measured by itself, in `memory.py`.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from benches.rivals import Rival

Prepared = TypeVar("Prepared")


class Measure(Protocol):
    """Times `operations` operations of a rival in each round."""

    def __call__(
        self,
        rival: Rival,
        run: Callable[[Prepared], int],
        prepare: Callable[[], Prepared],
        *,
        operations: int,
        rounds: int = 1,
    ) -> None:
        """Time `run(prepare())`, of which only `run` is on the clock.

        Args:
            rival: Whose time it is.
            run: Returns how many operations did what they are timed for: hits found, say.
            prepare: Makes what a round needs, fresh for each.
            operations: How many operations a round has; fewer that did it are an error.
            rounds: Rounds in a turn, times `--rounds`; more where a round is short.
        """


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("llmemo benches")
    group.addoption("--turns", type=int, default=12, help="turns of each rival (default: 12)")
    group.addoption("--rounds", type=int, default=5, help="rounds in a turn (default: 5)")
    group.addoption("--only", metavar="GROUP", help="only groups whose name contains GROUP")


def pytest_configure(config: pytest.Config) -> None:
    # Every hit of SQLiteCache and GPTCache goes through a `loads` that warns. As an error it would
    # not even fail the bench: SQLiteCache catches it, and answers with the row's raw text.
    config.addinivalue_line(
        "filterwarnings",
        "ignore:The default value of `allowed_objects` will change"
        ":langchain_core._api.deprecation.LangChainPendingDeprecationWarning",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # Parametrised here, before the marks of the tests, `turn` varies slowest: rivals alternate.
    if "turn" in metafunc.fixturenames:
        metafunc.parametrize("turn", range(metafunc.config.getoption("turns")))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (only := config.getoption("only")) is None:
        return
    chosen = [item for item in items if only in _group(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _group(item: pytest.Item) -> str:
    mark = item.get_closest_marker("benchmark")
    return "" if mark is None else str(mark.kwargs["group"])


@pytest.fixture
def measure(benchmark: BenchmarkFixture, request: pytest.FixtureRequest, turn: int) -> Measure:
    def take(
        rival: Rival,
        run: Callable[[Any], int],
        prepare: Callable[[], Any],
        *,
        operations: int,
        rounds: int = 1,
    ) -> None:
        done: list[int] = []
        benchmark.extra_info.update(rival=rival.name, turn=turn, operations=operations)
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            lambda prepared: done.append(run(prepared)),
            setup=lambda: ((prepare(),), {}),
            rounds=rounds * request.config.getoption("rounds"),
            warmup_rounds=1,
        )
        assert set(done) == {operations}, f"{rival}: {min(done)} of {operations} did their work"

    return take


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A real event loop, with the default executor that LangChain runs sync caches in."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes a new folder on disk at each call."""
    return lambda: tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def number() -> Iterator[int]:
    """Numbers that were never used for a request before."""
    return itertools.count(1_000_000)
