"""Sixteen processes that race to create a file, or to bring it up to date, half of them killed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.doubles import ROUNDS
from support.figures import tell
from support.supervisors import supervise

if TYPE_CHECKING:
    from pathlib import Path

RACES = 5 * ROUNDS

PROGRAM = """
import shutil
from llmemo.stores.sqlite import schema

races, processes = int(sys.argv[3]), int(sys.argv[4])
LATER = (
    "CREATE TABLE extra (id INTEGER PRIMARY KEY, note BLOB)",
    "INSERT INTO extra (note) VALUES (x'01')",
    "ALTER TABLE changes ADD COLUMN note BLOB",
)
FIRST, NEXT = schema.MIGRATIONS, (*schema.MIGRATIONS, LATER)

def layout(file):
    with contextlib.closing(sqlite3.connect(file)) as connection:
        tables = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        facts = [connection.execute(f"PRAGMA {name}").fetchone()
                 for name in ("user_version", "application_id", "auto_vacuum", "journal_mode")]
        return tables, facts, connection.execute("SELECT * FROM extra").fetchall()

def make(file, migrations):
    schema.MIGRATIONS = migrations
    with opened(file) as cache:
        cache.update("p", "m", answer("p"))
        assert cache.stats().writes_unconfirmed == 0

def race(file, who, start):
    os.read(start, 1)
    with opened(file) as cache:
        keep(cache, who)
        assert cache.lookup(who, "m") == answer(who)
        assert cache.stats().errors == {}, cache.stats()

def judge(file, keys):
    with opened(file) as cache:
        assert [key for key in keys if cache.lookup(key, "m") != answer(key)] == []
        assert cache.stats().errors == {}, cache.stats()
    is_sound(file)

def alone(work, *args):
    pid, source = child(work, *args)
    rest(source)
    assert ended(pid) == 0

alone(make, f"{path}-template", FIRST)
alone(make, f"{path}-fresh", NEXT)
expected = layout(f"{path}-fresh")
schema.MIGRATIONS = NEXT
errors = schemas = killed = acknowledged = 0
for turn in range(races):
    file, is_there = f"{path}{turn}", turn % 2 == 1
    if is_there:
        shutil.copy(f"{path}-template", file)
    start, go = os.pipe()
    crew = [child(race, file, f"p{n}", start) for n in range(processes)]
    victims = dice.sample(crew, processes // 2)
    survivors = [one for one in crew if one not in victims]
    os.write(go, b"!" * processes)
    for pid, _ in victims:
        time.sleep(dice.random() * 0.012)
        os.kill(pid, signal.SIGKILL)
    kept = [key for _, source in crew for key in rest(source)]
    killed += sum(ended(pid) == -signal.SIGKILL for pid, _ in victims)
    errors += sum(ended(pid) != 0 for pid, _ in survivors)
    os.close(start)
    os.close(go)
    acknowledged += len(kept)
    alone(judge, file, [*kept, *["p"] * is_there])
    schemas += layout(file) != expected
    for suffix in ("", "-wal", "-shm", "-lock"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file + suffix)
print(json.dumps(dict(races=races, killed=killed, acknowledged=acknowledged, errors=errors,
                      other_schemas=schemas), separators=(",", ":")))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_processes_that_race_to_create_or_migrate_a_file_end_with_one_schema(
    tmp_path: Path,
) -> None:
    found = supervise(PROGRAM, tmp_path / "db", 2, RACES, 16, seconds=4 * RACES)
    tell("races of 16 processes, half of them killed", **found)
    assert (found["races"], found["errors"], found["other_schemas"]) == (RACES, 0, 0)
    assert found["killed"] > 2 * RACES
    assert found["acknowledged"] >= 8 * RACES
