"""The site is built strictly, leaves no page or name out, and loads nothing from elsewhere."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from support.doubles import LIMIT
from support.pages import DOCS, PAGES, ROOT

import llmemo

if TYPE_CHECKING:
    from pathlib import Path

NAMES = sorted({*llmemo.__all__, *llmemo._LATER})
SETTINGS = [
    "LLMCache",
    "SQLiteStore",
    "RedisStore",
    "Semantic",
    "options",
    "cached",
    "cached_embeddings",
    "LangGraphCache",
    "PrometheusCollector",
    "instrument_otel",
]
EXTRAS = {"LangGraphCache": "langgraph", "PrometheusCollector": "prometheus_client"}
"""What has to be installed for these."""


def test_the_navigation_has_every_page_once() -> None:
    configuration = (ROOT / "mkdocs.yml").read_text("utf-8")
    _, _, navigation = configuration.partition("\nnav:\n")
    named = re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)
    assert len(named) == len(set(named))
    hook = (ROOT / ".ci/site_pages.py").read_text("utf-8")
    of_root = set(re.findall(r'": "([\w-]+\.md)"', hook))
    decisions = {page for page in PAGES if page.startswith("decisions/")} - {"decisions/README.md"}
    assert set(named) - of_root - set(PAGES) == set(), "the navigation names pages that are gone"
    assert set(PAGES) - decisions - set(named) == set(), "mkdocs.yml has no place for these pages"


def test_the_list_of_decisions_has_every_page() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "decisions/README.md").read_text("utf-8"))
    assert {path.name for path in (DOCS / "decisions").glob("*.md")} - {
        "README.md",
        *listed,
    } == set()


@pytest.mark.parametrize("name", SETTINGS)
def test_the_settings_have_every_argument_and_its_default(name: str) -> None:
    known = {"time": time, "worth_keeping": llmemo.worth_keeping}
    if extra := EXTRAS.get(name):
        known[extra] = pytest.importorskip(extra)
    page = (DOCS / "settings.md").read_text("utf-8")
    table = page[page.index(f"Arguments of [`{name}`]") :].split("\n\n")[1]
    rows = [row.split(" | ") for row in table.splitlines()[2:]]
    assert all(told.strip(" |") for *_, told in rows)
    named = [
        re.fullmatch(r"`(\w+)(?:=([^`]*))?`", argument).groups("")  # type: ignore[union-attr]
        for _, argument, _ in rows
    ]
    parameters = inspect.signature(getattr(llmemo, name)).parameters
    assert sorted(each for each, _ in named) == sorted(parameters)
    # `options` inherits what is not given: it has no defaults to speak of.
    told = {each: eval(text, known) for each, text in named if text}
    defaults = {
        each: parameter.default
        for each, parameter in parameters.items()
        if parameter.default is not parameter.empty and name != "options"
    }
    if name == "LLMCache":  # tests/conftest.py changes this default
        defaults["store_timeout"] = 1.0
    assert told == defaults


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does it."""
    for module in ("material", "mkdocs", "mkdocstrings"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


class Loaded(HTMLParser):
    """Collects what a browser loads with a page, and the anchors of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors.add(given.get("id", ""))
        if tag == "link" and given.get("rel") not in {"canonical", "next", "prev"}:
            self.urls.append(given["href"])
        elif tag != "a":
            self.urls += [given[name] for name in ("src", "srcset", "data") if name in given]
        self.urls += re.findall(r"url\(([^)]*)\)", given.get("style", ""))


@pytest.mark.slow
@pytest.mark.process
def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    found = {url for page in pages for url in Loaded(page.read_text("utf-8")).urls}
    assert any("bundle" in url for url in found)
    assert {
        url for url in found if re.match(r"\w+:|//", url) and not url.startswith("data:")
    } == set()
    for sheet in site.rglob("*.css"):
        text = sheet.read_text("utf-8")
        assert re.findall(r"""(?:url\(|@import )["']?(?:https?:)?//[^"')]*""", text) == [], sheet
    # The theme's program asks GitHub of a repository, and fetches what draws diagrams.
    text = "".join(page.read_text("utf-8") for page in pages)
    assert 'data-md-component="source"' not in text
    assert 'class="mermaid"' not in text


@pytest.mark.slow
@pytest.mark.process
def test_the_reference_has_every_name(site: Path) -> None:
    anchors = Loaded((site / "reference.html").read_text("utf-8")).anchors
    assert {f"llmemo.{name}" for name in NAMES} - anchors == set()
    methods = {
        f"llmemo.LLMCache.{name}"
        for name, it in vars(llmemo.LLMCache).items()
        if inspect.isfunction(it) and not name.startswith("_")
    }
    assert len(methods) > 15
    assert methods - anchors == set()


@pytest.mark.slow
@pytest.mark.process
def test_pages_that_a_docstring_names_are_links(site: Path) -> None:
    page = (site / "reference.html").read_text("utf-8")
    assert re.findall(r"docs/[\w/-]+\.md", page) == []
    assert 'href="tiers.html">Two stores' in page
    # A default is shown as it is written: not `time`.
    assert 'title="time.time">time</span>' in page
