"""The page of a report: its figures are those of `stats()`, and nothing from outside is markup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration
from support.doubles import Clock, answer
from support.report_pages import ReportPage

from llmemo import LLMCache, options

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style><h1>big</h1>",
    "a & b &lt; c",
    "\u202eevil\x00\x1b\ud800\ufffe\u2028",
    "$style ${body} $$ %s {x}",
    "شركة",
    "日本語" * 60,
    "x" * 10_000,
    "]]>",
]


def priced(sent: int, made: int) -> list[ChatGeneration]:
    usage = {"input_tokens": sent, "output_tokens": made, "total_tokens": sent + made}
    metadata = {"model_name": "m-1"}
    message = AIMessage("yes", usage_metadata=usage, response_metadata=metadata)
    return [ChatGeneration(message=message)]


def shown(cache: LLMCache, folder: Path, **how: bool) -> ReportPage:
    return ReportPage(cache.report(folder / "report.html", **how))


def test_the_figures_are_those_of_stats(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db", prices={"m": (1_000_000.0, 2_000_000.0)}) as cache:
        for number in range(7):
            assert cache.lookup(f"q{number}", "m") is None
            cache.update(f"q{number}", "m", priced(2, 1))
            for _ in range(number):
                assert cache.lookup(f"q{number}", "m") is not None
        stats, page = cache.stats(), shown(cache, tmp_path)
    assert (stats.hits, stats.misses) == (21, 7)
    assert page.tile("Hit rate") == "75.0 %"
    assert page.tile("Calls saved") == str(stats.hits)
    assert page.tile("Tokens saved") == str(stats.input_tokens_saved + stats.output_tokens_saved)
    assert page.tile("Money saved") == f"{stats.money_saved:.2f}" == "84.00"
    assert page.tile("Entries in memory") == page.tile("Entries in the store") == "7"
    assert page.rows("Misses by reason")[0][:2] == ["absent", str(stats.missed["absent"])]
    memory, store, misses = map(sum, zip(*page.chart("Lookups"), strict=True))
    assert (memory, store, misses) == (stats.memory_hits, stats.store_hits, stats.misses)
    assert sum(map(sum, page.chart("Tokens saved"))) == 63
    assert sum(map(sum, page.chart("Money saved"))) == pytest.approx(84)


def test_hits_of_the_store_are_their_own(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db") as cache:
        cache.update("q", "m", answer("q"))
    with LLMCache(tmp_path / "a.db", max_bytes=0) as cache:
        assert cache.lookup("q", "m") is not None
        assert shown(cache, tmp_path).chart("Lookups") == [[0, 1, 0]]


def test_an_empty_cache_says_what_to_do(tmp_path: Path) -> None:
    page = shown(LLMCache(), tmp_path)
    assert "set_llm_cache(cache)" in page.text(page.section("Getting started"))
    assert page.section("Over time") is None
    assert page.tile("Hit rate") == "\u2013"


def test_one_lookup_has_charts(tmp_path: Path) -> None:
    cache = LLMCache()
    cache.lookup("q", "m")
    page = shown(cache, tmp_path)
    assert page.section("Getting started") is None
    assert page.tile("Hit rate") == "0 %"
    assert page.chart("Lookups") == [[0, 1]]


@pytest.mark.parametrize("texts", [False, True])
def test_what_comes_from_outside_is_no_markup(tmp_path: Path, texts: bool) -> None:
    with LLMCache(tmp_path / "<b>&.db", namespace_ttl={"<i>": 1}) as cache:
        for at, name in enumerate(HOSTILE):
            with options(namespace=name):
                for end in "ab":
                    # Two of a kind, so that one nearly hits.
                    prompt = dumps([HumanMessage(name.replace("\ud800", "") + end)])
                    llm_string = str([("model", name), (f"<u>{at}", at), ("<s>", end)])
                    cache.lookup(prompt, llm_string)
                    cache.update(prompt, llm_string, answer("a"))
        page = shown(cache, tmp_path, texts=texts)
    tags = {str(element.tag) for element in page.root.iter()}
    assert not tags & {"script", "img", "u", "s", "iframe", "object", "form"}
    assert len(list(page.root.iter("h1"))) == len(page.root.findall("head/title")) == 1
    for element in page.root.iter("b"):
        assert element.text is not None
        assert re.fullmatch(r"\w+ \d+", element.text)  # a date on an axis
    names = {name for _, name, _ in page.attributes()}
    assert not {name for name in names if name.startswith("on")}
    assert [text for text in page.root.itertext() if "<script>alert(1)</script>" in text]
    # What turns the direction of a text, or shows nothing, is shown by its number.
    assert "\\u{202e}evil\\u{0}\\u{1b}\\u{d800}\\u{fffe}" in page.text()
    assert "x" * 200 not in page.text()


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    cache = LLMCache()
    cache.lookup("q", "m")
    page = shown(cache, tmp_path)
    assert not re.search(
        r"(?i)https?:|//\w|url\(|@import|@font-face|<script|<link[^>]*stylesheet", page.source
    )
    loaded = {
        value
        for _, name, value in page.attributes()
        if name in {"src", "href", "srcset", "data", "action", "poster", "background"}
    }
    assert loaded == {"data:,"}
    [policy] = [
        element.get("content", "")
        for element in page.root.iter("meta")
        if element.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy
    assert "connect-src" not in policy


def test_every_chart_has_a_name_and_a_table(tmp_path: Path) -> None:
    cache = LLMCache()
    cache.update("q", "m", priced(1, 1))
    cache.lookup("q", "m")
    page = shown(cache, tmp_path)
    charts = list(page.root.iter("svg"))
    assert len(charts) == 3
    for chart in charts:
        assert chart.get("role") == "img"
        assert chart.findtext("title")
        assert chart.findtext("desc")
    ids = [element.get("id") for element in page.root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for section in page.root.iter("section"):
        assert section.get("aria-labelledby") in ids


def test_prompts_are_shown_only_if_asked_for(tmp_path: Path) -> None:
    cache = LLMCache()
    for word in ("blue", "green"):
        prompt = dumps([HumanMessage(f"Why is the sky {word}?")])
        llm_string = str([("model", f"model-{word}"), ("stop", [f"stop-{word}"])])
        assert cache.lookup(prompt, llm_string) is None
        cache.update(prompt, llm_string, answer(f"since-{word}"))
    page = shown(cache, tmp_path)
    for text in ("the sky", "model-", "stop-", "since-"):
        assert text not in page.source
    assert ["stop", "2"] in page.rows("What nearly hit")
    with_texts = shown(cache, tmp_path, texts=True).text()
    assert "Why is the sky green?" in with_texts
    assert "stop: ['stop-green'] was ['stop-blue']" in with_texts
    assert "since-" not in with_texts


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    keys = {"secret": "hush-hush", "encryption_key": "open-sesame"}
    with LLMCache(tmp_path / "a.db", **keys) as cache:  # type: ignore[arg-type]
        cache.update("q", "m", answer("q"))
        page = shown(cache, tmp_path)
    assert "hush" not in page.source
    assert "sesame" not in page.source
    assert "secretset" in page.text()
    assert "encryptionon" in page.text()


def test_large_and_small_figures_have_units(tmp_path: Path) -> None:
    cache = LLMCache(prices={"m": (1e9, 1e9)}, clock=Clock())
    cache.update("q", "m", priced(2**30, 2**30))
    for _ in range(20_000):
        cache.lookup("q", "m")
    page = shown(cache, tmp_path)
    assert page.tile("Hit rate") == "100 %"
    assert page.tile("Calls saved") == "20.0 k"
    assert page.tile("Tokens saved") == "42.9 T"
    assert page.tile("Money saved") == "42.9 P"


def test_a_rate_is_100_percent_only_if_nothing_missed(tmp_path: Path) -> None:
    cache = LLMCache()
    cache.lookup("q", "m")
    cache.update("q", "m", answer("q"))
    for _ in range(5_000):
        cache.lookup("q", "m")
    assert shown(cache, tmp_path).tile("Hit rate") == "99.9 %"
