"""The queue in front of the write lock: no process passes one that has waited for long."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.doubles import LIMIT, run

from llmemo.concurrency import unpatched
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite.lock_queue import has_queue, try_to_lock
from llmemo.stores.sqlite.process_lock import PATIENCE, FileLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(fcntl, "F_OFD_SETLKW"), reason="no queue there"),
]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., FileLock]]:
    made: list[FileLock] = []

    def one(timeout: float = LIMIT) -> FileLock:
        made.append(FileLock(tmp_path / "a.db", timeout))
        return made[-1]

    yield one
    for each in made:
        each.close()


async def until(condition: Callable[[], bool]) -> None:
    end = asyncio.get_running_loop().time() + LIMIT
    while not condition():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(PATIENCE / 5)


def file_of(lock: FileLock) -> int:
    assert lock.file is not None
    return lock.file


class Waiter:
    """A task that holds a lock for as long as it is wanted to."""

    def __init__(self, lock: FileLock) -> None:
        self.lock, self.inside, self.go_on = lock, asyncio.Event(), asyncio.Event()
        self.task = asyncio.ensure_future(self._hold())

    async def _hold(self) -> None:
        async with self.lock.held():
            self.inside.set()
            await asyncio.wait_for(self.go_on.wait(), LIMIT)

    async def end(self) -> None:
        self.go_on.set()
        await asyncio.wait_for(self.task, LIMIT)


async def test_a_store_that_has_just_committed_stands_back(make: Callable[..., FileLock]) -> None:
    busy, patient = make(), make()
    async with busy.held():
        waiter = Waiter(patient)
        await until(lambda: has_queue(file_of(busy)))
    # Microseconds later: the thread of the other one has not even woken up.
    assert not busy.try_hold()
    await asyncio.wait_for(waiter.inside.wait(), LIMIT)
    assert not busy.try_hold()
    await waiter.end()
    assert busy.try_hold()
    busy.release()


async def test_what_is_free_in_a_moment_needs_no_queue(make: Callable[..., FileLock]) -> None:
    busy, other = make(), make()
    async with busy.held():
        waiter = Waiter(other)
        await asyncio.sleep(0)
        assert not has_queue(file_of(busy))
    await asyncio.wait_for(waiter.inside.wait(), LIMIT)
    assert other._waiter is None
    await waiter.end()


async def test_all_in_the_queue_get_their_turn(make: Callable[..., FileLock]) -> None:
    busy = make()
    async with busy.held():
        waiters = [Waiter(make()) for _ in range(5)]
        await until(lambda: all(one.lock._waiter is not None for one in waiters))
    for one in waiters:
        one.go_on.set()
    await asyncio.wait_for(asyncio.gather(*(one.task for one in waiters)), LIMIT)
    await until(busy.try_hold)
    busy.release()


async def test_a_lock_that_comes_too_late_is_given_back(make: Callable[..., FileLock]) -> None:
    busy, hasty = make(), make(2 * PATIENCE)
    async with busy.held():
        with pytest.raises(StoreUnavailableError, match=r"a\.db-lock"):
            async with hasty.held():
                pytest.fail("two hold it")
        assert not hasty.try_hold(), "it has a place in the queue"
    await until(busy.try_hold)
    busy.release()
    async with hasty.held():
        assert not busy.try_hold()


async def test_the_next_attempt_keeps_the_place_in_the_queue(make: Callable[..., FileLock]) -> None:
    busy, hasty = make(), make(2 * PATIENCE)
    async with busy.held():
        with pytest.raises(StoreUnavailableError):
            await hasty._take()
        place = hasty._waiter
        assert place is not None
        hasty._timeout = LIMIT
        waiter = Waiter(hasty)
        await asyncio.sleep(2 * PATIENCE)
        assert hasty._waiter is place
    await asyncio.wait_for(waiter.inside.wait(), LIMIT)
    await waiter.end()


async def test_a_lock_that_a_loop_never_took_is_given_back_by_close(
    make: Callable[..., FileLock],
) -> None:
    class Stopped:
        """A loop that was stopped, and runs nothing that it is given."""

        given = 0

        def call_soon_threadsafe(self, *call: object) -> None:
            self.given += 1

    busy, hasty, loop = make(), make(2 * PATIENCE), Stopped()
    async with busy.held():
        with pytest.raises(StoreUnavailableError):
            await hasty._take()
        assert hasty._waiter is not None
        hasty._waiter._loop = loop  # type: ignore[assignment]
    await until(lambda: loop.given == 1)
    assert not busy.try_hold()
    hasty.close()
    assert busy.try_hold()
    busy.release()


def test_a_loop_that_is_closed_meanwhile_strands_no_lock(tmp_path: Path) -> None:
    busy, hasty = FileLock(tmp_path / "a.db", LIMIT), FileLock(tmp_path / "a.db", 2 * PATIENCE)

    async def wait_in_vain() -> None:
        with pytest.raises(StoreUnavailableError):
            await hasty._take()

    async def hold() -> None:
        async with busy.held():
            # A loop of another thread, which is closed before the lock comes.
            thread = threading.Thread(target=lambda: asyncio.run(wait_in_vain()))
            thread.start()
            await asyncio.to_thread(thread.join, LIMIT)
        await until(busy.try_hold)
        busy.release()

    asyncio.run(hold())
    busy.close()
    hasty.close()


async def test_without_a_thread_to_wait_in_it_is_trouble_that_may_pass(
    make: Callable[..., FileLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoThread:
        def start(self) -> None:
            msg = "can't start new thread"
            raise RuntimeError(msg)

    busy, other = make(), make()
    async with busy.held():
        with monkeypatch.context() as patch:
            patch.setattr(unpatched, "thread", lambda target, name: NoThread())
            with pytest.raises(StoreUnavailableError, match="no thread"):
                await other._take()
    async with other.held():
        assert not busy.try_hold()


async def test_where_the_system_has_no_queue_the_lock_is_waited_for(
    make: Callable[..., FileLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("F_OFD_GETLK", "F_OFD_SETLK", "F_OFD_SETLKW"):
        monkeypatch.delattr(fcntl, name)
    busy, other = make(), make()
    async with busy.held():
        waiter = Waiter(other)
        await until(lambda: other._waiter is not None)
        assert not has_queue(file_of(busy))
    await asyncio.wait_for(waiter.inside.wait(), LIMIT)
    await waiter.end()


HOLDER = """
import asyncio, os, sys, time
from pathlib import Path
from llmemo.stores.sqlite.process_lock import FileLock

