"""Programs that fork many processes which use one file, kill some, and judge what is left.

They are forked, since an import takes a second, by a supervisor that never has a store open itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from support.doubles import FAST, run

if TYPE_CHECKING:
    from pathlib import Path

SUPERVISOR = """
import contextlib, json, select, signal, sqlite3, time, traceback

dice = random.Random(sys.argv[2])
gc.collect()
gc.freeze()  # What is shared with the children is not to be copied by their collections.

def child(work, *args):
    "Fork a process that does some work. Returns its id and where what it says can be read."
    source, sink = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(source)
        os.dup2(sink, 1)
        status = 1
        try:
            work(*args)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(sink)
    return pid, source

def rest(source):
    "All that was said, and not read yet; at the end of whoever says it."
    parts = []
    while part := os.read(source, 1 << 16):
        parts.append(part)
    os.close(source)
    return b"".join(parts).decode().split()

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def is_sound(path):
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

"""


def supervise(program: str, path: Path, *args: object, seconds: float) -> dict[str, Any]:
    """Run a program of a supervisor, which prints one line of JSON: its figures."""
    (printed,) = run(SUPERVISOR + program, path, *args, seconds=seconds, python=FAST)
    figures: dict[str, Any] = json.loads(printed)
    return figures
