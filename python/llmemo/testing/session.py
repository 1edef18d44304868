"""The pytest hooks of a run that has tests with cassettes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pytest
from langchain_core.globals import get_llm_cache, set_llm_cache

from llmemo.cache import LLMCache
from llmemo.errors import CacheMiss, CassetteError
from llmemo.integrations.accelerate import accelerate
from llmemo.testing import cassette
from llmemo.testing.tape import Tape
from llmemo.testing.tape_cache import TapeCache
from llmemo.testing.tape_guard import TapeGuard

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from llmemo.testing.cassette import Lines
    from llmemo.testing.tape import Mode

MARKER = "llmemo"

LONGEST = 100
"""Most characters of a cassette's own name that come from its test's name."""


def path_of(item: pytest.Item) -> Path | None:
    """Where the cassette of a test is; None if it has none.

    Raises:
        CassetteError: Its marker has other arguments than one path.
    """
    marker = item.get_closest_marker(MARKER)
    if marker is None:
        return None
    if not marker.args and not marker.kwargs:
        return item.path.parent / "cassettes" / item.path.stem / f"{_name(item)}.jsonl"
    given = marker.args[0] if len(marker.args) == 1 else None
    if isinstance(given, str | os.PathLike) and not marker.kwargs:
        return item.path.parent / given
    msg = f'@pytest.mark.llmemo takes one path, as in llmemo("cassette.jsonl"), on {item.nodeid}'
    raise CassetteError(msg)


def _name(item: pytest.Item) -> str:
    """A file name for a test: with its classes and parameters."""
    inner = item.nodeid.partition("::")[2] or item.name
    name = re.sub(r"[^\w.\[\]-]+", "-", inner.replace("::", "."))
    if len(name) > LONGEST:
        digest = hashlib.blake2b(inner.encode(), digest_size=4).hexdigest()
        name = f"{name[:LONGEST]}-{digest}"
    return name


def _test(item: pytest.Item, path: Path) -> str:
    """The name of a test in a cassette: the same from whatever folder pytest is run."""
    file = Path(os.path.relpath(item.path, path.parent)).as_posix()
    return f"{file}::{item.nodeid.partition('::')[2] or item.name}"


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """Fail the test for a cassette that cannot be used, in its words alone."""
    trouble = ""
    try:
        yield
    except CassetteError as error:
        trouble = str(error)
    if trouble:
        pytest.fail(trouble, pytrace=False)


def _own_frames(error: Exception) -> TracebackType | None:
    """The traceback of a refusal up to where the code under test calls LangChain.

    Further on there is nothing to see, but models and requests with secrets, which pytest prints.
    """
    trace = error.__traceback__
    if not isinstance(error, CacheMiss):
        return trace
    own: list[TracebackType] = []
    while trace is not None and "langchain" not in str(trace.tb_frame.f_globals.get("__name__")):
        own.append(trace)
        trace = trace.tb_next
    for each in reversed(own):
        trace = TracebackType(
            None if each is own[-1] else trace, each.tb_frame, each.tb_lasti, each.tb_lineno
        )
    return trace


class Use:
    """The cassette of the test that runs."""

    def __init__(self, tape: Tape) -> None:
        """Make its cache."""
        self.tape, self.cache = tape, TapeCache(tape)
        self.has_passed = False
        self.ending = contextlib.ExitStack()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Have LangChain ask the cassette inside, and what it asked before afterwards."""
        before = get_llm_cache()
        set_llm_cache(self.cache)
        try:
            yield
        finally:
            set_llm_cache(before)

    def begin(self) -> None:
        """Install it, for the fixtures of the test, too."""
        with warnings.catch_warnings():
            # Of a langchain-core that it does not know: streams are refused then.
            warnings.simplefilter("ignore", RuntimeWarning)
            self.ending.enter_context(accelerate(streams=True))
        self.ending.callback(self.cache.close)
        self.ending.callback(self.tape.end)
        self.ending.enter_context(TapeGuard(self.tape, self.cache).on_duty())
        self.ending.enter_context(self.installed())

    def raise_refusals(self) -> None:
        """Fail the test for what its code may have caught."""
        if self.tape.refusals:
            pytest.fail("\n\n".join(self.tape.refusals), pytrace=False)


