"""Fixtures that the tests share."""

from __future__ import annotations

import gc
import os
import ssl
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import figures, redis_server, slices, starting
from support.doubles import LIMIT
from support.stream_server import StreamServer

from llmemo import LLMCache
from llmemo.single_flight.holding import _holding, holds_anything

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers import Replies


# A cache that waits for its store for a second only has misses on a busy machine that no test is
# about. Those that are about its patience say how long that is.
LLMCache.__init__.__kwdefaults__.update(store_timeout=LIMIT)  # type: ignore[union-attr]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the soaks have measured, and what takes the same slices again."""
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"The slices are those of LLMEMO_DAY={slices.DAY}")
    if figures.lines:
        terminalreporter.section("figures")
        for line in figures.lines:
            terminalreporter.write_line(line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take a slice of each test's parameters, and mark those that start processes.

    The latter are found by what they and their fixtures name.
    """
    kept, left = slices.of_each(items, key=lambda item: item.nodeid.partition("[")[0])
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept
    for item in items:
        if isinstance(item, pytest.Function):
            fixtures = item._fixtureinfo.name2fixturedefs.values()
            used = [each.func for found in fixtures for each in found]
            if starting.starts_processes(item.obj, *used):
                item.add_marker("process")


def pytest_collection_finish() -> None:
    """Keep what the imports have made from every collection: a full one would take 0.4 s."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let what was kept from collections be finalized."""
    gc.unfreeze()


@pytest.fixture(autouse=bool(os.environ.get("LLMEMO_QUICK")))
def is_quick() -> Iterator[None]:
    """Fail a test that `make quick` runs, and should not."""
    starting.watch()
    starting.started.clear()
    before = time.process_time()
    yield
    assert not starting.started, "it starts a process: `starting` should find that, or a marker say"
    # Of a busy machine, which takes several times as long.
    assert time.process_time() - before < 5, "it takes more than a second: mark it as slow"


READING = ("load_verify_locations", "load_default_certs", "set_default_verify_paths")
READ = {name: getattr(ssl.SSLContext, name) for name in READING}


@pytest.fixture(autouse=True, scope="session")
def no_certificates_are_read() -> Iterator[None]:
    """Hardly a test speaks TLS, and each client would read all certificates: 20 ms."""
    with pytest.MonkeyPatch.context() as patch:
        for name in READING:
            patch.setattr(ssl.SSLContext, name, lambda *args, **options: None)
        yield


@pytest.fixture
def certificates_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the tests that do speak TLS."""
    for name, method in READ.items():
        monkeypatch.setattr(ssl.SSLContext, name, method)


@pytest.fixture
def redis_url() -> str:
    """An empty database of a real server, which the tests of this process share."""
    return redis_server.shared().fresh_url()


@pytest.fixture
def ask(redis_url: str) -> Iterator[Replies]:
    """For commands of the test's own to the database of `redis_url`."""
    with redis_server.shared().ask(int(redis_url.rpartition("/")[2])) as ask:
        yield ask


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


@pytest.fixture(params=["memory", "sqlite without memory"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LLMCache]:
    """A cache of one tier."""
    is_memory = request.param == "memory"
    settings: dict[str, Any] = {} if is_memory else {"store": tmp_path / "c.db", "max_bytes": 0}
    with LLMCache(**settings) as cache:
        yield cache


@pytest.fixture(scope="module")
def running() -> Iterator[StreamServer]:
    with StreamServer() as server:
        yield server


@pytest.fixture
def server(running: StreamServer) -> StreamServer:
    """A provider that streams, and was asked nothing so far."""
    running.reset()
    return running
