"""`import_langchain`: what is served afterwards, what is not, and what is said of it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, messages_to_dict
from langchain_core.outputs import ChatGeneration, Generation
from support.doubles import LIMIT, FakeStore
from support.langchain_files import LLM, MD5, PLAIN, SCHEMA, answer, make, row

from llmemo import (
    REQUIRED,
    CacheClosedError,
    ImportReport,
    LLMCache,
    NamespaceRequiredError,
    options,
)
from llmemo.importing import importer, rows_by_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

tables = pytest.mark.parametrize("table", SCHEMA)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".langchain.db"


def counts(report: ImportReport) -> tuple[int, int, dict[str, int]]:
    return report.imported, report.already, report.skipped


@pytest.mark.slow
@tables
def test_every_answer_is_served_to_the_same_request(
    table: str, make_cache: Callable[..., LLMCache], path: Path
) -> None:
    names = [f"question {n}" for n in range(700)]
    make(path, map(row, names), table)
    cache = make_cache(store_timeout=LIMIT)
    assert counts(cache.import_langchain(path)) == (700, 0, {})
    assert [cache.lookup(name, LLM) for name in names] == [answer(name) for name in names]
    assert cache.lookup("question 1", "another model") is None
    assert cache.stats().errors == {}
    assert cache.stats().updates == 700


def test_what_was_imported_is_on_disk_when_it_returns(tmp_path: Path, path: Path) -> None:
    make(path, map(row, "abc"))
    with LLMCache(tmp_path / "cache.db", store_timeout=LIMIT) as cache:
        cache.import_langchain(path)
        with LLMCache(tmp_path / "cache.db", store_timeout=LIMIT) as other:
            assert [other.lookup(name, LLM) for name in "abc"] == [answer(name) for name in "abc"]


def test_a_chat_models_request_is_found_in_whatever_form(
    make_cache: Callable[..., LLMCache], path: Path
) -> None:
    reply = AIMessage("Paris", id="lc_run--1", usage_metadata=None)
    kept = ChatGeneration(message=reply, generation_info={"finish_reason": "stop"})
    make(path, [row(dumps([HumanMessage("Capital of France?", id="1")]), response=dumps(kept))])
    cache = make_cache(store_timeout=LIMIT)
    assert cache.import_langchain(path).imported == 1
    found = cache.lookup(dumps([HumanMessage("Capital of France?", id="2")]), LLM)
    assert found is not None
    [message] = messages_to_dict([found[0].message])  # type: ignore[attr-defined]
    assert (message["type"], message["data"]["content"]) == ("ai", "Paris")
    assert message["data"]["id"] != "lc_run--1"


@tables
def test_rows_of_one_request_are_one_answer(
    table: str, make_cache: Callable[..., LLMCache], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_by_request, "ROWS", 2)
    many = [row("many", n, dumps(answer(n)[0])) for n in range(5)]
    # Wherever the rows are, and in whatever order.
    rows = [row("a"), many[3], row("b"), many[0], many[1], row("c"), many[4], many[2], row("d")]
    make(path, rows, table)
    cache = make_cache(store_timeout=LIMIT)
    assert counts(cache.import_langchain(path)) == (5, 0, {})
    assert cache.lookup("many", LLM) == [answer(n)[0] for n in range(5)]
    assert [cache.lookup(name, LLM) for name in "abcd"] == [answer(name) for name in "abcd"]


AFTER = row("after")
FAULTS: dict[str, tuple[list[Any], str]] = {
    "no first row": ([row("q", 1)], "gap"),
    "no row between": ([row("q", 0), row("q", 2)], "gap"),
    "a negative index": ([row("q", -1), row("q", 0)], "gap"),
    "an index that is text": ([row("q", "x")], "gap"),
    "one row is raw text": ([row("q", 0), row("q", 1, "Paris")], "not_json"),
    "raw text": ([row("q", response="Paris")], "not_json"),
    "raw text that is JSON": ([row("q", response="42")], "not_a_generation"),
    "no generation": ([row("q", response=dumps(AIMessage("a")))], "not_a_generation"),
    "an object": (
        [row("q", response=dumps(Generation(text="a", generation_info={"x": object()})))],
        "not_implemented",
    ),
    "no text": ([row("q", response=b"\xff")], "not_text"),
    "a damaged text": ([("q", LLM, 0, memoryview(b"x"))], "not_text"),
    "a prompt that is none": ([(b"\xff", LLM, 0, "x")], "not_text"),
    "an address": (
        [row("q", llm="[('client', <openai.Client object at 0x7f1234567890>)]")],
        "bypassed: address",
    ),
    "a class that nobody saw": (
        [row("q", llm="[('response_format', <class '__main__.Unseen'>)]")],
        "bypassed: unknown_class",
    ),
    "a model that says too little": (
        [row("q", llm="[('_type', 'chat-ollama'), ('stop', None)]")],
        "bypassed: thin_text",
    ),
    "an object in the prompt": (
        [row(dumps([HumanMessage([{"type": "x", "value": Decimal}])]))],
        "bypassed: unknown_repr",
    ),
    "an answer that is cut off": (
        [
            row(
                "q",
                response=dumps(Generation(text="a", generation_info={"finish_reason": "length"})),
            )
        ],
        "not kept: truncated",
    ),
    "an answer that says nothing": (
        [row("q", response=dumps(ChatGeneration(message=AIMessage(""))))],
        "not kept: empty",
    ),
    "a message that is no object": (
        [row("q", response=dumps(ChatGeneration(message=AIMessage("a"))).replace("1,", "2,"))],
        "not_a_generation",
    ),
}
FAULTS_OF_MD5: dict[str, tuple[list[Any], str]] = {
    "every row twice": ([row("q", 0), row("q", 1), row("q", 0), row("q", 1)], "duplicates"),
    "one row twice": ([row("q"), row("r"), row("q")], "duplicates"),
    "a thousand": ([row("q") for _ in range(1_500)], "duplicates"),
    "no index": ([row("q", None)], "gap"),
    "no prompt": ([(None, LLM, 0, "x")], "not_text"),
}


@pytest.mark.slow
@tables
@pytest.mark.parametrize("kind", [*FAULTS, *FAULTS_OF_MD5])
def test_what_is_no_whole_answer_is_skipped_by_reason(
    table: str, kind: str, path: Path, tmp_path: Path
) -> None:
    if kind in FAULTS_OF_MD5 and table != MD5:
        return  # that table cannot hold it
    rows, reason = {**FAULTS, **FAULTS_OF_MD5}[kind]
    make(path, [*rows, AFTER], table)
    with LLMCache(tmp_path / "ours.db") as cache:
        imported, already, skipped = counts(cache.import_langchain(path))
        assert (imported, already) == (len({it[0] for it in rows} - {rows[0][0]}) + 1, 0)
        [(told, count)] = skipped.items()
        assert (told, count) == (reason, 1)
        assert cache.lookup("q", str(rows[0][1])) is None
        assert cache.lookup("after", LLM) == answer("after")


def test_text_that_is_not_utf8_ends_one_row_and_not_all(
    make_cache: Callable[..., LLMCache], path: Path
) -> None:
    make(path, [row("qqqq"), row("after")])
    path.write_bytes(path.read_bytes().replace(b"answer to qqqq", b"answer to \xff\xff\xff\xff"))
    cache = make_cache(store_timeout=LIMIT)
    assert counts(cache.import_langchain(path)) == (1, 0, {"not_text": 1})


def test_what_the_cache_has_is_newer(make_cache: Callable[..., LLMCache], path: Path) -> None:
    make(path, map(row, "abc"))
    cache = make_cache(store_timeout=LIMIT)
    cache.update("b", LLM, answer("newer"))
    assert counts(cache.import_langchain(path)) == (2, 1, {})
    assert cache.lookup("b", LLM) == answer("newer")
    assert counts(cache.import_langchain(path)) == (0, 3, {})
    cache.delete("a", LLM)
    assert counts(cache.import_langchain(path)) == (1, 2, {})
    assert cache.lookup("a", LLM) == answer("a")


def test_two_forms_of_one_request_are_one(make_cache: Callable[..., LLMCache], path: Path) -> None:
    forms = [dumps([HumanMessage("Capital of France?", id=it)]) for it in ("1", "2")]
    make(path, [row(form, response=dumps(answer(at)[0])) for at, form in enumerate(forms)])
    cache = make_cache(store_timeout=LIMIT)
    assert counts(cache.import_langchain(path)) == (1, 1, {})
    assert cache.lookup(forms[1], LLM) == answer(0)


def test_what_has_expired_makes_way(make_cache: Callable[..., LLMCache], path: Path) -> None:
    now = [1_000.0]
    make(path, map(row, "ab"))
    cache = make_cache(store_timeout=LIMIT, ttl=10, clock=lambda: now[0])
    cache.update("a", LLM, answer("old"))
    now[0] = 1_005.0
    assert counts(cache.import_langchain(path)) == (1, 1, {})
    assert cache.lookup("a", LLM) == answer("old")
    now[0] = 1_011.0
    assert counts(cache.import_langchain(path)) == (1, 1, {})
    assert cache.lookup("a", LLM) == answer("a")
    # What is imported expires like any other.
    now[0] = 1_022.0
    assert cache.lookup("a", LLM) is None


def test_it_is_for_one_namespace(make_cache: Callable[..., LLMCache], path: Path) -> None:
    make(path, map(row, "ab"))
    one, other = make_cache(store_timeout=LIMIT, namespace="one"), make_cache(store_timeout=LIMIT)
    assert one.import_langchain(path).imported == 2
    assert one.lookup("a", LLM) == answer("a")
    assert other.lookup("a", LLM) is None


def test_the_options_of_the_moment_hold(make_cache: Callable[..., LLMCache], path: Path) -> None:
    now = [1_000.0]
    make(path, map(row, "ab"))
    cache = make_cache(store_timeout=LIMIT, namespace=REQUIRED, clock=lambda: now[0])
    with pytest.raises(NamespaceRequiredError):
        cache.import_langchain(path)
    with options(namespace="one", ttl=10):
        assert cache.import_langchain(path).imported == 2
        assert cache.lookup("a", LLM) == answer("a")
        now[0] += 11
        assert cache.lookup("a", LLM) is None
    with options(namespace="other"):
        assert cache.lookup("b", LLM) is None


def test_memory_keeps_the_newest(path: Path) -> None:
    make(path, map(row, "zyxwvut"))
    with LLMCache(max_entries=3) as cache:
        assert cache.import_langchain(path).imported == 7
        found = {name for name in "zyxwvut" if cache.lookup(name, LLM)}
    assert found == set("vut")


def test_what_is_too_large_for_memory_is_said(path: Path) -> None:
    make(path, [row("a"), row("b", response=dumps(Generation(text="b" * 100_000)))])
    with LLMCache(max_bytes=50_000) as cache:
        assert counts(cache.import_langchain(path)) == (1, 0, {"not kept: too_large": 1})


def test_what_the_cache_would_not_keep_is_not_imported(
    make_cache: Callable[..., LLMCache], path: Path
) -> None:
    make(path, map(row, "abc"))
    cache = make_cache(store_timeout=LIMIT, admit=lambda it: it[0].text != "answer to b")
    assert counts(cache.import_langchain(path)) == (2, 0, {"not kept: not_admitted": 1})


def test_a_value_that_cannot_be_encoded_is_said(
    make_cache: Callable[..., LLMCache], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # JSON says nothing that the codec does not know: so this is made up.
    made_up = Generation.model_construct(text=object())
    monkeypatch.setattr(importer, "read", lambda text: made_up)
    make(path, [row("a")])
    cache = make_cache(store_timeout=LIMIT, admit=None)
    assert counts(cache.import_langchain(path)) == (0, 0, {"not kept: unsupported_type": 1})


def test_a_store_does_not_fill_memory_with_it(path: Path) -> None:
    make(path, map(row, "abc"))
    with LLMCache(FakeStore(), store_timeout=LIMIT) as cache:
        assert cache.import_langchain(path).imported == 3
        assert cache.stats().entries == 0
        assert cache.lookup("a", LLM) == answer("a")


def test_a_file_may_have_both_tables_or_empty_ones(path: Path) -> None:
    make(make(path, table=PLAIN), table=MD5)
    with LLMCache() as cache:
        assert counts(cache.import_langchain(path)) == (0, 0, {})
        make(path, map(row, "ab"), PLAIN)
        make(path, map(row, "bc"), MD5)
        assert counts(cache.import_langchain(path)) == (3, 1, {})


def test_a_closed_cache_imports_nothing(make_cache: Callable[..., LLMCache], path: Path) -> None:
    make(path, [row("a")])
    cache = make_cache()
    cache.close()
    with pytest.raises(CacheClosedError, match="nothing can be imported"):
        cache.import_langchain(path)


def test_a_report_is_readable() -> None:
    report = ImportReport(1_234, 5, {"not_json": 2, "gap": 1_000}, 1.25)
    assert str(report) == (
        "1,234 answers imported, 5 already there, 1,002 skipped (gap 1,000, not_json 2), in 1.2 s"
    )
    assert str(ImportReport(0, 0)) == ("0 answers imported, 0 already there, 0 skipped, in 0.0 s")