class Session:
    """The cassettes of one run of pytest."""

    def __init__(self, option: Mode | None, items: Sequence[pytest.Item]) -> None:
        """See which cassettes there are before any test has recorded one.

        Args:
            option: What `--llmemo` says.
            items: All tests that were collected, whatever is deselected later.
        """
        self._option = option
        self._missing = set()
        self._names: dict[Path, set[str]] = {}
        self._by_test: dict[pytest.Item, Use] = {}
        self._memory = LLMCache()._tiers.memory  # noqa: SLF001 (it computes keys)
        self._refreshed: dict[Path, Lines] = {}
        self._read: dict[Path, tuple[object, Lines]] = {}
        for item in items:
            self._names.setdefault(item.path, set()).add(item.nodeid.partition("::")[2])
            with contextlib.suppress(CassetteError):
                path = path_of(item)
                if path is not None and not path.exists():
                    self._missing.add(path)
        config = items[0].config
        is_part = any("::" in argument for argument in config.args)
        self._is_whole = not (is_part or config.getoption("lf", default=False))

    def use(self, item: pytest.Item) -> Use | None:
        """The cassette of a test that runs."""
        return self._by_test.get(item)

    # One test.

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin, before any fixture of the test."""
        use = None
        with _failing():
            path = path_of(item)
            use = None if path is None else Use(self._tape(item, path))
        if use is not None:
            self._by_test[item] = use
            use.begin()

    def _tape(self, item: pytest.Item, path: Path) -> Tape:
        mode = self._option or ("record" if path in self._missing else "replay")
        refreshed = self._refreshed.get(path, {})
        lines = refreshed if mode == "refresh" else self._lines(path)
        return Tape(path, mode, _test(item, path), dict(lines))

    def _lines(self, path: Path) -> Lines:
        """The lines of a cassette, which is read again once it has been written."""
        try:
            found = path.stat()
        except OSError:
            return cassette.read(path, self._memory)
        state = found.st_ino, found.st_mtime_ns, found.st_size
        if self._read.get(path, (None,))[0] != state:
            self._read[path] = state, cassette.read(path, self._memory)
        return self._read[path][1]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Install it once more: a fixture may have set another cache."""
        use = self._by_test.get(item)
        if use is None:
            return (yield)
        try:
            with use.installed():
                result = yield
        except Exception as error:  # noqa: BLE001 (raised again)
            # What the code under test made of a refusal may not say why.
            for text in use.tape.refusals:
                if text not in str(error):
                    item.add_report_section("call", "llmemo", text)
            raise error.with_traceback(_own_frames(error)) from None
        use.raise_refusals()
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """See whether the test has passed: only then is anything recorded."""
        report = yield
        use = self._by_test.get(item)
        if use is not None and call.when == "call":
            use.has_passed = report.passed
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Take it away, after all fixtures of the test, and write what it has recorded."""
        use = self._by_test.get(item)
        if use is None:
            return (yield)
        with use.ending:
            try:
                result = yield
            finally:
                del self._by_test[item]
        if use.has_passed:
            use.raise_refusals()
            self._commit(item, use.tape)
        return result

    def _commit(self, item: pytest.Item, tape: Tape) -> None:
        with _failing():
            new = tape.commit(self._memory, self._gone(item, tape))
            if tape.mode == "refresh":
                self._refreshed.setdefault(tape.path, {}).update(new)

    def _gone(self, item: pytest.Item, tape: Tape) -> set[str]:
        """Tests of the same file that the cassette names, and that there are no more."""
        if not self._is_whole or tape.mode != "refresh":
            return set()
        file = _test(item, tape.path).partition("::")[0]
        known = {f"{file}::{name}" for name in self._names[item.path]}
        named = {
            name
            for line in self._lines(tape.path).values()
            for name in line.tests
            if name.startswith(f"{file}::")
        }
        return named - known

    def pytest_sessionfinish(self) -> None:
        """Take away what an interrupted test has left."""
        while self._by_test:
            self._by_test.popitem()[1].ending.close()
