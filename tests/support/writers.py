"""Services that write to a file while a command is run on it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import TYPE_CHECKING, Any

from support.doubles import FAST, LIMIT, PRELUDE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITERS = 4

WRITER = """
import json, time
who, wrong, count = sys.argv[2], [], 0
is_over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), is_over.set()), daemon=True).start()
with opened() as cache:
    say("ready")
    while not is_over.is_set():
        count += 1
        key = f"{who}-{count % 300}"
        cache.update(key, "m", answer(key))
        hit = cache.lookup(key, "m")
        if hit is not None and hit != answer(key):
            wrong.append(key)
        time.sleep(0.002)
    stats = cache.stats()
say(json.dumps({
    "calls": count, "updates": stats.updates, "wrong": wrong, "misses": stats.misses,
    "troubles": [stats.errors, stats.skipped, stats.writes_unconfirmed],
}))
"""


@contextlib.contextmanager
def writers(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Processes that write and read for as long as the block lasts; then what they say."""
    said: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        crew = [
            stack.enter_context(
                subprocess.Popen(
                    [*FAST, "-c", PRELUDE + WRITER, str(path), f"w{who}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for who in range(WRITERS)
        ]
        try:
            for each in crew:
                assert each.stdout is not None
                assert each.stdout.readline() == "ready\n"
            yield said
            for each in crew:
                printed, _ = each.communicate("\n", timeout=LIMIT)
                said.append(json.loads(printed))
        finally:
            for each in crew:
                if each.poll() is None:
                    each.kill()
