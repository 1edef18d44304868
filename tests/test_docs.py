"""The documents run, and the public surface is what they say."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from langchain_core.globals import get_llm_cache, set_llm_cache

import llmemo

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
RECIPES = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "namespaces.md").read_text("utf-8"), re.DOTALL
)
FRAMEWORKS = {"fastapi", "flask", "django", "asgiref", "celery"}
MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(llmemo.__path__, "llmemo.")
    if not module.name.endswith("_core")
]


def test_the_readme_has_examples() -> None:
    assert len(BLOCKS) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_the_readmes_examples_run(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = get_llm_cache()
    try:
        exec(compile(block, "README.md", "exec"), {})
        cache = get_llm_cache()
        if isinstance(cache, llmemo.LLMCache):
            assert cache.stats().hits == 1
            cache.close()
    finally:
        set_llm_cache(before)


@pytest.mark.parametrize("block", RECIPES)
def test_the_recipes_for_namespaces_run(block: str) -> None:
    for name in re.findall(r"^from (\w+)", block, re.MULTILINE):
        if name in FRAMEWORKS:
            pytest.importorskip(name)
    exec(compile(block, "namespaces.md", "exec"), {"__name__": "recipe"})


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_docstrings_examples_run(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_there_is_an_example_in_a_docstring() -> None:
    assert ">>>" in (llmemo.LLMCache.__doc__ or "")


def test_the_public_names_are_these() -> None:
    assert sorted(llmemo.__all__) == [
        "Acceleration",
        "Block",
        "CacheClosedError",
        "CacheMiss",
        "CacheStats",
        "ConfigurationError",
        "Explanation",
        "ImportReport",
        "LLMCache",
        "LLMemoError",
        "LookupEvent",
        "NamespaceRequiredError",
        "Neighbour",
        "NotACacheError",
        "REQUIRED",
        "Required",
        "SQLiteStore",
        "Store",
        "StoreError",
        "Tracker",
        "Worth",
        "__version__",
        "accelerate",
        "options",
        "track",
        "worth_keeping",
    ]
    assert all(hasattr(llmemo, name) for name in llmemo.__all__)


def test_every_public_method_is_documented() -> None:
    for name in llmemo.__all__:
        for attribute, member in inspect.getmembers(getattr(llmemo, name)):
            if not attribute.startswith("_") and inspect.isfunction(member):
                assert inspect.getdoc(member), f"{name}.{attribute}"


@pytest.mark.parametrize("command", ["demo", "test", "lint", "bench", "wheel", "help"])
def test_the_commands_that_are_named_exist(command: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(rf"^{command}:", makefile, re.MULTILINE)
    if command != "help":
        assert re.search(rf"^{command}:.*## ", makefile, re.MULTILINE)
