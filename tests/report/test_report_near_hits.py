"""What nearly hit: the last misses, compared with what is kept, and forgotten with it."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage, SystemMessage
from support.counting_model import CountingModel
from support.doubles import FakeStore, answer
from support.report_pages import ReportPage

from llmemo import LLMCache, options
from llmemo.pipeline import recent_misses
from llmemo.pipeline.looked_up import LONGEST
from llmemo.report import near_hits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def prompt(question: str = "Why?", rules: str = "Be brief.") -> str:
    return dumps([SystemMessage(rules), HumanMessage(question)])


def llm(**settings: object) -> str:
    return str(sorted({"model": "small", **settings}.items()))


def rows(cache: LLMCache, folder: Path, **how: bool) -> list[list[str]]:
    page = ReportPage(cache.report(folder / "report.html", **how))
    return page.rows("What nearly hit") if page.section("What nearly hit") is not None else []


def miss(cache: LLMCache, asked: str, llm_string: str) -> None:
    """As a model's call does: the answer is kept."""
    assert cache.lookup(asked, llm_string) is None
    cache.update(asked, llm_string, answer(asked))


def test_what_differs_is_counted(tmp_path: Path) -> None:
    cache = LLMCache()
    for number in range(10):
        miss(cache, prompt(), llm(user=f"session-{number}"))
    miss(cache, prompt("When?"), llm(user="session-10"))
    found = rows(cache, tmp_path)
    assert found[:2] == [["user", "11"], ["message 2 (human)", "1"]]
    assert [row[1:] for row in found[2:]] == [
        ["1", "(none)", "user; message 2 (human)"],
        ["10", "(none)", "user"],
    ]


def test_a_miss_is_not_compared_with_its_own_answer(tmp_path: Path) -> None:
    cache = LLMCache()
    miss(cache, prompt(), llm())
    [row] = rows(cache, tmp_path)
    assert row[1:] == ["1", "(none)", "nothing else is kept for this namespace"]


def test_namespaces_are_compared_apart(tmp_path: Path) -> None:
    cache = LLMCache()
    for name in ("one", "two"):
        with options(namespace=name):
            miss(cache, prompt(name), llm())
    found = {row[2]: row[3] for row in rows(cache, tmp_path)}
    assert found == dict.fromkeys(("one", "two"), "nothing else is kept for this namespace")


def test_entries_of_the_store_are_compared_after_a_restart(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db") as cache:
        cache.update(prompt(), llm(temperature=0), answer("a"))
    with LLMCache(tmp_path / "a.db") as cache:
        miss(cache, prompt(), llm(temperature=1))
        assert rows(cache, tmp_path)[0] == ["temperature", "1"]


@pytest.mark.parametrize(
    "remove",
    [
        lambda cache: cache.clear(),
        lambda cache: cache.invalidate(namespace=""),
        lambda cache: cache.delete(prompt(), llm()),
    ],
)
def test_what_is_removed_on_purpose_is_forgotten(
    tmp_path: Path, remove: Callable[[LLMCache], object]
) -> None:
    cache = LLMCache()
    miss(cache, prompt(), llm())
    assert len(cache._tiers.recent_misses.newest()) == 1
    remove(cache)
    assert cache._tiers.recent_misses.newest() == []
    assert rows(cache, tmp_path) == []


def test_delete_leaves_the_others(tmp_path: Path) -> None:
    cache = LLMCache()
    for question in ("a", "b", "c"):
        miss(cache, prompt(question), llm())
    cache.delete(prompt("b"), llm())
    assert [it.request.prompt for it in cache._tiers.recent_misses.newest()] == [
        prompt("c"),
        prompt("a"),
    ]


def test_a_closed_cache_remembers_no_request() -> None:
    cache = LLMCache()
    miss(cache, prompt(), llm())
    cache.close()
    assert cache._tiers.recent_misses.newest() == []


def test_few_misses_are_remembered_and_no_long_ones(tmp_path: Path) -> None:
    cache = LLMCache()
    for number in range(recent_misses.KEPT + 10):
        miss(cache, prompt(f"{number}"), llm())
    miss(cache, prompt("x" * 2 * LONGEST), llm())
    kept = cache._tiers.recent_misses.newest()
    assert len(kept) == recent_misses.KEPT
    assert kept[0].request.prompt == kept[0].name == ""
    page = ReportPage(cache.report(tmp_path / "report.html"))
    assert "1 miss too long to be remembered" in page.text(page.section("What nearly hit"))


class Shots(CountingModel):
    """Its `llm_string` does not say what it says beside the messages."""

    shots: str = ""


def test_what_a_model_says_beside_its_text_counts_towards_the_bound() -> None:
    cache = LLMCache()
    for size in (8, LONGEST // 8, 2 * LONGEST):
        Shots(cache=cache, shots="x" * size).invoke("?")
    kept = cache._tiers.recent_misses.newest()
    told = [len(miss.request.supplement or b"") for miss in kept]
    assert told[0] == 0 < told[2] < LONGEST // 8 < told[1]
    assert [miss.has_texts for miss in kept] == [False, True, True]
    assert max(len(pickle.dumps(miss.request)) for miss in kept) < LONGEST


def test_repeated_misses_of_a_request_are_one() -> None:
    cache = LLMCache()
    for _ in range(5):
        assert cache.lookup(prompt(), llm()) is None
    assert len(cache._tiers.recent_misses.newest()) == 1


def test_there_is_an_end_to_comparing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_hits, "SECONDS", 0.0)
    cache = LLMCache()
    miss(cache, prompt(), llm())
    page = ReportPage(cache.report(tmp_path / "report.html"))
    assert "1 miss not compared, for lack of time" in page.text(page.section("What nearly hit"))


def test_a_store_that_lists_nothing_is_said(tmp_path: Path) -> None:
    store = FakeStore()
    store.lists_recent = False
    with LLMCache(store) as cache:
        miss(cache, prompt(), llm())
        page = ReportPage(cache.report(tmp_path / "report.html"))
    assert "this store lists no entries" in page.text(page.section("What nearly hit"))
