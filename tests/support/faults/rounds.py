"""Uses a cache over and over, while one call to the system after another fails.

Run by test_faults.py, with `shim.c` preloaded: rounds.py FOLDER CONTROL, and plans on stdin, as
JSON. Each round of a plan makes the n-th call of some kinds on the cache's files fail, for n =
first, first + step …, until a round has no n-th call any more. Prints what it counted, as JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import logging
import mmap
import random
import shutil
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import Generation

from llmemo import ConfigurationError, LLMCache, NotACacheError, StoreError
from llmemo.concurrency import circuit_breaker
from llmemo.store_io import maintenance
from llmemo.stores.sqlite import connection, upkeep

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 30.0
"""Seconds after which something hangs."""

KINDS = ("open", "read", "write", "sync", "truncate", "map", "unlink", "rename", "stat")
"""What the calls do, by the bits that shim.c has for them."""


class Control(ctypes.Structure):
    """As in shim.c."""

    _fields_ = (
        ("is_armed", ctypes.c_int64),
        ("fail_at", ctypes.c_int64),
        ("is_sticky", ctypes.c_int64),
        ("error", ctypes.c_int64),
        ("count", ctypes.c_int64),
        ("failed", ctypes.c_int64),
        ("kind", ctypes.c_int64),
        ("kinds_failed", ctypes.c_int64),
        ("prefix", ctypes.c_char * 4096),
    )


class Seen:
    """What a key may answer, by what its updates have promised."""

    def __init__(self) -> None:
        self.answers: dict[str, set[str | None]] = {}

    def update(self, cache: LLMCache, key: str, text: str) -> bool:
        before = cache.stats().writes_unconfirmed
        cache.update(key, "m", [Generation(text=text)])
        is_kept = cache.stats().writes_unconfirmed == before
        known = self.answers.get(key, {None})
        self.answers[key] = {text} if is_kept else known | {text}
        return is_kept

    def delete(self, cache: LLMCache, key: str) -> None:
        try:
            cache.delete(key, "m")
        except StoreError:
            self.answers[key] = self.answers.get(key, {None}) | {None}
        else:
            self.answers[key] = {None}

    def is_so(self, cache: LLMCache, *, may_miss: bool) -> bool:
        """Whether each key has an answer that it may have; in trouble any of them may miss."""
        for key, texts in self.answers.items():
            found = cache.lookup(key, "m")
            text = found[0].text if found else None
            if text not in texts:
                assert text is None, f"a wrong answer to {key}"
                if not may_miss:
                    return False
        return True


def text(dice: random.Random, size: int) -> str:
    return dice.randbytes(size // 2).hex()  # It does not get much smaller.


def use(cache: LLMCache, seen: Seen, dice: random.Random) -> None:
    """Read, write, replace and remove; enough of it for checkpoints."""
    assert seen.is_so(cache, may_miss=True)
    for turn in range(8):
        seen.update(cache, f"new{turn}", text(dice, 30_000 if turn % 2 else 200))
    seen.update(cache, "p0", text(dice, 300))
    seen.delete(cache, "p1")
    assert seen.is_so(cache, may_miss=True)


def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def works(cache: LLMCache, seen: Seen, dice: random.Random) -> bool:
    cache.lookup("unknown", "m")  # What was in trouble for long is tried by reads only.
    return seen.update(cache, "after", text(dice, 300))


def one_round(path: Path, control: Control, seen: Seen, *, number: int) -> None:
    """One life of a cache under one fault, and one after it."""
    dice = random.Random(number)
    control.fail_at, control.count, control.failed = number, 0, 0
    control.is_armed = 1
    try:
        cache = LLMCache(path, max_bytes=0, store_timeout=LIMIT)
    except NotACacheError:
        raise
    except ConfigurationError:
        # It says what is the matter. Nobody can tell yet what the file is.
        control.is_armed = 0
        cache = LLMCache(path, max_bytes=0, store_timeout=LIMIT)
        control.is_armed = control.is_sticky
    use(cache, seen, dice)
    if number % 3 == 0:
        # The trouble lasts until the end.
        cache.close()
        control.is_armed = 0
    else:
        control.is_armed = 0
        until(lambda: works(cache, seen, dice), "no write is confirmed any more")
        until(lambda: seen.is_so(cache, may_miss=False), "what was acknowledged is not served")
        assert cache.close() == 0
    assert "internal" not in cache.stats().errors, cache.stats()
    with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        assert seen.is_so(cache, may_miss=False), "what was acknowledged is lost"
        assert cache.stats().errors == {}, cache.stats()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert not list(path.parent.glob("*.corrupt-*")), "a sound file was set aside"


def carry_out(plan: dict[str, Any], folder: Path, control: Control, said: list[str]) -> object:
    """All rounds of a plan. Returns what was counted."""
    control.error, control.is_sticky = plan["error"], plan["is_sticky"]
    control.kind = sum(1 << KINDS.index(kind) for kind in plan["kinds"])
    template, seeds = folder / "template.db", Seen()
    with LLMCache(template, store_timeout=LIMIT) as cache:
        for turn in range(5):
            assert seeds.update(cache, f"p{turn}", text(random.Random(turn), 5_000))
    number, rounds, failed, kinds = plan["first"], 0, 0, set[str]()
    while True:
        path = folder / f"{number}" / "a.db"
        path.parent.mkdir()
        seen = Seen()
        if plan["is_filled"]:
            shutil.copyfile(template, path)
            seen.answers.update(seeds.answers)
        control.kinds_failed, control.prefix = 0, bytes(path)
        said.clear()
        try:
            one_round(path, control, seen, number=number)
        except BaseException:
            sys.stderr.write(f"call {number} of {plan}, {control.kinds_failed:b}; {said[-9:]}\n")
            raise
        shutil.rmtree(path.parent)
        rounds, failed = rounds + 1, failed + control.failed
        kinds |= {kind for bit, kind in enumerate(KINDS) if control.kinds_failed >> bit & 1}
        if not control.failed:
            return {"rounds": rounds, "failed_calls": failed, "kinds": sorted(kinds)}
        number += plan["step"]


def listen(name: str, to: list[str]) -> None:
    """Note what a logger is told."""
    handler = logging.Handler()
    handler.emit = lambda record: to.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger(name).addHandler(handler)


def main() -> None:
    folder, file = map(Path, sys.argv[1:])
    with file.open("r+b") as opened:
        control = Control.from_buffer(mmap.mmap(opened.fileno(), ctypes.sizeof(Control)))
    noise: list[str] = []
    said: list[str] = []
    sys.unraisablehook = lambda about: noise.append(repr(about))
    threading.excepthook = lambda about: noise.append(repr(about))
    listen("asyncio", noise)
    listen("llmemo", said)
    # So that little is enough for all of it to happen, upkeep and checkpoints too, and soon.
    limits: Any = upkeep
    limits.WAL_BYTES, limits.WAL_BYTES_MAX, limits.PAUSE = 50_000, 100_000, 0.0
    maintenance.PAUSE, maintenance.UPKEEP_LOOKS = 0.003, 1
    circuit_breaker.FIRST_PAUSE = circuit_breaker.LONGEST_PAUSE = 0.002
    connection.PRAGMAS["journal_size_limit"] = "50000"
    counted = [carry_out(plan, folder, control, said) for plan in json.load(sys.stdin)]
    gc.collect()
    assert not noise, noise
    sys.stdout.write(json.dumps(counted))


if __name__ == "__main__":
    main()
