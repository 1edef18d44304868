"""A function is called once a module has been imported: before any importer gets it, and once."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import threading
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT

from llmemo.langchain.when_imported import when_imported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = "imported_later"

# The test's threads wait for each other by these attributes of the module `threading`.
BLOCKING = """
import threading
threading.began.set()
assert threading.go_on.wait(120)
VALUE = 1
"""


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Writes the module's source."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(threading, "began", threading.Event(), raising=False)
    monkeypatch.setattr(threading, "go_on", threading.Event(), raising=False)
    before = list(sys.meta_path)

    def make(source: str) -> None:
        (tmp_path / f"{NAME}.py").write_text(source)
        importlib.invalidate_caches()

    yield make
    sys.modules.pop(NAME, None)
    left = [each for each in sys.meta_path if each not in before]
    sys.meta_path[:] = before
    assert not left, "a finder outlives its module's import"


def in_thread(run: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def join(*threads: threading.Thread) -> None:
    for each in threads:
        each.join(LIMIT)
        assert not each.is_alive()


def test_what_has_been_imported_is_noted_at_once(make_module: Callable[[str], None]) -> None:
    make_module("VALUE = 1")
    importlib.import_module(NAME)
    calls: list[int] = []
    when_imported(NAME, lambda: calls.append(1))
    assert calls == [1]


def test_it_is_called_when_the_module_has_been_executed(
    make_module: Callable[[str], None],
) -> None:
    make_module("VALUE = 1")
    calls: list[int] = []
    when_imported(NAME, lambda: calls.append(sys.modules[NAME].VALUE))
    assert NAME not in sys.modules
    assert not calls
    importlib.import_module(NAME)
    importlib.import_module(NAME)
    assert calls == [1]


def test_the_module_keeps_its_own_loader(make_module: Callable[[str], None]) -> None:
    make_module("VALUE = 1\nLOADER = __loader__, __spec__.loader")
    when_imported(NAME, lambda: None)
    module = importlib.import_module(NAME)
    assert module.__spec__ is not None
    for loader in (module.__loader__, module.__spec__.loader, *module.LOADER):
        assert type(loader) is SourceFileLoader
    assert inspect.getsource(module).startswith("VALUE = 1")


def test_a_failed_import_may_be_repeated(make_module: Callable[[str], None]) -> None:
    make_module("1 / 0")
    calls: list[int] = []
    when_imported(NAME, lambda: calls.append(1))
    with pytest.raises(ZeroDivisionError):
        importlib.import_module(NAME)
    assert not calls
    make_module("VALUE = 1  # of another length")
    importlib.import_module(NAME)
    assert calls == [1]


def test_looking_for_the_module_is_no_import(make_module: Callable[[str], None]) -> None:
    make_module("VALUE = 1")
    calls: list[int] = []
    when_imported(NAME, lambda: calls.append(1))
    assert importlib.util.find_spec(NAME) is not None
    assert not calls
    importlib.import_module(NAME)
    assert calls == [1]


def test_a_module_that_does_not_exist_is_not_found(make_module: Callable[[str], None]) -> None:
    when_imported(NAME, lambda: None)
    with pytest.raises(ModuleNotFoundError, match=f"No module named '{NAME}'"):
        importlib.import_module(NAME)
    make_module("VALUE = 1")
    importlib.import_module(NAME)


@pytest.mark.parametrize("source", ["", "import imported_later.inner"])
def test_a_module_in_a_package(source: str, tmp_path: Path, make_module: Any) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "__init__.py").write_text(source)
    (folder / "inner.py").write_text("VALUE = 1")
    importlib.invalidate_caches()
    calls: list[int] = []
    inner = f"{NAME}.inner"
    when_imported(inner, lambda: calls.append(sys.modules[inner].VALUE))
    assert calls == ([1] if source else [])
    importlib.import_module(inner)
    del sys.modules[inner]
    assert calls == [1]


def test_what_is_raised_meanwhile_leaves_no_finder(
    make_module: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_module("VALUE = 1")
    calls: list[int] = []

    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", interrupt)
        with pytest.raises(KeyboardInterrupt):
            when_imported(NAME, lambda: calls.append(1))
    when_imported(NAME, lambda: calls.append(2))
    importlib.import_module(NAME)
    assert calls == [2]


def test_two_may_wait_for_one_module(make_module: Callable[[str], None]) -> None:
    make_module("VALUE = 1")
    calls: list[int] = []
    when_imported(NAME, lambda: calls.append(1))
    when_imported(NAME, lambda: calls.append(2))
    importlib.import_module(NAME)
    assert sorted(calls) == [1, 2]


def test_an_import_that_another_thread_has_begun_is_waited_for(
    make_module: Callable[[str], None],
) -> None:
    make_module(BLOCKING)
    importing = in_thread(lambda: importlib.import_module(NAME))
    assert threading.began.wait(LIMIT)  # type: ignore[attr-defined]
    calls: list[int] = []
    waiting = in_thread(lambda: when_imported(NAME, lambda: calls.append(sys.modules[NAME].VALUE)))
    waiting.join(0.05)
    assert waiting.is_alive()
    threading.go_on.set()  # type: ignore[attr-defined]
    join(importing, waiting)
    assert calls == [1]


def test_no_importer_gets_the_module_before_the_call(make_module: Callable[[str], None]) -> None:
    make_module(BLOCKING)
    events: list[str] = []
    when_imported(NAME, lambda: events.append("call"))

    def get() -> None:
        importlib.import_module(NAME)
        events.append("got")

    first = in_thread(get)
    assert threading.began.wait(LIMIT)  # type: ignore[attr-defined]
    second = in_thread(get)
    second.join(0.05)
    threading.go_on.set()  # type: ignore[attr-defined]
    join(first, second)
    assert events == ["call", "got", "got"]
