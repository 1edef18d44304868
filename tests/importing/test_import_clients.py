"""Files that LangChain's own classes wrote, for a real client over a real socket."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import warnings
from typing import TYPE_CHECKING

import pytest
from support import TESTS

pytest.importorskip("langchain_openai")
pytest.importorskip("langchain_community")
sys.path.insert(0, str(TESTS.parent / "examples"))

from langchain_core.outputs import Generation
from openai_server import OpenAIServer
from sqlalchemy import create_engine
from support.clients import ROWS, comparable
from support.langchain_files import SCHEMA

with warnings.catch_warnings():
    # It announces its end, and uses what SQLAlchemy has renamed.
    warnings.simplefilter("ignore")
    from langchain_community.cache import SQLAlchemyMd5Cache, SQLiteCache

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_core.caches import BaseCache
    from sqlalchemy import Engine

pytestmark = [
    pytest.mark.clients,
    # Each hit of theirs comes from `loads`, which warns.
    pytest.mark.filterwarnings("ignore:The function `loads` is in beta"),
    pytest.mark.filterwarnings("ignore:The default value of `allowed_objects`"),
]

CLASSES = {"full_llm_cache": SQLiteCache, "full_md5_llm_cache": SQLAlchemyMd5Cache}
# Those that name a class: what it holds is not in the file.
BYPASSED = {"json_schema"}

ELSEWHERE = {"completion", "completion n=2"}
"""Their text does not say where the model is, and here it is at no usual endpoint: an answer that
was imported may be another server's."""


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".langchain.db"


@contextlib.contextmanager
def theirs(table: str, path: Path) -> Iterator[BaseCache]:
    engine: Engine = create_engine(f"sqlite:///{path}")
    if table == "full_md5_llm_cache":
        cache: BaseCache = SQLAlchemyMd5Cache(engine)
    else:
        cache = SQLiteCache(str(path))
        engine.dispose()
        engine = cache.engine
    yield cache
    engine.dispose()


@pytest.mark.parametrize("table", CLASSES)
def test_their_tables_are_those_of_the_other_tests(table: str, path: Path) -> None:
    with theirs(table, path) as cache:
        cache.update("p", "m", [Generation(text="a")])

    def schema(connection: sqlite3.Connection) -> set[str]:
        query = "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL"
        return {" ".join(sql.split()) for (sql,) in connection.execute(query, [table])}

    with (
        contextlib.closing(sqlite3.connect(path)) as real,
        contextlib.closing(sqlite3.connect(":memory:")) as copy,
    ):
        copy.executescript(SCHEMA[table])
        assert schema(copy) == schema(real)


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_after_an_import_a_client_of_another_endpoint_asks(
    name: str, path: Path, server: OpenAIServer
) -> None:
    server.reset()
    row = ROWS[name]
    with theirs("full_llm_cache", path) as cache:
        row.run(cache, server.url)
    with LLMCache() as cache_of_ours:
        assert cache_of_ours.import_langchain(path).imported > 0
        row.run(cache_of_ours, server.url)
    assert server.requests == 2 * row.requests


@pytest.mark.parametrize("store", [None, "cache.db"])
@pytest.mark.parametrize("table", CLASSES)
def test_after_an_import_no_client_asks_again(
    table: str, store: str | None, path: Path, server: OpenAIServer
) -> None:
    server.reset()
    rows = [row for name, row in ROWS.items() if name not in BYPASSED | ELSEWHERE]
    with theirs(table, path) as cache:
        first = [comparable(row.run(cache, server.url)) for row in rows]
    asked = server.requests
    assert 0 < asked <= sum(row.requests for row in rows)  # some ask what others have asked

    with LLMCache(store and path.with_name(store), store_timeout=30) as cache_of_ours:
        report = cache_of_ours.import_langchain(path)
        assert (report.imported, report.already, report.skipped) == (answers_in(table, path), 0, {})
        second = [comparable(row.run(cache_of_ours, server.url)) for row in rows]
        stats = cache_of_ours.stats()
    assert server.requests == asked
    assert second == first
    assert (stats.misses, stats.bypassed, stats.errors) == (0, {}, {})


def answers_in(table: str, path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = f"SELECT count(*) FROM {table} WHERE idx = 0"
        return int(connection.execute(query).fetchone()[0])


def test_a_class_that_the_file_only_names_is_told(path: Path, server: OpenAIServer) -> None:
    with theirs("full_llm_cache", path) as cache:
        ROWS["json_schema"].run(cache, server.url)
    with LLMCache() as ours:
        report = ours.import_langchain(path)
    assert (report.imported, report.skipped) == (0, {"bypassed: unknown_class": 1})


def test_the_raw_text_that_sqlitecache_would_serve_is_not(path: Path) -> None:
    with theirs("full_llm_cache", path) as cache:
        cache.update("p", "m", [Generation(text="a")])
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE full_llm_cache SET response = 'Paris, in an old version'")
            connection.commit()
        [served] = cache.lookup("p", "m") or []
        assert served.text == "Paris, in an old version"
    with LLMCache() as ours:
        assert ours.import_langchain(path).skipped == {"not_json": 1}
        assert ours.lookup("p", "m") is None
