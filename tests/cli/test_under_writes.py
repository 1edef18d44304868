"""Every command on a file that four processes write to: none of their calls fails."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING

import pytest
from langchain_core.outputs import Generation
from support.commands import COMMANDS, in_a_process, llmemo
from support.doubles import LIMIT, ROUNDS
from support.writers import writers

from llmemo import LLMCache

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 2.0


LARGE = 2**19
"""Bytes of an answer of a large file, about: it cannot be compressed to less."""


def large(path: Path) -> None:
    """Make a file whose removal in one transaction takes longer than services wait: 60 MB."""
    with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        for number in range(120 if ROUNDS > 1 else 12):
            cache.update(f"large {number}", "m", [Generation(text=os.urandom(LARGE).hex())])


@pytest.mark.slow
@pytest.mark.process
def test_no_call_of_services_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    large(path)
    with writers(path) as said:
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
    for report in said:
        assert report["calls"] == report["updates"] > 10
        # (Some are missed, since they are removed between an update and its lookup.)
        assert (report["wrong"], report["troubles"]) == ([], [{}, {}, 0])
    assert llmemo("verify", path).code == 0
