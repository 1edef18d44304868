"""What `make demo` does first: set up a small environment, and say meanwhile what takes its time.

    python3 .ci/demo.py FOLDER

The packages are fetched while the Rust core is compiled. Standard library only: nothing else is
there yet.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parent.parent
STATUS_WIDTH = 79
MESSAGES = 40  # lines of a step that failed


class Step:
    """A command in the background, what it is for, and the last thing that it said."""

    def __init__(self, name: str, *command: str | Path) -> None:
        """Start the command."""
        self.name = name
        self.seconds: float | None = None  # that it took, once it has ended
        self._said: list[str] = []
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            if text := line.strip():
                self._said.append(text)

    @property
    def status(self) -> str:
        """The step, and what it is at, in a few words."""
        at = self._said[-1].split("(")[0].strip() if self._said else ""
        return f"{self.name}: {at}" if at else self.name

    def has_ended(self) -> bool:
        """Whether the command is done; ends this program if it failed."""
        if self.seconds is None and self._process.poll() is not None:
            self._thread.join()
            self.seconds = time.monotonic() - self._started
            if self._process.returncode:
                said = "\n".join(self._said[-MESSAGES:])
                sys.exit(f"\n{said}\nmake demo: this failed: {self.name}")
        return self.seconds is not None

    def stop(self) -> None:
        """End the command, whatever it is at."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


def show(status: str) -> None:
    """Replace the last line of a terminal; say nothing where the output is a file."""
    if sys.stdout.isatty():
        print(f"\r{status[:STATUS_WIDTH]:<{STATUS_WIDTH}}", end="\r", flush=True)


def wait_for(steps: Iterable[Step]) -> None:
    """Wait for all of them, and say which one has ended, and what the others are at."""
    running, began = list(steps), time.monotonic()
    try:
        while running:
            for step in [step for step in running if step.has_ended()]:
                running.remove(step)
                show("")
                print(f"  {step.name}: {step.seconds:.0f} s", flush=True)
            if running:
                show(f"  {time.monotonic() - began:3.0f} s  {running[-1].status}")
                time.sleep(0.2)
    finally:
        for step in running:
            step.stop()


def main(folder: Path) -> None:
    """Make the environment, its packages and the extension."""
    print(
        f"make demo: sets up {folder.name}; this takes some minutes on a busy machine.", flush=True
    )
    began = time.monotonic()
    venv.create(folder, clear=True, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = (python, "-m", "pip", "install", "-q", "--no-compile")
    wait_for([Step("pip and maturin", *pip, "-U", "pip>=25.1", "maturin>=1.9.4,<2")])
    with tempfile.TemporaryDirectory() as wheels:
        build = ("-m", "maturin", "build", "--profile", "demo", "--locked", "--auditwheel", "skip")
        print("  At once: fetches langchain and langchain-openai, and compiles the Rust core.")
        print(
            "  Compiled in a hurry: a hit takes some microseconds more than in a release.",
            flush=True,
        )
        wait_for(
            [
                Step("the packages that the demo shows", *pip, "--group", "demo"),
                Step("the Rust core", python, *build, "--out", wheels),
            ]
        )
        wait_for([Step("llmemo, from its wheel", *pip, *Path(wheels).glob("*.whl"))])
    print(f"make demo: ready after {time.monotonic() - began:.0f} s.", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).absolute())
