"""What is made beside a database has its mode and owner, and follows no link that was planted."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support.doubles import LIMIT, answer, lines

from llmemo import LLMCache
from llmemo.stores.sqlite.path_checks import create_file
from llmemo.stores.sqlite.process_lock import FileLock
from llmemo.stores.sqlite.set_aside import renamed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs modes, links and users")
AS_ROOT = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to be several users"
)
GROUP = 65533


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o644])
@pytest.mark.parametrize("was_there", [False, True])
def test_the_lock_has_the_mode_of_its_database(mode: int, was_there: bool, tmp_path: Path) -> None:
    path, lock = tmp_path / "a.db", tmp_path / "a.db-lock"
    path.touch()
    path.chmod(mode)
    if was_there:
        lock.touch(0o400)
    umask = os.umask(0o077)
    try:
        with LLMCache(path, store_timeout=LIMIT) as cache:
            cache.update("p", "m", answer("p"))
            modes = {end: mode_of(tmp_path / f"a.db{end}") for end in ("", "-lock", "-wal", "-shm")}
            assert modes == dict.fromkeys(modes, mode)
            assert cache.stats().errors == {}
    finally:
        os.umask(umask)


PROGRAM = """
import os, sys, encodings.idna
from langchain_core.outputs import Generation
from llmemo import LLMCache
path, user, warm = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with LLMCache(warm) as cache:  # imports all that another user may not read
    cache.update("p", "m", [Generation(text="x")])
os.setgroups([])
os.setgid(65533)
os.setuid(user)
os.umask(0o002)
with LLMCache(path, max_bytes=0, store_timeout=30) as cache:
    cache.update(str(user), "m", [Generation(text="x")])
    print([name for name in ("1001", "1002") if cache.lookup(name, "m")], cache.stats().errors)
"""


@AS_ROOT
def test_users_of_a_group_share_a_file(tmp_path: Path, public: Path) -> None:
    folder = public / "shared"
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2775)
    path = folder / "a.db"
    path.touch()
    os.chown(path, 1001, GROUP)
    path.chmod(0o660)
    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, path, user, tmp_path / f"warm{user}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5 * LIMIT,
        ).stdout.strip()
        for user in ("1001", "1002")
    ]
    assert said == ["['1001'] {}", "['1001', '1002'] {}"]


@AS_ROOT
@pytest.mark.parametrize("was_there", [False, True])
def test_what_root_makes_belongs_to_the_owner_of_the_database(
    was_there: bool, tmp_path: Path
) -> None:
    path, lock = tmp_path / "a.db", tmp_path / "a.db-lock"
    path.touch()
    os.chown(path, 1001, GROUP)
    if was_there:
        lock.touch(0o600)
    with LLMCache(path, store_timeout=LIMIT) as cache:
        cache.update("p", "m", answer("p"))
        for end in ("-lock", "-wal", "-shm"):
            found = (tmp_path / f"a.db{end}").stat()
            assert (found.st_uid, found.st_gid) == (1001, GROUP), end


def link(at: Path, elsewhere: Path) -> None:
    at.symlink_to(elsewhere)


def link_to_a_file(at: Path, elsewhere: Path) -> None:
    elsewhere.write_text("precious")
    at.symlink_to(elsewhere)


def hard_link(at: Path, elsewhere: Path) -> None:
    elsewhere.write_text("precious")
    elsewhere.chmod(0o640)
    os.link(elsewhere, at)


def fifo(at: Path, elsewhere: Path) -> None:
    os.mkfifo(at)


def folder(at: Path, elsewhere: Path) -> None:
    at.mkdir()


def seen(path: Path) -> object:
    if not path.exists():
        return None
    found = path.stat()
    return path.read_bytes(), found.st_mode, found.st_uid, found.st_mtime_ns


@pytest.mark.parametrize("plant", [link, link_to_a_file, hard_link, fifo, folder])
@pytest.mark.parametrize("is_open", [False, True])
def test_what_was_planted_in_the_place_of_the_lock_is_refused(
    plant: Callable[[Path, Path], None],
    is_open: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, lock, elsewhere = tmp_path / "a.db", tmp_path / "a.db-lock", tmp_path / "elsewhere"
    with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        if is_open:
            cache.update("before", "m", answer("before"))
            lock.unlink()
        plant(lock, elsewhere)
        before = seen(elsewhere)
        cache.update("p", "m", answer("p"))
        assert cache.stats().errors == {"store_write": 1}
        assert cache.stats().writes_unconfirmed == 1
        assert cache.lookup("p", "m") is None
        if is_open:
            assert cache.lookup("before", "m") == answer("before")
        assert seen(elsewhere) == before
        lock.rmdir() if plant is folder else lock.unlink()
        cache.update("p", "m", answer("p"))
        assert cache.lookup("p", "m") == answer("p")
    assert any("a.db-lock" in line for line in lines(caplog))


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("has_target", [False, True])
def test_no_other_file_is_made_or_written_through_a_link(
    end: str, has_target: bool, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    with LLMCache(tmp_path / "a.db", max_bytes=0, store_timeout=LIMIT) as cache:
        if has_target:
            elsewhere.touch()
        before = seen(elsewhere)
        (tmp_path / f"a.db{end}").symlink_to(elsewhere)
        cache.update("p", "m", answer("p"))
        assert cache.lookup("p", "m") is None
        assert cache.stats().writes_unconfirmed == 1
        assert sum(cache.stats().errors.values())
    assert seen(elsewhere) == before


def test_what_is_set_aside_goes_over_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda form: "now")
    path = tmp_path / "a.db"
    (tmp_path / "a.db.corrupt-now-wal").symlink_to(tmp_path / "elsewhere")
    names = []
    for number in range(3):
        create_file(path)
        path.write_text(str(number))
        names.append(renamed(path, "corrupt", "-wal", ""))
    assert names == [f"a.db.corrupt-now-{number}" for number in (2, 3, 4)]
    assert [(tmp_path / name).read_text() for name in names] == ["0", "1", "2"]
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.anyio
async def test_a_lock_that_has_yet_to_get_its_mode_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refusals = os.open, [PermissionError(13, "not yet"), FileNotFoundError(2, "gone")]

    def opened(path: str, flags: int, mode: int = 0o777) -> int:
        if refusals and str(path).endswith("-lock") and flags & os.O_CREAT:
            raise refusals.pop()
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", opened)
    guard = FileLock(tmp_path / "a.db", LIMIT)
    async with guard.held():
        assert not refusals
    guard.close()
