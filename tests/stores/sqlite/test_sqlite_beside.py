"""A clean-up job takes the files of an open store: what is acknowledged afterwards is kept."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support import nursery
from support.doubles import LIMIT, PRELUDE, PYTHON, answer, lines, patience
from support.nursery import Child

from llmemo import LLMCache, SQLiteStore
from llmemo.stores.lease_store import Grant, LeaseState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="open files cannot be removed there")

TAKEN = """
import shutil, signal
from pathlib import Path

def remove(file):
    file.unlink()

def replace(file):
    other = file.with_name("other")
    other.write_bytes(os.urandom(20_000))
    other.replace(file)

def replace_by_nothing(file):
    other = file.with_name("other")
    other.touch()
    other.replace(file)

def empty(file):
    os.truncate(file, 0)

def halve(file):
    os.truncate(file, file.stat().st_size // 2)

def lock_up(file):
    file.chmod(0)

def remove_all(file):
    for one in file.parent.glob("a.db*"):
        one.unlink()

def remove_all_beside(file):
    for one in file.parent.glob("a.db-*"):
        one.unlink()

def remove_folder(file):
    shutil.rmtree(file.parent)

def move_folder(file):
    file.parent.rename(file.parent.with_name(file.parent.name + "-moved"))
"""
WRITE = (
    TAKEN
    + """
def is_whole(found, name):
    return found[0].text == f"answer to {name}" + "x" * 3_000

def work(case):
    end, how, times = case.split(":")
    folder = Path(path, case)
    folder.mkdir()
    cache = LLMCache(folder / "a.db", max_bytes=0, store_timeout=60)
    for n in range(20):
        # Of nearly a page each, so that all of the files have a beginning and an end.
        cache.update(f"a{n}", "m", [Generation(text=f"answer to a{n}" + "x" * 3_000)])
    for turn in range(int(times)):
        if not folder.exists():
            break
        globals()[how](folder / f"a.db{end}")
        for n in range(3):
            name = f"b{turn}-{n}"
            cache.update(name, "m", answer(name))
            assert not cache.stats().writes_unconfirmed, cache.stats()
            say(f"{case} {name}")
            assert cache.lookup(name, "m") == answer(name)
            for one in ("a0", "a7", "a19"):
                found = cache.lookup(one, "m")
                assert found is None or is_whole(found, one), found
    assert not cache.stats().errors, cache.stats()
    return cache

caches = []
for case in sys.argv[2:]:
    try:
        caches.append(work(case))
    except Exception as error:
        print(case, "FAILED", repr(error), file=sys.stderr)
os.kill(os.getpid(), signal.SIGKILL)
"""
)
ONE = ["remove", "replace", "replace_by_nothing", "empty", "halve", "lock_up"]
ALL = ["remove_all", "remove_all_beside", "remove_folder", "move_folder"]
CASES = [
    # A file of something else, in the place of the database, is left alone: `test_a_file_of_…`.
    *(f"{e}:{how}:1" for e in ("", "-wal", "-shm") for how in ONE if (e, how) != ("", "replace")),
    *(f":{how}:1" for how in ALL),
    *(f"-wal:{how}:4" for how in ("remove", "replace", "empty")),
    *(f"-shm:{how}:4" for how in ("remove", "empty")),
]


@pytest.fixture(scope="module")
def acknowledged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Where a process had all of these files taken, what it acknowledged, and what went wrong."""
    folder = tmp_path_factory.mktemp("taken")
    words, limit = [str(folder), *CASES], patience() + 5 * LIMIT
    said, wrong, code = nursery.run(PYTHON, PRELUDE + WRITE, words, limit)
    assert code == -signal.SIGKILL, wrong
    return folder, said, wrong


@pytest.mark.parametrize("case", CASES)
def test_what_is_acknowledged_after_files_were_taken_outlives_a_kill(
    case: str, acknowledged: tuple[Path, str, str]
) -> None:
    folder, said, wrong = acknowledged
    assert [line for line in wrong.splitlines() if line.startswith(f"{case} ")] == []
    path = folder / case / "a.db"
    names = [line.split()[1] for line in said.splitlines() if line.startswith(f"{case} ")]
    for file in path.parent.glob("a.db*"):
        file.chmod(0o600)
    with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        found = {name for name in names if cache.lookup(name, "m") == answer(name)}
        assert cache.stats().errors == {}
    # What a job emptied that came again is lost, with what only that WAL had.
    expected = names[-3:] if case == "-wal:empty:4" else names
    assert len(names) >= 3
    assert set(expected) <= found
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def filled(path: Path, *names: str) -> LLMCache:
    cache = LLMCache(path, max_bytes=0, store_timeout=LIMIT)
    for name in names:
        cache.update(name, "m", answer(name))
    return cache


@pytest.mark.parametrize("end", ["-wal", "-shm"])
def test_what_a_removed_file_held_is_kept_and_said_once(
    end: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    with filled(path, "before") as cache:
        (tmp_path / f"a.db{end}").unlink()
        cache.update("after", "m", answer("after"))
        for name in ("before", "after"):
            assert cache.lookup(name, "m") == answer(name)
        assert cache.stats().errors == {}
    (said,) = lines(caplog)
    assert "all answers are kept" in said
    with filled(path) as cache:
        assert cache.lookup("before", "m") == answer("before")


@pytest.mark.parametrize("end", ["-wal", "-shm"])
def test_a_store_that_is_closed_keeps_what_a_removed_file_held(end: str, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with filled(path, "before"):
        (tmp_path / f"a.db{end}").unlink()
    with filled(path) as cache:
        assert cache.lookup("before", "m") == answer("before")


def test_a_closed_store_leaves_nothing_where_its_folder_was(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.db"
    with filled(path, "before") as cache:
        (tmp_path / "folder").rename(tmp_path / "moved")
    assert not path.parent.exists()
    assert cache.stats().errors == {}
    with filled(tmp_path / "moved" / "a.db") as cache:
        assert cache.lookup("before", "m") == answer("before")


@pytest.mark.parametrize("how", ["removed", "damaged"])
def test_a_database_that_begins_anew_has_the_mode_of_the_one_before(
    how: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    with filled(path, "before"):
        pass
    path.chmod(0o660)
    if how == "damaged":
        path.write_bytes(path.read_bytes()[:4_096] + os.urandom(20_000))
    with filled(path) as cache:
        cache.lookup("before", "m")
        if how == "removed":
            path.unlink()
        cache.update("after", "m", answer("after"))
    assert path.stat().st_mode & 0o777 == 0o660
    with filled(path) as cache:
        assert cache.lookup("after", "m") == answer("after")


def test_what_is_written_behind_a_link_is_not_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with filled(path, "before") as cache:
        path.rename(tmp_path / "moved.db")
        path.symlink_to("moved.db")
        cache.update("after", "m", answer("after"))
        assert cache.stats().writes_unconfirmed == 1
        assert "store_write" in cache.stats().errors or "store_unusable" in cache.stats().errors


def test_a_file_of_something_else_in_the_place_of_the_database_is_left_alone(
    tmp_path: Path,
) -> None:
    path, other = tmp_path / "a.db", tmp_path / "other"
    other.write_text("dear diary, " * 5_000)
    with filled(path, "before") as cache:
        other.replace(path)
        cache.update("after", "m", answer("after"))
        assert cache.stats().writes_unconfirmed == 1
        assert cache.stats().errors == {"store_write": 1}
    assert path.read_text() == "dear diary, " * 5_000


@pytest.mark.parametrize("end", ["-wal", "-shm"])
def test_a_file_that_is_taken_while_a_transaction_commits(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, file = tmp_path / "a.db", tmp_path / f"a.db{end}"
    with filled(path, "before") as cache:
        store = cache._tiers.store
        assert isinstance(store, SQLiteStore)
        check = store._session.files.check_after
        turns: list[object] = []

        def taken(result: object) -> None:
            if len(turns) < 2:
                file.unlink()
            turns.append(result)
            check(result)

        monkeypatch.setattr(store._session.files, "check_after", taken)
        cache.update("after", "m", answer("after"))
        # What was saved from the unlinked WAL need not be written once more.
        assert len(turns) == 1
        assert cache.stats().writes_unconfirmed == 0
        copy = tmp_path / "copy"
        copy.mkdir()
        for found in tmp_path.glob("a.db*"):
            (copy / found.name).write_bytes(found.read_bytes())
    with filled(copy / "a.db") as killed:
        for name in ("before", "after"):
            assert killed.lookup(name, "m") == answer(name)


@pytest.mark.anyio
async def test_a_lease_that_was_granted_while_a_file_was_taken_is_granted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time it would be held by another, for whom its holder would wait."""
    store = SQLiteStore(tmp_path / "a.db")
    await store.open()
    check = store._session.files.check_after

    def taken(result: object) -> None:
        monkeypatch.undo()
        (tmp_path / "a.db-wal").unlink()
        check(result)

    monkeypatch.setattr(store._session.files, "check_after", taken)
    found = [await store._leases.acquire({b"k" * 32: 60.0}) for _ in range(2)]
    await store.close()
    assert [type(one[b"k" * 32]) for one in found] == [Grant, LeaseState]


@pytest.mark.slow
def test_a_file_that_was_replaced_is_not_given_the_wal_of_a_store_that_is_closed(
    tmp_path: Path,
) -> None:
    path, backup = tmp_path / "a.db", tmp_path / "backup.db"
    names = [f"p{number}" for number in range(200)]
    filled(backup, *names).close()
    with filled(path, *(f"old{number}" for number in range(300))):
        backup.replace(path)
    with filled(path) as cache:
        assert {name for name in names if cache.lookup(name, "m") != answer(name)} == set()
        assert cache.lookup("old1", "m") is None
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


OTHER = (
    TAKEN
    + """
cache = LLMCache(path, max_bytes=0, store_timeout=60)
cache.update("first", "m", answer("first"))
say("ready")
for line in sys.stdin:
    name = line.strip()
    if name:
        cache.update(name, "m", answer(name))
        assert not cache.stats().writes_unconfirmed
        assert cache.lookup(name, "m") == answer(name)
        say(name)  # at the end: it may be stopped, or killed, from here on
    else:
        break
assert not cache.stats().errors, cache.stats()
os.kill(os.getpid(), signal.SIGKILL)
"""
)


class Other:
    """Another process with the file open, which does as it is told and is killed at the end."""

    def __init__(self, path: Path) -> None:
        self.process = Child(PRELUDE + OTHER, path)
        self.names = {"first"}
        assert self._said() in {"first", "ready"}

    def _said(self) -> str:
        said = self.process.stdout.readline().strip()
        assert said
        return said

    def write(self, name: str) -> None:
        """It returns once that is acknowledged."""
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        assert self._said() == name
        self.names.add(name)

    def end(self) -> None:
        self.process.communicate(timeout=patience())
        assert self.process.returncode == -signal.SIGKILL


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    process = Other(tmp_path / "a.db")
    yield process
    process.process.kill()
    process.process.communicate()


@pytest.mark.parametrize(
    ("end", "is_first"),
    [
        ("-wal", False), ("-wal", True), ("-shm", False), ("-shm", True), ("", True),
    ],
)  # fmt: skip
def test_processes_that_lose_a_file_meet_again_in_the_next_one(
    end: str, is_first: bool, other: Other, tmp_path: Path
) -> None:
    """Whichever of them writes first. Neither brings what it had open over what the other wrote."""
    path, kept = tmp_path / "a.db", set()

    def write(cache: LLMCache, name: str) -> None:
        cache.update(name, "m", answer(name))
        kept.add(name)

    with filled(path, "one") as cache:
        other.write("two")
        (tmp_path / f"a.db{end}").unlink()
        for turn in range(6):
            if is_first is (turn % 2 == 0):
                write(cache, f"ours{turn}")
            else:
                other.write(f"its{turn}")
                kept.add(f"its{turn}")
        assert cache.stats().writes_unconfirmed == 0
        for name in kept:
            assert cache.lookup(name, "m") == answer(name)
        assert cache.stats().errors == {}
        other.end()
        write(cache, "last")
    with filled(path) as cache:
        assert {name for name in kept if cache.lookup(name, "m") != answer(name)} == set()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("comes_again", [False, True])
def test_a_wal_is_not_written_over_what_another_process_has_written_since(
    comes_again: bool, other: Other, tmp_path: Path
) -> None:
    """The other one has the old WAL open, and does nothing until all the others are gone."""
    path = tmp_path / "a.db"

    def clean() -> None:
        for file in tmp_path.glob("a.db-*"):
            file.unlink()

    other.write("its own")
    other.process.send_signal(signal.SIGSTOP)
    clean()
    names = [f"p{number}" for number in range(50)]
    filled(path, *names).close()
    if comes_again:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        clean()
    other.process.send_signal(signal.SIGCONT)
    other.write("last")
    other.end()
    with filled(path) as cache:
        for name in (*names, "last"):
            assert cache.lookup(name, "m") == answer(name)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_wal_that_another_process_has_written_back_and_cut_is_no_trouble(
    other: Other, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    with filled(path, "ours") as cache:
        before = (tmp_path / "a.db-wal").stat().st_size
        with closing(sqlite3.connect(path, timeout=LIMIT)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert (tmp_path / "a.db-wal").stat().st_size < before
        other.write("its own")
        cache.update("after", "m", answer("after"))
        for name in ("ours", "its own", "after"):
            assert cache.lookup(name, "m") == answer(name)
        assert cache.stats().errors == {}
    assert lines(caplog) == []


@pytest.mark.slow
def test_two_caches_of_a_process_lose_a_file_and_get_another(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    for end in ("-wal", "-shm"):
        with filled(path, "one") as one, filled(path, "two") as two:
            (tmp_path / f"a.db{end}").unlink()
            for turn in range(3):
                one.update(f"one{turn}", "m", answer(f"one{turn}"))
                two.update(f"two{turn}", "m", answer(f"two{turn}"))
            assert one.stats().writes_unconfirmed == two.stats().writes_unconfirmed == 0
            for name in (f"{which}{turn}" for which in ("one", "two") for turn in range(3)):
                assert one.lookup(name, "m") == two.lookup(name, "m") == answer(name)


def test_pages_that_another_process_gave_back_are_not_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    with filled(path, *(f"p{number}" for number in range(500))) as cache:
        with closing(sqlite3.connect(path, timeout=LIMIT, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cache.update("q", "m", answer("q"))
            before = path.stat().st_size
            connection.execute("DELETE FROM entries WHERE id < 400")
            connection.execute("PRAGMA incremental_vacuum").fetchall()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert path.stat().st_size < before
        cache.update("after", "m", answer("after"))
        assert cache.lookup("p450", "m") == answer("p450")
        assert cache.stats().errors == {}
    assert lines(caplog) == []
    assert list(tmp_path.glob("*.corrupt-*")) == []
