"""Files that earlier versions wrote: their answers are hits, and the bytes are those of today."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support import stored

from llmemo import LLMCache, options

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("name", "key"), [("store", None), ("encrypted", stored.KEY)])
def test_all_answers_of_an_older_file_are_hits(name: str, key: str | None, tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    shutil.copy(stored.HERE / f"{name}.db", path)
    with LLMCache(path, encryption_key=key, fresh_ids=False) as cache:
        for (namespace, prompt, llm_string), answer in stored.ANSWERS.items():
            with options(namespace=namespace):
                assert cache.lookup(prompt, llm_string) == answer
        stats = cache.stats()
    assert (stats.store_hits, stats.misses) == (len(stored.ANSWERS), 0)
    assert not stats.errors


def test_today_the_same_bytes_are_stored(tmp_path: Path) -> None:
    stored.write(tmp_path / "now.db", None)

    def rows(path: Path) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(path)) as connection:
            text = "SELECT key, value, namespace, llm, created, expires, outline FROM entries"
            return sorted(connection.execute(text))

    assert rows(tmp_path / "now.db") == rows(stored.HERE / "store.db")
