"""What it takes to take over a file of SQLiteCache, a row, beside only reading it with `loads`."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.load import dumps, loads

from benches.report import IMPORT
from benches.rivals import DURABLE, LANGCHAIN, SQLITE, Rival, close
from benches.workload import LLM_STRING, answer, prompt, same
from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benches.conftest import Measure

ROWS = 4000


@pytest.fixture(scope="module")
def source(folder: Callable[[], Path]) -> Path:
    """A file that has SQLiteCache's own tables, filled at once."""
    home = folder()
    close(SQLITE.open(home))
    path = home / "langchain.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executemany(
            "INSERT INTO full_llm_cache VALUES (?, ?, 0, ?)",
            (
                (prompt(index, 1024).decode(), LLM_STRING.decode(), dumps(answer(index)[0]))
                for index in range(ROWS)
            ),
        )
        connection.commit()
    return path


def take_over(source: Path, cache: LLMCache) -> int:
    with cache:
        return cache.import_langchain(source).imported


def only_read(source: Path, _: object) -> int:
    with contextlib.closing(sqlite3.connect(source)) as connection:
        rows = connection.execute("SELECT prompt, llm, response FROM full_llm_cache ORDER BY rowid")
        return sum(same([loads(response)], index) for index, (_, _, response) in enumerate(rows))


RUNS: dict[str, Callable[[Path, Any], int]] = {
    DURABLE[0].name: take_over,
    LANGCHAIN.name: only_read,
}


@pytest.mark.parametrize("rival", [DURABLE[0], LANGCHAIN], ids=str)
@pytest.mark.benchmark(group=IMPORT)
@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_import(measure: Measure, rival: Rival, source: Path, folder: Callable[[], Path]) -> None:
    run, home, number = RUNS[rival.name], folder(), itertools.count()

    def prepare() -> LLMCache | None:
        return LLMCache(home / f"{next(number)}.db") if rival is DURABLE[0] else None

    measure(rival, lambda cache: run(source, cache), prepare, operations=ROWS)
