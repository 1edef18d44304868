"""What a cache is given and what it shows: durations, reprs, the types of public names."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support import TESTS
from support.doubles import FakeStore, answer

import llmemo
from llmemo import REQUIRED, ConfigurationError, LLMCache, SQLiteStore, options

if TYPE_CHECKING:
    from pathlib import Path

BAD = [
    timedelta(0),
    timedelta(seconds=-1),
    float("nan"),
    float("inf"),
    10**400,
    "1h",
    True,
]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_time_to_live_as_a_timedelta() -> None:
    clock = Clock()
    cache = LLMCache(
        ttl=timedelta(minutes=1), namespace_ttl={"a": timedelta(minutes=2)}, clock=clock
    )
    cache.update("p", "m", answer("p"))
    with options(namespace="a"):
        cache.update("p", "m", answer("a"))
    with options(ttl=timedelta(minutes=3)):
        cache.update("q", "m", answer("q"))
    clock.now += 90
    assert cache.lookup("p", "m") is None
    assert cache.lookup("q", "m") == answer("q")
    with options(namespace="a"):
        assert cache.lookup("p", "m") == answer("a")
    clock.now += 60
    assert cache.lookup("q", "m") == answer("q")
    with options(namespace="a"):
        assert cache.lookup("p", "m") is None


def test_other_durations_as_timedeltas(tmp_path: Path) -> None:
    clock = Clock()
    second = timedelta(seconds=1)
    cache = LLMCache(
        tmp_path / "a.db",
        stale_if_error=second,
        lease_timeout=second,
        store_timeout=60 * second,
        clock=clock,
    )
    cache.update("p", "m", answer("p"))
    clock.now += 90
    cache.update("q", "m", answer("q"))
    assert cache.invalidate(older_than=timedelta(minutes=1)) == 1
    assert cache.lookup("q", "m") == answer("q")
    assert cache.close(60 * second) == 0


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["ttl", "lease_timeout", "store_timeout"])
def test_a_duration_that_cannot_work(name: str, bad: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name}=.*seconds, or a timedelta"):
        LLMCache(**{name: bad})
    if name == "ttl":
        with pytest.raises(ConfigurationError, match=r"ttl=.*seconds, or a timedelta"):
            options(ttl=bad)
        with pytest.raises(ConfigurationError, match=r"namespace_ttl\['a'\]=.*or a timedelta"):
            LLMCache(namespace_ttl={"a": bad})
        with pytest.raises(ConfigurationError, match=r"older_than=.*or a timedelta"):
            LLMCache().invalidate(older_than=bad)
    if bad != timedelta(0):
        with pytest.raises(ConfigurationError, match="stale_if_error="):
            LLMCache(stale_if_error=bad)


class Rude(FakeStore):
    def __repr__(self) -> str:
        raise ValueError


def test_what_a_cache_says_of_itself(tmp_path: Path) -> None:
    cache = LLMCache(tmp_path / "a.db", ttl=60, namespace="tenant", secret="hush" * 8)
    cache.update("p", "m", answer("p"))
    shown = repr(cache)
    assert str(tmp_path / "a.db") in shown
    for part in ("LLMCache(", "ttl=60", "namespace=…", "entries=1"):
        assert part in shown
    assert "hush" not in shown
    assert "tenant" not in shown
    assert "\n" not in shown
    cache.close()
    assert "closed" in repr(cache)
    assert repr(LLMCache()) == "LLMCache(entries=0)"
    assert repr(LLMCache(namespace=REQUIRED)) == "LLMCache(namespace=REQUIRED, entries=0)"
    assert repr(LLMCache(Rude())) == "<LLMCache>"
    # Half-made, as in the traceback of a constructor that failed.
    assert repr(LLMCache.__new__(LLMCache)) == "<LLMCache>"
    assert repr(SQLiteStore.__new__(SQLiteStore)) == "<SQLiteStore>"


def test_a_cache_that_encrypts_says_no_key(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    shown = repr(LLMCache(tmp_path / "a.db", encryption_key="hush" * 8))
    assert "encrypted" in shown
    assert "hush" not in shown


TYPED = """
from datetime import timedelta
import llmemo
reveal_type(llmemo.options(namespace="a", ttl=timedelta(hours=1)))
reveal_type(llmemo.config.options)
reveal_type(llmemo.REQUIRED)
@llmemo.options(ttl=5)
def f(a: int) -> str: return str(a)
reveal_type(f)
llmemo.options(ttl="1h")
"""

# What others have written takes 15 seconds to check, and says nothing of these names.
SETTINGS = """
[mypy]
strict = True
[mypy-langchain_core.*,langsmith.*,pydantic.*,anyio.*,aiosqlite.*,cryptography.*]
follow_imports = skip
"""


def test_a_type_checker_sees_public_names_only(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "typed.py").write_text(TYPED)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    # What mypy knows of the standard library, and of what has not changed here, outlives the run.
    cache = TESTS.parent / ".mypy_cache" / "surface"
    seen = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", cache, tmp_path / "typed.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    ).stdout
    assert 'Revealed type is "llmemo.config.options.Block"' in seen
    assert llmemo.Block.__module__ == "llmemo.config.options"
    assert re.search(r'Revealed type is "def \(a: (builtins\.)?int\) -> (builtins\.)?str"', seen)
    assert "[arg-type]" in seen
    assert not re.search(r"[.\b]_[A-Za-z]", seen), seen


def test_no_signature_of_a_public_name_names_a_private_type() -> None:
    private = re.compile(r"(?<![\w'])_[A-Za-z]")
    for name in llmemo.__all__:
        public = getattr(llmemo, name)
        members = [(name, public)]
        if inspect.isclass(public):
            members += [
                (f"{name}.{key}", value)
                for key, value in vars(public).items()
                if not key.startswith("_") or key in ("__init__", "__call__", "__enter__")
            ]
        for told, member in members:
            if not callable(member):
                continue
            try:
                signature = inspect.signature(member)
            except (TypeError, ValueError):
                continue
            for annotation in (
                *(parameter.annotation for parameter in signature.parameters.values()),
                signature.return_annotation,
            ):
                if annotation is not inspect.Parameter.empty:
                    assert not private.search(str(annotation)), (told, annotation)
