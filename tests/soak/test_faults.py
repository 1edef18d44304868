"""Calls to the system that fail, one after the other: nobody is told, and nothing is lost.

A shim in C (faults/shim.c), preloaded into a process of its own, counts the calls on the files of a
cache and makes one of them fail, or all from there on. What the process does is in
faults/rounds.py, which checks that no exception reaches the caller, no sound file is set aside, no
answer is wrong, and that what was acknowledged is served as soon as the fault is gone, and later.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import TESTS
from support.doubles import ROUNDS, patience
from support.figures import tell

if TYPE_CHECKING:
    from pathlib import Path

HERE = TESTS
CONTROL_BYTES = 8192
"""More than `struct control` of shim.c takes."""

EVERY = ("open", "read", "write", "sync", "truncate", "map", "unlink", "rename", "stat")
STEP = max(1, 120 // ROUNDS)
"""Of so many calls one is made to fail; which ones differs from run to run."""

STICKY = {
    # What goes on failing is of the kinds that fail for that reason. What fails once may be any.
    "EIO": EVERY,
    "ENOSPC": ("write", "truncate", "map"),
    "EACCES": ("open", "unlink", "rename"),
    "EROFS": ("open", "write", "truncate", "unlink", "rename"),
}


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim, compiled."""
    compiler = shutil.which("cc")
    assert compiler, "no cc: cargo needs it too, as its linker (Debian: apt-get install gcc)"
    built = tmp_path_factory.mktemp("faults") / "shim.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra"]
    subprocess.run(
        [compiler, *flags, "-o", built, HERE / "support/faults/shim.c", "-ldl"], check=True
    )
    return built


def plan(
    error: str, *, is_sticky: bool, is_filled: bool, kinds: tuple[str, ...], step: int
) -> dict[str, object]:
    first = random.SystemRandom().randint(1, step)
    return {
        "error": getattr(errno, error), "is_sticky": is_sticky, "is_filled": is_filled,
        "kinds": kinds, "step": step, "first": first,
    }  # fmt: skip


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads as Linux does it")
def test_calls_to_the_system_that_fail(shim: Path, tmp_path: Path) -> None:
    plans = {
        # SQLite opens for reading what it may not open for writing, and says so to writers only.
        "any open fails once": plan(
            "EACCES", is_sticky=False, is_filled=True, kinds=("open",), step=1
        )
    }
    for error, kinds in STICKY.items():
        for is_filled in (False, True):
            for is_sticky in (False, True):
                how = "all from one on" if is_sticky else "once"
                plans[f"{error} {how}, {'filled' if is_filled else 'new'} file"] = plan(
                    error,
                    is_sticky=is_sticky,
                    is_filled=is_filled,
                    kinds=kinds if is_sticky else EVERY,
                    step=1 if is_sticky and "write" not in kinds else STEP,
                )
    control = tmp_path / "control"
    control.write_bytes(bytes(CONTROL_BYTES))
    environment = {"LD_PRELOAD": str(shim), "FAULTS_CONTROL": str(control)}
    done = subprocess.run(
        [sys.executable, "-W", "error", HERE / "support/faults/rounds.py", tmp_path, control],
        env={**os.environ, **environment},
        input=json.dumps(list(plans.values())),
        capture_output=True,
        text=True,
        timeout=5 * (patience() + 1_000 / STEP),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    counts = json.loads(done.stdout)
    for name, counted in zip(plans, counts, strict=True):
        tell(f"Faults, {name}", exceptions=0, lost=0, set_aside=0, **counted)
    assert counts[0]["failed_calls"] > 3
    assert sum(counted["failed_calls"] for counted in counts) > 5_000 / STEP
