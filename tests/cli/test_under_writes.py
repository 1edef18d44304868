"""Every command on a file that four processes write to: none of their calls fails."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from langchain_core.outputs import Generation
from support.commands import COMMANDS, in_a_process, llmemo
from support.doubles import FAST, LIMIT, ROUNDS

from llmemo import LLMCache

if TYPE_CHECKING:
    from pathlib import Path

WRITERS = 4
SECONDS = 2.0

SERVICE = """
import json, sys, time
from langchain_core.outputs import Generation
from llmemo import LLMCache

path, name = sys.argv[1:]
calls = 0
with LLMCache(path, max_bytes=0) as cache:
    print("ready", flush=True)
    stop = []
    import threading
    threading.Thread(target=lambda: stop.append(sys.stdin.readline()), daemon=True).start()
    while not stop:
        calls += 1
        key = f"{name} {calls % 300}"
        cache.update(key, "m", [Generation(text=f"answer to {key} " * 40)])
        cache.lookup(f"{name} {(calls - 1) % 300}", "m")
    stats = cache.stats()
print(json.dumps({
    "calls": calls, "updates": stats.updates, "errors": dict(stats.errors),
    "unconfirmed": stats.writes_unconfirmed, "skipped": dict(stats.skipped),
}))
"""


LARGE = 2**19
"""Bytes of an answer of a large file, about: it cannot be compressed to less."""


def large(path: Path) -> None:
    """Make a file whose removal in one transaction takes longer than services wait: 60 MB."""
    with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        for number in range(120 if ROUNDS > 1 else 12):
            cache.update(f"large {number}", "m", [Generation(text=os.urandom(LARGE).hex())])


@pytest.mark.slow
def test_no_call_of_services_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    large(path)
    services = [
        subprocess.Popen(
            [*FAST, "-c", SERVICE, path, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(WRITERS)
    ]
    try:
        for one in services:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        end = time.monotonic() + SECONDS * ROUNDS
        for number, command in enumerate(itertools.cycle(COMMANDS)):
            if time.monotonic() > end and number >= len(COMMANDS):
                break
            arguments = ("--expired", "--yes") if command == "rm" else COMMANDS[command]
            # Most of them here, since a process takes a second to start.
            run = in_a_process if number == 0 else llmemo
            found = run(command, path, *arguments)
            assert found.code == (1 if command == "show" else 0), (command, found)
            assert "Traceback" not in found.err
        # And with what removes what is being written, all at once and by a selection.
        large(path)
        assert llmemo("rm", path, "--namespace", "", "--yes").code == 0
        large(path)
        assert llmemo("rm", path, "--all", "--yes").code == 0
        assert llmemo("vacuum", path).code == 0
    finally:
        reports = [one.communicate("stop\n", timeout=LIMIT)[0] for one in services]
    for report in map(json.loads, reports):
        assert report["calls"] == report["updates"] > 10
        assert (report["errors"], report["skipped"], report["unconfirmed"]) == ({}, {}, 0)
    assert llmemo("verify", path).code == 0
