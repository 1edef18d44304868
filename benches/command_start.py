"""What the command takes to start, beside a bare interpreter: CPU time, not the clock's.

    .venv/bin/python benches/command_start.py [ROUNDS]

Each figure is of whole processes, in turns, with bytecode that was written before. By default 20
rounds. Prints minima and medians in milliseconds, and their ratios to `python -c pass`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from langchain_core.outputs import Generation

from llmemo import LLMCache

BARE = "python -c pass"
SCRIPT = "import sys\nfrom llmemo.cli import main\nsys.exit(main(sys.argv[1:]))"
"""As the entry point of an installed package does it."""


def programs(path: Path) -> dict[str, list[str]]:
    """Arguments of the interpreter, by what they are called."""
    commands = ("stats", "ls", "verify", "doctor")
    return {
        BARE: ["-c", "pass"],
        "llmemo --help": ["-c", SCRIPT, "--help"],
        "python -m llmemo --help": ["-m", "llmemo", "--help"],
        "llmemo --version": ["-c", SCRIPT, "--version"],
        **{f"llmemo {one} FILE": ["-c", SCRIPT, one, str(path)] for one in commands},
        "import LLMCache": ["-c", "from llmemo import LLMCache"],
    }


def cpu_seconds(arguments: list[str]) -> float:
    """User and system time of a process."""
    command, nothing = [sys.executable, *arguments], subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=nothing, stderr=nothing)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return used.ru_utime + used.ru_stime


def main() -> None:
    """See the module."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cache.db")
        with LLMCache(path) as cache:
            for number in range(100):
                cache.update(f"prompt {number}", "model", [Generation(text="answer " * 50)])
        found: dict[str, list[float]] = {name: [] for name in programs(path)}
        for turn in range(rounds + 1):
            for name, arguments in programs(path).items():
                seconds = cpu_seconds(arguments)
                if turn:  # the first one writes the bytecode
                    found[name].append(seconds)
    for name, seconds_of in found.items():
        shown = "  ".join(
            f"{word} {of(seconds_of) * 1e3:7.1f} ms ({of(seconds_of) / of(found[BARE]):5.2f}x)"
            for word, of in (("minimum", min), ("median", statistics.median))
        )
        print(f"{name:26} {shown}")


if __name__ == "__main__":
    main()