lock = FileLock(Path(sys.argv[1]), 60)

async def hold():
    await lock._take()

asyncio.run(hold())
if not os.fork():
    os.write(1, b"forked")
    os.read(0, 1)  # a child that lives on
    os._exit(0)
os.read(0, 1)
"""


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
def test_a_child_holds_nothing_when_its_parent_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "a.db")]
    reading, writing = os.pipe()
    lock = FileLock(tmp_path / "a.db", LIMIT)

    async def take() -> None:
        async with lock.held():
            pass

    with subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(6) == b"forked"
        other = os.open(tmp_path / "a.db-lock", os.O_RDWR)
        assert not try_to_lock(other)
        os.close(other)
        process.kill()
        process.wait(LIMIT)
        asyncio.run(take())
        os.close(writing)  # and the child ends
    os.close(reading)
    lock.close()


async def test_a_queue_whose_head_was_stopped_is_passed(make: Callable[..., FileLock]) -> None:
    busy, other = make(), make()
    async with contextlib.AsyncExitStack() as stopped:
        async with busy.held():
            await stopped.enter_async_context(other_place(busy))
            waiter = Waiter(other)
            await asyncio.sleep(2 * PATIENCE)
        # The lock is free, and the head of the queue does not take it.
        await asyncio.wait_for(waiter.inside.wait(), LIMIT)
        assert not busy.try_hold()
        await waiter.end()
        # From then on it is not asked, for a while.
        assert other.try_hold()
        other.release()
        async with busy.held():
            assert not other.try_hold()
    await until(other.try_hold)
    other.release()


@contextlib.asynccontextmanager
async def other_place(lock: FileLock) -> AsyncIterator[None]:
    """Be the head of the queue, and nothing else: as a process that was stopped there."""
    file = os.open(lock._path, os.O_RDWR)
    head = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 1, 1, 0)
    await asyncio.to_thread(fcntl.fcntl, file, fcntl.F_OFD_SETLKW, head)
    yield
    os.close(file)


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of open files")
def test_a_child_has_no_place_in_the_queue(tmp_path: Path) -> None:
    """Nor one of a lock that was closed while it waited."""
    program = """
from pathlib import Path
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite.process_lock import FileLock

def locks():
    names = os.listdir("/proc/self/fd")
    links = [f"/proc/self/fd/{name}" for name in names]
    return sum(os.readlink(link).endswith("-lock") for link in links if os.path.exists(link))

async def main():
    busy, hasty, closed = (FileLock(Path(path), limit) for limit in (60, 0.02, 0.02))
    async with busy.held():
        for one in (hasty, closed):
            try:
                await one._take()
            except StoreUnavailableError:
                pass
        closed.close()
        assert locks() == 4
        child = os.fork()
        if not child:
            os._exit(locks())
        assert os.waitpid(child, 0)[1] == 0
    hasty.close()
    busy.close()
    say("alone")

asyncio.run(main())
"""
    assert run(program, tmp_path / "a.db") == {"alone"}
