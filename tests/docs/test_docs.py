"""The documents run, and the public surface is what they say."""

from __future__ import annotations

import doctest
import functools
import importlib
import inspect
import pkgutil
import re
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.globals import get_llm_cache, set_llm_cache
from support import TESTS

import llmemo

if TYPE_CHECKING:
    from pathlib import Path

ROOT = TESTS.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TOPS = (".ci", "benches", "docs", "examples", "fuzz", "python", "rust", "tests")
PATH = re.compile(r"(?<![\w./:-])(?:\.?[\w-]+/)*[\w-]+\.(?:md|pyi?|rs|json|toml)\b")
FOLDER = re.compile(rf"`((?:{'|'.join(map(re.escape, TOPS))})(?:/[\w-]+)*)/?`")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
NOT_OURS = {
    "python/llmemo/cli/yours.py",  # what a contributor makes
    "python/llmemo/stores/yours.py",
    "fuzz/artifacts",  # what the fuzzers make
    "fuzz/corpus",
}
NEEDS = {
    "llmemo.integrations.langgraph_cache": "langgraph.cache.base",
    "llmemo.integrations.middleware": "langchain.agents",
    "llmemo.integrations.nodes": "langgraph.cache.base",
    "llmemo.integrations.otel": "opentelemetry.metrics",
}
"""What some modules cannot be imported without."""


def _is_there(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


LACKING = {module for module, need in NEEDS.items() if not _is_there(need)}
MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(llmemo.__path__, "llmemo.")
    if not module.name.endswith("_core") and module.name not in LACKING
]
NAMES = [name for name in llmemo.__all__ if llmemo._LATER.get(name) not in LACKING]


def test_the_readme_has_examples() -> None:
    assert len(BLOCKS) >= 2


def test_the_readme_begins_with_a_hit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[0], "README.md", "exec"), names)
    names["cache"].close()
    shown = re.findall(r"^ *print\(.*\)  # (.*)$", BLOCKS[0], re.MULTILINE)
    said = capsys.readouterr().out.splitlines()
    assert said == shown == ["four four", "1 hit"]


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_the_readmes_examples_run(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = get_llm_cache()
    try:
        exec(compile(block, "README.md", "exec"), {})
    finally:
        set_llm_cache(before)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_docstrings_examples_run(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_there_is_an_example_in_a_docstring() -> None:
    assert ">>>" in (llmemo.LLMCache.__doc__ or "")


def test_the_public_names_are_these() -> None:
    lacking = [name for name, module in llmemo._LATER.items() if module in LACKING]
    assert sorted([*llmemo.__all__, *lacking]) == [
        "Acceleration",
        "Block",
        "CacheClosedError",
        "CacheMiddleware",
        "CacheMiss",
        "CacheStats",
        "CalibrationReport",
        "ConfigurationError",
        "Explanation",
        "Health",
        "ImportReport",
        "LLMCache",
        "LLMJudge",
        "LLMemoError",
        "LangGraphCache",
        "LookupEvent",
        "NamespaceRequiredError",
        "Neighbour",
        "NotACacheError",
        "PrometheusCollector",
        "REQUIRED",
        "RedisStore",
        "Required",
        "SQLiteStore",
        "Semantic",
        "SemanticStats",
        "Store",
        "StoreError",
        "Tracker",
        "Worth",
        "__version__",
        "accelerate",
        "cached",
        "cached_embeddings",
        "instrument_otel",
        "message_key",
        "options",
        "track",
        "worth_keeping",
    ]
    assert all(hasattr(llmemo, name) for name in NAMES)


def test_every_public_method_is_documented() -> None:
    for name in NAMES:
        for attribute, member in inspect.getmembers(getattr(llmemo, name)):
            if not attribute.startswith("_") and inspect.isfunction(member):
                assert inspect.getdoc(member), f"{name}.{attribute}"


@pytest.mark.parametrize("command", ["demo", "test", "lint", "bench", "wheel", "help"])
def test_the_commands_that_are_named_exist(command: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(rf"^{command}:", makefile, re.MULTILINE)
    if command != "help":
        assert re.search(rf"^{command}:.*## ", makefile, re.MULTILINE)


def _said(document: Path) -> str:
    """The text of a document; of the changelog what is not released: the rest is history."""
    text = document.read_text("utf-8")
    if document.name == "CHANGELOG.md":
        text = re.split(r"^## ", text, flags=re.MULTILINE)[1]
        assert re.match(r"\d+\.\d+\.\d+ \((unreleased|\d{4}-\d\d-\d\d)\)\n", text)
    return text


@functools.cache
def _files() -> set[str]:
    """The repository's files, by every end of their paths: `keys.md`, `docs/keys.md`."""
    ends = {path.name for path in ROOT.iterdir() if path.is_file()}
    for top in TOPS:
        for path in (ROOT / top).rglob("*.*"):
            parts = path.relative_to(ROOT).parts
            if "target" not in parts:
                ends.update("/".join(parts[start:]) for start in range(len(parts)))
    return ends


def _anchors(document: Path) -> set[str]:
    """The headings of a document, as GitHub makes anchors of them, and its names on the site."""
    text = document.read_text("utf-8")
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return anchors.union(re.findall(r"^::: (\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_documents_name_no_path_that_is_gone(document: Path) -> None:
    text = _said(document)
    folders = set(FOLDER.findall(text)) - NOT_OURS
    assert {folder for folder in folders if not (ROOT / folder).exists()} == set()
    # A link is relative to its document: see below.
    paths = set(PATH.findall(LINK.sub("", text))) - NOT_OURS
    assert paths - _files() == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_documents_links_lead_somewhere(document: Path) -> None:
    for target, anchor in LINK.findall(_said(document)):
        if target.startswith(("https://", "http://")):
            continue
        page = (document.parent / target).resolve() if target else document
        assert page.exists(), target
        assert not anchor or anchor in _anchors(page), f"{target}#{anchor}"


def test_the_sources_name_no_page_that_is_gone() -> None:
    sources = [
        path
        for top in TOPS
        for end in ("py", "pyi", "rs")
        for path in (ROOT / top).rglob(f"*.{end}")
        if "target" not in path.parts
    ]
    named = {
        (page, str(path.relative_to(ROOT)))
        for path in sources
        for page in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text("utf-8"))
    }
    assert len(named) > 20
    assert {page for page in named if not (ROOT / page[0]).exists()} == set()
