"""What 50,000 entries weigh: their bytes, and the time that they add to `gc.collect()`.

Both are properties of a whole process, so each sample is taken in a fresh one:
`python -m benches.memory NAME ENTRIES` prints one as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benches.rivals import MEMORY, close
from benches.workload import answer, fresh, prompt, same

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = 50_000
# GPTCache keeps 1,000 entries by default, too few to be weighed with.
NAMES = tuple(rival.name for rival in MEMORY if rival.name != "GPTCache")


@dataclass(frozen=True)
class Weight:
    """Of the entries of one cache.

    Attributes:
        gc_seconds: What they add to the time of a `gc.collect()`.
        entry_bytes: Resident memory of the process, by entry.
    """

    gc_seconds: float
    entry_bytes: float


def weigh(name: str, entries: int = ENTRIES) -> Weight:
    """Fill the cache called `name` in a fresh process, and weigh what is in it."""
    command = [sys.executable, "-m", "benches.memory", name, str(entries)]
    sample = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return Weight(**json.loads(sample.stdout))


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    kilobytes = subprocess.check_output(["ps", "-o", "rss=", "-p", str(os.getpid())])
    return int(kilobytes) * 1024


def _collection_seconds() -> float:
    samples = []
    for _ in range(9):
        start = time.perf_counter()
        gc.collect()
        samples.append(time.perf_counter() - start)
    return median(samples)


def _weigh_here(name: str, entries: int) -> Weight:
    (rival,) = (rival for rival in MEMORY if rival.name == name)
    with tempfile.TemporaryDirectory() as folder:
        cache = rival.open(Path(folder))

        def fill(start: int, stop: int) -> None:
            for index in range(start, stop):
                # LangChain makes both strings anew for each call, so a dict of them keeps both.
                # The strings in the answers' metadata are literals, which all entries share; a
                # client that parses each response has its own, and live objects weigh more there.
                ((request_prompt, llm_string),) = fresh([prompt(index, 1024)])
                cache.update(request_prompt, llm_string, answer(index))

        fill(-200, 0)  # so that what is made once is there before the scales are set to zero
        gc.collect()
        gc.freeze()  # nor should the collector walk all of LangChain in every sample
        empty_seconds, empty_bytes = _collection_seconds(), _resident_bytes()
        fill(0, entries)
        weight = Weight(
            gc_seconds=max(0.0, _collection_seconds() - empty_seconds),
            entry_bytes=(_resident_bytes() - empty_bytes) / entries,
        )
        for index in range(entries):
            (request,) = fresh([prompt(index, 1024)])
            found = cache.lookup(*request)
            if found is None or (index % 100 == 0 and not same(found, index)):
                raise AssertionError(f"{name} lost entry {index}")
        close(cache)
    return weight


if __name__ == "__main__":
    print(json.dumps(asdict(_weigh_here(sys.argv[1], int(sys.argv[2])))))
